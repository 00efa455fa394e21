"""Requests for signatures, and the signatures that were accepted."""

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
    Table,
    Text,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from adapters.database.engine import metadata

_INSTANT: Final = DateTime(timezone=True)

signing_requests: Final = Table(
    "signing_requests",
    metadata,
    Column("id", Text, primary_key=True),
    Column("number", BigInteger, Identity(), nullable=False, unique=True),
    Column("settlement_id", Text, ForeignKey("settlements.id"), nullable=False, index=True),
    Column("payer", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("hash", Text, nullable=False, index=True),
    Column("body", JSONB, nullable=False),
    Column("deferred", Boolean, nullable=False),
    Column("expires_at", _INSTANT, nullable=False),
    Column("expires_ledger", BigInteger),
    Column("status", Text, nullable=False, server_default="waiting"),
    Column("superseded_by", Text),
    Column("reason", Text),
    Column("created_at", _INSTANT, nullable=False, server_default=func.now()),
    Column("ended_at", _INSTANT),
    CheckConstraint("kind IN ('envelope', 'auth_entry')", name="kind"),
    CheckConstraint(
        "status IN ('waiting', 'signed', 'superseded', 'cancelled', 'expired')",
        name="status",
    ),
    # One request a settlement at a time: another is an explicit supersede.
    Index(
        "uq_signing_requests_live",
        "settlement_id",
        unique=True,
        postgresql_where=text("status IN ('waiting', 'signed')"),
    ),
    Index("ix_signing_requests_waiting", "number", postgresql_where=text("status = 'waiting' AND deferred")),
    comment="What signers were asked for, written ahead of being shown. `deferred` is false where our own signer"
    " was asked. `hash` is what is signed; a request that ended is kept, so that its signature is known again.",
)

signing_signatures: Final = Table(
    "signing_signatures",
    metadata,
    Column("request_id", Text, ForeignKey("signing_requests.id"), primary_key=True),
    Column("signer", Text, primary_key=True),
    Column("signature", Text, nullable=False),
    Column("by", Text, nullable=False),
    Column("at", _INSTANT, nullable=False, server_default=func.now()),
    comment="Signatures that were accepted: one a key, append-only.",
)
