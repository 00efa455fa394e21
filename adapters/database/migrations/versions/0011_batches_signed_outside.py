"""Which of the payer's signers a batch asked for."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011_batches_signed_outside"
down_revision = "0010_forgotten_payments"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # A database that was made with the table as it is now has the column already.
    op.execute(sa.text("ALTER TABLE batches ADD COLUMN IF NOT EXISTS signer varchar(16)"))
    op.execute(sa.text("COMMENT ON COLUMN batches.signer IS 'null: the one that PAYOUT_SIGNER names'"))


def downgrade() -> None:
    op.execute(sa.text("ALTER TABLE batches DROP COLUMN signer"))
