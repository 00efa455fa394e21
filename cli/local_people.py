"""Two people of the local network with their API keys, and the operator and site of the guide's examples."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.database.people import add_person, caller_of, find_person, make_key
from adapters.database.registry import Operator, Site, put_operator, put_site, site_or_none
from cli.database import open_database
from cli.deploy import Deployed
from cli.supervision import write_private
from domain.people import Role
from settings import Settings

BY: Final = "holdfast up"
SITE: Final = "Test Site"
"""The guide's site."""
_OPERATOR_ID: Final = "test-operator"
_OPERATOR_EMAIL: Final = "operator@example.org"
_NOC_EMAIL: Final = "noc@example.org"

ADMINISTRATOR: Final = "Local Administrator"
APPROVER: Final = "Local Approver"


@dataclass(frozen=True, slots=True)
class LocalKeys:
    """The keys of two people: four eyes needs a second one."""

    api_key: str = field(repr=False)
    approver_key: str = field(repr=False)


async def register_locally(settings: Settings, directory: Path, deployed: Deployed | None) -> LocalKeys:
    """Have two people with keys, and with `deployed` the guide's operator and site; again changes nothing.

    What a person changed in the registry meanwhile is left as it is, but for wallets that the ledger has lost.

    Raises:
        Unavailable: the database does not answer.
    """
    async with open_database(settings) as database, database.begin() as connection:
        keys = LocalKeys(
            await _key(connection, directory, ADMINISTRATOR, Role.ADMINISTRATOR, "admin_api_key"),
            await _key(connection, directory, APPROVER, Role.FINANCE, "approver_api_key"),
        )
        if deployed is not None:
            await _register_site(connection, deployed)
    return keys


async def _key(connection: AsyncConnection, directory: Path, name: str, role: Role, file: str) -> str:
    secret = _kept(directory, file)
    if await caller_of(connection, secret, at=datetime.now(UTC)) is None:
        person = await find_person(connection, name) or await add_person(
            connection, name=name, roles=[role], by=BY
        )
        await make_key(
            connection, person_id=person.id, by=BY, label="made by holdfast up", secret=SecretStr(secret)
        )
    return secret


def _kept(directory: Path, file: str) -> str:
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = directory / file
    if not path.exists():
        write_private(path, "hf_" + secrets.token_urlsafe(32))
    return path.read_text().strip()


async def _register_site(connection: AsyncConnection, deployed: Deployed) -> None:
    site = await site_or_none(connection, SITE)
    if site is not None and site.noc_team_wallet == deployed.accounts["noc_team"]:
        return
    now = datetime.now(UTC)
    operator = Operator(
        id=_OPERATOR_ID,
        name="Test Operator",
        wallet=deployed.accounts["operator"],
        emails=(_OPERATOR_EMAIL,),
    )
    await put_operator(connection, operator, by=BY, at=now)
    noc = Site(
        name=SITE,
        operator_id=_OPERATOR_ID,
        noc_team_wallet=deployed.accounts["noc_team"],
        emails=(_NOC_EMAIL,),
    )
    await put_site(connection, noc, by=BY, at=now)
