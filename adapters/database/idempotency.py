"""Idempotency keys, kept for good: same key and payload, same resource; another payload conflicts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.database.people_tables import idempotency_keys
from domain.errors import Conflict


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What a request asks for: one hash of all, and one a field, so that a conflict can name what differs."""

    whole: str
    fields: Mapping[str, str]

    @classmethod
    def of(cls, method: str, path: str, payload: Mapping[str, Any]) -> Fingerprint:
        """Hash method, path and each field of the payload as it was understood."""
        fields = {name: _hash(value) for name, value in payload.items()}
        fields["request"] = _hash([method, path])
        return cls(_hash(fields), fields)


async def claim_key(connection: AsyncConnection, caller: str, key: str, fingerprint: Fingerprint) -> str | None:
    """Take a key in the transaction of its command; else the resource that it made before.

    Two requests at once: the second waits for the first's transaction to end.

    Raises:
        Conflict: `idempotency_conflict`, naming the fields that differ.
    """
    inserted = await connection.execute(
        insert(idempotency_keys)
        .values(
            caller=caller,
            key=key,
            fingerprint=fingerprint.whole,
            fields=dict(fingerprint.fields),
            resource="",
            status=0,
        )
        .on_conflict_do_nothing()
        .returning(idempotency_keys.c.key)
    )
    if inserted.scalar_one_or_none() is not None:
        return None
    row = (await connection.execute(select(idempotency_keys).where(_is(caller, key)))).one()
    if row.fingerprint != fingerprint.whole:
        names = row.fields.keys() | fingerprint.fields.keys()
        differing = sorted(name for name in names if row.fields.get(name) != fingerprint.fields.get(name))
        raise Conflict(
            f"this Idempotency-Key was used with another payload; {', '.join(differing)} differ",
            code="idempotency_conflict",
            **dict.fromkeys(differing, "as in the first request with this key"),
        )
    return str(row.resource)


async def name_resource(connection: AsyncConnection, caller: str, key: str, resource: str, status: int) -> None:
    """Write down what the key's command made."""
    await connection.execute(
        update(idempotency_keys).where(_is(caller, key)).values(resource=resource, status=status)
    )


def _is(caller: str, key: str) -> Any:
    return and_(idempotency_keys.c.caller == caller, idempotency_keys.c.key == key)


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()
