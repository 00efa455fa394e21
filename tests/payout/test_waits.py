"""What a payout may wait for before the engine has it, and what people may do meanwhile."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from stellar_sdk import Keypair, scval
from temporalio.testing import WorkflowEnvironment

from adapters.database.engine import Database
from domain.money import Amount
from domain.payout import PayoutPhase
from localnet.clients import LocalLedger
from tests.payout.conftest import Street, open_street, settings_of
from tests.settlement.world import World
from tests.waiting import until


async def test_an_approved_payout_is_paid_and_its_two_people_stand_in_the_record(street: Street) -> None:
    payout_id = (await street.post(amount="10001"))["transaction"]["id"]
    approved = await street.act(payout_id, "approve", by=street.admin)
    assert approved.status_code == 200, approved.text
    found = await street.until(payout_id, "confirmed")
    assert found["approved_by"] != found["created_by"]
    assert [one["stage"] for one in found["policy"]] == ["accepted", "handed_over"]
    assert await street.told(payout_id) == [
        "payout.created",
        "payout.awaiting_approval",
        "payout.approved",
        "payout.submitted",
        "payout.confirmed",
    ]


async def test_a_payout_waits_for_its_time_on_the_storys_own_timer(street: Street) -> None:
    not_before = datetime.now(UTC) + timedelta(seconds=2)
    payout_id = (await street.post(not_before=not_before.isoformat()))["transaction"]["id"]
    assert (await street.get(payout_id))["waits_for"] == "time"
    found = await street.until(payout_id, "confirmed")
    assert datetime.fromisoformat(found["submitted_at"]) >= not_before


async def test_ordered_payouts_are_settled_one_after_another_in_order_of_acceptance(street: Street) -> None:
    ids = [(await street.post(ordered=True, amount="1"))["transaction"]["id"] for _ in range(4)]
    found = [await street.until(payout_id, "confirmed") for payout_id in ids]
    ledgers = [one["ledger"] for one in found]
    assert ledgers == sorted(set(ledgers)), "each lands in a later ledger than the one before it"
    submitted = [one["submitted_at"] for one in found]
    confirmed = [one["confirmed_at"] for one in found]
    assert all(before <= after for before, after in zip(confirmed, submitted[1:], strict=False))


async def test_an_ordered_payout_keeps_those_behind_it_waiting_until_it_has_ended(
    street: Street,
) -> None:
    first = (await street.post(ordered=True, not_before="2099-01-01T00:00:00Z"))["transaction"]["id"]
    second = (await street.post(ordered=True))["transaction"]["id"]
    unordered = (await street.post())["transaction"]["id"]
    await street.until(unordered, "confirmed")
    why = (await street.finance.get(f"/api/v1/payouts/{second}/why")).json()
    assert (why["status"], why["waits_for"]) == ("accepted", "turn")
    assert (await street.act(first, "cancel")).status_code == 200
    assert (await street.handle(first).result()).phase is PayoutPhase.CANCELLED, "it waits for 2099 no more"
    await street.until(second, "confirmed")


async def test_one_that_a_person_retried_lets_the_next_in_order_go_on(street: Street) -> None:
    recipient = Keypair.random()
    first = (await street.post(ordered=True, destination_account=street.funded(recipient)))["transaction"]["id"]
    await street.until(first, "failed")
    await street.handle(first).result()
    await street.trust(recipient)
    assert (await street.act(first, "retry")).status_code == 200
    second = (await street.post(ordered=True))["transaction"]["id"]
    await street.until(first, "confirmed")
    await street.until(second, "confirmed")


async def test_the_next_in_order_goes_on_where_the_one_before_it_was_paid_by_another_payer(
    world: World, database: Database, temporal: WorkflowEnvironment
) -> None:
    async with open_street(world, database, temporal.client) as street:
        first = (await street.post(ordered=True, amount="10001"))["transaction"]["id"]
        second = (await street.post(ordered=True))["transaction"]["id"]
        mnemonic = street.settings.lanes_mnemonic
        assert mnemonic is not None
        kept = {
            "holdfast_deployment": street.settings.holdfast_deployment,
            "lanes_mnemonic": mnemonic.get_secret_value(),
        }
    payer = Keypair.random()
    LocalLedger(world.url).friendbot(payer.public_key)
    contract = await world.new_payout(usdc=Amount.of(20_000))
    await world.call_payout("set_executor", scval.to_address(payer.public_key), contract=contract)
    rotated = {
        "payout_contract_id": contract,
        "payout_source_account": payer.public_key,
        "payout_hot_signer_secret": payer.secret,
    }
    settings = settings_of(world, **kept, **rotated)
    async with open_street(world, database, temporal.client, settings=settings) as street:
        assert (await street.act(first, "approve", by=street.admin)).status_code == 200
        await street.until(first, "confirmed")

        async def swept() -> bool | None:
            await street.sweep()
            return True if (await street.get(second))["status"] == "confirmed" else None

        await until(swept)


async def test_a_held_payout_goes_on_when_it_is_resumed(street: Street) -> None:
    payout_id = (await street.post(amount="10001"))["transaction"]["id"]
    assert (await street.act(payout_id, "hold")).status_code == 200
    approved = await street.act(payout_id, "approve", by=street.admin)
    assert approved.json()["waits_for"] == "resume"
    other = (await street.post())["transaction"]["id"]
    await street.until(other, "confirmed")
    assert (await street.get(payout_id))["status"] == "accepted", "it is agreed to, and it is held"
    assert (await street.act(payout_id, "resume")).status_code == 200
    await street.until(payout_id, "confirmed")
    assert await street.told(payout_id) == [
        "payout.created",
        "payout.awaiting_approval",
        "payout.held",
        "payout.approved",
        "payout.resumed",
        "payout.submitted",
        "payout.confirmed",
    ]


async def test_a_recipient_without_a_trustline_is_a_failure_that_a_person_retries_once_it_is_mended(
    street: Street,
) -> None:
    world = street.world
    recipient = Keypair.random()
    payout_id = (await street.post(destination_account=street.funded(recipient)))["transaction"]["id"]
    failed = await street.until(payout_id, "failed")
    assert (failed["reason_code"], failed["waits_for"]) == ("trustline_missing", "person")
    assert (await street.told(payout_id))[-1] == "payout.failed"
    await street.handle(payout_id).result()
    await street.trust(recipient)
    retried = await street.act(payout_id, "retry")
    assert retried.status_code == 200, retried.text
    found = await street.until(payout_id, "confirmed")
    assert found["attempts"] == 2
    assert await world.balance(world.usdc, recipient) == Amount.parse("100.5")


async def test_a_failed_payout_can_be_given_up(street: Street) -> None:
    payout_id = (await street.post(destination_account=street.funded(Keypair.random())))["transaction"]["id"]
    await street.until(payout_id, "failed")
    cancelled = await street.act(payout_id, "cancel")
    assert (cancelled.status_code, cancelled.json()["status"]) == (200, "cancelled")
    again = await street.act(payout_id, "retry")
    assert (again.status_code, again.json()["code"]) == (409, "wrong_state")


async def test_a_story_that_temporal_lost_is_begun_again_by_the_sweeper(street: Street) -> None:
    payout_id = (await street.post(amount="10001"))["transaction"]["id"]
    await street.handle(payout_id).terminate("lost")
    assert (await street.act(payout_id, "approve", by=street.admin)).status_code == 200

    async def swept() -> bool | None:
        await street.sweep()
        return True if (await street.get(payout_id))["status"] == "confirmed" else None

    await until(swept)
