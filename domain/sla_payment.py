"""The payment of an outage: its phases, who has to agree, what a failure leads to, and the engine's intent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from domain.errors import Conflict, Forbidden
from domain.money import Amount
from domain.settlement import Argument, Intent, Invocation, SettlementOutcome, SettlementStatus, marker_id
from domain.sla import PaymentKind, Rating, Severity, SlaDecision, decide


class PaymentPhase(StrEnum):
    """Where the payment of an outage stands."""

    NONE = "none"
    """Nothing is decided."""
    AWAITING_APPROVAL = "awaiting_approval"
    """Decided; another person than the one who resolved the outage has to agree."""
    DUE = "due"
    """Decided and agreed; the settlement is not accepted yet."""
    HELD = "held"
    """Disputed: nothing moves."""
    SETTLING = "settling"
    """The engine has it; money may be on its way."""
    RETRYING = "retrying"
    """Proved not paid, for a reason that may pass: it is tried again by itself at `retry_at`."""
    REFUSED = "refused"
    """Proved not paid: a person mends the reason and asks for a retry."""
    CONFIRMED = "confirmed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Whether the payment is over."""
        return self in {PaymentPhase.CONFIRMED, PaymentPhase.CANCELLED}


_P = PaymentPhase
PHASES: Final[Mapping[PaymentPhase, Mapping[PaymentPhase, str]]] = MappingProxyType(
    {
        _P.NONE: {
            _P.AWAITING_APPROVAL: "decided, but not to be paid by itself",
            _P.DUE: "decided, and to be paid by itself",
            _P.HELD: "disputed before it was decided",
            _P.CANCELLED: "the outage was cancelled",
        },
        _P.AWAITING_APPROVAL: {
            _P.DUE: "another person agreed",
            _P.HELD: "disputed",
            _P.CANCELLED: "the outage was cancelled",
        },
        _P.DUE: {
            _P.SETTLING: "the engine accepted the intent",
            _P.REFUSED: "the intent cannot be made: a wallet is not known, or the id was used otherwise",
            _P.HELD: "disputed",
            _P.CANCELLED: "the outage was cancelled",
        },
        _P.HELD: {
            _P.NONE: "the dispute is settled and nothing was decided yet, or the times were corrected",
            _P.AWAITING_APPROVAL: "the dispute is settled; nobody has agreed yet",
            _P.DUE: "the dispute is settled and the payment was agreed",
            _P.CANCELLED: "the outage was cancelled",
        },
        _P.SETTLING: {
            _P.CONFIRMED: "the ledger has it",
            _P.RETRYING: "proved not paid, for a reason that may pass",
            _P.REFUSED: "proved not paid, for a reason that a person has to mend",
            _P.HELD: "proved not paid, and disputed meanwhile",
            _P.CANCELLED: "withdrawn before it could land",
        },
        _P.RETRYING: {
            _P.DUE: "its time has come, or a person asked",
            _P.NONE: "a person named another wallet: it is decided anew",
            _P.HELD: "disputed",
            _P.CANCELLED: "the outage was cancelled",
        },
        _P.REFUSED: {
            _P.DUE: "a person asked for a retry",
            _P.NONE: "a person named another wallet: it is decided anew",
            _P.HELD: "disputed",
            _P.CANCELLED: "the outage was cancelled",
        },
        _P.CONFIRMED: {},
        _P.CANCELLED: {},
    }
)
"""From → to → why it happens; anything else is a mistake of ours."""


def check_phase(outage_id: str, old: PaymentPhase, new: PaymentPhase) -> None:
    """Let only transitions of `PHASES` pass.

    Raises:
        Conflict: `wrong_state`, naming what would be allowed.
    """
    if new not in PHASES[old]:
        allowed = ", ".join(PHASES[old]) or "nothing: it is final"
        raise Conflict(
            f"the payment of {outage_id} is {old}; it can become {allowed}, not {new}", code="wrong_state"
        )


class Decision(BaseModel):
    """What the SLA says of a resolved outage, as recorded. `amount_units` is in 1e-7 of `asset` (a code)."""

    model_config = ConfigDict(frozen=True)

    severity: Severity
    mttr_minutes: int = Field(ge=0)
    threshold_minutes: int
    kind: PaymentKind
    rating: Rating
    amount_units: int = Field(ge=0)
    asset: str
    decided_at: datetime

    @property
    def amount(self) -> Amount:
        """What is paid."""
        return Amount(self.amount_units)

    @property
    def sentence(self) -> str:
        """For people: `penalty 1,000 USDC: repaired in 25 min, threshold 15`."""
        return (
            f"{self.kind} {self.amount.brief} {self.asset}: repaired in {self.mttr_minutes} min,"
            f" threshold {self.threshold_minutes}"
        )


PENALTY_ASSET: Final = "USDC"
REWARD_ASSET: Final = "NOCIQ"


def decision_of(severity: Severity, mttr_minutes: int, *, at: datetime) -> Decision:
    """Decide by the SLA's table; `at` is the time of deciding."""
    sla: SlaDecision = decide(severity, mttr_minutes)
    return Decision(
        severity=severity,
        mttr_minutes=mttr_minutes,
        threshold_minutes=sla.threshold_minutes,
        kind=sla.kind,
        rating=sla.rating,
        amount_units=sla.amount.units,
        asset=PENALTY_ASSET if sla.kind is PaymentKind.PENALTY else REWARD_ASSET,
        decided_at=at,
    )


@dataclass(frozen=True, slots=True)
class OperatorTerms:
    """One operator's own switch and limit for payments that go by themselves."""

    auto: bool = True
    auto_max: Amount | None = None


@dataclass(frozen=True, slots=True)
class PaymentRules:
    """When a payment needs nobody's approval: `AUTO_PAYMENT_ENABLED`, `MAX_AUTO_PAYMENT_AMOUNT`."""

    auto_enabled: bool
    auto_max: Amount

    def why_approval(self, amount: Amount, operator: OperatorTerms, wallets: Sequence[str] = ()) -> str | None:
        """Why a person has to agree, or None where the payment goes by itself.

        `wallets` are sentences about wallets that are not the registry's: see `strange_wallets`.
        """
        if wallets:
            return "; ".join(wallets)
        if not self.auto_enabled:
            return "auto payment is off"
        if not operator.auto:
            return "auto payment is off for this operator"
        limit = self.auto_max if operator.auto_max is None else min(self.auto_max, operator.auto_max)
        if amount > limit:
            return f"{amount.brief} is above the greatest automatic payment of {limit.brief}"
        return None


def strange_wallets(site_name: str, wallets: Mapping[str, tuple[str | None, str | None]]) -> tuple[str, ...]:
    """Sentences about wallets that are not the registry's, by field: the one named, and the registry's.

    Whoever reports outages may name a wallet; whom money goes to, or is drawn from, by itself is the registry's
    to say. A wallet that is not known yet is not strange: it has to be named first.
    """
    return tuple(
        f"{field} {named} is not the registry's for {site_name}"
        for field, (named, registered) in wallets.items()
        if named is not None and named != registered
    )


def check_approver(outage_id: str, *, initiator: str | None, wallets_named_by: str | None, by: str) -> None:
    """Four eyes: who resolved an outage, or named a wallet for it, may not approve its payment.

    Raises:
        Forbidden: `four_eyes`.
    """
    if wallets_named_by is not None and wallets_named_by == by:
        raise Forbidden(
            f"a wallet of {outage_id} was named by the same person; another has to approve its payment",
            code="four_eyes",
        )
    if initiator is not None and initiator == by:
        raise Forbidden(
            f"{outage_id} was resolved by the same person; another has to approve its payment",
            code="four_eyes",
        )


RETRY_DELAYS: Final = (timedelta(seconds=5), timedelta(seconds=30), timedelta(minutes=2))
"""After a definite failure that may pass: how long to wait before each of the three tries made by itself."""


def _after_failure(
    outcome: SettlementOutcome, *, retries: int, at: datetime
) -> tuple[PaymentPhase, datetime | None]:
    """Say what a definite failure leads to, and when the next try is, if there is one by itself."""
    if outcome.may_pass and retries < len(RETRY_DELAYS):
        return PaymentPhase.RETRYING, at + RETRY_DELAYS[retries]
    return PaymentPhase.REFUSED, None


def phase_after(outcome: SettlementOutcome, *, retries: int, at: datetime) -> tuple[PaymentPhase, datetime | None]:
    """Where a settlement's outcome takes the payment; a pending one leaves it settling."""
    match outcome.status:
        case SettlementStatus.CONFIRMED:
            return PaymentPhase.CONFIRMED, None
        case SettlementStatus.CANCELLED:
            return PaymentPhase.CANCELLED, None
        case SettlementStatus.FAILED:
            return _after_failure(outcome, retries=retries, at=at)
        case _:
            return PaymentPhase.SETTLING, None


def phase_after_dispute(*, decided: bool, corrected: bool, agreed: bool) -> PaymentPhase:
    """Where a held payment goes on: a corrected time is decided anew, and an old approval does not cover it."""
    if corrected or not decided:
        return PaymentPhase.NONE
    return PaymentPhase.DUE if agreed else PaymentPhase.AWAITING_APPROVAL


@dataclass(frozen=True, slots=True)
class SlaContracts:
    """Addresses that an SLA payment involves; `pool` is the executor and payer (a G account)."""

    sla: str
    usdc: str
    reward_token: str
    pool: str


def settlement_id(outage_id: str) -> str:
    """The engine's name of an outage's payment: `outage:OUT001`."""
    return f"outage:{outage_id}"


def sla_intent(
    outage_id: str,
    decision: Decision,
    *,
    operator_wallet: str,
    noc_team_wallet: str,
    rca_hash: str | None,
    deployment: str,
    contracts: SlaContracts,
) -> Intent:
    """Say exactly what the engine is to settle: one contract call, and the authorization tree that we sign.

    A reward is a transfer out of the pool, so it stands below the call in the tree. A penalty is drawn by the
    contract out of the operator's allowance, which the pool does not authorize.
    """
    marker = marker_id(deployment, "outage", outage_id)
    reward = decision.kind is PaymentKind.REWARD
    pays = Invocation(
        contract=contracts.reward_token,
        function="transfer",
        arguments=(
            Argument(type="address", value=contracts.pool),
            Argument(type="address", value=noc_team_wallet),
            Argument(type="i128", value=str(decision.amount_units)),
        ),
    )
    rca = (Argument(type="bytes", value=rca_hash),) if rca_hash else ()
    return Intent(
        settlement_id=settlement_id(outage_id),
        marker_id=marker,
        invocation=Invocation(
            contract=contracts.sla,
            function="execute_payment",
            arguments=(
                Argument(type="bytes", value=marker),
                Argument(type="symbol", value=outage_id),
                Argument(type="u32", value=str(decision.severity.number)),
                Argument(type="u32", value=str(decision.mttr_minutes)),
                Argument(type="address", value=operator_wallet),
                Argument(type="address", value=noc_team_wallet),
                Argument(type="option", items=rca),
            ),
            calls=(pays,) if reward else (),
        ),
        payer=contracts.pool,
        amount_units=decision.amount_units,
        asset=contracts.reward_token if reward else contracts.usdc,
        source=contracts.pool if reward else operator_wallet,
        destination=noc_team_wallet if reward else contracts.pool,
        summary=f"{outage_id} {decision.sentence}",
    )


class PaymentRecord(BaseModel):
    """One line of the payments' history or of a month's statement; `amount_units` is in 1e-7 of `asset`."""

    model_config = ConfigDict(frozen=True)

    outage_id: str
    number: int
    """The outage's number, by which pages are cut."""
    site_name: str
    operator_id: str | None
    operator_wallet: str | None
    noc_team_wallet: str | None
    severity: Severity
    detected_at: datetime
    resolved_at: datetime
    mttr_minutes: int
    threshold_minutes: int
    kind: PaymentKind
    rating: Rating
    amount_units: int
    asset: str
    phase: PaymentPhase
    needs_approval: bool
    why_approval: str | None
    resolved_by: str | None
    approved_by: str | None
    tx_hash: str | None
    ledger: int | None
    decided_at: datetime
    confirmed_at: datetime | None
    reason_code: str | None
    reason: str | None
    reason_details: dict[str, str]

    @property
    def amount(self) -> Amount:
        """What is paid."""
        return Amount(self.amount_units)

    @property
    def settlement_id(self) -> str:
        """The engine's name of this payment."""
        return settlement_id(self.outage_id)
