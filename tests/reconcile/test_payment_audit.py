"""What the ledger paid and what the record says, held against each other on the real ledger."""

from __future__ import annotations

from domain.money import Amount
from domain.reconciliation import DifferenceKind
from domain.settlement import SettlementStatus
from tests.reconcile.conftest import Payouts


async def test_what_was_paid_and_recorded_is_no_difference(payouts: Payouts) -> None:
    async with payouts.bench.engine() as engine:
        for number in range(3):
            await payouts.pay(engine, f"same-{number}", Amount.of(10 + number))
    found = await payouts.audit.compare()
    assert (found.same, found.on_ledger, found.in_record, found.by_marker) == (True, 3, 3, 0)
    assert found.first_ledger <= found.last_ledger
    assert found.first_closed_at <= found.last_closed_at


async def test_a_payment_that_the_record_does_not_know_is_named(payouts: Payouts) -> None:
    paid = payouts.intent("unknown-1", Amount.of(25))
    landed = await payouts.pay_by_hand(paid)
    (difference,) = (await payouts.audit.compare()).differences
    assert difference.kind is DifferenceKind.ONLY_ON_LEDGER
    assert (difference.marker_id, difference.tx_hash, difference.ledger) == (
        paid.marker_id,
        landed.hash,
        landed.ledger,
    )
    assert (difference.ledger_units, difference.record_units) == (Amount.of(25).units, None)
    assert (difference.settlement_id, difference.token) == (None, payouts.bench.world.usdc)


async def test_a_payment_that_the_record_takes_for_unpaid_is_named_with_its_status(payouts: Payouts) -> None:
    paid = payouts.intent("waiting-1", Amount.of(5))
    await payouts.record(paid)
    await payouts.pay_by_hand(paid)
    (difference,) = (await payouts.audit.compare()).differences
    assert (difference.kind, difference.settlement_id) == (DifferenceKind.ONLY_ON_LEDGER, "payout:waiting-1")
    assert (difference.status, difference.record_units) == (SettlementStatus.ACCEPTED, Amount.of(5).units)


async def test_a_payment_that_only_the_record_has_is_named(payouts: Payouts) -> None:
    await payouts.say_paid(payouts.intent("invented-1", Amount.of(7)))
    (difference,) = (await payouts.audit.compare()).differences
    assert (difference.kind, difference.settlement_id) == (DifferenceKind.ONLY_IN_RECORD, "payout:invented-1")
    assert (difference.ledger_units, difference.record_units) == (None, Amount.of(7).units)


async def test_a_voided_id_is_not_a_payment(payouts: Payouts) -> None:
    from stellar_sdk import scval

    claimed = payouts.intent("void-1", Amount.of(7))
    await payouts.bench.world.call_payout(
        "void", scval.to_bytes(bytes.fromhex(claimed.marker_id)), contract=payouts.contract
    )
    await payouts.say_paid(claimed)
    (difference,) = (await payouts.audit.compare()).differences
    assert difference.kind is DifferenceKind.ONLY_IN_RECORD
    assert "voided" in difference.sentence


async def test_another_amount_in_the_record_is_named_with_both(payouts: Payouts) -> None:
    async with payouts.bench.engine() as engine:
        await payouts.pay(engine, "amount-1", Amount.of(10))
    await payouts.tamper("UPDATE settlements SET amount_units = amount_units + 1")
    (difference,) = (await payouts.audit.compare()).differences
    assert (difference.kind, difference.settlement_id) == (DifferenceKind.AMOUNT, "payout:amount-1")
    assert (difference.ledger_units, difference.record_units) == (100_000_000, 100_000_001)
    assert "10.0000000 was paid, and the record says 10.0000001" in difference.sentence


async def test_another_token_in_the_record_is_named(payouts: Payouts) -> None:
    async with payouts.bench.engine() as engine:
        await payouts.pay(engine, "token-1", Amount.of(10))
    await payouts.tamper("UPDATE settlements SET asset = :token", token=payouts.bench.world.nociq)
    (difference,) = (await payouts.audit.compare()).differences
    assert difference.kind is DifferenceKind.AMOUNT
    assert payouts.bench.world.nociq in difference.sentence


async def test_one_id_paid_by_two_contracts_is_named(payouts: Payouts) -> None:
    other = await payouts.bench.world.new_payout(usdc=Amount.of(1_000))
    async with payouts.bench.engine() as engine:
        await payouts.pay(engine, "twice-1", Amount.of(10))
    again = await payouts.pay_by_hand(payouts.intent("twice-1", Amount.of(10)), contract=other)
    (difference,) = (await payouts.audit_of(payouts.contract, other).compare()).differences
    assert (difference.kind, difference.tx_hash) == (DifferenceKind.PAID_TWICE, again.hash)
    assert payouts.contract in difference.sentence


async def test_a_payment_found_by_its_marker_alone_is_no_difference(payouts: Payouts) -> None:
    """What events no longer tell, since the RPC keeps them for days only, the marker still does."""
    async with payouts.bench.engine() as engine:
        await payouts.pay(engine, "old-1", Amount.of(10))
    # Another contract's events: as if this one's were gone.
    audit = payouts.audit_of(await payouts.bench.world.new_payout(usdc=Amount.of(1_000)))
    assert (await audit.compare()).by_marker == 1
    await payouts.tamper("UPDATE settlements SET ledger = 0")
    recent, every = await audit.compare(), await audit.compare(everything=True)
    assert (recent.in_record, every.in_record, every.by_marker) == (0, 1, 1)
    assert recent.same
    assert every.same
    await payouts.tamper("UPDATE settlements SET amount_units = 5")
    (difference,) = (await audit.compare(everything=True)).differences
    assert (difference.kind, difference.ledger_units) == (DifferenceKind.AMOUNT, Amount.of(10).units)
