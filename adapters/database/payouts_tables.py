"""The table of payouts: what was asked for, and by whom. Where the money is stands in `settlements`."""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    Sequence,
    String,
    Table,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from adapters.database.engine import metadata
from domain.payout import PayoutMode, PayoutPhase

_INSTANT: Final = DateTime(timezone=True)
ENDED: Final = tuple(phase for phase in PayoutPhase if phase.ended)


def _listed(values: tuple[PayoutPhase, ...] | type[PayoutPhase] | type[PayoutMode]) -> str:
    return ", ".join(f"'{value}'" for value in values)


policies: Final = Table(
    "policies",
    metadata,
    Column("version", Integer, Identity(), primary_key=True),
    Column("digest", String(64), nullable=False),
    Column("terms", JSONB, nullable=False),
    Column("since", _INSTANT, nullable=False, server_default=func.now()),
    UniqueConstraint("digest"),
    comment="Every policy that was ever in force. What a version says never changes; a payout names the version"
    " that decided it.",
)

payout_numbers: Final = Sequence("payout_numbers", metadata=metadata)

payouts: Final = Table(
    "payouts",
    metadata,
    Column("payout_id", String(120), primary_key=True),
    Column("number", BigInteger, nullable=False),
    # Kept for good and unique in the deployment, whoever asks: one key is one payout.
    Column("idempotency_key", String(200), nullable=False),
    Column("fingerprint", String(64), nullable=False),
    Column("settlement_id", Text, nullable=False),
    Column("destination", String(69), nullable=False),
    Column("paid_to", String(69), nullable=False),
    Column("amount_units", BigInteger, nullable=False),
    Column("asset", Text, nullable=False),
    Column("token", String(56), nullable=False),
    Column("memo", Text),
    Column("not_before", _INSTANT),
    Column("ordered", Boolean, nullable=False, server_default=text("false")),
    Column("signing", String(16)),
    Column("signer", String(16)),
    Column("build_only", Boolean, nullable=False, server_default=text("false")),
    Column("mode", String(20), CheckConstraint(f"mode IN ({_listed(PayoutMode)})", name="mode"), nullable=False),
    Column("payer", String(56), nullable=False),
    Column("contract", String(56), nullable=False),
    Column(
        "phase", String(20), CheckConstraint(f"phase IN ({_listed(PayoutPhase)})", name="phase"), nullable=False
    ),
    Column("held", Boolean, nullable=False, server_default=text("false")),
    Column("tries", Integer, nullable=False, server_default="1"),
    Column("retry_at", _INSTANT),
    Column("cancel_requested_at", _INSTANT),
    # Of a refusal that the engine never saw; what it saw stands in its own row.
    Column("reason_code", String(64)),
    Column("reason", Text),
    Column("reason_details", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    Column("policy_version", ForeignKey("policies.version"), nullable=False),
    Column("policy", JSONB, nullable=False),
    Column("needs_approval", Boolean, nullable=False, server_default=text("false")),
    Column("why_approval", Text),
    Column("approved_by", Text),
    Column("approved_at", _INSTANT),
    Column("created_by", Text, nullable=False),
    Column("created_at", _INSTANT, nullable=False),
    Column("changed_at", _INSTANT, nullable=False),
    # A command raises `version`; the story writes down which one it saw. A difference that lasts is a wake that
    # was lost, and the sweeper wakes it again.
    Column("version", BigInteger, nullable=False, server_default="1"),
    Column("seen_version", BigInteger, nullable=False, server_default="1"),
    UniqueConstraint("number"),
    UniqueConstraint("idempotency_key"),
    UniqueConstraint("settlement_id"),
    CheckConstraint("amount_units > 0", name="positive"),
    CheckConstraint("approved_by IS NULL OR approved_by <> created_by", name="four_eyes"),
    Index("ix_payouts_unended", "number", postgresql_where=text(f"phase NOT IN ({_listed(ENDED)})")),
    Index(
        "ix_payouts_in_order",
        "payer",
        "number",
        postgresql_where=text(f"ordered AND phase NOT IN ({_listed(ENDED)})"),
    ),
    Index("ix_payouts_destination", "destination", "number"),
    Index("ix_payouts_created_at", "created_at"),
    Index("ix_payouts_failed", "changed_at", postgresql_where=text("phase = 'failed'")),
)
