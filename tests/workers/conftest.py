"""A whole worker process on real parts: database, Temporal, ledger, contract."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest
from stellar_sdk.sep.mnemonic import StellarMnemonic

from adapters.database.engine import Database
from adapters.database.outage_rows import find_outage
from adapters.database.outages import OutageBook
from adapters.database.settlements import SettlementBook
from adapters.temporal.client import connect
from adapters.temporal.stories import Stories
from domain.outage import Outage
from domain.sla import Severity
from domain.sla_payment import PaymentPhase
from localnet.clients import LocalLedger
from localnet.parts import free_port
from localnet.process import RunningPart
from settings import Settings
from tests.registering import OPERATOR_ID, SITE_NAME, register
from tests.settlement.world import World, make_world
from tests.waiting import until
from workers.parts import payload_codec


@pytest.fixture(scope="session")
def world(ledger_process: RunningPart) -> World:
    return asyncio.run(make_world(LocalLedger(ledger_process.url)))


@dataclass
class WorkerProcess:
    """One `python -m workers`."""

    process: subprocess.Popen[bytes]
    metrics_url: str
    codec_url: str
    log: Path

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    async def ready(self) -> None:
        async def look() -> bool | None:
            assert self.alive, self.log.read_text()
            async with aiohttp.ClientSession() as session:
                try:
                    async with session.get(f"{self.metrics_url}/ready") as answer:
                        return True if answer.status == 200 else None
                except aiohttp.ClientError:
                    return None

        await until(look, seconds_max=120)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def terminate(self) -> int:
        self.process.terminate()
        return self.process.wait(timeout=20)


@dataclass
class House:
    """Commands as the front gives them, and worker processes."""

    world: World
    database: Database
    database_url: str
    temporal_address: str
    namespace: str
    directory: Path
    deployment: str = field(default_factory=lambda: f"t-{secrets.token_hex(4)}")
    mnemonic: str = field(default_factory=lambda: StellarMnemonic("english").generate(256))
    started: list[WorkerProcess] = field(default_factory=list)

    @property
    def book(self) -> OutageBook:
        return OutageBook(SettlementBook(self.database))

    def environment(self) -> dict[str, str]:
        return {
            "HOLDFAST_DEPLOYMENT": self.deployment,
            "STELLAR_NETWORK": "local",
            "STELLAR_SOROBAN_RPC_URL": self.world.url,
            "STELLAR_POOL_SECRET_KEY": self.world.pool.secret,
            "SLA_CONTRACT_ID": self.world.sla,
            "USDC_TOKEN_ADDRESS": self.world.usdc,
            "NOCIQ_TOKEN_ADDRESS": self.world.nociq,
            "LANES_MNEMONIC": self.mnemonic,
            "DATABASE_URL": self.database_url,
            "TEMPORAL_ADDRESS": self.temporal_address,
            "TEMPORAL_NAMESPACE": self.namespace,
        }

    def worker(self, **more: str) -> WorkerProcess:
        ports = {name: free_port() for name in ("METRICS_PORT", "TEMPORAL_METRICS_PORT", "CODEC_PORT")}
        log = self.directory / f"worker-{len(self.started)}.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "workers"],
                cwd=self.directory,
                env={
                    "PATH": os.environ["PATH"],
                    "HOME": str(self.directory),
                    **self.environment(),
                    **{name: str(port) for name, port in ports.items()},
                    **more,
                },
                stdout=out,
                stderr=out,
            )
        worker = WorkerProcess(
            process,
            f"http://127.0.0.1:{ports['METRICS_PORT']}",
            f"http://127.0.0.1:{ports['CODEC_PORT']}",
            log,
        )
        self.started.append(worker)
        return worker

    async def stories(self, namespace: str | None = None) -> Stories:
        settings = Settings(_env_file=None, holdfast_deployment=self.deployment, stellar_network="local")
        client = await connect(
            self.temporal_address, namespace=namespace or self.namespace, codec=payload_codec(settings)
        )
        return Stories(client)

    async def resolved_outage(
        self, severity: Severity = Severity.CRITICAL, minutes: int = 25, *, rca: str | None = None
    ) -> str:
        """Report and resolve one in a moment, and wake nobody."""
        now = datetime.now(UTC)
        operator, noc_team = self.world.operator.public_key, self.world.noc_team.public_key
        await register(self.database, operator_wallet=operator, noc_team_wallet=noc_team)
        async with self.database.begin() as connection:
            outage = await self.book.report(
                connection,
                site_name=SITE_NAME,
                operator_id=OPERATOR_ID,
                severity=severity,
                detected_at=now - timedelta(hours=2),
                by="reporter",
                at=now,
                operator_wallet=operator,
                noc_team_wallet=noc_team,
            )
            resolved_at = outage.detected_at + timedelta(minutes=minutes)
            await self.book.resolve(
                connection, outage.outage_id, resolved_at=resolved_at, by="engineer", at=now, rca=rca
            )
        return outage.outage_id

    async def read(self, outage_id: str) -> Outage:
        async with self.database.begin() as connection:
            return await find_outage(connection, outage_id)

    async def ended(self, outage_id: str) -> Outage:
        async def look() -> Outage | None:
            outage = await self.read(outage_id)
            assert outage.phase is not PaymentPhase.REFUSED, outage.reason
            return outage if outage.ended else None

        return await until(look, seconds_max=90)


@asynccontextmanager
async def running_house(
    world: World, database: Database, url: str, temporal_address: str, namespace: str, directory: Path
) -> AsyncIterator[House]:
    house = House(world, database, url, temporal_address, namespace, directory)
    try:
        yield house
    finally:
        for worker in house.started:
            if worker.alive:
                worker.kill()


@pytest.fixture
async def house(
    world: World,
    database: Database,
    database_url: str,
    temporal_address: str,
    temporal_namespace: str,
    tmp_path: Path,
) -> AsyncIterator[House]:
    async with running_house(
        world, database, database_url, temporal_address, temporal_namespace, tmp_path
    ) as running:
        yield running
