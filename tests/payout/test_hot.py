"""Payouts that a signer of ours signs at once."""

from __future__ import annotations

from domain.money import Amount
from tests.payout.conftest import Street


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
