"""What every command needs: where it prints, how it fails, and the settings it was given."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from typing import Any, NoReturn

import typer
from rich.console import Console

from domain.errors import HoldfastError
from settings import Settings, SettingsError, load_settings

console = Console()
errors = Console(stderr=True)


def fail(message: str, status: int = 1) -> NoReturn:
    """Say what is wrong and end."""
    errors.print(message, style="bold red", highlight=False, markup=False, soft_wrap=True)
    raise typer.Exit(status)


def settings_or_exit(**values: Any) -> Settings:
    """Read the settings, with `values` above them; wrong ones end the command with their names."""
    try:
        return load_settings(**values)
    except SettingsError as error:
        fail(str(error), 2)


def local_settings_or_exit() -> Settings:
    """Read the settings as the local worker sees them: with the secrets and ids that `holdfast up` made."""
    from cli.local_secrets import with_local  # noqa: PLC0415

    settings = settings_or_exit()
    try:
        return with_local(settings)
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
