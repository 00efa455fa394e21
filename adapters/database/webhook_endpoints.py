"""Webhook endpoints and what became of their deliveries; secrets are sealed before they come here."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict
from sqlalchemy import Row, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.database.audit import record
from adapters.database.outbox_tables import deliveries, events, webhook_endpoints
from domain.errors import NotFound
from domain.events import EventType


class Endpoint(BaseModel):
    """Where events are sent; `types` empty means all, `operator_id` None those of every operator."""

    model_config = ConfigDict(frozen=True)

    id: str
    url: str
    types: tuple[EventType, ...] = ()
    operator_id: str | None = None
    created_at: datetime
    disabled_at: datetime | None = None
    failures: int = 0
    retry_at: datetime | None = None
    last_error: str | None = None
    last_sent_at: datetime | None = None


class DeliveryRecord(BaseModel):
    """One message to one endpoint."""

    model_config = ConfigDict(frozen=True)

    id: int
    event_id: str | None
    type: EventType
    subject: str
    state: str
    attempts: int
    next_at: datetime
    last_error: str | None
    sent_at: datetime | None
    created_at: datetime


def new_endpoint_id() -> str:
    """A random id; the secret is sealed for it before the row is written."""
    return f"hook_{secrets.token_hex(6)}"


async def add_endpoint(
    connection: AsyncConnection,
    *,
    endpoint_id: str,
    url: str,
    sealed_secret: bytes,
    by: str,
    types: Collection[EventType] = (),
    operator_id: str | None = None,
) -> Endpoint:
    """Add an endpoint; events from now on are sent to it."""
    inserted = await connection.execute(
        insert(webhook_endpoints)
        .values(
            id=endpoint_id,
            url=url,
            secret=sealed_secret,
            types=sorted(types),
            operator_id=operator_id,
            created_by=by,
        )
        .returning(*webhook_endpoints.c)
    )
    await record(connection, actor=by, action="webhook.add", subject=f"webhook:{endpoint_id}")
    return _endpoint(inserted.one())


async def find_endpoint(connection: AsyncConnection, endpoint_id: str) -> Endpoint:
    """Read one.

    Raises:
        NotFound: there is no such endpoint.
    """
    query = select(webhook_endpoints).where(webhook_endpoints.c.id == endpoint_id)
    row = (await connection.execute(query)).one_or_none()
    if row is None:
        raise NotFound("there is no such webhook")
    return _endpoint(row)


async def list_endpoints(connection: AsyncConnection) -> Sequence[Endpoint]:
    """All, oldest first."""
    rows = await connection.execute(select(webhook_endpoints).order_by(webhook_endpoints.c.created_at))
    return tuple(_endpoint(row) for row in rows)


async def ensure_endpoint(
    connection: AsyncConnection, *, endpoint_id: str, url: str, sealed_secret: bytes, by: str
) -> Endpoint:
    """Have the endpoint that the settings name, with the URL and secret that they give now."""
    query = select(webhook_endpoints.c.id).where(webhook_endpoints.c.id == endpoint_id).with_for_update()
    if (await connection.execute(query)).one_or_none() is None:
        return await add_endpoint(connection, endpoint_id=endpoint_id, url=url, sealed_secret=sealed_secret, by=by)
    await connection.execute(
        update(webhook_endpoints)
        .where(webhook_endpoints.c.id == endpoint_id)
        .values(url=url, secret=sealed_secret, disabled_at=None)
    )
    return await find_endpoint(connection, endpoint_id)


async def disable_endpoint(connection: AsyncConnection, endpoint_id: str, *, by: str, at: datetime) -> Endpoint:
    """Send nothing more there; again is the same answer.

    Raises:
        NotFound: there is no such endpoint.
    """
    endpoint = await find_endpoint(connection, endpoint_id)
    if endpoint.disabled_at is None:
        await connection.execute(
            update(webhook_endpoints).where(webhook_endpoints.c.id == endpoint_id).values(disabled_at=at)
        )
        await record(connection, actor=by, action="webhook.disable", subject=f"webhook:{endpoint_id}")
    return await find_endpoint(connection, endpoint_id)


async def list_deliveries(
    connection: AsyncConnection, endpoint_id: str, *, before: int | None = None, limit: int = 50
) -> Sequence[DeliveryRecord]:
    """An endpoint's deliveries, newest first."""
    query = (
        select(deliveries, events.c.position, events.c.type, events.c.subject)
        .join(events, events.c.id == deliveries.c.event_id)
        .where(deliveries.c.endpoint_id == endpoint_id)
        .order_by(deliveries.c.id.desc())
        .limit(limit)
    )
    if before is not None:
        query = query.where(deliveries.c.id < before)
    return tuple(_delivery(row) for row in await connection.execute(query))


async def replay(
    connection: AsyncConnection,
    endpoint_id: str,
    *,
    by: str,
    at: datetime,
    delivery_id: int | None = None,
    since: datetime | None = None,
    types: Collection[EventType] = (),
) -> int:
    """Send again: one delivery, or all since a time (of these types, if any); how many. They keep their ids.

    Raises:
        NotFound: there is no such delivery at this endpoint.
    """
    wanted = update(deliveries).where(deliveries.c.endpoint_id == endpoint_id)
    if delivery_id is not None:
        wanted = wanted.where(deliveries.c.id == delivery_id)
    if since is not None:
        wanted = wanted.where(deliveries.c.created_at >= since)
    if types:
        named = select(events.c.id).where(events.c.type.in_(sorted(types)))
        wanted = wanted.where(deliveries.c.event_id.in_(named))
    done = await connection.execute(
        # A fresh creation time gives it three days again.
        wanted.values(state="pending", next_at=at, attempts=0, last_error=None, created_at=at).returning(
            deliveries.c.id
        )
    )
    count = len(done.all())
    if delivery_id is not None and not count:
        raise NotFound("there is no such delivery")
    await connection.execute(
        update(webhook_endpoints).where(webhook_endpoints.c.id == endpoint_id).values(retry_at=None, failures=0)
    )
    await record(
        connection,
        actor=by,
        action="webhook.replay",
        subject=f"webhook:{endpoint_id}",
        details={"deliveries": count},
    )
    return count


async def unsent(connection: AsyncConnection) -> int:
    """How many messages wait, for the metrics."""
    counted = select(func.count()).select_from(deliveries).where(deliveries.c.state == "pending")
    return int((await connection.execute(counted)).scalar_one())


def _endpoint(row: Row[Any]) -> Endpoint:
    return Endpoint(**{name: getattr(row, name) for name in Endpoint.model_fields})


def _delivery(row: Row[Any]) -> DeliveryRecord:
    fields = {name: getattr(row, name) for name in DeliveryRecord.model_fields if name != "event_id"}
    return DeliveryRecord(event_id=None if row.position is None else str(row.position), **fields)
