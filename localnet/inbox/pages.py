"""The inbox over HTTP: webhooks in, a page to look at, and a JSON API for tests."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from typing import Any, Final

from aiohttp import web
from jinja2 import Environment, PackageLoader, StrictUndefined

from localnet.inbox.faults import KINDS, Faults
from localnet.inbox.messages import Mailbox, Message
from localnet.inbox.signatures import verify

BODY_BYTES_MAX: Final = 1024 * 1024
_PAGE_MESSAGES: Final = 200

_templates: Final = Environment(
    loader=PackageLoader("localnet.inbox"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
)

# What is received is shown as text only; should something slip through, the browser still runs nothing of it.
_SECURITY_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class InboxPages:
    """The handlers, over one mailbox."""

    def __init__(self, mailbox: Mailbox, faults: Faults, *, webhook_secret: str | None) -> None:
        self._mailbox = mailbox
        self._faults = faults
        self._secret = webhook_secret

    def application(self) -> web.Application:
        """Make the web application."""

        @web.middleware
        async def secure(request: web.Request, handler: Any) -> web.StreamResponse:
            response: web.StreamResponse = await handler(request)
            response.headers.update(_SECURITY_HEADERS)
            return response

        application = web.Application(client_max_size=BODY_BYTES_MAX, middlewares=[secure])
        application.add_routes(
            [
                web.get("/", self.page),
                web.get("/list", self.list),
                web.get("/messages/{id:[0-9]+}", self.message_page),
                web.get("/style.css", self.asset),
                web.get("/refresh.js", self.asset),
                web.get("/health", self.health),
                web.post("/hooks/{name}", self.webhook),
                web.get("/api/messages", self.api_list),
                web.get("/api/messages/{id:[0-9]+}", self.api_message),
                web.delete("/api/messages", self.api_clear),
                web.get("/admin/faults", self.faults_list),
                web.post("/admin/faults", self.faults_ask),
                web.delete("/admin/faults", self.faults_clear),
            ]
        )
        return application

    async def webhook(self, request: web.Request) -> web.StreamResponse:
        """Keep a webhook, judge its signature, and answer 204, unless misbehaviour is asked for."""
        name = request.match_info["name"]
        body = await request.read()
        if self._faults.take("webhook_503", name):
            return web.json_response({"error": "unavailable, as was asked"}, status=503)
        if delay := self._faults.take("webhook_delay", name):
            await asyncio.sleep(delay.delay_ms / 1000)
        text = body.decode("utf-8", "replace")
        try:
            data = json.loads(text)
        except ValueError:
            data = None
        verified, why = verify(request.headers, body, self._secret) if self._secret else (None, "no secret is set")
        self._mailbox.add(
            kind="webhook",
            sender=request.headers.get("User-Agent", ""),
            to=name,
            subject=_event_of(data) or f"POST /hooks/{name}",
            headers=tuple(request.headers.items()),
            text=json.dumps(data, indent=2, ensure_ascii=False) if data is not None else text,
            verified=verified,
            verification=why,
            data=data,
        )
        if self._faults.take("webhook_drop", name) and request.transport is not None:
            request.transport.abort()
        return web.Response(status=204)

    def _found(self, request: web.Request) -> list[Message]:
        filters = {key: request.query.get(key, "") for key in ("kind", "to", "contains")}
        return list(self._mailbox.newest_first(**filters))

    def _render(self, template: str, **values: Any) -> web.Response:
        return web.Response(text=_templates.get_template(template).render(**values), content_type="text/html")

    def _list(self, request: web.Request) -> dict[str, Any]:
        found = self._found(request)
        return {"messages": found[:_PAGE_MESSAGES], "count": len(found), "total": len(self._mailbox)}

    async def page(self, request: web.Request) -> web.Response:
        """Show the messages, newest first; the list renews itself."""
        query = {key: request.query.get(key, "") for key in ("kind", "to", "contains")}
        return self._render("inbox.html", query=query, **self._list(request))

    async def list(self, request: web.Request) -> web.Response:
        """Give the list alone, for the page to renew."""
        return self._render("list.html", **self._list(request))

    async def message_page(self, request: web.Request) -> web.Response:
        """Show one message."""
        message = self._mailbox.get(int(request.match_info["id"]))
        if message is None:
            raise web.HTTPNotFound(text="There is no such message; the inbox keeps the last 1,000.")
        return self._render("message.html", message=message)

    async def asset(self, request: web.Request) -> web.Response:
        """Give the style sheet or the script."""
        name = request.path.lstrip("/")
        kind = "text/css" if name.endswith(".css") else "text/javascript"
        return web.Response(text=_templates.get_template(name).render(), content_type=kind)

    async def health(self, _request: web.Request) -> web.Response:
        """Say that the inbox runs."""
        return web.json_response({"status": "ok", "messages": len(self._mailbox)})

    async def api_list(self, request: web.Request) -> web.Response:
        """Give the messages that match, newest first."""
        return web.json_response({"messages": [asdict(message) for message in self._found(request)]})

    async def api_message(self, request: web.Request) -> web.Response:
        """Give one message."""
        message = self._mailbox.get(int(request.match_info["id"]))
        if message is None:
            return web.json_response({"error": "there is no such message"}, status=404)
        return web.json_response(asdict(message))

    async def api_clear(self, _request: web.Request) -> web.Response:
        """Forget all messages."""
        self._mailbox.clear()
        return web.Response(status=204)

    async def faults_list(self, _request: web.Request) -> web.Response:
        """Say which misbehaviour is asked for, and what can be."""
        return web.json_response({"active": [asdict(fault) for fault in self._faults.active], "kinds": KINDS})

    async def faults_ask(self, request: web.Request) -> web.Response:
        """Misbehave from now on."""
        try:
            fault = self._faults.ask(await request.json())
        except ValueError as error:
            return web.json_response({"error": str(error)}, status=422)
        return web.json_response(asdict(fault), status=201)

    async def faults_clear(self, _request: web.Request) -> web.Response:
        """Behave again."""
        self._faults.clear()
        return web.Response(status=204)


def _event_of(data: Any) -> str:
    """What a webhook calls its event: the field is named differently everywhere."""
    if not isinstance(data, dict):
        return ""
    return next(
        (data[key] for key in ("type", "event", "event_type", "kind") if isinstance(data.get(key), str)), ""
    )
