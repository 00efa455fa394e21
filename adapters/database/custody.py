"""Rows that hold sealed secrets, wrapped again after the custody keys have changed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from sqlalchemy import select, update

from adapters.database.audit import record
from adapters.database.engine import Database
from adapters.database.outbox_tables import webhook_endpoints
from adapters.database.wallets_tables import wallets
from domain.custody import Sealed
from domain.errors import Refused


class Wrapping(Protocol):
    """The keyring: see `adapters.custody.Custody`."""

    def rewrap(self, sealed: Sealed, *, purpose: str, account: str) -> Sealed:
        """Wrap the data key by the current key; the ciphertext stays."""


@dataclass
class Rewrapped:
    """How many rows were wrapped again, and those that no key of the ring opens."""

    wallets: int = 0
    webhooks: int = 0
    closed: list[str] = field(default_factory=list)


async def rewrap(database: Database, custody: Wrapping, *, current: str, by: str) -> Rewrapped:
    """Wrap every row by the current key that another one wraps; each is a transaction of its own, and audited.

    It may be broken off and run again, beside workers that read the rows: both keys open meanwhile.
    """
    done = Rewrapped()
    async with database.look() as connection:
        addresses: list[str] = list(
            await connection.scalars(select(wallets.c.address).where(wallets.c.kek_id != current))
        )
        endpoints: list[str] = list(await connection.scalars(select(webhook_endpoints.c.id)))
    for address in addresses:
        if await _wallet(database, custody, address, done, current=current, by=by):
            done.wallets += 1
    for endpoint in endpoints:
        if await _webhook(database, custody, endpoint, done, current=current, by=by):
            done.webhooks += 1
    return done


async def _wallet(
    database: Database, custody: Wrapping, address: str, done: Rewrapped, *, current: str, by: str
) -> bool:
    fields = tuple(Sealed.model_fields)
    async with database.begin() as connection:
        row = (
            await connection.execute(
                select(*(wallets.c[name] for name in fields)).where(wallets.c.address == address).with_for_update()
            )
        ).one()
        if row.kek_id == current:
            return False
        try:
            sealed = custody.rewrap(Sealed(**row._mapping), purpose="wallet", account=address)
        except Refused:
            done.closed.append(f"the wallet {address}")
            return False
        await connection.execute(update(wallets).where(wallets.c.address == address).values(**sealed.model_dump()))
        await record(
            connection,
            actor=by,
            action="custody.rewrap",
            subject=f"wallet:{address}",
            details={"from": row.kek_id, "to": current},
        )
    return True


async def _webhook(
    database: Database, custody: Wrapping, endpoint: str, done: Rewrapped, *, current: str, by: str
) -> bool:
    async with database.begin() as connection:
        secret: bytes = (
            await connection.execute(
                select(webhook_endpoints.c.secret).where(webhook_endpoints.c.id == endpoint).with_for_update()
            )
        ).scalar_one()
        before = Sealed.model_validate_json(secret)
        if before.kek_id == current:
            return False
        try:
            sealed = custody.rewrap(before, purpose="webhook", account=endpoint)
        except Refused:
            done.closed.append(f"the webhook endpoint {endpoint}")
            return False
        await connection.execute(
            update(webhook_endpoints)
            .where(webhook_endpoints.c.id == endpoint)
            .values(secret=sealed.model_dump_json().encode())
        )
        await record(
            connection,
            actor=by,
            action="custody.rewrap",
            subject=f"webhook:{endpoint}",
            details={"from": before.kek_id, "to": current},
        )
    return True
