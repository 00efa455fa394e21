"""A settlement's changes write less: a renewed lease is no change of it, and only new states reach the history."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013_fewer_index_writes"
down_revision = "0012_reasons_in_the_history"
branch_labels = None
depends_on = None

# Where no column that is in an index changes, PostgreSQL writes the row alone, beside where it was. `updated_at`
# is in an index, and says when a settlement changed: that a worker stays at it is no change.
_CHECK_TRANSITION = """
CREATE OR REPLACE FUNCTION settlements_check_transition() RETURNS trigger LANGUAGE plpgsql AS $$
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
    {changed}
  ELSIF NEW.status <> 'accepted' THEN
    RAISE EXCEPTION 'a settlement begins as accepted' USING ERRCODE = 'integrity_constraint_violation';
  END IF;
  RETURN NEW;
END $$
"""
_ALWAYS = "NEW.updated_at := now();"
_UNLESS_RENEWED = """IF NEW.status <> OLD.status OR NEW.lease_until IS NOT DISTINCT FROM OLD.lease_until THEN
      NEW.updated_at := now();
    END IF;"""


def upgrade() -> None:
    """Keep what is asked for, and drop an index that another one holds as well."""
    op.execute(sa.text(_CHECK_TRANSITION.format(changed=_UNLESS_RENEWED)))
    op.execute(sa.text("DROP TRIGGER write_history ON settlements"))
    op.execute(
        sa.text(
            "CREATE TRIGGER write_first_history AFTER INSERT ON settlements"
            " FOR EACH ROW EXECUTE FUNCTION settlements_write_history()"
        )
    )
    op.execute(
        sa.text(
            "CREATE TRIGGER write_history AFTER UPDATE OF status ON settlements"
            " FOR EACH ROW WHEN (NEW.status <> OLD.status) EXECUTE FUNCTION settlements_write_history()"
        )
    )
    # What is in flight is found in ix_settlements_unended, too.
    op.execute(sa.text("DROP INDEX IF EXISTS ix_settlements_in_flight"))
    op.execute(sa.text("ALTER TABLE settlements SET (fillfactor = 70)"))


def downgrade() -> None:
    """As it was before."""
    op.execute(sa.text("ALTER TABLE settlements RESET (fillfactor)"))
    op.execute(
        sa.text(
            "CREATE INDEX ix_settlements_in_flight ON settlements (status)"
            " WHERE status IN ('submitted', 'unknown')"
        )
    )
    op.execute(sa.text("DROP TRIGGER write_first_history ON settlements"))
    op.execute(sa.text("DROP TRIGGER write_history ON settlements"))
    op.execute(
        sa.text(
            "CREATE TRIGGER write_history AFTER INSERT OR UPDATE ON settlements"
            " FOR EACH ROW EXECUTE FUNCTION settlements_write_history()"
        )
    )
    op.execute(sa.text(_CHECK_TRANSITION.format(changed=_ALWAYS)))
