"""What the API answers: the guide's fields first, then ours."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from pydantic import BaseModel, Field

from api.deps import Deps
from api.exact import MoneyNumber, money
from domain.outage import Outage, OutageStatus, waits_for
from domain.sla import SLA_TABLE, PaymentKind, Rating, Severity, minutes_to_repair
from domain.sla_payment import PaymentPhase, PaymentRecord


class DecisionView(BaseModel):
    """What the SLA says of a resolved outage."""

    type: PaymentKind
    rating: Rating
    mttr_minutes: int
    threshold_minutes: int
    amount: MoneyNumber
    asset: str
    decided_at: datetime


class OutageView(BaseModel):
    """An outage with its decision and its payment."""

    id: str
    site_name: str
    severity: Severity
    status: OutageStatus
    description: str
    detected_at: datetime
    resolved_at: datetime | None = None
    operator: str | None = None
    operator_wallet: str | None = None
    noc_team_wallet: str | None = None
    decision: DecisionView | None = None
    payment_status: PaymentPhase
    waits_for: str = Field(
        description="What has to happen first; `decision` and `payment` come by themselves; `nothing`: it is over."
    )
    why_approval: str | None = Field(default=None, description="Why its payment needs somebody's approval.")
    reason_code: str | None = Field(default=None, description="Of a refused payment: a code of docs/errors.md.")
    reason: str | None = None
    reason_details: dict[str, str] = Field(default_factory=dict)
    tx_hash: str | None = None
    ledger: int | None = None
    explorer_url: str | None = None
    rca_hash: str | None = Field(default=None, description="sha256 of the RCA text, as it is anchored on chain.")
    dispute_reason: str | None = None
    cancel_requested_at: datetime | None = None
    reported_at: datetime
    reported_by: str
    acknowledged_at: datetime | None = None
    acknowledged_by: str | None = None
    resolved_by: str | None = None
    approved_at: datetime | None = None
    approved_by: str | None = None
    confirmed_at: datetime | None = None


def outage_view(deps: Deps, outage: Outage) -> OutageView:
    """Show one outage."""
    decision = outage.decision
    fields = {name: getattr(outage, name) for name in OutageView.model_fields if name in Outage.model_fields}
    return OutageView(
        **fields
        | {
            "id": outage.outage_id,
            "operator": outage.operator_id,
            "decision": None
            if decision is None
            else DecisionView(
                type=decision.kind,
                rating=decision.rating,
                mttr_minutes=decision.mttr_minutes,
                threshold_minutes=decision.threshold_minutes,
                amount=money(decision.amount),
                asset=decision.asset,
                decided_at=decision.decided_at,
            ),
            "payment_status": outage.phase,
            "waits_for": waits_for(outage),
            "explorer_url": deps.transaction_url(outage.tx_hash),
        }
    )


class SlaStatusView(BaseModel):
    """How an outage stands against its SLA."""

    status: str = Field(
        description="`open`: the clock runs; `breached`: it runs beyond the threshold; `violated` or `met`: "
        "resolved; `cancelled`: withdrawn."
    )
    mttr_minutes: int | None = Field(description="Whole minutes, a started one counts; null while the clock runs.")
    threshold_minutes: int
    penalty_amount: MoneyNumber | None = Field(description="USDC; 0.00 where the SLA was met.")
    contract_tx_hash: str | None = Field(description="The transaction in which the contract decided and paid.")
    outage_id: str
    severity: Severity
    reward_amount: MoneyNumber | None = Field(description="NOCIQ; 0.00 where the SLA was violated.")
    type: PaymentKind | None
    rating: Rating | None
    asset: str | None
    elapsed_minutes: int = Field(description="Minutes since detection, up to the resolution.")
    payment_status: PaymentPhase
    reason_code: str | None
    reason: str | None
    ledger: int | None
    confirmed_at: datetime | None
    explorer_url: str | None


def sla_status_view(deps: Deps, outage: Outage, *, at: datetime) -> SlaStatusView:
    """Show one outage's SLA."""
    decision = outage.decision
    elapsed = minutes_to_repair(outage.detected_at, max(outage.resolved_at or at, outage.detected_at))
    threshold = SLA_TABLE[outage.severity].threshold_minutes
    penalty = reward = None
    if decision is not None:
        zero, amount = Decimal("0.00"), money(decision.amount)
        violated = decision.kind is PaymentKind.PENALTY
        penalty, reward = (amount, zero) if violated else (zero, amount)
    return SlaStatusView(
        status=_sla_status(outage, elapsed, threshold),
        mttr_minutes=None if outage.resolved_at is None else elapsed,
        threshold_minutes=decision.threshold_minutes if decision else threshold,
        penalty_amount=penalty,
        contract_tx_hash=outage.tx_hash,
        outage_id=outage.outage_id,
        severity=outage.severity,
        reward_amount=reward,
        type=decision.kind if decision else None,
        rating=decision.rating if decision else None,
        asset=decision.asset if decision else None,
        elapsed_minutes=elapsed,
        payment_status=outage.phase,
        reason_code=outage.reason_code,
        reason=outage.reason,
        ledger=outage.ledger,
        confirmed_at=outage.confirmed_at,
        explorer_url=deps.transaction_url(outage.tx_hash),
    )


def _sla_status(outage: Outage, elapsed: int, threshold: int) -> str:
    if outage.status is OutageStatus.CANCELLED:
        return "cancelled"
    late = elapsed > threshold
    if outage.resolved_at is None:
        return "breached" if late else "open"
    return "violated" if late else "met"


class PaymentView(BaseModel):
    """One payment of the history."""

    tx_hash: str | None = Field(description="Null until it is on its way to a ledger.")
    type: PaymentKind
    amount: MoneyNumber
    asset: str
    status: PaymentPhase
    timestamp: datetime = Field(description="Of the ledger that holds it; before that, of the decision.")
    outage_id: str
    site_name: str
    operator: str | None
    operator_wallet: str | None
    noc_team_wallet: str | None
    severity: Severity
    mttr_minutes: int
    threshold_minutes: int
    needs_approval: bool
    why_approval: str | None
    resolved_by: str | None
    approved_by: str | None
    ledger: int | None
    reason_code: str | None
    reason: str | None
    explorer_url: str | None


def payment_view(deps: Deps, record: PaymentRecord) -> PaymentView:
    """Show one payment."""
    fields = {
        name: getattr(record, name) for name in PaymentView.model_fields if name in PaymentRecord.model_fields
    }
    return PaymentView(
        **fields
        | {
            "type": record.kind,
            "amount": money(record.amount),
            "status": record.phase,
            "timestamp": record.confirmed_at or record.decided_at,
            "operator": record.operator_id,
            "explorer_url": deps.transaction_url(record.tx_hash),
        }
    )


class HistoryView(BaseModel):
    """A page of payments, newest first."""

    transactions: list[PaymentView]
    next: str | None = Field(
        default=None, description="Pass it as `cursor` for the next page; null on the last one."
    )


class OutagesView(BaseModel):
    """A page of outages, newest first."""

    outages: list[OutageView]
    next: str | None = Field(
        default=None, description="Pass it as `cursor` for the next page; null on the last one."
    )
