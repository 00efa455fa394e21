"""A batch whose calls somebody outside signs, hours later and each by itself: every row is paid once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from sqlalchemy import func, select
from stellar_sdk import Keypair
from temporalio.testing import WorkflowEnvironment

import workflows.batch
from activities.story_names import batch_story_id
from adapters.database.engine import Database
from adapters.database.settlements_tables import lanes
from adapters.database.switches import freeze, thaw
from domain.batch import BatchStatus, RowStatus
from domain.errors import Refused
from domain.money import Amount
from domain.payout import PayoutMode
from domain.settlement import Intent, SigningMode
from domain.signing import SigningRequest
from localnet.clients import LocalLedger
from tests.batch.conftest import TINY, Street, trusting
from tests.settlement.conftest import Bench
from tests.settlement.payouts import Payouts, lands, sign, signed_by
from tests.settlement.test_auth_entries import pass_ledgers, used_by_a_stranger
from tests.settlement.test_deferred import expire
from tests.waiting import until
from workers.engine import Engine

_DAY = 86_400


@pytest.fixture
async def payouts(bench: Bench, ledger: LocalLedger) -> Payouts:
    return await Payouts.make(bench, ledger)


@pytest.fixture
async def street(payouts: Payouts, database: Database, temporal: WorkflowEnvironment) -> Street:
    """Whose payer signs outside."""
    return Street(
        payouts.bench,
        database,
        temporal.client,
        payouts.contract,
        payer=payouts.payer.public_key,
        mode=PayoutMode.EXTERNAL,
        given=payouts.given(payout_signature_validity_seconds=_DAY),
    )


async def asked(engine: Engine, batch_id: str, count: int) -> tuple[SigningRequest, ...]:
    """The requests of a batch in the order of its calls, once so many wait."""

    async def look() -> tuple[SigningRequest, ...] | None:
        found = await engine.requests.waiting(batch_id=batch_id)
        in_order = tuple(sorted(found, key=lambda request: request.settlement_id))
        return in_order if len(found) == count else None

    return await until(look, seconds_max=60)


async def give(street: Street, payer: Keypair, *requests: SigningRequest) -> None:
    """Hand the signatures over, as the front does."""
    receipts = await asyncio.gather(
        *(street.stories.submit_signature(one.settlement_id, signed_by(one, payer)) for one in requests)
    )
    assert all(receipt.complete for receipt in receipts)


async def refused(street: Street, payer: Keypair, request: SigningRequest) -> str:
    with pytest.raises(Refused) as caught:
        await street.stories.submit_signature(request.settlement_id, signed_by(request, payer))
    return caught.value.code


async def idle(street: Street, batch_id: str) -> None:
    """Wait until no walk of the batch is under way, and its story waits for somebody."""

    async def look() -> bool | None:
        described = await street.client.get_workflow_handle(batch_story_id(batch_id)).describe()
        told = described.raw_description
        return None if told.pending_activities or told.HasField("pending_workflow_task") else True

    await until(look)


async def intent_of(engine: Engine, request: SigningRequest) -> Intent:
    return (await engine.book.load(request.settlement_id)).intent


async def balances(street: Street, people: Sequence[Keypair]) -> list[Amount]:
    return [await street.balance(one) for one in people]


def ones(people: Sequence[Keypair]) -> list[tuple[str, str]]:
    return [(one.public_key, "1") for one in people]


async def test_calls_signed_hours_later_pay_each_row_once_and_hold_no_lane_meanwhile(
    street: Street, payouts: Payouts, paid: list[Keypair], ledger: LocalLedger
) -> None:
    async with street.working(lanes_waiting=0) as engine:
        batch_id = await street.send(ones(paid))
        requests = await asked(engine, batch_id, 3)
        assert {one.kind for one in requests} == {SigningMode.AUTH_ENTRY}
        async with street.database.look() as connection:
            query = select(func.count()).select_from(lanes).where(lanes.c.settlement_id.is_not(None))
            assert (await connection.execute(query)).scalar_one() == 0
        await idle(street, batch_id)
        waited = len(await street.history(batch_id))
        ledger.admin("ledgers/advance", count=6, seconds_each=3_600)
        assert len(await street.history(batch_id)) == waited, "hours are no event"
        await give(street, payouts.payer, *requests)
        batch = await street.until(batch_id, BatchStatus.COMPLETED)
        assert batch.counts.paid == 10
        assert await balances(street, paid) == [Amount.of(1)] * 10
        # The same signatures again, after it is over, change nothing.
        again = await street.stories.submit_signature(
            requests[0].settlement_id, signed_by(requests[0], payouts.payer)
        )
        assert again.already
    assert {row.tx_hash is None for row in await street.rows(batch_id)} == {False}
    assert await balances(street, paid) == [Amount.of(1)] * 10


async def test_what_is_signed_is_paid_while_the_others_wait_also_for_another_worker(
    street: Street, payouts: Payouts, paid: list[Keypair]
) -> None:
    async with street.working() as engine:
        batch_id = await street.send(ones(paid))
        first, *others = await asked(engine, batch_id, 3)
        await give(street, payouts.payer, first)
        batch = await street.until(batch_id, lambda found: found.counts.paid == 4)
        assert (batch.status, batch.counts.sending) == (BatchStatus.RUNNING, 6)
        await idle(street, batch_id)
    # A worker that stopped meanwhile: the story waits in Temporal, and the requests in the record.
    async with street.working() as engine:
        assert [one.id for one in await asked(engine, batch_id, 2)] == [one.id for one in others]
        await give(street, payouts.payer, *others)
        await street.until(batch_id, BatchStatus.COMPLETED)
    assert await balances(street, paid) == [Amount.of(1)] * 10


async def test_a_batch_that_names_our_own_signer_waits_for_nobody(
    street: Street, payouts: Payouts, paid: list[Keypair]
) -> None:
    hot = {"payout_signers_offered": "hot", "payout_hot_signer_secret": payouts.payer.secret}
    async with street.working(**hot) as engine:
        waits = await street.send(ones(paid[:4]))
        await asked(engine, waits, 1)
        at_once = await street.send(ones(paid[4:]), signer="hot")
        batch = await street.until(at_once, BatchStatus.COMPLETED)
        assert (batch.counts.paid, batch.signer) == (6, "hot")
        assert (await street.read(waits)).counts.paid == 0
        assert len(await engine.requests.waiting()) == 1
    assert await balances(street, paid) == [Amount(0)] * 4 + [Amount.of(1)] * 6


async def test_envelopes_ask_for_no_more_than_may_wait_with_a_lane(
    street: Street, payouts: Payouts, paid: list[Keypair], ledger: LocalLedger
) -> None:
    async with street.working(lanes_waiting=2) as engine:
        batch_id = await street.send(ones(paid), signing=SigningMode.ENVELOPE)
        first, second = await asked(engine, batch_id, 2)
        assert (await street.read(batch_id)).counts.waiting == 2
        assert not await lands(ledger, sign(first, payouts.payer)), "the lane has not signed"
        await give(street, payouts.payer, first)
        third = next(one for one in await asked(engine, batch_id, 2) if one.id != second.id)
        await give(street, payouts.payer, second, third)
        await street.until(batch_id, BatchStatus.COMPLETED)
    assert await balances(street, paid) == [Amount.of(1)] * 10


async def test_what_is_signed_while_the_batch_is_paused_is_sent_when_it_is_resumed(
    street: Street, payouts: Payouts, paid: list[Keypair]
) -> None:
    async with street.working() as engine:
        batch_id = await street.send(ones(paid))
        requests = await asked(engine, batch_id, 3)
        await idle(street, batch_id)
        await street.command("pause", batch_id)
        await give(street, payouts.payer, *requests)
        await street.stories.batch_changed(batch_id)
        await idle(street, batch_id)
        assert (await street.read(batch_id)).counts.sending == 10
        assert await balances(street, paid) == [Amount(0)] * 10
        await street.command("resume", batch_id)
        await street.until(batch_id, BatchStatus.COMPLETED)
    assert await balances(street, paid) == [Amount.of(1)] * 10


async def test_what_was_under_way_in_a_freeze_is_not_sent_by_a_thaw_while_the_batch_is_paused(
    street: Street, payouts: Payouts, paid: list[Keypair]
) -> None:
    async with street.working() as engine:
        batch_id = await street.send(ones(paid))
        requests = await asked(engine, batch_id, 3)
        async with street.database.begin() as connection:
            await freeze(connection, by="person:ada", reason="a drill", at=datetime.now(UTC))
        await give(street, payouts.payer, *requests)
        handle = street.client.get_workflow_handle(batch_story_id(batch_id))

        async def frozen() -> bool | None:
            under_way = (await handle.describe()).raw_description.pending_activities
            return (len(under_way) == 3 and all(each.attempt > 1 for each in under_way)) or None

        await until(frozen)
        await street.command("pause", batch_id)
        async with street.database.begin() as connection:
            await thaw(connection, by="person:ada", reason="it is over", at=datetime.now(UTC))
        await idle(street, batch_id)
        assert await balances(street, paid) == [Amount(0)] * 10
        await street.command("resume", batch_id)
        await street.until(batch_id, BatchStatus.COMPLETED)
    assert await balances(street, paid) == [Amount.of(1)] * 10


async def test_a_cancelled_batch_takes_no_signature_and_is_over_when_nobody_can_use_what_was_signed(
    street: Street, payouts: Payouts, paid: list[Keypair], ledger: LocalLedger
) -> None:
    """One entry is used in time, by whoever has it signed: that call was paid, and the report says so."""
    async with street.working(payout_signature_validity_seconds=60) as engine:
        batch_id = await street.send(ones(paid))
        used, late, unsigned = await asked(engine, batch_id, 3)
        await street.command("cancel", batch_id)
        await asked(engine, batch_id, 0)
        assert await refused(street, payouts.payer, late) == "signature_not_awaited"
        assert await used_by_a_stranger(ledger, await intent_of(engine, used), sign(used, payouts.payer))
        assert (await street.read(batch_id)).status is BatchStatus.CANCELLING
        await pass_ledgers(
            engine, ledger, late.settlement_id, max(one.expires_ledger or 0 for one in (used, late, unsigned))
        )
        await street.stories.batch_changed(batch_id)
        batch = await street.until(batch_id, BatchStatus.CANCELLED)
        assert (batch.counts.paid, batch.counts.cancelled) == (4, 6)
        assert not await used_by_a_stranger(ledger, await intent_of(engine, late), sign(late, payouts.payer))
        assert await refused(street, payouts.payer, late) == "signature_not_awaited", "its story has ended"
    assert await balances(street, paid) == [Amount.of(1)] * 4 + [Amount(0)] * 6
    assert [row.status for row in await street.rows(batch_id)] == [RowStatus.PAID] * 4 + [RowStatus.CANCELLED] * 6


async def test_requests_that_expired_are_made_anew_and_the_old_ones_are_superseded(
    street: Street, payouts: Payouts, paid: list[Keypair], ledger: LocalLedger
) -> None:
    async with street.working(payout_signature_validity_seconds=60) as engine:
        batch_id = await street.send(ones(paid[:8]))
        old = await asked(engine, batch_id, 2)
        for one in old:
            await expire(engine, ledger, one.settlement_id)

        async def renewed() -> tuple[SigningRequest, ...] | None:
            # Else the story looks when the request ends by its own clock.
            await street.stories.batch_changed(batch_id)
            found = await engine.requests.waiting(batch_id=batch_id)
            return found if len(found) == 2 and not {one.id for one in found} & {one.id for one in old} else None

        fresh = await until(renewed, seconds_max=60)
        assert await refused(street, payouts.payer, old[0]) == "signature_superseded"
        await give(street, payouts.payer, *fresh)
        await street.until(batch_id, BatchStatus.COMPLETED)
        for one in old:
            # Its entry can still land: the contract answers with its first outcome, and moves nothing.
            await used_by_a_stranger(ledger, await intent_of(engine, one), sign(one, payouts.payer))
    assert await balances(street, paid[:8]) == [Amount.of(1)] * 8


async def test_a_call_that_the_policy_refuses_after_it_was_signed_is_divided_when_it_cannot_land(
    street: Street, payouts: Payouts, paid: list[Keypair], ledger: LocalLedger
) -> None:
    async with street.working(payout_signature_validity_seconds=60) as engine:
        batch_id = await street.send(ones(paid[:4]))
        (whole,) = await asked(engine, batch_id, 1)
        await idle(street, batch_id)
        await street.command("pause", batch_id)
        await give(street, payouts.payer, whole)
        await idle(street, batch_id)
    async with street.working(payout_signature_validity_seconds=60, policy_max_amount="3") as engine:
        await street.command("resume", batch_id)

        async def ending() -> bool | None:
            return True if (await engine.book.load(whole.settlement_id)).ending is not None else None

        await until(ending, seconds_max=60)
        assert "until ledger" in (await engine.book.why(whole.settlement_id)).sentence
        await pass_ledgers(engine, ledger, whole.settlement_id, whole.expires_ledger or 0)
        await street.stories.batch_changed(batch_id)
        halves = await asked(engine, batch_id, 2)
        assert {one.settlement_id for one in halves} == {f"{whole.settlement_id}.{half}" for half in (1, 2)}
        await give(street, payouts.payer, *halves)
        await street.until(batch_id, BatchStatus.COMPLETED)
        assert not await used_by_a_stranger(ledger, await intent_of(engine, whole), sign(whole, payouts.payer))
    assert await balances(street, paid[:4]) == [Amount.of(1)] * 4


async def test_sent_again_to_a_record_that_lost_it_nobody_is_asked_and_nothing_is_paid(
    street: Street, payouts: Payouts, paid: list[Keypair]
) -> None:
    async with street.working() as engine:
        batch_id = await street.send(ones(paid), key="wages")
        await give(street, payouts.payer, *await asked(engine, batch_id, 3))
        await street.until(batch_id, BatchStatus.COMPLETED)
        async with street.database.begin() as connection:
            await connection.exec_driver_sql("TRUNCATE signing_signatures, signing_requests")
            await connection.exec_driver_sql("TRUNCATE batch_rows, batch_chunks, batches")
            await connection.exec_driver_sql("UPDATE lanes SET settlement_id = NULL")
            await connection.exec_driver_sql("TRUNCATE sends, attempts, settlement_history")
            await connection.exec_driver_sql("DELETE FROM pins")
            await connection.exec_driver_sql("DELETE FROM settlements")
        assert await street.send(ones(paid), key="wages") == batch_id
        batch = await street.until(batch_id, BatchStatus.COMPLETED)
        assert (batch.counts.paid, await engine.requests.waiting()) == (10, ())
    assert await balances(street, paid) == [Amount.of(1)] * 10


async def test_a_story_that_begins_anew_while_it_is_signed_in_bulk_loses_no_signature(
    street: Street, payouts: Payouts, ledger: LocalLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workflows.batch, "_EVENTS_MAX", 40)
    street.sandbox = False
    people = [Keypair.random() for _ in range(20)]
    await trusting(street.world, people)
    async with street.working() as engine:
        batch_id = await street.send(ones(people), limits=replace(TINY, rows_max=1))
        requests = await asked(engine, batch_id, 20)
        gate = asyncio.Semaphore(10)

        async def post(request: SigningRequest) -> None:
            async with gate:
                await give(street, payouts.payer, request)

        await asyncio.gather(*(post(request) for request in requests))
        batch = await street.until(batch_id, BatchStatus.COMPLETED)
    assert batch.counts.paid == 20
    assert await balances(street, people) == [Amount.of(1)] * 20


async def test_refused_signatures_without_number_keep_no_right_one_out(
    street: Street, payouts: Payouts, paid: list[Keypair], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workflows.batch, "_EVENTS_MAX", 40)
    street.sandbox = False
    async with street.working() as engine:
        batch_id = await street.send(ones(paid))
        requests = await asked(engine, batch_id, 3)
        handle = street.client.get_workflow_handle(batch_story_id(batch_id))
        begun = (await handle.describe()).run_id

        async def anew() -> bool | None:
            assert await refused(street, Keypair.random(), requests[0]) == "signature_unknown_signer"
            return True if (await handle.describe()).run_id != begun else None

        # A story that only grew would at last take no more Updates, the right one neither.
        await until(anew)
        await give(street, payouts.payer, *requests)
        batch = await street.until(batch_id, BatchStatus.COMPLETED)
    assert batch.counts.paid == 10
