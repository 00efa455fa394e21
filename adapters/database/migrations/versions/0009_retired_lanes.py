"""Lanes of a phrase that LANES_MNEMONIC replaced: what is under way on them ends there, and nothing takes them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009_retired_lanes"
down_revision = "0008_named_wallets"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # A database that was made with the table as it is now has all of this already.
    op.execute(sa.text("ALTER TABLE lanes ADD COLUMN IF NOT EXISTS retired boolean NOT NULL DEFAULT false"))
    op.execute(sa.text("ALTER TABLE lanes DROP CONSTRAINT IF EXISTS uq_lanes_number"))
    op.execute(
        sa.text("CREATE UNIQUE INDEX IF NOT EXISTS uq_lanes_number_in_use ON lanes (number) WHERE NOT retired")
    )


def downgrade() -> None:
    # Before there were retired lanes a number was one lane's for good: with some, there is no way back.
    op.execute(sa.text("ALTER TABLE lanes ADD CONSTRAINT uq_lanes_number UNIQUE (number)"))
    op.execute(sa.text("DROP INDEX uq_lanes_number_in_use"))
    op.execute(sa.text("ALTER TABLE lanes DROP COLUMN retired"))
