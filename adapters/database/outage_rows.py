"""Reading and writing one outage's row; whoever changes it holds its lock."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from sqlalchemy import RowMapping, Select, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.database.outages_tables import approvals, decisions, outages, warnings
from domain.errors import NotFound
from domain.outage import Outage
from domain.sla_payment import Decision

_DECISION_FIELDS: Final = tuple(Decision.model_fields)


def select_outages() -> Select[Any]:
    """Whole records: the outage, its current decision, its approval and its warnings."""
    told = (
        select(func.array_agg(warnings.c.percent))
        .where(warnings.c.outage_id == outages.c.outage_id)
        .correlate(outages)
        .scalar_subquery()
    )
    current = (decisions.c.outage_id == outages.c.outage_id) & decisions.c.superseded_at.is_(None)
    return (
        select(
            outages,
            *(decisions.c[field].label(f"decision_{field}") for field in _DECISION_FIELDS),
            approvals.c.approved_at,
            approvals.c.approved_by,
            told.label("warned"),
        )
        .outerjoin(decisions, current)
        .outerjoin(approvals, approvals.c.decision_id == decisions.c.decision_id)
    )


def outage_of(row: RowMapping) -> Outage:
    """Make the record of a row of `select_outages`."""
    fields = {name: row[name] for name in Outage.model_fields if name in row}
    decision = {field: row[f"decision_{field}"] for field in _DECISION_FIELDS}
    fields["decision"] = None if decision["decided_at"] is None else Decision(**decision)
    fields["warned"] = tuple(sorted(row["warned"] or ()))
    return Outage(**fields)


async def find_outage(connection: AsyncConnection, outage_id: str) -> Outage:
    """Read one.

    Raises:
        NotFound: there is no such outage.
    """
    return await _one(connection, outage_id, select_outages())


async def lock_outage(connection: AsyncConnection, outage_id: str) -> Outage:
    """Read one and keep everybody else from changing it until the transaction ends.

    Raises:
        NotFound: there is no such outage.
    """
    # The lock comes first, as a statement of its own: what is read afterwards is then what the last holder wrote,
    # in the joined tables too.
    await connection.execute(select(outages.c.outage_id).where(outages.c.outage_id == outage_id).with_for_update())
    return await _one(connection, outage_id, select_outages())


async def _one(connection: AsyncConnection, outage_id: str, query: Select[Any]) -> Outage:
    row = (await connection.execute(query.where(outages.c.outage_id == outage_id))).mappings().one_or_none()
    if row is None:
        raise NotFound(f"there is no outage {outage_id}", outage_id=outage_id)
    return outage_of(row)


async def change_outage(
    connection: AsyncConnection, outage_id: str, *, at: datetime, by_story: bool = False, **values: Any
) -> Outage:
    """Write `values` and return the record; a change by anybody but the story is news for the story."""
    version = outages.c.version if by_story else outages.c.version + 1
    await connection.execute(
        update(outages).where(outages.c.outage_id == outage_id).values(version=version, changed_at=at, **values)
    )
    return await find_outage(connection, outage_id)
