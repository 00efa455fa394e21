"""The event stream (server-sent events): what happened, in order, resumable by Last-Event-ID."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Header, Query, Request
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.responses import Response

from adapters.database import outbox
from adapters.database.people import key_may
from api.access import KEYLESS_ID, needs
from api.deps import Deps, Parts
from api.problems import may_answer
from domain.errors import HoldfastError, Unavailable
from domain.events import Event
from domain.instants import instant
from domain.people import Caller, Scope

router: Final = APIRouter(prefix="/api/v1", tags=["events"])
Reader = Annotated[Caller, Depends(needs(Scope.EVENTS_READ))]
_POLL_SECONDS: Final = 0.25
_BATCH: Final = 200


@router.get(
    "/events",
    response_class=EventSourceResponse,
    responses={
        200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}, "description": "The stream"},
        **may_answer(),
    },
)
async def stream_events(  # noqa: PLR0917 - parameters of the request, given by name
    request: Request,
    deps: Parts,
    caller: Reader,
    last_event_id: Annotated[str | None, Header(alias="Last-Event-ID", pattern=r"^[0-9]{1,18}$")] = None,
    after: Annotated[
        str | None, Query(pattern=r"^[0-9]{1,18}$", description="As Last-Event-ID; 0 is the beginning.")
    ] = None,
    operator: Annotated[str | None, Query(max_length=63, description="Only this operator's events.")] = None,
    follow: Annotated[bool, Query(description="False: end after what there is.")] = True,
) -> Response:
    """Follow what happens. Each message's id is its position: send it as `Last-Event-ID` to go on after it."""
    given = last_event_id or after
    async with deps.database.begin() as connection:
        await outbox.place(connection)
        position = int(given) if given is not None else await outbox.last_position(connection)
    streams: set[object] = request.app.state.streams
    if follow and len(streams) >= deps.options.streams_max:
        raise HoldfastError("too many streams are open", code="rate_limited", retry_after_seconds="10")
    return EventSourceResponse(
        _messages(deps, streams, caller, position, operator, follow=follow),
        ping=15,
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


async def _messages(
    deps: Deps, streams: set[object], caller: Caller, position: int, operator: str | None, *, follow: bool
) -> AsyncIterator[ServerSentEvent]:
    token = object()
    streams.add(token)
    try:
        while True:
            try:
                async with deps.database.begin() as connection:
                    # A stream outlives its request: a key that was revoked meanwhile hears no more.
                    if caller.key_id != KEYLESS_ID and not await key_may(
                        connection, caller.key_id, Scope.EVENTS_READ, at=datetime.now(UTC)
                    ):
                        return
                    # Whoever reads gives out positions too: the stream does not wait for a worker.
                    await outbox.place(connection)
                    found = await outbox.read_events(
                        connection, after=position, limit=_BATCH, operator_id=operator
                    )
            except Unavailable:
                found = ()
            for event in found:
                position = int(event.id or position)
                yield _message(deps, event)
            if len(found) < _BATCH:
                if not follow:
                    return
                await asyncio.sleep(_POLL_SECONDS)
    finally:
        streams.discard(token)


def _message(deps: Deps, event: Event) -> ServerSentEvent:
    content = {
        "id": event.id,
        "type": event.type,
        "subject": event.subject,
        "at": instant(event.at),
        "data": event.data,
        "explorer_url": deps.transaction_url(event.data.get("tx_hash")),
    }
    return ServerSentEvent(id=event.id, event=event.type.value, data=json.dumps(content))
