"""People and what they may do. Four eyes needs names: every key belongs to a person."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from pydantic import BaseModel, ConfigDict


class Scope(StrEnum):
    """What a key may do."""

    OUTAGES_READ = "outages:read"
    OUTAGES_WRITE = "outages:write"
    PAYMENTS_READ = "payments:read"
    PAYMENTS_APPROVE = "payments:approve"
    PAYMENTS_CONTROL = "payments:control"
    PAYOUTS_READ = "payouts:read"
    PAYOUTS_WRITE = "payouts:write"
    PAYOUTS_SIGN = "payouts:sign"
    WALLETS_READ = "wallets:read"
    WALLETS_WRITE = "wallets:write"
    REGISTRY_READ = "registry:read"
    REGISTRY_WRITE = "registry:write"
    EVENTS_READ = "events:read"
    WEBHOOKS = "webhooks"
    ADMIN = "admin"


class Role(StrEnum):
    """What a person is here for."""

    ADMINISTRATOR = "administrator"
    OPERATIONS = "operations"
    FINANCE = "finance"
    VIEWER = "viewer"


_READS: Final = frozenset(
    {
        Scope.OUTAGES_READ,
        Scope.PAYMENTS_READ,
        Scope.PAYOUTS_READ,
        Scope.WALLETS_READ,
        Scope.REGISTRY_READ,
        Scope.EVENTS_READ,
    }
)
ROLE_SCOPES: Final[Mapping[Role, frozenset[Scope]]] = MappingProxyType(
    {
        Role.ADMINISTRATOR: frozenset(Scope),
        Role.OPERATIONS: _READS | {Scope.OUTAGES_WRITE, Scope.WALLETS_WRITE, Scope.PAYOUTS_WRITE},
        Role.FINANCE: _READS
        | {Scope.PAYMENTS_APPROVE, Scope.PAYMENTS_CONTROL, Scope.PAYOUTS_WRITE, Scope.PAYOUTS_SIGN},
        Role.VIEWER: _READS,
    }
)
"""The most that each role may do; a key may be given less, never more."""


def scopes_of(roles: Iterable[Role]) -> frozenset[Scope]:
    """All that these roles may do together."""
    return frozenset().union(*(ROLE_SCOPES[role] for role in roles))


class Person(BaseModel):
    """A named person; `id` is random, so that no name stands in an audit subject or a log."""

    model_config = ConfigDict(frozen=True)

    id: str
    name: str
    email: str | None = None
    roles: tuple[Role, ...]


class Caller(BaseModel):
    """Who makes a request: a person, by which key, and what that key may do now."""

    model_config = ConfigDict(frozen=True)

    person: Person
    key_id: str
    scopes: frozenset[Scope]

    @property
    def id(self) -> str:
        """The person's id."""
        return self.person.id
