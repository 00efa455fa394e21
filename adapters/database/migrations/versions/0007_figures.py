"""Indexes by which figures are read without reading the whole record."""

from __future__ import annotations

from alembic import op
from sqlalchemy import Index

from adapters.database.payouts_tables import payouts
from adapters.database.settlements_tables import settlements

revision = "0007_figures"
down_revision = "0006_batches"
branch_labels = None
depends_on = None

_NAMES = frozenset(
    {
        "ix_settlements_confirmed_at",
        "ix_settlements_failed",
        "ix_settlements_unended",
        "ix_payouts_failed",
    }
)


def _indexes() -> list[Index]:
    return [index for table in (settlements, payouts) for index in table.indexes if index.name in _NAMES]


def upgrade() -> None:
    # A database that was made with these tables has them already.
    for index in _indexes():
        index.create(op.get_bind(), checkfirst=True)


def downgrade() -> None:
    for index in _indexes():
        index.drop(op.get_bind(), checkfirst=True)
