"""Batches: many payments in few contract calls."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from adapters.database import batches_tables as t

revision = "0006_batches"
down_revision = "0005_payouts"
branch_labels = None
depends_on = None

_TABLES = (t.batches, t.chunks, t.batch_rows)


def upgrade() -> None:
    for table in _TABLES:
        table.create(op.get_bind())


def downgrade() -> None:
    """Take the tables away, while no batch was ever asked for."""
    if op.get_bind().execute(sa.select(sa.func.count()).select_from(t.batches)).scalar_one():
        raise RuntimeError("restore a backup instead: a record of batches is never dropped")
    for table in reversed(_TABLES):
        table.drop(op.get_bind())
