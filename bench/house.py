"""A whole Holdfast of its own: workers and an API as processes, deployed and registered as `holdfast up` does it.

The outside's parts are given, so that tests and scenarios choose what to share. Nothing here reaches into a
process: commands go in by HTTP and by the `holdfast` command, and what came of them is read from the ledger.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from stellar_sdk import Asset, Keypair, scval

from adapters.stellar.deployment import invocation
from adapters.stellar.entries import trustline_key, trustline_state
from adapters.stellar.own_sequence import OwnSequence
from adapters.stellar.rpc import Rpc
from cli.deploy import Deployed, deploy_locally
from cli.local_people import LocalKeys, register_locally
from cli.local_secrets import LocalSecrets
from domain.money import Amount
from localnet.parts import free_port
from settings import Settings, load_settings

_READY_SECONDS_MAX: Final = 120
_ALLOWANCE_LEDGERS: Final = 100_000
_PR_SET_PDEATHSIG: Final = 1


class HouseError(Exception):
    """A process did not become ready, or a command failed; with what it said."""


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


@dataclass
class Process:
    """One process of the product, and where it says that it is ready."""

    name: str
    popen: subprocess.Popen[bytes]
    ready_url: str
    log: Path

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self.popen.poll() is None

    def wait_until_ready(self) -> Self:
        """Wait until its `/ready` is 200.

        Raises:
            HouseError: it ended, or is not ready in time; with the end of its log.
        """
        deadline = time.monotonic() + _READY_SECONDS_MAX
        while not self._answers():
            if not self.alive or time.monotonic() > deadline:
                raise HouseError(f"{self.name} is not ready:\n{self.log.read_text(errors='replace')[-3000:]}")
            time.sleep(0.02)
        return self

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(self.ready_url, timeout=2) as answer:
                return bool(answer.status == 200)
        except (OSError, urllib.error.URLError):
            return False

    def kill(self) -> None:
        """End it as a power cut would: kill −9."""
        with suppress(ProcessLookupError):
            self.popen.send_signal(signal.SIGKILL)
        self.popen.wait()

    def stop(self) -> int:
        """End it as a supervisor does; gives its exit status."""
        if self.alive:
            self.popen.terminate()
            try:
                self.popen.wait(15)
            except subprocess.TimeoutExpired:
                self.kill()
        return self.popen.returncode


@dataclass(frozen=True)
class Outside:
    """The parts that a house stands on, and the secret by which its inbox verifies webhooks."""

    rpc_url: str
    database_url: str
    temporal_address: str
    temporal_namespace: str
    inbox_url: str
    smtp_port: int
    webhook_secret: str


@dataclass
class House:
    """One deployment: its contracts, its people, its processes. Use it from the thread that made it."""

    outside: Outside
    directory: Path
    settings: Settings
    secrets: LocalSecrets
    deployed: Deployed
    keys: LocalKeys
    more: Mapping[str, str]
    workers: list[Process] = field(default_factory=list)
    api: Process | None = None
    api_port: int = field(default_factory=free_port)

    @classmethod
    def make(cls, outside: Outside, directory: Path, deployment: str, **more: str) -> Self:
        """Deploy and register, as `holdfast up` does; no process yet. `more` are settings by variable name."""
        directory.mkdir(parents=True, exist_ok=True)
        settings = load_settings(
            None,
            holdfast_deployment=deployment,
            stellar_network="local",
            stellar_soroban_rpc_url=outside.rpc_url,
            database_url=outside.database_url,
            var_dir=directory,
        )
        secrets = LocalSecrets(directory / "secrets", settings)
        deployed, keys = asyncio.run(_deploy(settings, secrets, directory))
        return cls(outside, directory, settings, secrets, deployed, keys, more)

    @property
    def url(self) -> str:
        """Of the API."""
        return f"http://127.0.0.1:{self.api_port}"

    def environment(self) -> dict[str, str]:
        """What its processes and commands are told."""
        outside = self.outside
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.directory),
            "HOLDFAST_DEPLOYMENT": self.settings.holdfast_deployment,
            "STELLAR_NETWORK": "local",
            "STELLAR_SOROBAN_RPC_URL": outside.rpc_url,
            "DATABASE_URL": outside.database_url,
            "TEMPORAL_ADDRESS": outside.temporal_address,
            "TEMPORAL_NAMESPACE": outside.temporal_namespace,
            "WEBHOOK_URL": f"{outside.inbox_url}/hooks/{self.settings.holdfast_deployment}",
            "SMTP_PORT": str(outside.smtp_port),
            "API_PORT": str(self.api_port),
            "API_LOCAL_KEYLESS": "true",
            "RATE_LIMIT_PER_MINUTE": "1000000",
            "VAR_DIR": str(self.directory),
            **self.secrets.environment(),
            "WEBHOOK_SECRET_FILE": str(self._webhook_secret()),
            **self.deployed.environment,
            "PAYOUT_SOURCE_ACCOUNT": self.account("payer"),
            **self.more,
        }

    def _webhook_secret(self) -> Path:
        path = self.directory / "webhook_secret"
        path.touch(mode=0o600)
        path.write_text(self.outside.webhook_secret)
        return path

    def move_temporal(self, namespace: str) -> None:
        """Have processes that start from now on use another namespace: a Temporal that has lost its data."""
        self.outside = Outside(**{**vars(self.outside), "temporal_namespace": namespace})

    # processes

    def start_worker(self, *, wait: bool = True, **more: str) -> Process:
        """Start a worker process, and wait until it takes work."""
        ports = {name: str(free_port()) for name in ("METRICS_PORT", "TEMPORAL_METRICS_PORT", "CODEC_PORT")}
        number = len(self.workers)
        ready = f"http://127.0.0.1:{ports['METRICS_PORT']}/ready"
        worker = self._start(f"worker-{number}", "workers", ready, {**ports, **more})
        self.workers.append(worker)
        return worker.wait_until_ready() if wait else worker

    def start_api(self, *, wait: bool = True, **more: str) -> Process:
        """Start the API, and wait until a payment could be made."""
        self.api = self._start("api", "api", f"{self.url}/ready", more)
        return self.api.wait_until_ready() if wait else self.api

    def start(self) -> Self:
        """Start one worker and the API, side by side."""
        worker, api = self.start_worker(wait=False), self.start_api(wait=False)
        worker.wait_until_ready()
        api.wait_until_ready()
        return self

    def _start(self, name: str, package: str, ready_url: str, more: Mapping[str, str]) -> Process:
        log = self.directory / f"{name}.log"
        with log.open("ab") as out:
            popen = subprocess.Popen(
                [sys.executable, "-m", package],
                cwd=self.directory,
                env={**self.environment(), **more},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                preexec_fn=_die_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509 - one call
            )
        return Process(name, popen, ready_url, log)

    def command(self, *arguments: str) -> str:
        """Run `holdfast ...` as an operator does; gives what it prints.

        Raises:
            HouseError: its exit status is not 0.
        """
        done = subprocess.run(
            [sys.executable, "-m", "cli.main", *arguments],
            cwd=self.directory,
            env=self.environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        if done.returncode != 0:
            raise HouseError(f"holdfast {' '.join(arguments)}: {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done.stdout

    def stop(self) -> None:
        """End all processes."""
        for process in (*self.workers, *((self.api,) if self.api else ())):
            process.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # the ledger itself, and not our API

    def account(self, role: str) -> str:
        """The account of a role, such as `operator`."""
        return self.deployed.accounts[role]

    async def balances(self) -> dict[str, Amount]:
        """What stands on the ledger, by `role ASSET`."""
        usdc = Asset("USDC", self.account("usdc_issuer"))
        nociq = Asset("NOCIQ", self.account("nociq_issuer"))
        wanted = {
            "operator USDC": trustline_key(self.account("operator"), usdc),
            "pool USDC": trustline_key(self.account("pool"), usdc),
            "pool NOCIQ": trustline_key(self.account("pool"), nociq),
            "noc_team NOCIQ": trustline_key(self.account("noc_team"), nociq),
        }
        async with Rpc(self.outside.rpc_url) as rpc:
            found = (await rpc.ledger_entries(list(wanted.values()))).by_key
        return {
            name: Amount(trustline_state(found[key.to_xdr()].data).balance_units) for name, key in wanted.items()
        }

    async def approve(self, amount: Amount) -> None:
        """Have the operator allow the SLA contract to draw this much USDC, and no more."""
        operator: Keypair = self.secrets.keypair("operator_secret_key")
        async with Rpc(self.outside.rpc_url) as rpc:
            until = await rpc.newest() + _ALLOWANCE_LEDGERS
            call = invocation(
                self.deployed.usdc,
                "approve",
                scval.to_address(operator.public_key),
                scval.to_address(self.deployed.sla),
                scval.to_int128(amount.units),
                scval.to_uint32(until),
            )
            source = OwnSequence(rpc, operator, self.settings.stellar_network_passphrase, poll_seconds=0.03)
            await source.land([call])


async def _deploy(settings: Settings, secrets: LocalSecrets, directory: Path) -> tuple[Deployed, LocalKeys]:
    deployed = await deploy_locally(settings, secrets)
    return deployed, await register_locally(settings, directory / "secrets", deployed)


def moved(before: Mapping[str, Amount], after: Mapping[str, Amount]) -> dict[str, Decimal]:
    """How far each balance moved between two looks; those that stood still are left out."""
    changes = {name: after[name].decimal - before[name].decimal for name in before}
    return {name: change for name, change in changes.items() if change}
