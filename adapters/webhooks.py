"""Webhooks: signed, bounded in size and time, never redirected, never into a private network.

Each request carries:

* `Holdfast-Event`: the event's type;
* `Holdfast-Delivery`: the delivery's id, the same in every try: a receiver drops what it has seen;
* `Holdfast-Signature`: `t=TIME,v1=HEX`: seconds since 1970 of this try, and the HMAC-SHA256, keyed with the
  endpoint's secret, over `TIME.BODY`. A receiver refuses what does not match, or is older than a few minutes.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import json
import socket
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver
from pydantic import SecretStr

from domain.errors import InvalidInput, OutcomeUnknown, Refused, Unavailable
from domain.events import Event
from domain.instants import instant

_ANSWER_BYTES_MAX: Final = 4096
_TIMEOUT: Final = aiohttp.ClientTimeout(total=15, connect=5)


class _PrivateAddress(OSError):
    """The name leads into a network that is not the public one."""


class _PublicResolver(AbstractResolver):
    """Refuses private addresses at the moment of connecting, so that no later answer of the DNS slips in."""

    def __init__(self) -> None:
        self._resolver = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._resolver.resolve(host, port, family)
        if not all(_is_public(entry["host"]) for entry in found):
            raise _PrivateAddress(f"{host} leads to a private address")
        return found

    async def close(self) -> None:
        await self._resolver.close()


def _is_public(address: str) -> bool:
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    return parsed.is_global and not parsed.is_multicast


def check_url(url: str, *, private_allowed: bool) -> None:
    """Refuse a URL that can be seen to be wrong; names are judged again when they are resolved.

    Raises:
        InvalidInput: not http(s), with credentials, or a private address where that is not allowed.
    """
    right = "an https URL of a public host"
    parts = urlsplit(url)
    try:
        host, _port = parts.hostname, parts.port
    except ValueError:
        raise InvalidInput("the webhook's URL is not right", url=right) from None
    if parts.scheme not in {"http", "https"} or not host or parts.username or parts.password:
        raise InvalidInput("the webhook's URL is not right", url=right)
    if private_allowed:
        return
    if parts.scheme != "https":
        raise InvalidInput("webhooks go over TLS", url=right)
    try:
        public = _is_public(host)
    except ValueError:
        public = host != "localhost" and not host.endswith((".localhost", ".local", ".internal"))
    if not public:
        raise InvalidInput("webhooks do not go into private networks", url=right)


def sign(secret: SecretStr, timestamp: int, body: bytes) -> str:
    """The value of `Holdfast-Signature`."""
    signed = hmac.new(secret.get_secret_value().encode(), f"{timestamp}.".encode() + body, hashlib.sha256)
    return f"t={timestamp},v1={signed.hexdigest()}"


def body_of(event: Event, links: dict[str, str]) -> bytes:
    """What is sent about an event: the same bytes in every try."""
    content: dict[str, Any] = {
        "id": event.id,
        "type": event.type,
        "subject": event.subject,
        "at": instant(event.at),
        "data": event.data,
        "links": links,
    }
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()


class Webhooks:
    """The one HTTP client for webhooks."""

    def __init__(self, *, private_allowed: bool) -> None:
        self._private_allowed = private_allowed
        self._session: aiohttp.ClientSession | None = None

    def _client(self) -> aiohttp.ClientSession:
        if self._session is None:
            resolver = None if self._private_allowed else _PublicResolver()
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(resolver=resolver, limit=50),
                timeout=_TIMEOUT,
                headers={"User-Agent": "Holdfast"},
                trust_env=False,
            )
        return self._session

    async def send(
        self, url: str, body: bytes, *, event_type: str, delivery_id: int, secret: SecretStr, timestamp: int
    ) -> None:
        """Send one webhook.

        Raises:
            Refused: the URL may not be called, or the receiver is gone for good (410).
            Unavailable: it was not taken: an answer other than 2xx, or no connection.
            OutcomeUnknown: it was sent and no answer came.
        """
        try:
            check_url(url, private_allowed=self._private_allowed)
        except InvalidInput as error:
            raise Refused(error.message) from None
        headers = {
            "Content-Type": "application/json",
            "Holdfast-Event": event_type,
            "Holdfast-Delivery": str(delivery_id),
            "Holdfast-Signature": sign(secret, timestamp, body),
        }
        try:
            async with self._client().post(url, data=body, headers=headers, allow_redirects=False) as answer:
                status = answer.status
                await answer.content.read(_ANSWER_BYTES_MAX)
        except aiohttp.ClientConnectorError as error:
            if isinstance(error.os_error, _PrivateAddress):
                raise Refused("webhooks do not go into private networks") from None
            raise Unavailable(f"no connection: {type(error).__name__}") from None
        except aiohttp.ConnectionTimeoutError:
            raise Unavailable("no connection in time") from None
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise OutcomeUnknown(f"no answer: {type(error).__name__}") from None
        if status == 410:
            raise Refused("the receiver is gone (410)")
        if not 200 <= status < 300:
            raise Unavailable(f"the receiver answers {status}")

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()


SIGNED_HEADERS: Final[Sequence[str]] = (
    "Holdfast-Event",
    "Holdfast-Delivery",
    "Holdfast-Signature",
)
"""What a receiver may rely on."""
