"""Who named a wallet that is not the registry's, and so may not approve the payment."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008_named_wallets"
down_revision = "0007_figures"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # A database that was made with the table as it is now has the column already.
    op.execute(sa.text("ALTER TABLE outages ADD COLUMN IF NOT EXISTS wallets_named_by text"))


def downgrade() -> None:
    op.execute(sa.text("ALTER TABLE outages DROP COLUMN wallets_named_by"))
