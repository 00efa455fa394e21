"""A worker dies (-9) at each edge, or the database is older than the ledger: each payment happens exactly once."""

from __future__ import annotations

import asyncio
import json
import sys

import psycopg
import pytest
from sqlalchemy import text, update

from adapters.database.engine import Database
from adapters.database.settlements_tables import settlements
from adapters.stellar.calls import marker_key
from adapters.stellar.reconcile import Reconciler
from adapters.stellar.rpc import Rpc
from domain.errors import Unavailable
from domain.money import Amount
from domain.settlement import Control, SettlementStatus
from localnet.clients import LocalLedger
from tests.settlement.conftest import Bench, until_final
from tests.settlement.doomed_worker import EDGES

PENALTY = Amount.of(1_000)


async def die_at(bench: Bench, database_url: str, edge: str, settlement_id: str) -> None:
    """Run a worker in a process of its own until it is killed at the edge."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.settlement.doomed_worker", edge, settlement_id, stdin=asyncio.subprocess.PIPE
    )
    given = bench.given() | {"database_url": database_url}
    await asyncio.wait_for(process.communicate(json.dumps(given).encode()), 60)
    assert process.returncode == -9


@pytest.mark.parametrize("edge", EDGES)
async def test_a_worker_killed_at_any_edge_pays_once(
    bench: Bench, database_url: str, edge: str, ledger: LocalLedger
) -> None:
    world = bench.world
    before = await world.balance(world.usdc, world.operator)
    async with bench.engine() as engine:
        settlement_id = await bench.accept(engine, bench.intent())
    await die_at(bench, database_url, edge, settlement_id)
    async with bench.engine() as engine:
        outcome = await until_final(engine, settlement_id)
    assert outcome.status is SettlementStatus.CONFIRMED, outcome
    assert before - await world.balance(world.usdc, world.operator) == PENALTY


async def test_the_follower_of_another_worker_finishes_what_a_dead_one_had_written_ahead(
    bench: Bench, database_url: str
) -> None:
    """Written ahead but never sent, and nobody walks it: the money moves before Temporal notices."""
    world = bench.world
    before = await world.balance(world.usdc, world.operator)
    async with bench.engine() as engine:
        settlement_id = await bench.accept(engine, bench.intent())
    await die_at(bench, database_url, "after_write_send", settlement_id)
    async with bench.database.begin() as connection:
        await connection.execute(update(settlements).values(lease_until=None))
    async with bench.engine() as engine:
        for _ in range(100):
            outcome = await engine.book.outcome(settlement_id)
            if outcome.status.final:
                break
            await engine.follower.wait(settlement_id)
    assert outcome.status is SettlementStatus.CONFIRMED
    assert before - await world.balance(world.usdc, world.operator) == PENALTY


async def test_a_database_restored_to_before_the_payment_sends_nothing_until_it_is_reconciled(
    bench: Bench, database_url: str
) -> None:
    world = bench.world
    intent = bench.intent()
    async with bench.engine() as engine:
        await until_final(engine, await bench.accept(engine, bench.intent()))
    backup = f"{database_url}_backup"
    await bench.database.close()
    copy_database(database_url, backup)
    before = await world.balance(world.usdc, world.operator)
    async with bench.engine() as engine:
        paid = await until_final(engine, await bench.accept(engine, intent))
        assert paid.status is SettlementStatus.CONFIRMED

    restored = Bench(world, Database(backup), bench.deployment, bench.mnemonic)
    async with restored.engine() as engine:
        assert await engine.heads.halted() is not None
        settlement_id = await restored.accept(engine, intent)
        with pytest.raises(Unavailable, match="history changed"):
            await engine.activities.walk(settlement_id)
        report = await Reconciler(
            database=restored.database,
            rpc=engine.rpc,
            book=engine.book,
            heads=engine.heads,
            deployment=restored.deployment,
            contracts=[world.sla],
        ).run(by="test")
        assert [payment.tx_hash for payment in report.lost] == [paid.tx_hash]
        assert report.found_paid == (settlement_id,)
    async with restored.engine() as engine:
        assert await engine.heads.halted() is None
        assert (await until_final(engine, settlement_id)).status is SettlementStatus.CONFIRMED
        other = await until_final(engine, await restored.accept(engine, restored.intent()))
        assert other.status is SettlementStatus.CONFIRMED, "a new payment goes on where the ledger has the lanes"
    await restored.database.close()
    assert before - await world.balance(world.usdc, world.operator) == Amount.of(2_000)


def copy_database(source: str, target: str) -> None:
    name = source.rpartition("/")[2]
    with psycopg.connect(source.rpartition("/")[0] + "/postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {target.rpartition('/')[2]} TEMPLATE {name}")  # type: ignore[call-overload]


async def test_a_marker_that_was_archived_between_two_tries_still_gives_the_first_result(
    bench: Bench, ledger: LocalLedger
) -> None:
    world = bench.world
    intent = bench.intent()
    async with bench.engine() as engine:
        paid = await until_final(engine, await bench.accept(engine, intent))
        before = await world.balance(world.usdc, world.operator)
        async with Rpc(world.url) as rpc:
            newest = await rpc.newest()
        ledger.admin(
            "entries/ttl",
            key=marker_key(intent.invocation.contract, intent.marker_id).to_xdr(),
            liveUntilLedgerSeq=newest - 1,
        )
        async with bench.database.begin() as connection:
            # The record forgets that it was paid, as a restore would have it.
            await connection.execute(text("ALTER TABLE settlements DISABLE TRIGGER check_transition"))
            await connection.execute(
                update(settlements).values(status="accepted", tx_hash=None, ledger=None, confirmed_at=None)
            )
            await connection.execute(text("ALTER TABLE settlements ENABLE TRIGGER check_transition"))
        again = await until_final(engine, intent.settlement_id)
    assert again.status is SettlementStatus.CONFIRMED
    assert again.tx_hash == paid.tx_hash
    assert await world.balance(world.usdc, world.operator) == before


async def test_a_cancel_before_sending_never_pays(bench: Bench) -> None:
    world = bench.world
    before = await world.balance(world.usdc, world.operator)
    async with bench.engine() as engine:
        settlement_id = await bench.accept(engine, bench.intent())
        async with bench.database.begin() as connection:
            await engine.book.control(connection, settlement_id, Control.CANCEL)
        outcome = await until_final(engine, settlement_id)
    assert outcome.status is SettlementStatus.CANCELLED
    assert await world.balance(world.usdc, world.operator) == before


async def test_a_cancel_after_sending_ends_with_whatever_consumed_the_number(
    bench: Bench, ledger: LocalLedger
) -> None:
    """The sends are swallowed before they have any effect, so the no-op wins; the money stays."""
    world = bench.world
    before = await world.balance(world.usdc, world.operator)
    async with bench.engine() as engine:
        settlement_id = await bench.accept(engine, bench.intent())
        ledger.fault("drop_answer_before", method="sendTransaction", count=1)
        walking = asyncio.create_task(until_final(engine, settlement_id))
        while (await engine.book.outcome(settlement_id)).status is not SettlementStatus.SUBMITTED:
            await asyncio.sleep(0.005)
        async with bench.database.begin() as connection:
            await engine.book.control(connection, settlement_id, Control.CANCEL)
        outcome = await walking
    spent = before - await world.balance(world.usdc, world.operator)
    assert (outcome.status, spent) in {
        (SettlementStatus.CANCELLED, Amount(0)),
        (SettlementStatus.CONFIRMED, PENALTY),
    }
