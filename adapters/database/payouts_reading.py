"""Lists of payouts that people read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.database.payout_rows import payout_of, select_payouts, shown_status
from adapters.database.payouts_tables import payouts
from domain.payout import Payout
from domain.settlement import SettlementStatus


@dataclass(frozen=True, slots=True)
class PayoutFilter:
    """Which payouts; times are those of asking, `until` is exclusive."""

    status: SettlementStatus | None = None
    destination: str | None = None
    since: datetime | None = None
    until: datetime | None = None


async def list_payouts(
    connection: AsyncConnection, wanted: PayoutFilter, *, before: int | None = None, limit: int = 50
) -> Sequence[Payout]:
    """Payouts, newest first; `before` is the number of the last one of the page before."""
    query = select_payouts().order_by(payouts.c.number.desc()).limit(limit)
    if wanted.status is not None:
        query = query.where(shown_status == wanted.status.value)
    if wanted.destination is not None:
        query = query.where(payouts.c.destination == wanted.destination)
    if wanted.since is not None:
        query = query.where(payouts.c.created_at >= wanted.since)
    if wanted.until is not None:
        query = query.where(payouts.c.created_at < wanted.until)
    if before is not None:
        query = query.where(payouts.c.number < before)
    return tuple(payout_of(row) for row in (await connection.execute(query)).mappings())
