"""Bring a database's schema up to date, one process at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import OperationalError

from adapters.database.engine import async_url
from domain.errors import Unavailable

_MIGRATING: Final = 0x486F6C646661_00


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")).replace("%", "%%"))
    return config


def upgrade(url: str) -> None:
    """Apply what is missing; again, or from two processes at once, is harmless.

    Raises:
        Unavailable: the database does not answer.
    """
    engine = create_engine(async_url(url))
    try:
        with engine.begin() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATING})
            config = _config()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except OperationalError as error:
        raise Unavailable("the database does not answer", code="database_unavailable") from error
    finally:
        engine.dispose()


def pending(url: str) -> list[str]:
    """Revisions that the database lacks, in order.

    Raises:
        Unavailable: the database does not answer.
    """
    engine = create_engine(async_url(url))
    try:
        with engine.connect() as connection:
            return pending_on(connection)
    except OperationalError as error:
        raise Unavailable("the database does not answer", code="database_unavailable") from error
    finally:
        engine.dispose()


def pending_on(connection: Connection) -> list[str]:
    """Revisions that the connected database lacks, in order."""
    script = ScriptDirectory.from_config(_config())
    applied = MigrationContext.configure(connection).get_current_heads()
    have = {revision.revision for head in applied for revision in script.iterate_revisions(head, "base")}
    every = [revision.revision for revision in script.iterate_revisions("heads", "base")]
    return [revision for revision in reversed(every) if revision not in have]
