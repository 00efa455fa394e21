"""Whole Holdfasts, seen from outside only: HTTP, the `holdfast` command, the inbox, and the ledger."""

from __future__ import annotations

import asyncio
import itertools
import secrets
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest
from google.protobuf.duration_pb2 import Duration
from temporalio.api.workflowservice.v1 import RegisterNamespaceRequest
from temporalio.client import Client as TemporalClient

from bench.house import House, Outside
from domain.money import Amount
from localnet.clients import LocalInbox
from localnet.process import RunningPart
from tests.api.http import Answer, Client
from tests.conftest import TestLedger
from tests.waiting import until

WEBHOOK_SECRET = "a-webhook-secret-of-tests"
ENDS_BADLY = {"refused", "cancelled"}
_numbers = itertools.count(1)


def new_namespace(address: str) -> str:
    """A Temporal that knows nothing."""
    name = f"stack-{uuid.uuid4().hex[:12]}"

    async def register() -> None:
        client = await TemporalClient.connect(address)
        await client.workflow_service.register_namespace(
            RegisterNamespaceRequest(namespace=name, workflow_execution_retention_period=Duration(seconds=86_400))
        )

    asyncio.run(register())
    return name


@dataclass
class Builder:
    """Makes houses on this session's parts; each has its own database, namespace, contracts and people."""

    postgres_url: str
    template: str
    temporal_address: str
    ledger_url: str
    inbox: RunningPart
    directory: Path
    made: list[House] = field(default_factory=list)

    def __call__(self, **more: str) -> House:
        number = next(_numbers)
        database = f"stack_{number}"
        with psycopg.connect(self.postgres_url, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {database} TEMPLATE {self.template}")
        outside = Outside(
            rpc_url=self.ledger_url,
            database_url=self.database_url(database),
            temporal_address=self.temporal_address,
            temporal_namespace=new_namespace(self.temporal_address),
            inbox_url=self.inbox.url,
            smtp_port=self.inbox.part.ports["INBOX_SMTP_PORT"],
            webhook_secret=WEBHOOK_SECRET,
        )
        house = House.make(outside, self.directory / f"house-{number}", f"h-{secrets.token_hex(4)}", **more)
        self.made.append(house)
        return house

    def database_url(self, name: str) -> str:
        return self.postgres_url.rpartition("/")[0] + f"/{name}"


@pytest.fixture(scope="session")
def builder(
    postgres_url: str,
    template_database: str,
    temporal_address: str,
    ledger_process: RunningPart,
    inbox_process: RunningPart,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Builder]:
    builder = Builder(
        postgres_url,
        template_database,
        temporal_address,
        ledger_process.url,
        inbox_process,
        tmp_path_factory.mktemp("stack"),
    )
    yield builder
    for house in builder.made:
        house.stop()


@pytest.fixture(scope="session")
def shared_house(builder: Builder) -> House:
    """The session's house: one worker and the API, for tests that leave it as they found it."""
    return builder().start()


@pytest.fixture
def own_house(builder: Builder) -> Iterator[House]:
    """A house of the test's own, deployed and not started; its processes end with the test."""
    with builder() as house:
        yield house


@pytest.fixture
def empty_namespace(temporal_address: str) -> str:
    """Where a house finds itself whose Temporal has lost its data."""
    return new_namespace(temporal_address)


@dataclass
class Front:
    """A house's API: as a caller without a key, as the administrator, and as the approver."""

    house: House
    guest: Client
    admin: Client
    approver: Client

    async def report(self, severity: str = "critical", **more: Any) -> str:
        body = {"site_name": "Test Site", "severity": severity, "detected_at": "2026-01-16T10:00:00Z"} | more
        answer = await self.guest.post("/api/v1/outages", json=body)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    async def resolve(self, outage: str, minutes: int = 25, **more: Any) -> Answer:
        resolved_at = f"2026-01-16T{10 + minutes // 60:02d}:{minutes % 60:02d}:00Z"
        body = {"status": "resolved", "resolved_at": resolved_at} | more
        answer = await self.guest.put(f"/api/v1/outages/{outage}", json=body)
        assert answer.status_code in {200, 202}, answer.text
        return answer

    async def resolved(self, severity: str = "critical", minutes: int = 25, **more: Any) -> str:
        outage = await self.report(severity)
        await self.resolve(outage, minutes, **more)
        return outage

    async def sla(self, outage: str) -> dict[str, Any]:
        answer = await self.guest.get(f"/api/v1/sla/status/{outage}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def until_payment(self, outage: str, wanted: str, *, seconds_max: float = 120) -> dict[str, Any]:
        """Wait until the payment stands as wanted; at once wrong where it has ended otherwise."""

        async def look() -> dict[str, Any] | None:
            status = await self.sla(outage)
            if status["payment_status"] == wanted:
                return status
            assert status["payment_status"] not in {"confirmed", *ENDS_BADLY}, status
            return None

        return await until(look, seconds_max=seconds_max)

    async def why(self, outage: str) -> dict[str, Any]:
        found: dict[str, Any] = (await self.guest.get(f"/api/v1/payments/{outage}/why")).json()
        return found

    async def until_why(self, outage: str, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        async def look() -> dict[str, Any] | None:
            why = await self.why(outage)
            return why if holds(why) else None

        return await until(look)

    async def balances(self) -> dict[str, Amount]:
        return await self.house.balances()

    async def close(self) -> None:
        for client in (self.guest, self.admin, self.approver):
            await client.session.close()


Doors = Callable[[House], Front]


@pytest.fixture
async def doors() -> AsyncIterator[Doors]:
    """Opens a house's front."""
    async with AsyncExitStack() as stack:

        def open_front(house: House) -> Front:
            front = Front(
                house,
                Client(house.url),
                Client(house.url, house.keys.api_key),
                Client(house.url, house.keys.approver_key),
            )
            stack.push_async_callback(front.close)
            return front

        yield open_front


@pytest.fixture
async def front(shared_house: House, doors: Doors) -> Front:
    """The shared house's front."""
    return doors(shared_house)


@pytest.fixture
def faults(ledger: TestLedger) -> TestLedger:
    """The ledger's misbehaviour on request; it ends with the test."""
    return ledger


@pytest.fixture
def mailbox(inbox_process: RunningPart) -> LocalInbox:
    """The inbox of all houses; nothing is cleared, since each house's links and hooks are its own."""
    return LocalInbox(inbox_process.url, inbox_process.part.ports["INBOX_SMTP_PORT"])
