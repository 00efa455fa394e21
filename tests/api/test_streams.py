"""A stream of events lasts no longer than the key that opened it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import aiohttp

from adapters.database.people import add_person, make_key, revoke_key
from domain.people import Role
from tests.api.conftest import Front
from tests.api.figures import REPORT


async def test_a_revoked_key_hears_no_more(front: Front) -> None:
    async with front.deps.database.begin() as connection:
        person = await add_person(connection, name="Somebody who leaves", roles=[Role.VIEWER], by="test")
        key, secret = await make_key(connection, person_id=person.id, by="test")
    headers = {"Authorization": f"Bearer {secret.get_secret_value()}"}
    async with (
        aiohttp.ClientSession(front.url, headers=headers) as session,
        session.get("/api/v1/events?after=0") as stream,
    ):
        await front.operations.post("/api/v1/outages", json=REPORT)
        while b"outage.reported" not in await asyncio.wait_for(stream.content.readline(), 10):
            pass
        async with front.deps.database.begin() as connection:
            await revoke_key(connection, key.id, by="test", at=datetime.now(UTC))
        await front.operations.post("/api/v1/outages", json=REPORT)
        rest = await asyncio.wait_for(stream.content.read(), 10)
    assert b"OUT002" not in rest
