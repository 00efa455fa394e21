"""Warns operators whose allowance ends soon: once 30 days and once 7 days before."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Protocol

from sqlalchemy import exists, select
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.database.engine import Database
from adapters.database.outbox import tell
from adapters.database.outbox_tables import events
from adapters.database.registry_tables import operators
from domain.allowance import Allowance, time_left, warning_due
from domain.events import Event, EventType
from domain.instants import instant


class Allowances(Protocol):
    """`adapters.stellar.allowances.Allowances`."""

    async def read(self, owner: str) -> tuple[Allowance, int]:
        """What a wallet allows, and the ledger that says so."""

    async def close_time(self, latest: int) -> timedelta:
        """How long a ledger takes."""


class AllowanceWatch:
    """Satisfies `activities.nightly.AllowanceWatch`."""

    def __init__(self, database: Database, allowances: Allowances) -> None:
        self._database = database
        self._allowances = allowances

    async def warn(self, at: datetime) -> tuple[str, ...]:
        """See `activities.nightly.AllowanceWatch`."""
        told = []
        for operator_id, wallet in await self._wallets():
            allowance, latest = await self._allowances.read(wallet)
            left = time_left(allowance, latest_ledger=latest, close_time=await self._allowances.close_time(latest))
            days = warning_due(left)
            if days is None or allowance.live_until is None:
                continue
            event = Event(
                type=EventType.ALLOWANCE_ENDING,
                subject=f"operator:{operator_id}",
                at=at,
                data={
                    "wallet": wallet,
                    "amount": str(allowance.amount),
                    "asset": "USDC",
                    "live_until_ledger": allowance.live_until,
                    "warning_days": days,
                    "days": max(1, left.days),
                    "ends_at": instant(at + left, timespec="minutes"),
                },
                operator_id=operator_id,
            )
            async with self._database.begin() as connection:
                if not await _was_told(connection, event):
                    await tell(connection, event)
                    told.append(operator_id)
        return tuple(told)

    async def _wallets(self) -> Sequence[tuple[str, str]]:
        query = select(operators.c.id, operators.c.wallet).where(operators.c.wallet.is_not(None))
        async with self._database.begin() as connection:
            return [(row.id, row.wallet) for row in await connection.execute(query.order_by(operators.c.id))]


async def _was_told(connection: AsyncConnection, event: Event) -> bool:
    """Whether this end of this allowance was told of at this distance; an approval anew is another end."""
    told = exists().where(
        events.c.type == event.type,
        events.c.subject == event.subject,
        events.c.data["wallet"].astext == event.data["wallet"],
        events.c.data["live_until_ledger"].astext == str(event.data["live_until_ledger"]),
        events.c.data["warning_days"].astext == str(event.data["warning_days"]),
    )
    return bool((await connection.execute(select(told))).scalar_one())
