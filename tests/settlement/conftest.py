from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from stellar_sdk.sep.mnemonic import StellarMnemonic

from adapters.database.engine import Database
from domain.errors import HoldfastError
from domain.settlement import Argument, Intent, Invocation, SettlementOutcome, marker_id
from domain.sla import PaymentKind, Severity, decide
from localnet.clients import LocalLedger
from localnet.process import RunningPart
from settings import Settings
from tests.settlement.world import World, make_world
from workers.engine import Engine, running_engine

_OUTAGES = iter(range(1, 1_000_000))


@pytest.fixture(scope="session")
def world(ledger_process: RunningPart) -> World:
    return asyncio.run(make_world(LocalLedger(ledger_process.url)))


@dataclass
class Bench:
    """One deployment of one test: fresh lanes, fresh database, the shared world."""

    world: World
    database: Database
    deployment: str
    mnemonic: str

    def given(self, **changes: object) -> dict[str, object]:
        """The settings of this deployment."""
        return {
            "holdfast_deployment": self.deployment,
            "stellar_network": "local",
            "stellar_soroban_rpc_url": self.world.url,
            "stellar_pool_secret_key": self.world.pool.secret,
            "lanes_mnemonic": self.mnemonic,
            "payouts_live_execution": True,
        } | changes

    def settings(self, **changes: object) -> Settings:
        return Settings(_env_file=None, **self.given(**changes))

    @asynccontextmanager
    async def engine(self, **changes: object) -> AsyncIterator[Engine]:
        """Run an engine with its follower, as a worker does; leaving it is a worker that stops."""
        async with running_engine(self.settings(**changes), self.database) as engine:
            await engine.start()
            stop = asyncio.Event()
            following = asyncio.create_task(engine.follower.run(stop))
            try:
                yield engine
            finally:
                stop.set()
                await following

    def intent(
        self, severity: Severity = Severity.CRITICAL, minutes: int = 25, *, outage_id: str | None = None
    ) -> Intent:
        outage_id = outage_id or f"OUT{next(_OUTAGES):03d}"
        decision = decide(severity, minutes)
        penalty = decision.kind is PaymentKind.PENALTY
        world = self.world
        marker = marker_id(self.deployment, "outage", outage_id)
        source, destination = (world.operator, world.pool) if penalty else (world.pool, world.noc_team)
        token = world.usdc if penalty else world.nociq
        move = Invocation(
            contract=token,
            function="transfer",
            arguments=(
                Argument(type="address", value=source.public_key),
                Argument(type="address", value=destination.public_key),
                Argument(type="i128", value=str(decision.amount.units)),
            ),
        )
        return Intent(
            settlement_id=f"outage:{outage_id}",
            marker_id=marker,
            invocation=Invocation(
                contract=world.sla,
                function="execute_payment",
                arguments=(
                    Argument(type="bytes", value=marker),
                    Argument(type="symbol", value=outage_id),
                    Argument(type="u32", value=str(severity.number)),
                    Argument(type="u32", value=str(minutes)),
                    Argument(type="address", value=world.operator.public_key),
                    Argument(type="address", value=world.noc_team.public_key),
                    Argument(type="option"),
                ),
                calls=() if penalty else (move,),
            ),
            payer=world.pool.public_key,
            amount_units=decision.amount.units,
            asset=token,
            source=source.public_key,
            destination=destination.public_key,
        )

    async def accept(self, engine: Engine, intent: Intent) -> str:
        async with self.database.begin() as connection:
            await engine.book.accept(connection, intent)
        return intent.settlement_id


@pytest.fixture
def bench(world: World, database: Database) -> Bench:
    return Bench(world, database, f"test-{secrets.token_hex(4)}", StellarMnemonic("english").generate(256))


async def until_final(engine: Engine, settlement_id: str, *, tries: int = 200) -> SettlementOutcome:
    """Walk as Temporal does: again after what is retryable, again while it is pending."""
    for _ in range(tries):
        try:
            outcome = await engine.activities.walk(settlement_id)
        except HoldfastError as error:
            if not error.retryable:
                raise
            await asyncio.sleep(0.1)
            continue
        if outcome.status.final:
            return outcome
    raise AssertionError(
        f"{settlement_id} is not final after {tries} tries: {await engine.book.why(settlement_id)}"
    )
