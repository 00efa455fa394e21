"""Payments that the record lost: found on the ledger by a reconcile, and held against what batches pay next.

A chunk that is proved not paid is cut anew, and its rows are paid under other ids. A record that went back to
before that knows of the chunk alone, whose own marker says nothing of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Row, exists, select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.database.batches_tables import batch_rows, batches, chunks
from adapters.database.settlements_tables import forgotten_payments, settlements
from domain.batch import chunk_marker, heirs
from domain.settlement import SettlementStatus

_OPEN: Final = [status for status in SettlementStatus if not status.final]


@dataclass(frozen=True, slots=True)
class Forgotten:
    """One payment under an id (hex) that no settlement of the record has."""

    marker_id: str
    tx_hash: str
    ledger: int


async def remember(connection: AsyncConnection, payments: Iterable[Forgotten]) -> None:
    """Write down what was paid and forgotten; again changes nothing."""
    for payment in payments:
        await connection.execute(
            upsert(forgotten_payments)
            .values(marker_id=payment.marker_id, tx_hash=payment.tx_hash, ledger=payment.ledger)
            .on_conflict_do_nothing()
        )


async def are_there(connection: AsyncConnection) -> bool:
    """Whether any payment was ever forgotten."""
    return bool((await connection.execute(select(exists(select(forgotten_payments.c.marker_id))))).scalar_one())


async def paid_heirs(
    connection: AsyncConnection, deployment: str, batch_id: str, key: str, rows: Sequence[tuple[int, int]]
) -> tuple[str, ...]:
    """The keys of what a chunk was cut into and paid by, before the record went back; none where it was itself.

    `rows` are (row, attempt) in order.
    """
    own = chunk_marker(deployment, batch_id, key)
    by_marker = {chunk_marker(deployment, batch_id, heir): heir for heir in heirs(key, rows)}
    found = await connection.execute(
        select(forgotten_payments.c.marker_id).where(forgotten_payments.c.marker_id.in_([own, *by_marker]))
    )
    markers: set[str] = set(found.scalars())
    return () if own in markers else tuple(heir for marker, heir in by_marker.items() if marker in markers)


async def chunks_paid_otherwise(connection: AsyncConnection, deployment: str) -> tuple[str, ...]:
    """Settlements of chunks that have not ended, and whose rows were paid under other ids meanwhile."""
    if not await are_there(connection):
        return ()
    query = (
        select(batches.c.batch_id, batches.c.number, chunks.c.key, chunks.c.settlement_id)
        .join(batches, batches.c.number == chunks.c.batch)
        .join(settlements, settlements.c.id == chunks.c.settlement_id)
        .where(settlements.c.status.in_(_OPEN))
    )
    found = []
    for chunk in (await connection.execute(query)).all():
        rows = [(row.row, row.attempt) for row in await rows_of(connection, chunk.number, chunk.key)]
        if await paid_heirs(connection, deployment, chunk.batch_id, chunk.key, rows):
            found.append(chunk.settlement_id)
    return tuple(found)


async def rows_of(connection: AsyncConnection, batch: int, key: str) -> Sequence[Row[Any]]:
    """A chunk's rows in order: row and attempt."""
    query = (
        select(batch_rows.c.row, batch_rows.c.attempt)
        .where(batch_rows.c.batch == batch, batch_rows.c.chunk == key)
        .order_by(batch_rows.c.position)
    )
    return (await connection.execute(query)).all()
