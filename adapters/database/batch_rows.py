"""How a batch is read, locked and changed inside one transaction; and what people are told of it."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from sqlalchemy import RowMapping, Select, func, select, true, update
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.database.batches_tables import batches, chunks
from adapters.database.outbox import tell
from adapters.database.settlements_tables import settlements
from domain.batch import Batch, BatchCounts, BatchStanding, BatchStatus, ChunkState, OnBadRows, decimal_of
from domain.errors import NotFound
from domain.events import Event, EventType
from domain.settlement import SettlementStatus, SigningMode

_S = ChunkState


def _sum(column: Any, *states: ChunkState) -> Any:
    total = func.sum(column)
    return func.coalesce(total.filter(chunks.c.state.in_(states)) if states else total, 0)


_PROGRESS: Final = (
    select(
        _sum(chunks.c.rows, _S.PLANNED).label("waiting"),
        _sum(chunks.c.rows, _S.OPEN).label("sending"),
        _sum(chunks.c.paid).label("paid"),
        _sum(chunks.c.failed).label("failed"),
        _sum(chunks.c.rows, _S.CANCELLED).label("cancelled"),
        _sum(chunks.c.paid_units).label("paid_units"),
        _sum(chunks.c.amount_units, _S.PLANNED, _S.OPEN).label("unpaid_units"),
        func.count().filter(chunks.c.state != _S.DIVIDED).label("chunks"),
        func.array_agg(aggregate_order_by(chunks.c.settlement_id, chunks.c.ordinal))
        .filter(chunks.c.state == _S.OPEN)
        .label("open"),
    )
    .where(chunks.c.batch == batches.c.number)
    .lateral("progress")
)
"""Rows carry no state of their own: two thousand chunks are added up instead of a hundred thousand rows."""


def select_batches() -> Select[Any]:
    """Batches with their progress."""
    return select(batches, _PROGRESS).join(_PROGRESS, true())


def batch_of(row: RowMapping) -> Batch:
    """The record of one batch."""
    counts = BatchCounts(
        rows=row["rows"],
        bad=row["rows_bad"],
        **{name: int(row[name]) for name in ("waiting", "sending", "paid", "failed", "cancelled")},
    )
    same = ("batch_id", "number", "name", "token", "asset", "chunks", "created_at", "created_by", "changed_at")
    more = (
        "signer",
        "approved_by",
        "approved_at",
        "needs_approval",
        "reason_code",
        "reason",
        "reason_details",
        "ended_at",
    )
    return Batch(
        **{name: row[name] for name in (*same, *more)},
        status=BatchStatus(row["status"]),
        on_bad_rows=OnBadRows(row["on_bad_rows"]),
        signing=SigningMode(row["signing"]),
        open=tuple(row["open"] or ()),
        counts=counts,
        amount_units=int(row["amount_units"]),
        paid_units=int(row["paid_units"]),
        unpaid_units=int(row["unpaid_units"]),
    )


async def with_awaited(connection: AsyncConnection, batch: Batch) -> Batch:
    """The batch, with how many of its calls wait for a signature."""
    query = (
        select(func.count())
        .select_from(chunks)
        .join(settlements, settlements.c.id == chunks.c.settlement_id)
        .where(
            chunks.c.batch == batch.number,
            chunks.c.state == _S.OPEN,
            settlements.c.status == SettlementStatus.AWAITING_SIGNATURE,
        )
    )
    count = int((await connection.execute(query)).scalar_one())
    return batch.model_copy(update={"awaiting_signature": count})


def standing_of(batch: Batch) -> BatchStanding:
    """The part of the record that goes to the story."""
    return BatchStanding(**{name: getattr(batch, name) for name in BatchStanding.model_fields})


async def find_batch(connection: AsyncConnection, batch_id: str) -> Batch:
    """Read one batch.

    Raises:
        NotFound: there is none.
    """
    query = select_batches().where(batches.c.batch_id == batch_id)
    row = (await connection.execute(query)).mappings().one_or_none()
    if row is None:
        raise NotFound(f"there is no batch {batch_id}")
    return batch_of(row)


async def lock_batch(connection: AsyncConnection, batch_id: str) -> Batch:
    """Read one batch and keep others from changing it until this transaction ends.

    Raises:
        NotFound: there is none.
    """
    await connection.execute(select(batches.c.number).where(batches.c.batch_id == batch_id).with_for_update())
    return await find_batch(connection, batch_id)


async def change_batch(
    connection: AsyncConnection, batch_id: str, *, at: datetime, by_story: bool = False, **values: Any
) -> Batch:
    """Write columns. What the story writes itself is no news to it."""
    if not by_story:
        values["version"] = batches.c.version + 1
    await connection.execute(update(batches).where(batches.c.batch_id == batch_id).values(changed_at=at, **values))
    return await find_batch(connection, batch_id)


async def tell_of_batch(
    connection: AsyncConnection, batch: Batch, kind: EventType, *, at: datetime, **more: str
) -> None:
    """Tell what happened to a batch; of its rows, only how many."""
    data: dict[str, Any] = {
        "batch_id": batch.batch_id,
        "name": batch.name,
        "status": batch.status,
        "asset": batch.asset,
        "amount": decimal_of(batch.amount_units),
        "paid_amount": decimal_of(batch.paid_units),
        **batch.counts.model_dump(),
        **more,
    }
    if batch.reason is not None:
        data |= {"reason_code": batch.reason_code, "reason": batch.reason}
    await tell(connection, Event(type=kind, subject=f"batch:{batch.batch_id}", at=at, data=data))
