"""What the payout story writes: its hand-over to the engine, and what a failure leads to.

How a payout ends well is written by the transaction that changes its settlement: see migration 0005.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Protocol

from sqlalchemy import and_, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from activities.settlement_parts import Settlement
from adapters.database.engine import Database
from adapters.database.payout_rows import change_payout, has_turn, lock_payout, tell_of
from adapters.database.payouts import AGAIN, PolicyBook, intent_of, next_in_order
from adapters.database.payouts_tables import ENDED, payouts
from domain.errors import Conflict, Refused
from domain.events import EventType
from domain.payout import (
    Payout,
    PayoutPhase,
    PayoutStanding,
    PayoutTerms,
    phase_after_failure,
)
from domain.payout_policy import PayoutPolicy
from domain.settlement import Intent, SettlementOutcome, SettlementStatus


class Settlements(Protocol):
    """What the story asks of the settlement engine, inside its own transaction."""

    async def accept(self, connection: AsyncConnection, intent: Intent) -> SettlementOutcome:
        """Record an intent; the same again is the existing one, another under the same id a Conflict."""

    async def retry(self, connection: AsyncConnection, intent: Intent) -> SettlementOutcome:
        """Take up a failed settlement again."""

    async def read(self, connection: AsyncConnection, settlement_id: str) -> Settlement:
        """Read how a settlement stands."""


class PayoutDesk:
    """The story's hands in Postgres. Satisfies `activities.payout.PayoutDesk`."""

    def __init__(
        self,
        database: Database,
        settlements: Settlements,
        *,
        policy: PayoutPolicy,
        terms: PayoutTerms | None,
        tries_max: int,
    ) -> None:
        """`terms` None: payouts are not configured here; `tries_max` is PAYOUTS_MAX_ATTEMPTS."""
        self._database = database
        self._settlements = settlements
        self._policy = policy
        self._policies = PolicyBook(database)
        self._terms = terms
        self._tries_max = tries_max

    async def take_stock(self, payout_id: str, at: datetime) -> PayoutStanding:
        """Read the payout and write what follows from it at `at` without asking anybody.

        Raises:
            NotFound: there is no such payout.
            Unavailable: the database does not answer.
        """
        version = await self._policies.version_of(self._policy)
        async with self._database.begin() as connection:
            payout = await _lock_and_see(connection, payout_id)
            if payout.phase is PayoutPhase.SETTLING and payout.status is not None and payout.status.final:
                payout = await self._make_good(connection, payout, at)
            due_again = payout.retry_at is not None and payout.retry_at <= at and not payout.held
            if payout.phase is PayoutPhase.RETRYING and due_again:
                payout = await change_payout(
                    connection, payout_id, at=at, by_story=True, **AGAIN, tries=payout.tries + 1
                )
            early = payout.not_before is not None and payout.not_before > at
            if payout.phase is PayoutPhase.DUE and payout.turn and not early and not payout.held:
                payout = await self._hand_over(connection, payout, version, at)
            return standing_of(payout)

    async def next_in_order(self, payout_id: str) -> str | None:
        """The ordered payout whose turn it is after this one, if there is one.

        Raises:
            NotFound: there is no such payout.
            Unavailable: the database does not answer.
        """
        async with self._database.begin() as connection:
            found = await next_in_order(connection, payout_id)
            return None if found == payout_id else found

    async def _make_good(self, connection: AsyncConnection, payout: Payout, at: datetime) -> Payout:
        """The settlement has ended and the payout's row does not say so: write it down."""
        outcome = (await self._settlements.read(connection, payout.settlement_id)).outcome
        match outcome.status:
            case SettlementStatus.FAILED if payout.cancel_requested_at is not None:
                phase, retry_at, said = PayoutPhase.CANCELLED, None, EventType.PAYOUT_CANCELLED
            case SettlementStatus.FAILED:
                phase, retry_at = phase_after_failure(
                    outcome, tries=payout.tries, tries_max=self._tries_max, at=at
                )
                retrying = phase is PayoutPhase.RETRYING
                said = EventType.PAYOUT_RETRYING if retrying else EventType.PAYOUT_FAILED
            case status:
                # Only a database that was put back in time gets here: the settlement's trigger wrote both.
                return await change_payout(
                    connection, payout.payout_id, at=at, by_story=True, phase=PayoutPhase(status.value)
                )
        payout = await change_payout(
            connection, payout.payout_id, at=at, by_story=True, phase=phase, retry_at=retry_at
        )
        await tell_of(connection, payout.payout_id, said, at=at)
        return payout

    async def _hand_over(self, connection: AsyncConnection, payout: Payout, version: int, at: datetime) -> Payout:
        """Ask the policy again, as it is now, and give the intent to the engine."""
        try:
            if self._terms is None:
                raise Refused("PAYOUT_CONTRACT_ID is not set: payouts cannot be made", code="contract_missing")
            # What it was accepted as stays: a setting that changed meanwhile does not send what was to be built.
            terms = replace(self._terms, mode=payout.mode)
            intent = intent_of(payout.request, terms)
            decision = self._policy.decide(intent, version=version, stage="handed_over", at=at)
            decisions = [one.model_dump(mode="json") for one in (*payout.policy, decision)]
            if not decision.allowed:
                raise Refused(decision.why or "the policy forbids it", code=decision.code, **decision.details)
            if decision.needs_approval and payout.approved_by is None:
                # The limit was lowered while it waited for its time or its turn.
                payout = await change_payout(
                    connection,
                    payout.payout_id,
                    at=at,
                    by_story=True,
                    phase=PayoutPhase.AWAITING_APPROVAL,
                    needs_approval=True,
                    why_approval=decision.why,
                    policy=decisions,
                    policy_version=version,
                )
                await tell_of(connection, payout.payout_id, EventType.PAYOUT_AWAITING_APPROVAL, at=at)
                return payout
            # A conflict must not take the rest back with it.
            async with connection.begin_nested():
                await self._accept(connection, intent)
        except Refused as refusal:
            payout = await change_payout(
                connection,
                payout.payout_id,
                at=at,
                by_story=True,
                phase=PayoutPhase.FAILED,
                reason_code=refusal.code,
                reason=refusal.message,
                reason_details=refusal.details,
            )
            await tell_of(connection, payout.payout_id, EventType.PAYOUT_FAILED, at=at)
            return payout
        return await change_payout(
            connection,
            payout.payout_id,
            at=at,
            by_story=True,
            phase=PayoutPhase.SETTLING,
            policy=decisions,
            policy_version=version,
            payer=terms.payer,
            contract=terms.contract,
        )

    async def _accept(self, connection: AsyncConnection, intent: Intent) -> None:
        """Hand the intent over; a settlement that has failed begins again.

        Raises:
            Conflict: the settlement stands with another intent, and has not failed.
        """
        try:
            accepted = await self._settlements.accept(connection, intent)
        except Conflict as conflict:
            try:
                await self._settlements.retry(connection, intent)
            except Conflict:
                raise conflict from None
        else:
            if accepted.status is SettlementStatus.FAILED:
                await self._settlements.retry(connection, intent)


async def _lock_and_see(connection: AsyncConnection, payout_id: str) -> Payout:
    """Lock the payout, and note that the story has seen it as it is: no wake is owed to it."""
    payout = await lock_payout(connection, payout_id)
    await connection.execute(
        update(payouts).where(payouts.c.payout_id == payout_id).values(seen_version=payouts.c.version)
    )
    return payout


def standing_of(payout: Payout) -> PayoutStanding:
    """The part of the record that goes to the story."""
    return PayoutStanding(**{name: getattr(payout, name) for name in PayoutStanding.model_fields})


async def unended_payouts(
    connection: AsyncConnection, *, older_than: datetime, after: int = 0, limit: int = 500
) -> list[tuple[str, int, bool]]:
    """Payouts whose story has not ended, as (id, number, whether it missed news), by number.

    Rows that changed after `older_than` are left out: they were most likely just woken.
    """
    # While the engine has it, the story looks again when the engine answers; only a wait has to be woken. A turn
    # comes without a word where the one before it ended as another payer's, or its word was lost.
    due = and_(
        payouts.c.phase == PayoutPhase.DUE,
        ~payouts.c.held,
        or_(payouts.c.not_before.is_(None), payouts.c.not_before < older_than),
        has_turn,
    )
    missed = or_(payouts.c.version > payouts.c.seen_version, due)
    query = (
        select(payouts.c.payout_id, payouts.c.number, missed)
        .where(payouts.c.phase.not_in(ENDED), payouts.c.changed_at < older_than, payouts.c.number > after)
        .order_by(payouts.c.number)
        .limit(limit)
    )
    return [(row[0], row[1], row[2]) for row in await connection.execute(query)]
