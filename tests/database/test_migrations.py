"""The schema's history and what the tables in code say are the same."""

from __future__ import annotations

from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine

import adapters.database.migrations.versions  # noqa: F401
from adapters.database.engine import async_url, metadata
from adapters.database.migrate import pending, upgrade


def test_a_migrated_database_has_nothing_pending_and_upgrading_again_is_harmless(database_url: str) -> None:
    assert pending(database_url) == []
    upgrade(database_url)
    assert pending(database_url) == []


def test_an_empty_database_lacks_every_revision_in_order(postgres_url: str) -> None:
    assert pending(postgres_url)[:2] == ["0001_settlements", "0002_front"]


def test_migrations_make_the_tables_that_the_code_describes(database_url: str) -> None:
    engine = create_engine(async_url(database_url))
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"target_metadata": metadata})
        assert compare_metadata(context, metadata) == []
    engine.dispose()
