"""A key is one payout for good: beside crashes, beside Temporal's memory, and a year later."""

from __future__ import annotations

import asyncio
import uuid
from datetime import timedelta
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from sqlalchemy import update
from temporalio.api.workflowservice.v1 import RegisterNamespaceRequest
from temporalio.client import Client as Temporal
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.service import RPCError
from temporalio.testing import WorkflowEnvironment

from adapters.database.engine import Database
from adapters.database.payouts_tables import payouts
from adapters.database.settlements_tables import settlements
from adapters.temporal.search_attributes import register_search_attributes
from domain.money import Amount
from tests.payout.conftest import Street, open_street
from tests.settlement.world import World


async def empty_temporal(address: str) -> Temporal:
    """A Temporal that has never heard of any payout: what retention leaves of one."""
    name = f"later-{uuid.uuid4().hex[:12]}"
    client = await Temporal.connect(address)
    await client.workflow_service.register_namespace(
        RegisterNamespaceRequest(namespace=name, workflow_execution_retention_period=Duration(seconds=86_400))
    )
    later = await Temporal.connect(address, namespace=name, data_converter=pydantic_data_converter)
    await register_search_attributes(later)
    return later


async def age(street: Street, by: timedelta) -> None:
    """Have every record look as if it was written that long ago."""
    async with street.database.begin() as connection:
        for table, columns in (
            (payouts, ("created_at", "changed_at")),
            (settlements, ("created_at", "submitted_at", "confirmed_at", "closed_at")),
        ):
            await connection.execute(update(table).values({name: table.c[name] - by for name in columns}))


async def test_a_year_later_and_after_temporals_retention_a_key_is_still_its_payout(
    world: World, database: Database, temporal: WorkflowEnvironment, temporal_address: str
) -> None:
    async with open_street(world, database, temporal.client) as street:
        body = street.body(amount="3")
        await street.finance.post("/api/v1/payouts", json=body)
        first = await street.until(body["payout_id"], "confirmed")
        settings = street.settings
        await age(street, timedelta(days=366))
    before = await world.balance(world.usdc, world.noc_team)
    later = await empty_temporal(temporal_address)
    async with open_street(world, database, later, settings=settings) as street:
        same = await street.finance.post("/api/v1/payouts", json=body)
        assert same.status_code == 200, same.text
        found = same.json()["transaction"]
        assert (found["status"], found["tx_hash"]) == ("confirmed", first["tx_hash"])
        assert found["created_at"] < first["created_at"]
        other = await street.finance.post("/api/v1/payouts", json=body | {"amount": "4"})
        assert (other.status_code, other.json()["code"]) == (409, "idempotency_conflict")
        assert [error["field"] for error in other.json()["errors"]] == ["/amount"]
        with pytest.raises(RPCError, match="not found"):
            await street.handle(body["payout_id"]).describe()
        assert await street.sweep() == []
    assert await world.balance(world.usdc, world.noc_team) == before


async def test_a_story_that_runs_twice_pays_once(street: Street) -> None:
    world = street.world
    body = street.body(amount="5")
    before = await world.balance(world.usdc, world.noc_team)
    await street.finance.post("/api/v1/payouts", json=body)
    await street.until(body["payout_id"], "confirmed")
    await street.handle(body["payout_id"]).result()
    payout = await street.read(body["payout_id"])
    await street.deps.payouts.stories.payout_accepted(payout.model_copy(update={"phase": "settling"}))
    assert (await street.handle(body["payout_id"]).result()).status == "confirmed"
    assert await world.balance(world.usdc, world.noc_team) - before == Amount.of(5)


async def test_a_replay_of_a_payout_whose_story_was_never_begun_begins_it(
    world: World, database: Database, temporal: WorkflowEnvironment
) -> None:
    away = await Temporal.connect("127.0.0.1:1", lazy=True, data_converter=pydantic_data_converter)
    async with open_street(world, database, away, worker=False) as street:
        body = street.body()
        answer = await street.finance.post("/api/v1/payouts", json=body)
        assert answer.status_code == 202, answer.text
        settings = street.settings
    async with open_street(world, database, temporal.client, settings=settings) as street:
        again = await street.finance.post("/api/v1/payouts", json=body)
        assert again.status_code == 200
        await street.until(body["payout_id"], "confirmed")


async def test_fifty_payouts_asked_for_five_times_each_at_once_are_paid_once_each(street: Street) -> None:
    world = street.world
    before = await world.balance(world.usdc, world.noc_team)
    bodies = [street.body(amount="0.5") for _ in range(50)]

    async def ask(body: dict[str, Any]) -> int:
        while (status := (await street.finance.post("/api/v1/payouts", json=body)).status_code) == 503:
            pass  # 250 at once are more than the database has connections for: one that is told so asks again
        return status

    answers = await asyncio.gather(*(ask(body) for body in bodies for _ in range(5)))
    assert sorted(answers) == [*[200] * 200, *[201] * 50]
    for body in bodies:
        await street.until(body["payout_id"], "confirmed", seconds_max=90)
    assert await world.balance(world.usdc, world.noc_team) - before == Amount.of(25)
