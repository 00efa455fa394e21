"""Operators and sites. A command that names only a site finds operator, wallets and contacts here."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from pydantic import BaseModel, ConfigDict
from sqlalchemy import Row, bindparam, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.database.registry_tables import operators, sites
from domain.errors import InvalidInput, NotFound

_OPERATOR_ID: Final = re.compile(r"[a-z0-9][a-z0-9\-]{0,62}")
_SITE_AND_OPERATOR: Final = (
    select(sites, operators)
    .join(operators, operators.c.id == sites.c.operator_id)
    .where(sites.c.name == bindparam("name"))
)


class Operator(BaseModel):
    """A telco: penalties are drawn from its wallet."""

    model_config = ConfigDict(frozen=True)

    id: str
    name: str
    wallet: str | None = None
    emails: tuple[str, ...] = ()
    phones: tuple[str, ...] = ()
    auto_payment: bool = True
    """Off: every payment of this operator waits for a person."""
    auto_payment_max_units: int | None = None
    """In units of 10⁻⁷; beside the deployment's own limit, and the lower counts."""
    changed_at: datetime | None = None


class Site(BaseModel):
    """A place of an operator's; rewards go to its NOC team."""

    model_config = ConfigDict(frozen=True)

    name: str
    operator_id: str
    noc_team_wallet: str | None = None
    emails: tuple[str, ...] = ()
    changed_at: datetime | None = None


async def find_operator(connection: AsyncConnection, operator_id: str) -> Operator:
    """Read one.

    Raises:
        NotFound: there is no such operator.
    """
    row = (await connection.execute(select(operators).where(operators.c.id == operator_id))).one_or_none()
    if row is None:
        raise NotFound(f"there is no operator {operator_id!r}")
    return _operator(row)


async def find_site(connection: AsyncConnection, name: str) -> Site:
    """Read one.

    Raises:
        NotFound: there is no such site.
    """
    site = await site_or_none(connection, name)
    if site is None:
        raise NotFound(f"there is no site {name!r}")
    return site


async def site_or_none(connection: AsyncConnection, name: str) -> Site | None:
    """Read one; None where nobody registered it."""
    row = (await connection.execute(select(sites).where(sites.c.name == name))).one_or_none()
    return None if row is None else _site(row)


async def site_and_operator(connection: AsyncConnection, name: str) -> tuple[Site, Operator] | None:
    """Read a site and whose it is; None where nobody registered it."""
    row = (await connection.execute(_SITE_AND_OPERATOR, {"name": name})).mappings().one_or_none()
    if row is None:
        return None
    return (
        Site(**{field: row[sites.c[field]] for field in Site.model_fields}),
        Operator(**{field: row[operators.c[field]] for field in Operator.model_fields}),
    )


async def list_operators(connection: AsyncConnection, *, after: str = "", limit: int = 50) -> Sequence[Operator]:
    """Operators by id."""
    query = select(operators).where(operators.c.id > after).order_by(operators.c.id).limit(limit)
    return tuple(_operator(row) for row in await connection.execute(query))


async def list_sites(
    connection: AsyncConnection, *, operator_id: str | None = None, after: str = "", limit: int = 50
) -> Sequence[Site]:
    """Sites by name."""
    query = select(sites).where(sites.c.name > after).order_by(sites.c.name).limit(limit)
    if operator_id is not None:
        query = query.where(sites.c.operator_id == operator_id)
    return tuple(_site(row) for row in await connection.execute(query))


async def put_operator(connection: AsyncConnection, operator: Operator, *, by: str, at: datetime) -> bool:
    """Write an operator whole; True where it is new.

    Raises:
        InvalidInput: the id is not a slug.
    """
    if not _OPERATOR_ID.fullmatch(operator.id):
        raise InvalidInput(
            "the operator's id is not right", operator_id="1 to 63 of a-z, 0-9 and hyphen, such as acme-telecom"
        )
    there = (
        await connection.execute(select(operators.c.id).where(operators.c.id == operator.id).with_for_update())
    ).one_or_none()
    values = operator.model_dump(exclude={"changed_at"}) | {
        "emails": list(operator.emails),
        "phones": list(operator.phones),
        "changed_at": at,
        "changed_by": by,
    }
    await connection.execute(
        insert(operators).values(**values).on_conflict_do_update(index_elements=["id"], set_=values)
    )
    return there is None


async def put_site(connection: AsyncConnection, site: Site, *, by: str, at: datetime) -> bool:
    """Write a site whole; True where it is new.

    Raises:
        InvalidInput: there is no such operator.
    """
    known = select(operators.c.id).where(operators.c.id == site.operator_id)
    if (await connection.execute(known)).one_or_none() is None:
        raise InvalidInput(f"there is no operator {site.operator_id!r}", operator_id="the id of an operator")
    there = (
        await connection.execute(select(sites.c.name).where(sites.c.name == site.name).with_for_update())
    ).one_or_none()
    values = site.model_dump(exclude={"changed_at"}) | {
        "emails": list(site.emails),
        "changed_at": at,
        "changed_by": by,
    }
    await connection.execute(
        insert(sites).values(**values).on_conflict_do_update(index_elements=["name"], set_=values)
    )
    return there is None


def _operator(row: Row[Any]) -> Operator:
    return Operator(**{name: getattr(row, name) for name in Operator.model_fields})


def _site(row: Row[Any]) -> Site:
    return Site(**{name: getattr(row, name) for name in Site.model_fields})
