"""What of a batch the engine can go on with now, and when to look again at the rest.

What waits for somebody else costs the story nothing, for days: it is no walk and no event.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Row, select
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.database.batches_tables import chunks
from adapters.database.settlements_tables import ledger_head, settlements
from domain.batch import Batch, BatchStanding, BatchStatus, ChunkState
from domain.settlement import Control, SettlementStatus

_LEDGERS_NEAR: Final = 3
"""What ends within so many ledgers is waited for by the engine itself."""
_LEDGER_LEAST: Final = timedelta(seconds=1)
"""No public ledger closes faster: what is left is looked at again after a part of it, ever more often."""
_LOOKS_LEAST: Final = timedelta(seconds=5)


async def what_goes_on(
    connection: AsyncConnection,
    batch: Batch,
    told: BatchStanding,
    *,
    outside: bool,
    walks_max: int,
    untold: Collection[str],
    at: datetime,
) -> BatchStanding:
    """Tell the story which chunks to walk, at most `walks_max`, and when to take stock even if nobody calls.

    `untold` have nothing left to settle. With `outside`, somebody outside signs for the batch.
    """
    query = (
        select(settlements.c.id, settlements.c.status, settlements.c.control)
        .add_columns(settlements.c.expires_at, settlements.c.ending["after"].as_integer().label("ends_after"))
        .join(chunks, chunks.c.settlement_id == settlements.c.id)
        .where(chunks.c.batch == batch.number, chunks.c.state == ChunkState.OPEN)
        .order_by(chunks.c.ordinal)
    )
    found = (await connection.execute(query)).all()
    head = (await connection.execute(select(ledger_head))).one_or_none()
    rests = outside and batch.status not in {BatchStatus.RUNNING, BatchStatus.CANCELLING}
    wakes = {row.id: _wakes(row, head, rests=rests, at=at) for row in found if row.id not in untold}
    due = [name for name, time in wakes.items() if time is not None and time <= at]
    later = [time for time in wakes.values() if time is not None and time > at]
    awaited = sum(row.status == SettlementStatus.AWAITING_SIGNATURE for row in found)
    return told.model_copy(
        update={
            # When one of these walks ends, stock is taken again.
            "open": tuple(due[:walks_max]),
            "awaiting_signature": awaited,
            "wakes_at": min(later, default=None),
        }
    )


def _wakes(row: Row[Any], head: Row[Any] | None, *, rests: bool, at: datetime) -> datetime | None:
    """When the engine can go on with a chunk; None: not before somebody calls."""
    status = SettlementStatus(row.status)
    if status.in_flight or status.final:  # what ended a moment ago says so to a walk
        return at
    if row.ends_after is not None:
        left = 0 if head is None else row.ends_after - head.sequence
        return at if left < _LEDGERS_NEAR else at + max(left * _LEDGER_LEAST, _LOOKS_LEAST)
    awaited = status is SettlementStatus.AWAITING_SIGNATURE
    if row.control == Control.HOLD or (rests and row.control != Control.CANCEL):
        return None  # signed or not, it is not sent before it is resumed
    # A request ends by the ledger's clock, which may be before ours.
    goes_on = not awaited or row.control == Control.CANCEL
    goes_on = goes_on or (head is not None and head.closed_at > row.expires_at)
    return at if goes_on else row.expires_at
