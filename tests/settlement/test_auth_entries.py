"""Payouts whose payer signs the authorization entry alone: no lane is held, and the rest is made fresh."""

from __future__ import annotations

import pytest
from sqlalchemy import func, select, text
from stellar_sdk import Account, Keypair, TransactionBuilder, scval, xdr

from adapters.database.settlements_tables import lanes
from adapters.stellar import auth_entries
from adapters.stellar.calls import to_invoke_args
from adapters.stellar.entries import account_key, account_state
from adapters.stellar.envelopes import with_headroom
from adapters.stellar.rpc import Rpc
from domain.money import Amount
from domain.settlement import Control, Intent, SettlementStatus, SigningMode
from domain.signing import SigningStatus
from localnet.clients import LocalLedger
from tests.settlement.conftest import Bench, until_final
from tests.settlement.payouts import PRICE, Payouts, ask_again, refused_code, sign, signed_by
from tests.settlement.test_deferred import expire
from tests.settlement.world import PASSPHRASE
from workers.engine import Engine


@pytest.fixture
async def payouts(bench: Bench, ledger: LocalLedger) -> Payouts:
    return await Payouts.make(bench, ledger)


def entry_intent(payouts: Payouts) -> Intent:
    return payouts.intent(signing=SigningMode.AUTH_ENTRY)


async def busy_lanes(bench: Bench) -> int:
    async with bench.database.begin() as connection:
        query = select(func.count()).select_from(lanes).where(lanes.c.settlement_id.is_not(None))
        return int((await connection.execute(query)).scalar_one())


async def used_by_a_stranger(ledger: LocalLedger, intent: Intent, signed_entry: str) -> bool:
    """Whoever has a signed entry may use it, in a transaction of their own: whether that lands."""
    stranger = Keypair.random()
    ledger.friendbot(stranger.public_key)
    async with Rpc(ledger.url) as rpc:
        key = account_key(stranger.public_key)
        entry = (await rpc.ledger_entries([key])).by_key[key.to_xdr()]
        sequence = account_state(entry.data).sequence
        call = to_invoke_args(intent.invocation)
        builder = TransactionBuilder(Account(stranger.public_key, sequence), PASSPHRASE, base_fee=1_000)
        builder.add_time_bounds(0, 0)
        builder.append_invoke_contract_function_op(
            intent.invocation.contract,
            intent.invocation.function,
            call.args,
            auth=[xdr.SorobanAuthorizationEntry.from_xdr(signed_entry)],
        )
        envelope = builder.build()
        simulated = await rpc.simulate(envelope.to_xdr())
        if simulated.error is not None:
            return False
        data = xdr.SorobanTransactionData.from_xdr(with_headroom(simulated.transaction_data))
        data.resource_fee = xdr.Int64(simulated.resource_fee * 2)
        envelope.transaction.soroban_data = data
        envelope.transaction.fee += data.resource_fee.int64
        envelope.sign(stranger)
        await rpc.send(envelope.to_xdr())
        first = await rpc.newest()
        while await rpc.newest() < first + 2:
            ledger.admin("ledgers/close")
        landed = await rpc.transaction(envelope.hash_hex())
        return landed is not None and landed.successful


async def pass_ledgers(engine: Engine, ledger: LocalLedger, settlement_id: str, after: int) -> None:
    while engine.follower.sequence <= after:
        ledger.admin("ledgers/advance", count=100)
        await engine.follower.wait(settlement_id)


async def test_an_entry_that_waits_holds_no_lane_and_is_paid_once(payouts: Payouts) -> None:
    before = await payouts.paid_units()
    async with payouts.engine(lanes_waiting=0) as engine:
        request = await payouts.asked(engine, entry_intent(payouts))
        assert await busy_lanes(payouts.bench) == 0
        assert request.expires_ledger is not None
        receipt = await engine.signing.accept(request.settlement_id, signed_by(request, payouts.payer))
        assert receipt.complete
        outcome = await until_final(engine, request.settlement_id)
        assert outcome.status is SettlementStatus.CONFIRMED, outcome
        assert outcome.outcomes == (0,)
        again = await engine.signing.accept(request.settlement_id, signed_by(request, payouts.payer))
        assert again.already
    assert await payouts.paid_units() - before == PRICE


async def test_several_signatures_are_sorted_and_trimmed_as_the_ledger_wants_them(payouts: Payouts) -> None:
    people = [Keypair.random() for _ in range(4)]
    await payouts.set_signers(*((keypair, 1) for keypair in people), master=0, medium=3)
    before = await payouts.paid_units()
    async with payouts.engine() as engine:
        request = await payouts.asked(engine, entry_intent(payouts))
        for keypair in people[:2]:
            assert not (await engine.signing.accept(request.settlement_id, signed_by(request, keypair))).complete
        rest = await engine.signing.accept(request.settlement_id, signed_by(request, *people[2:]))
        assert (rest.complete, rest.weight) == (True, 4)
        outcome = await until_final(engine, request.settlement_id)
        assert outcome.status is SettlementStatus.CONFIRMED, outcome
    assert await payouts.paid_units() - before == PRICE


async def test_our_own_signer_may_sign_entries_too(payouts: Payouts) -> None:
    before = await payouts.paid_units()
    async with payouts.engine(payout_signer="hot", payout_hot_signer_secret=payouts.payer.secret) as engine:
        settlement_id = await payouts.bench.accept(engine, entry_intent(payouts))
        outcome = await until_final(engine, settlement_id)
        assert outcome.status is SettlementStatus.CONFIRMED, outcome
        assert await engine.requests.waiting() == ()
    assert await payouts.paid_units() - before == PRICE


async def test_an_entry_that_expires_is_asked_for_anew(payouts: Payouts, ledger: LocalLedger) -> None:
    before = await payouts.paid_units()
    async with payouts.engine(payout_signature_validity_seconds=60) as engine:
        first = await payouts.asked(engine, entry_intent(payouts))
        await expire(engine, ledger, first.settlement_id)
        second = await ask_again(engine, first.settlement_id)
        assert second.hash != first.hash
        assert await refused_code(engine, second, signed_by(first, payouts.payer)) == "signature_superseded"
        await engine.signing.accept(first.settlement_id, signed_by(second, payouts.payer))
        assert (await until_final(engine, first.settlement_id)).status is SettlementStatus.CONFIRMED
    assert await payouts.paid_units() - before == PRICE


async def test_an_entry_that_a_stranger_uses_first_is_recorded_as_paid_and_never_paid_again(
    payouts: Payouts, ledger: LocalLedger
) -> None:
    before, intent = await payouts.paid_units(), entry_intent(payouts)
    async with payouts.engine() as engine:
        request = await payouts.asked(engine, intent)
        assert await used_by_a_stranger(ledger, intent, sign(request, payouts.payer))
        await engine.signing.accept(request.settlement_id, signed_by(request, payouts.payer))
        outcome = await until_final(engine, request.settlement_id)
    assert outcome.status is SettlementStatus.CONFIRMED
    assert outcome.tx_hash is not None
    assert await payouts.paid_units() - before == PRICE


async def test_a_superseded_entry_that_is_used_after_all_pays_once(payouts: Payouts, ledger: LocalLedger) -> None:
    before, intent = await payouts.paid_units(), entry_intent(payouts)
    async with payouts.engine(payout_signature_validity_seconds=60) as engine:
        first = await payouts.asked(engine, intent)
        await expire(engine, ledger, first.settlement_id)
        second = await ask_again(engine, first.settlement_id)
        assert await used_by_a_stranger(ledger, intent, sign(first, payouts.payer))
        await engine.signing.accept(first.settlement_id, signed_by(second, payouts.payer))
        assert (await until_final(engine, first.settlement_id)).status is SettlementStatus.CONFIRMED
    assert await payouts.paid_units() - before == PRICE


async def test_a_cancelled_entry_is_cancelled_for_good_only_when_nobody_can_use_it(
    payouts: Payouts, ledger: LocalLedger
) -> None:
    before, intent = await payouts.paid_units(), entry_intent(payouts)
    async with payouts.engine(payout_signature_validity_seconds=60) as engine:
        request = await payouts.asked(engine, intent)
        async with payouts.bench.database.begin() as connection:
            await engine.book.control(connection, request.settlement_id, Control.CANCEL)
        outcome = await engine.activities.walk(request.settlement_id)
        assert not outcome.status.final
        assert (await engine.requests.request_of(request.settlement_id)).status is SigningStatus.CANCELLED
        assert await refused_code(engine, request, signed_by(request, payouts.payer)) == "signature_not_awaited"
        why = await engine.book.why(request.settlement_id)
        assert f"until ledger {request.expires_ledger}" in why.sentence
        assert request.expires_ledger is not None
        await pass_ledgers(engine, ledger, request.settlement_id, request.expires_ledger)
        outcome = await until_final(engine, request.settlement_id)
        assert outcome.status is SettlementStatus.CANCELLED, outcome
        assert not await used_by_a_stranger(ledger, intent, sign(request, payouts.payer))
    assert await payouts.paid_units() == before


async def test_a_cancelled_entry_that_is_used_in_time_is_confirmed_and_not_cancelled(
    payouts: Payouts, ledger: LocalLedger
) -> None:
    before, intent = await payouts.paid_units(), entry_intent(payouts)
    async with payouts.engine() as engine:
        request = await payouts.asked(engine, intent)
        async with payouts.bench.database.begin() as connection:
            await engine.book.control(connection, request.settlement_id, Control.CANCEL)
        assert not (await engine.activities.walk(request.settlement_id)).status.final
        assert await used_by_a_stranger(ledger, intent, sign(request, payouts.payer))
        outcome = await until_final(engine, request.settlement_id)
    assert outcome.status is SettlementStatus.CONFIRMED, outcome
    assert await payouts.paid_units() - before == PRICE


async def emptied(payouts: Payouts) -> Amount:
    """Take all that the contract holds; gives how much that was."""
    world = payouts.bench.world
    there = await world.balance(world.usdc, payouts.contract)
    await world.call_payout(
        "withdraw",
        scval.to_address(world.usdc),
        scval.to_address(world.pool.public_key),
        scval.to_int128(there.units),
        contract=payouts.contract,
    )
    return there


@pytest.mark.parametrize("used", [True, False])
async def test_an_entry_whose_transaction_failed_on_the_ledger_is_failed_only_when_nobody_can_use_it(
    payouts: Payouts, ledger: LocalLedger, used: bool
) -> None:
    """The ledger has seen the entry, and a failed transaction gives its nonce back."""
    world, before, intent = payouts.bench.world, await payouts.paid_units(), entry_intent(payouts)
    async with payouts.engine() as engine:
        request = await payouts.asked(engine, intent)
        await engine.signing.accept(request.settlement_id, signed_by(request, payouts.payer))
        signed = await engine.book.load(request.settlement_id)
        assert signed.ticket is not None
        sent = await engine.activities._send_what_was_signed(signed, signed.ticket)
        assert sent.status is SettlementStatus.SUBMITTED
        there = await emptied(payouts)
        outcome = await engine.activities.walk(request.settlement_id)
        assert not outcome.status.final
        assert "txFAILED" in (outcome.reason or "")
        assert await busy_lanes(payouts.bench) == 0
        await world.call_payout(
            "fund",
            scval.to_address(world.pool.public_key),
            scval.to_address(world.usdc),
            scval.to_int128(there.units),
            contract=payouts.contract,
        )
        assert request.expires_ledger is not None
        if used:
            assert await used_by_a_stranger(ledger, intent, sign(request, payouts.payer))
        else:
            assert request.expires_ledger > engine.follower.sequence
            async with payouts.bench.database.begin() as connection:
                # As if its last ledger were near: a day of them is much to close.
                near = engine.follower.sequence + 2
                await connection.execute(
                    text("UPDATE settlements SET ending = jsonb_set(ending, '{after}', to_jsonb(:near))"),
                    {"near": near},
                )
            await pass_ledgers(engine, ledger, request.settlement_id, near)
        outcome = await until_final(engine, request.settlement_id)
    expected = SettlementStatus.CONFIRMED if used else SettlementStatus.FAILED
    assert outcome.status is expected, outcome
    assert await payouts.paid_units() - before == (PRICE if used else Amount(0))


async def test_each_request_has_a_nonce_of_its_own(payouts: Payouts) -> None:
    entries = [auth_entries.new_entry(entry_intent(payouts), 10).credentials.address for _ in range(50)]
    assert len({entry.nonce.int64 for entry in entries if entry is not None}) == 50
