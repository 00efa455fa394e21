"""A payout: its phases, what its story waits for, who has to agree, and the engine's intent. All of it is pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from pydantic import BaseModel, Field

from domain.errors import Conflict, Forbidden, InvalidInput
from domain.money import Amount
from domain.payout_policy import PolicyDecision
from domain.payout_request import PayoutRequest
from domain.settlement import (
    Argument,
    Control,
    Intent,
    Invocation,
    SettlementOutcome,
    SettlementStatus,
    SigningMode,
    marker_id,
)

EXTERNAL: Final = "external"
"""The signer who is somebody outside."""


class PayoutMode(StrEnum):
    """What becomes of a payout once it is built, as the settings say when it is accepted."""

    BUILD_ONLY = "build_only"
    """It ends as an unsigned envelope: PAYOUTS_LIVE_EXECUTION is false."""
    QUEUED = "queued"
    """A signer of ours signs at once, and it is sent."""
    EXTERNAL = "awaiting_signature"
    """It waits until somebody outside has signed."""


class PayoutPhase(StrEnum):
    """Where a payout stands beside the settlement engine, which alone knows where the money is."""

    AWAITING_APPROVAL = "awaiting_approval"
    """Above the four-eyes limit: another person than the one who asked for it has to agree."""
    DUE = "due"
    """Agreed: it waits for its time or its turn, and then goes to the engine."""
    SETTLING = "settling"
    """The engine has it; money may be on its way."""
    RETRYING = "retrying"
    """Proved not paid, for a reason that may pass: it is tried again by itself at `retry_at`."""
    FAILED = "failed"
    """Proved not paid. Nothing happens until a person asks for a retry."""
    BUILT = "built"
    """Build only: the unsigned envelope is there, and nothing is sent."""
    CONFIRMED = "confirmed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """Whether nothing more happens by itself."""
        return self in {PayoutPhase.FAILED, PayoutPhase.BUILT, PayoutPhase.CONFIRMED, PayoutPhase.CANCELLED}


_P = PayoutPhase
PHASES: Final[Mapping[PayoutPhase, Mapping[PayoutPhase, str]]] = MappingProxyType(
    {
        _P.AWAITING_APPROVAL: {
            _P.DUE: "another person agreed",
            _P.CANCELLED: "withdrawn; the engine never had it",
        },
        _P.DUE: {
            _P.SETTLING: "its time and its turn have come: the engine accepted the intent",
            _P.FAILED: "refused by the policy as it is now; the engine never had it",
            _P.CANCELLED: "withdrawn; the engine never had it, or proved it not paid",
        },
        _P.SETTLING: {
            _P.CONFIRMED: "the ledger has it",
            _P.BUILT: "built only, as was asked",
            _P.RETRYING: "proved not paid, for a reason that may pass",
            _P.FAILED: "proved not paid",
            _P.CANCELLED: "withdrawn, and proved that it cannot land",
        },
        _P.RETRYING: {
            _P.DUE: "its time has come, or a person asked",
            _P.CANCELLED: "withdrawn; it is proved not paid",
        },
        _P.FAILED: {
            _P.DUE: "a person asked for a retry",
            _P.CANCELLED: "given up; it is proved not paid",
        },
        _P.BUILT: {
            _P.CANCELLED: "withdrawn; nothing was ever signed",
        },
        _P.CONFIRMED: {},
        _P.CANCELLED: {},
    }
)
"""From → to → why it happens."""


def check_phase(payout_id: str, old: PayoutPhase, new: PayoutPhase) -> None:
    """Let only transitions of `PHASES` pass.

    Raises:
        Conflict: `wrong_state`, naming what would be allowed.
    """
    if new not in PHASES[old]:
        allowed = ", ".join(PHASES[old]) or "nothing: it is final"
        raise Conflict(f"{payout_id} is {old}; it can become {allowed}, not {new}", code="wrong_state")


def settlement_id_of(payout_id: str) -> str:
    """The engine's name of a payout."""
    return f"payout:{payout_id}"


class PayoutStanding(BaseModel):
    """What the story needs to know of a payout: no address and no free text."""

    payout_id: str
    phase: PayoutPhase
    status: SettlementStatus | None = None
    """Of its settlement; None before the engine has it."""
    control: Control = Control.NONE
    held: bool = False
    not_before: datetime | None = None
    retry_at: datetime | None = None
    expires_at: datetime | None = None
    """Of a signing request."""
    ordered: bool = False
    turn: bool = True
    """Of an ordered one: whether those before it have ended."""
    amount_units: int = 0
    asset: str = ""
    tx_hash: str | None = None
    reason_code: str | None = None
    reason: str | None = None

    @property
    def settlement_id(self) -> str:
        """The engine's name of this payout."""
        return settlement_id_of(self.payout_id)

    @property
    def ended(self) -> bool:
        """Whether nothing is left for the story to do."""
        return self.phase.ended


class Waits(StrEnum):
    """What has to happen first."""

    APPROVAL = "approval"
    TIME = "time"
    TURN = "turn"
    RESUME = "resume"
    SIGNATURE = "signature"
    LEDGER = "ledger"
    LATER = "later"
    PERSON = "person"
    NOTHING = "nothing"


def waits_for(payout: PayoutStanding, *, at: datetime) -> Waits:
    """Say what has to happen first at `at`; `NOTHING` where it is over, or goes on by itself."""
    waits = {
        PayoutPhase.AWAITING_APPROVAL: Waits.APPROVAL,
        PayoutPhase.FAILED: Waits.PERSON,
        PayoutPhase.RETRYING: Waits.LATER,
        PayoutPhase.SETTLING: _of_engine(payout),
    }.get(payout.phase, Waits.NOTHING)
    if payout.phase is PayoutPhase.DUE:
        if payout.not_before is not None and payout.not_before > at:
            waits = Waits.TIME
        elif not payout.turn:
            waits = Waits.TURN
    return Waits.RESUME if payout.held and payout.phase in {PayoutPhase.DUE, PayoutPhase.RETRYING} else waits


def _of_engine(payout: PayoutStanding) -> Waits:
    if payout.status is None or payout.status.in_flight or payout.control is Control.CANCEL:
        return Waits.LEDGER
    if payout.control is Control.HOLD:
        return Waits.RESUME
    return Waits.SIGNATURE if payout.status is SettlementStatus.AWAITING_SIGNATURE else Waits.LEDGER


def wakes_at(payout: PayoutStanding, *, at: datetime) -> datetime | None:
    """When the story has something to do even if nobody calls."""
    match waits_for(payout, at=at):
        case Waits.TIME:
            return payout.not_before
        case Waits.LATER:
            return payout.retry_at
        case Waits.SIGNATURE:
            return payout.expires_at
        case _:
            return None


RETRY_DELAYS: Final = (
    timedelta(seconds=5),
    timedelta(seconds=30),
    timedelta(minutes=2),
    timedelta(minutes=10),
    timedelta(hours=1),
)
"""After a definite failure that may pass: how long to wait before the next try; the last one is repeated."""


def phase_after_failure(
    outcome: SettlementOutcome, *, tries: int, tries_max: int, at: datetime
) -> tuple[PayoutPhase, datetime | None]:
    """Say what a definite failure leads to, and when the next try is, if there is one by itself.

    `tries` have been made since a person last asked; `tries_max` is PAYOUTS_MAX_ATTEMPTS.
    """
    if outcome.may_pass and tries < tries_max:
        return PayoutPhase.RETRYING, at + RETRY_DELAYS[min(tries, len(RETRY_DELAYS)) - 1]
    return PayoutPhase.FAILED, None


def check_approver(payout_id: str, *, initiator: str, by: str) -> None:
    """Four eyes: the person who asked for a payout may not approve it.

    Raises:
        Forbidden: `four_eyes`.
    """
    if initiator == by:
        raise Forbidden(
            f"{payout_id} was asked for by the same person; another has to approve it", code="four_eyes"
        )


@dataclass(frozen=True, slots=True)
class PayoutTerms:
    """What the settings say of every payout: who pays, through which contract, and how it is signed."""

    contract: str
    method: str
    payer: str
    deployment: str
    mode: PayoutMode
    signing: SigningMode = SigningMode.ENVELOPE
    signers: tuple[str, ...] = ()
    """Those that a payout may name."""

    def of(self, request: PayoutRequest) -> PayoutTerms:
        """The terms as a request changes them: it may be built only, or name one of the signers on offer.

        Raises:
            InvalidInput: the signer is not on offer here.
        """
        signed = self.signed_by(request.signer)
        return replace(signed, mode=PayoutMode.BUILD_ONLY) if request.build_only else signed

    def signed_by(self, signer: str | None) -> PayoutTerms:
        """The terms where a signer is named; None: the one that PAYOUT_SIGNER names.

        Raises:
            InvalidInput: the signer is not on offer here; else anybody could choose the one that asks nobody.
        """
        if signer is not None and signer not in self.signers:
            offered = ", ".join(self.signers) or "none: leave it out"
            raise InvalidInput(
                f"the signer {signer} is not on offer here",
                signer=f"one of PAYOUT_SIGNERS_OFFERED: {offered}",
            )
        if signer is None or self.mode is PayoutMode.BUILD_ONLY:
            return self
        return replace(self, mode=PayoutMode.EXTERNAL if signer == EXTERNAL else PayoutMode.QUEUED)


def payout_intent(
    payout_id: str,
    *,
    paid_to: str,
    amount: Amount,
    token: str,
    mode: PayoutMode,
    signing: SigningMode,
    terms: PayoutTerms,
    signer: str | None = None,
    summary: str = "",
) -> Intent:
    """Say exactly what the engine is to settle: one call, which the payer's one authorization covers.

    The contract pays out of what it holds, so nothing stands below the call in the tree that is signed.
    """
    marker = marker_id(terms.deployment, "payout", payout_id)
    recipient = (
        Argument(type="address", value=paid_to),
        Argument(type="i128", value=str(amount.units)),
    )
    return Intent(
        settlement_id=settlement_id_of(payout_id),
        marker_id=marker,
        invocation=Invocation(
            contract=terms.contract,
            function=terms.method,
            arguments=(
                Argument(type="bytes", value=marker),
                Argument(type="address", value=token),
                Argument(type="vec", items=(Argument(type="vec", items=recipient),)),
            ),
        ),
        payer=terms.payer,
        amount_units=amount.units,
        asset=token,
        source=terms.contract,
        destination=paid_to,
        summary=summary,
        build_only=mode is PayoutMode.BUILD_ONLY,
        signing=SigningMode.ENVELOPE if mode is PayoutMode.BUILD_ONLY else signing,
        signer=signer,
    )


class Payout(PayoutStanding):
    """The whole record, for people."""

    number: int
    """In order of acceptance; pages are cut by it."""
    request: PayoutRequest
    mode: PayoutMode
    payer: str
    contract: str
    created_at: datetime
    created_by: str
    changed_at: datetime
    updated_at: datetime
    """When anything of it last changed, the settlement included."""
    shown_status: SettlementStatus
    """The guide's state: the settlement's, or `accepted` before the engine has it or while it is tried again."""
    needs_approval: bool = False
    why_approval: str | None = None
    approved_by: str | None = None
    approved_at: datetime | None = None
    cancel_requested_at: datetime | None = None
    tries: int = 1
    """Tries since a person last asked for one."""
    attempts: int = 0
    """All tries of the engine."""
    policy: tuple[PolicyDecision, ...] = ()
    reason_details: dict[str, str] = Field(default_factory=dict)
    ledger: int | None = None
    fee_charged: int | None = None
    """Stroops."""
    confirmed_at: datetime | None = None
    submitted_at: datetime | None = None
