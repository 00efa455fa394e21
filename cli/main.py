"""The `holdfast` command."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Coroutine
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console

from domain.errors import HoldfastError
from settings import Settings, SettingsError, load_settings

app = typer.Typer(
    name="holdfast",
    help="Money that must move exactly once, across machines that fail.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,  # locals hold secrets
)
console = Console()
errors = Console(stderr=True)


def fail(message: str, status: int = 1) -> NoReturn:
    """Say what is wrong and end."""
    errors.print(message, style="bold red", highlight=False, markup=False, soft_wrap=True)
    raise typer.Exit(status)


def settings_or_exit() -> Settings:
    """Read the settings; wrong ones end the command with their names."""
    try:
        return load_settings()
    except SettingsError as error:
        fail(str(error), 2)


def run(work: Coroutine[Any, Any, int]) -> NoReturn:
    """Run to the end and leave with its status."""
    try:
        status = asyncio.run(work)
    except SettingsError as error:
        fail(str(error), 2)
    except HoldfastError as error:
        fail(f"{error.message} ({error.code})")
    sys.stdout.flush()
    sys.stderr.flush()
    raise typer.Exit(status)


@app.command()
def up() -> None:
    """Start everything on this machine, and keep it running until Ctrl-C.

    PostgreSQL, Temporal with its Web UI, the ledger, the inbox, a worker and the API; what DATABASE_URL,
    TEMPORAL_ADDRESS and STELLAR_NETWORK name elsewhere is used instead. A later `up` resumes the same state.
    """
    from cli.up import run_up  # noqa: PLC0415 - commands load what they need

    run(run_up(settings_or_exit(), console))


@app.command()
def reset(yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False) -> None:
    """Clear all local state: database, ledger, Temporal, inbox and local keys."""
    from cli.up import reset as clear  # noqa: PLC0415
    from cli.up_state import StackError  # noqa: PLC0415

    settings = settings_or_exit()
    directory = os.path.relpath(settings.var_dir)
    if not yes:
        typer.confirm(f"Clear the local database, ledger, Temporal, inbox and keys in {directory}/?", abort=True)
    try:
        clear(settings)
    except StackError as error:
        fail(str(error))
    console.print(f"Cleared {directory}/.")


if __name__ == "__main__":
    app()
