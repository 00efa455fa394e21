"""Switches that stop money at run time; every change is in the audit log and told."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from pydantic import BaseModel, ConfigDict
from sqlalchemy import Label, delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.database.audit import record
from adapters.database.audit_tables import deployment
from adapters.database.outbox import tell
from domain.events import Event, EventType

FROZEN: Final = "frozen"
"""The switch's name in `deployment`."""


class Frozen(BaseModel):
    """Since when, by whom and why nothing is sent."""

    model_config = ConfigDict(frozen=True)

    since: datetime
    by: str
    reason: str


_SENDING: Final = 0x486F6C646661_04
"""The advisory lock that first sends share and a freeze takes alone."""


def share_freeze() -> Label[Any]:
    """A column that, read, has a freeze wait until the reader's transaction is over.

    What comes after it in that transaction sees a freeze that was before, and writes before one that comes.
    """
    return func.pg_advisory_xact_lock_shared(_SENDING).label("shares_freeze")


async def frozen(connection: AsyncConnection) -> Frozen | None:
    """Whether all sending is stopped: one query, for the engine to ask in the transaction before each send."""
    query = select(deployment).where(deployment.c.name == FROZEN)
    row = (await connection.execute(query)).one_or_none()
    return None if row is None else Frozen(since=row.since, by=row.changed_by, reason=row.reason)


async def freeze(connection: AsyncConnection, *, by: str, reason: str, at: datetime) -> bool:
    """Stop all sending; False where it was stopped already, with the first reason kept."""
    await connection.execute(select(func.pg_advisory_xact_lock(_SENDING)))
    inserted = await connection.execute(
        insert(deployment)
        .values(name=FROZEN, reason=reason, since=at, changed_by=by)
        .on_conflict_do_nothing()
        .returning(deployment.c.name)
    )
    if inserted.scalar_one_or_none() is None:
        return False
    await record(
        connection, actor=by, action="system.freeze", subject="system:sending", details={"reason": reason}
    )
    await tell(
        connection,
        Event(type=EventType.SYSTEM_FROZEN, subject="system:sending", at=at, data={"by": by, "reason": reason}),
    )
    return True


async def thaw(connection: AsyncConnection, *, by: str, reason: str, at: datetime) -> bool:
    """Let sending go on; False where nothing stopped it."""
    deleted = await connection.execute(
        delete(deployment).where(deployment.c.name == FROZEN).returning(deployment.c.name)
    )
    if deleted.scalar_one_or_none() is None:
        return False
    await record(connection, actor=by, action="system.thaw", subject="system:sending", details={"reason": reason})
    await tell(
        connection,
        Event(type=EventType.SYSTEM_THAWED, subject="system:sending", at=at, data={"by": by, "reason": reason}),
    )
    return True
