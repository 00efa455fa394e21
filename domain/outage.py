"""An outage: what may become of it, what its story waits for, and when people are warned.

All of it is pure: rows come in, decisions go out. The story asks these functions and acts; the database holds the
facts, so that a story that was lost begins again where the row stands.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from domain.errors import Conflict
from domain.sla import WARNING_PERCENTS, Severity, warning_time
from domain.sla_payment import Decision, PaymentPhase, settlement_id


class OutageStatus(StrEnum):
    """Where an outage stands."""

    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"
    DISPUTED = "disputed"
    CANCELLED = "cancelled"


_O = OutageStatus
TRANSITIONS: Final[Mapping[OutageStatus, Mapping[OutageStatus, str]]] = MappingProxyType(
    {
        _O.OPEN: {
            _O.ACKNOWLEDGED: "somebody works on it",
            _O.RESOLVED: "the service is back: the clock stops and the SLA is decided",
            _O.DISPUTED: "the report itself is contested: nothing is decided until that is settled",
            _O.CANCELLED: "reported by mistake",
        },
        _O.ACKNOWLEDGED: {
            _O.RESOLVED: "the service is back: the clock stops and the SLA is decided",
            _O.DISPUTED: "the report itself is contested",
            _O.CANCELLED: "reported by mistake",
        },
        _O.RESOLVED: {
            _O.DISPUTED: "times or decision are contested: the payment is held",
            _O.CANCELLED: "withdrawn before its payment was final",
        },
        _O.DISPUTED: {
            _O.RESOLVED: "the dispute is settled, with the same times or corrected ones",
            _O.CANCELLED: "the dispute was right: nothing is paid",
        },
        _O.CANCELLED: {},
    }
)
"""From → to → why it happens."""


def check_transition(outage_id: str, old: OutageStatus, new: OutageStatus) -> None:
    """Let only transitions of the table pass.

    Raises:
        Conflict: `wrong_state`, naming what would be allowed.
    """
    if new not in TRANSITIONS[old]:
        allowed = ", ".join(TRANSITIONS[old])
        instead = f"it can become {allowed}, not {new}" if allowed else f"that is final: it cannot become {new}"
        raise Conflict(f"{outage_id} is {old}; {instead}", code="wrong_state")


class OutageStanding(BaseModel):
    """What the story needs to know of an outage: no names, no free text."""

    model_config = ConfigDict(frozen=True)

    outage_id: str
    status: OutageStatus
    severity: Severity
    operator_id: str | None = None
    detected_at: datetime
    resolved_at: datetime | None = None
    phase: PaymentPhase = PaymentPhase.NONE
    decision: Decision | None = None
    warned: tuple[int, ...] = ()
    """Percents of the threshold that people were told of."""
    retries: int = 0
    """Tries that were made by itself since a person last asked."""
    retry_at: datetime | None = None
    reason_code: str | None = None
    reason: str | None = None
    tx_hash: str | None = None

    @property
    def settlement_id(self) -> str:
        """The engine's name of this payment."""
        return settlement_id(self.outage_id)

    @property
    def ended(self) -> bool:
        """Whether nothing is left for the story to do."""
        return self.phase.final

    @property
    def unrepaired(self) -> bool:
        """Whether the clock still runs."""
        return self.status in {OutageStatus.OPEN, OutageStatus.ACKNOWLEDGED}


class Outage(OutageStanding):
    """The whole record, for people."""

    site_name: str
    description: str = ""
    operator_wallet: str | None = None
    noc_team_wallet: str | None = None
    wallets_named_by: str | None = None
    """Who last named a wallet that is not the registry's."""
    why_approval: str | None = None
    """Why the current decision's payment needs somebody's approval; None where it does not."""
    reported_at: datetime
    reported_by: str
    acknowledged_at: datetime | None = None
    acknowledged_by: str | None = None
    resolved_by: str | None = None
    rca: str | None = None
    rca_hash: str | None = None
    """sha256 of the RCA text, hex: what is anchored on chain."""
    disputed_at: datetime | None = None
    disputed_by: str | None = None
    dispute_reason: str | None = None
    cancelled_at: datetime | None = None
    cancelled_by: str | None = None
    cancel_requested_at: datetime | None = None
    """Set while a cancellation waits for proof that the payment cannot land."""
    approved_at: datetime | None = None
    approved_by: str | None = None
    reason_details: dict[str, str] = Field(default_factory=dict)
    ledger: int | None = None
    confirmed_at: datetime | None = None
    """Close time of the ledger that holds the payment."""
    changed_at: datetime


class Waits(StrEnum):
    """What an outage's story waits for."""

    REPAIR = "repair"
    APPROVAL = "approval"
    DISPUTE = "dispute"
    LATER = "later"
    PERSON = "person"
    DECISION = "decision"
    PAYMENT = "payment"
    LEDGER = "ledger"
    NOTHING = "nothing"


def waits_for(outage: OutageStanding) -> Waits:
    """Say what has to happen first; `NOTHING` where it is over."""
    if outage.ended:
        return Waits.NOTHING
    if outage.phase is PaymentPhase.SETTLING:
        # Even when disputed or to be cancelled: money may be on its way, and only the ledger can tell.
        return Waits.LEDGER
    if outage.status is OutageStatus.DISPUTED:
        return Waits.DISPUTE
    if outage.unrepaired:
        return Waits.REPAIR
    return {
        PaymentPhase.NONE: Waits.DECISION,
        PaymentPhase.DUE: Waits.PAYMENT,
        PaymentPhase.AWAITING_APPROVAL: Waits.APPROVAL,
        PaymentPhase.RETRYING: Waits.LATER,
        PaymentPhase.REFUSED: Waits.PERSON,
    }.get(outage.phase, Waits.NOTHING)


def wakes_at(outage: OutageStanding) -> datetime | None:
    """When the story has something to do even if nobody calls: the next warning, or the next try."""
    match waits_for(outage):
        case Waits.REPAIR:
            left = [percent for percent in WARNING_PERCENTS if percent not in outage.warned]
            return warning_time(outage.severity, outage.detected_at, left[0]) if left else None
        case Waits.LATER:
            return outage.retry_at
        case _:
            return None


def warnings_due(outage: OutageStanding, *, at: datetime) -> tuple[int, ...]:
    """Percents of the threshold that have passed at `at` and were not told, lowest first; none once repaired.

    Where a back-dated report makes several due at once, people are told of the highest only, and all are recorded.
    """
    if not outage.unrepaired:
        return ()
    return tuple(
        percent
        for percent in WARNING_PERCENTS
        if percent not in outage.warned and warning_time(outage.severity, outage.detected_at, percent) <= at
    )
