"""Payouts that a signer of ours signs at once."""

from __future__ import annotations

from temporalio.testing import WorkflowEnvironment

from activities.story_names import AMOUNT, ASSET, KIND, STATUS
from adapters.database.engine import Database
from domain.money import Amount
from tests.payout.conftest import Street, open_street
from tests.settlement.world import World


async def test_a_payout_is_paid_once_and_confirmed_with_its_transaction(street: Street) -> None:
    world = street.world
    before = await world.balance(world.usdc, world.noc_team)
    answer = await street.post()
    assert answer["mode"] == "queued"
    assert answer["unsigned_xdr"] is None
    payout_id = answer["transaction"]["id"]
    found = await street.until(payout_id, "confirmed")
    assert await world.balance(world.usdc, world.noc_team) - before == Amount.parse("100.5")
    landed = await street.engine.rpc.transaction(found["tx_hash"])
    assert landed is not None
    assert landed.successful
    assert (found["amount"], found["waits_for"], found["attempts"]) == (100.5, "nothing", 1)
    assert found["confirmed_at"] is not None


async def test_a_hot_payout_takes_at_most_twelve_events_and_each_step_is_told(street: Street) -> None:
    payout_id = (await street.post())["transaction"]["id"]
    await street.handle(payout_id).result()
    history = await street.handle(payout_id).fetch_history()
    assert len(history.events) <= 12
    assert await street.told(payout_id) == ["payout.created", "payout.submitted", "payout.confirmed"]


async def test_the_web_ui_finds_a_payout_by_what_it_is_and_shows_how_it_ended(street: Street) -> None:
    payout_id = (await street.post())["transaction"]["id"]
    await street.handle(payout_id).result()
    described = await street.handle(payout_id).describe()
    found = described.typed_search_attributes
    assert (found[KIND], found[STATUS], found[ASSET], found[AMOUNT]) == ("payout", "confirmed", "USDC", 100.5)
    assert await described.static_summary() == "100.5 USDC"


async def test_where_no_contract_is_named_the_answer_names_the_setting(
    world: World, database: Database, temporal: WorkflowEnvironment
) -> None:
    async with open_street(world, database, temporal.client, payout_contract_id=None) as street:
        answer = await street.finance.post("/api/v1/payouts", json=street.body())
        assert (answer.status_code, answer.json()["code"]) == (422, "contract_missing")
        assert "PAYOUT_CONTRACT_ID" in answer.json()["detail"]
