"""A database that went back or went away, a secret that was changed: nothing is paid twice or lost."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, text
from stellar_sdk.sep.mnemonic import StellarMnemonic

from adapters.database.engine import Database
from adapters.database.heads import HeadBook
from adapters.database.settlements import SettlementBook
from adapters.stellar.reconcile import Reconciler
from adapters.stellar.rpc import Rpc
from domain.errors import Refused, Unavailable
from domain.money import Amount
from domain.settlement import SettlementStatus
from localnet.parts import free_port
from localnet.parts import ledger as ledger_part
from localnet.process import RunningPart
from tests.settlement.conftest import Bench, until_final
from tests.settlement.test_crashes import copy_database
from tests.settlement.test_proof import written
from tests.settlement.world import PASSPHRASE
from tests.waiting import until


async def test_one_reconcile_is_enough_where_lanes_went_on_after_the_backup(
    bench: Bench, database_url: str
) -> None:
    """The backup holds a payment in flight; since then it was confirmed, and two others used its lane."""
    world = bench.world
    before = await world.balance(world.usdc, world.operator)
    intent, backup = bench.intent(), f"{database_url}_backup"
    async with bench.engine() as engine:
        await written(engine, await bench.accept(engine, intent))
    await bench.database.close()
    copy_database(database_url, backup)
    async with bench.engine() as engine:
        for each in (intent, bench.intent(), bench.intent()):
            paid = await until_final(engine, await bench.accept(engine, each))
            assert paid.status is SettlementStatus.CONFIRMED

    restored = Bench(world, Database(backup), bench.deployment, bench.mnemonic)
    async with restored.engine() as engine:
        assert await engine.heads.halted() is not None
        await Reconciler(
            database=restored.database,
            rpc=engine.rpc,
            book=engine.book,
            heads=engine.heads,
            deployment=restored.deployment,
            contracts=[world.sla],
        ).run(by="test")
    async with restored.engine() as engine:
        assert await engine.heads.halted() is None
        assert (await until_final(engine, intent.settlement_id)).status is SettlementStatus.CONFIRMED
        last = await until_final(engine, await restored.accept(engine, restored.intent()))
        assert last.status is SettlementStatus.CONFIRMED
    await restored.database.close()
    assert before - await world.balance(world.usdc, world.operator) == Amount.of(4_000)


async def test_another_lanes_secret_stops_the_start_and_the_first_goes_on_where_it_was(bench: Bench) -> None:
    """Else every payment would take a lane that nobody can sign for, and fail."""
    async with bench.engine() as engine:
        settlement_id = await bench.accept(engine, bench.intent())
        await written(engine, settlement_id)
    other = StellarMnemonic("english").generate(256)
    with pytest.raises(Refused, match="LANES_MNEMONIC"):
        async with bench.engine(lanes_mnemonic=other):
            pass
    async with bench.engine() as engine:
        assert (await until_final(engine, settlement_id)).status is SettlementStatus.CONFIRMED


async def test_a_connection_that_dies_before_its_commit_pays_once(bench: Bench) -> None:
    """PostgreSQL restarts while the send is written: nothing was written, so nothing was sent."""
    world = bench.world
    before = await world.balance(world.usdc, world.operator)
    async with bench.engine() as engine:
        settlement_id = await bench.accept(engine, bench.intent())
        built = await engine.activities._build(await engine.book.load(settlement_id))
        begin = bench.database.begin
        book: Any = engine.book

        class Dying:
            """Hands out connections whose server is gone by the time of the commit."""

            look = bench.database.look  # what the follower reads in between

            def begin(self) -> Any:
                @asynccontextmanager
                async def dying() -> Any:
                    async with begin() as connection:
                        yield connection
                        pid: int = (await connection.execute(select(func.pg_backend_pid()))).scalar_one()
                        async with begin() as other:
                            await other.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})

                return dying()

        book._database = Dying()
        with pytest.raises(Unavailable):
            await engine.activities._sign_and_write(built)
        book._database = bench.database
        assert (await engine.book.outcome(settlement_id)).status is SettlementStatus.BUILT
        assert (await until_final(engine, settlement_id)).status is SettlementStatus.CONFIRMED
    assert before - await world.balance(world.usdc, world.operator) == Amount.of(1_000)


async def test_a_pool_without_a_free_connection_is_a_database_that_does_not_answer(database_url: str) -> None:
    """Else the follower, which waits such times out, would end its process."""
    database = Database(database_url, connections_max=1, wait_seconds=0.2)
    try:
        async with database.begin():
            with pytest.raises(Unavailable) as away:
                async with database.begin():
                    await asyncio.sleep(0)
    finally:
        await database.close()
    assert away.value.code == "database_unavailable"


async def test_a_record_that_is_older_than_what_the_node_keeps_is_not_reconciled_in_part(
    database: Database, tmp_path: Path
) -> None:
    part = ledger_part(free_port(), close_ms=50)
    short = replace(part, command=(*part.command, "--retention-ledgers", "5"))
    with RunningPart(short, tmp_path / "ledger.log") as ledger:
        async with Rpc(ledger.url) as rpc:
            heads = HeadBook(database, network_passphrase=PASSPHRASE)
            begun = await rpc.latest_ledger()
            await heads.begin(begun)

            async def gone() -> bool | None:
                return True if await rpc.oldest() > begun.sequence + 1 else None

            await until(gone)
            reconciler = Reconciler(
                database=database,
                rpc=rpc,
                book=SettlementBook(database),
                heads=heads,
                deployment="test",
                contracts=[],
            )
            with pytest.raises(Refused, match="a node that keeps more"):
                await reconciler.run(by="test")
