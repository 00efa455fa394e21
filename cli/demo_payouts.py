"""The demo's second act: payouts, built only and with any signer, and a batch in which three rows are bad."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text
from stellar_sdk import Keypair

from adapters.stellar.entries import account_key
from adapters.stellar.rpc import Rpc
from cli.demo_client import LOOK_SECONDS, Api, DemoError, workflow_url
from cli.demo_signer import DemoSigner
from domain.money import Amount
from settings import PayoutSigner, Settings

_SECONDS_MAX: Final = 90
_ENDS_BADLY: Final = frozenset({"failed", "cancelled"})
_RECIPIENTS: Final = 10
_ROWS: Final = 200
_WAIT_SECONDS: Final = 2.0
"""How long the payout that a person signs is left waiting, so that one sees that nothing moves meanwhile."""


@dataclass(slots=True)
class Play:
    """One payout: what was asked, and what came of it."""

    title: str
    amount: Amount
    to: str
    body: Mapping[str, Any]
    payout_id: str = ""
    stage: str = "asking"
    began: float | None = None
    seconds: float | None = None
    status: str = ""
    tx_hash: str = ""
    ledger: int = 0
    note: str = ""

    @property
    def sent(self) -> bool:
        """Whether money is to move."""
        return self.body.get("mode") != "build_only"


@dataclass(slots=True)
class BatchPlay:
    """The batch: the rows, and what is known of them."""

    rows: list[tuple[str, Amount | str, str]]
    bad: frozenset[int]
    batch_id: str = ""
    stage: str = "waiting for its turn"
    began: float | None = None
    seconds: float | None = None
    counts: dict[str, int] = field(default_factory=dict)
    calls: int = 0
    reasons: list[str] = field(default_factory=list)
    hashes: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Board:
    """The payouts on their way, live."""

    plays: Sequence[Play]
    batch: BatchPlay
    spinner: Spinner = field(default_factory=lambda: Spinner("dots", style="cyan"))

    def __rich__(self) -> RenderableType:
        table = Table.grid(padding=(0, 2))
        for play in self.plays:
            table.add_row(*self._row(f"{play.title}, {play.amount.brief} XLM", play))
        table.add_row(*self._row(f"a batch of {len(self.batch.rows)} rows", self.batch))
        return table

    def _row(self, title: str, play: Play | BatchPlay) -> tuple[RenderableType, ...]:
        done = play.seconds is not None
        mark: RenderableType = Text("✓", style="bold green") if done else self.spinner
        spent = ""
        if play.began is not None:
            spent = f"{play.seconds if play.seconds is not None else time.monotonic() - play.began:.1f} s"
        style = "dim" if done else "cyan"
        return mark, Text(title, style="bold"), Text(play.stage, style=style), Text(spent, justify="right")


class PayoutAct:
    """Plays payouts over HTTP, and holds the recipients' balances on the ledger against what was asked."""

    def __init__(self, settings: Settings, facts: Mapping[str, Any]) -> None:
        self._settings = settings
        self._facts = facts
        self._recipients = [Keypair.random().public_key for _ in range(_RECIPIENTS)]
        self._run = uuid.uuid4().hex[:8]
        self._signer = DemoSigner(settings, facts)
        self._plays = self._asked()
        self._batch = self._rows()
        self._moved: dict[str, int] = {}

    def _asked(self) -> list[Play]:
        offered = self._facts["signing_keys"]
        plays = [Play("built only", Amount.of(100), self._recipients[0], {"mode": "build_only"})]
        if PayoutSigner.HOT in offered:
            plays.append(Play("by a hot key", Amount.of(25), self._recipients[1], {"signer": "hot"}))
        if PayoutSigner.KMS in offered:
            plays.append(Play("by a key in AWS KMS", Amount.of(50), self._recipients[2], {"signer": "kms"}))
        if PayoutSigner.EXTERNAL in offered:
            title = f"by a person with {self._signer.kind}"
            plays.append(Play(title, Amount.of(75), self._recipients[3], {"signer": "external"}))
        return plays

    def _rows(self) -> BatchPlay:
        rows: list[tuple[str, Amount | str, str]] = [
            (self._recipients[number % _RECIPIENTS], Amount(10_000_000 + number * 1_000), f"INV-{number + 1:04}")
            for number in range(_ROWS)
        ]
        # A misspelt address, an amount finer than the ledger's, and too little to make a new account of.
        rows[49] = (rows[49][0][:-1] + ("A" if rows[49][0][-1] != "A" else "B"), rows[49][1], rows[49][2])
        rows[119] = (rows[119][0], "1.00000001", rows[119][2])
        rows[169] = (Keypair.random().public_key, Amount(5_000_000), rows[169][2])
        return BatchPlay(rows, frozenset({49, 119, 169}))

    async def play(self, console: Console, api: Api, rpc: Rpc) -> list[str]:
        """Play; gives a sentence for each thing that is not as it should be.

        Raises:
            DemoError: it could not be played to its end.
            HoldfastError: the ledger does not answer.
        """
        board = _Board(self._plays, self._batch)
        with Live(board, console=console, refresh_per_second=12, transient=True):
            await self._make_recipients(rpc)
            before = await self._balances(rpc)
            try:
                async with asyncio.timeout(_SECONDS_MAX), asyncio.TaskGroup() as group:
                    for play in self._plays:
                        group.create_task(self._pay(api, play))
                    group.create_task(self._pay_batch(api))
            except TimeoutError:
                stages = ", ".join(f"{play.title}: {play.stage}" for play in self._plays)
                raise DemoError(
                    f"not over within {_SECONDS_MAX} s: {stages}, batch: {self._batch.stage}"
                ) from None
            except BaseExceptionGroup as errors:
                raise next(e for e in errors.exceptions if not isinstance(e, asyncio.CancelledError)) from None
            after = await self._balances(rpc)
        self._moved = {address: after[address] - before[address] for address in self._recipients}
        return self._wrong_moves() + await self._unproved(rpc)

    async def _make_recipients(self, rpc: Rpc) -> None:
        """New accounts from friendbot; all of one ledger close are made together."""
        url = self._facts["friendbot"]

        async def make(session: aiohttp.ClientSession, address: str) -> None:
            async with session.get(url, params={"addr": address}) as response:
                if response.status >= 400:
                    raise DemoError(f"friendbot answered {response.status} for {address}")

        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as session:
            await asyncio.gather(*(make(session, address) for address in self._recipients))
        while True:
            if len(await self._found(rpc)) == len(self._recipients):
                return
            await asyncio.sleep(LOOK_SECONDS)

    async def _found(self, rpc: Rpc) -> dict[str, int]:
        keys = {address: account_key(address) for address in self._recipients}
        found = (await rpc.ledger_entries(list(keys.values()))).by_key
        entries = {address: found.get(key.to_xdr()) for address, key in keys.items()}
        return {
            address: entry.data.account.balance.int64
            for address, entry in entries.items()
            if entry is not None and entry.data.account is not None
        }

    async def _balances(self, rpc: Rpc) -> dict[str, int]:
        """XLM of the recipients, in units of 10⁻⁷."""
        found = await self._found(rpc)
        if len(found) < len(self._recipients):
            raise DemoError("a recipient is not on the ledger")
        return found

    # One payout

    async def _pay(self, api: Api, play: Play) -> None:
        play.payout_id = f"demo-{self._run}-{play.body.get('signer') or play.body.get('mode')}"
        play.began = time.monotonic()
        asked = {
            "payout_id": play.payout_id,
            "destination_account": play.to,
            "amount": str(play.amount),
            "asset": "XLM",
            "idempotency_key": f"{play.payout_id}:once",
            **play.body,
        }
        created = await api.call("POST", "/api/v1/payouts", asked)
        signed: asyncio.Task[str] | None = None
        while True:
            payout = created["transaction"]
            play.stage = str(payout["status"]).replace("_", " ")
            if play.stage in _ENDS_BADLY:
                reason = payout.get("reason") or "no reason given"
                raise DemoError(f"{play.payout_id} ended {play.stage}: {reason}")
            if not play.sent and play.stage == "built":
                play.note = f"unsigned XDR, {len(created['unsigned_xdr'])} characters; nothing was sent"
                break
            if play.stage == "confirmed":
                play.tx_hash, play.ledger = str(payout["tx_hash"]), int(payout["ledger"])
                break
            if play.stage == "awaiting signature" and signed is None:
                signed = asyncio.create_task(self._sign_later(play))
            await asyncio.sleep(LOOK_SECONDS)
            created = await api.call("GET", f"/api/v1/payouts/{play.payout_id}")
        if signed is not None:
            play.note = await signed
        play.status = play.stage
        play.seconds = time.monotonic() - play.began

    async def _sign_later(self, play: Play) -> str:
        await asyncio.sleep(_WAIT_SECONDS)
        return await self._signer.sign(play.payout_id, play.amount)

    # The batch

    async def _pay_batch(self, api: Api) -> None:
        batch = self._batch
        batch.began = time.monotonic()
        rows = [
            {"destination": to, "amount": str(amount), "reference": reference}
            for to, amount, reference in batch.rows
        ]
        body = {"asset": "XLM", "name": f"demo {self._run}", "on_bad_rows": "skip", "rows": rows}
        answer = await api.call("POST", "/api/v1/batches", body)
        batch.batch_id = str(answer["id"])
        while True:
            batch.counts, batch.calls = answer["counts"], int(answer["calls"])
            batch.stage = f"{batch.counts['paid']} paid in {batch.calls} calls, {batch.counts['bad']} bad"
            if answer["status"] == "completed":
                break
            if answer["status"] in {"stopped", "cancelled", "awaiting_approval"}:
                raise DemoError(f"batch {batch.batch_id} is {answer['status']}: {answer['sentence']}")
            await asyncio.sleep(LOOK_SECONDS)
            answer = await api.call("GET", f"/api/v1/batches/{batch.batch_id}")
        batch.seconds = time.monotonic() - batch.began
        page = await api.call("GET", f"/api/v1/batches/{batch.batch_id}/rows?limit=1000")
        batch.reasons = [f"line {row['line']}: {row['reason']}" for row in page["rows"] if row["status"] != "paid"]
        batch.hashes = sorted({str(row["tx_hash"]) for row in page["rows"] if row["status"] == "paid"})

    # The proof: the ledger itself, not our API

    def _wrong_moves(self) -> list[str]:
        due = dict.fromkeys(self._recipients, 0)
        for play in self._plays:
            due[play.to] += play.amount.units if play.sent else 0
        for number, (to, amount, _) in enumerate(self._batch.rows):
            if number not in self._batch.bad and isinstance(amount, Amount):
                due[to] += amount.units
        wrong = [
            f"{address} got {Amount(self._moved[address])} XLM, and {Amount(due[address])} was due"
            for address in self._recipients
            if self._moved[address] != due[address]
        ]
        told = {"paid": _ROWS - len(self._batch.bad), "not paid": len(self._batch.bad)}
        paid = self._batch.counts["paid"]
        unpaid = self._batch.counts["bad"] + self._batch.counts["failed"]
        if (paid, unpaid) != (told["paid"], told["not paid"]):
            wrong.append(f"the batch says {paid} paid and {unpaid} not, and {told} was due")
        return wrong

    async def _unproved(self, rpc: Rpc) -> list[str]:
        hashes = [play.tx_hash for play in self._plays if play.tx_hash] + self._batch.hashes
        landed = await asyncio.gather(*(rpc.transaction(tx_hash) for tx_hash in hashes))
        return [
            f"the ledger has no successful transaction {tx_hash}"
            for tx_hash, found in zip(hashes, landed, strict=True)
            if found is None or not found.successful
        ]

    # What people are shown

    def table(self) -> RenderableType:
        """What was asked and paid, and why a row was not."""
        table = Table("payout", "amount", "outcome", "ledger", "seconds", title="Payouts: paid, once")
        for play in self._plays:
            seconds = "-" if play.seconds is None else f"{play.seconds:.2f}"
            table.add_row(
                play.title, f"{play.amount.brief} XLM", play.status or "-", str(play.ledger or "-"), seconds
            )
        batch = self._batch
        seconds = "-" if batch.seconds is None else f"{batch.seconds:.2f}"
        table.add_row(f"a batch of {len(batch.rows)} rows", "", batch.stage, "", seconds)
        notes = [f"{play.title}: {play.note}" for play in self._plays if play.note]
        notes += [f"not paid, {reason}" for reason in batch.reasons]
        return Group(table, *(Text(note, style="dim") for note in notes))

    def links(self) -> list[tuple[str, str]]:
        """Where to look further: a name and a URL each."""
        rows = []
        for play in self._plays:
            if play.tx_hash:
                rows.append((f"Payout {play.title}", f"{self._settings.explorer_url}/tx/{play.tx_hash}"))
        if self._batch.batch_id:
            rows.append(("Workflow of the batch", workflow_url(self._settings, f"batch:{self._batch.batch_id}")))
        return rows

    def result(self) -> dict[str, Any]:
        """What `demo.json` says of it."""
        batch = self._batch
        return {
            "payouts": [
                {
                    "payout": play.payout_id,
                    "signer": play.body.get("signer"),
                    "amount": str(play.amount),
                    "asset": "XLM",
                    "status": play.status,
                    "tx_hash": play.tx_hash or None,
                    "ledger": play.ledger or None,
                    "seconds": None if play.seconds is None else round(play.seconds, 3),
                }
                for play in self._plays
            ],
            "batch": {
                "id": batch.batch_id,
                "rows": len(batch.rows),
                "counts": batch.counts,
                "calls": batch.calls,
                "not_paid": batch.reasons,
                "seconds": None if batch.seconds is None else round(batch.seconds, 3),
            },
        }
