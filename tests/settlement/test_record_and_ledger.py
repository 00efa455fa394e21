"""Two workers, operators who change their minds, a ledger that misbehaves: the record says what the ledger has."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress

import pytest

from adapters.stellar.calls import marker_key
from adapters.stellar.rpc import Rpc
from domain.errors import HoldfastError
from domain.money import Amount
from domain.settlement import Control, SettlementStatus
from localnet.clients import LocalLedger
from tests.settlement.conftest import Bench
from workers.engine import Engine

_FAULTS: tuple[tuple[str, dict[str, object]], ...] = (
    ("drop_answer_after", {"method": "sendTransaction"}),
    ("drop_answer_before", {"method": "sendTransaction"}),
    ("try_again_later", {}),
    ("not_found", {}),
    ("bad_seq_on_resend", {}),
    ("lagging_node", {"ledgers": 3}),
    ("ingestion_lag", {"ledgers": 3}),
    ("unavailable", {}),
)


async def walk_to_the_end(engine: Engine, settlement_id: str) -> None:
    for _ in range(300):
        try:
            if (await engine.activities.walk(settlement_id)).status.final:
                return
        except HoldfastError as error:
            if not error.retryable:
                raise
        await asyncio.sleep(0.05)
    raise AssertionError(f"{settlement_id} never ends: {await engine.book.why(settlement_id)}")


async def change_minds(bench: Bench, engine: Engine, ids: list[str], chance: random.Random) -> None:
    for _ in range(3 * len(ids)):
        await asyncio.sleep(chance.uniform(0, 0.1))
        control = chance.choice([Control.HOLD, Control.NONE, Control.BUMP, Control.CANCEL])
        with suppress(HoldfastError):
            async with bench.database.begin() as connection:
                await engine.book.control(connection, chance.choice(ids), control)
    for settlement_id in ids:
        with suppress(HoldfastError):
            async with bench.database.begin() as connection:
                await engine.book.control(connection, settlement_id, Control.NONE)


async def misbehave(ledger: LocalLedger, chance: random.Random) -> None:
    for _ in range(20):
        kind, more = chance.choice(_FAULTS)
        ledger.fault(kind, count=chance.randint(1, 4), **more)
        await asyncio.sleep(chance.uniform(0, 0.15))
    ledger.clear_faults()


@pytest.mark.parametrize("seed", range(3))
async def test_what_is_recorded_is_what_the_ledger_has(bench: Bench, ledger: LocalLedger, seed: int) -> None:
    world, chance = bench.world, random.Random(seed)
    before = await world.balance(world.usdc, world.operator)
    async with bench.engine() as one, bench.engine() as other:
        intents = [bench.intent(minutes=16) for _ in range(10)]
        ids = [await bench.accept(one, intent) for intent in intents]
        await asyncio.gather(
            *(walk_to_the_end(engine, settlement_id) for settlement_id in ids for engine in (one, other)),
            change_minds(bench, one, ids, chance),
            misbehave(ledger, chance),
        )
        outcomes = [await one.book.outcome(settlement_id) for settlement_id in ids]
        assert await one.heads.halted() is None
    keys = [marker_key(intent.invocation.contract, intent.marker_id) for intent in intents]
    async with Rpc(world.url) as rpc:
        marked = (await rpc.ledger_entries(keys)).by_key
    for key, outcome in zip(keys, outcomes, strict=True):
        paid = key.to_xdr() in marked
        assert paid is (outcome.status is SettlementStatus.CONFIRMED), outcome
    moved = before - await world.balance(world.usdc, world.operator)
    assert moved == Amount.of(100) * len(marked)
