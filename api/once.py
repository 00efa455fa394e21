"""The `Idempotency-Key` header: a command with a key is done once, for good."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import Header, Request
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.database.idempotency import Fingerprint, claim_key, name_resource
from domain.payout_request import KEY_PATTERN, KEY_RIGHT
from domain.people import Caller

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        pattern=KEY_PATTERN,
        description=f"{KEY_RIGHT}. The same key with the same payload leads to the same resource (200); "
        "with another payload it is a conflict (409) that names the fields. Kept for good.",
    ),
]
CREATED: Final = 201


class Once:
    """One command's claim on its key, within the command's transaction."""

    def __init__(self, connection: AsyncConnection, caller: Caller, key: str | None) -> None:
        self._connection = connection
        self._caller = caller
        self._key = key

    async def before(self, request: Request, payload: BaseModel | None) -> str | None:
        """What the same command made before; None where this is the first.

        Raises:
            Conflict: `idempotency_conflict`, naming the fields.
        """
        if self._key is None:
            return None
        content = {} if payload is None else payload.model_dump(mode="json")
        fingerprint = Fingerprint.of(request.method, request.url.path, content)
        return await claim_key(self._connection, self._caller.id, self._key, fingerprint)

    async def made(self, resource: str, *, status: int = CREATED) -> None:
        """Write down what it made."""
        if self._key is not None:
            await name_resource(self._connection, self._caller.id, self._key, resource, status)
