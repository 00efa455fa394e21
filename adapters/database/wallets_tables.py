"""Wallets that Holdfast keeps: the key sealed, the account made on the ledger by a workflow."""

from __future__ import annotations

from typing import Final

from sqlalchemy import CheckConstraint, Column, DateTime, Integer, LargeBinary, Table, Text, func

from adapters.database.engine import metadata

_INSTANT: Final = DateTime(timezone=True)

wallets: Final = Table(
    "wallets",
    metadata,
    Column("user_id", Text, primary_key=True),
    Column("address", Text, nullable=False, unique=True),
    Column("status", Text, nullable=False, server_default="accepted"),
    Column("version", Integer, nullable=False),
    Column("kek_id", Text, nullable=False),
    Column("wrapped_key", LargeBinary, nullable=False),
    Column("wrap_nonce", LargeBinary, nullable=False),
    Column("nonce", LargeBinary, nullable=False),
    Column("ciphertext", LargeBinary, nullable=False),
    Column("tx_hash", Text),
    Column("reason_code", Text),
    Column("reason", Text),
    Column("created_at", _INSTANT, nullable=False, server_default=func.now()),
    Column("created_by", Text, nullable=False),
    Column("ready_at", _INSTANT),
    CheckConstraint("status IN ('accepted', 'ready', 'failed')", name="status"),
    comment="One a user, for good. The secret key is in `ciphertext` only.",
)
