"""Events: what people and programs are told, each in the transaction that made it true."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class EventType(StrEnum):
    """What happened. Mails, webhooks and the event stream use these names, so they never change."""

    OUTAGE_REPORTED = "outage.reported"
    OUTAGE_ACKNOWLEDGED = "outage.acknowledged"
    OUTAGE_WARNING = "outage.warning"
    OUTAGE_RESOLVED = "outage.resolved"
    OUTAGE_DECIDED = "outage.decided"
    OUTAGE_DISPUTED = "outage.disputed"
    OUTAGE_CANCELLED = "outage.cancelled"
    PAYMENT_AWAITING_APPROVAL = "payment.awaiting_approval"
    PAYMENT_APPROVED = "payment.approved"
    PAYMENT_HELD = "payment.held"
    PAYMENT_RESUMED = "payment.resumed"
    PAYMENT_REFUSED = "payment.refused"
    PAYMENT_RETRYING = "payment.retrying"
    PAYMENT_SUBMITTED = "payment.submitted"
    PAYMENT_CONFIRMED = "payment.confirmed"
    PAYMENT_FAILED = "payment.failed"
    PAYMENT_UNKNOWN = "payment.unknown"
    PAYMENT_CANCELLED = "payment.cancelled"
    PAYOUT_CREATED = "payout.created"
    PAYOUT_AWAITING_APPROVAL = "payout.awaiting_approval"
    PAYOUT_APPROVED = "payout.approved"
    PAYOUT_BUILT = "payout.built"
    PAYOUT_QUEUED = "payout.queued"
    PAYOUT_SUBMITTED = "payout.submitted"
    PAYOUT_UNKNOWN = "payout.unknown"
    PAYOUT_CONFIRMED = "payout.confirmed"
    PAYOUT_RETRYING = "payout.retrying"
    PAYOUT_FAILED = "payout.failed"
    PAYOUT_HELD = "payout.held"
    PAYOUT_RESUMED = "payout.resumed"
    PAYOUT_CANCELLED = "payout.cancelled"
    PAYOUT_SIGNATURE_REQUESTED = "payout.signature_requested"
    PAYOUT_SIGNATURE_SUPERSEDED = "payout.signature_superseded"
    BATCH_ACCEPTED = "batch.accepted"
    BATCH_AWAITING_APPROVAL = "batch.awaiting_approval"
    BATCH_APPROVED = "batch.approved"
    BATCH_PAUSED = "batch.paused"
    BATCH_RESUMED = "batch.resumed"
    BATCH_STOPPED = "batch.stopped"
    BATCH_COMPLETED = "batch.completed"
    BATCH_CANCELLED = "batch.cancelled"
    ALLOWANCE_ENDING = "allowance.ending"
    RECONCILIATION_DIFFERS = "reconciliation.differs"
    WALLET_READY = "wallet.ready"
    WALLET_FAILED = "wallet.failed"
    SYSTEM_FROZEN = "system.frozen"
    SYSTEM_THAWED = "system.thawed"
    SYSTEM_HALTED = "system.halted"
    WEBHOOK_TEST = "webhook.test"

    @property
    def needs_person(self) -> bool:
        """Whether operations or finance have to do something, so that they get mail too."""
        return self in _NEEDS_PERSON


_NEEDS_PERSON = frozenset(
    {
        EventType.PAYMENT_AWAITING_APPROVAL,
        EventType.PAYMENT_REFUSED,
        EventType.PAYMENT_FAILED,
        EventType.PAYMENT_UNKNOWN,
        EventType.PAYOUT_AWAITING_APPROVAL,
        EventType.PAYOUT_UNKNOWN,
        EventType.PAYOUT_FAILED,
        EventType.BATCH_AWAITING_APPROVAL,
        EventType.BATCH_STOPPED,
        EventType.ALLOWANCE_ENDING,
        EventType.OUTAGE_DISPUTED,
        EventType.RECONCILIATION_DIFFERS,
        EventType.WALLET_FAILED,
        EventType.SYSTEM_FROZEN,
        EventType.SYSTEM_THAWED,
        EventType.SYSTEM_HALTED,
    }
)


class Event(BaseModel):
    """One thing that happened to one subject, such as `outage:OUT001` or `wallet:user123`.

    `data` is JSON that strangers may read: no secret, no personal data; amounts as decimal strings beside
    `asset`, hashes under `tx_hash`, reasons under `reason_code` and `reason`. `operator_id` and `site_name` say
    whose contacts are told. `id` is given when it is recorded.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: EventType
    subject: str = Field(pattern=r"^[a-z_]+:.{1,160}$")
    at: datetime
    data: dict[str, Any] = Field(default_factory=dict)
    operator_id: str | None = None
    site_name: str | None = None
    id: str | None = None
