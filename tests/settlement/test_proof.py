"""Only proof about the very number that a settlement holds ends it, whoever walks it and however late."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from activities.settlement_parts import Proof, Settlement
from adapters.database.settlements_tables import pins
from adapters.stellar.rpc import Rpc
from domain.errors import Conflict, Refused
from domain.money import Amount
from domain.settlement import Control, Intent, SettlementStatus
from localnet.clients import LocalLedger
from tests.settlement.conftest import Bench, until_final
from workers.engine import Engine

PENALTY = Amount.of(1_000)


async def written(engine: Engine, settlement_id: str) -> Settlement:
    """Walk up to the write before the first send: signed and recorded, not a byte has left."""
    settlement = await engine.activities._build(await engine.book.load(settlement_id))
    return await engine.activities._sign_and_write(settlement)


async def failed_on_the_ledger(bench: Bench, engine: Engine, intent: Intent) -> Proof:
    """A first try that the ledger itself recorded as failed: the allowance shrank after the simulation."""
    await bench.accept(engine, intent)
    sent = await written(engine, intent.settlement_id)
    await bench.world.approve(Amount.of(10))
    try:
        outcome = await until_final(engine, intent.settlement_id)
    finally:
        await bench.world.approve(Amount.of(500_000))
    assert (outcome.status, outcome.reason_code) == (SettlementStatus.FAILED, "failed_on_ledger")
    assert sent.send is not None
    proof = await engine.ledger.find((sent.send.outer_hash,))
    assert proof is not None
    return proof


async def retried(bench: Bench, engine: Engine, intent: Intent) -> Settlement:
    async with bench.database.begin() as connection:
        await engine.book.retry(connection, intent)
    return await written(engine, intent.settlement_id)


async def test_a_failed_try_says_nothing_of_the_next_one_that_is_in_flight(bench: Bench) -> None:
    world, intent = bench.world, bench.intent()
    async with bench.engine() as engine:
        await failed_on_the_ledger(bench, engine, intent)
        before = await world.balance(world.usdc, world.operator)
        again = await retried(bench, engine, intent)
        judged = await engine.activities._judge(again)
        assert judged.status.in_flight, judged.outcome
        outcome = await until_final(engine, intent.settlement_id)
    assert outcome.status is SettlementStatus.CONFIRMED
    assert before - await world.balance(world.usdc, world.operator) == PENALTY


async def test_a_follower_that_is_late_cannot_fail_a_retry_by_the_try_before(bench: Bench) -> None:
    intent = bench.intent()
    async with bench.engine() as engine:
        old = await failed_on_the_ledger(bench, engine, intent)
        await retried(bench, engine, intent)
        assert await engine.book.record_landed([(intent.settlement_id, old)]) == frozenset()
        assert (await engine.book.outcome(intent.settlement_id)).status is SettlementStatus.SUBMITTED
        assert (await until_final(engine, intent.settlement_id)).status is SettlementStatus.CONFIRMED


async def test_a_cancelled_payment_is_not_given_up_while_its_first_envelope_may_still_land(
    bench: Bench, ledger: LocalLedger
) -> None:
    """The no-op ends sooner than the payment does; its end proves nothing about the payment."""
    world = bench.world
    before = await world.balance(world.usdc, world.operator)
    async with bench.engine() as engine:
        settlement_id = await bench.accept(engine, bench.intent())
        paying = await written(engine, settlement_id)
        async with bench.database.begin() as connection:
            await engine.book.control(connection, settlement_id, Control.CANCEL)
        engine.activities._validity = timedelta(seconds=1)
        burning = await engine.activities._steer(await engine.book.load(settlement_id), bump=False)
        assert burning.attempt is not None
        assert burning.attempt.burn
        while engine.follower.closed_at <= burning.attempt.max_time:
            await engine.follower.wait(settlement_id)
        judged = await engine.activities._judge(await engine.book.load(settlement_id))
        assert judged.status.in_flight, judged.outcome
        assert paying.send is not None
        await engine.ledger.send(paying.send)
        outcome = await until_final(engine, settlement_id)
    assert outcome.status is SettlementStatus.CONFIRMED
    assert before - await world.balance(world.usdc, world.operator) == PENALTY


async def test_the_no_op_of_a_cancel_lands_at_a_higher_bid_too(bench: Bench) -> None:
    world = bench.world
    before = await world.balance(world.usdc, world.operator)
    async with bench.engine() as engine:
        settlement_id = await bench.accept(engine, bench.intent())
        await written(engine, settlement_id)
        async with bench.database.begin() as connection:
            await engine.book.control(connection, settlement_id, Control.CANCEL)
        first = await engine.activities._steer(await engine.book.load(settlement_id), bump=False)
        higher = await engine.activities._steer(first, bump=True)
        assert first.send is not None
        assert higher.send is not None
        assert higher.send.inclusion_fee > first.send.inclusion_fee
        assert await engine.ledger.send(higher.send) == "PENDING"
        outcome = await until_final(engine, settlement_id)
    assert outcome.status is SettlementStatus.CANCELLED
    assert await world.balance(world.usdc, world.operator) == before


@pytest.mark.parametrize("control", [Control.HOLD, Control.CANCEL])
async def test_what_is_held_or_cancelled_before_the_send_is_written_is_not_sent(
    bench: Bench, control: Control
) -> None:
    """The word comes while the payer signs: the answer to it was given, so the send must see it."""
    world = bench.world
    before = await world.balance(world.usdc, world.operator)
    async with bench.engine() as engine:
        settlement_id = await bench.accept(engine, bench.intent())
        signer: Any = engine.activities._signers[world.pool.public_key]
        sign = signer.sign

        async def interrupted(transaction_hash: bytes) -> bytes:
            async with bench.database.begin() as connection:
                await engine.book.control(connection, settlement_id, control)
            signature: bytes = await sign(transaction_hash)
            return signature

        signer.sign = interrupted
        outcome = await engine.activities.walk(settlement_id)
        async with bench.database.begin() as connection:
            lane_signed: list[bool] = list((await connection.execute(select(pins.c.lane_signed))).scalars())
    assert outcome.status is (SettlementStatus.CANCELLED if control is Control.CANCEL else SettlementStatus.BUILT)
    assert lane_signed == [False]
    assert await world.balance(world.usdc, world.operator) == before


async def test_a_cancel_stands_and_a_held_payment_is_released_by_a_resume_only(bench: Bench) -> None:
    async with bench.engine() as engine:
        settlement_id = await bench.accept(engine, bench.intent())

        async def ask(control: Control) -> None:
            async with bench.database.begin() as connection:
                await engine.book.control(connection, settlement_id, control)

        await ask(Control.HOLD)
        with pytest.raises(Conflict, match="held"):
            await ask(Control.BUMP)
        await ask(Control.NONE)
        await ask(Control.CANCEL)
        for control in (Control.HOLD, Control.NONE, Control.BUMP):
            with pytest.raises(Conflict, match="cancelled"):
                await ask(control)
        await ask(Control.CANCEL)
        assert (await until_final(engine, settlement_id)).status is SettlementStatus.CANCELLED


async def test_a_worker_that_slept_through_a_correction_cannot_build_the_old_payment(bench: Bench) -> None:
    """It had read 25 minutes; meanwhile that failed, was corrected to 20, and was accepted again."""
    world = bench.world
    wrong = bench.intent(minutes=25)
    outage_id = wrong.settlement_id.partition(":")[2]
    before = await world.balance(world.usdc, world.operator)
    async with bench.engine() as sleeper, bench.engine() as engine:
        slept = await sleeper.book.load(await bench.accept(engine, wrong))
        await engine.book.fail_unsent(await engine.book.load(wrong.settlement_id), Refused("a wrong time"))
        async with bench.database.begin() as connection:
            await engine.book.retry(connection, bench.intent(minutes=20, outage_id=outage_id))
        awake = await sleeper.activities._build(slept)
        assert awake.intent.amount_units == Amount.of(500).units
        assert awake.attempt is None
        assert (await until_final(engine, wrong.settlement_id)).status is SettlementStatus.CONFIRMED
    assert before - await world.balance(world.usdc, world.operator) == Amount.of(500)


async def test_the_token_that_the_contract_draws_must_be_the_one_that_is_recorded(bench: Bench) -> None:
    """A penalty's token is not in what we sign: another in the settings would be recorded, and never moved."""
    async with bench.engine() as engine:
        intent = bench.intent().model_copy(update={"asset": bench.world.nociq})
        outcome = await until_final(engine, await bench.accept(engine, intent))
    assert (outcome.status, outcome.reason_code) == (SettlementStatus.FAILED, "decision_differs")
    assert outcome.details["contract_token"] == bench.world.usdc


async def test_a_worker_that_starts_amid_payments_halts_nothing(bench: Bench) -> None:
    """Lanes move between its look at the record and its look at the ledger: no time went back."""
    async with bench.engine() as engine, Rpc(bench.world.url) as rpc:
        lanes: Any = engine.lanes
        ledger_entries = engine.rpc.ledger_entries

        async def while_another_pays(keys: Any) -> Any:
            lanes._rpc.ledger_entries = ledger_entries
            for _ in range(2):
                paid = await until_final(engine, await bench.accept(engine, bench.intent()))
                assert paid.status is SettlementStatus.CONFIRMED
            return await rpc.ledger_entries(keys)

        lanes._rpc.ledger_entries = while_another_pays
        assert await engine.lanes.ahead() is None


async def test_a_node_that_lags_does_not_look_like_a_restored_database(bench: Bench, ledger: LocalLedger) -> None:
    async with bench.engine() as engine:
        paid = await until_final(engine, await bench.accept(engine, bench.intent()))
        assert paid.status is SettlementStatus.CONFIRMED
        ledger.fault("ingestion_lag", ledgers=30, count=2, method="getLedgerEntries")
        assert await engine.lanes.ahead() is None
