"""The engine's tables. What each lock of exactly-once rests on stands beside its constraint."""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    Numeric,
    Table,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from adapters.database.engine import metadata

_INSTANT: Final = DateTime(timezone=True)

ledger_head: Final = Table(
    "ledger_head",
    metadata,
    Column("one", Boolean, primary_key=True, server_default=text("true")),
    Column("network_passphrase", Text, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("hash", Text, nullable=False),
    Column("closed_at", _INSTANT, nullable=False),
    Column("halted_reason", Text),
    Column("halted_at", _INSTANT),
    CheckConstraint("one", name="one_row"),
    comment="The last ledger that was followed. Its hash shows a network or database that went back.",
)

settlements: Final = Table(
    "settlements",
    metadata,
    Column("id", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("status", Text, nullable=False, server_default="accepted"),
    Column("fingerprint", Text, nullable=False),
    Column("intent", JSONB, nullable=False),
    Column("marker_id", Text, nullable=False),
    Column("payer", Text, nullable=False),
    Column("amount_units", Numeric(39, 0), nullable=False),
    Column("asset", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("destination", Text, nullable=False),
    Column("tries", Integer, nullable=False, server_default="1"),
    Column("builds", Integer, nullable=False, server_default="0"),
    Column("pin_id", BigInteger),
    Column("attempt_id", BigInteger),
    Column("request_id", Text),
    Column("expires_at", _INSTANT),
    Column("entry_until", BigInteger),
    Column("ending", JSONB),
    Column("waits_for", Text),
    Column("reserved_on", Date),
    Column("control", Text, nullable=False, server_default="none"),
    Column("needs_person", Text),
    Column("tx_hash", Text),
    Column("ledger", BigInteger),
    Column("closed_at", _INSTANT),
    Column("fee_charged", BigInteger),
    Column("outcomes", LargeBinary),
    Column("reason_code", Text),
    Column("reason", Text),
    Column("details", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    Column("may_pass", Boolean, nullable=False, server_default=text("false")),
    Column("lease_owner", Text),
    Column("lease_until", _INSTANT),
    Column("created_at", _INSTANT, nullable=False, server_default=func.now()),
    Column("updated_at", _INSTANT, nullable=False, server_default=func.now()),
    Column("submitted_at", _INSTANT),
    Column("confirmed_at", _INSTANT),
    UniqueConstraint("marker_id"),
    Index(
        "ix_settlements_waiting_lanes",
        "pin_id",
        postgresql_where=text("status = 'awaiting_signature' AND pin_id IS NOT NULL"),
    ),
    Index("ix_settlements_created_at", "created_at"),
    # What is asked for figures, without reading the whole record.
    Index("ix_settlements_confirmed_at", "confirmed_at", postgresql_where=text("confirmed_at IS NOT NULL")),
    Index("ix_settlements_failed", "updated_at", postgresql_where=text("status = 'failed'")),
    Index(
        "ix_settlements_unended",
        "status",
        postgresql_where=text("status NOT IN ('confirmed', 'failed', 'cancelled')"),
    ),
    Index(
        "ix_settlements_reserved",
        "payer",
        "asset",
        "reserved_on",
        postgresql_where=text("reserved_on IS NOT NULL"),
    ),
    # Room for what is written to a row right after it was made: it stays on its page.
    postgresql_with={"fillfactor": 70},
    comment="One movement of money each. The id is UNIQUE for good: lock 1 of 4. `pin_id` and `attempt_id` are the"
    " held pin and its newest envelope; `reserved_on` is the day whose limit it counts against until it fails."
    " `request_id` is the live signing request. `entry_until` is the last ledger in which an authorization entry"
    " that was shown is valid: until then `ending` says how it ends where nobody uses that entry. `outcomes` has a"
    " byte a recipient. `waits_for` says why it is not built yet.",
)

settlement_transitions: Final = Table(
    "settlement_transitions",
    metadata,
    Column("old", Text, primary_key=True),
    Column("new", Text, primary_key=True),
    Column("why", Text, nullable=False),
    comment="domain.settlement.TRANSITIONS, enforced by a trigger on settlements.",
)

settlement_history: Final = Table(
    "settlement_history",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("settlement_id", Text, ForeignKey("settlements.id"), nullable=False, index=True),
    Column("at", _INSTANT, nullable=False, server_default=func.now()),
    Column("old", Text),
    Column("new", Text, nullable=False),
    Column("reason", Text),
    Column("reason_code", Text),
    comment="Written by a trigger: every state that a settlement passed through.",
)

lanes: Final = Table(
    "lanes",
    metadata,
    Column("address", Text, primary_key=True),
    Column("number", Integer, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("settlement_id", Text, ForeignKey("settlements.id")),
    # Of a phrase that LANES_MNEMONIC replaced: what holds it goes on, and nothing takes it.
    Column("retired", Boolean, nullable=False, server_default=text("false")),
    Column("created_at", _INSTANT, nullable=False, server_default=func.now()),
    Index("uq_lanes_number_in_use", "number", unique=True, postgresql_where=text("NOT retired")),
    Index("ix_lanes_free", "number", postgresql_where=text("settlement_id IS NULL")),
    comment="Sequence numbers to pin. `sequence` is the last one known to be consumed, `settlement_id` the owner.",
)

pins: Final = Table(
    "pins",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("lane", Text, ForeignKey("lanes.address"), nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("settlement_id", Text, ForeignKey("settlements.id"), nullable=False, index=True),
    Column("state", Text, nullable=False, server_default="held"),
    Column("lane_signed", Boolean, nullable=False, server_default=text("false")),
    Column("consumer", Text),
    Column("created_at", _INSTANT, nullable=False, server_default=func.now()),
    Column("ended_at", _INSTANT),
    CheckConstraint("state IN ('held', 'returned', 'consumed')", name="state"),
    # Lock 3 of 4: one settlement a sequence number. A returned pin never got the lane's signature (or all its
    # envelopes are proved expired), so its number is free again.
    Index("uq_pins_lane_sequence", "lane", "sequence", unique=True, postgresql_where=text("state <> 'returned'")),
    Index("uq_pins_lane_held", "lane", unique=True, postgresql_where=text("state = 'held'")),
    Index("uq_pins_settlement_held", "settlement_id", unique=True, postgresql_where=text("state = 'held'")),
)

attempts: Final = Table(
    "attempts",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("pin_id", BigInteger, ForeignKey("pins.id"), nullable=False, index=True),
    Column("settlement_id", Text, ForeignKey("settlements.id"), nullable=False, index=True),
    Column("purpose", Text, nullable=False, server_default="pay"),
    Column("inner_hash", Text, nullable=False, unique=True),
    Column("envelope", Text, nullable=False),
    Column("max_time", _INSTANT, nullable=False),
    Column("resource_fee", BigInteger, nullable=False),
    Column("simulated_ledger", BigInteger, nullable=False),
    Column("signatures", JSONB, nullable=False, server_default=text("'[]'::jsonb")),
    Column("signed_envelope", Text),
    Column("superseded", Boolean, nullable=False, server_default=text("false")),
    Column("created_at", _INSTANT, nullable=False, server_default=func.now()),
    CheckConstraint("purpose IN ('pay', 'burn')", name="purpose"),
    comment="Envelopes, written ahead of the signer: lock 2 of 4. Rebuilds hang beneath the same pin.",
)

sends: Final = Table(
    "sends",
    metadata,
    Column("outer_hash", Text, primary_key=True),
    Column("attempt_id", BigInteger, ForeignKey("attempts.id"), nullable=False, index=True),
    Column("settlement_id", Text, ForeignKey("settlements.id"), nullable=False, index=True),
    Column("envelope", Text, nullable=False),
    Column("inclusion_fee", BigInteger, nullable=False),
    Column("answer", Text),
    Column("created_at", _INSTANT, nullable=False, server_default=func.now()),
    comment="Fee bumps, written ahead of the first byte.",
)

forgotten_payments: Final = Table(
    "forgotten_payments",
    metadata,
    Column("marker_id", Text, primary_key=True),
    Column("tx_hash", Text, nullable=False),
    Column("ledger", BigInteger, nullable=False),
    Column("found_at", _INSTANT, nullable=False, server_default=func.now()),
    comment="Paid by our lanes, and lost with the record: what was cut anew since a backup is paid by other ids.",
)
