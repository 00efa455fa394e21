"""The report of a batch: what became of each row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import RowMapping, case, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.database.batches_tables import batch_rows, chunks
from adapters.stellar.contract_errors import recipient_refusal
from domain.batch import ChunkState, RowReport, RowStatus

_OUTCOME: Final = func.get_byte(chunks.c.outcomes, batch_rows.c.position).label("outcome")
_STATUS: Final = case(
    (batch_rows.c.chunk.is_(None), RowStatus.BAD),
    (chunks.c.state == ChunkState.PLANNED, RowStatus.WAITING),
    (chunks.c.state == ChunkState.OPEN, RowStatus.SENDING),
    (chunks.c.state == ChunkState.CANCELLED, RowStatus.CANCELLED),
    (chunks.c.state == ChunkState.REFUSED, RowStatus.FAILED),
    (func.get_byte(chunks.c.outcomes, batch_rows.c.position) == 0, RowStatus.PAID),
    else_=RowStatus.FAILED,
)


async def read_rows(
    connection: AsyncConnection,
    batch: int,
    *,
    status: RowStatus | None = None,
    after: int = 0,
    limit: int = 200,
) -> Sequence[RowReport]:
    """Rows of a batch (its number) in the order of the file; `after` is the last row of the page before."""
    query = (
        select(
            batch_rows.c.row,
            batch_rows.c.line,
            batch_rows.c.destination,
            batch_rows.c.amount_units,
            batch_rows.c.reference,
            batch_rows.c.faults,
            chunks.c.settlement_id,
            chunks.c.tx_hash,
            chunks.c.ledger,
            chunks.c.closed_at,
            chunks.c.reason_code,
            chunks.c.reason,
            _OUTCOME,
            _STATUS.label("status"),
        )
        .outerjoin(chunks, (chunks.c.batch == batch_rows.c.batch) & (chunks.c.key == batch_rows.c.chunk))
        .where(batch_rows.c.batch == batch, batch_rows.c.row > after)
        .order_by(batch_rows.c.row)
        .limit(limit)
    )
    if status is not None:
        query = query.where(_STATUS.in_([status]))
    return tuple(_report(row) for row in (await connection.execute(query)).mappings())


def _report(row: RowMapping) -> RowReport:
    status = RowStatus(row["status"])
    same = ("row", "line", "destination", "amount_units", "reference", "settlement_id")
    values: dict[str, Any] = {name: row[name] for name in same}
    if status is RowStatus.BAD:
        faults = row["faults"]
        reason = "; ".join(f"{fault['field']}: {fault['message']}" for fault in faults)
        values |= {"reason_code": "invalid_input", "reason": reason, "field": faults[0]["field"]}
    elif status in {RowStatus.PAID, RowStatus.FAILED}:
        values |= {name: row[name] for name in ("tx_hash", "ledger", "closed_at")}
        if status is RowStatus.FAILED:
            values |= {"reason_code": row["reason_code"], "reason": row["reason"]}
            refusal = recipient_refusal(row["outcome"] or 0)
            if refusal is not None:
                values |= {"reason_code": refusal.code, "reason": refusal.message}
    return RowReport(status=status, **values)
