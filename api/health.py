"""Is it alive, could a payment be made now, and figures for Prometheus."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Final

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel, Field
from starlette.responses import Response

from adapters.database import heads, switches
from adapters.database.migrate import pending_on
from api.deps import Parts
from api.exact import ExactJSONResponse
from api.metrics import RecordMetrics
from domain.errors import HoldfastError
from domain.instants import instant

router: Final = APIRouter(tags=["health"])
_PATIENCE_SECONDS: Final = 5


class Health(BaseModel):
    """The process answers."""

    status: str = "ok"


class Readiness(BaseModel):
    """Whether a payment could be made now, and what stands against it."""

    ready: bool
    frozen: bool = Field(description="A person stopped all sending.")
    checks: dict[str, str] = Field(description="Check to `ok`, or to what is wrong.")


@router.get("/health", response_model=Health)
async def read_health() -> Response:
    """The process answers; restart it where it does not."""
    return ExactJSONResponse(Health())


@router.get(
    "/ready",
    response_model=Readiness,
    responses={503: {"model": Readiness, "description": "No payment could be made; `checks` says why"}},
)
async def read_readiness(deps: Parts) -> Response:
    """200 exactly when a payment could be made: a freeze, or a ledger that went back in time, is 503 too."""
    checks: dict[str, str] = {}
    frozen = False

    async def database() -> None:
        nonlocal frozen
        async with deps.database.begin() as connection:
            missing = await connection.run_sync(pending_on)
            if missing:
                checks["database"] = f"not migrated: {', '.join(missing)}"
                return
            halted = await heads.halted_reason(connection)
            freeze = await switches.frozen(connection)
            followed_to = await heads.followed_to(connection)
        frozen = freeze is not None
        checks["history"] = "ok" if halted is None else f"{halted}: holdfast reconcile"
        checks["sending"] = "ok" if freeze is None else f"frozen since {instant(freeze.since)}: {freeze.reason}"
        if halted is None:  # a halted record stays where it is
            checks["worker"] = _follows(followed_to, deps.options.followed_seconds_max)

    async def ledger() -> None:
        checks.update(await deps.ledger.problems())

    await asyncio.gather(
        _run(checks, "database", database),
        _run(checks, "temporal", deps.temporal.check),
        _run(checks, "ledger", ledger),
    )
    ready = all(value == "ok" for value in checks.values())
    return ExactJSONResponse(Readiness(ready=ready, frozen=frozen, checks=checks), 200 if ready else 503)


def _follows(followed_to: datetime | None, seconds_max: float) -> str:
    if followed_to is None:
        return "none has followed the ledger yet"
    behind = (datetime.now(UTC) - followed_to).total_seconds()
    if behind <= seconds_max:
        return "ok"
    return f"none follows the ledger: the last one that was followed closed {behind:.0f} s ago"


async def _run(checks: dict[str, str], name: str, check: Callable[[], Awaitable[None]]) -> None:
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            await check()
    except HoldfastError as error:
        checks[name] = error.message
    except TimeoutError:
        checks[name] = f"no answer within {_PATIENCE_SECONDS} s"
    else:
        checks.setdefault(name, "ok")


def metrics_route(figures: RecordMetrics) -> APIRouter:
    """Make the route for Prometheus."""
    metrics = APIRouter(tags=["health"])

    @metrics.get(
        "/metrics",
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    )
    async def read_metrics(deps: Parts) -> Response:
        """Figures for Prometheus. Nothing in them names a person, an outage or a payout."""
        with contextlib.suppress(HoldfastError):
            await figures.read(deps.database)
        return Response(generate_latest(deps.registry), media_type=CONTENT_TYPE_LATEST)

    return metrics
