"""The followed ledger: how far the record has read, and whether the ledger or the record went back in time."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import func, or_, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.database.engine import Database
from adapters.database.settlements_tables import ledger_head
from adapters.stellar.rpc import LedgerHead


class HeadBook:
    """Keeps the one row of `ledger_head`."""

    def __init__(self, database: Database, *, network_passphrase: str) -> None:
        self._database = database
        self._network_passphrase = network_passphrase

    async def read(self) -> tuple[int, str, str] | None:
        """Sequence, hash and network passphrase of the last followed ledger; None before the first."""
        async with self._database.begin() as connection:
            row = (await connection.execute(select(ledger_head))).one_or_none()
        return None if row is None else (row.sequence, row.hash, row.network_passphrase)

    async def begin(self, head: LedgerHead, *, reconciled: bool = False) -> None:
        """Follow from this ledger on; only a reconcile lets sending begin again where it was halted."""
        columns: dict[str, object] = {
            "network_passphrase": self._network_passphrase,
            "sequence": head.sequence,
            "hash": head.hash,
            "closed_at": head.closed_at,
        }
        if reconciled:
            columns |= {"halted_reason": None, "halted_at": None}
        halted = ledger_head.c.halted_reason.is_not(None)
        # A reconcile of what was not halted must not take the record back: followers would call that a restore.
        there = or_(halted, ledger_head.c.sequence < head.sequence) if reconciled else ~halted
        async with self._database.begin() as connection:
            await connection.execute(
                upsert(ledger_head)
                .values(**columns)
                .on_conflict_do_update(index_elements=["one"], set_=columns, where=there)
            )

    async def advance(self, head: LedgerHead, *, at_least: int) -> int | None:
        """Go on to `head`; gives where the record stands now, None where it is behind `at_least`: it was restored.

        While sending is halted the record stays where it is: from there a reconcile reads what was lost.
        """
        async with self._database.begin() as connection:
            row = (await connection.execute(select(ledger_head).with_for_update())).one()
            stands: int = row.sequence
            if row.halted_reason is not None:
                return stands
            if stands < at_least:
                return None
            if stands < head.sequence:
                await connection.execute(
                    update(ledger_head).values(sequence=head.sequence, hash=head.hash, closed_at=head.closed_at)
                )
            return max(stands, head.sequence)

    async def halt(self, reason: str) -> None:
        """Stop all sending until `holdfast reconcile`. The first reason stands."""
        async with self._database.begin() as connection:
            await connection.execute(
                update(ledger_head)
                .where(ledger_head.c.halted_reason.is_(None))
                .values(halted_reason=reason, halted_at=func.now())
            )

    async def halted(self) -> str | None:
        """Why all sending is stopped, if it is."""
        async with self._database.begin() as connection:
            return await halted_reason(connection)


async def halted_reason(connection: AsyncConnection) -> str | None:
    """Why all sending is stopped, if it is."""
    reason: str | None = (await connection.execute(select(ledger_head.c.halted_reason))).scalar_one_or_none()
    return reason


async def followed_to(connection: AsyncConnection) -> datetime | None:
    """When the last ledger closed that a worker has followed; None before the first."""
    closed_at: datetime | None = (await connection.execute(select(ledger_head.c.closed_at))).scalar_one_or_none()
    return closed_at
