"""A worker that is at a settlement says so in its row, and changes nothing else of it."""

from __future__ import annotations

from typing import Any

from sqlalchemy import func, select, update

from adapters.database.engine import Database
from adapters.database.settlements import SettlementBook
from adapters.database.settlements_tables import settlement_history, settlements
from domain.settlement import SettlementStatus
from tests.database.test_figures import accept


async def row_of(database: Database, settlement_id: str) -> Any:
    async with database.begin() as connection:
        return (await connection.execute(select(settlements).where(settlements.c.id == settlement_id))).one()


async def test_a_lease_is_no_change_of_the_settlement_and_a_new_state_is_one(database: Database) -> None:
    async with database.begin() as connection:
        settlement_id = await accept(database, connection, "leased")
    accepted = await row_of(database, settlement_id)
    await SettlementBook(database, owner="first").load(settlement_id)
    await SettlementBook(database, owner="second").load(settlement_id)
    leased = await row_of(database, settlement_id)
    assert leased.lease_owner == "second"
    assert leased.updated_at == accepted.updated_at
    async with database.begin() as connection:
        change = update(settlements).where(settlements.c.id == settlement_id)
        await connection.execute(change.values(status=SettlementStatus.BUILT))
        told = select(func.count()).where(settlement_history.c.settlement_id == settlement_id)
        assert (await connection.execute(told)).scalar_one() == 2, "accepted and built, and no lease"
    assert (await row_of(database, settlement_id)).updated_at > accepted.updated_at
