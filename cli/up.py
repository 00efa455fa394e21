"""`holdfast up` and `holdfast reset`."""

from __future__ import annotations

import asyncio
import shutil
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from cli.progress import StartProgress
from cli.stack import Facts, Stack
from cli.up_state import AlreadyUpError, Lock, StackError
from localnet.parts import PartError, build_ledger, ledger_binary
from settings import Settings

While = Callable[[Stack], Awaitable[int | None]]
"""What is done once everything is up; its answer is the exit status, or None to stay up until Ctrl-C."""


async def run_up(settings: Settings, console: Console, while_up: While | None = None) -> int:
    """Start all parts, then do `while_up`, or stay until Ctrl-C; stop all parts. Gives the exit status."""
    if settings.starts_ledger and not ledger_binary().exists():
        console.print("Building the local ledger, once (about two minutes) …")
        try:
            await asyncio.to_thread(build_ledger)
        except PartError as error:
            console.print(f"[bold red]{error}[/]")
            return 1
    progress = StartProgress(console)
    stack = Stack(settings, progress)
    told_to_stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, told_to_stop.set)
    try:
        with progress:
            started = await _unless(told_to_stop, stack.start())
        if started is None:
            console.print("Stopped.")
            return 130
        console.print(_summary(stack.facts), soft_wrap=True)
        return await _stay(stack, told_to_stop, while_up, console)
    except AlreadyUpError as error:
        console.print(str(error), highlight=False, soft_wrap=True)
        return 1
    except StackError as error:
        console.print(str(error), style="bold red", highlight=False, markup=False, soft_wrap=True)
        return 1
    finally:
        await stack.stop()


async def _unless(stop: asyncio.Event, work: Awaitable[None]) -> bool | None:
    """True when the work is done; None where it was told to stop first."""
    task = asyncio.ensure_future(work)
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        stopping.cancel()
        task.result()
        return True
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return None


async def _stay(stack: Stack, told: asyncio.Event, while_up: While | None, console: Console) -> int:
    watching = asyncio.create_task(stack.watch())
    stopping = asyncio.create_task(told.wait())
    tasks: list[asyncio.Future[Any]] = [watching, stopping]
    try:
        if while_up is not None:
            work = asyncio.ensure_future(while_up(stack))
            tasks.append(work)
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if work.done() and (status := work.result()) is not None:
                return status
            if stopping.done() and not work.done():
                return 130
        console.print("Ctrl-C stops everything; `holdfast up` resumes it.", style="dim")
        await asyncio.wait([watching, stopping], return_when=asyncio.FIRST_COMPLETED)
        if watching.done():
            watching.result()  # raises: the supervisor is gone
        console.print("Stopping …", style="dim")
        return 0
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _summary(facts: Facts) -> Table:
    table = Table.grid(padding=(0, 2))
    urls = facts.urls
    rows = {
        "API": f"{urls['api']}/docs",
        "Temporal": urls["temporal_ui"],
        "Ledger": urls["rpc"],
        "Inbox": urls["inbox"],
    }
    for name, url in rows.items():
        if url:
            table.add_row(f"[bold]{name}[/]", f"[link={url}]{url}[/link]")
    if facts.deployed is not None:
        table.add_row("[bold]SLA contract[/]", facts.deployed.sla)
    return table


def reset(settings: Settings) -> None:
    """Clear all local state.

    Raises:
        StackError: it is up.
    """
    lock = Lock(settings.var_dir)
    if not lock.take():
        raise StackError("Holdfast is up here: stop it first (Ctrl-C), then reset.")
    try:
        for path in _state(settings.var_dir):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
    finally:
        lock.release()


def _state(directory: Path) -> list[Path]:
    """What `up` made; whatever else lies there is left alone."""
    names = (
        "postgres",
        "temporal",
        "ledger",
        "inbox",
        "kms",
        "softhsm",
        "secrets",
        "run",
        "log",
        "up.json",
        "demo.json",
    )
    return [directory / name for name in names if (directory / name).exists()]
