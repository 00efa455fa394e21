"""Who calls and what they may do: API keys with scopes, a rate limit a key, a keyless caller on localnet."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyHeader, HTTPBearer

from adapters.database.people import add_person, caller_of, find_person
from api.deps import Deps, deps_of
from domain.errors import Forbidden, HoldfastError
from domain.people import Caller, Role, Scope, scopes_of

KEYLESS_NAME: Final = "Local Initiator"
"""The person that requests without a key act as on the local network: an initiator who approves nothing."""
KEYLESS_ID: Final = "keyless"
"""In a key's place, where there was none."""
_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})
_BUCKETS_MAX: Final = 100_000

_bearer: Final = HTTPBearer(auto_error=False, description="An API key.")
_header: Final = APIKeyHeader(name="X-API-Key", auto_error=False, description="An API key.")


class RateLimit:
    """A token bucket a caller, in this process; a burst may spend a quarter of a minute's worth at once."""

    def __init__(self, per_minute: int) -> None:
        self._rate = per_minute / 60
        self._burst = max(1.0, per_minute / 4)
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, caller: str, *, now: float) -> float | None:
        """Spend one request; else the seconds until there is one. `now` is a monotonic clock's."""
        tokens, at = self._buckets.pop(caller, (self._burst, now))
        tokens = min(self._burst, tokens + (now - at) * self._rate)
        allowed = tokens >= 1
        self._buckets[caller] = (tokens - 1 if allowed else tokens, now)
        if len(self._buckets) > _BUCKETS_MAX:
            self._buckets.popitem(last=False)
        return None if allowed else (1 - tokens) / self._rate


async def identify(
    request: Request,
    _bearer_credentials: Annotated[Any, Security(_bearer)] = None,
    _header_key: Annotated[str | None, Security(_header)] = None,
) -> Caller:
    """Find out who calls.

    Raises:
        HoldfastError: `unauthenticated` or `rate_limited`.
    """
    deps = deps_of(request)
    secret = _key_of(request)
    address = request.client.host if request.client else "unknown"
    if secret is None:
        if not (deps.options.keyless and _is_local(request, address)):
            _spend(request, f"address:{address}")
            raise HoldfastError("there is no API key", code="unauthenticated")
        caller = await _keyless(deps)
    else:
        found = None
        if 8 <= len(secret) <= 200:
            async with deps.database.look() as connection:
                found = await caller_of(connection, secret, at=datetime.now(UTC))
        if found is None:
            _spend(request, f"address:{address}")
            raise HoldfastError("the API key is unknown, revoked or expired", code="unauthenticated")
        caller = found
    _spend(request, caller.key_id)
    request.state.caller_id = caller.id
    return caller


def needs(scope: Scope, *others: Scope) -> Callable[..., Awaitable[Caller]]:
    """Make the dependency of a route that needs a scope, or one of several."""
    enough = {scope, *others}

    async def allowed(caller: Annotated[Caller, Depends(identify)]) -> Caller:
        if not enough & caller.scopes:
            raise Forbidden(f"this needs the scope {scope}", scope=scope)
        return caller

    return allowed


def _key_of(request: Request) -> str | None:
    """The key that was sent; None only where nothing was. What cannot be one is given too, to be refused."""
    authorization = request.headers.get("authorization")
    if authorization is None:
        return request.headers.get("x-api-key")
    scheme, _, token = authorization.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _spend(request: Request, caller: str) -> None:
    limit: RateLimit = request.app.state.rate_limit
    wait = limit.take(caller, now=time.monotonic())
    if wait is not None:
        seconds = max(1, round(wait + 0.5))
        raise HoldfastError(
            f"too many requests; again in {seconds} s", code="rate_limited", retry_after_seconds=str(seconds)
        )


def _is_local(request: Request, address: str) -> bool:
    """From this machine, and not by a page in its browser: such a page names its origin, or another host."""
    try:
        host = request.url.hostname
    except ValueError:
        return False
    return address in _LOOPBACK and host in _LOOPBACK and "origin" not in request.headers


async def _keyless(deps: Deps) -> Caller:
    async with deps.database.look() as connection:
        person = await find_person(connection, KEYLESS_NAME)
    if person is None:
        try:
            async with deps.database.begin() as connection:
                person = await add_person(
                    connection, name=KEYLESS_NAME, roles=[Role.OPERATIONS], by="system:local"
                )
        except HoldfastError:
            async with deps.database.begin() as connection:
                person = await find_person(connection, KEYLESS_NAME)
    if person is None:
        raise HoldfastError("there is no API key", code="unauthenticated")
    return Caller(person=person, key_id=KEYLESS_ID, scopes=scopes_of(person.roles))
