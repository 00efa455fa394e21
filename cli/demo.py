"""`holdfast demo`: the guide's two payments, played over HTTP and proved on the ledger, not by our own API."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import aiohttp
from rich.console import Console, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text
from stellar_sdk import Asset

from activities.story_names import outage_story_id
from adapters.stellar.entries import trustline_key, trustline_state
from adapters.stellar.rpc import Rpc
from cli.local_people import SITE
from cli.stack import Stack
from cli.supervision import write_private
from cli.up import run_up
from cli.up_state import StackError, is_up, read_facts
from domain.errors import HoldfastError
from domain.money import Amount
from domain.sla import PaymentKind, Severity, SlaDecision, decide
from settings import Settings

_SECONDS_MAX: Final = 60
_LOOK_SECONDS: Final = 0.25
_ANSWER_SECONDS_MAX: Final = 20
_ENDS_BADLY: Final = frozenset({"failed", "refused", "cancelled"})


class DemoError(Exception):
    """The demo did not go as it should; the text says where."""


class _NoAnswerError(DemoError):
    """There was no answer, or one that says to ask again."""


@dataclass(slots=True)
class Play:
    """One outage of the guide: what was asked, and what came of it."""

    severity: Severity
    minutes: int
    outage_id: str = ""
    stage: str = "reporting"
    resolved_at: float | None = None
    seconds: float | None = None
    tx_hash: str = ""
    ledger: int = 0
    decided: str = ""
    """What the API says of it, such as `penalty 1000.00 USDC`."""
    proved: bool = False
    """The ledger itself has the transaction, and it succeeded."""

    @property
    def decision(self) -> SlaDecision:
        """What the guide's table says: what the demo holds the outcome against."""
        return decide(self.severity, self.minutes)

    @property
    def asset(self) -> str:
        """Penalties are paid in USDC, rewards in NOCIQ."""
        return "USDC" if self.decision.kind is PaymentKind.PENALTY else "NOCIQ"


def guide_examples() -> list[Play]:
    """Critical, 25 minutes: a penalty of 1,000 USDC. High, 10 minutes: a reward of 1,500 NOCIQ."""
    return [Play(Severity.CRITICAL, 25), Play(Severity.HIGH, 10)]


@dataclass(slots=True)
class _Board:
    """The two outages on their way, live."""

    plays: Sequence[Play]
    spinner: Spinner = field(default_factory=lambda: Spinner("dots", style="cyan"))

    def __rich__(self) -> RenderableType:
        table = Table.grid(padding=(0, 2))
        for play in self.plays:
            done = play.seconds is not None
            mark: RenderableType = Text("✓", style="bold green") if done else self.spinner
            spent = ""
            if play.resolved_at is not None:
                spent = (
                    f"{play.seconds if play.seconds is not None else time.monotonic() - play.resolved_at:.1f} s"
                )
            table.add_row(
                mark,
                Text(play.outage_id or "…", style="bold"),
                Text(f"{play.severity}, {play.minutes} min"),
                Text(play.stage, style="dim" if done else "cyan"),
                Text(spent, justify="right"),
            )
        return table


class _Api:
    """The HTTP API as any client sees it."""

    def __init__(self, session: aiohttp.ClientSession, url: str, key: str) -> None:
        self._session = session
        self._url = url
        self._headers = {"Authorization": f"Bearer {key}"}

    async def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Call until there is an answer: every one of these calls may be made again without doing more.

        Raises:
            DemoError: the API says no, or does not answer for a while.
        """
        # The same key again is the same outage: a lost answer makes no second one.
        key = {"Idempotency-Key": str(uuid.uuid4())} if method == "POST" else {}
        deadline = time.monotonic() + _ANSWER_SECONDS_MAX
        while True:
            try:
                return await self._call(method, path, body, key)
            except _NoAnswerError as error:
                if time.monotonic() > deadline:
                    raise DemoError(str(error)) from error
                await asyncio.sleep(_LOOK_SECONDS)

    async def _call(
        self, method: str, path: str, body: Mapping[str, Any] | None, more: Mapping[str, str]
    ) -> dict[str, Any]:
        headers = {**self._headers, **more}
        try:
            async with self._session.request(method, self._url + path, json=body, headers=headers) as response:
                # Amounts are JSON numbers; as text they stay exact.
                answer = json.loads(await response.text(), parse_float=str)
                status = response.status
        except (TimeoutError, aiohttp.ClientError, ValueError) as error:
            raise _NoAnswerError(f"{method} {path}: no answer ({type(error).__name__})") from error
        if status >= 400 or not isinstance(answer, dict):
            detail = answer.get("detail") or answer.get("title") if isinstance(answer, dict) else ""
            words = f"{method} {path} answered {status}: {detail}"
            raise _NoAnswerError(words) if status in {429, 503} else DemoError(words)
        return answer


async def run_demo(settings: Settings, console: Console, *, once: bool) -> int:
    """Play against a running `holdfast up`, else start one. 0 only where both payments are proved."""
    if not settings.local:
        console.print("The demo plays with play money: STELLAR_NETWORK must be local.", style="bold red")
        return 2
    began = time.monotonic()
    if is_up(settings):
        try:
            facts = read_facts(settings)
        except StackError as error:
            console.print(str(error), style="bold red")
            return 1
        return await _play_and_show(settings, console, facts, began)

    async def while_up(stack: Stack) -> int | None:
        status = await _play_and_show(settings, console, read_facts(stack.settings), began)
        return status if once or status else None

    return await run_up(settings, console, while_up)


async def _play_and_show(settings: Settings, console: Console, facts: Mapping[str, Any], began: float) -> int:
    plays = guide_examples()
    wrong: list[str] = []
    before: dict[str, int] = {}
    after: dict[str, int] = {}
    try:
        async with Rpc(facts["rpc"]) as rpc:
            before = await _balances(rpc, facts)
            await _play(console, facts, plays)
            after = await _balances(rpc, facts)
            wrong += await _unproved(rpc, plays)
        wrong += _wrong_moves(plays, before, after)
    except (DemoError, HoldfastError) as error:
        wrong.append(str(error))
    console.print()
    console.print(_table(plays))
    _show_links(console, settings, facts, plays)
    seconds = time.monotonic() - began
    if wrong:
        for sentence in wrong:
            console.print(sentence, style="bold red", highlight=False, soft_wrap=True)
    else:
        sentence = "Both payments are on the ledger, and its balances moved by exactly these amounts"
        console.print(f"{sentence} ({seconds:.1f} s in all).", style="bold green", highlight=False)
    _write_result(settings, plays, (before, after), wrong=wrong, seconds=seconds)
    return 1 if wrong else 0


async def _play(console: Console, facts: Mapping[str, Any], plays: Sequence[Play]) -> None:
    timeout = aiohttp.ClientTimeout(total=20)
    board = _Board(plays)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        api = _Api(session, facts["api"], facts["api_key"])
        with Live(board, console=console, refresh_per_second=12, transient=True):
            for play in plays:
                await _report(api, play)
            try:
                async with asyncio.timeout(_SECONDS_MAX), asyncio.TaskGroup() as group:
                    for play in plays:
                        group.create_task(_resolve_and_wait(api, play))
            except TimeoutError:
                stages = ", ".join(f"{play.outage_id} {play.stage}" for play in plays)
                raise DemoError(f"not confirmed within {_SECONDS_MAX} s: {stages}") from None
            except BaseExceptionGroup as errors:
                raise next(e for e in errors.exceptions if not isinstance(e, asyncio.CancelledError)) from None


async def _report(api: _Api, play: Play) -> None:
    detected = datetime.now(UTC) - timedelta(minutes=play.minutes)
    body = {"site_name": SITE, "severity": play.severity.value, "detected_at": detected.isoformat()}
    answer = await api.call("POST", "/api/v1/outages", body)
    play.outage_id = str(answer["id"])
    play.stage = "reported"


async def _resolve_and_wait(api: _Api, play: Play) -> None:
    outage = await api.call("GET", f"/api/v1/outages/{play.outage_id}")
    resolved = datetime.fromisoformat(outage["detected_at"]) + timedelta(minutes=play.minutes)
    body = {"status": "resolved", "resolved_at": resolved.isoformat()}
    play.resolved_at = time.monotonic()
    await api.call("PUT", f"/api/v1/outages/{play.outage_id}", body)
    while True:
        status = await api.call("GET", f"/api/v1/sla/status/{play.outage_id}")
        play.stage = str(status.get("payment_status") or "deciding").replace("_", " ")
        if play.stage == "confirmed":
            play.seconds = time.monotonic() - play.resolved_at
            play.tx_hash = str(status["contract_tx_hash"])
            amount = status["penalty_amount" if status["type"] == PaymentKind.PENALTY else "reward_amount"]
            play.decided = f"{status['type']} {amount} {status['asset']}"
            return
        if play.stage in _ENDS_BADLY:
            raise DemoError(f"{play.outage_id} ended {play.stage}: {status.get('reason') or 'no reason given'}")
        await asyncio.sleep(_LOOK_SECONDS)


# The proof: the ledger itself, not our API


async def _balances(rpc: Rpc, facts: Mapping[str, Any]) -> dict[str, int]:
    """Balances in units of 10⁻⁷ by `account ASSET`."""
    accounts = facts["accounts"]
    usdc, nociq = Asset("USDC", accounts["usdc_issuer"]), Asset("NOCIQ", accounts["nociq_issuer"])
    wanted = {
        "operator USDC": (accounts["operator"], usdc),
        "pool USDC": (accounts["pool"], usdc),
        "pool NOCIQ": (accounts["pool"], nociq),
        "noc_team NOCIQ": (accounts["noc_team"], nociq),
    }
    keys = {name: trustline_key(address, asset) for name, (address, asset) in wanted.items()}
    found = (await rpc.ledger_entries(list(keys.values()))).by_key
    missing = [name for name, key in keys.items() if key.to_xdr() not in found]
    if missing:
        raise DemoError(f"no trustline on the ledger: {', '.join(missing)}")
    return {name: trustline_state(found[key.to_xdr()].data).balance_units for name, key in keys.items()}


def _wrong_moves(plays: Sequence[Play], before: Mapping[str, int], after: Mapping[str, int]) -> list[str]:
    expected = dict.fromkeys(before, 0)
    for play in plays:
        units = play.decision.amount.units
        source, sink = ("operator", "pool") if play.asset == "USDC" else ("pool", "noc_team")
        expected[f"{source} {play.asset}"] -= units
        expected[f"{sink} {play.asset}"] += units
    return [
        f"{name} moved by {(after[name] - before[name]) / 10**7:,.7f}, and {expected[name] / 10**7:,.7f} was due"
        for name in before
        if after[name] - before[name] != expected[name]
    ]


async def _unproved(rpc: Rpc, plays: Sequence[Play]) -> list[str]:
    wrong = []
    for play in plays:
        landed = await rpc.transaction(play.tx_hash)
        if landed is None or not landed.successful:
            wrong.append(f"{play.outage_id}: the ledger has no successful transaction {play.tx_hash}")
        else:
            play.ledger = landed.ledger
            play.proved = True
        due = f"{play.decision.kind} {play.decision.amount.decimal:.2f} {play.asset}"
        if play.decided != due:
            wrong.append(f"{play.outage_id}: decided {play.decided}, and the guide says {due}")
    return wrong


# What people are shown


def _table(plays: Sequence[Play]) -> Table:
    table = Table("outage", "decision", "amount", "transaction", "ledger", "seconds", title="Paid, once")
    table.columns[3].overflow = "fold"
    for play in plays:
        decision = play.decision
        sign = "over" if decision.violated else "of"
        words = f"{decision.kind}: {play.severity}, {play.minutes} min {sign} {decision.threshold_minutes}"
        table.add_row(
            play.outage_id or "-",
            words,
            f"{decision.amount.brief} {play.asset}" if play.proved else "-",
            play.tx_hash or "-",
            str(play.ledger or "-"),
            f"{play.seconds:.2f}" if play.seconds is not None else "-",
        )
    return table


def _show_links(console: Console, settings: Settings, facts: Mapping[str, Any], plays: Sequence[Play]) -> None:
    rows = [("API", f"{facts['api']}/docs")]
    rows += [
        (f"Workflow of {play.outage_id}", workflow_url(settings, play.outage_id))
        for play in plays
        if play.outage_id
    ]
    rows += [
        (f"Payment of {play.outage_id}", f"{settings.explorer_url}/tx/{play.tx_hash}")
        for play in plays
        if play.tx_hash
    ]
    rows.append(("Mail and webhooks", facts["inbox"]))
    width = max(len(name) for name, _ in rows)
    for name, url in rows:
        # Not in a table: a link that is cut cannot be followed.
        line = Text.assemble((name.ljust(width), "bold"), "  ", (url, f"link {url}"))
        console.print(line, soft_wrap=True)


def workflow_url(settings: Settings, outage_id: str) -> str:
    """The story's page in the Temporal Web UI."""
    workflow = outage_story_id(outage_id).replace(":", "%3A")
    return f"{settings.temporal_ui_url}/namespaces/{settings.temporal_namespace}/workflows/{workflow}"


def _write_result(
    settings: Settings,
    plays: Sequence[Play],
    balances: tuple[Mapping[str, int], Mapping[str, int]],
    *,
    wrong: Sequence[str],
    seconds: float,
) -> None:
    before, after = balances
    result = {
        "ok": not wrong,
        "wrong": list(wrong),
        "seconds": round(seconds, 3),
        "payments": [
            {
                "outage": play.outage_id,
                "severity": play.severity.value,
                "mttr_minutes": play.minutes,
                "decision": play.decision.kind.value,
                "amount": str(play.decision.amount) if play.proved else None,
                "asset": play.asset,
                "tx_hash": play.tx_hash,
                "ledger": play.ledger,
                "seconds": round(play.seconds, 3) if play.seconds is not None else None,
            }
            for play in plays
        ],
        "balances": {
            name: {"before": str(Amount(before[name])), "after": str(Amount(after[name]))}
            for name in before
            if name in after
        },
    }
    write_private(settings.var_dir / "demo.json", json.dumps(result, indent=2) + "\n")
