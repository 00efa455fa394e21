"""The application: its parts come from outside, its routes and manners are put together here."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi_offline import FastAPIOffline

from api import (
    batch_sending,
    batches,
    events,
    health,
    outages,
    payments,
    payout_stats,
    payouts,
    people,
    registry,
    signing,
    wallets,
    webhooks,
)
from api.access import RateLimit
from api.bounds import Bounds, HttpMetrics
from api.deps import Deps
from api.metrics import RecordMetrics
from api.problems import Problem, install

_DESCRIPTION: Final = (
    "Money that moves exactly once. Commands are recorded and answered at once; their stories go on by themselves:"
    " follow them by `GET`, by server-sent events, or by webhooks.\n\n"
    "Amounts in requests are decimal numbers in JSON strings, with at most 7 decimals; amounts in answers are JSON"
    " numbers, exact, with 2 to 7 decimals. Every error is a problem (RFC 9457) with a stable `code`."
)


def create_app(deps: Deps) -> FastAPI:
    """Make the application; its parts are opened and closed by the caller."""
    app = FastAPIOffline(
        title="Holdfast",
        version=version("holdfast"),
        description=_DESCRIPTION,
        redoc_url=None,
        # Only what is described is answered: a path with a slash too many is none.
        redirect_slashes=False,
    )
    app.state.deps = deps
    app.state.rate_limit = RateLimit(deps.options.requests_per_minute)
    app.state.streams = set()
    install(app)
    file_bytes_max = deps.options.body_bytes_max if deps.batches is None else deps.batches.upload_bytes_max
    app.add_middleware(
        Bounds,
        body_bytes_max=deps.options.body_bytes_max,
        metrics=HttpMetrics(deps.registry),
        uploads=dict.fromkeys(batch_sending.UPLOADS, file_bytes_max),
    )
    for routes in (
        outages.router,
        outages.sla_router,
        payments.router,
        # Before the paths that take any word for a payout's id or an action.
        payout_stats.router,
        signing.router,
        payouts.router,
        # Before what takes any word for a batch's id or an action.
        batch_sending.router,
        batches.router,
        wallets.router,
        registry.router,
        webhooks.router,
        events.router,
        people.router,
        health.router,
        health.metrics_route(RecordMetrics(deps.registry)),
    ):
        app.include_router(routes)

    def describe() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = get_openapi(
                title=app.title, version=app.version, description=app.description, routes=app.routes
            )
            schemas = schema["components"]["schemas"]
            problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas.update(problem.pop("$defs", {}))
            schemas["Problem"] = problem
            for unused in ("HTTPValidationError", "ValidationError"):
                schemas.pop(unused, None)
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = describe  # type: ignore[method-assign]
    return app
