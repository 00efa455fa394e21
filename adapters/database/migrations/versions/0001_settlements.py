"""The settlement engine: settlements, lanes, pins, attempts, sends; transitions and history by trigger."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from adapters.database import settlements_tables as t
from domain.settlement import TRANSITIONS

revision = "0001_settlements"
down_revision = None
branch_labels = None
depends_on = None

_TABLES = (
    t.ledger_head,
    t.settlements,
    t.settlement_transitions,
    t.settlement_history,
    t.lanes,
    t.pins,
    t.attempts,
    t.sends,
)

_REFUSE_CHANGE = """
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'integrity_constraint_violation';
END $$
"""

_CHECK_TRANSITION = """
CREATE FUNCTION settlements_check_transition() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'UPDATE' THEN
    IF NEW.id <> OLD.id OR NEW.marker_id <> OLD.marker_id THEN
      RAISE EXCEPTION 'a settlement keeps its id and its marker' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF NEW.status <> OLD.status AND NOT EXISTS (
      SELECT 1 FROM settlement_transitions t WHERE t.old = OLD.status AND t.new = NEW.status
    ) THEN
      RAISE EXCEPTION 'settlement %: % cannot become %', OLD.id, OLD.status, NEW.status
        USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    NEW.updated_at := now();
  ELSIF NEW.status <> 'accepted' THEN
    RAISE EXCEPTION 'a settlement begins as accepted' USING ERRCODE = 'integrity_constraint_violation';
  END IF;
  RETURN NEW;
END $$
"""

_WRITE_HISTORY = """
CREATE FUNCTION settlements_write_history() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'INSERT' THEN
    INSERT INTO settlement_history (settlement_id, new) VALUES (NEW.id, NEW.status);
  ELSIF NEW.status <> OLD.status THEN
    INSERT INTO settlement_history (settlement_id, old, new, reason)
      VALUES (NEW.id, OLD.status, NEW.status, NEW.reason);
  END IF;
  RETURN NULL;
END $$
"""


def upgrade() -> None:
    """Make the tables, write the transition table, and set the triggers that enforce it."""
    connection = op.get_bind()
    for table in _TABLES:
        table.create(connection)
    op.bulk_insert(
        t.settlement_transitions,
        [{"old": old, "new": new, "why": why} for old, row in TRANSITIONS.items() for new, why in row.items()],
    )
    op.execute(sa.text(_REFUSE_CHANGE))
    op.execute(sa.text(_CHECK_TRANSITION))
    op.execute(sa.text(_WRITE_HISTORY))
    op.execute(
        sa.text(
            "CREATE TRIGGER check_transition BEFORE INSERT OR UPDATE ON settlements"
            " FOR EACH ROW EXECUTE FUNCTION settlements_check_transition()"
        )
    )
    op.execute(
        sa.text(
            "CREATE TRIGGER write_history AFTER INSERT OR UPDATE ON settlements"
            " FOR EACH ROW EXECUTE FUNCTION settlements_write_history()"
        )
    )
    op.execute(
        sa.text(
            "CREATE TRIGGER history_is_append_only BEFORE UPDATE OR DELETE ON settlement_history"
            " FOR EACH ROW EXECUTE FUNCTION refuse_change()"
        )
    )


def downgrade() -> None:
    """Money's record is not thrown away."""
    raise NotImplementedError("restore a backup instead: a payment record is never dropped")
