"""Reading and writing one outage's row; whoever changes it holds its lock."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, Self

from sqlalchemy import (
    ARRAY,
    BindParameter,
    Insert,
    RowMapping,
    Select,
    Text,
    Update,
    bindparam,
    func,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.database.outage_news import event_about
from adapters.database.outages_tables import approvals, decisions, outages, warnings
from adapters.database.outbox import TELLING, news_of
from adapters.database.registry_tables import operators, sites
from domain.errors import NotFound
from domain.events import Event, EventType
from domain.money import Amount
from domain.outage import Outage
from domain.sla_payment import Decision, OperatorTerms, strange_wallets

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
            decisions.c.why_approval,
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


_ID: Final[BindParameter[str]] = bindparam("id")
_ONE: Final = select_outages().where(outages.c.outage_id == _ID)
# The columns that change are parameters of these: one made for each change takes as long as to send it.
_THIS: Final = update(outages).where(outages.c.outage_id == _ID)
_CHANGE: Final = _THIS.values(version=outages.c.version + 1)
_SEE: Final = _THIS.values(seen_version=outages.c.version)
_AND_TELL: Final = {change: change.add_cte(TELLING.cte("telling")) for change in (_CHANGE, _SEE)}
_LOCK: Final = select(outages.c.outage_id).where(outages.c.outage_id == _ID).with_for_update()
_AMONG: Final = outages.c.outage_id == func.any(bindparam("ids", type_=ARRAY(Text)))
_LOCK_SOME: Final = select(outages.c.outage_id).where(_AMONG).order_by(outages.c.outage_id).with_for_update()
_FACTS: Final = (
    select_outages()
    .where(_AMONG)
    .add_columns(
        (outages.c.version == outages.c.seen_version).label("is_seen"),
        operators.c.auto_payment,
        operators.c.auto_payment_max_units,
        operators.c.wallet.label("operators_wallet"),
        sites.c.noc_team_wallet.label("sites_wallet"),
    )
    .outerjoin(operators, operators.c.id == outages.c.operator_id)
    .outerjoin(sites, (sites.c.name == outages.c.site_name) & (sites.c.operator_id == outages.c.operator_id))
)
"""Records beside what the registry says of their operators and sites."""


async def find_outage(connection: AsyncConnection, outage_id: str) -> Outage:
    """Read one.

    Raises:
        NotFound: there is no such outage.
    """
    return outage_of(await _one(connection, outage_id))


async def lock_outage(connection: AsyncConnection, outage_id: str) -> Outage:
    """Read one and keep everybody else from changing it until the transaction ends.

    Raises:
        NotFound: there is no such outage.
    """
    # The lock comes first, as a statement of its own: what is read afterwards is then what the last holder wrote,
    # in the joined tables too.
    await connection.execute(_LOCK, {"id": outage_id})
    return outage_of(await _one(connection, outage_id))


async def _one(connection: AsyncConnection, outage_id: str) -> RowMapping:
    row: RowMapping | None = (await connection.execute(_ONE, {"id": outage_id})).mappings().one_or_none()
    if row is None:
        raise NotFound(f"there is no outage {outage_id}", outage_id=outage_id)
    return row


class OutageDraft:
    """A locked outage and what is to become of it: gathered in memory, and written with its news at once.

    One statement does what would else be one for each row, and the lock is held that much shorter.
    """

    def __init__(self, outage: Outage, *, at: datetime) -> None:
        self.outage = outage
        self.at: Final = at
        self._values: dict[str, Any] = {}
        self._news: list[Event] = []
        self._beside: dict[str, Insert | Update] = {}

    @classmethod
    async def lock(cls, connection: AsyncConnection, outage_id: str, *, at: datetime) -> Self:
        """Lock an outage, and begin.

        Raises:
            NotFound: there is no such outage.
        """
        return cls(await lock_outage(connection, outage_id), at=at)

    def change(self, **values: Any) -> Outage:
        """Let columns of the record become `values`; gives the record as it will be."""
        self._values |= values
        return self._become(**values)

    def _become(self, **values: Any) -> Outage:
        known = {name: value for name, value in values.items() if name in Outage.model_fields}
        self.outage = self.outage.model_copy(update=known | {"changed_at": self.at})
        return self.outage

    def add(self, name: str, statement: Insert | Update, **becomes: Any) -> Outage:
        """Write to another table beside it, by which fields of the record become `becomes`."""
        self._beside[name] = statement
        return self._become(**becomes)

    def tell(self, event_type: EventType, **data: str) -> None:
        """Tell of the record as it is by now."""
        self._news.append(event_about(self.outage, event_type, at=self.at, **data))

    async def write(self, connection: AsyncConnection) -> Outage:
        """Write all of it; a change by a person is news for the story, which has not seen it."""
        return await self._write(connection, _CHANGE, changed_at=self.at)

    async def _write(self, connection: AsyncConnection, change: Update, **more: Any) -> Outage:
        change = _AND_TELL[change] if self._news else change
        for name, statement in self._beside.items():
            change = change.add_cte(statement.cte(name))
        given = {"id": self.outage.outage_id, **self._values, **more}
        await connection.execute(change, given | (news_of(self._news) if self._news else {}))
        return self.outage


class StoryDraft(OutageDraft):
    """What the story makes of an outage: it has seen the record as it is, so that no wake is owed to it."""

    def __init__(
        self, outage: Outage, *, at: datetime, is_seen: bool, terms: OperatorTerms, strange: tuple[str, ...]
    ) -> None:
        """`strange` are sentences about wallets that are not the registry's."""
        super().__init__(outage, at=at)
        self.terms: Final = terms
        self.strange: Final = strange
        self._is_seen = is_seen

    @classmethod
    async def lock(cls, connection: AsyncConnection, outage_id: str, *, at: datetime) -> Self:
        """Lock an outage, and begin.

        Raises:
            NotFound: there is no such outage.
        """
        drafts = await cls.lock_some(connection, [outage_id], at=at)
        if outage_id not in drafts:
            raise NotFound(f"there is no outage {outage_id}", outage_id=outage_id)
        return drafts[outage_id]

    @classmethod
    async def lock_some(
        cls, connection: AsyncConnection, outage_ids: Sequence[str], *, at: datetime
    ) -> dict[str, Self]:
        """Lock several, and begin; those that are not there are left out."""
        await connection.execute(_LOCK_SOME, {"ids": outage_ids})
        rows = (await connection.execute(_FACTS, {"ids": outage_ids})).mappings()
        return {row["outage_id"]: cls._of(row, at=at) for row in rows}

    @classmethod
    def _of(cls, row: RowMapping, *, at: datetime) -> Self:
        outage = outage_of(row)
        wallets = {
            "operator_wallet": (outage.operator_wallet, row["operators_wallet"]),
            "noc_team_wallet": (outage.noc_team_wallet, row["sites_wallet"]),
        }
        strange = strange_wallets(outage.site_name, wallets)
        return cls(outage, at=at, is_seen=row["is_seen"], terms=_terms_of(row), strange=strange)

    async def write(self, connection: AsyncConnection) -> Outage:
        """Write what there is to write."""
        if self._values or self._beside or self._news:
            return await self._write(connection, _SEE, changed_at=self.at)
        if not self._is_seen:
            return await self._write(connection, _SEE)
        return self.outage


def _terms_of(row: RowMapping) -> OperatorTerms:
    """An operator's own switch and limit; one that is not registered has none."""
    if row["auto_payment"] is None:
        return OperatorTerms()
    limit = row["auto_payment_max_units"]
    return OperatorTerms(auto=row["auto_payment"], auto_max=None if limit is None else Amount(limit))
