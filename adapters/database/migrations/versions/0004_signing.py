"""Signing: requests and signatures, what a settlement knows of them, and what recipients of a list got."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import insert

from adapters.database import settlements_tables as s
from adapters.database import signing_tables as t
from domain.settlement import TRANSITIONS

revision = "0004_signing"
down_revision = "0003_outages"
branch_labels = None
depends_on = None

_COLUMNS = (
    "request_id text",
    "expires_at timestamptz",
    "entry_until bigint",
    "ending jsonb",
    "waits_for text",
    "outcomes bytea",
)


def upgrade() -> None:
    # A database that was made with these tables has the columns and transitions already.
    for column in _COLUMNS:
        op.execute(sa.text(f"ALTER TABLE settlements ADD COLUMN IF NOT EXISTS {column}"))
    op.execute(
        sa.text(
            "CREATE INDEX IF NOT EXISTS ix_settlements_waiting_lanes ON settlements (pin_id)"
            " WHERE status = 'awaiting_signature' AND pin_id IS NOT NULL"
        )
    )
    rows = [{"old": old, "new": new, "why": why} for old, row in TRANSITIONS.items() for new, why in row.items()]
    op.execute(insert(s.settlement_transitions).values(rows).on_conflict_do_nothing())
    for table in (t.signing_requests, t.signing_signatures):
        table.create(op.get_bind())
    op.execute(
        sa.text(
            "CREATE TRIGGER signatures_are_append_only BEFORE UPDATE OR DELETE ON signing_signatures"
            " FOR EACH ROW EXECUTE FUNCTION refuse_change()"
        )
    )


def downgrade() -> None:
    """Money's record is not thrown away."""
    raise NotImplementedError("restore a backup instead: a payment record is never dropped")
