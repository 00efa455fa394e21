"""The audit log with its seals, and the deployment's switches. Triggers keep log and seals append-only."""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Column, DateTime, ForeignKey, Identity, Table, Text, func, text
from sqlalchemy.dialects.postgresql import JSONB

from adapters.database.engine import metadata

_INSTANT: Final = DateTime(timezone=True)

audit_log: Final = Table(
    "audit_log",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("at", _INSTANT, nullable=False, server_default=func.now()),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("details", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    comment="Who did what to what. Append-only.",
)

audit_seals: Final = Table(
    "audit_seals",
    metadata,
    Column("position", BigInteger, primary_key=True),
    Column("audit_id", BigInteger, ForeignKey("audit_log.id"), nullable=False, unique=True),
    Column("hash", Text, nullable=False),
    comment="sha256 over the seal before and the entry: a changed or missing entry breaks the chain. Append-only.",
)

deployment: Final = Table(
    "deployment",
    metadata,
    Column("name", Text, primary_key=True),
    Column("reason", Text, nullable=False),
    Column("since", _INSTANT, nullable=False, server_default=func.now()),
    Column("changed_by", Text, nullable=False),
    comment="Switches that are on: a row `frozen` stops all sending.",
)
