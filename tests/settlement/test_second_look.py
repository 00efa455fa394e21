"""What changed while a signature was awaited: a fresh request or a clear refusal, never a failed transaction."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import select, update
from stellar_sdk import Asset, Keypair, scval, xdr

from adapters.database.settlements_tables import pins, sends, settlements
from adapters.stellar.entries import code_key, instance_key, wasm_hash_of
from adapters.stellar.resources import shortfall
from adapters.stellar.rpc import Rpc
from domain.errors import Unavailable
from domain.money import Amount
from domain.settlement import SettlementStatus, SigningMode
from domain.signing import SigningRequest
from localnet.clients import LocalLedger
from tests.settlement.conftest import Bench, until_final
from tests.settlement.payouts import PRICE, Payouts, ask_again, lands, sign, signed_by, trust
from tests.settlement.world import PAYOUT_WASM, WASM, upload
from workers.engine import Engine

BOTH = pytest.mark.parametrize("signing", list(SigningMode))


@pytest.fixture
async def payouts(bench: Bench, ledger: LocalLedger) -> Payouts:
    return await Payouts.make(bench, ledger)


async def signed(
    payouts: Payouts, engine: Engine, signing: SigningMode, *to: tuple[str, Amount]
) -> SigningRequest:
    """Asked for and signed, and not walked on yet."""
    request = await payouts.asked(engine, payouts.intent(*to, signing=signing))
    receipt = await engine.signing.accept(request.settlement_id, signed_by(request, payouts.payer))
    assert receipt.complete
    return request


async def nothing_was_sent(bench: Bench) -> bool:
    async with bench.database.begin() as connection:
        return (await connection.execute(select(sends.c.outer_hash))).first() is None


async def paid_with_a_fresh_request(
    payouts: Payouts, engine: Engine, ledger: LocalLedger, first: SigningRequest, *signers: Keypair
) -> SigningRequest:
    """The stale one is asked for anew on the same pin, cannot land, and the fresh one is paid once."""
    before = await payouts.paid_units()
    pinned = (await engine.book.load(first.settlement_id)).pin
    second = await ask_again(engine, first.settlement_id)
    assert second.id != first.id
    assert (await engine.book.load(first.settlement_id)).pin == pinned
    assert await nothing_was_sent(payouts.bench)
    if first.kind is SigningMode.ENVELOPE:
        assert not await lands(ledger, sign(first, payouts.payer))
    await engine.signing.accept(first.settlement_id, signed_by(second, *(signers or (payouts.payer,))))
    outcome = await until_final(engine, first.settlement_id)
    assert outcome.status is SettlementStatus.CONFIRMED, outcome
    assert await payouts.paid_units() - before == PRICE
    (ended,) = await engine.requests.many([first.id])
    assert ended.superseded_by == second.id
    return ended


async def upgrade(payouts: Payouts, wasm: bytes) -> None:
    world = payouts.bench.world
    wasm_hash = await upload(world, wasm)
    await world.call_payout("upgrade", scval.to_bytes(wasm_hash), contract=payouts.contract)


def another_build(wasm: bytes) -> bytes:
    """The same contract with other bytes: a custom section more."""
    name = b"build"
    section = bytes([len(name)]) + name + b"another"
    return wasm + bytes([0, len(section)]) + section


async def test_a_contract_upgraded_while_it_waited_is_asked_for_anew(
    payouts: Payouts, ledger: LocalLedger
) -> None:
    async with payouts.engine() as engine:
        first = await signed(payouts, engine, SigningMode.ENVELOPE)
        await upgrade(payouts, another_build(PAYOUT_WASM.read_bytes()))
        ended = await paid_with_a_fresh_request(payouts, engine, ledger, first)
    assert ended.reason is not None


async def test_an_entry_outlives_an_upgrade_of_the_contract(payouts: Payouts) -> None:
    """It says nothing of code or footprint: those are made fresh."""
    before = await payouts.paid_units()
    async with payouts.engine() as engine:
        first = await signed(payouts, engine, SigningMode.AUTH_ENTRY)
        await upgrade(payouts, another_build(PAYOUT_WASM.read_bytes()))
        outcome = await until_final(engine, first.settlement_id)
    assert outcome.status is SettlementStatus.CONFIRMED, outcome
    assert await payouts.paid_units() - before == PRICE


@BOTH
async def test_a_contract_upgraded_to_another_thing_is_refused(payouts: Payouts, signing: SigningMode) -> None:
    async with payouts.engine(payout_signature_validity_seconds=60) as engine:
        first = await signed(payouts, engine, signing)
        await upgrade(payouts, WASM.read_bytes())
        outcome = await engine.activities.walk(first.settlement_id)
    await is_refused(payouts.bench, outcome, first, "contract_")


async def is_refused(bench: Bench, outcome: Any, request: SigningRequest, code: str) -> None:
    """At once where an envelope waited; of an entry it is only said when nobody can use it any more."""
    if request.kind is SigningMode.ENVELOPE:
        assert outcome.status is SettlementStatus.FAILED, outcome
        assert (outcome.reason_code or "").startswith(code), outcome
    else:
        assert outcome.status is SettlementStatus.BUILT, outcome
        assert str(request.expires_ledger) in (outcome.reason or "")
    assert await nothing_was_sent(bench)
    async with bench.database.begin() as connection:
        states = (await connection.execute(select(pins.c.state, pins.c.lane_signed))).all()
    assert all((row.state, row.lane_signed) == ("returned", False) for row in states)


async def signed_and_archived(payouts: Payouts, engine: Engine, ledger: LocalLedger, what: str) -> SigningRequest:
    async with Rpc(ledger.url) as rpc:
        if what == "code":
            # Code is shared by all contracts of the tests: this one gets its own.
            await upgrade(payouts, another_build(PAYOUT_WASM.read_bytes()) + bytes([0, 2, 1, 65]))
        first = await signed(payouts, engine, SigningMode.ENVELOPE)
        key = instance_key(payouts.contract)
        if what == "code":
            found = (await rpc.ledger_entries([key])).by_key[key.to_xdr()]
            key = code_key(wasm_hash_of(found.data) or b"")
        ledger.admin("entries/ttl", key=key.to_xdr(), liveUntilLedgerSeq=await rpc.newest() - 1)
    return first


async def test_a_restore_above_max_gas_is_refused_and_named_apart(payouts: Payouts, ledger: LocalLedger) -> None:
    async with payouts.engine() as engine:
        first = await signed_and_archived(payouts, engine, ledger, "code")
        outcome = await engine.activities.walk(first.settlement_id)
    await is_refused(payouts.bench, outcome, first, "exceeds_max_gas")
    assert "restores 1 archived" in (outcome.reason or "")
    assert outcome.details["restores"] == "1"


@pytest.mark.parametrize("what", ["instance", "code"])
async def test_an_entry_of_the_contract_archived_while_it_waited_is_restored_by_the_fresh_one(
    payouts: Payouts, ledger: LocalLedger, what: str
) -> None:
    async with payouts.engine(payouts_max_gas_stroops=100_000_000) as engine:
        first = await signed_and_archived(payouts, engine, ledger, what)
        ended = await paid_with_a_fresh_request(payouts, engine, ledger, first)
    assert "archived" in (ended.reason or "")


@BOTH
async def test_a_trustline_removed_while_it_waited_is_refused_by_name(
    payouts: Payouts, ledger: LocalLedger, signing: SigningMode
) -> None:
    world, recipient = payouts.bench.world, Keypair.random()
    ledger.friendbot(recipient.public_key)
    usdc = Asset("USDC", world.issuer.public_key)
    await trust(world.url, recipient, usdc)
    async with payouts.engine() as engine:
        first = await signed(payouts, engine, signing, (recipient.public_key, PRICE))
        await trust(world.url, recipient, usdc, limit="0")
        outcome = await engine.activities.walk(first.settlement_id)
    await is_refused(payouts.bench, outcome, first, "trustline_missing")


@BOTH
async def test_a_contract_paused_while_it_waited_is_refused_by_name(
    payouts: Payouts, signing: SigningMode
) -> None:
    async with payouts.engine() as engine:
        first = await signed(payouts, engine, signing)
        await payouts.bench.world.call_payout("pause", contract=payouts.contract)
        outcome = await engine.activities.walk(first.settlement_id)
    await is_refused(payouts.bench, outcome, first, "contract_paused")


@BOTH
async def test_a_signer_taken_away_after_it_signed_is_replaced_by_a_fresh_request(
    payouts: Payouts, ledger: LocalLedger, signing: SigningMode
) -> None:
    alice, bob = Keypair.random(), Keypair.random()
    await payouts.set_signers((alice, 1), (bob, 1))
    async with payouts.engine() as engine:
        first = await payouts.asked(engine, payouts.intent(signing=signing))
        assert (await engine.signing.accept(first.settlement_id, signed_by(first, alice))).complete
        await payouts.set_signers((alice, 0))
        ended = await paid_with_a_fresh_request(payouts, engine, ledger, first, bob)
    assert "signers" in (ended.reason or "")


@BOTH
async def test_a_threshold_raised_after_it_was_signed_wants_more_signatures(
    payouts: Payouts, ledger: LocalLedger, signing: SigningMode
) -> None:
    alice, bob = Keypair.random(), Keypair.random()
    await payouts.set_signers((alice, 1), (bob, 1))
    async with payouts.engine() as engine:
        first = await payouts.asked(engine, payouts.intent(signing=signing))
        assert (await engine.signing.accept(first.settlement_id, signed_by(first, alice))).complete
        await payouts.set_signers((alice, 1), medium=2)
        await paid_with_a_fresh_request(payouts, engine, ledger, first, alice, bob)


def with_fees(engine: Engine, factor: int) -> None:
    """The network's resource fees rise, as its validators may vote: every simulation tells of them."""
    rpc: Any = engine.ledger._rpc
    simulate = rpc.simulate

    async def dearer(envelope: str) -> Any:
        answer = await simulate(envelope)
        return replace(answer, resource_fee=answer.resource_fee * factor)

    rpc.simulate = dearer


async def test_fees_raised_while_it_waited_are_paid_by_a_fresh_envelope(
    payouts: Payouts, ledger: LocalLedger
) -> None:
    async with payouts.engine(payouts_max_gas_stroops=20_000_000) as engine:
        first = await signed(payouts, engine, SigningMode.ENVELOPE)
        with_fees(engine, 3)
        ended = await paid_with_a_fresh_request(payouts, engine, ledger, first)
    assert "resource fee" in (ended.reason or "")


async def test_fees_raised_above_max_gas_are_refused_with_both_figures(payouts: Payouts) -> None:
    async with payouts.engine() as engine:
        first = await signed(payouts, engine, SigningMode.ENVELOPE)
        with_fees(engine, 1_000)
        outcome = await engine.activities.walk(first.settlement_id)
    await is_refused(payouts.bench, outcome, first, "exceeds_max_gas")
    assert {"resource_fee_stroops", "max_gas_stroops"} <= outcome.details.keys()


async def test_the_contract_emptied_while_it_waited_is_refused_with_figures(payouts: Payouts) -> None:
    world = payouts.bench.world
    async with payouts.engine() as engine:
        first = await signed(payouts, engine, SigningMode.ENVELOPE)
        everything = scval.to_int128((await world.balance(world.usdc, payouts.contract)).units)
        await world.call_payout(
            "withdraw",
            scval.to_address(world.usdc),
            scval.to_address(world.pool.public_key),
            everything,
            contract=payouts.contract,
        )
        outcome = await engine.activities.walk(first.settlement_id)
    await is_refused(payouts.bench, outcome, first, "payout_contract_short")


def resources(**changes: int) -> str:
    """SorobanTransactionData that reads one entry and writes another."""
    figures = {"instructions": 100, "disk_read_bytes": 100, "write_bytes": 100, "fee": 100, "read": 1, "write": 1}
    figures |= changes
    keys = [
        [code_key(bytes([kind, number]) * 16) for number in range(figures[name])]
        for kind, name in enumerate(("read", "write"))
    ]
    data = xdr.SorobanTransactionData(
        ext=xdr.SorobanTransactionDataExt(0),
        resources=xdr.SorobanResources(
            footprint=xdr.LedgerFootprint(*keys),
            instructions=xdr.Uint32(figures["instructions"]),
            disk_read_bytes=xdr.Uint32(figures["disk_read_bytes"]),
            write_bytes=xdr.Uint32(figures["write_bytes"]),
        ),
        resource_fee=xdr.Int64(figures["fee"]),
    )
    return data.to_xdr()


@pytest.mark.parametrize("short", ["instructions", "disk_read_bytes", "write_bytes", "fee", "read", "write"])
def test_what_was_declared_suffices_until_one_figure_does_not(short: str) -> None:
    assert shortfall(resources(), resources(), 100) is None
    more = {short: 2 if short in {"read", "write"} else 101}
    assert shortfall(resources(), resources(**more), 101 if short == "fee" else 100) is not None
    assert shortfall(resources(**more), resources(), 100) is None


@BOTH
async def test_what_waited_for_days_counts_on_the_day_it_is_sent(payouts: Payouts, signing: SigningMode) -> None:
    """Else requests of several days, all signed today, together exceed the day's limit."""
    before = await payouts.paid_units()
    async with payouts.engine(policy_day_amount="60") as engine:
        old = [await payouts.asked(engine, payouts.intent(signing=signing)) for _ in range(2)]
        async with payouts.bench.database.begin() as connection:
            await connection.execute(update(settlements).values(reserved_on=settlements.c.reserved_on - 2))
        new = await payouts.asked(engine, payouts.intent(signing=signing))
        outcomes = []
        for request in (*old, new):
            await engine.signing.accept(request.settlement_id, signed_by(request, payouts.payer))
        for request in (new, *old):
            outcomes.append(await engine.activities.walk(request.settlement_id))
        first, second, third = outcomes
        assert (first.status, second.status) == (SettlementStatus.CONFIRMED, SettlementStatus.CONFIRMED)
        assert "day's limit" in (third.reason or ""), third
    assert await payouts.paid_units() - before == PRICE * 2


@BOTH
async def test_a_no_of_a_node_that_is_behind_is_no_definite_one(
    bench: Bench, ledger: LocalLedger, signing: SigningMode
) -> None:
    """The contract was funded just now, and the node behind the balancer has not seen it."""
    payouts = await Payouts.make(bench, ledger, usdc=Amount(0))
    async with payouts.engine() as engine:
        settlement_id = await bench.accept(engine, payouts.intent(signing=signing))
        before = engine.follower.sequence
        fund = [scval.to_address(bench.world.issuer.public_key), scval.to_address(bench.world.usdc)]
        await bench.world.call_payout(
            "fund", *fund, scval.to_int128(PRICE.units), by=bench.world.issuer, contract=payouts.contract
        )
        await engine.follower.wait(settlement_id)
        behind = engine.follower.sequence - before + 1
        ledger.fault("ingestion_lag", method="simulateTransaction", ledgers=behind, count=1)
        with pytest.raises(Unavailable, match="was seen"):
            await engine.activities.walk(settlement_id)
        request = await ask_again(engine, settlement_id)
        await engine.signing.accept(settlement_id, signed_by(request, payouts.payer))
        assert (await until_final(engine, settlement_id)).status is SettlementStatus.CONFIRMED
