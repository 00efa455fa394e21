"""Outages settled a second, and from resolve to confirmed: HTTP, Temporal, one worker, a ledger of 1 s closes.

Everything is a process of its own, as `holdfast up` runs it, and all of them share this machine's cores; so the
rate is told as a share of the bare workflow's in the same run.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import time
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import aiohttp
from temporalio.client import Client

from activities.story_names import outage_story_id
from bench.figures import Check, Figure, ScenarioResult
from bench.house import House
from bench.premises import Premises, beside, premises

IN_FLIGHT: Final = 100
CLOSE_MS: Final = 1000
LANES: Final = 120
_WARM_UP: Final = 2 * IN_FLIGHT
_WINDOW: Final = 100
_WINDOWS: Final = 4
_IDLE: Final = 30
_HISTORIES: Final = 20
_SETTINGS: Final = {
    "LANES_MAX": str(LANES + 10),
    "LANES_INTERACTIVE": str(LANES),
    "LANES_BULK": "1",
    "LANES_WAITING": "0",
    "POLICY_DAY_AMOUNT": "100000000",
}


T = TypeVar("T")


@dataclass
class _Run:
    """The house under load, the processes that are measured, and who waits for which outage."""

    place: Premises
    session: aiohttp.ClientSession
    confirmed: dict[str, asyncio.Future[float]] = field(default_factory=dict)

    async def report(self, number: int) -> str:
        """Penalties of 10 USDC and rewards of 600 NOCIQ take turns."""
        body = {"site_name": "Test Site", "severity": "low", "detected_at": "2026-01-16T10:00:00Z"}
        async with self.session.post("/api/v1/outages", json=body) as answer:
            outage = str((await answer.json())["id"])
        self.confirmed[outage] = asyncio.get_running_loop().create_future()
        return outage

    async def resolve(self, outage: str, number: int) -> None:
        resolved_at = "2026-01-16T12:01:00Z" if number % 2 else "2026-01-16T11:40:00Z"
        body = {"status": "resolved", "resolved_at": resolved_at}
        async with self.session.put(f"/api/v1/outages/{outage}", json=body) as answer:
            if answer.status != 200:
                raise RuntimeError(await answer.text())

    async def settle(self, number: int) -> float:
        """Report, resolve, wait for the confirmation; gives when that was seen (monotonic seconds)."""
        outage = await self.report(number)
        await self.resolve(outage, number)
        end = await self.confirmed[outage]
        del self.confirmed[outage]
        return end

    async def heard(self, work: Coroutine[Any, Any, T]) -> T:
        """Do the work while listening; what ends the listening ends the work."""
        return await beside(self.listen, work)

    async def listen(self, hears: asyncio.Event) -> None:
        """Hear of confirmations on one event stream."""
        async with self.session.get("/api/v1/events", timeout=aiohttp.ClientTimeout(total=None)) as stream:
            hears.set()
            async for line in stream.content:
                if line.startswith(b"data:"):
                    event = json.loads(line.removeprefix(b"data:"))
                    if event["type"] == "payment.refused":
                        raise RuntimeError(event["data"]["reason"])
                    waiting = self.confirmed.get(event["subject"].removeprefix("outage:"))
                    if event["type"] == "payment.confirmed" and waiting is not None and not waiting.done():
                        waiting.set_result(time.monotonic())


async def measure(ceiling: ScenarioResult) -> ScenarioResult:
    """Start a house, let it settle under load, then leave it idle and settle one outage after the other."""
    async with premises(close_ms=CLOSE_MS, **_SETTINGS) as place, place.session(2 * IN_FLIGHT) as session:
        run = _Run(place, session)
        idle_memory = place.memory_mb("worker")
        load = await run.heard(_under_load(run))
        idle = await run.heard(_idle(run))
        events = await _events(place.house)
        return _result(ceiling, load, idle, events, idle_memory)


@dataclass(frozen=True)
class _Load:
    rates: list[float]
    seconds: list[float]
    cpu_ms: dict[str, float]
    memory_mb: float


async def _under_load(run: _Run) -> _Load:
    """`IN_FLIGHT` at once without a pause: warm up (lanes are made), then windows of `_WINDOW`, then drain."""
    numbers = iter(range(_WARM_UP + _WINDOWS * _WINDOW + IN_FLIGHT))
    ends: list[float] = []
    seconds: list[float] = []
    marks: list[dict[str, float]] = []
    last = _WARM_UP + _WINDOWS * _WINDOW

    async def slot() -> None:
        for number in numbers:
            began = time.monotonic()
            end = await run.settle(number)
            ends.append(end)
            seconds.append(end - began)
            if len(ends) in {_WARM_UP, last}:
                marks.append(run.place.cpu_seconds())

    await asyncio.gather(*(slot() for _ in range(IN_FLIGHT)))
    ends.sort()
    borders = [ends[_WARM_UP + index * _WINDOW - 1] for index in range(_WINDOWS + 1)]
    rates = [_WINDOW / (end - begin) for begin, end in itertools.pairwise(borders)]
    cpu = {name: 1000 * (marks[1][name] - marks[0][name]) / (_WINDOWS * _WINDOW) for name in marks[0]}
    return _Load(rates, seconds[_WARM_UP:last], cpu, run.place.memory_mb("worker"))


@dataclass(frozen=True)
class _Idle:
    seconds: list[float]
    closes: list[float]


async def _idle(run: _Run) -> _Idle:
    """One outage after the other, resolved at any moment between two closes; looked at every 10 ms."""
    seconds, closes = [], []
    for number in range(_IDLE):
        outage = await run.report(number)
        await asyncio.sleep(0.3 + random.random() * CLOSE_MS / 1000)
        ledger_before = await asyncio.to_thread(run.place.ledger.latest_ledger)
        began = time.monotonic()
        await run.resolve(outage, number)
        status = await _confirmed(run, outage)
        seconds.append(time.monotonic() - began)
        closes.append(float(status["ledger"] - ledger_before))
        run.confirmed.pop(outage)
    return _Idle(seconds, closes)


async def _confirmed(run: _Run, outage: str) -> dict[str, Any]:
    while True:
        async with run.session.get(f"/api/v1/sla/status/{outage}") as answer:
            status: dict[str, Any] = await answer.json()
        if status["payment_status"] == "confirmed":
            return status
        await asyncio.sleep(0.01)


async def _events(house: House) -> list[float]:
    client = await Client.connect(house.outside.temporal_address)
    counts = []
    for number in range(_WARM_UP, _WARM_UP + _HISTORIES):
        handle = client.get_workflow_handle(outage_story_id(f"OUT{number:03d}"))
        counts.append(float(len((await handle.fetch_history()).events)))
    return counts


def _result(
    ceiling: ScenarioResult, load: _Load, idle: _Idle, events: list[float], idle_memory_mb: float
) -> ScenarioResult:
    rate = Figure.of(
        "outages settled",
        "outages/s",
        load.rates,
        note=f"{_WINDOW} a sample, {IN_FLIGHT} in flight, {LANES} lanes",
    )
    bare, sandboxed = ceiling.figure("rate, no sandbox"), ceiling.figure("rate, sandbox")
    figures = [
        rate.against(bare),
        rate.against(sandboxed),
        Figure.of("report → confirmed, under load", "s", load.seconds, note="heard on the event stream"),
        Figure.of(
            "resolve → confirmed, idle", "s", idle.seconds, note="one after the other, looked at every 10 ms"
        ),
        Figure.of("resolve → confirmed, idle", "ledger closes", idle.closes, note=f"a close each {CLOSE_MS} ms"),
        Figure.of("history of one outage", "events", events),
        Figure.of("worker memory, at the start", "MiB", [idle_memory_mb]),
        Figure.of("worker memory, after the load", "MiB", [load.memory_mb]),
    ]
    figures += [
        Figure.of(f"CPU of {name}", "ms an outage", [spent], note=f"mean of {_WINDOWS * _WINDOW}")
        for name, spent in sorted(load.cpu_ms.items(), key=lambda item: -item[1])
    ]
    ratio = rate.p50 / bare.p50
    aim = CLOSE_MS / 1000 + 0.5
    p50 = figures[3].p50
    return ScenarioResult(
        "Outages",
        "Reported and resolved over HTTP, decided, paid by the SLA contract on the ledger, confirmed and told.",
        tuple(figures),
        (
            Check("at least 0.5 of the ceiling (no sandbox, as the worker runs)", ratio >= 0.5, f"{ratio:.2f}"),
            Check("resolve → confirmed within one close + 0.5 s at p50 when idle", p50 <= aim, f"{p50:.2f} s"),
        ),
    )
