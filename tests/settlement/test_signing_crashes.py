"""A worker dies (-9) at each edge of a payment that somebody outside signs: paid once, with one signature."""

from __future__ import annotations

import asyncio
import json
import sys

import pytest
from sqlalchemy import select

from adapters.database.engine import Database
from adapters.database.settlements_tables import pins
from adapters.database.signing_tables import signing_requests
from adapters.stellar.reconcile import Reconciler
from domain.settlement import SettlementStatus, SigningMode
from domain.signing import SignatureSubmission, SigningStatus
from localnet.clients import LocalLedger
from tests.settlement.conftest import Bench, until_final
from tests.settlement.doomed_worker import SIGNING_EDGES
from tests.settlement.payouts import PRICE, Payouts, ask_again, signed_by
from tests.settlement.test_crashes import copy_database

BOTH = pytest.mark.parametrize("signing", list(SigningMode))


@pytest.fixture
async def payouts(bench: Bench, ledger: LocalLedger) -> Payouts:
    return await Payouts.make(bench, ledger)


async def die_at(
    payouts: Payouts, database_url: str, edge: str, settlement_id: str, submission: SignatureSubmission | None
) -> None:
    """Run a worker in a process of its own until it is killed at the edge."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.settlement.doomed_worker", edge, settlement_id, stdin=asyncio.subprocess.PIPE
    )
    given = payouts.bench.given(**payouts.given()) | {"database_url": database_url}
    if submission is not None:
        given["submission"] = submission.model_dump()
    await asyncio.wait_for(process.communicate(json.dumps(given).encode()), 60)
    assert process.returncode == -9


@BOTH
@pytest.mark.parametrize("edge", SIGNING_EDGES)
async def test_a_worker_killed_at_any_edge_of_a_deferred_payment_pays_once(
    payouts: Payouts, database_url: str, edge: str, signing: SigningMode
) -> None:
    before = await payouts.paid_units()
    async with payouts.engine() as engine:
        settlement_id = await payouts.bench.accept(engine, payouts.intent(signing=signing))
        request = None if edge == "after_request" else await ask_again(engine, settlement_id)
    submission = None if request is None else signed_by(request, payouts.payer)
    await die_at(payouts, database_url, edge, settlement_id, submission)
    async with payouts.engine() as engine:
        if request is None:
            request = await ask_again(engine, settlement_id)
        # Whoever posted it had no answer, and posts it again.
        receipt = await engine.signing.accept(settlement_id, signed_by(request, payouts.payer))
        assert receipt.complete
        assert receipt.already == (edge != "after_request")
        outcome = await until_final(engine, settlement_id)
    assert outcome.status is SettlementStatus.CONFIRMED, outcome
    assert await payouts.paid_units() - before == PRICE
    async with payouts.bench.database.begin() as connection:
        statuses: list[str] = list((await connection.execute(select(signing_requests.c.status))).scalars())
    assert statuses == [SigningStatus.SIGNED], "one request was enough"


@BOTH
async def test_the_follower_of_another_worker_records_what_was_signed_and_sent(
    payouts: Payouts, database_url: str, signing: SigningMode
) -> None:
    """Sent by a worker that died, and nobody walks it."""
    before = await payouts.paid_units()
    async with payouts.engine() as engine:
        request = await payouts.asked(engine, payouts.intent(signing=signing))
    await die_at(payouts, database_url, "after_send", request.settlement_id, signed_by(request, payouts.payer))
    async with payouts.engine() as engine:
        while not (outcome := await engine.book.outcome(request.settlement_id)).status.final:
            await engine.follower.wait(request.settlement_id)
    assert outcome.status is SettlementStatus.CONFIRMED
    assert await payouts.paid_units() - before == PRICE


async def test_a_restored_database_finds_what_was_signed_and_paid_since_the_backup(
    payouts: Payouts, database_url: str
) -> None:
    """The backup has a request that waits; since then it was signed and paid, on the number that it holds."""
    before = await payouts.paid_units()
    backup = f"{database_url}_backup"
    async with payouts.engine() as engine:
        waiting = await payouts.asked(engine)
        other = await payouts.asked(engine)
    await payouts.bench.database.close()
    copy_database(database_url, backup)
    async with payouts.engine() as engine:
        await engine.signing.accept(waiting.settlement_id, signed_by(waiting, payouts.payer))
        paid = await until_final(engine, waiting.settlement_id)
        assert paid.status is SettlementStatus.CONFIRMED

    restored = Payouts(
        Bench(payouts.bench.world, Database(backup), payouts.bench.deployment, payouts.bench.mnemonic),
        payouts.payer,
        payouts.contract,
        payouts.deployment,
    )
    async with restored.engine() as engine:
        assert await engine.heads.halted() is not None
        report = await Reconciler(
            database=restored.bench.database,
            rpc=engine.rpc,
            book=engine.book,
            heads=engine.heads,
            deployment=restored.bench.deployment,
            contracts=[payouts.contract],
        ).run(by="test")
        assert report.found_paid == (waiting.settlement_id,)
    async with restored.engine() as engine:
        assert (await engine.book.outcome(waiting.settlement_id)).status is SettlementStatus.CONFIRMED
        # What waited beside it still does, on its own number.
        await engine.signing.accept(other.settlement_id, signed_by(other, payouts.payer))
        assert (await until_final(engine, other.settlement_id)).status is SettlementStatus.CONFIRMED
        async with restored.bench.database.begin() as connection:
            held = (await connection.execute(select(pins).where(pins.c.state == "held"))).all()
        assert held == []
    await restored.bench.database.close()
    assert await payouts.paid_units() - before == PRICE * 2


async def test_a_request_whose_number_another_payment_consumed_is_asked_for_anew(
    payouts: Payouts, database_url: str
) -> None:
    """The backup has a request on the lane; since then that was cancelled, and the number went to another."""
    before = await payouts.paid_units()
    backup = f"{database_url}_backup"
    async with payouts.engine() as engine:
        waiting = await payouts.asked(engine)
        pinned = (await engine.book.load(waiting.settlement_id)).pin
        assert pinned is not None
    await payouts.bench.database.close()
    copy_database(database_url, backup)
    async with payouts.engine() as engine:
        await engine.book.cancel_unsent(await engine.book.load(waiting.settlement_id))
        other = await payouts.asked(engine)
        used = (await engine.book.load(other.settlement_id)).pin
        assert used is not None
        assert (used.lane, used.sequence) == (pinned.lane, pinned.sequence)
        await engine.signing.accept(other.settlement_id, signed_by(other, payouts.payer))
        assert (await until_final(engine, other.settlement_id)).status is SettlementStatus.CONFIRMED

    restored = Payouts(
        Bench(payouts.bench.world, Database(backup), payouts.bench.deployment, payouts.bench.mnemonic),
        payouts.payer,
        payouts.contract,
        payouts.deployment,
    )
    async with restored.engine() as engine:
        await Reconciler(
            database=restored.bench.database,
            rpc=engine.rpc,
            book=engine.book,
            heads=engine.heads,
            deployment=restored.bench.deployment,
            contracts=[payouts.contract],
        ).run(by="test")
    async with restored.engine() as engine:
        fresh = await ask_again(engine, waiting.settlement_id)
        assert fresh.id != waiting.id
        await engine.signing.accept(waiting.settlement_id, signed_by(fresh, payouts.payer))
        assert (await until_final(engine, waiting.settlement_id)).status is SettlementStatus.CONFIRMED
    await restored.bench.database.close()
    assert await payouts.paid_units() - before == PRICE * 2
