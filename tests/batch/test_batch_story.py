"""A batch from its rows to the ledger: each row is paid once, or proved not paid, and says why."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from stellar_sdk import Keypair, scval

import workflows.batch
from activities.story_names import batch_story_id
from adapters.database.batch_story import BatchDesk, BatchRules
from adapters.temporal.stories import Stories
from adapters.temporal.wallet_stories import WalletStories
from domain.batch import BatchStatus, RowStatus, chunk_intent
from domain.errors import Forbidden
from domain.fees import FeePolicy
from domain.money import Amount
from domain.settlement import Control, SigningMode
from localnet.clients import LocalLedger
from tests.batch.conftest import TINY, Street, trusting
from workers.sweeper import Sweeper


async def test_every_row_is_paid_and_reported_with_its_transaction(street: Street, paid: list[Keypair]) -> None:
    async with street.working():
        batch_id = await street.send([(one.public_key, f"{number + 1}") for number, one in enumerate(paid)])
        batch = await street.until(batch_id, BatchStatus.COMPLETED)
    assert (batch.counts.paid, batch.counts.failed, batch.chunks) == (10, 0, 3)
    assert batch.paid_units == batch.amount_units == Amount.of(55).units
    for number, one in enumerate(paid):
        assert await street.balance(one) == Amount.of(number + 1)
    rows = await street.rows(batch_id)
    assert {row.status for row in rows} == {RowStatus.PAID}
    assert len({row.tx_hash for row in rows}) == 3
    assert await street.told(batch_id) == ["batch.accepted", "batch.completed"]


async def test_bad_rows_are_never_paid_and_who_cannot_be_paid_does_not_fail_the_rest(
    street: Street, paid: list[Keypair]
) -> None:
    stranger = Keypair.random()
    rows = [(one.public_key, "1") for one in paid[:6]]
    rows[2:2] = [("nobody", "1"), (stranger.public_key, "1")]
    async with street.working():
        batch_id = await street.send(rows)
        batch = await street.until(batch_id, BatchStatus.COMPLETED)
    assert (batch.counts.paid, batch.counts.failed, batch.counts.bad) == (6, 1, 1)
    assert batch.paid_units == Amount.of(6).units
    found = await street.rows(batch_id)
    assert [row.status for row in found[2:4]] == [RowStatus.BAD, RowStatus.FAILED]
    assert found[3].reason_code in {"trustline_missing", "account_missing"}
    assert found[3].tx_hash == found[1].tx_hash, "the call that reported it paid the others"


async def test_the_same_batch_sent_to_a_record_that_lost_it_pays_nothing_again(
    street: Street, paid: list[Keypair]
) -> None:
    rows = [(one.public_key, "2") for one in paid]
    async with street.working():
        batch_id = await street.send(rows, key="wages")
        await street.until(batch_id, BatchStatus.COMPLETED)
        await _forget(street)
        assert await street.send(rows, key="wages") == batch_id
        again = await street.until(batch_id, BatchStatus.COMPLETED)
    assert again.counts.paid == 10
    assert [row.status for row in await street.rows(batch_id)] == [RowStatus.PAID] * 10
    for one in paid:
        assert await street.balance(one) == Amount.of(2)


async def _forget(street: Street) -> None:
    """As a restore to before the batch would have it; the lanes go on where the ledger has them."""
    async with street.database.begin() as connection:
        await connection.exec_driver_sql("TRUNCATE batch_rows, batch_chunks, batches")
        await connection.exec_driver_sql("UPDATE lanes SET settlement_id = NULL")
        await connection.exec_driver_sql("TRUNCATE sends, attempts, settlement_history")
        await connection.exec_driver_sql("DELETE FROM pins")
        await connection.exec_driver_sql("DELETE FROM settlements")


async def test_a_chunk_of_which_nobody_can_be_paid_says_of_each_why(street: Street, paid: list[Keypair]) -> None:
    strangers = [Keypair.random() for _ in range(4)]
    async with street.working():
        batch_id = await street.send([(one.public_key, "1") for one in [*strangers, *paid[:4]]])
        batch = await street.until(batch_id, BatchStatus.COMPLETED)
    assert (batch.counts.paid, batch.counts.failed) == (4, 4)
    rows = await street.rows(batch_id)
    assert {row.reason_code for row in rows[:4]} <= {"trustline_missing", "account_missing"}
    assert {row.tx_hash for row in rows[:4]} == {None}


async def test_a_failed_row_is_paid_when_its_reason_is_mended_and_somebody_asks(
    street: Street, paid: list[Keypair]
) -> None:
    late = Keypair.random()
    async with street.working():
        batch_id = await street.send([(one.public_key, "1") for one in [*paid[:3], late]])
        batch = await street.until(batch_id, BatchStatus.COMPLETED)
        assert batch.counts.failed == 1
        await trusting(street.world, [late])
        await street.command("retry", batch_id)
        batch = await street.until(batch_id, lambda found: found.counts.paid == 4)
        batch = await street.until(batch_id, BatchStatus.COMPLETED)
    assert batch.counts.failed == 0
    assert batch.paid_units == Amount.of(4).units
    assert await street.balance(late) == Amount.of(1)
    assert await street.balance(paid[0]) == Amount.of(1)
    last = (await street.rows(batch_id))[3]
    assert last.settlement_id == f"chunk:{batch_id}.r4.2", "its id derives from batch, row and attempt"


async def test_a_trustline_made_between_simulation_and_ledger_does_not_fail_the_others(
    street: Street, paid: list[Keypair]
) -> None:
    """It is only read in the simulation; were it only read on the ledger too, writing it would trap the call."""
    late = Keypair.random()
    world = street.world
    async with street.working() as engine:
        simulate = engine.ledger.simulate
        made = asyncio.Event()

        async def simulate_then_trust(intent: object) -> object:
            simulation = await simulate(intent)  # type: ignore[arg-type]
            if not made.is_set():
                made.set()
                await trusting(world, [late])
            return simulation

        engine.ledger.simulate = simulate_then_trust  # type: ignore[method-assign, assignment]
        batch_id = await street.send([(one.public_key, "1") for one in [*paid[:3], late]])
        batch = await street.until(batch_id, BatchStatus.COMPLETED)
    assert made.is_set()
    assert (batch.counts.paid, batch.counts.failed) == (4, 0)
    assert {row.tx_hash for row in await street.rows(batch_id)} != {None}
    assert await street.balance(late) == Amount.of(1)


# What stands against every row


async def test_a_contract_that_holds_too_little_stops_the_batch_with_both_figures(
    street: Street, paid: list[Keypair]
) -> None:
    street.contract = await street.world.new_payout(usdc=Amount.of(25))
    street.window = 1
    async with street.working():
        batch_id = await street.send([(one.public_key, "5") for one in paid[:8]])
        batch = await street.until(batch_id, BatchStatus.STOPPED)
        assert (batch.counts.paid, batch.counts.waiting) == (4, 4)
        assert batch.reason_code == "payout_contract_short"
        assert batch.reason is not None
        assert "20 are needed" in batch.reason
        assert "holds 5" in batch.reason
        assert batch.reason_details["unpaid"] == "20.0000000"
        fund = (scval.to_address(street.world.pool.public_key), scval.to_address(street.world.usdc))
        await street.world.call_payout("fund", *fund, scval.to_int128(10**9), contract=street.contract)
        await street.command("resume", batch_id)
        batch = await street.until(batch_id, BatchStatus.COMPLETED)
    assert batch.counts.paid == 8
    assert [await street.balance(one) for one in paid[:8]] == [Amount.of(5)] * 8
    assert await street.told(batch_id) == [
        "batch.accepted",
        "batch.stopped",
        "batch.resumed",
        "batch.completed",
    ]


async def test_a_call_that_would_cost_too_much_is_divided_until_it_fits(
    street: Street, paid: list[Keypair]
) -> None:
    """Eight rows at once cost more than is allowed; four do not."""
    limits = await street.limits()
    async with street.working() as engine:

        async def cost(people: list[Keypair]) -> int:
            recipients = [(one.public_key, 10**7) for one in people]
            intent = chunk_intent(
                "bat0123456789abcdef",
                "0",
                recipients,
                token=street.world.usdc,
                signing=SigningMode.ENVELOPE,
                terms=street.terms,
            )
            return (await engine.ledger.simulate(intent)).resource_fee

        between = (await cost(paid[:4]) + await cost(paid[:8])) // 2
        engine.activities._fees_of_lists = FeePolicy(max_gas_stroops=between)
        batch_id = await street.send([(one.public_key, "1") for one in paid[:8]], limits=limits)
        batch = await street.until(batch_id, BatchStatus.COMPLETED)
    assert batch.counts.paid == 8
    keys = {str(row.settlement_id).partition(".")[2] for row in await street.rows(batch_id)}
    assert keys == {"1.1", "1.2"}
    assert [await street.balance(one) for one in paid[:8]] == [Amount.of(1)] * 8


async def test_a_blocked_destination_is_found_among_the_others(street: Street, paid: list[Keypair]) -> None:
    street.blocked = frozenset({paid[2].public_key})
    async with street.working():
        batch_id = await street.send([(one.public_key, "1") for one in paid[:8]])
        batch = await street.until(batch_id, BatchStatus.COMPLETED)
    assert (batch.counts.paid, batch.counts.failed) == (7, 1)
    rows = await street.rows(batch_id)
    assert (rows[2].status, rows[2].reason_code) == (RowStatus.FAILED, "destination_blocked")
    assert await street.balance(paid[2]) == Amount(0)


# People in between


async def test_a_paused_batch_sends_nothing_more_until_it_is_resumed(street: Street, paid: list[Keypair]) -> None:
    street.window = 1
    async with street.working():
        batch_id = await street.send([(one.public_key, "1") for one in paid])
        await street.until(batch_id, lambda batch: batch.counts.sending > 0)
        await street.command("pause", batch_id)
        batch = await street.until(batch_id, lambda found: not found.counts.sending)
        assert batch.status is BatchStatus.PAUSED
        assert batch.counts.waiting > 0
        waiting = batch.counts.waiting
        await street.stories.batch_changed(batch_id)
        assert (await street.read(batch_id)).counts.waiting == waiting
        await street.command("resume", batch_id)
        batch = await street.until(batch_id, BatchStatus.COMPLETED)
    assert batch.counts.paid == 10


async def test_a_cancel_withdraws_what_is_unsent_and_follows_what_was_sent(
    street: Street, paid: list[Keypair]
) -> None:
    street.window = 1
    async with street.working():
        batch_id = await street.send([(one.public_key, "1") for one in paid])
        await street.until(batch_id, lambda batch: batch.counts.sending > 0)
        await street.command("cancel", batch_id)
        batch = await street.until(batch_id, BatchStatus.CANCELLED)
    assert batch.counts.cancelled >= 6
    assert batch.counts.cancelled + batch.counts.paid == 10
    rows = await street.rows(batch_id)
    for one, row in zip(paid, rows, strict=True):
        expected = Amount.of(1) if row.status is RowStatus.PAID else Amount(0)
        assert await street.balance(one) == expected
    assert (await street.told(batch_id))[-1] == "batch.cancelled"


async def test_one_call_that_an_operator_withdraws_stops_the_batch_and_its_rows_can_still_be_paid(
    street: Street, paid: list[Keypair]
) -> None:
    batch_id = await street.send([(one.public_key, "1") for one in paid[:4]], wake=False)
    async with street.bench.engine() as engine:
        desk = BatchDesk(street.database, engine.book, BatchRules(street.terms, window=4))
        (opened,) = (await desk.take_stock(batch_id, datetime.now(UTC))).open
        async with street.database.begin() as connection:
            await engine.book.control(connection, opened, Control.CANCEL)
    async with street.working():
        await street.stories.batch_changed(batch_id)
        batch = await street.until(batch_id, BatchStatus.STOPPED)
        assert (batch.reason_code, batch.counts.waiting) == ("cancelled", 4)
        await street.command("resume", batch_id)
        batch = await street.until(batch_id, BatchStatus.COMPLETED)
    assert batch.counts.paid == 4
    assert {row.settlement_id for row in await street.rows(batch_id)} == {f"{opened}.1", f"{opened}.2"}


async def test_a_batch_that_waits_for_approval_sends_nothing(street: Street, paid: list[Keypair]) -> None:
    async with street.working():
        batch_id = await street.send([(paid[0].public_key, "1")], needs_approval=True)
        batch = await street.read(batch_id)
        assert (batch.status, batch.counts.waiting) == (BatchStatus.AWAITING_APPROVAL, 1)
        await street.command("approve", batch_id)
        await street.until(batch_id, BatchStatus.COMPLETED)
    assert "batch.awaiting_approval" in await street.told(batch_id)


async def test_a_four_eyes_limit_that_was_lowered_holds_for_what_is_not_sent_yet(
    street: Street, paid: list[Keypair]
) -> None:
    """Accepted below the limit and paused, for days perhaps."""
    batch_id = await street.send([(one.public_key, "1") for one in paid[:2]], wake=False)
    await street.command("pause", batch_id, wake=False)
    street.four_eyes_above = Amount.of(1)
    async with street.working():
        await street.command("resume", batch_id, by="initiator")
        batch = await street.until(batch_id, BatchStatus.AWAITING_APPROVAL)
        assert (batch.needs_approval, batch.counts.waiting) == (True, 2)
        with pytest.raises(Forbidden):
            await street.command("approve", batch_id, by="initiator")
        await street.command("approve", batch_id)
        await street.until(batch_id, BatchStatus.COMPLETED)
    assert [await street.balance(one) for one in paid[:2]] == [Amount.of(1)] * 2


# What fails


async def test_a_ledger_that_does_not_answer_pays_each_row_once(
    street: Street, paid: list[Keypair], ledger: LocalLedger
) -> None:
    ledger.fault("drop_answer_after", method="sendTransaction", count=3)
    ledger.fault("unavailable", method="simulateTransaction", count=2)
    async with street.working():
        batch_id = await street.send([(one.public_key, "1") for one in paid])
        await street.until(batch_id, BatchStatus.COMPLETED)
    assert [await street.balance(one) for one in paid] == [Amount.of(1)] * 10


async def test_a_long_story_begins_anew_and_pays_each_row_once(
    street: Street, paid: list[Keypair], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workflows.batch, "_EVENTS_MAX", 20)
    street.window = 2
    street.sandbox = False
    ones = replace(TINY, rows_max=1)
    async with street.working():
        batch_id = await street.send([(one.public_key, "1") for one in paid], limits=ones)
        batch = await street.until(batch_id, BatchStatus.COMPLETED)
        handle = street.client.get_workflow_handle(batch_story_id(batch_id))
        assert (await handle.result())["status"] == "completed"
    assert (batch.counts.paid, batch.chunks) == (10, 10)
    assert [await street.balance(one) for one in paid] == [Amount.of(1)] * 10
    (first, *_) = (await handle.fetch_history()).events
    assert first.workflow_execution_started_event_attributes.continued_execution_run_id


async def test_a_story_that_temporal_lost_is_begun_again_by_the_sweeper(
    street: Street, paid: list[Keypair]
) -> None:
    batch_id = await street.send([(one.public_key, "1") for one in paid], wake=False)
    async with street.database.begin() as connection:
        await connection.exec_driver_sql("UPDATE batches SET changed_at = changed_at - interval '1 minute'")
    sweeper = Sweeper(
        street.database, Stories(street.client), WalletStories(street.client), batches=street.stories
    )
    assert await sweeper.sweep() == [f"batch:{batch_id}"]
    async with street.working():
        batch = await street.until(batch_id, BatchStatus.COMPLETED)
    assert batch.counts.paid == 10
