"""A database that went back to before a batch was cut anew, tried again or sent: each row is paid once."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import func, select, update
from stellar_sdk import Keypair

from adapters.database.batch_story import BatchDesk, BatchRules
from adapters.database.engine import Database
from adapters.database.settlements_tables import lanes
from adapters.stellar.reconcile import Reconciler
from domain.batch import Batch, BatchStanding, BatchStatus
from domain.money import Amount
from domain.payout import PayoutMode
from domain.settlement import Control
from localnet.clients import LocalLedger
from tests.batch.conftest import Street, trusting
from tests.settlement.conftest import Bench, until_final
from tests.settlement.payouts import Payouts, sign, signed_by
from tests.settlement.test_auth_entries import used_by_a_stranger
from tests.settlement.test_crashes import copy_database
from workers.engine import Engine

_NOBODY: Any = None
"""No story is woken."""


async def pay(street: Street, engine: Engine, batch_id: str) -> Batch:
    """The story, step by step: until it has ended or waits for a person."""
    desk = BatchDesk(street.database, engine.book, BatchRules(street.terms, window=4, blocked=street.blocked))
    while True:
        standing = await desk.take_stock(batch_id, datetime.now(UTC))
        for settlement_id in standing.open:
            await engine.activities.walk(settlement_id)
        if not standing.open and not standing.more and (standing.ended or standing.reason_code is not None):
            return await street.read(batch_id)


@pytest.fixture
async def here(bench: Bench, database: Database) -> Street:
    return Street(bench, database, _NOBODY, bench.world.payout)


@pytest.fixture
async def four(here: Street) -> list[Keypair]:
    found = [Keypair.random() for _ in range(4)]
    await trusting(here.world, found)
    return found


async def restored(here: Street, backup: str) -> Street:
    database = Database(backup)
    bench = Bench(here.world, database, here.bench.deployment, here.bench.mnemonic)
    street = replace(here, bench=bench, database=database, blocked=frozenset())
    async with bench.engine() as engine:
        assert await engine.heads.halted() is not None
        await Reconciler(
            database=database,
            rpc=engine.rpc,
            book=engine.book,
            heads=engine.heads,
            deployment=bench.deployment,
            contracts=[here.contract],
        ).run(by="test")
    return street


@pytest.mark.parametrize("handed_over", [False, True])
async def test_a_backup_from_before_a_chunk_was_divided_pays_no_row_twice(
    here: Street, four: list[Keypair], database_url: str, handed_over: bool
) -> None:
    """One was blocked, so the chunk was divided; then the block is lifted, and the backup knows of one chunk."""
    here.blocked = frozenset({four[1].public_key})
    batch_id = await here.send([(one.public_key, "1") for one in four], wake=False)
    backup = f"{database_url}_backup_{handed_over:d}"
    async with here.bench.engine() as engine:
        if handed_over:
            rules = BatchRules(here.terms, window=4)
            await BatchDesk(here.database, engine.book, rules).take_stock(batch_id, datetime.now(UTC))
    await here.database.close()
    copy_database(database_url, backup)
    async with here.bench.engine() as engine:
        if handed_over:
            async with here.database.begin() as connection:
                await engine.book.control(connection, f"chunk:{batch_id}.1", Control.CANCEL)
            await pay(here, engine, batch_id)
            await here.command("resume", batch_id, wake=False)
        batch = await pay(here, engine, batch_id)
    assert (batch.counts.paid, batch.counts.failed) == (3, 1)

    again = await restored(here, backup)
    async with again.bench.engine() as engine:
        batch = await pay(again, engine, batch_id)
        if batch.status is BatchStatus.STOPPED:
            await again.command("resume", batch_id, wake=False)
            batch = await pay(again, engine, batch_id)
    assert [await again.balance(one) for one in four] == [Amount.of(1)] * 4
    assert (batch.status, batch.counts.paid) == (BatchStatus.COMPLETED, 4)
    await again.database.close()


async def test_rows_that_were_paid_by_lanes_younger_than_the_backup_are_paid_no_second_time(
    here: Street, four: list[Keypair], database_url: str
) -> None:
    """The backup has nothing of these lanes: the contract itself tells what it paid."""
    here.blocked = frozenset({four[1].public_key})
    batch_id = await here.send([(one.public_key, "1") for one in four], wake=False)
    async with here.bench.engine():
        pass
    backup = f"{database_url}_backup_lanes"
    await here.database.close()
    copy_database(database_url, backup)
    async with here.bench.engine() as engine:
        await until_final(engine, await here.bench.accept(engine, here.bench.intent()))
        async with here.database.begin() as connection:
            count = (await connection.execute(select(func.count()).select_from(lanes))).scalar_one()
            # As busy as if they paid others.
            await connection.execute(update(lanes).values(retired=True))
        await engine.lanes.ensure(count + 2)
        assert (await pay(here, engine, batch_id)).counts.paid == 3

    again = await restored(here, backup)
    async with again.bench.engine() as engine:
        batch = await pay(again, engine, batch_id)
    assert [await again.balance(one) for one in four] == [Amount.of(1)] * 4
    assert (batch.status, batch.counts.paid) == (BatchStatus.COMPLETED, 4)
    await again.database.close()


async def test_rows_that_a_stranger_paid_with_a_signed_entry_are_paid_no_second_time(
    here: Street, four: list[Keypair], database_url: str, ledger: LocalLedger
) -> None:
    """No lane of ours was in it; and the entry was for a part of the chunk, which the backup knows whole."""
    payouts = await Payouts.make(here.bench, ledger)
    outside = replace(here, contract=payouts.contract, payer=payouts.payer.public_key, mode=PayoutMode.EXTERNAL)
    batch_id = await outside.send([(one.public_key, "1") for one in four], wake=False)

    async def step(street: Street, engine: Engine, blocked: frozenset[str] = frozenset()) -> BatchStanding:
        rules = BatchRules(street.terms, window=4, blocked=blocked)
        desk = BatchDesk(street.database, engine.book, rules)
        standing = await desk.take_stock(batch_id, datetime.now(UTC))
        for settlement_id in standing.open:
            await engine.activities.walk(settlement_id)
        return standing

    async with here.bench.engine():
        pass
    backup = f"{database_url}_backup_stranger"
    await here.database.close()
    copy_database(database_url, backup)
    async with outside.bench.engine(**payouts.given()) as engine:
        while len(requests := await engine.requests.waiting(batch_id=batch_id)) < 2:
            await step(outside, engine, blocked=frozenset({four[0].public_key}))
        rest = next(one for one in requests if one.settlement_id.endswith(".1.2"))
        intent = (await engine.book.load(rest.settlement_id)).intent
        assert await used_by_a_stranger(ledger, intent, sign(rest, payouts.payer))
    async with here.bench.engine() as engine:
        await until_final(engine, await here.bench.accept(engine, here.bench.intent()))

    again = await restored(outside, backup)
    async with again.bench.engine(**payouts.given()) as engine:
        while not (standing := await step(again, engine)).ended:
            for request in await engine.requests.waiting(batch_id=batch_id):
                await engine.signing.accept(request.settlement_id, signed_by(request, payouts.payer))
    assert (standing.status, standing.counts.paid) == (BatchStatus.COMPLETED, 4)
    assert [await again.balance(one) for one in four] == [Amount.of(1)] * 4
    await again.database.close()


async def test_a_backup_from_before_a_row_was_tried_again_pays_it_no_second_time(
    here: Street, four: list[Keypair], database_url: str
) -> None:
    """A row failed in its first call and in its second one, and was paid by its third."""
    row = four[:1]
    batch_id = await here.send([(row[0].public_key, "1")], wake=False)
    backup = f"{database_url}_backup"
    async with here.bench.engine():
        pass  # the record has lanes, and a ledger that it has seen
    await here.database.close()
    copy_database(database_url, backup)
    async with here.bench.engine() as engine:
        here.blocked = frozenset({row[0].public_key})
        for _ in range(2):
            batch = await pay(here, engine, batch_id)
            assert (batch.counts.paid, batch.counts.failed) == (0, 1)
            await here.command("retry", batch_id, wake=False)
        here.blocked = frozenset()
        assert (await pay(here, engine, batch_id)).counts.paid == 1

    again = await restored(here, backup)
    async with again.bench.engine() as engine:
        batch = await pay(again, engine, batch_id)
    assert (batch.status, batch.counts.paid) == (BatchStatus.COMPLETED, 1)
    assert [found.settlement_id for found in await again.rows(batch_id)] == [f"chunk:{batch_id}.r1.3"]
    assert await again.balance(row[0]) == Amount.of(1)
    await again.database.close()


async def test_a_backup_from_before_calls_were_signed_pays_no_row_twice(
    here: Street, four: list[Keypair], database_url: str, ledger: LocalLedger
) -> None:
    """The backup has no envelope, and asks for the signature that was given."""
    payouts = await Payouts.make(here.bench, ledger)
    outside = replace(
        here,
        contract=payouts.contract,
        payer=payouts.payer.public_key,
        mode=PayoutMode.EXTERNAL,
        given=payouts.given(),
    )
    batch_id = await outside.send([(one.public_key, "1") for one in four], wake=False)
    backup = f"{database_url}_backup_unsigned"

    async def step(street: Street, engine: Engine) -> BatchStanding:
        desk = BatchDesk(street.database, engine.book, BatchRules(street.terms, window=4))
        standing = await desk.take_stock(batch_id, datetime.now(UTC))
        for settlement_id in standing.open:
            await engine.activities.walk(settlement_id)
        return await desk.take_stock(batch_id, datetime.now(UTC))

    async def sign(engine: Engine) -> None:
        (request,) = await engine.requests.waiting(batch_id=batch_id)
        await engine.signing.accept(request.settlement_id, signed_by(request, payouts.payer))

    async with outside.bench.engine(**outside.given) as engine:
        assert (await step(outside, engine)).awaiting_signature == 1
    await here.database.close()
    copy_database(database_url, backup)
    async with outside.bench.engine(**outside.given) as engine:
        await sign(engine)
        while not (await step(outside, engine)).ended:
            pass

    # The reconcile finds the marker, which says who was paid: nobody is asked to sign again.
    again = await restored(here, backup)
    async with again.bench.engine(**outside.given) as engine:
        standing = await step(again, engine)
        assert await engine.requests.waiting() == ()
    assert (standing.status, standing.counts.paid) == (BatchStatus.COMPLETED, 4)
    assert [await again.balance(one) for one in four] == [Amount.of(1)] * 4
    await again.database.close()
