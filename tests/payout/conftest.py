"""Payouts whole: the API over HTTP, a real Temporal server, the engine, the contract on a real ledger."""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, update
from stellar_sdk import Asset, Keypair
from stellar_sdk.operation import ChangeTrust
from stellar_sdk.sep.mnemonic import StellarMnemonic
from temporalio.client import Client as Temporal
from temporalio.client import WorkflowHandle
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from activities.payout import PayoutActivities
from activities.story_names import SETTLE_INTERACTIVE, STORIES, payout_story_id
from adapters.custody import Custody
from adapters.database.engine import Database
from adapters.database.outages import OutageBook
from adapters.database.outbox_tables import events
from adapters.database.payout_rows import find_payout
from adapters.database.payout_story import PayoutDesk
from adapters.database.payouts import PayoutBook
from adapters.database.payouts_tables import payouts
from adapters.database.people import add_person, find_person, make_key
from adapters.database.settlements import SettlementBook
from adapters.stellar.own_sequence import OwnSequence
from adapters.stellar.reader import LedgerReader, ReadContracts
from adapters.temporal.failures import TranslateFailures
from adapters.temporal.payout_stories import PayoutStories
from adapters.temporal.stories import Stories
from adapters.temporal.wallet_stories import WalletStories
from api.deps import ApiOptions, Deps, Payouts
from domain.payout import Payout, PayoutStanding
from domain.people import Role
from localnet.clients import LocalLedger
from localnet.process import RunningPart
from settings import Settings
from settings.payouts import payout_policy_of, payout_terms_of
from tests.api.http import Answer, Client, served
from tests.settlement.world import PASSPHRASE, World, make_world
from tests.waiting import until
from workers.engine import Engine, running_engine
from workers.sweeper import Sweeper
from workflows.payout import PayoutStory

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def world(ledger_process: RunningPart) -> World:
    return asyncio.run(make_world(LocalLedger(ledger_process.url)))


@dataclass
class Street:
    """One test's deployment: its API with a client a person, its engine, its stories."""

    world: World
    database: Database
    settings: Settings
    engine: Engine
    temporal: Temporal
    deps: Deps
    clients: dict[Role, Client] = field(default_factory=dict)

    @property
    def finance(self) -> Client:
        return self.clients[Role.FINANCE]

    @property
    def admin(self) -> Client:
        return self.clients[Role.ADMINISTRATOR]

    def body(self, **more: Any) -> dict[str, Any]:
        number = next(_numbers)
        return {
            "payout_id": f"round-1-winner-{number}",
            "destination_account": self.world.noc_team.public_key,
            "amount": "100.5000000",
            "asset": f"USDC:{self.world.issuer.public_key}",
            "idempotency_key": f"round-1:winner-{number}:2026-02-22",
        } | more

    async def post(self, wanted: int = 201, **more: Any) -> dict[str, Any]:
        answer = await self.finance.post("/api/v1/payouts", json=self.body(**more))
        assert answer.status_code == wanted, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def get(self, payout_id: str) -> dict[str, Any]:
        answer = await self.finance.get(f"/api/v1/payouts/{payout_id}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()["transaction"]
        return found

    async def act(self, payout_id: str, action: str, *, by: Client | None = None) -> Answer:
        return await (by or self.finance).post(f"/api/v1/payouts/{payout_id}/{action}")

    async def until(
        self, payout_id: str, holds: Callable[[dict[str, Any]], bool] | str, *, seconds_max: float = 30
    ) -> dict[str, Any]:
        """Wait until a payout stands as wanted; a word is a status."""

        async def look() -> dict[str, Any] | None:
            found = await self.get(payout_id)
            if isinstance(holds, str):
                return found if found["status"] == holds else None
            return found if holds(found) else None

        return await until(look, seconds_max=seconds_max)

    async def read(self, payout_id: str) -> Payout:
        async with self.database.look() as connection:
            return await find_payout(connection, payout_id)

    async def told(self, payout_id: str) -> list[str]:
        """Types of events, in order."""
        async with self.database.look() as connection:
            query = select(events.c.type).where(events.c.subject == f"payout:{payout_id}").order_by(events.c.id)
            return list((await connection.execute(query)).scalars())

    def handle(self, payout_id: str) -> WorkflowHandle[PayoutStory, PayoutStanding]:
        return self.temporal.get_workflow_handle_for(PayoutStory.run, payout_story_id(payout_id))

    def funded(self, keypair: Keypair) -> str:
        """Have an account that holds XLM and nothing else."""
        LocalLedger(self.world.url).friendbot(keypair.public_key)
        return str(keypair.public_key)

    async def trust(self, keypair: Keypair) -> None:
        """Have an account set a trustline for USDC."""
        usdc = Asset("USDC", self.world.issuer.public_key)
        source = OwnSequence(self.engine.rpc, keypair, PASSPHRASE, poll_seconds=0.03)
        await source.land([ChangeTrust(asset=usdc)])

    async def sweep(self) -> list[str]:
        """One sweep, as if every record had last changed a while ago."""
        async with self.database.begin() as connection:
            await connection.execute(
                update(payouts).values(changed_at=payouts.c.changed_at - timedelta(minutes=1))
            )
        sweeper = Sweeper(
            self.database, Stories(self.temporal), WalletStories(self.temporal), PayoutStories(self.temporal)
        )
        return await sweeper.sweep()


def settings_of(world: World, **changes: object) -> Settings:
    given: dict[str, Any] = {
        "holdfast_deployment": f"test-{secrets.token_hex(4)}",
        "stellar_network": "local",
        "stellar_soroban_rpc_url": world.url,
        "stellar_pool_secret_key": world.pool.secret,
        "lanes_mnemonic": StellarMnemonic("english").generate(256),
        "usdc_token_address": world.usdc,
        "nociq_token_address": world.nociq,
        "payout_contract_id": world.payout,
        "payouts_confirm_poll_ms": 100,
    }
    return Settings(_env_file=None, **(given | changes))


def _deps(settings: Settings, database: Database, engine: Engine, temporal: Temporal) -> Deps:
    book = SettlementBook(database)
    wallets = WalletStories(temporal)
    return Deps(
        database=database,
        book=book,
        outages=OutageBook(book),
        stories=Stories(temporal),
        wallet_stories=wallets,
        temporal=wallets,
        ledger=LedgerReader(
            engine.rpc,
            network_passphrase=settings.stellar_network_passphrase,
            contracts=ReadContracts(sla=None, tokens={"USDC": settings.usdc_token_address}),
        ),
        custody=Custody({"k1": b"k" * 32}, current="k1", tenant="test"),
        payouts=Payouts(
            book=PayoutBook(database, book, payout_policy_of(settings)),
            stories=PayoutStories(temporal),
            terms=payout_terms_of(settings),
            network_passphrase=settings.stellar_network_passphrase,
        ),
        options=ApiOptions(explorer_url="http://explorer.test", requests_per_minute=1_000_000),
    )


@asynccontextmanager
async def working(
    settings: Settings, database: Database, engine: Engine, temporal: Temporal, *, stories_kept: int = 1_000
) -> AsyncIterator[None]:
    """A worker that plays payouts, and keeps so many of their stories in memory."""
    desk = PayoutDesk(
        database,
        engine.book,
        policy=payout_policy_of(settings),
        terms=payout_terms_of(settings),
        tries_max=settings.payouts_max_attempts,
    )
    acts = PayoutActivities(desk)
    async with (
        Worker(
            temporal,
            task_queue=SETTLE_INTERACTIVE,
            workflows=[PayoutStory],
            activities=[engine.activities.settle, acts.take_stock, acts.next_in_order],
            max_cached_workflows=stories_kept,
            interceptors=[TranslateFailures()],
        ),
        Worker(
            temporal,
            task_queue=STORIES,
            activities=[engine.signing.accept_signature],
            interceptors=[TranslateFailures()],
        ),
    ):
        yield


@asynccontextmanager
async def open_street(
    world: World,
    database: Database,
    temporal: Temporal,
    *,
    worker: bool = True,
    stories_kept: int = 1_000,
    settings: Settings | None = None,
    **changes: object,
) -> AsyncIterator[Street]:
    """Open a deployment; with `settings` the same one again."""
    settings = settings or settings_of(world, **changes)
    async with AsyncExitStack() as stack:
        engine = await stack.enter_async_context(running_engine(settings, database))
        await engine.start()
        stop = asyncio.Event()
        following = asyncio.create_task(engine.follower.run(stop))
        deps = _deps(settings, database, engine, temporal)
        url = await stack.enter_async_context(served(deps))
        street = Street(world, database, settings, engine, temporal, deps)
        async with database.begin() as connection:
            for role in Role:
                name = f"A {role}"
                person = await find_person(connection, name)
                person = person or await add_person(connection, name=name, roles=[role], by="test")
                _key, secret = await make_key(connection, person_id=person.id, by="test")
                client = Client(url, secret.get_secret_value())
                stack.push_async_callback(client.session.close)
                street.clients[role] = client
        try:
            if worker:
                await stack.enter_async_context(
                    working(settings, database, engine, temporal, stories_kept=stories_kept)
                )
            yield street
        finally:
            stop.set()
            await following


@pytest.fixture
async def street(world: World, database: Database, temporal: WorkflowEnvironment) -> AsyncIterator[Street]:
    """Payouts are signed at once by the pool's hot key."""
    async with open_street(world, database, temporal.client) as opened:
        yield opened
