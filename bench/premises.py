"""Where a scenario runs: a house and its outside, each part a process of its own, and what each of them spends."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import aiohttp
import psutil  # type: ignore[import-untyped]

from adapters.database.migrate import upgrade
from adapters.temporal.search_attributes import SEARCH_ATTRIBUTES
from bench.house import House, Outside
from localnet.clients import LocalLedger
from localnet.parts import free_port, inbox, ledger, postgres, temporal
from localnet.process import RunningPart

_WEBHOOK_SECRET: Final = "a-webhook-secret-of-figures"
T = TypeVar("T")


@dataclass
class Premises:
    """A started house; all of it shares this machine's cores."""

    house: House
    ledger: LocalLedger
    parts: dict[str, RunningPart]
    directory: Path

    def processes(self) -> dict[str, psutil.Process]:
        """What is measured, by name; workers are one."""
        api = self.house.api
        if api is None:
            raise AssertionError("a started house has an API")
        pids = {name: part.pid for name, part in self.parts.items()}
        pids |= {"worker": self.house.workers[-1].popen.pid, "api": api.popen.pid}
        return {name: psutil.Process(pid) for name, pid in pids.items()}

    def cpu_seconds(self) -> dict[str, float]:
        """User and system time by process; PostgreSQL's with its children."""
        spent = {}
        for name, process in self.processes().items():
            times = [process.cpu_times()]
            for child in process.children(recursive=True):
                with suppress(psutil.NoSuchProcess):  # PostgreSQL's own come and go
                    times.append(child.cpu_times())
            spent[name] = sum(one.user + one.system for one in times)
        return spent

    def memory_mb(self, name: str) -> float:
        """Resident memory of a process, MiB."""
        return float(self.processes()[name].memory_info().rss) / 2**20

    def session(self, connections: int) -> aiohttp.ClientSession:
        """A client of the API."""
        connector = aiohttp.TCPConnector(limit=connections, keepalive_timeout=2)
        return aiohttp.ClientSession(self.house.url, connector=connector)

    def close_every(self, close_ms: int) -> None:
        """Let the ledger go on with another time between closes; call it from a thread that outlives it."""
        running = self.parts["ledger"]
        running.stop()
        part = ledger(*running.part.ports.values(), close_ms=close_ms, state=self.directory / "ledger.state")
        self.parts["ledger"] = RunningPart(part, running.log).start()


async def beside(listen: Callable[[asyncio.Event], Coroutine[Any, Any, Any]], work: Coroutine[Any, Any, T]) -> T:
    """Do the work while listening; what ends the listening ends the work.

    `listen` says when it hears: what ended before would be waited for without end.

    Raises:
        RuntimeError: the listening ended first.
    """
    hears = asyncio.Event()

    async def when_heard() -> T:
        await hears.wait()
        return await work

    ear, hand = asyncio.create_task(listen(hears)), asyncio.create_task(when_heard())
    try:
        await asyncio.wait({ear, hand}, return_when=asyncio.FIRST_COMPLETED)
        if not hand.done():
            ear.result()
            raise RuntimeError("the event stream ended")
        return hand.result()
    finally:
        ear.cancel()
        hand.cancel()
        if not hears.is_set():
            work.close()


@asynccontextmanager
async def premises(*, close_ms: int, **settings: str) -> AsyncIterator[Premises]:
    """Start everything; `settings` by variable name. All of it ends with the block."""
    with (
        tempfile.TemporaryDirectory(prefix="holdfast-bench-", ignore_cleanup_errors=True) as name,
        ExitStack() as stack,
    ):
        directory = Path(name)
        os.chmod(directory, 0o711)  # PostgreSQL's user passes through
        parts: dict[str, RunningPart] = {}

        def stop_parts() -> None:
            for running in reversed(parts.values()):
                running.stop()

        stack.callback(stop_parts)
        for part in (
            postgres(directory / "postgres", free_port()),
            temporal(free_port(), state=directory / "temporal.db", search_attributes=SEARCH_ATTRIBUTES),
            ledger(free_port(), close_ms=close_ms, state=directory / "ledger.state"),
            inbox(free_port(), free_port(), webhook_secret=_WEBHOOK_SECRET),
        ):
            parts[part.name] = RunningPart(part, directory / f"{part.name}.log").start()
        upgrade(parts["postgres"].url)
        outside = Outside(
            rpc_url=parts["ledger"].url,
            database_url=parts["postgres"].url,
            temporal_address=parts["temporal"].url,
            temporal_namespace="default",
            inbox_url=parts["inbox"].url,
            smtp_port=parts["inbox"].part.ports["INBOX_SMTP_PORT"],
            webhook_secret=_WEBHOOK_SECRET,
        )
        # In a thread, since it runs a loop of its own; the processes start here, and end with this thread.
        house = await asyncio.to_thread(
            lambda: House.make(outside, directory / "house", "bench", LOG_LEVEL="WARNING", **settings)
        )
        stack.enter_context(house)
        house.start()
        yield Premises(house, LocalLedger(parts["ledger"].url), parts, directory)
