"""The payout guide's questions, answered in one look: how many wait, fail, how long they take, what they cost."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import ColumnElement, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.database.payouts_tables import ENDED, payouts
from adapters.database.settlements_tables import settlements
from adapters.database.signing_tables import signing_requests
from domain.payout import PayoutPhase
from domain.settlement import SettlementStatus

PaymentKind = Literal["payout", "chunk"]
_S = SettlementStatus
_HOUR: Final = timedelta(hours=1)
_UNENDED: Final = settlements.c.status.not_in([status for status in _S if status.final])
_NO_REASON: Final = "no_reason"


class Spread(BaseModel):
    """How a figure is spread; all null where there is none."""

    model_config = ConfigDict(frozen=True)

    average: float | None = None
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None
    greatest: float | None = None


class Waiting(BaseModel):
    """How many wait, and since when the one that waits longest."""

    model_config = ConfigDict(frozen=True)

    count: int
    since: datetime | None = Field(default=None, description="The oldest one's.")


class PayoutStats(BaseModel):
    """How payouts stand, and how they went from `since` to `at`."""

    model_config = ConfigDict(frozen=True)

    kind: PaymentKind = Field(description="`payout`: single ones; `chunk`: those of batches, many rows each.")
    at: datetime
    since: datetime
    pending: int = Field(description="Queued or submitted now, as the guide counts them.")
    by_status: Mapping[str, int] = Field(description="Those that have not ended, now.")
    awaiting_signature: Waiting
    unknown: Waiting
    created: int
    confirmed: int
    failed: int
    failed_last_hour: int
    success_rate: float | None = Field(description="Confirmed among confirmed and failed; null where none ended.")
    failures: Mapping[str, int] = Field(description="Failed ones by reason code.")
    confirmation_seconds: Spread = Field(
        description="From being asked for to being confirmed, whatever it waited."
    )
    ledger_seconds: Spread = Field(description="From the first send to being confirmed.")
    fee_stroops: Spread = Field(description="What the network charged, for each transaction.")
    fee_stroops_total: int


async def payout_stats(
    connection: AsyncConnection, *, kind: PaymentKind, since: datetime, at: datetime
) -> PayoutStats:
    """Read the figures."""
    by_status = await _by_status(connection, kind)
    confirmed = await _confirmed(connection, kind, since)
    failures = await _failures(connection, kind, since)
    failed = sum(failures.values())
    ended = confirmed.count + failed
    waits = (
        select(func.count(), func.min(signing_requests.c.created_at))
        .join(settlements, settlements.c.id == signing_requests.c.settlement_id)
        .where(signing_requests.c.status == "waiting", signing_requests.c.deferred, settlements.c.kind == kind)
    )
    unknown = select(func.count(), func.min(settlements.c.submitted_at)).where(
        settlements.c.status == _S.UNKNOWN, settlements.c.kind == kind
    )
    created = (
        select(func.count()).select_from(payouts).where(payouts.c.created_at >= since)
        if kind == "payout"
        else select(func.count())
        .select_from(settlements)
        .where(settlements.c.kind == kind, settlements.c.created_at >= since)
    )
    return PayoutStats(
        kind=kind,
        at=at,
        since=since,
        pending=by_status.get(_S.QUEUED, 0) + by_status.get(_S.SUBMITTED, 0),
        by_status=by_status,
        awaiting_signature=_waiting((await connection.execute(waits)).one()),
        unknown=_waiting((await connection.execute(unknown)).one()),
        created=(await connection.execute(created)).scalar_one(),
        confirmed=confirmed.count,
        failed=failed,
        failed_last_hour=sum((await _failures(connection, kind, at - _HOUR)).values()),
        success_rate=confirmed.count / ended if ended else None,
        failures=failures,
        confirmation_seconds=confirmed.confirmation,
        ledger_seconds=confirmed.ledger,
        fee_stroops=confirmed.fees,
        fee_stroops_total=confirmed.fees_total,
    )


async def _by_status(connection: AsyncConnection, kind: PaymentKind) -> dict[str, int]:
    """Those that have not ended: payouts as the view `transactions` shows them, before the engine has them too."""
    if kind == "payout":
        shown = func.payout_status(payouts.c.phase, settlements.c.status, settlements.c.may_pass).label("status")
        query = (
            select(shown, func.count().label("count"))
            .select_from(payouts)
            .outerjoin(settlements, settlements.c.id == payouts.c.settlement_id)
            .where(payouts.c.phase.not_in(ENDED))
            .group_by(shown)
        )
    else:
        query = (
            select(settlements.c.status, func.count().label("count"))
            .where(_UNENDED, settlements.c.kind == kind)
            .group_by(settlements.c.status)
        )
    rows = await connection.execute(query)
    return {row.status: row[1] for row in rows}


class _Confirmed(BaseModel):
    count: int
    confirmation: Spread
    ledger: Spread
    fees: Spread
    fees_total: int


async def _confirmed(connection: AsyncConnection, kind: PaymentKind, since: datetime) -> _Confirmed:
    asked = func.coalesce(payouts.c.created_at, settlements.c.created_at)
    query = (
        select(
            func.count().label("count"),
            func.coalesce(func.sum(settlements.c.fee_charged), 0).label("fees_total"),
            *_spread("confirmation", _seconds(asked, settlements.c.confirmed_at)),
            *_spread("ledger", _seconds(settlements.c.submitted_at, settlements.c.confirmed_at)),
            *_spread("fees", settlements.c.fee_charged),
        )
        .select_from(settlements)
        .outerjoin(payouts, payouts.c.settlement_id == settlements.c.id)
        .where(
            settlements.c.confirmed_at >= since,
            settlements.c.status == _S.CONFIRMED,
            settlements.c.kind == kind,
        )
    )
    row = (await connection.execute(query)).one()._mapping
    return _Confirmed(
        count=row["count"],
        confirmation=_spread_of(row, "confirmation"),
        ledger=_spread_of(row, "ledger"),
        fees=_spread_of(row, "fees"),
        fees_total=int(row["fees_total"]),
    )


async def _failures(connection: AsyncConnection, kind: PaymentKind, since: datetime) -> dict[str, int]:
    """By reason. A payout that is tried again by itself has not failed; what the policy refused has."""
    if kind == "payout":
        reason = func.coalesce(payouts.c.reason_code, settlements.c.reason_code, _NO_REASON).label("reason")
        query = (
            select(reason, func.count().label("count"))
            .select_from(payouts)
            .outerjoin(settlements, settlements.c.id == payouts.c.settlement_id)
            .where(payouts.c.phase == PayoutPhase.FAILED, payouts.c.changed_at >= since)
        )
    else:
        reason = func.coalesce(settlements.c.reason_code, _NO_REASON).label("reason")
        query = select(reason, func.count().label("count")).where(
            settlements.c.status == _S.FAILED, settlements.c.updated_at >= since, settlements.c.kind == kind
        )
    rows = await connection.execute(query.group_by(reason).order_by(reason))
    return {row.reason: row[1] for row in rows}


def _seconds(begin: ColumnElement[datetime], end: ColumnElement[datetime]) -> ColumnElement[Any]:
    return func.extract("epoch", end - begin)


_SHARES: Final = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


def _spread(name: str, figure: ColumnElement[Any]) -> list[ColumnElement[Any]]:
    return [
        func.avg(figure).label(f"{name}_average"),
        *(
            func.percentile_cont(share).within_group(figure).label(f"{name}_{word}")
            for word, share in _SHARES.items()
        ),
        func.max(figure).label(f"{name}_greatest"),
    ]


def _spread_of(row: Mapping[Any, Any], name: str) -> Spread:
    found = {word: row[f"{name}_{word}"] for word in Spread.model_fields}
    return Spread(**{word: None if value is None else round(float(value), 6) for word, value in found.items()})


def _waiting(row: Any) -> Waiting:
    count, since = row
    return Waiting(count=count, since=since)
