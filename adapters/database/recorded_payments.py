"""Settlements as they are held against the ledger: by marker, and the confirmed ones in order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Row, Select, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.database.settlements_tables import settlements
from domain.reconciliation import RecordedPayment
from domain.settlement import SettlementStatus

_CONTRACT: Final = settlements.c.intent["invocation"]["contract"].astext.label("contract")


def _payments() -> Select[Any]:
    return select(
        settlements.c.id,
        settlements.c.marker_id,
        _CONTRACT,
        settlements.c.asset,
        settlements.c.status,
        settlements.c.amount_units,
        settlements.c.tx_hash,
        settlements.c.ledger,
    )


async def payments_by_marker(connection: AsyncConnection, markers: Sequence[str]) -> dict[str, RecordedPayment]:
    """The settlements that have these markers."""
    rows = await connection.execute(_payments().where(settlements.c.marker_id.in_(markers)))
    return {row.marker_id: _payment(row) for row in rows}


async def confirmed_payments(
    connection: AsyncConnection, *, first_ledger: int | None, last_ledger: int, after: str, limit: int
) -> Sequence[RecordedPayment]:
    """Confirmed settlements by id after `after`, of ledgers `first_ledger` to `last_ledger`.

    Those without a ledger were found paid by their marker, and are always among them; all are where `first_ledger`
    is None.
    """
    query = (
        _payments()
        .where(settlements.c.status == SettlementStatus.CONFIRMED, settlements.c.id > after)
        .order_by(settlements.c.id)
        .limit(limit)
    )
    if first_ledger is not None:
        within = settlements.c.ledger.between(first_ledger, last_ledger)
        query = query.where(or_(settlements.c.ledger.is_(None), within))
    return [_payment(row) for row in await connection.execute(query)]


def _payment(row: Row[Any]) -> RecordedPayment:
    return RecordedPayment(
        settlement_id=row.id,
        marker_id=row.marker_id,
        contract=row.contract,
        token=row.asset,
        status=SettlementStatus(row.status),
        amount_units=int(row.amount_units),
        tx_hash=row.tx_hash,
        ledger=row.ledger,
    )
