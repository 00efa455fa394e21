"""Operators and sites: whose outage it is, which wallets stand in for ones not named, who is told."""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Boolean, CheckConstraint, Column, DateTime, ForeignKey, Table, Text, func, text
from sqlalchemy.dialects.postgresql import ARRAY

from adapters.database.engine import metadata

_INSTANT: Final = DateTime(timezone=True)

operators: Final = Table(
    "operators",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("wallet", Text, comment="whom a penalty is drawn from where an outage names nobody"),
    Column("emails", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    Column("phones", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    Column("auto_payment", Boolean, nullable=False, server_default=text("true")),
    Column("auto_payment_max_units", BigInteger, comment="beside the deployment's own limit; the lower counts"),
    Column("changed_at", _INSTANT, nullable=False, server_default=func.now()),
    Column("changed_by", Text, nullable=False),
    CheckConstraint("auto_payment_max_units >= 0", name="limit_not_negative"),
)

sites: Final = Table(
    "sites",
    metadata,
    Column("name", Text, primary_key=True),
    Column("operator_id", Text, ForeignKey("operators.id"), nullable=False, index=True),
    Column("noc_team_wallet", Text, comment="whom a reward goes to where an outage names nobody"),
    Column("emails", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    Column("changed_at", _INSTANT, nullable=False, server_default=func.now()),
    Column("changed_by", Text, nullable=False),
)
