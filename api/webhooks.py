"""Outgoing webhooks over HTTP: made, listed, replayed, ended."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Depends, Path, Query, Request
from pydantic import BaseModel, Field, SecretStr
from starlette.responses import Response

from adapters.database import registry, webhook_endpoints
from adapters.database.webhook_endpoints import DeliveryRecord, Endpoint
from adapters.webhooks import check_url
from api.access import needs
from api.deps import Parts
from api.exact import ExactJSONResponse
from api.fields import Body, Instant
from api.once import IdempotencyKey, Once
from api.problems import may_answer
from domain.errors import InvalidInput, NotFound, Refused
from domain.events import EventType
from domain.people import Caller, Scope

router: Final = APIRouter(prefix="/api/v1/webhooks", tags=["webhooks"])
Manager = Annotated[Caller, Depends(needs(Scope.WEBHOOKS))]
EndpointId = Annotated[str, Path(pattern=r"^hook_[a-z0-9_]{1,32}$")]


class CreateWebhook(Body):
    """Where to send which events. Each request is signed: see `adapters/webhooks.py` and docs."""

    url: Annotated[str, Field(min_length=8, max_length=2000)]
    types: Annotated[list[EventType], Field(max_length=len(EventType))] = Field(
        default_factory=list, description="None named: all."
    )
    operator: Annotated[str, Field(max_length=63)] | None = Field(
        default=None, description="Only this operator's events."
    )


class WebhookView(BaseModel):
    """An endpoint. `secret` is shown once, in the answer that makes it."""

    id: str
    url: str
    types: list[EventType]
    operator: str | None
    created_at: datetime
    disabled_at: datetime | None
    failures: int = Field(description="In a row; the endpoint's back-off grows with it.")
    retry_at: datetime | None
    last_error: str | None
    last_sent_at: datetime | None
    secret: str | None = Field(default=None, description="The key of the HMAC-SHA256 over `timestamp.body`.")


class WebhooksView(BaseModel):
    """All endpoints."""

    webhooks: list[WebhookView]


class DeliveryView(BaseModel):
    """One message to one endpoint."""

    id: int
    event_id: str | None
    type: EventType
    subject: str
    state: Literal["pending", "sent", "refused", "given_up"]
    attempts: int
    next_at: datetime
    last_error: str | None
    sent_at: datetime | None
    created_at: datetime


class DeliveriesView(BaseModel):
    """A page of deliveries, newest first."""

    deliveries: list[DeliveryView]
    next: str | None = None


class Replay(Body):
    """What to send again: one delivery, or all since a time."""

    delivery_id: Annotated[int, Field(ge=1, le=2**63 - 1)] | None = None
    since: Instant | None = None
    types: Annotated[list[EventType], Field(max_length=len(EventType))] = Field(
        default_factory=list, description="With `since`: only these events. None named: all."
    )


class Replayed(BaseModel):
    """How many are sent again."""

    deliveries: int


def _view(endpoint: Endpoint, secret: SecretStr | None = None) -> WebhookView:
    fields = endpoint.model_dump(exclude={"operator_id", "types"})
    return WebhookView(
        **fields,
        types=list(endpoint.types),
        operator=endpoint.operator_id,
        secret=None if secret is None else secret.get_secret_value(),
    )


@router.post(
    "",
    status_code=201,
    response_model=WebhookView,
    responses={
        200: {"model": WebhookView, "description": "Made before, with this Idempotency-Key; without its secret"},
        **may_answer("malformed_request", "body_too_large", "idempotency_conflict"),
    },
)
async def create_webhook(
    request: Request, deps: Parts, caller: Manager, body: CreateWebhook, key: IdempotencyKey = None
) -> Response:
    """Make an endpoint. Its secret is in this answer only."""
    check_url(body.url, private_allowed=deps.options.private_webhooks)
    if deps.custody is None:
        raise Refused("no secret can be kept: CUSTODY_KEYS is not set")
    secret = SecretStr(f"whsec_{secrets.token_urlsafe(32)}")
    async with deps.database.begin() as connection:
        once = Once(connection, caller, key)
        before = await once.before(request, body)
        if before is not None:
            return ExactJSONResponse(_view(await webhook_endpoints.find_endpoint(connection, before)))
        if body.operator is not None:
            try:
                await registry.find_operator(connection, body.operator)
            except NotFound as error:
                raise InvalidInput(error.message, operator="the id of an operator") from None
        endpoint_id = webhook_endpoints.new_endpoint_id()
        endpoint = await webhook_endpoints.add_endpoint(
            connection,
            endpoint_id=endpoint_id,
            url=body.url,
            sealed_secret=deps.custody.seal_webhook(endpoint_id, secret),
            by=caller.id,
            types=frozenset(body.types),
            operator_id=body.operator,
        )
        await once.made(endpoint_id)
    return ExactJSONResponse(_view(endpoint, secret), 201)


@router.get("", response_model=WebhooksView, responses=may_answer())
async def read_webhooks(deps: Parts, _caller: Manager) -> Response:
    """List endpoints, without secrets."""
    async with deps.database.begin() as connection:
        found = await webhook_endpoints.list_endpoints(connection)
    return ExactJSONResponse(WebhooksView(webhooks=[_view(endpoint) for endpoint in found]))


@router.delete("/{endpoint_id}", response_model=WebhookView, responses=may_answer("not_found"))
async def end_webhook(deps: Parts, caller: Manager, endpoint_id: EndpointId) -> Response:
    """Send nothing more there."""
    async with deps.database.begin() as connection:
        endpoint = await webhook_endpoints.disable_endpoint(
            connection, endpoint_id, by=caller.id, at=datetime.now(UTC)
        )
    return ExactJSONResponse(_view(endpoint))


class DeliveryPage(Body):
    """Which page."""

    cursor: Annotated[str, Field(pattern=r"^[0-9]{1,18}$", description="`next` of the page before.")] | None = None
    limit: Annotated[int, Field(ge=1, le=200)] = 50


@router.get("/{endpoint_id}/deliveries", response_model=DeliveriesView, responses=may_answer("not_found"))
async def read_deliveries(
    deps: Parts, _caller: Manager, endpoint_id: EndpointId, page: Annotated[DeliveryPage, Query()]
) -> Response:
    """What was sent to an endpoint, and what became of it."""
    async with deps.database.begin() as connection:
        await webhook_endpoints.find_endpoint(connection, endpoint_id)
        found = await webhook_endpoints.list_deliveries(
            connection, endpoint_id, before=None if page.cursor is None else int(page.cursor), limit=page.limit
        )
    more = str(found[-1].id) if len(found) == page.limit else None
    return ExactJSONResponse(DeliveriesView(deliveries=[_delivery(one) for one in found], next=more))


def _delivery(delivery: DeliveryRecord) -> DeliveryView:
    return DeliveryView.model_validate(delivery.model_dump())


@router.post(
    "/{endpoint_id}/replay",
    response_model=Replayed,
    responses=may_answer("malformed_request", "body_too_large", "not_found", "idempotency_conflict"),
)
async def replay(  # noqa: PLR0917 - parameters of the request, given by name
    request: Request,
    deps: Parts,
    caller: Manager,
    endpoint_id: EndpointId,
    body: Replay,
    key: IdempotencyKey = None,
) -> Response:
    """Send again. Deliveries keep their ids, so that a receiver knows what it has seen."""
    if (body.delivery_id is None) == (body.since is None):
        raise InvalidInput("name one of delivery_id and since", delivery_id="or since, and not both")
    async with deps.database.begin() as connection:
        once = Once(connection, caller, key)
        before = await once.before(request, body)
        if before is not None:
            return ExactJSONResponse(Replayed(deliveries=int(before)))
        await webhook_endpoints.find_endpoint(connection, endpoint_id)
        count = await webhook_endpoints.replay(
            connection,
            endpoint_id,
            by=caller.id,
            at=datetime.now(UTC),
            delivery_id=body.delivery_id,
            since=body.since,
            types=frozenset(body.types),
        )
        await once.made(str(count), status=200)
    return ExactJSONResponse(Replayed(deliveries=count))
