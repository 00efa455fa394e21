"""Lists that people read: outages, the payments' history, what waits for approval, a month's statement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Row, Select, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.database.outage_rows import outage_of, select_outages
from adapters.database.outages_tables import approvals, decisions, outages
from domain.outage import Outage, OutageStatus
from domain.sla import PaymentKind, Severity
from domain.sla_payment import PaymentPhase, PaymentRecord

_FROM_OUTAGE: Final = (
    "outage_id",
    "number",
    "site_name",
    "operator_id",
    "operator_wallet",
    "noc_team_wallet",
    "detected_at",
    "resolved_at",
    "phase",
    "resolved_by",
    "tx_hash",
    "ledger",
    "confirmed_at",
    "reason_code",
    "reason",
    "reason_details",
)
_FROM_DECISION: Final = (
    "severity",
    "mttr_minutes",
    "threshold_minutes",
    "kind",
    "rating",
    "amount_units",
    "asset",
    "needs_approval",
    "why_approval",
    "decided_at",
)


async def list_outages(
    connection: AsyncConnection,
    *,
    status: OutageStatus | None = None,
    severity: Severity | None = None,
    site_name: str | None = None,
    operator_id: str | None = None,
    before: int | None = None,
    limit: int = 50,
) -> Sequence[Outage]:
    """Outages, newest first; `before` is the number of the last one of the page before."""
    query = select_outages().order_by(outages.c.number.desc()).limit(limit)
    for column, value in (
        (outages.c.status, status),
        (outages.c.severity, severity),
        (outages.c.site_name, site_name),
        (outages.c.operator_id, operator_id),
    ):
        if value is not None:
            query = query.where(column == value)
    if before is not None:
        query = query.where(outages.c.number < before)
    return tuple(outage_of(row) for row in (await connection.execute(query)).mappings())


@dataclass(frozen=True, slots=True)
class PaymentFilter:
    """Which payments; times are those of the ledger, or of the decision where there is none yet."""

    kind: PaymentKind | None = None
    phase: PaymentPhase | None = None
    asset: str | None = None
    operator_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    """Exclusive."""


def _payments() -> Select[Any]:
    return (
        select(
            *(outages.c[name] for name in _FROM_OUTAGE),
            *(decisions.c[name] for name in _FROM_DECISION),
            approvals.c.approved_by,
        )
        .join(decisions, (decisions.c.outage_id == outages.c.outage_id) & decisions.c.superseded_at.is_(None))
        .outerjoin(approvals, approvals.c.decision_id == decisions.c.decision_id)
    )


async def list_payments(
    connection: AsyncConnection, wanted: PaymentFilter, *, before: int | None = None, limit: int = 50
) -> Sequence[PaymentRecord]:
    """Decided payments, newest outage first; `before` is the number of the last one of the page before."""
    query = _payments().order_by(outages.c.number.desc()).limit(limit)
    for column, value in (
        (decisions.c.kind, wanted.kind),
        (outages.c.phase, wanted.phase),
        (decisions.c.asset, wanted.asset),
        (outages.c.operator_id, wanted.operator_id),
    ):
        if value is not None:
            query = query.where(column == value)
    moment = func.coalesce(outages.c.confirmed_at, decisions.c.decided_at)
    if wanted.since is not None:
        query = query.where(moment >= wanted.since)
    if wanted.until is not None:
        query = query.where(moment < wanted.until)
    if before is not None:
        query = query.where(outages.c.number < before)
    return tuple(_record(row) for row in await connection.execute(query))


async def statement(
    connection: AsyncConnection, *, since: datetime, until: datetime, operator_id: str | None
) -> Sequence[PaymentRecord]:
    """Payments that ledgers closed in [since, until) hold, in the order of those ledgers."""
    query = (
        _payments()
        .where(
            outages.c.phase == PaymentPhase.CONFIRMED,
            outages.c.confirmed_at >= since,
            outages.c.confirmed_at < until,
        )
        .order_by(outages.c.confirmed_at, outages.c.number)
    )
    if operator_id is not None:
        query = query.where(outages.c.operator_id == operator_id)
    return tuple(_record(row) for row in await connection.execute(query))


def _record(row: Row[Any]) -> PaymentRecord:
    return PaymentRecord(**{name: getattr(row, name) for name in PaymentRecord.model_fields})
