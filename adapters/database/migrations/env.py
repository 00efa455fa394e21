"""Alembic's entry: works on the connection that `adapters.database.migrate` hands over."""

from __future__ import annotations

from alembic import context

from adapters.database.engine import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transaction_per_migration=False,
)
with context.begin_transaction():
    context.run_migrations()
