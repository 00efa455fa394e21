"""Tables of the outage story: outages, decisions, approvals and the warnings that were told."""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    Sequence,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from adapters.database.engine import metadata
from domain.outage import OutageStatus
from domain.sla import PaymentKind, Rating, Severity
from domain.sla_payment import PaymentPhase


def _one_of(column: str, values: type[OutageStatus | PaymentPhase | Severity | PaymentKind | Rating]) -> str:
    listed = ", ".join(f"'{value}'" for value in values)
    return f"{column} IN ({listed})"


outage_numbers: Final = Sequence("outage_numbers", metadata=metadata)

outages: Final = Table(
    "outages",
    metadata,
    Column("outage_id", String(32), primary_key=True),
    Column("number", BigInteger, nullable=False, unique=True),
    Column("site_name", Text, nullable=False),
    Column("description", Text, nullable=False, server_default=""),
    Column(
        "severity", String(16), CheckConstraint(_one_of("severity", Severity), name="severity"), nullable=False
    ),
    Column("status", String(16), CheckConstraint(_one_of("status", OutageStatus), name="status"), nullable=False),
    Column("operator_id", Text),
    Column("operator_wallet", String(56)),
    Column("noc_team_wallet", String(56)),
    # Who last named a wallet that is not the registry's: that person may not approve the payment.
    Column("wallets_named_by", Text),
    Column("detected_at", DateTime(timezone=True), nullable=False),
    Column("reported_at", DateTime(timezone=True), nullable=False),
    Column("reported_by", Text, nullable=False),
    Column("acknowledged_at", DateTime(timezone=True)),
    Column("acknowledged_by", Text),
    Column("resolved_at", DateTime(timezone=True)),
    Column("resolved_by", Text),
    Column("rca", Text),
    Column("rca_hash", String(64)),
    Column("disputed_at", DateTime(timezone=True)),
    Column("disputed_by", Text),
    Column("dispute_reason", Text),
    Column("cancelled_at", DateTime(timezone=True)),
    Column("cancelled_by", Text),
    Column("cancel_requested_at", DateTime(timezone=True)),
    Column("phase", String(20), CheckConstraint(_one_of("phase", PaymentPhase), name="phase"), nullable=False),
    Column("retries", Integer, nullable=False, server_default="0"),
    Column("retry_at", DateTime(timezone=True)),
    Column("reason_code", String(64)),
    Column("reason", Text),
    Column("reason_details", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    # When a person was asked to look at a payment without proof; once.
    Column("asked_person_at", DateTime(timezone=True)),
    Column("tx_hash", String(64)),
    Column("ledger", BigInteger),
    Column("confirmed_at", DateTime(timezone=True)),
    # A command raises `version`; the story writes down which one it saw. A difference that lasts is a wake that
    # was lost, and the sweeper wakes it again.
    Column("version", BigInteger, nullable=False, server_default="1"),
    Column("seen_version", BigInteger, nullable=False, server_default="0"),
    Column("changed_at", DateTime(timezone=True), nullable=False),
    CheckConstraint("resolved_at IS NULL OR resolved_at >= detected_at", name="resolved_after_detected"),
    Index("ix_outages_unfinished", "number", postgresql_where=text("phase NOT IN ('confirmed', 'cancelled')")),
    Index("ix_outages_status_number", "status", "number"),
    Index("ix_outages_confirmed_at", "confirmed_at"),
)

decisions: Final = Table(
    "outage_decisions",
    metadata,
    Column("decision_id", BigInteger, primary_key=True, autoincrement=True),
    Column("outage_id", ForeignKey("outages.outage_id"), nullable=False),
    Column("severity", String(16), nullable=False),
    Column("mttr_minutes", Integer, nullable=False),
    Column("threshold_minutes", Integer, nullable=False),
    Column("kind", String(16), CheckConstraint(_one_of("kind", PaymentKind), name="kind"), nullable=False),
    Column("rating", String(16), nullable=False),
    Column("amount_units", BigInteger, nullable=False),
    Column("asset", String(12), nullable=False),
    Column("needs_approval", Boolean, nullable=False),
    Column("why_approval", Text),
    Column("decided_at", DateTime(timezone=True), nullable=False),
    # A dispute can end with corrected times: the old decision stays as a record, and no longer counts.
    Column("superseded_at", DateTime(timezone=True)),
    CheckConstraint("mttr_minutes >= 0 AND amount_units >= 0", name="not_negative"),
    Index("uq_outage_decisions_current", "outage_id", unique=True, postgresql_where=text("superseded_at IS NULL")),
)

approvals: Final = Table(
    "outage_approvals",
    metadata,
    Column("decision_id", ForeignKey("outage_decisions.decision_id"), primary_key=True),
    Column("approved_by", Text, nullable=False),
    Column("approved_at", DateTime(timezone=True), nullable=False),
)

warnings: Final = Table(
    "outage_warnings",
    metadata,
    Column("outage_id", ForeignKey("outages.outage_id"), nullable=False),
    Column("percent", Integer, nullable=False),
    Column("recorded_at", DateTime(timezone=True), nullable=False),
    # False where a higher one was told in the same breath: a back-dated report warns once.
    Column("told", Boolean, nullable=False),
    UniqueConstraint("outage_id", "percent"),
)
