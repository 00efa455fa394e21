"""The codec endpoint: opens payloads for people who read workflows in the Temporal Web UI.

A browser asks it, so three things stand in the way of strangers: it answers only pages of the listed origins, only
under the names it is known by (a page that rebinds its name to this machine has another), and, where a token is
set, only to who shows it: as a bearer token, or as the pass that the page at `/` hands out for it. It opens and
never seals: nobody can plant a payload through it.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Awaitable, Callable, Collection
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web
from google.protobuf import json_format
from temporalio.api.common.v1 import Payload, Payloads

from adapters.temporal.codec import SealedPayloads
from domain.errors import Refused

_PASS: Final = "holdfast_codec_pass"  # noqa: S105 - a cookie's name
_BODY_BYTES_MAX: Final = 8 * 1024 * 1024
_LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})
_PAGE: Final = """<!doctype html><meta charset="utf-8"><title>Holdfast: codec pass</title>
<style>body{font:16px system-ui;max-width:32rem;margin:4rem auto}input{width:100%;font:inherit}</style>
<h1>Read payloads</h1><p>Enter the token of CODEC_TOKEN; this browser may then open payloads for 12 hours.
In the Web UI, set the codec endpoint with “Include cross-origin credentials”.</p>
<form method="post" action="/pass"><input name="token" type="password" autocomplete="current-password" autofocus>
<p><button>Open</button></form>"""

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class CodecEndpoint:
    """An aiohttp application: `POST /decode`, as the Web UI and `temporal --codec-endpoint` ask."""

    def __init__(self, codec: SealedPayloads, *, origins: Collection[str], token: str | None) -> None:
        """`origins` of the Web UIs; `token` None asks for none: for play money on this machine only."""
        self._codec = codec
        self._origins = frozenset(origin.rstrip("/") for origin in origins)
        self._names = _LOOPBACK | {urlsplit(origin).hostname or "" for origin in origins}
        self._token = token

    def application(self) -> web.Application:
        """The application, to be served on a port of its own."""
        app = web.Application(middlewares=[self._guard], client_max_size=_BODY_BYTES_MAX)
        app.router.add_post("/decode", self._decode)
        app.router.add_get("/", self._page)
        app.router.add_post("/pass", self._hand_out_pass)
        return app

    @web.middleware
    async def _guard(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        if (urlsplit(f"//{request.host}").hostname or "") not in self._names:
            raise web.HTTPForbidden(text="not under this name")
        origin = request.headers.get("Origin")
        if request.path != "/decode":
            return await handler(request)
        if origin is not None and origin not in self._origins:
            raise web.HTTPForbidden(text="not from this origin: see CODEC_ORIGINS")
        if request.method == "OPTIONS":
            response: web.StreamResponse = web.Response(status=204)
        elif self._may_read(request, origin):
            response = await handler(request)
        else:
            response = web.Response(status=401, text="show the codec's token: see CODEC_TOKEN")
        if origin is not None:
            response.headers.update(
                {
                    "Access-Control-Allow-Origin": origin,
                    "Access-Control-Allow-Credentials": "true",
                    "Access-Control-Allow-Methods": "POST, OPTIONS",
                    "Access-Control-Allow-Headers": "authorization, content-type, x-namespace",
                    "Vary": "Origin",
                }
            )
        response.headers["Cache-Control"] = "no-store"
        return response

    def _may_read(self, request: web.Request, origin: str | None) -> bool:
        if self._token is None:
            # Without a token the origin is all there is, so it has to be shown: no bare request is answered.
            return origin is not None
        shown = request.headers.get("Authorization", "").removeprefix("Bearer ")
        by_cookie = request.cookies.get(_PASS, "") if origin is not None else ""
        return hmac.compare_digest(shown.encode(), self._token.encode()) or hmac.compare_digest(
            by_cookie.encode(), self._pass_of(self._token).encode()
        )

    @staticmethod
    def _pass_of(token: str) -> str:
        return hmac.new(token.encode(), b"holdfast codec pass", hashlib.sha256).hexdigest()

    async def _decode(self, request: web.Request) -> web.Response:
        try:
            sealed = json_format.Parse(await request.text(), Payloads())
            opened = Payloads(payloads=await self._codec.decode(list[Payload](sealed.payloads)))
        except (json_format.ParseError, UnicodeDecodeError):
            return web.Response(status=400, text="not a list of payloads")
        except Refused as refusal:
            return web.Response(status=422, text=refusal.message)
        return web.Response(text=json_format.MessageToJson(opened), content_type="application/json")

    async def _page(self, _request: web.Request) -> web.Response:
        text = _PAGE if self._token is not None else "Nothing to do here: no token is asked for."
        return web.Response(text=text, content_type="text/html", headers={"X-Frame-Options": "DENY"})

    async def _hand_out_pass(self, request: web.Request) -> web.Response:
        given = str((await request.post()).get("token", ""))
        if self._token is None or not hmac.compare_digest(given.encode(), self._token.encode()):
            return web.Response(status=401, text="That is not the token.")
        response = web.Response(text="This browser may read payloads for 12 hours.")
        response.set_cookie(
            _PASS,
            self._pass_of(self._token),
            max_age=12 * 3600,
            httponly=True,
            samesite="Lax",
            secure=request.secure,
        )
        return response
