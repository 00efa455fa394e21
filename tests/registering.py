"""The registry's entry of the site that tests report outages of: wallets that nobody has to approve."""

from __future__ import annotations

from datetime import UTC, datetime

from adapters.database.engine import Database
from adapters.database.registry import Operator, Site, put_operator, put_site

OPERATOR_ID = "test-operator"
SITE_NAME = "Test Site"


async def register(database: Database, *, operator_wallet: str, noc_team_wallet: str) -> None:
    at = datetime.now(UTC)
    async with database.begin() as connection:
        await put_operator(
            connection, Operator(id=OPERATOR_ID, name="Test", wallet=operator_wallet), by="test", at=at
        )
        site = Site(name=SITE_NAME, operator_id=OPERATOR_ID, noc_team_wallet=noc_team_wallet)
        await put_site(connection, site, by="test", at=at)
