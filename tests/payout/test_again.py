"""A payout that failed on the ledger for a reason that may pass is tried again by itself, within a limit."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from stellar_sdk import scval
from temporalio.testing import WorkflowEnvironment

from adapters.database.engine import Database
from domain.money import Amount
from tests.conftest import TestLedger
from tests.payout.conftest import Street, open_street
from tests.settlement.world import World

TEN = Amount.of(10)


@pytest.fixture
async def contract(world: World) -> str:
    """A payout contract that holds ten."""
    return await world.new_payout(usdc=TEN)


@pytest.fixture
async def poor(
    world: World, database: Database, temporal: WorkflowEnvironment, contract: str
) -> AsyncIterator[Street]:
    async with open_street(world, database, temporal.client, payout_contract_id=contract) as street:
        yield street


async def both_on_their_way(street: Street, ledger: TestLedger) -> tuple[str, str]:
    """Two payouts of all that the contract holds, both sent before either lands; gives the paid and the other."""
    ledger.fault("stalled_ledger", seconds=60)
    ids = [(await street.post(amount="10"))["transaction"]["id"] for _ in range(2)]
    for payout_id in ids:
        await street.until(payout_id, "submitted")
    ledger.clear_faults()
    for payout_id in ids:
        await street.until(
            payout_id, lambda found: found["status"] == "confirmed" or found["retry_at"] is not None
        )
    statuses = {(await street.get(payout_id))["status"]: payout_id for payout_id in ids}
    assert set(statuses) == {"confirmed", "accepted"}, "what is tried again by itself is not shown as failed"
    return statuses["confirmed"], statuses["accepted"]


async def test_it_is_tried_again_by_itself_and_paid_once_the_reason_has_passed(
    poor: Street, ledger: TestLedger, contract: str
) -> None:
    world = poor.world
    before = await world.balance(world.usdc, world.noc_team)
    _paid, other = await both_on_their_way(poor, ledger)
    waits = (await poor.finance.get(f"/api/v1/payouts/{other}/why")).json()
    assert (waits["waits_for"], waits["reason_code"]) == ("later", "failed_on_ledger")
    pool = scval.to_address(world.pool.public_key)
    await world.call_payout(
        "fund", pool, scval.to_address(world.usdc), scval.to_int128(TEN.units), contract=contract
    )
    found = await poor.until(other, "confirmed")
    assert found["attempts"] == 2
    assert await world.balance(world.usdc, world.noc_team) - before == Amount.of(20)
    assert (await poor.told(other))[1:] == [
        "payout.submitted",
        "payout.retrying",
        "payout.submitted",
        "payout.confirmed",
    ]


async def test_a_person_need_not_wait_for_the_next_try_and_a_definite_no_ends_it(
    poor: Street, ledger: TestLedger
) -> None:
    _paid, other = await both_on_their_way(poor, ledger)
    assert (await poor.act(other, "retry")).status_code == 200
    failed = await poor.until(other, "failed")
    assert (failed["waits_for"], failed["retry_at"]) == ("person", None)
    assert (await poor.told(other))[-1] == "payout.failed"


async def test_after_payouts_max_attempts_a_person_is_asked(
    world: World, database: Database, temporal: WorkflowEnvironment, contract: str, ledger: TestLedger
) -> None:
    async with open_street(
        world, database, temporal.client, payout_contract_id=contract, payouts_max_attempts=1
    ) as street:
        ledger.fault("stalled_ledger", seconds=60)
        ids = [(await street.post(amount="10"))["transaction"]["id"] for _ in range(2)]
        for payout_id in ids:
            await street.until(payout_id, "submitted")
        ledger.clear_faults()
        found = [
            await street.until(payout_id, lambda one: one["status"] in {"confirmed", "failed"})
            for payout_id in ids
        ]
        assert {one["status"] for one in found} == {"confirmed", "failed"}
        (failed,) = [one for one in found if one["status"] == "failed"]
        assert (failed["reason_code"], failed["waits_for"]) == ("failed_on_ledger", "person")
