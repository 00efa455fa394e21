"""What the outage story writes: warnings, decision and intent, outcome. One call is one transaction."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, Self

from sqlalchemy import insert, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection

from activities.settlement_parts import Settlement
from adapters.database.engine import Database
from adapters.database.outage_rows import StoryDraft
from adapters.database.outages_tables import decisions, outages, warnings
from domain.errors import Conflict, Refused
from domain.events import EventType
from domain.outage import Outage, OutageStanding, OutageStatus, warnings_due
from domain.settlement import Intent, SettlementOutcome, SettlementStatus
from domain.sla import minutes_to_repair
from domain.sla_payment import (
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
            draft = await StoryDraft.lock(connection, outage_id, at=at)
            _warn(draft, at)
            if draft.outage.status is OutageStatus.RESOLVED:
                if draft.outage.phase is PaymentPhase.NONE:
                    self._decide(draft, at)
                retry_at = draft.outage.retry_at
                if draft.outage.phase is PaymentPhase.RETRYING and retry_at is not None and retry_at <= at:
                    _advance(draft, PaymentPhase.DUE, retries=draft.outage.retries + 1, retry_at=None)
                if draft.outage.phase is PaymentPhase.DUE:
                    await self._begin_payment(connection, draft)
            return standing_of(await draft.write(connection))

    async def record_outcome(self, outage_id: str, outcome: SettlementOutcome, at: datetime) -> OutageStanding:
        """Write down what the engine says of the payment; a pending outcome, or the same again, changes nothing.

        Raises:
            NotFound: there is no such outage.
            Unavailable: the database does not answer.
        """
        async with self._database.begin() as connection:
            draft = await StoryDraft.lock(connection, outage_id, at=at)
            outage = draft.outage
            if outcome.status is SettlementStatus.FAILED and outage.phase is PaymentPhase.SETTLING:
                # A failure alone is not for good. Where a story was reset, or told late, the next try may be in
                # flight by now: the engine's row decides.
                outcome = (await self._settlements.read(connection, outage.settlement_id)).outcome
            phase, retry_at = phase_after(outcome, retries=outage.retries, at=at)
            if outage.phase is PaymentPhase.SETTLING and phase is not PaymentPhase.SETTLING:
                match phase:
                    case PaymentPhase.CONFIRMED:
                        confirm(draft, Payment.of(outcome))
                    case PaymentPhase.CANCELLED:
                        _withdraw(draft, at)
                    case _:
                        _not_paid(draft, phase, outcome, at=at, retry_at=retry_at)
            return standing_of(await draft.write(connection))

    async def ask_person(self, outage_id: str, reason: str, at: datetime) -> OutageStanding:
        """Have a person look at a payment that has no proof yet; once per payment. It stays settling.

        Raises:
            NotFound: there is no such outage.
            Unavailable: the database does not answer.
        """
        async with self._database.begin() as connection:
            draft = await StoryDraft.lock(connection, outage_id, at=at)
            asked = select(outages.c.asked_person_at).where(outages.c.outage_id == outage_id)
            if (await connection.execute(asked)).scalar_one() is None:
                draft.change(asked_person_at=at)
                draft.tell(EventType.PAYMENT_UNKNOWN, reason=reason)
            return standing_of(await draft.write(connection))

    def _decide(self, draft: StoryDraft, at: datetime) -> None:
        outage = draft.outage
        if outage.resolved_at is None:
            raise AssertionError(f"{outage.outage_id} is resolved without a time")
        decision = decision_of(outage.severity, minutes_to_repair(outage.detected_at, outage.resolved_at), at=at)
        why = self._rules.why_approval(decision.amount, draft.terms, draft.strange)
        row = insert(decisions).values(
            outage_id=outage.outage_id,
            needs_approval=why is not None,
            why_approval=why,
            **decision.model_dump(),
        )
        draft.add("decision", row, decision=decision, why_approval=why)
        _advance(draft, PaymentPhase.AWAITING_APPROVAL if why else PaymentPhase.DUE)
        draft.tell(EventType.OUTAGE_DECIDED)
        if why:
            draft.tell(EventType.PAYMENT_AWAITING_APPROVAL, reason=why)

    async def _begin_payment(self, connection: AsyncConnection, draft: StoryDraft) -> None:
        try:
            # Both compare before they write: a conflict leaves this transaction as it was.
            await self._accept(connection, self._intent(draft.outage))
        except Refused as refusal:
            refused = SettlementOutcome.failed(
                draft.outage.settlement_id, refusal.code, refusal.message, **refusal.details
            )
            _not_paid(draft, PaymentPhase.REFUSED, refused, at=draft.at)
        else:
            _advance(draft, PaymentPhase.SETTLING, asked_person_at=None)
            draft.tell(EventType.PAYMENT_SUBMITTED)

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


def _warn(draft: StoryDraft, at: datetime) -> None:
    """Tell of the highest warning that is due, and record all of them."""
    outage = draft.outage
    due = warnings_due(outage, at=at)
    for percent in due:
        row = postgresql.insert(warnings).values(
            outage_id=outage.outage_id, percent=percent, recorded_at=at, told=percent == due[-1]
        )
        warned = tuple(sorted({*outage.warned, *due}))
        draft.add(f"warning_{percent}", row.on_conflict_do_nothing(), warned=warned)
    if due:
        draft.tell(EventType.OUTAGE_WARNING, percent=str(due[-1]))


@dataclass(frozen=True, slots=True)
class Payment:
    """Where an outage's payment is on the ledger; one that was found by its marker does not say."""

    outage_id: str
    tx_hash: str | None
    ledger: int | None
    closed_at: datetime | None

    @classmethod
    def of(cls, outcome: SettlementOutcome) -> Self:
        """Take it from a confirmed settlement's outcome."""
        outage_id = outcome.settlement_id.partition(":")[2]
        return cls(outage_id, outcome.tx_hash, outcome.ledger, outcome.closed_at)


def confirm(draft: StoryDraft, payment: Payment) -> None:
    """The payment that was settling is on the ledger."""
    _advance(
        draft,
        PaymentPhase.CONFIRMED,
        tx_hash=payment.tx_hash,
        ledger=payment.ledger,
        confirmed_at=payment.closed_at or draft.at,
        reason_code=None,
        reason=None,
        reason_details={},
    )
    draft.tell(EventType.PAYMENT_CONFIRMED)


def _not_paid(
    draft: StoryDraft,
    phase: PaymentPhase,
    outcome: SettlementOutcome,
    *,
    at: datetime,
    retry_at: datetime | None = None,
) -> None:
    if draft.outage.cancel_requested_at is not None:
        _withdraw(draft, at)
        return
    if draft.outage.status is OutageStatus.DISPUTED:
        phase, retry_at = PaymentPhase.HELD, None
    _advance(
        draft,
        phase,
        retry_at=retry_at,
        reason_code=outcome.reason_code,
        reason=outcome.reason,
        reason_details=outcome.details,
    )
    draft.tell(
        EventType.PAYMENT_RETRYING if phase is PaymentPhase.RETRYING else EventType.PAYMENT_REFUSED,
    )


def _withdraw(draft: StoryDraft, at: datetime) -> None:
    """Nothing will be paid: because the outage was to be cancelled, or its payment alone was."""
    asked = draft.outage.cancel_requested_at is not None
    values: dict[str, Any] = {"status": OutageStatus.CANCELLED, "cancelled_at": at} if asked else {}
    _advance(draft, PaymentPhase.CANCELLED, **values)
    draft.tell(EventType.OUTAGE_CANCELLED if asked else EventType.PAYMENT_CANCELLED)


def _advance(draft: StoryDraft, phase: PaymentPhase, **values: Any) -> None:
    try:
        check_phase(draft.outage.outage_id, draft.outage.phase, phase)
    except Conflict as error:
        raise AssertionError(str(error)) from error
    draft.change(phase=phase, **values)


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
