"""The audit log: written beside each change, sealed into a chain afterwards, verified by a command.

Entries are written by many transactions at once; one sealer at a time, under an advisory lock, then gives each its
place in the chain. What is not sealed yet is at most a few seconds old while a worker runs.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Final

from pydantic import BaseModel, ConfigDict
from sqlalchemy import Row, Select, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.database.audit_tables import audit_log, audit_seals

_SEALING: Final = 0x486F6C646661_02
_GENESIS: Final = "0" * 64
_BATCH: Final = 500
_LATE: Final = 1_000
"""Entries: how far a transaction that takes long may fall behind before only a look at the whole log finds it."""
# Made once: to put a statement together takes longer than to send it.
_RECORD: Final = insert(audit_log)


class ChainReport(BaseModel):
    """What verifying found: `broken_at` is the audit id of the first link that does not hold."""

    model_config = ConfigDict(frozen=True)

    sealed: int
    unsealed: int
    broken_at: int | None = None
    why: str | None = None


async def record(
    connection: AsyncConnection, *, actor: str, action: str, subject: str, details: dict[str, Any] | None = None
) -> None:
    """Write who did what to what, in the transaction that does it. No secret in `details`."""
    entry = {"actor": actor, "action": action, "subject": subject, "details": details or {}}
    await connection.execute(_RECORD, entry)


async def seal(connection: AsyncConnection, *, whole: bool = False) -> int:
    """Chain entries that have no seal yet; how many, and 0 where another process is at it.

    It looks at the newest entries only, since the log never ends; with `whole` at all of them, for one whose
    transaction committed so late that more than `_LATE` younger ones were sealed before it.
    """
    if not (await connection.execute(select(func.pg_try_advisory_xact_lock(_SEALING)))).scalar_one():
        return 0
    last = (
        await connection.execute(select(audit_seals).order_by(audit_seals.c.position.desc()).limit(1))
    ).one_or_none()
    position, before = (last.position, last.hash) if last else (0, _GENESIS)
    known = select(audit_seals.c.audit_id).where(audit_seals.c.position == position - _LATE)
    after = 0 if whole else (await connection.execute(known)).scalar_one_or_none() or 0
    rows = (await connection.execute(_unsealed(after))).all()
    seals = []
    for row in rows:
        position += 1
        before = _link(before, row)
        seals.append({"position": position, "audit_id": row.id, "hash": before})
    if seals:
        await connection.execute(insert(audit_seals), seals)
    return len(seals)


def _unsealed(after: int) -> Select[Any]:
    """Entries without a seal whose id is above `after`."""
    # The bound is said of both tables: PostgreSQL does not conclude it of one from the other.
    seals = select(audit_seals.c.audit_id).where(
        audit_seals.c.audit_id == audit_log.c.id, audit_seals.c.audit_id > after
    )
    return select(audit_log).where(audit_log.c.id > after, ~seals.exists()).order_by(audit_log.c.id).limit(_BATCH)


async def verify(connection: AsyncConnection) -> ChainReport:
    """Walk the whole chain and name the first link that is broken."""
    total = (await connection.execute(select(func.count()).select_from(audit_log))).scalar_one()
    before, expected = _GENESIS, 1
    rows = await connection.stream(
        select(audit_seals.c.position, audit_seals.c.hash, audit_seals.c.audit_id, audit_log)
        .outerjoin(audit_log, audit_log.c.id == audit_seals.c.audit_id)
        .order_by(audit_seals.c.position)
    )
    sealed = 0
    async for row in rows:
        why = None
        if row.position != expected:
            why = f"seal {expected} is missing"
        elif row.id is None:
            why = "the entry is missing"
        elif row.hash != _link(before, row):
            why = "the entry or a seal was changed"
        if why is not None:
            return ChainReport(sealed=sealed, unsealed=total - sealed, broken_at=row.audit_id, why=why)
        before, expected, sealed = row.hash, expected + 1, sealed + 1
    return ChainReport(sealed=sealed, unsealed=total - sealed)


def _link(before: str, row: Row[Any]) -> str:
    entry = [row.id, row.at.timestamp(), row.actor, row.action, row.subject, row.details]
    canonical = json.dumps(entry, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(f"{before}\n{canonical}".encode()).hexdigest()
