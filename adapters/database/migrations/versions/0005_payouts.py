"""Payouts and the policies that decide them; what a settlement's change says of its payout, by trigger."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.schema import CreateSequence, DropSequence

from adapters.database import payouts_tables as t

revision = "0005_payouts"
down_revision = "0004_signing"
branch_labels = None
depends_on = None

# The guide's states. A failure that is tried again by itself is not shown as one: it would be taken for final.
_STATUS = """
CREATE FUNCTION payout_status(phase text, status text, may_pass boolean) RETURNS text LANGUAGE sql IMMUTABLE AS $$
  SELECT CASE
    WHEN phase IN ('cancelled', 'failed') THEN phase
    WHEN phase IN ('awaiting_approval', 'due', 'retrying') OR status IS NULL THEN 'accepted'
    WHEN phase = 'settling' AND status = 'failed' AND may_pass THEN 'accepted'
    ELSE status
  END
$$
"""

# Every event of a payout says the same of it, whoever tells: a story, a command, or the trigger below.
_TELL = """
CREATE FUNCTION tell_of_payout(text, text, timestamptz, jsonb) RETURNS void
LANGUAGE sql AS $$
  INSERT INTO events (type, subject, at, data)
  SELECT $2, 'payout:' || p.payout_id, $3, jsonb_strip_nulls(jsonb_build_object(
    'payout_id', p.payout_id,
    'status', payout_status(p.phase, s.status, s.may_pass),
    'mode', p.mode,
    'amount', (p.amount_units / 10000000)::text || '.' || lpad((p.amount_units % 10000000)::text, 7, '0'),
    'asset', p.asset,
    'destination', p.destination,
    'not_before', p.not_before,
    'retry_at', p.retry_at,
    'tx_hash', s.tx_hash,
    'ledger', s.ledger,
    'reason_code', coalesce(p.reason_code, s.reason_code),
    'reason', coalesce(p.reason, s.reason)
  )) || $4
  FROM payouts p LEFT JOIN settlements s ON s.id = p.settlement_id
  WHERE p.payout_id = $1
$$
"""

# In the transaction that changes the settlement, whoever changes it: the walk, the follower, or a signature. The
# story tells of a failure that may pass, since it tries again; who asks for a signature tells of that.
_OF_SETTLEMENT = """
CREATE FUNCTION settlements_tell_of_payouts() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  payout text := substr(NEW.id, 8);
  built boolean := NEW.status = 'built' AND coalesce((NEW.intent->>'build_only')::boolean, false);
  ended text := CASE
    WHEN built OR NEW.status IN ('confirmed', 'cancelled') OR NEW.status = 'failed' AND NOT NEW.may_pass
      THEN NEW.status
  END;
  kind text;
BEGIN
  IF NEW.status <> OLD.status THEN
    IF ended IS NOT NULL THEN
      -- What was to be cancelled and is proved unpaid is cancelled.
      UPDATE payouts SET changed_at = now(), retry_at = NULL, held = false,
          phase = CASE WHEN ended = 'failed' AND cancel_requested_at IS NOT NULL THEN 'cancelled' ELSE ended END
        WHERE payout_id = payout AND phase IN ('settling', 'built')
        RETURNING phase INTO ended;
    END IF;
    kind := CASE
      WHEN ended IS NOT NULL THEN 'payout.' || ended
      WHEN NEW.status = 'submitted' AND OLD.status <> 'unknown' THEN 'payout.submitted'
      WHEN NEW.status = 'queued' AND OLD.status = 'awaiting_signature' THEN 'payout.queued'
    END;
    IF kind IS NOT NULL THEN
      PERFORM tell_of_payout(payout, kind, now(), '{}');
    END IF;
  END IF;
  IF NEW.needs_person IS NOT NULL AND OLD.needs_person IS NULL AND NEW.status IN ('submitted', 'unknown') THEN
    PERFORM tell_of_payout(payout, 'payout.unknown', now(), jsonb_build_object('reason', NEW.needs_person));
  END IF;
  RETURN NULL;
END $$
"""

_TRIGGER = """
CREATE TRIGGER tell_of_payouts AFTER UPDATE OF status, needs_person ON settlements
  FOR EACH ROW WHEN (NEW.kind = 'payout') EXECUTE FUNCTION settlements_tell_of_payouts()
"""

_VIEW = """
CREATE VIEW transactions AS
SELECT
  coalesce(s.id, p.settlement_id) AS id,
  coalesce(s.kind, 'payout') AS kind,
  p.payout_id,
  CASE WHEN p.payout_id IS NULL THEN s.status ELSE payout_status(p.phase, s.status, s.may_pass) END AS status,
  coalesce(p.destination, s.destination) AS destination,
  coalesce(p.amount_units, s.amount_units) / 10000000::numeric AS amount,
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


def upgrade() -> None:
    """Make the tables, the functions over them, and the view that the payout guide's questions are asked of."""
    op.execute(CreateSequence(sa.Sequence("payout_numbers")))
    for table in (t.policies, t.payouts):
        table.create(op.get_bind())
    for statement in (_STATUS, _TELL, _OF_SETTLEMENT, _TRIGGER, _VIEW):
        op.execute(sa.text(statement))


def downgrade() -> None:
    """Take away the view, the functions and the tables, while no payout was ever asked for."""
    if op.get_bind().execute(sa.select(sa.func.count()).select_from(t.payouts)).scalar_one():
        raise RuntimeError("restore a backup instead: a record of payouts is never dropped")
    op.execute("DROP VIEW transactions")
    op.execute("DROP TRIGGER tell_of_payouts ON settlements")
    op.execute("DROP FUNCTION settlements_tell_of_payouts()")
    op.execute("DROP FUNCTION tell_of_payout(text, text, timestamptz, jsonb)")
    op.execute("DROP FUNCTION payout_status(text, text, boolean)")
    for table in (t.payouts, t.policies):
        table.drop(op.get_bind())
    op.execute(DropSequence(sa.Sequence("payout_numbers")))
