"""Wallets that Holdfast keeps: one a user, for good. Sealed keys leave here only for the one who opens them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict
from sqlalchemy import Row, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.database.outbox import tell
from adapters.database.wallets_tables import wallets
from domain.custody import Sealed
from domain.errors import NotFound
from domain.events import Event, EventType


class Wallet(BaseModel):
    """A wallet without its key. `status` is accepted, ready or failed."""

    model_config = ConfigDict(frozen=True)

    user_id: str
    address: str
    status: str
    tx_hash: str | None = None
    reason_code: str | None = None
    reason: str | None = None
    created_at: datetime
    created_by: str
    ready_at: datetime | None = None


async def add_wallet(
    connection: AsyncConnection, *, user_id: str, address: str, sealed: Sealed, by: str
) -> tuple[Wallet, bool]:
    """Keep a new wallet; where the user has one, that one stays and the new key is dropped (False)."""
    inserted = await connection.execute(
        insert(wallets)
        .values(user_id=user_id, address=address, created_by=by, **sealed.model_dump())
        .on_conflict_do_nothing(index_elements=["user_id"])
        .returning(wallets.c.user_id)
    )
    new = inserted.scalar_one_or_none() is not None
    return await find_wallet(connection, user_id), new


async def find_wallet(connection: AsyncConnection, user_id: str) -> Wallet:
    """Read one.

    Raises:
        NotFound: the user has no wallet.
    """
    row = (await connection.execute(select(wallets).where(wallets.c.user_id == user_id))).one_or_none()
    if row is None:
        raise NotFound("this user has no wallet")
    return _wallet(row)


async def sealed_key(connection: AsyncConnection, user_id: str) -> tuple[str, Sealed]:
    """The account and its sealed key.

    Raises:
        NotFound: the user has no wallet.
    """
    row = (await connection.execute(select(wallets).where(wallets.c.user_id == user_id))).one_or_none()
    if row is None:
        raise NotFound("this user has no wallet")
    return row.address, Sealed(**{name: getattr(row, name) for name in Sealed.model_fields})


async def mark_ready(connection: AsyncConnection, user_id: str, *, tx_hash: str | None, at: datetime) -> Wallet:
    """The account with its trustlines is on the ledger; told once."""
    changed = await connection.execute(
        update(wallets)
        .where(wallets.c.user_id == user_id, wallets.c.status != "ready")
        .values(status="ready", ready_at=at, tx_hash=tx_hash, reason_code=None, reason=None)
    )
    wallet = await find_wallet(connection, user_id)
    if changed.rowcount:
        said = {"address": wallet.address, "tx_hash": tx_hash}
        await _tell(connection, EventType.WALLET_READY, user_id, at, said)
    return wallet


async def mark_failed(
    connection: AsyncConnection, user_id: str, *, code: str, reason: str, at: datetime
) -> Wallet:
    """The ledger refused it; asking for the wallet again tries again."""
    changed = await connection.execute(
        update(wallets)
        .where(wallets.c.user_id == user_id, wallets.c.status == "accepted")
        .values(status="failed", reason_code=code, reason=reason)
    )
    wallet = await find_wallet(connection, user_id)
    if changed.rowcount:
        said = {"address": wallet.address, "reason_code": code, "reason": reason}
        await _tell(connection, EventType.WALLET_FAILED, user_id, at, said)
    return wallet


async def accept_again(connection: AsyncConnection, user_id: str) -> Wallet:
    """Let a failed wallet be tried again, with the same account."""
    await connection.execute(
        update(wallets).where(wallets.c.user_id == user_id, wallets.c.status == "failed").values(status="accepted")
    )
    return await find_wallet(connection, user_id)


async def unfinished_wallets(connection: AsyncConnection, *, older_than: datetime, limit: int = 500) -> list[str]:
    """Users whose wallet is accepted and not made, for the sweeper."""
    query = (
        select(wallets.c.user_id)
        .where(wallets.c.status == "accepted", wallets.c.created_at < older_than)
        .order_by(wallets.c.created_at)
        .limit(limit)
    )
    return list((await connection.scalars(query)).all())


async def _tell(
    connection: AsyncConnection, kind: EventType, user_id: str, at: datetime, data: dict[str, Any]
) -> None:
    await tell(connection, Event(type=kind, subject=f"wallet:{user_id}", at=at, data=data))


def _wallet(row: Row[Any]) -> Wallet:
    return Wallet(**{name: getattr(row, name) for name in Wallet.model_fields})
