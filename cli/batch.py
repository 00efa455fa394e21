"""`holdfast batch`: check a payment file, pay it, follow it, and fetch its report; as any client of the API."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import aiohttp
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from domain.errors import HoldfastError, Refused, Unavailable

_LOOK_SECONDS: Final = 0.5
_AWAY_LOOKS_MAX: Final = 60
"""So many looks without an answer before the watch is given up; the batch goes on by itself."""
_LEFT: Final = 130
"""Left by Ctrl-C, as shells say it: not 0, since nobody knows yet whether every row will be paid."""
_SHOWN_MAX: Final = 20
_CONTENT_TYPES: Final = {".json": "application/json"}
_ENDED: Final = frozenset({"completed", "cancelled"})
_WAITS: Final = {
    "awaiting_approval": "another person approves it: POST /api/v1/batches/{id}/approve",
    "paused": "`holdfast batch resume {id}` lets it go on",
    "stopped": "mend the reason, then `holdfast batch resume {id}`",
}


@dataclass(frozen=True, slots=True)
class Target:
    """Where the API answers, and the key for it."""

    url: str
    key: str | None


class BatchApi:
    """The API's batches; use it as an async context manager. The key goes into a header and nowhere else."""

    def __init__(self, target: Target) -> None:
        self._url = target.url.rstrip("/")
        self._headers = {} if target.key is None else {"Authorization": f"Bearer {target.key}"}

    async def __aenter__(self) -> Self:
        timeout = aiohttp.ClientTimeout(total=None, connect=5, sock_read=120)
        self._session = aiohttp.ClientSession(timeout=timeout)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def call(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        file: Path | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Call the API; `file` is sent as it is read.

        Raises:
            Refused: the server says no.
            Unavailable: it does not answer.
        """
        content = {} if file is None else {"Content-Type": _CONTENT_TYPES.get(file.suffix.lower(), "text/csv")}
        body = None if file is None else file.open("rb")
        try:
            async with self._session.request(
                method,
                f"{self._url}/api/v1/batches{path}",
                params=params,
                data=body,
                headers={**self._headers, **content, **(headers or {})},
            ) as response:
                # Amounts are JSON numbers; as decimals they stay exact.
                answer = json.loads(await response.text(), parse_float=Decimal)
                status = response.status
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
            raise Unavailable(f"{self._url} gives no answer ({type(error).__name__})") from error
        finally:
            if body is not None:
                body.close()
        if status >= 400 or not isinstance(answer, dict):
            raise _refusal(status, answer if isinstance(answer, dict) else {})
        return answer

    async def report(self, batch_id: str, status: str | None, write: Callable[[bytes], object]) -> None:
        """Fetch the report, piece by piece.

        Raises:
            Refused: the server says no.
            Unavailable: it does not answer, or not to the end.
        """
        try:
            async with self._session.get(
                f"{self._url}/api/v1/batches/{batch_id}/report.csv",
                params={} if status is None else {"status": status},
                headers=self._headers,
            ) as response:
                if response.status >= 400:
                    raise _refusal(response.status, json.loads(await response.text()))
                async for block in response.content.iter_chunked(65_536):
                    write(block)
        except (TimeoutError, aiohttp.ClientError, ValueError) as error:
            raise Unavailable(f"{self._url} gives no answer ({type(error).__name__})") from error


def _refusal(status: int, answer: Mapping[str, Any]) -> HoldfastError:
    lines = [str(answer.get("detail") or f"the API answered {status}")]
    lines += [f"  {error.get('field')}: {error.get('message')}" for error in answer.get("errors") or ()]
    words = "\n".join(lines)
    return Unavailable(words) if status in {429, 502, 503, 504} else Refused(words)


@dataclass(frozen=True, slots=True)
class PaymentFile:
    """A file, and what holds for the whole of it."""

    path: Path
    asset: str | None
    name: str
    refuse_bad: bool = False
    signer: str | None = None
    signing: str | None = None

    @property
    def params(self) -> dict[str, str]:
        """The query that goes with CSV; JSON says it itself."""
        if self.path.suffix.lower() == ".json":
            return {}
        given = {"name": self.name, "on_bad_rows": "refuse" if self.refuse_bad else "skip"}
        more = {"asset": self.asset, "signer": self.signer, "signing": self.signing}
        return given | {name: value for name, value in more.items() if value}

    @property
    def key(self) -> str:
        """The same file under the same name is the same batch: sent again, it is joined and not paid again."""
        digest = hashlib.sha256()
        with self.path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
        # What was not said stands not in the key either.
        more = [f"{name}={value}" for name, value in (("signer", self.signer), ("signing", self.signing)) if value]
        for part in (self.asset or "", self.name, str(self.refuse_bad), *more):
            digest.update(f"\0{part}".encode())
        return f"file:{digest.hexdigest()}"


async def check(target: Target, console: Console, file: PaymentFile) -> int:
    """Say what a file comes to; nothing is recorded. 1 where a row is bad."""
    async with BatchApi(target) as api:
        found = await api.call("POST", "/check", params=file.params, file=file.path)
    _show_check(console, found)
    return 1 if found["bad"] else 0


async def pay(
    target: Target, console: Console, file: PaymentFile, *, agree: Callable[[str], bool] | None, follow: bool
) -> int:
    """Check a file, ask, send it, and follow it to its end; the same file again joins the same batch."""
    key = {"Idempotency-Key": file.key}
    async with BatchApi(target) as api:
        found = await api.call("POST", "/check", params=file.params, file=file.path, headers=key)
        _show_check(console, found)
        good = found["rows"] - found["bad"]
        question = f"Pay {good:,} rows, {found['amount']:,f} {_short(found['asset'])} in all?"
        if found["sent_before"]:
            console.print("This file was sent before: its batch is joined, and nothing is paid again.")
        elif agree is not None and good and not agree(question):
            console.print("Nothing was sent.")
            return 1
        batch = await api.call("POST", "", params=file.params, file=file.path, headers=key)
        console.print(f"Batch [bold]{batch['id']}[/bold]: {batch['sentence']}", highlight=False)
        return await _watch(api, console, batch["id"]) if follow else 0


async def watch(target: Target, console: Console, batch_id: str) -> int:
    """Join a batch that is under way. 0 where every row that was not bad is paid."""
    async with BatchApi(target) as api:
        return await _watch(api, console, batch_id)


async def act(target: Target, console: Console, batch_id: str, action: str) -> int:
    """Pause, resume, cancel or retry."""
    async with BatchApi(target) as api:
        batch = await api.call("POST", f"/{batch_id}/{action}")
    console.print(f"{batch_id}: {batch['sentence']}", highlight=False, soft_wrap=True)
    return 0


async def report(target: Target, console: Console, batch_id: str, *, out: Path | None, status: str | None) -> int:
    """Write what became of each row, as CSV: to a file, or to standard output."""
    async with BatchApi(target) as api:
        if out is None:
            await api.report(batch_id, status, lambda block: console.file.write(block.decode()))
            return 0
        with out.open("wb") as file:
            await api.report(batch_id, status, file.write)
    console.print(f"Written to {out}.", highlight=False)
    return 0


async def list_batches(target: Target, console: Console) -> int:
    """Show the newest batches."""
    async with BatchApi(target) as api:
        found = await api.call("GET", "")
    table = Table("id", "name", "status", "paid", "failed", "bad", "rows", "amount", "asset")
    table.columns[0].no_wrap = True  # it is what `batch watch` takes
    for batch in found["batches"]:
        counts = batch["counts"]
        figures = (counts["paid"], counts["failed"], counts["bad"], counts["rows"])
        table.add_row(
            batch["id"],
            Text(batch["name"]),
            batch["status"],
            *(f"{figure:,}" for figure in figures),
            f"{batch['amount']:,f}",
            Text(_short(batch["asset"])),
        )
    console.print(table)
    return 0


async def _watch(api: BatchApi, console: Console, batch_id: str) -> int:
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[more]}", style="dim"),
        TimeElapsedColumn(),
        console=console,
        disable=not console.is_terminal,
    )
    try:
        with progress:
            batch = await _follow(api, console, progress, batch_id)
    except asyncio.CancelledError:
        # Ctrl-C leaves the watch, and nothing else.
        console.print(
            f"Left. The batch goes on by itself; join it again with `holdfast batch watch {batch_id}`.",
            highlight=False,
            soft_wrap=True,
        )
        return _LEFT
    return _show_end(console, batch)


async def _follow(api: BatchApi, console: Console, progress: Progress, batch_id: str) -> dict[str, Any]:
    task = progress.add_task(batch_id, total=None, more="")
    away, told = 0, ""
    while True:
        try:
            batch = await api.call("GET", f"/{batch_id}")
        except Unavailable:
            away += 1
            if away >= _AWAY_LOOKS_MAX:
                raise
            await asyncio.sleep(_LOOK_SECONDS)
            continue
        away = 0
        counts = batch["counts"]
        done = counts["paid"] + counts["failed"] + counts["cancelled"]
        more = f"{counts['sending']:,} being sent, {counts['failed']:,} failed, {counts['bad']:,} bad"
        if awaited := batch["awaiting_signature"]:
            more += f"; {awaited:,} calls wait for a signature (`holdfast sign`)"
        progress.update(task, completed=done, total=counts["rows"] - counts["bad"], more=more)
        line = f"{batch['status']}: {counts['paid']:,} of {counts['rows']:,} rows paid, {more}"
        if not console.is_terminal and line != told:
            told = line
            console.print(line, highlight=False, soft_wrap=True)
        # What is with the engine is followed to its end, also where nothing more is sent; not for days.
        if batch["status"] in _ENDED or (batch["status"] in _WAITS and (awaited or not counts["sending"])):
            return batch
        await asyncio.sleep(_LOOK_SECONDS)


def _show_end(console: Console, batch: Mapping[str, Any]) -> int:
    counts = batch["counts"]
    summary = (
        f"{counts['paid']:,} rows paid, {batch['paid_amount']:,f} {_short(batch['asset'])}; "
        f"{counts['failed']:,} failed, {counts['bad']:,} bad, {counts['cancelled']:,} cancelled"
    )
    console.print(f"{batch['status']}: {summary}", highlight=False, soft_wrap=True)
    if batch["status"] not in _ENDED:
        console.print(batch["sentence"], highlight=False, soft_wrap=True)
        waits = _WAITS[batch["status"]].format(id=batch["id"])
        console.print(
            f"Next: {waits}; then `holdfast batch watch {batch['id']}`.", highlight=False, soft_wrap=True
        )
        return 1
    console.print(f"The report: `holdfast batch report {batch['id']}`", style="dim", highlight=False)
    return 1 if counts["failed"] or counts["cancelled"] else 0


def _show_check(console: Console, found: Mapping[str, Any]) -> None:
    good = found["rows"] - found["bad"]
    console.print(
        f"{good:,} of {found['rows']:,} rows can be paid: {found['amount']:,f} {_short(found['asset'])} in "
        f"{found['calls']:,} contract calls.",
        highlight=False,
        soft_wrap=True,
    )
    if not found["bad"]:
        return
    table = Table("line", "field", "what is not right", title=f"{found['bad']:,} bad rows are never paid")
    for row in found["bad_rows"][:_SHOWN_MAX]:
        table.add_row(str(row["line"]), Text(row["field"]), Text(row["message"]))
    console.print(table)
    if len(found["bad_rows"]) > _SHOWN_MAX or found["bad"] > _SHOWN_MAX:
        console.print("All of them are in the report.", style="dim")


def _short(asset: str) -> str:
    """An asset's code without its issuer."""
    return asset.partition(":")[0]
