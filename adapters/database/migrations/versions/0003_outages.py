"""The outage story: outages, decisions, approvals, warnings."""

from __future__ import annotations

from alembic import op
from sqlalchemy import Sequence as SqlSequence
from sqlalchemy.schema import CreateSequence, DropSequence

from adapters.database import outages_tables as t

revision = "0003_outages"
down_revision = "0002_front"
branch_labels = None
depends_on = None

_TABLES = (t.outages, t.decisions, t.approvals, t.warnings)


def upgrade() -> None:
    op.execute(CreateSequence(SqlSequence("outage_numbers")))
    for table in _TABLES:
        table.create(op.get_bind())


def downgrade() -> None:
    for table in reversed(_TABLES):
        table.drop(op.get_bind())
    op.execute(DropSequence(SqlSequence("outage_numbers")))
