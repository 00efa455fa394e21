"""Tables of batches: what was asked for, how it is cut into chunks, and its rows, which are written by COPY."""

from __future__ import annotations

from enum import StrEnum
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
    LargeBinary,
    Numeric,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from adapters.database.engine import metadata
from domain.batch import BatchStatus, ChunkState, OnBadRows

_INSTANT: Final = DateTime(timezone=True)
_UNITS: Final = Numeric(39, 0)
_NONE: Final = text("'{}'::jsonb")


def _one_of(column: str, values: type[StrEnum]) -> str:
    listed = ", ".join(f"'{value}'" for value in values)
    return f"{column} IN ({listed})"


batches: Final = Table(
    "batches",
    metadata,
    Column("number", BigInteger, Identity(), primary_key=True),
    Column("batch_id", String(32), nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("status", String(20), CheckConstraint(_one_of("status", BatchStatus), name="status"), nullable=False),
    Column("asset", Text, nullable=False),
    Column("token", String(56), nullable=False),
    Column("signing", String(16), nullable=False),
    Column("signer", String(16), comment="null: the one that PAYOUT_SIGNER names"),
    Column(
        "on_bad_rows", String(8), CheckConstraint(_one_of("on_bad_rows", OnBadRows), name="bad"), nullable=False
    ),
    Column("rows", Integer, nullable=False),
    Column("rows_bad", Integer, nullable=False),
    Column("amount_units", _UNITS, nullable=False, comment="of the rows that are not bad"),
    Column("needs_approval", Boolean, nullable=False),
    Column("approved_by", Text),
    Column("approved_at", _INSTANT),
    Column("created_by", Text, nullable=False),
    Column("created_at", _INSTANT, nullable=False),
    Column("changed_at", _INSTANT, nullable=False),
    Column("ended_at", _INSTANT),
    Column("reason_code", String(64)),
    Column("reason", Text),
    Column("reason_details", JSONB, nullable=False, server_default=_NONE),
    # A command raises `version`; the story writes down which one it saw. A difference that lasts is a wake that
    # was lost, and the sweeper wakes it again.
    Column("version", BigInteger, nullable=False, server_default="1"),
    Column("seen_version", BigInteger, nullable=False, server_default="0"),
    Index("ix_batches_unfinished", "number", postgresql_where=text("status NOT IN ('completed', 'cancelled')")),
    comment="The id derives from the idempotency key: sent to a database that lost it, it is the same batch.",
)

chunks: Final = Table(
    "batch_chunks",
    metadata,
    Column("batch", BigInteger, ForeignKey("batches.number"), nullable=False),
    Column("key", String(80), nullable=False),
    Column("ordinal", BigInteger, Identity(), nullable=False),
    Column("state", String(12), CheckConstraint(_one_of("state", ChunkState), name="state"), nullable=False),
    Column("settlement_id", Text, nullable=False, unique=True),
    Column("rows", Integer, nullable=False),
    Column("amount_units", _UNITS, nullable=False),
    Column("tries", Integer, nullable=False, server_default="0"),
    # A byte a row in the order of `batch_rows.position`: 0 paid, else why not. Rows are not written again.
    Column("outcomes", LargeBinary),
    Column("paid", Integer, nullable=False, server_default="0"),
    Column("failed", Integer, nullable=False, server_default="0"),
    Column("paid_units", _UNITS, nullable=False, server_default="0"),
    Column("tx_hash", String(64)),
    Column("ledger", BigInteger),
    Column("closed_at", _INSTANT),
    Column("reason_code", String(64)),
    Column("reason", Text),
    PrimaryKeyConstraint("batch", "key"),
    CheckConstraint("paid >= 0 AND failed >= 0 AND paid + failed <= rows", name="counts"),
    Index("ix_batch_chunks_unsettled", "batch", "ordinal", postgresql_where=text("state IN ('planned', 'open')")),
    comment="One settlement each. Which rows it pays never changes: its id would let other rows pay twice.",
)

batch_rows: Final = Table(
    "batch_rows",
    metadata,
    Column("batch", BigInteger, ForeignKey("batches.number"), nullable=False),
    Column("row", Integer, nullable=False),
    Column("line", Integer, nullable=False),
    Column("destination", String(69)),
    Column("amount_units", BigInteger),
    Column("reference", Text),
    Column("chunk", String(80), comment="null: it is bad and never paid"),
    Column("position", Integer),
    Column("attempt", Integer, nullable=False, server_default="1"),
    Column("faults", JSONB, comment="of a bad row: [{field, message}]"),
    PrimaryKeyConstraint("batch", "row"),
    CheckConstraint(
        "(faults IS NOT NULL AND chunk IS NULL) OR "
        "(faults IS NULL AND chunk IS NOT NULL AND position >= 0 AND destination IS NOT NULL "
        "AND amount_units > 0)",
        name="bad_or_whole",
    ),
    Index("ix_batch_rows_chunk", "batch", "chunk", "position", postgresql_where=text("chunk IS NOT NULL")),
)
