"""A failed try's reason code stays in the history through a retry; the guide's view has seven decimals."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012_reasons_in_the_history"
down_revision = "0011_batches_signed_outside"
branch_labels = None
depends_on = None

_WRITE_HISTORY = """
CREATE OR REPLACE FUNCTION settlements_write_history() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'INSERT' THEN
    INSERT INTO settlement_history (settlement_id, new) VALUES (NEW.id, NEW.status);
  ELSIF NEW.status <> OLD.status THEN
    INSERT INTO settlement_history (settlement_id, old, new, reason{column})
      VALUES (NEW.id, OLD.status, NEW.status, NEW.reason{value});
  END IF;
  RETURN NULL;
END $$
"""

_VIEW = """
CREATE OR REPLACE VIEW transactions AS
SELECT
  coalesce(s.id, p.settlement_id) AS id,
  coalesce(s.kind, 'payout') AS kind,
  p.payout_id,
  CASE WHEN p.payout_id IS NULL THEN s.status ELSE payout_status(p.phase, s.status, s.may_pass) END AS status,
  coalesce(p.destination, s.destination) AS destination,
  {amount} AS amount,
  coalesce(p.asset, s.asset) AS asset,
  coalesce(s.payer, p.payer) AS source_account,
  p.idempotency_key,
  s.tx_hash,
  s.ledger,
  s.fee_charged,
  coalesce(s.tries, 0) AS attempts,
  coalesce(p.reason_code, s.reason_code) AS reason_code,
  coalesce(p.reason, s.reason) AS reason,
  coalesce(p.created_at, s.created_at) AS created_at,
  greatest(p.changed_at, s.updated_at) AS updated_at,
  s.submitted_at,
  s.confirmed_at
FROM settlements s FULL JOIN payouts p ON p.settlement_id = s.id
"""
_AMOUNT = "coalesce(p.amount_units, s.amount_units) / 10000000::numeric"


def upgrade() -> None:
    """Keep the code with each transition, and show amounts with the decimals that Stellar has."""
    # A database that was made with the table as it is now has the column already.
    op.execute(sa.text("ALTER TABLE settlement_history ADD COLUMN IF NOT EXISTS reason_code text"))
    op.execute(sa.text(_WRITE_HISTORY.format(column=", reason_code", value=", NEW.reason_code")))
    op.execute(sa.text(_VIEW.format(amount=f"round({_AMOUNT}, 7)")))


def downgrade() -> None:
    """As it was before."""
    op.execute(sa.text(_VIEW.format(amount=_AMOUNT)))
    op.execute(sa.text(_WRITE_HISTORY.format(column="", value="")))
    op.execute(sa.text("ALTER TABLE settlement_history DROP COLUMN reason_code"))
