"""The outbox: `tell` writes an event in the transaction that made it true; a dispatcher sends it on.

Between the two, `place` gives committed events their position in the stream and writes one delivery for each
mail address and webhook endpoint that is to hear of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Row,
    Select,
    and_,
    bindparam,
    column,
    func,
    literal,
    null,
    or_,
    select,
    union_all,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB, Insert
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.database.outbox_tables import deliveries, events, webhook_endpoints
from adapters.database.people_tables import people
from adapters.database.registry_tables import operators, sites
from domain.events import Event, EventType
from domain.people import Role

_PLACING: Final = 0x486F6C646661_01
"""The advisory lock of whoever gives out positions."""
_BATCH: Final = 200
_CLAIMED_AT_ONCE: Final = 100
_LEASE: Final = timedelta(seconds=60)
"""A claimed delivery is somebody else's after this long: longer than any send may take."""
_GIVE_UP_AFTER: Final = timedelta(days=3)
_TOLD: Final = ["type", "subject", "at", "operator_id", "site_name", "data"]


def _telling() -> Insert:
    given = (
        func.jsonb_to_recordset(bindparam("news", type_=JSONB))
        .table_valued(*(column(name, events.c[name].type) for name in _TOLD), name="told")
        .render_derived(with_types=True)
    )
    return upsert(events).from_select(_TOLD, select(*(given.c[name] for name in _TOLD)))


TELLING: Final = _telling()
"""Records any number of events, given as `news`; made once, since that takes as long as to send it."""


def news_of(told: Sequence[Event]) -> dict[str, Any]:
    """The parameter of `TELLING`."""
    return {
        "news": [
            {
                "type": event.type,
                "subject": event.subject,
                "at": event.at.isoformat(),
                "operator_id": event.operator_id,
                "site_name": event.site_name,
                "data": event.data,
            }
            for event in told
        ]
    }


async def tell(connection: AsyncConnection, *told: Event) -> None:
    """Record events in the caller's transaction: they are told if, and only if, that commits."""
    await connection.execute(TELLING, news_of(told))


def event_of(row: Row[Any]) -> Event:
    """Make the event of a placed row; its id is the position."""
    return Event(
        type=EventType(row.type),
        subject=row.subject,
        at=row.at,
        data=row.data,
        operator_id=row.operator_id,
        site_name=row.site_name,
        id=None if row.position is None else str(row.position),
    )


_TO_PLACE: Final = events.c.position.is_(None)
# The lock is asked for only where something waits: an idle look is one statement.
_LOCK: Final = select(func.pg_try_advisory_xact_lock(_PLACING)).where(
    select(events.c.id).where(_TO_PLACE).exists()
)


def _place_and_address() -> Insert:
    """Positions for a batch, and a delivery for everybody who is to hear of it: one statement for all of it."""
    last = select(func.coalesce(func.max(events.c.position), 0)).scalar_subquery()
    fresh = select(events.c.id).where(_TO_PLACE).order_by(events.c.id).limit(_BATCH).subquery()
    numbered = select(fresh.c.id, (last + func.row_number().over(order_by=fresh.c.id)).label("position")).cte()
    placed = (
        update(events)
        .where(events.c.id == numbered.c.id)
        .values(position=numbered.c.position)
        .returning(events.c.id, events.c.type, events.c.operator_id, events.c.site_name)
        .cte("placed")
    )
    hooks = select(
        placed.c.id, literal("webhook"), webhook_endpoints.c.id, webhook_endpoints.c.id.label("recipient")
    ).join(
        webhook_endpoints,
        and_(
            webhook_endpoints.c.disabled_at.is_(None),
            or_(
                func.cardinality(webhook_endpoints.c.types) == 0,
                placed.c.type == func.any(webhook_endpoints.c.types),
            ),
            or_(
                webhook_endpoints.c.operator_id.is_(None),
                webhook_endpoints.c.operator_id == placed.c.operator_id,
            ),
        ),
    )

    def mails(address: ColumnElement[str], whose: FromClause, condition: ColumnElement[bool]) -> Select[Any]:
        return select(placed.c.id, literal("mail"), null(), address).join(whose, condition)

    acting = [Role.ADMINISTRATOR, Role.OPERATIONS, Role.FINANCE]
    theirs = and_(
        placed.c.type.in_([each.value for each in EventType if each.needs_person]),
        people.c.email.is_not(None),
        people.c.disabled_at.is_(None),
        people.c.roles.overlap(acting),
    )
    everybody = union_all(
        hooks,
        mails(func.unnest(operators.c.emails), operators, operators.c.id == placed.c.operator_id),
        mails(func.unnest(sites.c.emails), sites, sites.c.name == placed.c.site_name),
        mails(people.c.email, people, theirs),
    )
    return (
        upsert(deliveries)
        .from_select(["event_id", "channel", "endpoint_id", "recipient"], everybody)
        .on_conflict_do_nothing()
    )


_PLACE: Final = _place_and_address()


async def place(connection: AsyncConnection) -> bool:
    """Give committed events positions and deliveries; False where none waits, or another process is at it."""
    if not (await connection.execute(_LOCK)).scalar_one_or_none():
        return False
    await connection.execute(_PLACE)
    return True


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message to send: an event and where it goes."""

    id: int
    event: Event
    channel: str
    recipient: str
    attempts: int
    created_at: datetime
    url: str = ""
    sealed_secret: bytes = b""


def _claim() -> Select[Any]:
    due = (
        select(deliveries.c.id)
        .outerjoin(webhook_endpoints, webhook_endpoints.c.id == deliveries.c.endpoint_id)
        .where(
            deliveries.c.state == "pending",
            deliveries.c.next_at <= func.now(),
            or_(
                deliveries.c.endpoint_id.is_(None),
                and_(
                    webhook_endpoints.c.disabled_at.is_(None),
                    or_(webhook_endpoints.c.retry_at.is_(None), webhook_endpoints.c.retry_at <= func.now()),
                ),
            ),
        )
        .order_by(deliveries.c.id)
        .limit(_CLAIMED_AT_ONCE)
        .with_for_update(of=deliveries, skip_locked=True)
        .cte("due")
    )
    taken = (
        update(deliveries)
        .where(deliveries.c.id == due.c.id)
        .values(next_at=func.now() + _LEASE, attempts=deliveries.c.attempts + 1)
        .returning(*deliveries.c)
        .cte("taken")
    )
    return (
        select(
            events,
            taken.c.id.label("delivery_id"),
            taken.c.channel,
            taken.c.recipient,
            taken.c.attempts,
            taken.c.created_at,
            webhook_endpoints.c.url,
            webhook_endpoints.c.secret,
        )
        .join(events, events.c.id == taken.c.event_id)
        .outerjoin(webhook_endpoints, webhook_endpoints.c.id == taken.c.endpoint_id)
        .order_by(taken.c.id)
    )


_CLAIM: Final = _claim()


async def claim(connection: AsyncConnection) -> Sequence[Delivery]:
    """Take due deliveries for the length of a lease; an endpoint in its back-off is left alone."""
    return tuple(
        Delivery(
            id=row.delivery_id,
            event=event_of(row),
            channel=row.channel,
            recipient=row.recipient,
            attempts=row.attempts,
            created_at=row.created_at,
            url=row.url or "",
            sealed_secret=row.secret or b"",
        )
        for row in await connection.execute(_CLAIM)
    )


async def mark_sent(connection: AsyncConnection, sent: Sequence[Delivery]) -> None:
    """They arrived: an endpoint that answers has no back-off any more."""
    await connection.execute(
        update(deliveries)
        .where(deliveries.c.id.in_([delivery.id for delivery in sent]))
        .values(state="sent", sent_at=func.now(), last_error=None)
    )
    hooks = sorted({delivery.recipient for delivery in sent if delivery.channel == "webhook"})
    if hooks:
        await connection.execute(
            update(webhook_endpoints)
            .where(webhook_endpoints.c.id.in_(hooks))
            .values(failures=0, retry_at=None, last_error=None, last_sent_at=func.now())
        )


async def mark_failed(
    connection: AsyncConnection, delivery: Delivery, error: str, *, wait: timedelta, at: datetime
) -> None:
    """It did not arrive, or nobody knows: try again after `wait`, until three days are over."""
    given_up = at - delivery.created_at > _GIVE_UP_AFTER
    await connection.execute(
        update(deliveries)
        .where(deliveries.c.id == delivery.id)
        .values(state="given_up" if given_up else "pending", next_at=at + wait, last_error=error)
    )
    await connection.execute(
        update(webhook_endpoints)
        .where(webhook_endpoints.c.id == delivery.recipient)
        .values(failures=webhook_endpoints.c.failures + 1, retry_at=at + wait, last_error=error)
    )


async def mark_refused(connection: AsyncConnection, delivery: Delivery, error: str) -> None:
    """A definite no: this message is not tried again until somebody replays it."""
    await connection.execute(
        update(deliveries).where(deliveries.c.id == delivery.id).values(state="refused", last_error=error)
    )


async def read_events(
    connection: AsyncConnection, *, after: int, limit: int = 200, operator_id: str | None = None
) -> Sequence[Event]:
    """Placed events after a position, in order."""
    query = select(events).where(events.c.position > after).order_by(events.c.position).limit(limit)
    if operator_id is not None:
        query = query.where(events.c.operator_id == operator_id)
    return tuple(event_of(row) for row in await connection.execute(query))


async def last_position(connection: AsyncConnection) -> int:
    """Where the stream ends now."""
    return int((await connection.execute(select(func.coalesce(func.max(events.c.position), 0)))).scalar_one())
