"""Payments that a reconcile found on the ledger and not in the record: their ids were used."""

from __future__ import annotations

from alembic import op

from adapters.database.settlements_tables import forgotten_payments

revision = "0010_forgotten_payments"
down_revision = "0009_retired_lanes"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # A database that was made with the tables as they are now has it already.
    forgotten_payments.create(op.get_bind(), checkfirst=True)


def downgrade() -> None:
    forgotten_payments.drop(op.get_bind())
