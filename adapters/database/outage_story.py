"""What the outage story writes: warnings, decision and intent, outcome. One call is one transaction."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Protocol

from sqlalchemy import insert, select, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection

from activities.settlement_parts import Settlement
from adapters.database.engine import Database
from adapters.database.outage_news import tell_of
from adapters.database.outage_rows import change_outage, find_outage, lock_outage
from adapters.database.outages_tables import decisions, outages, warnings
from adapters.database.registry_tables import operators
from domain.errors import Conflict, Refused
from domain.events import EventType
from domain.money import Amount
from domain.outage import Outage, OutageStanding, OutageStatus, warnings_due
from domain.settlement import Intent, SettlementOutcome, SettlementStatus
from domain.sla import minutes_to_repair
from domain.sla_payment import (
    OperatorTerms,
    PaymentPhase,
    PaymentRules,
    SlaContracts,
    check_phase,
    decision_of,
    phase_after,
    sla_intent,
)


class Settlements(Protocol):
    """What the story asks of the settlement engine, inside its own transaction."""

    async def accept(self, connection: AsyncConnection, intent: Intent) -> SettlementOutcome:
        """Record an intent; the same again is the existing one, another under the same id a Conflict."""

    async def retry(self, connection: AsyncConnection, intent: Intent) -> SettlementOutcome:
        """Take up a failed settlement again."""

    async def read(self, connection: AsyncConnection, settlement_id: str) -> Settlement:
        """Read how a settlement stands."""


class OutageDesk:
    """The story's hands in Postgres."""

    def __init__(
        self,
        database: Database,
        settlements: Settlements,
        *,
        rules: PaymentRules,
        contracts: SlaContracts,
        deployment: str,
    ) -> None:
        self._database = database
        self._settlements = settlements
        self._rules = rules
        self._contracts = contracts
        self._deployment = deployment

    async def take_stock(self, outage_id: str, at: datetime) -> OutageStanding:
        """Read the outage and write what follows from it at `at` without asking anybody.

        Warnings that are due are told; a resolved outage is decided; a payment that needs nobody's approval, or
        has got it, becomes the engine's intent, in the same transaction as the decision.

        Raises:
            NotFound: there is no such outage.
            Unavailable: the database does not answer.
        """
        async with self._database.begin() as connection:
            outage = await _lock_and_see(connection, outage_id)
            outage = await self._warn(connection, outage, at)
            if outage.status is OutageStatus.RESOLVED:
                if outage.phase is PaymentPhase.NONE:
                    outage = await self._decide(connection, outage, at)
                if outage.phase is PaymentPhase.RETRYING and outage.retry_at is not None and outage.retry_at <= at:
                    outage = await self._advance(
                        connection, outage, PaymentPhase.DUE, at, retries=outage.retries + 1, retry_at=None
                    )
                if outage.phase is PaymentPhase.DUE:
                    outage = await self._begin_payment(connection, outage, at)
            return standing_of(outage)

    async def record_outcome(self, outage_id: str, outcome: SettlementOutcome, at: datetime) -> OutageStanding:
        """Write down what the engine says of the payment; a pending outcome, or the same again, changes nothing.

        Raises:
            NotFound: there is no such outage.
            Unavailable: the database does not answer.
        """
        async with self._database.begin() as connection:
            outage = await _lock_and_see(connection, outage_id)
            if outcome.status is SettlementStatus.FAILED and outage.phase is PaymentPhase.SETTLING:
                # A failure alone is not for good. Where a story was reset, or told late, the next try may be in
                # flight by now: the engine's row decides.
                outcome = (await self._settlements.read(connection, outage.settlement_id)).outcome
            phase, retry_at = phase_after(outcome, retries=outage.retries, at=at)
            if outage.phase is not PaymentPhase.SETTLING or phase is PaymentPhase.SETTLING:
                return standing_of(outage)
            match phase:
                case PaymentPhase.CONFIRMED:
                    outage = await self._advance(
                        connection,
                        outage,
                        phase,
                        at,
                        tx_hash=outcome.tx_hash,
                        ledger=outcome.ledger,
                        confirmed_at=outcome.closed_at or at,
                        reason_code=None,
                        reason=None,
                        reason_details={},
                    )
                    await tell_of(connection, outage, EventType.PAYMENT_CONFIRMED, at=at)
                case PaymentPhase.CANCELLED:
                    outage = await self._withdraw(connection, outage, at)
                case _:
                    outage = await self._not_paid(connection, outage, phase, outcome, at=at, retry_at=retry_at)
            return standing_of(outage)

    async def ask_person(self, outage_id: str, reason: str, at: datetime) -> OutageStanding:
        """Have a person look at a payment that has no proof yet; once per payment. It stays settling.

        Raises:
            NotFound: there is no such outage.
            Unavailable: the database does not answer.
        """
        async with self._database.begin() as connection:
            outage = await lock_outage(connection, outage_id)
            fresh = await connection.execute(
                update(outages)
                .where(outages.c.outage_id == outage_id, outages.c.asked_person_at.is_(None))
                .values(asked_person_at=at)
            )
            if fresh.rowcount:
                await tell_of(connection, outage, EventType.PAYMENT_UNKNOWN, reason=reason, at=at)
            return standing_of(outage)

    async def _warn(self, connection: AsyncConnection, outage: Outage, at: datetime) -> Outage:
        """Tell of the highest warning that is due, and record all of them."""
        due = warnings_due(outage, at=at)
        if not due:
            return outage
        for percent in due:
            await connection.execute(
                postgresql.insert(warnings)
                .values(outage_id=outage.outage_id, percent=percent, recorded_at=at, told=percent == due[-1])
                .on_conflict_do_nothing()
            )
        await tell_of(connection, outage, EventType.OUTAGE_WARNING, percent=str(due[-1]), at=at)
        return await find_outage(connection, outage.outage_id)

    async def _decide(self, connection: AsyncConnection, outage: Outage, at: datetime) -> Outage:
        if outage.resolved_at is None:
            raise AssertionError(f"{outage.outage_id} is resolved without a time")
        decision = decision_of(outage.severity, minutes_to_repair(outage.detected_at, outage.resolved_at), at=at)
        why = self._rules.why_approval(decision.amount, await _operator_terms(connection, outage.operator_id))
        await connection.execute(
            insert(decisions).values(
                outage_id=outage.outage_id,
                needs_approval=why is not None,
                why_approval=why,
                **decision.model_dump(),
            )
        )
        phase = PaymentPhase.AWAITING_APPROVAL if why else PaymentPhase.DUE
        outage = await self._advance(connection, outage, phase, at)
        await tell_of(connection, outage, EventType.OUTAGE_DECIDED, at=at)
        if why:
            await tell_of(connection, outage, EventType.PAYMENT_AWAITING_APPROVAL, reason=why, at=at)
        return outage

    async def _begin_payment(self, connection: AsyncConnection, outage: Outage, at: datetime) -> Outage:
        try:
            intent = self._intent(outage)
            # A conflict must not take the decision back with it.
            async with connection.begin_nested():
                await self._accept(connection, intent)
        except Refused as refusal:
            refused = SettlementOutcome.failed(
                outage.settlement_id, refusal.code, refusal.message, **refusal.details
            )
            return await self._not_paid(connection, outage, PaymentPhase.REFUSED, refused, at=at)
        outage = await self._advance(
            connection,
            outage,
            PaymentPhase.SETTLING,
            at,
            asked_person_at=None,
        )
        await tell_of(connection, outage, EventType.PAYMENT_SUBMITTED, at=at)
        return outage

    async def _accept(self, connection: AsyncConnection, intent: Intent) -> None:
        """Hand the intent over; a settlement that has failed begins again, also with corrected arguments.

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

    def _intent(self, outage: Outage) -> Intent:
        if outage.decision is None:
            raise AssertionError(f"{outage.outage_id} is due without a decision")
        if outage.operator_wallet is None or outage.noc_team_wallet is None:
            wallets = {"operator_wallet": outage.operator_wallet, "noc_team_wallet": outage.noc_team_wallet}
            missing = [name for name, wallet in wallets.items() if wallet is None]
            raise Refused(
                f"no {' and no '.join(missing)} is known for {outage.outage_id}: name it with the payment's retry",
                code="wallet_missing",
                wallet=", ".join(missing),
            )
        return sla_intent(
            outage.outage_id,
            outage.decision,
            operator_wallet=outage.operator_wallet,
            noc_team_wallet=outage.noc_team_wallet,
            rca_hash=outage.rca_hash,
            deployment=self._deployment,
            contracts=self._contracts,
        )

    async def _not_paid(
        self,
        connection: AsyncConnection,
        outage: Outage,
        phase: PaymentPhase,
        outcome: SettlementOutcome,
        *,
        at: datetime,
        retry_at: datetime | None = None,
    ) -> Outage:
        if outage.cancel_requested_at is not None:
            return await self._withdraw(connection, outage, at)
        if outage.status is OutageStatus.DISPUTED:
            phase, retry_at = PaymentPhase.HELD, None
        outage = await self._advance(
            connection,
            outage,
            phase,
            at,
            retry_at=retry_at,
            reason_code=outcome.reason_code,
            reason=outcome.reason,
            reason_details=outcome.details,
        )
        await tell_of(
            connection,
            outage,
            EventType.PAYMENT_RETRYING if phase is PaymentPhase.RETRYING else EventType.PAYMENT_REFUSED,
            at=at,
        )
        return outage

    async def _withdraw(self, connection: AsyncConnection, outage: Outage, at: datetime) -> Outage:
        """Nothing will be paid: because the outage was to be cancelled, or its payment alone was."""
        asked = outage.cancel_requested_at is not None
        values: dict[str, Any] = {"status": OutageStatus.CANCELLED, "cancelled_at": at} if asked else {}
        outage = await self._advance(connection, outage, PaymentPhase.CANCELLED, at, **values)
        said = EventType.OUTAGE_CANCELLED if asked else EventType.PAYMENT_CANCELLED
        await tell_of(connection, outage, said, at=at)
        return outage

    async def _advance(
        self,
        connection: AsyncConnection,
        outage: Outage,
        phase: PaymentPhase,
        at: datetime,
        **values: Any,
    ) -> Outage:
        try:
            check_phase(outage.outage_id, outage.phase, phase)
        except Conflict as error:
            raise AssertionError(str(error)) from error
        return await change_outage(connection, outage.outage_id, at=at, by_story=True, phase=phase, **values)


async def _lock_and_see(connection: AsyncConnection, outage_id: str) -> Outage:
    """Lock the outage, and note that the story has seen it as it is: no wake is owed to it."""
    outage = await lock_outage(connection, outage_id)
    await connection.execute(
        update(outages).where(outages.c.outage_id == outage_id).values(seen_version=outages.c.version)
    )
    return outage


async def _operator_terms(connection: AsyncConnection, operator_id: str | None) -> OperatorTerms:
    """Read an operator's own switch and limit; one that is not registered has none."""
    query = select(operators.c.auto_payment, operators.c.auto_payment_max_units).where(
        operators.c.id == operator_id
    )
    row = (await connection.execute(query)).one_or_none()
    if row is None:
        return OperatorTerms()
    limit = row.auto_payment_max_units
    return OperatorTerms(auto=row.auto_payment, auto_max=None if limit is None else Amount(limit))


def standing_of(outage: Outage) -> OutageStanding:
    """The part of the record that goes to the story."""
    return OutageStanding(**{name: getattr(outage, name) for name in OutageStanding.model_fields})


async def unfinished_outages(
    connection: AsyncConnection,
    *,
    older_than: datetime,
    after: int = 0,
    limit: int = 1000,
    only: str | None = None,
) -> list[tuple[str, int, bool]]:
    """Outages whose story has not ended, as (id, number, whether it missed news), by number.

    Rows that changed after `older_than` are left out: they were most likely just woken. `only` asks for one.
    """
    # While the engine has it, the story looks again when the engine answers.
    missed = (outages.c.version > outages.c.seen_version) & (outages.c.phase != PaymentPhase.SETTLING)
    query = (
        select(outages.c.outage_id, outages.c.number, missed)
        .where(
            outages.c.phase.not_in([PaymentPhase.CONFIRMED, PaymentPhase.CANCELLED]),
            outages.c.changed_at < older_than,
            outages.c.number > after,
        )
        .order_by(outages.c.number)
        .limit(limit)
    )
    if only is not None:
        query = query.where(outages.c.outage_id == only)
    return [(row[0], row[1], row[2]) for row in (await connection.execute(query)).all()]
