"""`holdfast webhooks`: endpoints, and what they missed sent again."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from rich.console import Console
from rich.table import Table

from adapters.database import webhook_endpoints
from cli.database import open_database
from cli.records import actor
from domain.errors import InvalidInput
from domain.events import EventType
from settings import Settings

_AGO: Final = re.compile(r"(?P<count>[0-9]{1,6})(?P<unit>[smhd])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_TIME: Final = "%Y-%m-%d %H:%M"


async def list_webhooks(settings: Settings, console: Console) -> int:
    """Show all endpoints."""
    async with open_database(settings) as database, database.begin() as connection:
        endpoints = await webhook_endpoints.list_endpoints(connection)
    table = Table("id", "url", "events", "last sent", "standing")
    table.columns[0].no_wrap = True  # it is what `webhooks replay` takes
    table.columns[1].overflow = "fold"
    for endpoint in endpoints:
        standing = "sends"
        if endpoint.disabled_at is not None:
            standing = f"ended {endpoint.disabled_at:{_TIME}}"
        elif endpoint.failures:
            standing = f"failed {endpoint.failures} times: {endpoint.last_error}"
        sent = f"{endpoint.last_sent_at:{_TIME}}" if endpoint.last_sent_at else "never"
        table.add_row(endpoint.id, endpoint.url, ", ".join(endpoint.types) or "all", sent, standing)
    console.print(table)
    return 0


async def replay_webhook(
    settings: Settings,
    console: Console,
    endpoint_id: str,
    *,
    since: str,
    delivery: int | None,
    names: Sequence[str],
) -> int:
    """Have deliveries sent again by the dispatcher of the next worker.

    Raises:
        InvalidInput: a flag is not right.
        NotFound: there is no such endpoint, or delivery at it.
    """
    if bool(since) == (delivery is not None):
        raise InvalidInput("name one of --since and --delivery")
    if delivery is not None and names:
        raise InvalidInput("--event goes with --since")
    now = datetime.now(UTC)
    types = frozenset(_type(name) for name in names)
    async with open_database(settings) as database, database.begin() as connection:
        endpoint = await webhook_endpoints.find_endpoint(connection, endpoint_id)
        count = await webhook_endpoints.replay(
            connection,
            endpoint.id,
            by=actor(),
            at=now,
            delivery_id=delivery,
            since=moment(since, now=now) if since else None,
            types=types,
        )
    console.print(f"{count} deliveries are sent to {endpoint.url} again.", highlight=False, soft_wrap=True)
    if endpoint.disabled_at is not None:
        console.print("The endpoint has ended: nothing is sent before it is made anew.", style="yellow")
    return 0


def moment(text: str, *, now: datetime) -> datetime:
    """A time with a zone, or how long ago.

    Raises:
        InvalidInput: it is neither.
    """
    ago = _AGO.fullmatch(text)
    if ago is not None:
        return now - timedelta(**{_UNITS[ago["unit"]]: int(ago["count"])})
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise InvalidInput(f"--since {text!r}: a time such as 2026-01-16T10:00:00Z, or an age such as 90m or 3d")
    return found


def _type(name: str) -> EventType:
    try:
        return EventType(name)
    except ValueError:
        raise InvalidInput(f"--event {name!r}: there is no such event; docs/how-to/receive-webhooks.md") from None
