"""Events, the endpoints that want them, and one row for each message that has to reach somebody."""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from adapters.database.engine import metadata

_INSTANT: Final = DateTime(timezone=True)

events: Final = Table(
    "events",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    # Identity values are taken before they are committed, so a reader could pass over one that commits late. The
    # position is given after the commit, by one writer at a time: readers resume by it and miss nothing.
    Column("position", BigInteger, unique=True),
    Column("type", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("at", _INSTANT, nullable=False),
    Column("operator_id", Text),
    Column("site_name", Text),
    Column("data", JSONB, nullable=False),
    Column("recorded_at", _INSTANT, nullable=False, server_default=func.now()),
    Index("ix_events_unplaced", "id", postgresql_where=text("position IS NULL")),
    Index("ix_events_subject", "subject", "id"),
    comment="What happened, written in the transaction that made it true.",
)

webhook_endpoints: Final = Table(
    "webhook_endpoints",
    metadata,
    Column("id", Text, primary_key=True),
    Column("url", Text, nullable=False),
    Column("secret", LargeBinary, nullable=False, comment="sealed under the custody keyring"),
    Column("types", ARRAY(Text), nullable=False, server_default=text("'{}'"), comment="empty: all"),
    Column("operator_id", Text, comment="only this operator's events; null: all"),
    Column("created_at", _INSTANT, nullable=False, server_default=func.now()),
    Column("created_by", Text, nullable=False),
    Column("disabled_at", _INSTANT),
    # The back-off is the endpoint's, so that one dead receiver costs one try at a time.
    Column("failures", Integer, nullable=False, server_default="0"),
    Column("retry_at", _INSTANT),
    Column("last_error", Text),
    Column("last_sent_at", _INSTANT),
)

deliveries: Final = Table(
    "deliveries",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("event_id", BigInteger, ForeignKey("events.id"), nullable=False),
    Column("channel", Text, nullable=False),
    Column("endpoint_id", Text, ForeignKey("webhook_endpoints.id")),
    Column("recipient", Text, nullable=False, comment="a mail address, or the endpoint's id"),
    Column("state", Text, nullable=False, server_default="pending"),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("next_at", _INSTANT, nullable=False, server_default=func.now()),
    Column("last_error", Text),
    Column("sent_at", _INSTANT),
    Column("created_at", _INSTANT, nullable=False, server_default=func.now()),
    CheckConstraint("channel IN ('mail', 'webhook')", name="channel"),
    CheckConstraint("state IN ('pending', 'sent', 'refused', 'given_up')", name="state"),
    UniqueConstraint("event_id", "channel", "recipient"),
    Index("ix_deliveries_due", "next_at", postgresql_where=text("state = 'pending'")),
    Index("ix_deliveries_endpoint", "endpoint_id", "id"),
)
