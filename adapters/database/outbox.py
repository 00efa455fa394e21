"""The outbox: `tell` writes an event in the transaction that made it true; a dispatcher sends it on.

Between the two, `place` gives committed events their position in the stream and writes one delivery for each
mail address and webhook endpoint that is to hear of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Row, ScalarResult, and_, func, insert, or_, select, update
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
_LEASE: Final = timedelta(seconds=60)
"""A claimed delivery is somebody else's after this long: longer than any send may take."""
_GIVE_UP_AFTER: Final = timedelta(days=3)


async def tell(connection: AsyncConnection, event: Event) -> None:
    """Record an event in the caller's transaction: it is told if, and only if, that commits."""
    await connection.execute(
        insert(events).values(
            type=event.type,
            subject=event.subject,
            at=event.at,
            operator_id=event.operator_id,
            site_name=event.site_name,
            data=event.data,
        )
    )


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


async def place(connection: AsyncConnection) -> int:
    """Give committed events their positions and deliveries; how many, and 0 where another process is at it."""
    if not (await connection.execute(select(func.pg_try_advisory_xact_lock(_PLACING)))).scalar_one():
        return 0
    rows = (
        await connection.execute(
            select(events).where(events.c.position.is_(None)).order_by(events.c.id).limit(_BATCH)
        )
    ).all()
    if not rows:
        return 0
    last = (await connection.execute(select(func.coalesce(func.max(events.c.position), 0)))).scalar_one()
    for position, row in enumerate(rows, start=last + 1):
        await connection.execute(update(events).where(events.c.id == row.id).values(position=position))
        await _address(connection, row)
    return len(rows)


async def _address(connection: AsyncConnection, row: Row[Any]) -> None:
    """Write a delivery for everybody who is to hear of it."""
    wanted: ScalarResult[str] = await connection.scalars(
        select(webhook_endpoints.c.id).where(
            webhook_endpoints.c.disabled_at.is_(None),
            or_(
                func.cardinality(webhook_endpoints.c.types) == 0,
                webhook_endpoints.c.types.contains([row.type]),
            ),
            or_(
                webhook_endpoints.c.operator_id.is_(None),
                webhook_endpoints.c.operator_id == row.operator_id,
            ),
        )
    )
    rows: list[dict[str, Any]] = [
        {"event_id": row.id, "channel": "webhook", "endpoint_id": endpoint, "recipient": endpoint}
        for endpoint in wanted
    ]
    rows += [
        {"event_id": row.id, "channel": "mail", "endpoint_id": None, "recipient": address}
        for address in await _addresses(connection, row)
    ]
    if rows:
        await connection.execute(upsert(deliveries).values(rows).on_conflict_do_nothing())


async def _addresses(connection: AsyncConnection, row: Row[Any]) -> list[str]:
    found: set[str] = set()
    if row.operator_id is not None:
        of_operator = await connection.execute(select(operators.c.emails).where(operators.c.id == row.operator_id))
        found.update(of_operator.scalar_one_or_none() or ())
    if row.site_name is not None:
        of_site = await connection.execute(select(sites.c.emails).where(sites.c.name == row.site_name))
        found.update(of_site.scalar_one_or_none() or ())
    if EventType(row.type).needs_person:
        acting = [Role.ADMINISTRATOR, Role.OPERATIONS, Role.FINANCE]
        of_people = await connection.execute(
            select(people.c.email).where(
                people.c.email.is_not(None), people.c.disabled_at.is_(None), people.c.roles.overlap(acting)
            )
        )
        found.update(of_people.scalars())
    return sorted(found)


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


async def claim(connection: AsyncConnection, limit: int = 20) -> Sequence[Delivery]:
    """Take due deliveries for the length of a lease; an endpoint in its back-off is left alone."""
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
        .limit(limit)
        .with_for_update(of=deliveries, skip_locked=True)
    )
    ids: list[int] = list((await connection.execute(due)).scalars())
    if not ids:
        return ()
    await connection.execute(
        update(deliveries)
        .where(deliveries.c.id.in_(ids))
        .values(next_at=func.now() + _LEASE, attempts=deliveries.c.attempts + 1)
    )
    rows = await connection.execute(
        select(
            events,
            deliveries.c.id.label("delivery_id"),
            deliveries.c.channel,
            deliveries.c.recipient,
            deliveries.c.attempts,
            deliveries.c.created_at,
            webhook_endpoints.c.url,
            webhook_endpoints.c.secret,
        )
        .join(events, events.c.id == deliveries.c.event_id)
        .outerjoin(webhook_endpoints, webhook_endpoints.c.id == deliveries.c.endpoint_id)
        .where(deliveries.c.id.in_(ids))
        .order_by(deliveries.c.id)
    )
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
        for row in rows
    )


async def mark_sent(connection: AsyncConnection, delivery: Delivery) -> None:
    """It arrived: an endpoint that answers has no back-off any more."""
    await connection.execute(
        update(deliveries)
        .where(deliveries.c.id == delivery.id)
        .values(state="sent", sent_at=func.now(), last_error=None)
    )
    await connection.execute(
        update(webhook_endpoints)
        .where(webhook_endpoints.c.id == delivery.recipient)
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
