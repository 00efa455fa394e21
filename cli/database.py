"""The database of a command: opened when it begins, closed however it ends."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from adapters.database.engine import Database
from settings import Settings

_CONNECTIONS_MAX: Final = 2


@asynccontextmanager
async def open_database(settings: Settings) -> AsyncIterator[Database]:
    """Open the database that the settings name, for one command: two connections at most."""
    database = Database(settings.database_url.get_secret_value(), connections_max=_CONNECTIONS_MAX)
    try:
        yield database
    finally:
        await database.close()
