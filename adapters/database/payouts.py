"""The payout book: what people may do with payouts. Each command runs in the caller's transaction.

One request is one transaction: the caller begins it, writes its audit entry beside the command, commits, and then
starts or wakes the story (`PayoutStories`).
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, Protocol

from sqlalchemy import func, or_, select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.database.engine import Database
from adapters.database.payout_rows import (
    change_payout,
    find_payout,
    in_words,
    lock_payout,
    payout_of,
    select_payouts,
    tell_of,
)
from adapters.database.payouts_tables import ENDED, payout_numbers, payouts, policies
from adapters.database.settlement_rows import set_status
from domain.errors import Conflict, Refused
from domain.events import EventType
from domain.payout import (
    Payout,
    PayoutPhase,
    PayoutTerms,
    check_approver,
    check_phase,
    payout_intent,
    settlement_id_of,
)
from domain.payout_policy import PayoutPolicy
from domain.payout_request import PayoutRequest, check_same
from domain.settlement import Control, Intent, SettlementOutcome, SettlementStatus

_IN_ORDER: Final = "payouts in order of "
# Made once: to put a statement together takes longer than to send it.
_INSERT: Final = (
    upsert(payouts).values(number=payout_numbers.next_value()).on_conflict_do_nothing().returning(payouts.c.number)
)


class Settlements(Protocol):
    """What the book asks of the settlement engine."""

    async def accept(self, connection: AsyncConnection, intent: Intent) -> SettlementOutcome:
        """Record an intent; the same again is the existing one, another under the same id a Conflict."""

    async def control(self, connection: AsyncConnection, settlement_id: str, control: Control) -> None:
        """Ask that a settlement be held, resumed (`NONE`), bumped or cancelled; a Conflict where it is final."""


def intent_of(request: PayoutRequest, terms: PayoutTerms) -> Intent:
    """What the engine is to settle for a request."""
    return payout_intent(
        request.payout_id,
        paid_to=request.paid_to,
        amount=request.amount,
        token=request.token,
        mode=terms.mode,
        signing=request.signing or terms.signing,
        signer=request.signer,
        terms=terms,
        summary=in_words(request),
    )


class PolicyBook:
    """Versions of the policy; the same terms are the same version, for good."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: dict[str, int] = {}

    async def version_of(self, policy: PayoutPolicy) -> int:
        """The version that says what this policy says; written down where it is new.

        Raises:
            Unavailable: the database does not answer.
        """
        digest = policy.digest
        if digest not in self._known:
            async with self._database.begin() as connection:
                await connection.execute(
                    upsert(policies).values(digest=digest, terms=policy.terms).on_conflict_do_nothing()
                )
                query = select(policies.c.version).where(policies.c.digest == digest)
                self._known[digest] = (await connection.execute(query)).scalar_one()
        return self._known[digest]


class PayoutBook:
    """Commands on payouts. `by` is a person's id, `at` is now; all raise NotFound for an unknown id."""

    def __init__(self, database: Database, settlements: Settlements, policy: PayoutPolicy) -> None:
        self._settlements = settlements
        self._policy = policy
        self._policies = PolicyBook(database)

    async def policy_version(self) -> int:
        """The version of the policy that holds here; asked for before the transaction of `accept`."""
        return await self._policies.version_of(self._policy)

    async def accept(
        self,
        connection: AsyncConnection,
        request: PayoutRequest,
        terms: PayoutTerms,
        *,
        policy_version: int,
        by: str,
        at: datetime,
    ) -> tuple[Payout, bool]:
        """Write down a payout, and hand it to the engine where nothing is to be waited for.

        Gives the payout and whether it is new: the same request again gives the first one's.

        Raises:
            Conflict: `idempotency_conflict`: the key or the id was used with another payload.
            Refused: the policy forbids it; nothing is written down.
        """
        if request.ordered:
            # Numbers are given out before they are committed: one at a time, so that their order is acceptance's.
            lock = func.pg_advisory_xact_lock(func.hashtextextended(_IN_ORDER + terms.payer, 0))
            await connection.execute(select(lock))
        intent = intent_of(request, terms)
        decision = self._policy.decide(intent, version=policy_version, stage="accepted", at=at)
        waits = (request.not_before is not None and request.not_before > at) or (
            request.ordered and await _somebody_is_before(connection, terms.payer)
        )
        phase = PayoutPhase.DUE if waits else PayoutPhase.SETTLING
        if decision.needs_approval:
            phase = PayoutPhase.AWAITING_APPROVAL
        inserted = await connection.execute(
            _INSERT,
            request.model_dump()
            | {
                "fingerprint": request.fingerprint,
                "settlement_id": settlement_id_of(request.payout_id),
                "mode": terms.mode,
                "payer": terms.payer,
                "contract": terms.contract,
                "phase": phase,
                "policy_version": policy_version,
                "policy": [decision.model_dump(mode="json")],
                "needs_approval": decision.needs_approval,
                "why_approval": decision.why if decision.needs_approval else None,
                "created_by": by,
                "created_at": at,
                "changed_at": at,
            },
        )
        number = inserted.scalar_one_or_none()
        if number is None:
            before = await self.accepted_before(connection, request)
            if before is None:
                raise AssertionError(f"{request.payout_id} was refused by no payout that is there")
            return before, False
        if not decision.allowed:
            raise Refused(decision.why or "the policy forbids it", code=decision.code, **decision.details)
        if phase is PayoutPhase.SETTLING:
            await self._settlements.accept(connection, intent)
        await tell_of(connection, request.payout_id, EventType.PAYOUT_CREATED, at=at)
        if decision.needs_approval:
            await tell_of(
                connection,
                request.payout_id,
                EventType.PAYOUT_AWAITING_APPROVAL,
                at=at,
                more={"reason": decision.why or ""},
            )
        # As it was written: reading it back would tell nothing else.
        payout = Payout(
            payout_id=request.payout_id,
            number=number,
            request=request,
            phase=phase,
            status=SettlementStatus.ACCEPTED if phase is PayoutPhase.SETTLING else None,
            shown_status=SettlementStatus.ACCEPTED,
            not_before=request.not_before,
            ordered=request.ordered,
            turn=not waits,
            amount_units=request.amount_units,
            asset=request.asset,
            mode=terms.mode,
            payer=terms.payer,
            contract=terms.contract,
            created_at=at,
            created_by=by,
            changed_at=at,
            updated_at=at,
            needs_approval=decision.needs_approval,
            why_approval=decision.why if decision.needs_approval else None,
            attempts=1 if phase is PayoutPhase.SETTLING else 0,
            policy=(decision,),
        )
        return payout, True

    async def accepted_before(self, connection: AsyncConnection, request: PayoutRequest) -> Payout | None:
        """The payout that a request made before; None where it is the first of its key and id.

        Raises:
            Conflict: `idempotency_conflict`: the key or the id was used with another payload.
        """
        query = select_payouts().where(
            or_(
                payouts.c.idempotency_key == request.idempotency_key,
                payouts.c.payout_id == request.payout_id,
            )
        )
        found = [payout_of(row) for row in (await connection.execute(query)).mappings()]
        # The key speaks first: who repeats it with another id is told of the id.
        found.sort(key=lambda one: one.request.idempotency_key != request.idempotency_key)
        if not found:
            return None
        check_same(found[0].request, request)
        return found[0]

    async def approve(self, connection: AsyncConnection, payout_id: str, *, by: str, at: datetime) -> Payout:
        """Agree to a payout above the four-eyes limit; the same person again is the same answer.

        Raises:
            Forbidden: `four_eyes`: the person asked for it.
            Conflict: `wrong_state`: it does not wait for approval.
        """
        payout = await lock_payout(connection, payout_id)
        if payout.approved_by == by:
            return payout
        if payout.phase is not PayoutPhase.AWAITING_APPROVAL:
            raise Conflict(f"{payout_id} is {payout.phase}; it does not wait for approval", code="wrong_state")
        check_approver(payout_id, initiator=payout.created_by, by=by)
        payout = await change_payout(
            connection, payout_id, at=at, phase=PayoutPhase.DUE, approved_by=by, approved_at=at
        )
        await tell_of(connection, payout_id, EventType.PAYOUT_APPROVED, at=at, more={"by": by})
        return payout

    async def hold(self, connection: AsyncConnection, payout_id: str, *, by: str, at: datetime) -> Payout:
        """Keep a payout from going on; what was sent already may still land.

        Raises:
            Conflict: `wrong_state`: it has ended, or is being cancelled.
        """
        payout = await _lock_unended(connection, payout_id)
        if _is_with_engine(payout):
            await self._settlements.control(connection, payout.settlement_id, Control.HOLD)
        if not payout.held:
            await tell_of(connection, payout_id, EventType.PAYOUT_HELD, at=at, more={"by": by})
        return await change_payout(connection, payout_id, at=at, held=True)

    async def resume(self, connection: AsyncConnection, payout_id: str, *, by: str, at: datetime) -> Payout:
        """Let a held payout go on; one that is not held is left as it is.

        Raises:
            Conflict: `wrong_state`: it has ended, or is being cancelled.
        """
        payout = await _lock_unended(connection, payout_id)
        if _is_with_engine(payout):
            await self._settlements.control(connection, payout.settlement_id, Control.NONE)
        if payout.held:
            await tell_of(connection, payout_id, EventType.PAYOUT_RESUMED, at=at, more={"by": by})
        return await change_payout(connection, payout_id, at=at, held=False)

    async def bump_fee(self, connection: AsyncConnection, payout_id: str, *, at: datetime) -> Payout:
        """Raise the bid of what was sent, within max gas; nobody signs again.

        Raises:
            Conflict: `wrong_state`: the engine does not have it, or it is held or being cancelled.
        """
        payout = await lock_payout(connection, payout_id)
        if payout.phase is not PayoutPhase.SETTLING:
            raise Conflict(
                f"{payout_id} is {payout.phase}; only one with the engine has a fee to raise", code="wrong_state"
            )
        await self._settlements.control(connection, payout.settlement_id, Control.BUMP)
        return await change_payout(connection, payout_id, at=at)

    async def verify(self, connection: AsyncConnection, payout_id: str, *, at: datetime) -> Payout:
        """Have the ledger asked anew; the story does that when it is woken.

        Raises:
            Conflict: `wrong_state`: the engine does not have it.
        """
        payout = await lock_payout(connection, payout_id)
        if payout.phase is not PayoutPhase.SETTLING:
            raise Conflict(
                f"{payout_id} is {payout.phase}; only one with the engine is verified", code="wrong_state"
            )
        return await change_payout(connection, payout_id, at=at)

    async def cancel(self, connection: AsyncConnection, payout_id: str, *, at: datetime) -> Payout:
        """Withdraw a payout: at once where nothing was sent, else when it is proved that it cannot land.

        Raises:
            Conflict: `wrong_state`: it is paid.
        """
        payout = await lock_payout(connection, payout_id)
        if payout.phase is PayoutPhase.CANCELLED:
            return payout
        if _is_with_engine(payout):
            if payout.control is not Control.CANCEL:
                await self._settlements.control(connection, payout.settlement_id, Control.CANCEL)
            return await change_payout(
                connection, payout_id, at=at, cancel_requested_at=payout.cancel_requested_at or at
            )
        if payout.phase is PayoutPhase.CONFIRMED:
            raise Conflict(
                f"{payout_id} is paid ({payout.tx_hash}); it can no longer be cancelled", code="wrong_state"
            )
        check_phase(payout_id, payout.phase, PayoutPhase.CANCELLED)
        if payout.phase is PayoutPhase.BUILT:
            # No lane ever had it: nothing has to be proved, and its phase and event follow the settlement's.
            await set_status(
                connection,
                payout.settlement_id,
                SettlementStatus.CANCELLED,
                reason_code="cancelled",
                reason="cancelled by an operator; it was never signed",
            )
            return await change_payout(connection, payout_id, at=at)
        payout = await change_payout(
            connection,
            payout_id,
            at=at,
            phase=PayoutPhase.CANCELLED,
            held=False,
            retry_at=None,
            reason_code="cancelled",
            reason="cancelled by an operator; nothing was sent",
        )
        await tell_of(connection, payout_id, EventType.PAYOUT_CANCELLED, at=at)
        return payout

    async def retry(self, connection: AsyncConnection, payout_id: str, *, at: datetime) -> Payout:
        """Have a failed payout tried again under the same id: its money moves at most once.

        Raises:
            Conflict: `wrong_state`: it has not failed.
        """
        payout = await lock_payout(connection, payout_id)
        if payout.phase not in {PayoutPhase.FAILED, PayoutPhase.RETRYING}:
            raise Conflict(f"{payout_id} is {payout.phase}; only a failed one is retried", code="wrong_state")
        return await change_payout(connection, payout_id, at=at, **AGAIN, tries=1)


AGAIN: Final[dict[str, Any]] = {
    "phase": PayoutPhase.DUE,
    "retry_at": None,
    "reason_code": None,
    "reason": None,
    "reason_details": {},
}
"""What a payout forgets when it is tried again."""


def _is_with_engine(payout: Payout) -> bool:
    """Whether the engine may still move it; what it proved unpaid is the story's, or ours to end."""
    return payout.phase is PayoutPhase.SETTLING and payout.status is not SettlementStatus.FAILED


async def _lock_unended(connection: AsyncConnection, payout_id: str) -> Payout:
    payout = await lock_payout(connection, payout_id)
    if payout.ended:
        raise Conflict(f"{payout_id} is {payout.phase}: it has ended", code="wrong_state")
    if payout.cancel_requested_at is not None:
        raise Conflict(f"{payout_id} is being cancelled", code="wrong_state")
    return payout


async def _somebody_is_before(connection: AsyncConnection, payer: str) -> bool:
    query = select(payouts.c.number).where(
        payouts.c.ordered, payouts.c.payer == payer, payouts.c.phase.not_in(ENDED)
    )
    return (await connection.execute(query.limit(1))).one_or_none() is not None


async def next_in_order(connection: AsyncConnection, payout_id: str) -> str | None:
    """The ordered payout of the same payer whose turn it is, if another one's is; None where there is none."""
    payout = await find_payout(connection, payout_id)
    query = (
        select(payouts.c.payout_id)
        .where(payouts.c.ordered, payouts.c.payer == payout.payer, payouts.c.phase.not_in(ENDED))
        .order_by(payouts.c.number)
        .limit(1)
    )
    return (await connection.execute(query)).scalar_one_or_none()
