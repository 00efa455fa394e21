"""The ledger's RPC misbehaves in every way that it can: each payment still happens exactly once."""

from __future__ import annotations

from typing import Any

import pytest

from domain.money import Amount
from domain.settlement import SettlementStatus, Verdict, verdict
from domain.sla import Severity
from localnet.clients import LocalLedger
from tests.settlement.conftest import Bench, until_final
from tests.waiting import until

PENALTY = Amount.of(1_000)


@pytest.mark.parametrize(
    ("kind", "params"),
    [
        pytest.param(
            "drop_answer_after", {"method": "sendTransaction", "count": 1}, id="answer-lost-after-applying"
        ),
        pytest.param("drop_answer_after", {"method": "sendTransaction", "count": 5}, id="five-answers-lost"),
        pytest.param("drop_answer_before", {"method": "sendTransaction", "count": 2}, id="connection-lost-before"),
        pytest.param("unavailable", {"count": 6}, id="503-on-everything"),
        pytest.param("delay", {"method": "sendTransaction", "ms": 700, "count": 2}, id="late-answers"),
        pytest.param("try_again_later", {"count": 3}, id="try-again-later"),
        pytest.param("not_found", {"count": 10}, id="not-found-for-a-landed-hash"),
        pytest.param("ingestion_lag", {"ledgers": 3, "seconds": 1.5}, id="ingestion-lags"),
        pytest.param(
            "ingestion_lag_between", {"ledgers": 3, "seconds": 1.5}, id="ingestion-lags-within-an-answer"
        ),
        pytest.param("lagging_node", {"ledgers": 4, "seconds": 2}, id="a-node-behind-the-balancer-lags"),
        pytest.param("bad_seq_on_resend", {"seconds": 2}, id="bad-seq-for-a-landed-resend"),
        pytest.param("insufficient_fee_on_resend", {"seconds": 2}, id="insufficient-fee-for-a-resend"),
        pytest.param("stalled_ledger", {"seconds": 1.5}, id="no-ledger-closes"),
    ],
)
async def test_a_misbehaving_ledger_never_makes_us_pay_twice_or_lose_a_payment(
    bench: Bench, ledger: LocalLedger, kind: str, params: dict[str, Any]
) -> None:
    world = bench.world
    before = await world.balance(world.usdc, world.operator)
    async with bench.engine() as engine:
        settlement_id = await bench.accept(engine, bench.intent())
        ledger.fault(kind, **params)
        outcome = await until_final(engine, settlement_id)
        assert outcome.status is SettlementStatus.CONFIRMED, outcome
    ledger.clear_faults()
    assert before - await world.balance(world.usdc, world.operator) == PENALTY


async def test_an_error_answer_to_a_resend_of_a_landed_envelope_is_no_refusal(
    bench: Bench, ledger: LocalLedger
) -> None:
    world = bench.world
    before = await world.balance(world.usdc, world.operator)
    async with bench.engine() as engine:
        settlement_id = await bench.accept(engine, bench.intent())
        ledger.fault("drop_answer_after", method="sendTransaction", count=1)
        ledger.fault("not_found", count=50)
        ledger.fault("bad_seq_on_resend", count=50)
        outcome = await until_final(engine, settlement_id)
    ledger.clear_faults()
    assert outcome.status is SettlementStatus.CONFIRMED, outcome
    assert before - await world.balance(world.usdc, world.operator) == PENALTY


@pytest.mark.parametrize("shape", ["sub_invocation", "entry"])
async def test_a_simulation_that_asks_for_more_than_ours_is_refused_and_nothing_is_signed(
    bench: Bench, ledger: LocalLedger, shape: str
) -> None:
    world = bench.world
    before = await world.balance(world.usdc, world.operator)
    async with bench.engine() as engine:
        settlement_id = await bench.accept(engine, bench.intent())
        ledger.fault("hostile_simulation", shape=shape, count=5)
        outcome = await until_final(engine, settlement_id)
        settled = await engine.book.load(settlement_id)
    ledger.clear_faults()
    assert outcome.status is SettlementStatus.FAILED
    assert outcome.reason_code == "unexpected_authorization"
    assert settled.pin is None
    assert await world.balance(world.usdc, world.operator) == before


async def test_a_lagging_node_gives_no_verdict(bench: Bench, ledger: LocalLedger) -> None:
    """Before the node has come as far as what was seen, its word about lane and marker counts for nothing."""
    async with bench.engine() as engine:
        settlement_id = await bench.accept(engine, bench.intent())
        ledger.fault("stalled_ledger", seconds=30)
        settlement = await engine.book.load(settlement_id)
        settlement = await engine.activities._build(settlement)

        async def seen() -> bool | None:
            return engine.follower.sequence >= await engine.rpc.newest() or None

        await until(seen)
        ledger.fault("lagging_node", ledgers=3, count=2, method="getLedgerEntries")
        answers = []
        for _ in range(2):
            try:
                witness = await engine.ledger.witness(settlement)
            except Exception as error:
                answers.append(type(error).__name__)
                continue
            assert settlement.pin is not None
            assert settlement.attempt is not None
            found = verdict(witness, sequence=settlement.pin.sequence, max_time=settlement.attempt.max_time)
            answers.append(found)
        assert "Unavailable" in answers, answers
        assert set(answers) <= {"Unavailable", Verdict.WAIT}


async def test_a_refusal_names_both_figures(bench: Bench) -> None:
    world = bench.world
    await world.approve(Amount.of(10))
    try:
        async with bench.engine() as engine:
            outcome = await until_final(engine, await bench.accept(engine, bench.intent()))
    finally:
        await world.approve(Amount.of(500_000))
    assert outcome.status is SettlementStatus.FAILED
    assert outcome.reason_code == "allowance_too_small"
    assert outcome.details["needed"] == "1000.0000000"
    assert outcome.details["there"] == "10.0000000"


async def test_a_refused_payment_is_paid_once_by_a_retry(bench: Bench) -> None:
    world = bench.world
    intent = bench.intent()
    await world.approve(Amount.of(10))
    try:
        async with bench.engine() as engine:
            refused = await until_final(engine, await bench.accept(engine, intent))
    finally:
        await world.approve(Amount.of(500_000))
    assert refused.status is SettlementStatus.FAILED
    before = await world.balance(world.usdc, world.operator)
    async with bench.engine() as engine:
        async with bench.database.begin() as connection:
            await engine.book.retry(connection, intent)
        outcome = await until_final(engine, intent.settlement_id)
    assert outcome.status is SettlementStatus.CONFIRMED
    assert before - await world.balance(world.usdc, world.operator) == PENALTY


async def test_fees_above_max_gas_are_refused_with_both_figures(bench: Bench) -> None:
    async with bench.engine(payouts_max_gas_stroops=1_000) as engine:
        outcome = await until_final(engine, await bench.accept(engine, bench.intent()))
    assert outcome.status is SettlementStatus.FAILED
    assert outcome.reason_code == "exceeds_max_gas"
    assert "exceeds max gas" in (outcome.reason or "")
    assert outcome.details["max_gas_stroops"] == "1000"
    assert int(outcome.details["resource_fee_stroops"]) > 1_000


async def test_without_live_execution_it_ends_built_and_nothing_is_sent(bench: Bench) -> None:
    world = bench.world
    before = await world.balance(world.usdc, world.operator)
    async with bench.engine(payouts_live_execution=False) as engine:
        outcome = await engine.activities.walk(await bench.accept(engine, bench.intent()))
    assert outcome.status is SettlementStatus.BUILT
    assert await world.balance(world.usdc, world.operator) == before


async def test_terms_changed_under_way_are_recorded_as_what_moved_and_a_person_is_asked(bench: Bench) -> None:
    world = bench.world
    before = await world.balance(world.usdc, world.operator)
    async with bench.engine() as engine:
        settlement_id = await bench.accept(engine, bench.intent())
        written = await engine.activities._build(await engine.book.load(settlement_id))
        await engine.activities._sign_and_write(written)
        await world.set_terms(Severity.CRITICAL, 15, Amount.of(200), Amount.of(750))
        try:
            outcome = await until_final(engine, settlement_id)
        finally:
            await world.set_terms(Severity.CRITICAL, 15, Amount.of(100), Amount.of(750))
    assert outcome.status is SettlementStatus.CONFIRMED
    assert before - await world.balance(world.usdc, world.operator) == Amount.of(2_000)
    assert outcome.details == {"intended": "1000.0000000", "moved": "2000.0000000"}
    assert "moved 2000" in (outcome.reason or "")
