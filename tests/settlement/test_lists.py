"""Lists of recipients: who can be paid is paid, the others are named, and all of it is recorded once."""

from __future__ import annotations

import pytest
from sqlalchemy import text, update
from stellar_sdk import Asset, Keypair

from adapters.database.settlements_tables import settlements
from adapters.stellar.calls import marker_key
from adapters.stellar.rpc import Rpc
from domain.money import Amount
from domain.settlement import SettlementStatus, SigningMode
from localnet.clients import LocalLedger
from tests.settlement.conftest import Bench, until_final
from tests.settlement.payouts import Payouts, signed_by, trust

NO_TRUSTLINE = 13
"""The token's word for no account too, where its asset is not XLM."""


@pytest.fixture
async def payouts(bench: Bench, ledger: LocalLedger) -> Payouts:
    return await Payouts.make(bench, ledger)


def hot(payouts: Payouts) -> dict[str, object]:
    return {"payout_signer": "hot", "payout_hot_signer_secret": payouts.payer.secret}


async def test_of_a_list_who_can_be_paid_is_paid_and_the_others_are_named(
    payouts: Payouts, ledger: LocalLedger
) -> None:
    world, bare = payouts.bench.world, Keypair.random()
    ledger.friendbot(bare.public_key)
    before = await payouts.paid_units()
    intent = payouts.intent(
        (world.noc_team.public_key, Amount.of(10)),
        (Keypair.random().public_key, Amount.of(20)),
        (bare.public_key, Amount.of(30)),
        (world.operator.public_key, Amount.of(40)),
        kind="chunk",
    )
    async with payouts.engine(**hot(payouts)) as engine:
        outcome = await until_final(engine, await payouts.bench.accept(engine, intent))
        why = await engine.book.why(intent.settlement_id)
    assert outcome.status is SettlementStatus.CONFIRMED, outcome
    assert outcome.outcomes == (0, NO_TRUSTLINE, NO_TRUSTLINE, 0)
    assert outcome.reason is None
    assert why.facts.needs_person is None
    assert await payouts.paid_units() - before == Amount.of(10)
    async with payouts.bench.database.begin() as connection:
        recorded = (await connection.execute(text("SELECT amount_units FROM settlements"))).scalar_one()
    assert recorded == Amount.of(50).units


async def test_a_list_of_which_nobody_can_be_paid_is_refused_and_nothing_is_sent(payouts: Payouts) -> None:
    strangers = [(Keypair.random().public_key, Amount.of(1)) for _ in range(3)]
    intent = payouts.intent(*strangers, kind="chunk")
    async with payouts.engine(**hot(payouts)) as engine:
        outcome = await until_final(engine, await payouts.bench.accept(engine, intent))
        assert await engine.book.unsigned_xdr(intent.settlement_id) is None
    assert (outcome.status, outcome.reason_code) == (SettlementStatus.FAILED, "nothing_payable")
    assert outcome.details["outcomes"] == "13,13,13"


async def test_a_recipient_who_can_be_paid_by_the_time_it_lands_is_paid(
    payouts: Payouts, ledger: LocalLedger
) -> None:
    """A trustline made meanwhile: its balance may be written, so that it does not fail the whole list."""
    world, late = payouts.bench.world, Keypair.random()
    ledger.friendbot(late.public_key)
    intent = payouts.intent(
        (world.noc_team.public_key, Amount.of(10)), (late.public_key, Amount.of(30)), kind="chunk"
    )
    async with payouts.engine(**hot(payouts)) as engine:
        settlement_id = await payouts.bench.accept(engine, intent)
        built = await engine.activities._build(await engine.book.load(settlement_id))
        await engine.activities._sign_and_write(built)
        await trust(world.url, late, Asset("USDC", world.issuer.public_key))
        outcome = await until_final(engine, settlement_id)
    assert outcome.status is SettlementStatus.CONFIRMED, outcome
    assert outcome.outcomes == (0, 0)
    assert await world.balance(world.usdc, late) == Amount.of(30)


async def test_a_list_may_wait_for_a_signature_too(payouts: Payouts) -> None:
    world = payouts.bench.world
    before = await payouts.paid_units()
    for signing in SigningMode:
        intent = payouts.intent(
            (world.noc_team.public_key, Amount.of(10)),
            (Keypair.random().public_key, Amount.of(20)),
            kind="chunk",
            signing=signing,
        )
        async with payouts.engine() as engine:
            request = await payouts.asked(engine, intent)
            assert "at most 30" in request.words
            await engine.signing.accept(request.settlement_id, signed_by(request, payouts.payer))
            outcome = await until_final(engine, request.settlement_id)
        assert outcome.status is SettlementStatus.CONFIRMED, outcome
        assert outcome.outcomes == (0, NO_TRUSTLINE)
    assert await payouts.paid_units() - before == Amount.of(20)


async def test_what_a_list_paid_is_read_from_its_marker_when_the_record_forgot_it(
    payouts: Payouts, ledger: LocalLedger
) -> None:
    """Beyond the node's memory no transaction tells; the marker keeps a byte a recipient, archived or not."""
    world = payouts.bench.world
    intent = payouts.intent(
        (world.noc_team.public_key, Amount.of(10)), (Keypair.random().public_key, Amount.of(20)), kind="chunk"
    )
    async with payouts.engine(**hot(payouts)) as engine:
        settlement_id = await payouts.bench.accept(engine, intent)
        paid = await until_final(engine, settlement_id)
        before = await payouts.paid_units()
        async with Rpc(ledger.url) as rpc:
            newest = await rpc.newest()
        key = marker_key(intent.invocation.contract, intent.marker_id)
        ledger.admin("entries/ttl", key=key.to_xdr(), liveUntilLedgerSeq=newest - 1)
        async with payouts.bench.database.begin() as connection:
            await connection.execute(text("ALTER TABLE settlements DISABLE TRIGGER check_transition"))
            await connection.execute(
                update(settlements).values(
                    status="accepted", tx_hash=None, ledger=None, confirmed_at=None, outcomes=None, amount_units=1
                )
            )
            await connection.execute(text("ALTER TABLE settlements ENABLE TRIGGER check_transition"))
        kept = await engine.ledger.kept(intent)
        assert (kept.moved_units, tuple(kept.outcomes)) == (Amount.of(10).units, (0, NO_TRUSTLINE))
        settlement = await engine.book.load(settlement_id)
        await engine.book.record_paid_before(settlement, None, kept)
        again = await engine.book.outcome(settlement_id)
    assert again.status is SettlementStatus.CONFIRMED
    assert again.outcomes == paid.outcomes == (0, NO_TRUSTLINE)
    assert await payouts.paid_units() == before
