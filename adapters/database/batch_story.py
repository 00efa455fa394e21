"""What the batch story writes: chunks handed to the engine, their outcomes, and the end. A call is a transaction.

The story holds no rows and decides nothing: it wakes, takes stock, and has the engine settle what stock-taking
left open. A story that was lost begins again where the record stands.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Protocol

from sqlalchemy import Row, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from activities.settlement_parts import Settlement
from adapters.database import forgotten
from adapters.database.batch_rows import change_batch, find_batch, lock_batch, standing_of, tell_of_batch
from adapters.database.batch_waits import what_goes_on
from adapters.database.batches_tables import batch_rows, batches, chunks
from adapters.database.engine import Database
from adapters.database.settlements_tables import settlements
from domain.address import account_of
from domain.batch import (
    AfterFailure,
    Batch,
    BatchStanding,
    BatchStatus,
    ChunkState,
    after_failure,
    attempt_of,
    chunk_intent,
    decimal_of,
    halves,
    settlement_id_of,
    window_of,
)
from domain.errors import Conflict
from domain.events import EventType
from domain.money import Amount
from domain.payout import EXTERNAL, PayoutMode, PayoutTerms
from domain.payout_policy import needs_four_eyes
from domain.settlement import Control, Intent, SettlementOutcome, SettlementStatus

_PAID: Final = 0
_AT_ONCE: Final = 20
"""So many chunks are handed over in one transaction; the first are with the engine while the next are."""
_FINAL: Final = tuple(status for status in SettlementStatus if status.final)
_ENDS: Final = {
    BatchStatus.CANCELLING: BatchStatus.CANCELLED,
    BatchStatus.RUNNING: BatchStatus.COMPLETED,
    BatchStatus.PAUSED: BatchStatus.COMPLETED,
    BatchStatus.STOPPED: BatchStatus.COMPLETED,
}


class Settlements(Protocol):
    """What the story asks of the settlement engine, inside its own transaction."""

    async def accept(self, connection: AsyncConnection, intent: Intent) -> SettlementOutcome:
        """Record an intent; the same again is the existing one, another under the same id a Conflict."""

    async def retry(self, connection: AsyncConnection, intent: Intent) -> SettlementOutcome:
        """Take up a failed settlement again."""

    async def read(self, connection: AsyncConnection, settlement_id: str) -> Settlement:
        """Read how a settlement stands."""

    async def control(self, connection: AsyncConnection, settlement_id: str, control: Control) -> None:
        """Ask that a settlement be cancelled; a Conflict where it is final."""


@dataclass(frozen=True, slots=True)
class BatchRules:
    """What the settings say of every batch: `window` chunks are with the engine at once, `blocked` never paid.

    At most `lanes_waiting` envelopes hold a lane while somebody outside signs. Above `four_eyes_above` another
    person has to agree before more is handed over (None: never).
    """

    terms: PayoutTerms
    window: int
    blocked: Collection[str] = ()
    lanes_waiting: int = 4
    four_eyes_above: Amount | None = None

    def lacks_approval(self, batch: Batch) -> bool:
        """Whether another person has to agree: the limit may have been lowered since the batch was accepted."""
        above = needs_four_eyes(batch.amount_units, above=self.four_eyes_above)
        return above and batch.approved_by is None

    def signed_outside(self, signer: str | None) -> bool:
        """Whether somebody outside signs for a batch that names this signer, or nobody."""
        return signer == EXTERNAL if signer is not None else self.terms.mode is PayoutMode.EXTERNAL


class BatchDesk:
    """The story's hands in Postgres."""

    def __init__(self, database: Database, settlements: Settlements, rules: BatchRules) -> None:
        self._database = database
        self._settlements = settlements
        self._rules = rules

    async def take_stock(self, batch_id: str, at: datetime) -> BatchStanding:
        """Write down what the engine says of the open chunks, and hand over the next ones as the status says.

        Raises:
            NotFound: there is no such batch.
            Unavailable: the database does not answer.
        """
        async with self._database.begin() as connection:
            batch = await lock_batch(connection, batch_id)
            await connection.execute(
                update(batches).where(batches.c.number == batch.number).values(seen_version=batches.c.version)
            )
            return await _Stock(connection, self._settlements, self._rules, batch, at).take()


class _Stock:
    """One stock-taking: a locked batch in one transaction."""

    def __init__(
        self, connection: AsyncConnection, settlements: Settlements, rules: BatchRules, batch: Batch, at: datetime
    ) -> None:
        self._connection = connection
        self._settlements = settlements
        self._rules = rules
        self._batch = batch
        self._at = at
        self._open = len(batch.open)
        self._outside = rules.signed_outside(batch.signer)
        self._window = window_of(
            batch.signing, outside=self._outside, window=rules.window, lanes_waiting=rules.lanes_waiting
        )
        self._untold: set[str] = set()
        """Settled on the ledger, without word who of the rows was paid: there is nothing left to settle."""
        self._forgets = False
        """Whether the record once went back in time, so that rows may have been paid under ids it lost."""

    async def take(self) -> BatchStanding:
        """Record, then hand over or withdraw; gives the batch as it is then."""
        for chunk in await self._chunks(ChunkState.OPEN, ended=True):
            await self._record(chunk, await self._settlements.read(self._connection, chunk.settlement_id))
        more = False
        if self._batch.status is BatchStatus.RUNNING:
            more = await self._hand_over()
        elif self._batch.status is BatchStatus.CANCELLING:
            await self._withdraw()
        batch = await self._end()
        told = standing_of(batch).model_copy(update={"more": more})
        return await what_goes_on(
            self._connection,
            batch,
            told,
            outside=self._outside,
            walks_max=self._rules.window,
            untold=self._untold,
            at=self._at,
        )

    # Handing over

    async def _hand_over(self) -> bool:
        """Fill the window, some at a time; whether there are more and room for them.

        A chunk that cannot be handed over is divided, and its halves take their turn.
        """
        room = min(self._window - self._open, _AT_ONCE)
        planned = await self._chunks(ChunkState.PLANNED, limit=room) if room > 0 else ()
        if planned and self._rules.lacks_approval(self._batch):
            await self._await_approval()
            return False
        self._forgets = bool(planned) and await forgotten.are_there(self._connection)
        for chunk in planned:
            await self._hand_over_one(chunk)
            if self._batch.status is not BatchStatus.RUNNING:
                return False
        if self._open >= self._window or not planned:
            return False
        return bool(await self._chunks(ChunkState.PLANNED, limit=1))

    async def _hand_over_one(self, chunk: Row[Any]) -> None:
        if self._forgets and await self._was_cut_anew(chunk):
            return
        intent, blocked = await self._intent(chunk)
        if blocked:
            sentence = "the destination is on the blocklist"
            await self._not_paid(
                chunk, SettlementOutcome.failed(chunk.settlement_id, "destination_blocked", sentence)
            )
            return
        try:
            # A conflict must not take the other chunks back with it.
            async with self._connection.begin_nested():
                accepted = await self._settlements.accept(self._connection, intent)
                if accepted.status is SettlementStatus.FAILED:
                    await self._settlements.retry(self._connection, intent)
        except Conflict as conflict:
            await self._stop(
                SettlementOutcome.failed(chunk.settlement_id, conflict.code, conflict.message, **conflict.details)
            )
            return
        self._open += 1
        await self._change(chunk, state=ChunkState.OPEN, tries=chunk.tries + 1)

    async def _was_cut_anew(self, chunk: Row[Any]) -> bool:
        """Whether its rows were paid under other ids before the record went back: then it is cut so again."""
        rows = await forgotten.rows_of(self._connection, self._batch.number, chunk.key)
        keys = await forgotten.paid_heirs(
            self._connection,
            self._rules.terms.deployment,
            self._batch.batch_id,
            chunk.key,
            [(row.row, row.attempt) for row in rows],
        )
        if not keys:
            return False
        if len(rows) > 1:
            await self._divide(chunk)
        else:
            await self._move(chunk, range(1), keys[0], attempt=attempt_of(keys[0], rows[0].attempt))
        await self._change(chunk, state=ChunkState.DIVIDED)
        return True

    async def _intent(self, chunk: Row[Any]) -> tuple[Intent, bool]:
        """What the engine is to settle, and whether one of the recipients may not be paid."""
        query = (
            select(batch_rows.c.destination, batch_rows.c.amount_units)
            .where(batch_rows.c.batch == self._batch.number, batch_rows.c.chunk == chunk.key)
            .order_by(batch_rows.c.position)
        )
        rows = (await self._connection.execute(query)).all()
        intent = chunk_intent(
            self._batch.batch_id,
            chunk.key,
            [(row.destination, int(row.amount_units)) for row in rows],
            token=self._batch.token,
            signing=self._batch.signing,
            signer=self._batch.signer,
            terms=self._rules.terms,
        )
        blocked = self._rules.blocked
        return intent, bool(blocked) and any(
            row.destination in blocked or account_of(row.destination) in blocked for row in rows
        )

    # What came of it

    async def _record(self, chunk: Row[Any], settlement: Settlement) -> None:
        outcome = settlement.outcome
        if outcome.status is not SettlementStatus.CONFIRMED:
            self._open -= 1
            await self._not_paid(chunk, outcome)
            return
        outcomes = bytes(outcome.outcomes) if settlement.intent.partial else bytes([_PAID])
        if len(outcomes) != chunk.rows:
            self._untold.add(chunk.settlement_id)
            sentence = f"the ledger has {chunk.settlement_id}, and not yet who of its {chunk.rows} rows was paid"
            await self._stop(SettlementOutcome.failed(chunk.settlement_id, "outcome_unknown", sentence))
            return
        self._open -= 1
        paid = outcomes.count(_PAID)
        await self._change(
            chunk,
            state=ChunkState.SETTLED,
            outcomes=outcomes,
            paid=paid,
            failed=chunk.rows - paid,
            paid_units=chunk.amount_units if paid == chunk.rows else await self._paid_units(chunk, outcomes),
            tx_hash=outcome.tx_hash,
            ledger=outcome.ledger,
            closed_at=outcome.closed_at,
        )

    async def _paid_units(self, chunk: Row[Any], outcomes: bytes) -> int:
        query = select(func.coalesce(func.sum(batch_rows.c.amount_units), 0)).where(
            batch_rows.c.batch == self._batch.number,
            batch_rows.c.chunk == chunk.key,
            func.get_byte(outcomes, batch_rows.c.position) == _PAID,
        )
        return int((await self._connection.execute(query)).scalar_one())

    async def _not_paid(self, chunk: Row[Any], outcome: SettlementOutcome) -> None:
        """The chunk is proved not paid, so its rows may be paid otherwise, or never."""
        told: dict[str, Any] = {"reason_code": outcome.reason_code, "reason": outcome.reason}
        match after_failure(outcome, rows=chunk.rows, tries=chunk.tries):
            case AfterFailure.AGAIN:
                # Handed over again when its turn comes, under the same id.
                await self._change(chunk, state=ChunkState.PLANNED, **told)
            case AfterFailure.DIVIDE:
                await self._divide(chunk)
                await self._change(chunk, state=ChunkState.DIVIDED, **told)
            case AfterFailure.REFUSE:
                await self._change(
                    chunk, state=ChunkState.REFUSED, failed=chunk.rows, outcomes=_each_told(outcome, chunk), **told
                )
            case AfterFailure.WITHDRAW if self._batch.status is BatchStatus.CANCELLING:
                await self._change(chunk, state=ChunkState.CANCELLED, **told)
            case AfterFailure.WITHDRAW:
                # An operator withdrew this one call, and its id is used up: that is no word about its rows.
                await self._divide(chunk)
                await self._change(chunk, state=ChunkState.DIVIDED, **told)
                await self._stop(outcome)
            case AfterFailure.STOP:
                await self._change(chunk, state=ChunkState.PLANNED, tries=0, **told)
                await self._stop(outcome)

    async def _divide(self, chunk: Row[Any]) -> None:
        """Put a chunk's rows into two: the first half of them, and the rest."""
        middle = chunk.rows // 2
        for key, positions in zip(halves(chunk.key), (range(middle), range(middle, chunk.rows)), strict=True):
            if positions:
                await self._move(chunk, positions, key)

    async def _move(self, chunk: Row[Any], positions: range, key: str, **values: Any) -> None:
        """Put some of a chunk's rows into another one."""
        moved = await self._connection.execute(
            update(batch_rows)
            .where(
                batch_rows.c.batch == self._batch.number,
                batch_rows.c.chunk == chunk.key,
                batch_rows.c.position.between(positions.start, positions.stop - 1),
            )
            .values(chunk=key, position=batch_rows.c.position - positions.start, **values)
            .returning(batch_rows.c.amount_units)
        )
        await self._connection.execute(
            insert(chunks).values(
                batch=self._batch.number,
                key=key,
                state=ChunkState.PLANNED,
                settlement_id=settlement_id_of(self._batch.batch_id, key),
                rows=len(positions),
                amount_units=sum(moved.scalars()),
            )
        )

    async def _stop(self, outcome: SettlementOutcome) -> None:
        """Have a person look; the first reason stands until they resume."""
        if self._batch.status is not BatchStatus.RUNNING:
            return
        batch_id = self._batch.batch_id
        left = (await find_batch(self._connection, batch_id)).unpaid_units
        self._batch = await change_batch(
            self._connection,
            batch_id,
            at=self._at,
            by_story=True,
            status=BatchStatus.STOPPED,
            reason_code=outcome.reason_code,
            reason=outcome.reason,
            reason_details=outcome.details | {"settlement_id": outcome.settlement_id, "unpaid": decimal_of(left)},
        )
        await tell_of_batch(self._connection, self._batch, EventType.BATCH_STOPPED, at=self._at)

    async def _await_approval(self) -> None:
        status = BatchStatus.AWAITING_APPROVAL
        self._batch = await change_batch(
            self._connection, self._batch.batch_id, at=self._at, by_story=True, status=status, needs_approval=True
        )
        await tell_of_batch(self._connection, self._batch, EventType.BATCH_AWAITING_APPROVAL, at=self._at)

    async def _withdraw(self) -> None:
        await self._connection.execute(
            update(chunks)
            .where(chunks.c.batch == self._batch.number, chunks.c.state == ChunkState.PLANNED)
            .values(state=ChunkState.CANCELLED)
        )
        for chunk in await self._chunks(ChunkState.OPEN, ended=False):
            settlement = await self._settlements.read(self._connection, chunk.settlement_id)
            # What has left us is followed to its end: only what is unsent is withdrawn, and once is enough.
            withdrawn = settlement.control is Control.CANCEL or settlement.ending is not None
            if not settlement.status.in_flight and not withdrawn:
                with suppress(Conflict):  # it ended just now
                    await self._settlements.control(self._connection, chunk.settlement_id, Control.CANCEL)

    async def _end(self) -> Batch:
        batch = await find_batch(self._connection, self._batch.batch_id)
        ends = _ENDS.get(batch.status)
        if ends is None or batch.counts.waiting or batch.counts.sending:
            return batch
        batch = await change_batch(
            self._connection, batch.batch_id, at=self._at, by_story=True, status=ends, ended_at=self._at
        )
        kind = EventType.BATCH_CANCELLED if ends is BatchStatus.CANCELLED else EventType.BATCH_COMPLETED
        await tell_of_batch(self._connection, batch, kind, at=self._at)
        return batch

    async def _chunks(
        self, state: ChunkState, *, limit: int | None = None, ended: bool | None = None
    ) -> tuple[Row[Any], ...]:
        """Chunks in their order; with `ended` only those whose settlement is final, or is not."""
        query = (
            select(chunks.c.key, chunks.c.settlement_id, chunks.c.rows, chunks.c.amount_units, chunks.c.tries)
            .where(chunks.c.batch == self._batch.number, chunks.c.state == state)
            .order_by(chunks.c.ordinal)
            .limit(limit)
        )
        if ended is not None:
            final = settlements.c.status.in_(_FINAL)
            query = query.join(settlements, settlements.c.id == chunks.c.settlement_id).where(
                final if ended else ~final
            )
        return tuple((await self._connection.execute(query)).all())

    async def _change(self, chunk: Row[Any], **values: Any) -> None:
        await self._connection.execute(
            update(chunks).where(chunks.c.batch == self._batch.number, chunks.c.key == chunk.key).values(**values)
        )


def _each_told(outcome: SettlementOutcome, chunk: Row[Any]) -> bytes | None:
    """Where not one of several can be paid, the contract has said of each why."""
    said = outcome.details.get("outcomes", "").split(",")
    return bytes(int(number) for number in said) if len(said) == chunk.rows > 1 else None


async def unfinished_batches(connection: AsyncConnection, *, older_than: datetime) -> list[tuple[str, bool]]:
    """Batches whose story has not ended, as (id, whether it missed news).

    Rows that changed after `older_than` are left out: they were most likely just woken.
    """
    missed = batches.c.version > batches.c.seen_version
    query = (
        select(batches.c.batch_id, missed)
        .where(
            batches.c.status.not_in([BatchStatus.COMPLETED, BatchStatus.CANCELLED]),
            batches.c.changed_at < older_than,
        )
        .order_by(batches.c.number)
    )
    return [(row[0], row[1]) for row in (await connection.execute(query)).all()]
