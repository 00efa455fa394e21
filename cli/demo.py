"""`holdfast demo`: payments, played over HTTP and proved on the ledger, not by our own API."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import aiohttp
from rich.console import Console, RenderableType
from rich.text import Text

from adapters.stellar.rpc import Rpc
from cli.demo_client import Api, DemoError
from cli.demo_outages import OutageAct
from cli.demo_payouts import PayoutAct
from cli.local_signer import available_signers
from cli.stack import Stack
from cli.supervision import write_private
from cli.up import run_up
from cli.up_state import StackError, is_up, read_facts
from domain.errors import HoldfastError
from settings import Settings


class Act(Protocol):
    """One part of the demo."""

    async def play(self, console: Console, api: Api, rpc: Rpc) -> list[str]:
        """Play it; gives a sentence for each thing that is not as it should be."""

    def table(self) -> RenderableType:
        """What came of it, for people."""

    def links(self) -> list[tuple[str, str]]:
        """Where to look further: a name and a URL each."""

    def result(self) -> dict[str, Any]:
        """What came of it, for `demo.json`."""


async def run_demo(settings: Settings, console: Console, *, once: bool) -> int:
    """Play against a running `holdfast up`, else start one. 0 only where every payment is proved."""
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
        status = await _play_and_show(stack.settings, console, read_facts(stack.settings), began)
        return status if once or status else None

    return await run_up(_offering_all(settings, console), console, while_up)


def _offering_all(settings: Settings, console: Console) -> Settings:
    """The settings with every signer on offer that there is on this machine, unless somebody chose."""
    if settings.is_set("payout_signers_offered"):
        return settings
    found = available_signers(settings)
    for signer, missing in found.items():
        if missing:
            console.print(f"Not played: {signer} ({missing}).", style="yellow", highlight=False, soft_wrap=True)
    offered = tuple(signer for signer, missing in found.items() if not missing)
    return settings.model_copy(update={"payout_signers_offered": offered})


async def _play_and_show(settings: Settings, console: Console, facts: Mapping[str, Any], began: float) -> int:
    acts: list[Act] = [OutageAct(settings, facts), PayoutAct(settings, facts)]
    wrong: list[str] = []
    timeout = aiohttp.ClientTimeout(total=20)
    try:
        async with Rpc(facts["rpc"]) as rpc, aiohttp.ClientSession(timeout=timeout) as session:
            api = Api(session, facts["api"], facts["api_key"])
            for act in acts:
                wrong += await act.play(console, api, rpc)
                console.print()
                console.print(act.table())
    except (DemoError, HoldfastError) as error:
        wrong.append(str(error))
    _show_links(console, facts, acts)
    seconds = time.monotonic() - began
    if wrong:
        for sentence in wrong:
            console.print(sentence, style="bold red", highlight=False, soft_wrap=True)
    else:
        sentence = "Every payment is on the ledger, and its balances moved by exactly these amounts"
        console.print(f"{sentence} ({seconds:.1f} s in all).", style="bold green", highlight=False)
    result: dict[str, Any] = {"ok": not wrong, "wrong": wrong, "seconds": round(seconds, 3)}
    for act in acts:
        result |= act.result()
    write_private(settings.var_dir / "demo.json", json.dumps(result, indent=2) + "\n")
    return 1 if wrong else 0


def _show_links(console: Console, facts: Mapping[str, Any], acts: Sequence[Act]) -> None:
    rows = [("API", f"{facts['api']}/docs")]
    for act in acts:
        rows += act.links()
    rows.append(("Mail and webhooks", facts["inbox"]))
    width = max(len(name) for name, _ in rows)
    for name, url in rows:
        # Not in a table: a link that is cut cannot be followed.
        line = Text.assemble((name.ljust(width), "bold"), "  ", (url, f"link {url}"))
        console.print(line, soft_wrap=True)
