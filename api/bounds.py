"""What every request passes before a handler: an id, a body limit as it streams in, headers, log, metrics."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Mapping
from typing import Final

import structlog
from prometheus_client import CollectorRegistry, Counter, Histogram
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.problems import problem

_log = structlog.get_logger("api.access")
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._\-]{8,64}")
_DOCS_PATHS: Final = frozenset({"/docs", "/docs/oauth2-redirect", "/redoc"})


class HttpMetrics:
    """Counts and times of requests, by route and never by path: a path may hold what nobody should read."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.requests = Counter(
            "holdfast_http_requests", "Requests by route", ["method", "route", "status"], registry=registry
        )
        self.seconds = Histogram(
            "holdfast_http_request_seconds", "Time to answer", ["method", "route"], registry=registry
        )


class Bounds:
    """The outermost middleware."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        body_bytes_max: int,
        metrics: HttpMetrics,
        uploads: Mapping[tuple[str, str], int] | None = None,
    ) -> None:
        """`uploads`: method and path of what takes a file, and that file's own limit in bytes."""
        self._app = app
        self._body_bytes_max = body_bytes_max
        self._uploads = uploads or {}
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        started = time.perf_counter()
        status = 500
        began = False

        async def send_with_headers(message: Message) -> None:
            nonlocal status, began
            if message["type"] == "http.response.start":
                status, began = message["status"], True
                self._add_headers(MutableHeaders(scope=message), scope["path"], request_id)
            await send(message)

        counted = 0
        bytes_max = self._uploads.get((scope["method"], scope["path"]), self._body_bytes_max)

        async def receive_bounded() -> Message:
            nonlocal counted
            message = await receive()
            if message["type"] == "http.request":
                counted += len(message.get("body", b""))
                if counted > bytes_max:
                    # FastAPI lets an HTTPException out of reading a body, and hides any other.
                    raise HTTPException(413, headers={"Connection": "close"})
            return message

        try:
            declared = headers.get("content-length", "0")
            if declared.isdigit() and int(declared) > bytes_max:
                answer = problem(
                    Request(scope),
                    "body_too_large",
                    f"a body has at most {bytes_max} bytes",
                    details={"body_bytes_max": str(bytes_max)},
                    headers={"Connection": "close"},
                )
                await answer(scope, receive, send_with_headers)
            elif "\x00" in scope["path"] or b"%00" in scope["query_string"]:
                # No text of ours may hold one, and the database takes none.
                answer = problem(Request(scope), "invalid_input", "a path or query without the character NUL")
                await answer(scope, receive, send_with_headers)
            else:
                await self._app(scope, receive_bounded, send_with_headers)
        except Exception:
            _log.exception("a mistake", request_id=request_id)
            if began:
                raise
            answer = problem(
                Request(scope), "internal", "this was not foreseen; the log has it under this instance"
            )
            await answer(scope, receive, send_with_headers)
        finally:
            seconds = time.perf_counter() - started
            route = getattr(scope.get("route"), "path", "unmatched")
            method = scope["method"] if scope["method"] in _METHODS else "OTHER"
            self._metrics.requests.labels(method, route, str(status)).inc()
            self._metrics.seconds.labels(method, route).observe(seconds)
            _log.info(
                "request",
                method=method,
                route=route,
                status=status,
                ms=round(seconds * 1000, 1),
                request_id=request_id,
                caller=scope["state"].get("caller_id"),
            )

    @staticmethod
    def _add_headers(headers: MutableHeaders, path: str, request_id: str) -> None:
        headers["X-Request-Id"] = request_id
        headers["X-Content-Type-Options"] = "nosniff"
        headers["X-Frame-Options"] = "DENY"
        headers["Referrer-Policy"] = "no-referrer"
        headers.setdefault("Cache-Control", "no-store")
        if path not in _DOCS_PATHS:
            headers["Content-Security-Policy"] = "default-src 'none'; frame-ancestors 'none'"


_METHODS: Final = frozenset({"GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"})
