"""A settlement on the real ledger pays exactly what the SLA says, once."""

import asyncio

from sqlalchemy import text, update

from adapters.database.settlements_tables import settlements
from domain.money import Amount
from domain.settlement import SettlementStatus
from domain.sla import Severity
from tests.settlement.conftest import Bench, until_final


async def test_a_penalty_is_drawn_from_the_operator_into_the_pool(bench: Bench) -> None:
    world = bench.world
    before = await world.balance(world.usdc, world.operator)
    pool_before = await world.balance(world.usdc, world.pool)
    async with bench.engine() as engine:
        outcome = await engine.activities.walk(await bench.accept(engine, bench.intent()))
    assert outcome.status is SettlementStatus.CONFIRMED, outcome
    assert outcome.tx_hash
    assert outcome.ledger
    assert before - await world.balance(world.usdc, world.operator) == Amount.of(1_000)
    assert await world.balance(world.usdc, world.pool) - pool_before == Amount.of(1_000)


async def test_a_reward_goes_from_the_pool_to_the_noc_team(bench: Bench) -> None:
    world = bench.world
    before = await world.balance(world.nociq, world.noc_team)
    async with bench.engine() as engine:
        outcome = await engine.activities.walk(await bench.accept(engine, bench.intent(Severity.HIGH, 10)))
    assert outcome.status is SettlementStatus.CONFIRMED, outcome
    assert await world.balance(world.nociq, world.noc_team) - before == Amount.of(1_500)


async def test_walking_again_gives_the_same_payment_and_moves_nothing(bench: Bench) -> None:
    world = bench.world
    async with bench.engine() as engine:
        settlement_id = await bench.accept(engine, bench.intent())
        first = await engine.activities.walk(settlement_id)
        before = await world.balance(world.usdc, world.operator)
        assert await engine.activities.walk(settlement_id) == first
        assert await world.balance(world.usdc, world.operator) == before


async def test_two_workers_at_one_settlement_pay_once(bench: Bench) -> None:
    world = bench.world
    before = await world.balance(world.usdc, world.operator)
    async with bench.engine() as one, bench.engine() as other:
        settlement_id = await bench.accept(one, bench.intent())
        outcomes = await asyncio.gather(
            *(engine.activities.walk(settlement_id) for engine in (one, other, one, other)), return_exceptions=True
        )
        final = await one.activities.walk(settlement_id)
    assert final.status is SettlementStatus.CONFIRMED, outcomes
    assert before - await world.balance(world.usdc, world.operator) == Amount.of(1_000)


async def test_many_settlements_at_once_each_pay_once(bench: Bench) -> None:
    world = bench.world
    before = await world.balance(world.usdc, world.operator)
    async with bench.engine() as engine:
        await engine.lanes.ensure(12)
        ids = [await bench.accept(engine, bench.intent()) for _ in range(12)]
        outcomes = await asyncio.gather(*(engine.activities.walk(one) for one in ids))
    assert {outcome.status for outcome in outcomes} == {SettlementStatus.CONFIRMED}, outcomes
    assert before - await world.balance(world.usdc, world.operator) == Amount.of(12_000)


async def test_a_reward_that_the_record_forgot_is_found_paid_and_not_paid_again(bench: Bench) -> None:
    """A replay authorizes no transfer, so its tree is smaller than the one that was signed."""
    world = bench.world
    intent = bench.intent(Severity.HIGH, 10)
    async with bench.engine() as engine:
        paid = await engine.activities.walk(await bench.accept(engine, intent))
        before = await world.balance(world.nociq, world.noc_team)
        async with bench.database.begin() as connection:
            await connection.execute(text("ALTER TABLE settlements DISABLE TRIGGER check_transition"))
            await connection.execute(update(settlements).values(status="accepted", tx_hash=None))
            await connection.execute(text("ALTER TABLE settlements ENABLE TRIGGER check_transition"))
        again = await engine.activities.walk(intent.settlement_id)
    assert again.status is SettlementStatus.CONFIRMED
    assert again.tx_hash == paid.tx_hash
    assert await world.balance(world.nociq, world.noc_team) == before


async def test_the_days_limit_counts_what_is_reserved_and_not_what_failed(bench: Bench) -> None:
    world = bench.world
    async with bench.engine(policy_day_amount="1500") as engine:
        first = await until_final(engine, await bench.accept(engine, bench.intent()))
        second = await until_final(engine, await bench.accept(engine, bench.intent()))
        small = await until_final(engine, await bench.accept(engine, bench.intent(Severity.CRITICAL, 20)))
    assert first.status is SettlementStatus.CONFIRMED
    assert second.status is SettlementStatus.FAILED
    assert second.reason_code == "policy_day"
    assert small.status is SettlementStatus.CONFIRMED, "500 still fit beside 1,000"
    assert await world.balance(world.usdc, world.operator) > Amount(0)
