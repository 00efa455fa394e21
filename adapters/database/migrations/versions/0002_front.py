"""The front: people and keys, registry, idempotency, outbox, audit, switches, wallets."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from adapters.database import audit_tables, outbox_tables, people_tables, registry_tables, wallets_tables

revision = "0002_front"
down_revision = "0001_settlements"
branch_labels = None
depends_on = None

_TABLES = (
    people_tables.people,
    people_tables.api_keys,
    people_tables.idempotency_keys,
    registry_tables.operators,
    registry_tables.sites,
    outbox_tables.events,
    outbox_tables.webhook_endpoints,
    outbox_tables.deliveries,
    audit_tables.audit_log,
    audit_tables.audit_seals,
    audit_tables.deployment,
    wallets_tables.wallets,
)


def upgrade() -> None:
    connection = op.get_bind()
    for table in _TABLES:
        table.create(connection)
    for name in ("audit_log", "audit_seals"):
        op.execute(
            sa.text(
                f"CREATE TRIGGER {name}_is_append_only BEFORE UPDATE OR DELETE ON {name}"
                " FOR EACH ROW EXECUTE FUNCTION refuse_change()"
            )
        )
        op.execute(
            sa.text(
                f"CREATE TRIGGER {name}_is_not_emptied BEFORE TRUNCATE ON {name}"
                " FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
            )
        )


def downgrade() -> None:
    """Money's record is not thrown away."""
    raise NotImplementedError("restore a backup instead: a payment record is never dropped")
