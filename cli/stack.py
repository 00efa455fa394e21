"""What `holdfast up` runs: which parts, in which order, when each is ready, and what to do when one dies."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from adapters.database.migrate import upgrade
from adapters.temporal.search_attributes import SEARCH_ATTRIBUTES
from cli.deploy import Deployed, deploy_locally
from cli.local_people import LocalKeys, register_locally
from cli.local_secrets import LocalSecrets, write_contract_ids
from cli.local_signer import LocalSigner
from cli.progress import Progress
from cli.readiness import answers, for_a_person
from cli.supervision import Program, Supervisor, SupervisorError, write_private
from cli.up_state import AlreadyUpError, Lock, StackError
from domain.errors import HoldfastError
from localnet import parts as outside
from settings import Settings
from settings.settings import LOOPBACK

_READY_SECONDS_MAX: Final = 90
_LOOK_SECONDS: Final = 0.05
_GIVE_UP_LOOK_SECONDS: Final = 5.0
_NEEDED_ELSEWHERE: Final = (
    "stellar_pool_secret_key",
    "sla_contract_id",
    "usdc_token_address",
    "nociq_token_address",
    "payload_keys",
)


@dataclass(frozen=True, slots=True)
class _Ours:
    """A part of the product: a process of this Python."""

    name: str
    ports: Mapping[str, int]
    ready: Callable[[], bool]
    url: str = ""


@dataclass(slots=True)
class Facts:
    """What `up.json` says."""

    urls: dict[str, str]
    keys: LocalKeys | None = None
    deployed: Deployed | None = None
    signer: dict[str, Any] = field(default_factory=dict)
    """Who signs payouts, for which account, with which keys."""
    started: dict[str, float] = field(default_factory=dict)


class Stack:
    """All local parts of one state directory."""

    def __init__(self, settings: Settings, progress: Progress) -> None:
        self.settings = settings
        self._progress = progress
        self._var = settings.var_dir.resolve()
        self._lock = Lock(self._var)
        self._environment: dict[str, str] = {}
        self._parts: dict[str, outside.Part] = {}
        self._ours: dict[str, _Ours] = {}
        self._supervisor: Supervisor | None = None
        self._stopping = False
        self.facts = Facts(urls={})

    # start

    async def start(self) -> None:
        """Start everything and write `up.json`.

        Raises:
            SettingsError: on another network than the local one, what nobody can make up is not set.
            AlreadyUpError: another one runs here.
            StackError: a port is taken, or a part did not become ready.
        """
        if not self.settings.local:
            self.settings.require(*_NEEDED_ELSEWHERE)
        if not self._lock.take():
            raise AlreadyUpError(self._already_up())
        try:
            self._var.chmod(0o711)  # PostgreSQL's user passes through; what is secret below is 0600
            self._secrets = LocalSecrets(self._var / "secrets", self.settings) if self.settings.local else None
            self._signer = LocalSigner(self.settings, self._secrets) if self._secrets else None
            self._describe()
            self._check_ports()
            self._supervisor = Supervisor(self._var, self._programs())
            # On this thread: the kernel ends supervisord when the thread that started it ends.
            self._supervisor.start()
            await self._start_in_order()
            self._write_facts()
            for note in self.settings.notes:
                self._progress.say(note, bad=False)
            if "api" in self._ours:
                for sentence in for_a_person(self._ours["api"].url) or ():
                    self._progress.say(f"no payment is sent: {sentence}", bad=True)
        except BaseException:
            await self.stop()
            raise

    def _already_up(self) -> str:
        try:
            api = json.loads((self._var / "up.json").read_text())["api"]
        except (OSError, ValueError, KeyError):
            return "Holdfast is starting here already; this one does nothing."
        return f"Holdfast is up here already: {api} (state in {self.settings.var_dir}); this one does nothing."

    def _describe(self) -> None:
        settings = self.settings
        codec = f"http://127.0.0.1:{settings.codec_port}"
        if settings.starts_postgres:
            self._parts["postgres"] = outside.postgres(self._var / "postgres", settings.postgres_port)
        if settings.starts_temporal:
            self._parts["temporal"] = outside.temporal(
                settings.temporal_port,
                ui_port=settings.temporal_ui_port,
                state=self._var / "temporal" / "temporal.db",
                namespace=settings.temporal_namespace,
                codec_url=codec,
                search_attributes=SEARCH_ATTRIBUTES,
            )
        if settings.starts_ledger:
            self._parts["ledger"] = outside.ledger(
                settings.ledger_port,
                close_ms=settings.ledger_close_ms,
                state=self._var / "ledger" / "ledger.state",
                passphrase=settings.stellar_network_passphrase,
            )
        if settings.local:
            self._parts["inbox"] = outside.inbox(
                settings.inbox_port,
                settings.inbox_smtp_port,
                state=self._var / "inbox" / "inbox.state",
                webhook_secret=self._secrets.word("webhook_secret") if self._secrets else None,
            )
        if self._signer is not None:
            # Without a KMS or an HSM on this machine nothing else needs to start, either.
            self._signer.environment()
            if (kms := self._signer.part()) is not None:
                self._parts[kms.name] = kms
        self._describe_ours()
        rpc = settings.stellar_soroban_rpc_url
        self.facts.urls = {
            "api": settings.api_url,
            "temporal": settings.temporal_address,
            "temporal_ui": settings.temporal_ui_url,
            "rpc": rpc,
            "friendbot": settings.friendbot_url or "",
            "ledger_admin": f"{rpc}/admin" if settings.starts_ledger else "",
            "inbox": f"http://127.0.0.1:{settings.inbox_port}" if settings.local else "",
            "codec": codec,
        }

    def _describe_ours(self) -> None:
        settings = self.settings
        metrics = {
            "METRICS_PORT": settings.metrics_port,
            "TEMPORAL_METRICS_PORT": settings.temporal_metrics_port,
            "CODEC_PORT": settings.codec_port,
        }
        worker = _Ours(
            "worker",
            metrics,
            lambda: answers(f"http://{settings.metrics_host}:{settings.metrics_port}/ready"),
        )
        api = f"http://127.0.0.1:{settings.api_port}"
        front = _Ours("api", {"API_PORT": settings.api_port}, lambda: for_a_person(api) is not None, api)
        self._ours = {part.name: part for part in (worker, front)}

    def _check_ports(self) -> None:
        ports = {part.name: part.ports for part in self._parts.values()}
        ports |= {part.name: part.ports for part in self._ours.values()}
        taken: dict[int, str] = {}
        for name, needed in ports.items():
            for setting, port in needed.items():
                if port in taken:
                    raise StackError(f"{taken[port]} and {setting} are both {port}: set one of them to another.")
                taken[port] = setting
                if outside.listens(port):
                    raise StackError(f"{name} needs port {port}, and it is taken: set {setting} to another.")

    def _programs(self) -> list[Program]:
        programs = [
            Program(
                part.name,
                part.command,
                part.environment,
                part.user,
                directory=str(Path.cwd()),
                stop_signal=part.stop_signal,
                # PostgreSQL's immediate shutdown: its own children end with it, and its log recovers.
                death_signal=signal.SIGQUIT if part.name == "postgres" else signal.SIGKILL,
            )
            for part in self._parts.values()
        ]
        return programs + [self._program(part) for part in self._ours.values()]

    def _program(self, part: _Ours) -> Program:
        package = {"worker": "workers", "api": "api"}[part.name]
        command = (sys.executable, "-m", package)
        return Program(part.name, command, dict(self._environment), directory=str(Path.cwd()))

    async def _start_in_order(self) -> None:
        """Each part and step as soon as what it needs is there."""
        steps: dict[str, tuple[tuple[str, ...], Callable[[], Awaitable[None]]]] = {
            name: ((), partial(self._start_part, name)) for name in self._parts
        }
        steps["migrations"] = (("postgres",), self._migrate)
        if self.settings.local:
            steps["contracts"] = (("ledger", "migrations"), self._deploy)
            steps["signer"] = (("contracts", "kms"), self._prepare_signer)
        if self.settings.local or self.settings.starts_postgres:
            steps["people"] = (("migrations", "contracts"), self._people)
        before_ours = (*self._parts, "migrations", "contracts", "signer", "people")
        for name in self._ours:
            steps[name] = (before_ours, partial(self._start_ours, name))
        done = {name: asyncio.Event() for name in steps}

        async def run(name: str) -> None:
            needs, step = steps[name]
            for need in needs:
                if need in done:
                    await done[need].wait()
            try:
                await step()
            except (HoldfastError, SupervisorError) as error:
                raise StackError(f"{name}: {error}") from error
            done[name].set()

        try:
            async with asyncio.TaskGroup() as group:
                for name in steps:
                    group.create_task(run(name))
        except BaseExceptionGroup as errors:
            raise _first(errors) from None

    async def _start_part(self, name: str) -> None:
        part = self._parts[name]
        began = self._begin(name)
        try:
            await asyncio.to_thread(part.prepare)
        except outside.PartError as error:
            raise StackError(str(error)) from None
        await self._start_and_wait(name, part.ready, began, part.url)

    async def _start_ours(self, name: str) -> None:
        part = self._ours[name]
        began = self._begin(name)
        self._running.update(self._program(part))
        await self._start_and_wait(name, part.ready, began, part.url)

    async def _start_and_wait(self, name: str, ready: Callable[[], bool], began: float, note: str) -> None:
        await asyncio.to_thread(self._running.start_program, name)
        while not await asyncio.to_thread(ready):
            state = await asyncio.to_thread(self._running.state, name)
            if state == "FATAL" or time.monotonic() - began > _READY_SECONDS_MAX:
                why = "ended at once, again and again" if state == "FATAL" else "did not become ready in time"
                raise StackError(
                    f"{name} {why}. The end of {self._running.log_of(name)}:\n{self._running.tail(name)}"
                )
            await asyncio.sleep(_LOOK_SECONDS)
        self._end(name, began, note)

    async def _migrate(self) -> None:
        began = self._begin("migrations")
        await asyncio.to_thread(upgrade, self.settings.database_url.get_secret_value())
        self._end("migrations", began)

    async def _deploy(self) -> None:
        if self._secrets is None:
            raise AssertionError("only the local network has secrets of its own")
        began = self._begin("contracts")
        deployed = await deploy_locally(
            self.settings, self._secrets, lambda what: self._progress.doing("contracts", what)
        )
        self.facts.deployed = deployed
        write_contract_ids(self.settings, deployed.environment)
        self._environment |= self._secrets.environment()
        if self.settings.api_host in LOOPBACK and not self.settings.is_set("api_local_keyless"):
            # The guide's requests carry no key: on this machine they act as a local initiator.
            self._environment["API_LOCAL_KEYLESS"] = "true"
        self._environment |= {
            name: value for name, value in deployed.environment.items() if not self.settings.is_set(name.lower())
        }
        self._end("contracts", began, deployed.sla)

    async def _prepare_signer(self) -> None:
        if self._signer is None:
            raise AssertionError("only the local network has a payer of its own")
        began = self._begin("signer")
        keys = await self._signer.prepare(lambda what: self._progress.doing("signer", what))
        self._environment |= self._signer.environment()
        for name in self._signer.withheld():
            self._environment.pop(name, None)
        self.facts.signer = {
            "payout_signer": str(self.settings.payout_signer),
            "payer": self._signer.payer,
            "signing_keys": keys,
        }
        self._end("signer", began, ", ".join(keys))

    async def _people(self) -> None:
        began = self._begin("people")
        self.facts.keys = await register_locally(self.settings, self._var / "secrets", self.facts.deployed)
        self._end("people", began)

    # while it runs

    async def watch(self) -> None:
        """Say what dies and when it is back, until the supervisor itself is gone.

        Raises:
            StackError: the supervisor ended, and every part with it.
        """
        mending: dict[str, asyncio.Task[None]] = {}
        while not self._stopping:
            if not self._running.alive:
                raise StackError("The supervisor ended, and every part with it. `holdfast up` resumes the state.")
            for death in self._running.deaths():
                if death.name in mending and not mending[death.name].done():
                    continue  # it is being watched until it is ready again
                mending[death.name] = asyncio.create_task(self._mend(death.name, death.how))
            await asyncio.sleep(_LOOK_SECONDS)

    async def _mend(self, name: str, how: str) -> None:
        died = time.monotonic()
        told = False
        ready = (self._parts.get(name) or self._ours[name]).ready
        while not self._stopping:
            try:
                state = await asyncio.to_thread(self._running.state, name)
                if state in {"STARTING", "RUNNING"} and await asyncio.to_thread(ready):
                    seconds = time.monotonic() - died
                    self._progress.say(f"{name} died ({how}), restarted in {seconds:.1f} s", bad=False)
                    return
                if state == "FATAL":
                    if not told:
                        tail = self._running.tail(name, 6)
                        log = self._running.log_of(name)
                        self._progress.say(f"{name} died ({how}) and does not start: {log}\n{tail}", bad=True)
                        told = True
                    await asyncio.sleep(_GIVE_UP_LOOK_SECONDS)
                    await asyncio.to_thread(self._running.start_program, name)
            except SupervisorError:
                if self._stopping or not self._running.alive:
                    return
            await asyncio.sleep(_LOOK_SECONDS)

    # end

    async def stop(self) -> None:
        """Stop everything: ours first, so that they can say goodbye to what they stand on."""
        self._stopping = True
        if self._supervisor is not None:
            first = list(self._ours)
            await asyncio.to_thread(self._supervisor.stop, first)
            (self._var / "up.json").unlink(missing_ok=True)
        self._lock.release()

    # inside

    @property
    def _running(self) -> Supervisor:
        if self._supervisor is None:
            raise AssertionError("not started")
        return self._supervisor

    def _begin(self, name: str) -> float:
        self._progress.starting(name)
        return time.monotonic()

    def _end(self, name: str, began: float, note: str = "") -> None:
        seconds = time.monotonic() - began
        self.facts.started[name] = round(seconds, 3)
        self._progress.ready(name, seconds, note)

    def _write_facts(self) -> None:
        facts: dict[str, Any] = {
            **self.facts.urls,
            "database_url": self.settings.database_url.get_secret_value(),
            "network_passphrase": self.settings.stellar_network_passphrase,
            "deployment": self.settings.holdfast_deployment,
            **self.facts.signer,
            "pid": os.getpid(),
        }
        if self.facts.keys is not None:
            facts |= {"api_key": self.facts.keys.api_key, "approver_key": self.facts.keys.approver_key}
        deployed = self.facts.deployed
        if deployed is not None:
            facts["contracts"] = {
                "sla": deployed.sla,
                "usdc": deployed.usdc,
                "nociq": deployed.nociq,
                "native": deployed.native,
                "payout": deployed.payout,
            }
            facts["accounts"] = dict(deployed.accounts)
        write_private(self._var / "up.json", json.dumps(facts, indent=2) + "\n")


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error that says most: one of ours before a cancellation or a group."""
    leaves: list[BaseException] = []

    def collect(group: BaseExceptionGroup[BaseException]) -> None:
        for error in group.exceptions:
            if isinstance(error, BaseExceptionGroup):
                collect(error)
            else:
                leaves.append(error)

    collect(errors)
    for error in leaves:
        if isinstance(error, StackError):
            return error
    return leaves[0]
