"""The demo's first act: the guide's two outages, decided and paid, and proved on the ledger."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from rich.console import Console, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text
from stellar_sdk import Asset

from activities.story_names import outage_story_id
from adapters.stellar.entries import trustline_key, trustline_state
from adapters.stellar.rpc import Rpc
from cli.demo_client import LOOK_SECONDS, Api, DemoError, workflow_url
from cli.local_people import SITE
from domain.money import Amount
from domain.sla import PaymentKind, Severity, SlaDecision, decide
from settings import Settings

_SECONDS_MAX: Final = 60
_ENDS_BADLY: Final = frozenset({"failed", "refused", "cancelled"})


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


class OutageAct:
    """Plays the two outages, and holds what the ledger shows against the guide's table."""

    def __init__(self, settings: Settings, facts: Mapping[str, Any]) -> None:
        self._settings = settings
        self._facts = facts
        self._plays = guide_examples()
        self._before: dict[str, int] = {}
        self._after: dict[str, int] = {}

    async def play(self, console: Console, api: Api, rpc: Rpc) -> list[str]:
        """Play; gives a sentence for each thing that is not as it should be.

        Raises:
            DemoError: it could not be played to its end.
            HoldfastError: the ledger does not answer.
        """
        self._before = await _balances(rpc, self._facts)
        await _play(console, api, self._plays)
        self._after = await _balances(rpc, self._facts)
        return await _unproved(rpc, self._plays) + _wrong_moves(self._plays, self._before, self._after)

    def table(self) -> Table:
        """What was decided and paid."""
        table = Table("outage", "decision", "amount", "ledger", "seconds", title="Outages: paid, once")
        table.columns[1].overflow = "fold"  # of a hash, nothing is left out
        for play in self._plays:
            decision = play.decision
            sign = "over" if decision.violated else "of"
            words = f"{decision.kind}: {play.severity}, {play.minutes} min {sign} {decision.threshold_minutes}"
            table.add_row(
                play.outage_id or "-",
                words,
                f"{decision.amount.brief} {play.asset}" if play.proved else "-",
                str(play.ledger or "-"),
                f"{play.seconds:.2f}" if play.seconds is not None else "-",
            )
            if play.tx_hash:
                table.add_row("", Text(play.tx_hash, style="dim"), "", "", "")
        return table

    def links(self) -> list[tuple[str, str]]:
        """Where to look further: a name and a URL each."""
        shown = [play for play in self._plays if play.outage_id]
        rows = [
            (f"Workflow of {play.outage_id}", workflow_url(self._settings, outage_story_id(play.outage_id)))
            for play in shown
        ]
        rows += [
            (f"Payment of {play.outage_id}", f"{self._settings.explorer_url}/tx/{play.tx_hash}")
            for play in shown
            if play.tx_hash
        ]
        return rows

    def result(self) -> dict[str, Any]:
        """What `demo.json` says of it."""
        return {
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
                for play in self._plays
            ],
            "balances": {
                name: {"before": str(Amount(self._before[name])), "after": str(Amount(self._after[name]))}
                for name in self._before
                if name in self._after
            },
        }


async def _play(console: Console, api: Api, plays: Sequence[Play]) -> None:
    board = _Board(plays)
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


async def _report(api: Api, play: Play) -> None:
    detected = datetime.now(UTC) - timedelta(minutes=play.minutes)
    body = {"site_name": SITE, "severity": play.severity.value, "detected_at": detected.isoformat()}
    answer = await api.call("POST", "/api/v1/outages", body)
    play.outage_id = str(answer["id"])
    play.stage = "reported"


async def _resolve_and_wait(api: Api, play: Play) -> None:
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
        await asyncio.sleep(LOOK_SECONDS)


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
