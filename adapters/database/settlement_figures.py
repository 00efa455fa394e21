"""Figures for Prometheus, read from the record: transitions as they come, and what waits now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, Row, Select, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.database.settlements_tables import lanes, settlement_history, settlements
from adapters.database.signing_tables import signing_requests
from domain.settlement import SettlementStatus

_S = SettlementStatus
_ENDS: Final = [status.value for status in _S if status.final]
_LATE: Final = timedelta(seconds=60)
"""A row's number is given before its transaction commits: so long a row may appear behind one that was read."""
_PAGE: Final = 10_000
_RECENT: Final = timedelta(hours=1)
AGES: Final = (timedelta(0), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1))
"""Waiting longer than these is counted apart."""


@dataclass(frozen=True, slots=True)
class Transition:
    """A settlement was accepted, or ended one try; seconds and fee are there for what was confirmed."""

    kind: str
    status: SettlementStatus
    reason_code: str
    confirmation_seconds: float | None
    ledger_seconds: float | None
    fee_stroops: int | None


@dataclass(frozen=True, slots=True)
class Ages:
    """How many wait longer than each of `AGES`, and how long the oldest does."""

    longer_than: Mapping[timedelta, int]
    oldest: timedelta


@dataclass(frozen=True, slots=True)
class Standing:
    """What waits, and what is held, now. `fee_stroops_max` is the greatest of the last hour, by kind."""

    signatures: Ages
    unknowns: Ages
    lanes: int
    lanes_busy: int
    fee_stroops_max: Mapping[str, int]


@dataclass(slots=True)
class TransitionReader:
    """Reads each transition once, from the first call on: what happened before is not told."""

    _done_to: int | None = None
    _done: dict[int, datetime] = field(default_factory=dict)

    async def read(self, connection: AsyncConnection) -> Sequence[Transition]:
        """Those that were committed since the last call."""
        if self._done_to is None:
            newest = await connection.execute(select(func.coalesce(func.max(settlement_history.c.id), 0)))
            self._done_to = int(newest.scalar_one())
            return ()
        found: list[Transition] = []
        after = self._done_to
        while True:
            rows = (await connection.execute(_transitions(after))).all()
            for row in rows:
                if row.id not in self._done:
                    self._done[row.id] = row.at
                    found.append(_transition(row))
            if len(rows) < _PAGE:
                break
            after = rows[-1].id
        await self._forget(connection)
        return found

    async def _forget(self, connection: AsyncConnection) -> None:
        """What is so old that nothing can appear before it any more need not be remembered."""
        now: datetime = (await connection.execute(select(func.now()))).scalar_one()
        old = [number for number, at in self._done.items() if at < now - _LATE]
        if old:
            self._done_to = max(old)
            self._done = {number: at for number, at in self._done.items() if number > self._done_to}


def _transitions(after: int) -> Select[Any]:
    h, s = settlement_history.c, settlements.c
    confirmed = h.new == _S.CONFIRMED
    return (
        select(
            h.id,
            h.at,
            h.new,
            s.kind,
            # A retry clears the row's own.
            func.coalesce(h.reason_code, s.reason_code).label("reason_code"),
            s.fee_charged,
            confirmed.label("confirmed"),
            func.extract("epoch", s.confirmed_at - s.created_at).label("confirmation"),
            func.extract("epoch", s.confirmed_at - s.submitted_at).label("ledger"),
        )
        .join(settlements, s.id == h.settlement_id)
        .where(h.id > after, or_(h.old.is_(None), h.new.in_(_ENDS)))
        .order_by(h.id)
        .limit(_PAGE)
    )


def _transition(row: Row[Any]) -> Transition:
    return Transition(
        kind=row.kind,
        status=_S(row.new),
        reason_code=row.reason_code or "none",
        confirmation_seconds=_seconds(row.confirmation) if row.confirmed else None,
        ledger_seconds=_seconds(row.ledger) if row.confirmed else None,
        fee_stroops=row.fee_charged if row.confirmed else None,
    )


def _seconds(value: object) -> float | None:
    return None if value is None else float(str(value))


async def standing(connection: AsyncConnection) -> Standing:
    """Read what waits now; each query has an index of its own."""
    waiting = (signing_requests.c.status == "waiting") & signing_requests.c.deferred
    unknown = settlements.c.status == _S.UNKNOWN
    held = await connection.execute(
        select(func.count(), func.count().filter(lanes.c.settlement_id.is_not(None))).select_from(lanes)
    )
    count, busy = held.one()
    fees = await connection.execute(
        select(settlements.c.kind, func.max(settlements.c.fee_charged).label("greatest"))
        .where(settlements.c.confirmed_at > func.now() - _RECENT, settlements.c.fee_charged.is_not(None))
        .group_by(settlements.c.kind)
    )
    return Standing(
        signatures=await _ages(connection, signing_requests.c.created_at, waiting),
        unknowns=await _ages(connection, settlements.c.submitted_at, unknown),
        lanes=count,
        lanes_busy=busy,
        fee_stroops_max={row.kind: row.greatest for row in fees},
    )


async def _ages(connection: AsyncConnection, since: ColumnElement[datetime], wanted: ColumnElement[bool]) -> Ages:
    counts = [func.count().filter(since <= func.now() - age) for age in AGES]
    oldest = func.coalesce(func.max(func.now() - since), timedelta(0))
    row = tuple((await connection.execute(select(*counts, oldest).where(wanted))).one())
    return Ages(dict(zip(AGES, row[:-1], strict=True)), row[-1])
