"""People and their API keys. Only a key's hash is kept; its text is shown once, when it is made."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, SecretStr
from sqlalchemy import Row, bindparam, insert, or_, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.database.audit import record
from adapters.database.people_tables import api_keys, people
from domain.errors import Conflict, InvalidInput, NotFound
from domain.people import Caller, Person, Role, Scope, scopes_of

_KEY_PREFIX: Final = "hf_"
_LAST_USED_RESOLUTION: Final = timedelta(minutes=1)
# Asked with every request, so made once.
_BY_NAME: Final = select(people).where(people.c.name == bindparam("name"))
_BY_KEY: Final = (
    select(people, api_keys.c.id.label("key_id"), api_keys.c.scopes, api_keys.c.last_used_at)
    .join(people, people.c.id == api_keys.c.person_id)
    .where(
        api_keys.c.hash == bindparam("hash"),
        api_keys.c.revoked_at.is_(None),
        or_(api_keys.c.expires_at.is_(None), api_keys.c.expires_at > bindparam("at")),
        people.c.disabled_at.is_(None),
    )
)


class ApiKey(BaseModel):
    """A key without its secret."""

    model_config = ConfigDict(frozen=True)

    id: str
    prefix: str
    person_id: str
    label: str
    scopes: tuple[Scope, ...]
    created_at: datetime
    expires_at: datetime | None = None
    last_used_at: datetime | None = None
    revoked_at: datetime | None = None


async def add_person(
    connection: AsyncConnection, *, name: str, roles: Collection[Role], by: str, email: str | None = None
) -> Person:
    """Add a named person.

    Raises:
        Conflict: somebody has that name.
        InvalidInput: no role.
    """
    if not roles:
        raise InvalidInput("a person has a role", roles=f"one or more of {', '.join(Role)}")
    person = Person(id=f"person:{secrets.token_hex(6)}", name=name, email=email, roles=tuple(sorted(set(roles))))
    added = await connection.execute(
        upsert(people)
        .values(id=person.id, name=name, email=email, roles=[str(role) for role in person.roles])
        .on_conflict_do_nothing(index_elements=["name"])
        .returning(people.c.id)
    )
    # Asked of the insert itself: two at once would both find that nobody has the name.
    if added.scalar_one_or_none() is None:
        raise Conflict("somebody has that name", name="another name")
    await record(
        connection, actor=by, action="person.add", subject=person.id, details={"roles": list(person.roles)}
    )
    return person


async def find_person(connection: AsyncConnection, name: str) -> Person | None:
    """Find a person by name."""
    row = (await connection.execute(_BY_NAME, {"name": name})).one_or_none()
    return None if row is None else _person(row)


async def list_people(connection: AsyncConnection) -> Sequence[Person]:
    """Everybody who is not disabled, by name."""
    rows = await connection.execute(select(people).where(people.c.disabled_at.is_(None)).order_by(people.c.name))
    return tuple(_person(row) for row in rows)


async def make_key(
    connection: AsyncConnection,
    *,
    person_id: str,
    by: str,
    label: str = "",
    scopes: Collection[Scope] | None = None,
    expires_at: datetime | None = None,
    secret: SecretStr | None = None,
) -> tuple[ApiKey, SecretStr]:
    """Make a key for a person; the secret is returned here and nowhere else.

    `scopes` None means all that the person's roles allow. `secret` is for a key that a deployment was given.

    Raises:
        NotFound: there is no such person.
        InvalidInput: a scope that the person's roles do not allow.
    """
    row = (await connection.execute(select(people).where(people.c.id == person_id))).one_or_none()
    if row is None:
        raise NotFound("there is no such person")
    allowed = scopes_of(_person(row).roles)
    wanted = allowed if scopes is None else frozenset(scopes)
    if not wanted <= allowed:
        raise InvalidInput(
            "the person's roles do not allow that",
            scopes=f"among {', '.join(sorted(allowed))}",
        )
    secret = secret or SecretStr(_KEY_PREFIX + secrets.token_urlsafe(32))
    inserted = await connection.execute(
        insert(api_keys)
        .values(
            id=f"key:{secrets.token_hex(6)}",
            prefix=secret.get_secret_value()[: len(_KEY_PREFIX) + 6],
            hash=_hash(secret.get_secret_value()),
            person_id=person_id,
            label=label,
            scopes=sorted(wanted),
            expires_at=expires_at,
        )
        .returning(*api_keys.c)
    )
    key = _key(inserted.one())
    await record(
        connection, actor=by, action="key.make", subject=key.id, details={"person": person_id, "label": label}
    )
    return key, secret


async def list_keys(connection: AsyncConnection) -> Sequence[ApiKey]:
    """All keys, newest first, without secrets."""
    rows = await connection.execute(select(api_keys).order_by(api_keys.c.created_at.desc()))
    return tuple(_key(row) for row in rows)


async def revoke_key(connection: AsyncConnection, key_id: str, *, by: str, at: datetime) -> ApiKey:
    """End a key; again is the same answer.

    Raises:
        NotFound: there is no such key.
    """
    row = (
        await connection.execute(select(api_keys).where(api_keys.c.id == key_id).with_for_update())
    ).one_or_none()
    if row is None:
        raise NotFound("there is no such key")
    if row.revoked_at is None:
        changed = update(api_keys).where(api_keys.c.id == key_id).values(revoked_at=at).returning(*api_keys.c)
        row = (await connection.execute(changed)).one()
        await record(connection, actor=by, action="key.revoke", subject=key_id)
    return _key(row)


async def caller_of(connection: AsyncConnection, secret: str, *, at: datetime) -> Caller | None:
    """Who holds this secret; None where it is unknown, revoked, expired, or its person is disabled."""
    rows = await connection.execute(_BY_KEY, {"hash": _hash(secret), "at": at})
    row = rows.one_or_none()
    if row is None:
        return None
    if row.last_used_at is None or at - row.last_used_at > _LAST_USED_RESOLUTION:
        await connection.execute(update(api_keys).where(api_keys.c.id == row.key_id).values(last_used_at=at))
    person = _person(row)
    # A role that was taken away takes its scopes out of every key at once.
    return Caller(
        person=person,
        key_id=row.key_id,
        scopes=frozenset(Scope(scope) for scope in row.scopes) & scopes_of(person.roles),
    )


async def key_may(connection: AsyncConnection, key_id: str, scope: Scope, *, at: datetime) -> bool:
    """Whether a key still has a scope: for what goes on long after its request was let in."""
    row = (
        await connection.execute(
            select(people, api_keys.c.scopes)
            .join(people, people.c.id == api_keys.c.person_id)
            .where(
                api_keys.c.id == key_id,
                api_keys.c.revoked_at.is_(None),
                or_(api_keys.c.expires_at.is_(None), api_keys.c.expires_at > at),
                people.c.disabled_at.is_(None),
            )
        )
    ).one_or_none()
    return row is not None and scope in row.scopes and scope in scopes_of(_person(row).roles)


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _person(row: Row[Any]) -> Person:
    return Person(id=row.id, name=row.name, email=row.email, roles=tuple(Role(role) for role in row.roles))


def _key(row: Row[Any]) -> ApiKey:
    return ApiKey(**{name: getattr(row, name) for name in ApiKey.model_fields})
