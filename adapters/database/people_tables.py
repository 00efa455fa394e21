"""People, their API keys, and the idempotency keys that their requests carried."""

from __future__ import annotations

from typing import Final

from sqlalchemy import CheckConstraint, Column, DateTime, ForeignKey, Index, Integer, Table, Text, func
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from adapters.database.engine import metadata

_INSTANT: Final = DateTime(timezone=True)

people: Final = Table(
    "people",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("email", Text),
    Column("roles", ARRAY(Text), nullable=False),
    Column("created_at", _INSTANT, nullable=False, server_default=func.now()),
    Column("disabled_at", _INSTANT),
    CheckConstraint("cardinality(roles) > 0", name="has_role"),
)

api_keys: Final = Table(
    "api_keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("prefix", Text, nullable=False, comment="shown, so that people can tell keys apart"),
    # A key has 256 random bits: nothing is gained by a slow hash, and every request would pay for it.
    Column("hash", Text, nullable=False, unique=True),
    Column("person_id", Text, ForeignKey("people.id"), nullable=False),
    Column("label", Text, nullable=False, server_default=""),
    Column("scopes", ARRAY(Text), nullable=False),
    Column("created_at", _INSTANT, nullable=False, server_default=func.now()),
    Column("expires_at", _INSTANT),
    Column("last_used_at", _INSTANT),
    Column("revoked_at", _INSTANT),
    Index("ix_api_keys_person_id", "person_id"),
)

idempotency_keys: Final = Table(
    "idempotency_keys",
    metadata,
    # UNIQUE for good: lock 1 of 4. Workflow retention ends, this does not.
    Column("caller", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("fingerprint", Text, nullable=False),
    Column("fields", JSONB, nullable=False, comment="field to hash, so that a conflict can name what differs"),
    Column("resource", Text, nullable=False),
    Column("status", Integer, nullable=False),
    Column("created_at", _INSTANT, nullable=False, server_default=func.now()),
)
