"""Payouts: singly with a hot signer, in batches, and many that wait for a signature.

HTTP, Temporal, one worker, a ledger of 1 s closes; all of it shares this machine's cores, so the rate of single
payouts is told as a share of the bare workflow's in the same run, and that of batches as a multiple of theirs.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp
from stellar_sdk import Keypair
from stellar_sdk.operation import CreateAccount
from temporalio.client import Client

from activities.story_names import batch_story_id, payout_story_id
from adapters.stellar.own_sequence import OwnSequence
from adapters.stellar.rpc import Rpc
from bench.figures import Check, Figure, ScenarioResult
from bench.premises import Premises, beside, premises

IN_FLIGHT: Final = 200
LANES: Final = 200
CLOSE_MS: Final = 1000
PUBLIC_CLOSE_MS: Final = 5000
"""About what the public network takes."""
WAITING: Final = (1_000, 3_000)
"""How many wait for a signature when memory and `why` are looked at; `--waiting N`, once for each, instead."""
_MEMORY_TIMES_MAX: Final = 1.25
"""Of the worker's memory with the most of them to that with the fewest. A tenth is garbage between two looks of
the collector; were the 2,000 stories kept that the cache has no room for, it would be a quarter at the least."""
_WARM_UP: Final = 2 * IN_FLIGHT
_WINDOW: Final = 200
_WINDOWS: Final = 4
_IDLE: Final = 30
_IDLE_PUBLIC: Final = 10
_HISTORIES: Final = 20
_RECIPIENTS: Final = 300
_ROWS: Final = 6_000
_ASKED: Final = 40
_POSTS_AT_ONCE: Final = 50
_SETTINGS: Final = {
    "LANES_MAX": str(LANES + 40),
    "LANES_INTERACTIVE": str(LANES),
    "LANES_BULK": "20",
    "LANES_WAITING": "0",
    "POLICY_DAY_AMOUNT": "100000000",
    "PAYOUT_SIGNERS_OFFERED": "external",
    "PAYOUT_SIGNATURE_VALIDITY_SECONDS": "86400",
}


@dataclass
class _Run:
    """The house, and who waits for which payout's end."""

    place: Premises
    session: aiohttp.ClientSession
    ended: dict[str, asyncio.Future[float]] = field(default_factory=dict)
    _numbers: Iterable[int] = field(default_factory=itertools.count)

    async def ask(self, name: str, **more: str) -> None:
        """Ask for a payout of 0.1 XLM to the operator's account."""
        body = {
            "payout_id": name,
            "idempotency_key": name,
            "destination_account": self.place.house.account("operator"),
            "amount": "0.1",
            "asset": "XLM",
        }
        async with self.session.post("/api/v1/payouts", json=body | more) as answer:
            if answer.status not in {201, 202}:
                raise RuntimeError(await answer.text())

    async def pay(self, name: str) -> float:
        """Ask, and wait for the end; gives when that was heard (monotonic seconds)."""
        self.ended[f"payout:{name}"] = asyncio.get_running_loop().create_future()
        await self.ask(name)
        end = await self.ended[f"payout:{name}"]
        del self.ended[f"payout:{name}"]
        return end

    async def listen(self, hears: asyncio.Event) -> None:
        """Hear of ends on one event stream."""
        async with self.session.get("/api/v1/events", timeout=aiohttp.ClientTimeout(total=None)) as stream:
            hears.set()
            async for line in stream.content:
                if not line.startswith(b"data:"):
                    continue
                event = json.loads(line.removeprefix(b"data:"))
                if event["type"] in {"payout.failed", "batch.stopped"}:
                    raise RuntimeError(str(event))
                waiting = self.ended.get(event["subject"])
                if event["type"] == "payout.confirmed" and waiting and not waiting.done():
                    waiting.set_result(time.monotonic())

    async def until(self, name: str, status: str, *, look_seconds: float) -> None:
        """Look at a payout until it stands so."""
        found = ""
        while found != status:
            if found:
                await asyncio.sleep(look_seconds)
            found = str((await self.get(f"/api/v1/payouts/{name}"))["transaction"]["status"])

    async def get(self, path: str) -> dict[str, Any]:
        """Read one thing."""
        async with self.session.get(path) as answer:
            found: dict[str, Any] = await answer.json()
            if answer.status != 200:
                raise RuntimeError(str(found))
            return found


@dataclass(frozen=True)
class _Load:
    rates: list[float]
    seconds: list[float]
    cpu_ms: dict[str, float]
    memory_mb: float


async def measure(ceiling: ScenarioResult, *, waiting: tuple[int, ...] = WAITING) -> ScenarioResult:
    """Pay singly under load and idle, in a batch, and leave many unsigned; then idle with 5 s between closes."""
    async with premises(close_ms=CLOSE_MS, **_SETTINGS) as place, place.session(2 * IN_FLIGHT) as session:
        run = _Run(place, session)
        load = await beside(run.listen, _under_load(run))
        idle = await beside(run.listen, _idle(run, "idle", _IDLE, CLOSE_MS))
        events = await _events(place, [payout_story_id(f"load-{number}") for number in range(_HISTORIES)])
        batch = await beside(run.listen, _batch(run))
        sizes = (0, *sorted(waiting))
        left = [await _unsigned(run, before, number) for before, number in itertools.pairwise(sizes)]
        await asyncio.to_thread(place.close_every, PUBLIC_CLOSE_MS)
        public = await beside(run.listen, _idle(run, "public", _IDLE_PUBLIC, PUBLIC_CLOSE_MS))
    single = Figure.of(
        "single payouts",
        "payouts/s",
        load.rates,
        note=f"hot signer; {_WINDOW} a sample, {IN_FLIGHT} in flight, {LANES} lanes",
    )
    bare, sandboxed = ceiling.figure("rate, no sandbox"), ceiling.figure("rate, sandbox")
    in_batches = Figure.of("recipients in a batch", "recipients/s", [batch.rate], note=batch.note)
    figures = [
        single.against(bare),
        single.against(sandboxed),
        Figure.of("asked → confirmed, under load", "s", load.seconds, note="heard on the event stream"),
        Figure.of(f"asked → confirmed, idle, a close each {CLOSE_MS} ms", "s", idle),
        Figure.of(f"asked → confirmed, idle, a close each {PUBLIC_CLOSE_MS} ms", "s", public),
        Figure.of("history of one payout", "events", events),
        Figure.of("worker memory, after the load", "MiB", [load.memory_mb]),
        *_cpu(load.cpu_ms, "a payout", f"mean of {_WINDOWS * _WINDOW}"),
        in_batches.against(single),
        Figure.of("recipients in one call", "recipients", [batch.rows_a_call]),
        Figure.of("history of the batch", "events", [batch.events]),
        *_cpu(batch.cpu_ms, "a recipient of a batch", f"mean of {_ROWS}"),
    ]
    for each in left:
        figures += each.figures()
    ratio, times = single.p50 / bare.p50, batch.rate / single.p50
    checks = (
        Check("single payouts at least 0.6 of the ceiling (no sandbox)", ratio >= 0.6, f"{ratio:.2f}"),
        Check("recipients in a batch at least 10 times the single payouts", times >= 10, f"{times:.1f}"),
        *(
            Check(
                f"`why` of one of {each.number} unsigned answers within 100 ms at p95",
                Figure.of("", "", each.why_seconds).p95 <= 0.1,
                f"{1000 * Figure.of('', '', each.why_seconds).p95:.0f} ms",
            )
            for each in left
        ),
        *_flat(left[0], left[-1]),
    )
    return ScenarioResult(
        "Payouts", "Paid by the payout contract: singly, in a batch, unsigned.", tuple(figures), checks
    )


def _flat(fewest: _Unsigned, most: _Unsigned) -> tuple[Check, ...]:
    """The aim for the worker's memory, where it was looked at twice."""
    if fewest is most:
        return ()
    times = most.memory_mb / fewest.memory_mb
    return (
        Check(
            f"the worker's memory with {most.number} unsigned at most {_MEMORY_TIMES_MAX} times that with"
            f" {fewest.number}",
            times <= _MEMORY_TIMES_MAX,
            f"{times:.2f}",
        ),
    )


def _cpu(cpu_ms: dict[str, float], unit: str, note: str) -> list[Figure]:
    spent = sorted(cpu_ms.items(), key=lambda item: -item[1])
    return [Figure.of(f"CPU of {name}", f"ms {unit}", [ms], note=note) for name, ms in spent]


async def _under_load(run: _Run) -> _Load:
    """`IN_FLIGHT` at once without a pause: warm up (lanes are made), then windows of `_WINDOW`, then drain."""
    last = _WARM_UP + _WINDOWS * _WINDOW
    numbers = iter(range(last + IN_FLIGHT))
    ends: list[float] = []
    seconds: list[float] = []
    marks: list[dict[str, float]] = []

    async def slot() -> None:
        for number in numbers:
            began = time.monotonic()
            end = await run.pay(f"load-{number}")
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


async def _idle(run: _Run, name: str, count: int, close_ms: int) -> list[float]:
    """One payout after the other, asked for at any moment between two closes; looked at every 10 ms."""
    seconds = []
    for number in range(count):
        await asyncio.sleep(0.3 + random.random() * close_ms / 1000)
        began = time.monotonic()
        await run.ask(f"{name}-{number}")
        await run.until(f"{name}-{number}", "confirmed", look_seconds=0.01)
        seconds.append(time.monotonic() - began)
    return seconds


async def _events(place: Premises, ids: list[str]) -> list[float]:
    client = await Client.connect(place.house.outside.temporal_address)
    return [float(len((await client.get_workflow_handle(one).fetch_history()).events)) for one in ids]


@dataclass(frozen=True)
class _Batch:
    rate: float
    rows_a_call: float
    events: float
    cpu_ms: dict[str, float]
    note: str


async def _batch(run: _Run) -> _Batch:
    """One file of `_ROWS` payments in turn to `_RECIPIENTS` accounts."""
    recipients = await _accounts(run.place)
    rows = (f"{recipients[number % len(recipients)]},0.1,row-{number}" for number in range(_ROWS))
    text = "\n".join(["destination,amount,reference", *rows]) + "\n"
    before = run.place.cpu_seconds()
    began = time.monotonic()
    headers = {"Idempotency-Key": "figures", "Content-Type": "text/csv"}
    async with run.session.post("/api/v1/batches?asset=XLM", data=text.encode(), headers=headers) as answer:
        sent = await answer.json()
        if answer.status not in {201, 202}:
            raise RuntimeError(str(sent))
    batch, found = str(sent["id"]), sent
    while found["status"] == "running":
        await asyncio.sleep(0.05)
        found = await run.get(f"/api/v1/batches/{batch}")
    took = time.monotonic() - began
    if found["counts"]["paid"] != _ROWS:
        raise RuntimeError(f"not everybody was paid: {found}")
    after = run.place.cpu_seconds()
    busiest = max(after, key=lambda name: after[name] - before[name])
    share = (sum(after.values()) - sum(before.values())) / took
    calls = found["calls"]
    return _Batch(
        rate=_ROWS / took,
        rows_a_call=_ROWS / calls,
        events=(await _events(run.place, [batch_story_id(batch)]))[0],
        cpu_ms={name: 1000 * (after[name] - before[name]) / _ROWS for name in before},
        note=f"{_ROWS} rows in {calls} calls and {took:.1f} s, upload and last record in it; {share:.2f} of the"
        f" cores' 2 were busy, most of it {busiest}",
    )


async def _accounts(place: Premises) -> list[str]:
    """Make accounts that can be paid XLM."""
    keypairs = [Keypair.random() for _ in range(_RECIPIENTS)]
    rich = place.house.secrets.keypair("operator_secret_key")
    async with Rpc(place.house.outside.rpc_url) as rpc:
        source = OwnSequence(rpc, rich, place.house.settings.stellar_network_passphrase, poll_seconds=0.03)
        for start in range(0, len(keypairs), 100):
            some = keypairs[start : start + 100]
            await source.land([CreateAccount(destination=one.public_key, starting_balance="2") for one in some])
    return [one.public_key for one in keypairs]


@dataclass(frozen=True)
class _Unsigned:
    number: int
    rate: float
    memory_mb: float
    why_seconds: list[float]
    listed_seconds: list[float]

    def figures(self) -> list[Figure]:
        note = f"with {self.number:,} payouts that wait for a signature (authorization entries)"
        return [
            Figure.of("asked for, until the last request was written", "payouts/s", [self.rate], note=note),
            Figure.of("worker memory", "MiB", [self.memory_mb], note=note),
            Figure.of("`why` of one of them", "s", self.why_seconds, note=note),
            Figure.of("a page of 200 requests that wait", "s", self.listed_seconds, note=note),
        ]


async def _unsigned(run: _Run, before: int, number: int) -> _Unsigned:
    """Ask for payouts that an outside signer is to sign by authorization entry, up to `number`; sign none."""
    name = "unsigned"
    numbers = iter(range(before, number))
    began = time.monotonic()

    async def post() -> None:
        for one in numbers:
            await run.ask(f"{name}-{one}", signer="external", signing="auth_entry")

    await asyncio.gather(*(post() for _ in range(_POSTS_AT_ONCE)))

    for one in range(max(before, number - _POSTS_AT_ONCE), number):
        await run.until(f"{name}-{one}", "awaiting_signature", look_seconds=0.05)
    rate = (number - before) / (time.monotonic() - began)
    why = await _timed(_ASKED, lambda index: run.get(f"/api/v1/payouts/{name}-{index * number // _ASKED}/why"))
    listed = await _timed(10, lambda _index: run.get("/api/v1/signing-requests?limit=200"))
    return _Unsigned(number, rate, run.place.memory_mb("worker"), why, listed)


async def _timed(count: int, ask: Callable[[int], Awaitable[Any]]) -> list[float]:
    seconds = []
    for index in range(count):
        began = time.monotonic()
        await ask(index)
        seconds.append(time.monotonic() - began)
    return seconds
