"""Payouts that somebody outside signs: hours may pass, the lane signs last, and each is paid once."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import func, select
from stellar_sdk import Keypair

from adapters.database.audit import seal, verify
from adapters.database.audit_tables import audit_log
from adapters.database.outbox_tables import events
from adapters.database.settlements_tables import lanes, pins
from adapters.stellar.rpc import Rpc
from domain.errors import Conflict, Unavailable
from domain.settlement import Control, SettlementStatus
from domain.signing import SignatureSubmission, SigningStatus
from localnet.clients import LocalLedger
from tests.settlement.conftest import Bench, until_final
from tests.settlement.payouts import (
    PRICE,
    Payouts,
    ask_again,
    detached,
    lands,
    refused_code,
    sign,
    signed_by,
)
from workers.engine import Engine


@pytest.fixture
async def payouts(bench: Bench, ledger: LocalLedger) -> Payouts:
    return await Payouts.make(bench, ledger)


async def busy_lanes(bench: Bench) -> int:
    async with bench.database.begin() as connection:
        query = select(func.count()).select_from(lanes).where(lanes.c.settlement_id.is_not(None))
        return int((await connection.execute(query)).scalar_one())


async def told(bench: Bench) -> list[str]:
    async with bench.database.begin() as connection:
        rows = await connection.execute(select(events.c.type).order_by(events.c.id))
        return [kind for kind in rows.scalars() if kind.startswith("payout.signature")]


async def expire(engine: Engine, ledger: LocalLedger, settlement_id: str) -> None:
    """Let ledgers close until every request has ended."""
    expires_at = (await engine.requests.request_of(settlement_id)).expires_at
    while engine.follower.closed_at <= expires_at:
        ledger.admin("ledgers/advance", count=1, seconds_each=120)
        await engine.follower.wait(settlement_id)


async def test_what_is_only_built_holds_no_lane_and_is_shown_unsigned(payouts: Payouts) -> None:
    before = await payouts.paid_units()
    async with payouts.engine(payout_signer="hot", payout_hot_signer_secret=payouts.payer.secret) as engine:
        settlement_id = await payouts.bench.accept(engine, payouts.intent(build_only=True))
        for _ in range(2):
            outcome = await engine.activities.walk(settlement_id)
            assert outcome.status is SettlementStatus.BUILT
        unsigned = await engine.book.unsigned_xdr(settlement_id)
    assert unsigned is not None
    assert await busy_lanes(payouts.bench) == 0
    assert await payouts.paid_units() == before
    async with payouts.bench.database.begin() as connection:
        states = (await connection.execute(select(pins.c.state, pins.c.lane_signed))).all()
    assert [tuple(state) for state in states] == [("returned", False)]


async def test_a_signed_envelope_is_paid_once_and_says_already_afterwards(payouts: Payouts) -> None:
    before = await payouts.paid_units()
    async with payouts.engine() as engine:
        request = await payouts.asked(engine)
        assert request.signers[0].address == payouts.payer.public_key
        assert request.sep7_uri is not None
        assert "replace" not in request.sep7_uri
        assert await busy_lanes(payouts.bench) == 1
        receipt = await engine.signing.accept(request.settlement_id, signed_by(request, payouts.payer))
        assert (receipt.complete, receipt.already) == (True, False)
        outcome = await until_final(engine, request.settlement_id)
        assert outcome.status is SettlementStatus.CONFIRMED, outcome
        again = await engine.signing.accept(request.settlement_id, signed_by(request, payouts.payer))
        assert (again.complete, again.already) == (True, True)
        assert (await engine.requests.request_of(request.settlement_id)).status is SigningStatus.SIGNED
    assert await payouts.paid_units() - before == PRICE
    assert await told(payouts.bench) == ["payout.signature_requested"]


async def test_the_request_is_there_before_anybody_is_told_and_its_envelope_cannot_land(
    payouts: Payouts, ledger: LocalLedger
) -> None:
    """Prematurely submitted: signed by the payer alone, it is not the lane's."""
    before = await payouts.paid_units()
    async with payouts.engine() as engine:
        request = await payouts.asked(engine)
        assert not await lands(ledger, sign(request, payouts.payer))
        await engine.signing.accept(request.settlement_id, signed_by(request, payouts.payer))
        assert not await lands(ledger, sign(request, payouts.payer))
        assert (await until_final(engine, request.settlement_id)).status is SettlementStatus.CONFIRMED
    assert await payouts.paid_units() - before == PRICE


async def test_it_is_the_lanes_signature_alone_that_an_envelope_lacks(
    payouts: Payouts, ledger: LocalLedger
) -> None:
    """So that what the other tests submit does not land for another reason."""
    before = await payouts.paid_units()
    async with payouts.engine() as engine:
        request = await payouts.asked(engine)
        pin = (await engine.book.load(request.settlement_id)).pin
        assert pin is not None
        assert not await lands(ledger, sign(request, payouts.payer))
        signatures = {payouts.payer.public_key: payouts.payer.sign(bytes.fromhex(request.hash))}
        assert await lands(ledger, engine.ledger.sign_last(request.unsigned_xdr or "", pin.lane, signatures))
        # The engine finds the marker, whoever sent it.
        await engine.signing.accept(request.settlement_id, signed_by(request, payouts.payer))
        assert (await until_final(engine, request.settlement_id)).status is SettlementStatus.CONFIRMED
    assert await payouts.paid_units() - before == PRICE


async def test_an_expired_request_is_asked_for_anew_on_the_same_lane_and_number(
    payouts: Payouts, ledger: LocalLedger
) -> None:
    before = await payouts.paid_units()
    async with payouts.engine(payout_signature_validity_seconds=60) as engine:
        first = await payouts.asked(engine)
        pinned = (await engine.book.load(first.settlement_id)).pin
        await expire(engine, ledger, first.settlement_id)
        assert await refused_code(engine, first, signed_by(first, payouts.payer)) == "signature_expired"
        second = await ask_again(engine, first.settlement_id)
        assert second.id != first.id
        assert (await engine.book.load(first.settlement_id)).pin == pinned
        (ended,) = await engine.requests.many([first.id])
        assert (ended.status, ended.superseded_by) == (SigningStatus.SUPERSEDED, second.id)
        assert await told(payouts.bench) == [
            "payout.signature_requested",
            "payout.signature_superseded",
            "payout.signature_requested",
        ]
        assert await refused_code(engine, second, signed_by(first, payouts.payer)) == "signature_superseded"
        without_id = SignatureSubmission(signed_xdr=sign(first, payouts.payer), by="signer")
        assert await refused_code(engine, second, without_id) == "signature_superseded"
        assert not await lands(ledger, sign(first, payouts.payer))
        await engine.signing.accept(first.settlement_id, signed_by(second, payouts.payer))
        assert (await until_final(engine, first.settlement_id)).status is SettlementStatus.CONFIRMED
    assert await payouts.paid_units() - before == PRICE


async def test_requests_that_are_renewed_use_up_no_attempts(payouts: Payouts, ledger: LocalLedger) -> None:
    async with payouts.engine(payout_signature_validity_seconds=60, payouts_max_attempts=2) as engine:
        request = await payouts.asked(engine)
        for _ in range(4):
            await expire(engine, ledger, request.settlement_id)
            request = await ask_again(engine, request.settlement_id)
        assert (await engine.book.load(request.settlement_id)).builds == 1


async def test_a_cancel_while_it_waits_gives_the_lane_back_and_what_was_signed_cannot_land(
    payouts: Payouts, ledger: LocalLedger
) -> None:
    before = await payouts.paid_units()
    async with payouts.engine() as engine:
        request = await payouts.asked(engine)
        async with payouts.bench.database.begin() as connection:
            await engine.book.control(connection, request.settlement_id, Control.CANCEL)
        outcome = await engine.activities.walk(request.settlement_id)
        assert outcome.status is SettlementStatus.CANCELLED
        assert await busy_lanes(payouts.bench) == 0
        assert (await engine.requests.request_of(request.settlement_id)).status is SigningStatus.CANCELLED
        assert await refused_code(engine, request, signed_by(request, payouts.payer)) == "signature_not_awaited"
        assert not await lands(ledger, sign(request, payouts.payer))
        # The number goes to the next one.
        other = await payouts.asked(engine)
        await engine.signing.accept(other.settlement_id, signed_by(other, payouts.payer))
        assert (await until_final(engine, other.settlement_id)).status is SettlementStatus.CONFIRMED
        assert not await lands(ledger, sign(request, payouts.payer))
    assert await payouts.paid_units() - before == PRICE


async def test_a_cancel_after_the_signature_still_comes_before_the_lanes(
    payouts: Payouts, ledger: LocalLedger
) -> None:
    before = await payouts.paid_units()
    async with payouts.engine() as engine:
        request = await payouts.asked(engine)
        await engine.signing.accept(request.settlement_id, signed_by(request, payouts.payer))
        async with payouts.bench.database.begin() as connection:
            await engine.book.control(connection, request.settlement_id, Control.CANCEL)
        outcome = await engine.activities.walk(request.settlement_id)
        assert outcome.status is SettlementStatus.CANCELLED
        assert await busy_lanes(payouts.bench) == 0
        assert not await lands(ledger, sign(request, payouts.payer))
    assert await payouts.paid_units() == before


async def test_every_signature_that_is_accepted_is_in_the_audit_chain(payouts: Payouts) -> None:
    async with payouts.engine() as engine:
        request = await payouts.asked(engine)
        submission = SignatureSubmission(signatures=detached(request, payouts.payer), by="person:alice")
        for _ in range(2):
            await engine.signing.accept(request.settlement_id, submission)
        async with payouts.bench.database.begin() as connection:
            entries = (await connection.execute(select(audit_log))).all()
            await seal(connection)
            report = await verify(connection)
    assert [(entry.actor, entry.action, entry.subject) for entry in entries] == [
        ("person:alice", "signature.accept", request.settlement_id)
    ]
    assert entries[0].details["hash"] == request.hash
    assert (report.sealed, report.broken_at) == (1, None)


async def test_no_more_lanes_wait_than_the_setting_admits(payouts: Payouts, ledger: LocalLedger) -> None:
    async with payouts.engine(lanes_waiting=2) as engine:
        first = await payouts.asked(engine)
        await payouts.asked(engine)
        third = await payouts.bench.accept(engine, payouts.intent())
        with pytest.raises(Unavailable, match="LANES_WAITING") as full:
            await engine.activities.walk(third)
        assert full.value.code == "no_lane_free"
        assert full.value.details["retry_after_seconds"] == "30", "thousands that wait leave the others their turn"
        ledger.fault("unavailable", method="simulateTransaction", count=1)
        with pytest.raises(Unavailable, match="LANES_WAITING"):  # nor do they ask the ledger for nothing
            await engine.activities.walk(third)
        ledger.clear_faults()
        assert "LANES_WAITING" in (await engine.book.why(third)).sentence
        # What does not wait is not held up.
        paid = await until_final(engine, await payouts.bench.accept(engine, payouts.bench.intent()))
        assert paid.status is SettlementStatus.CONFIRMED
        await engine.signing.accept(first.settlement_id, signed_by(first, payouts.payer))
        assert (await engine.activities.walk(third)).status is SettlementStatus.AWAITING_SIGNATURE


async def test_signatures_of_several_people_are_gathered_until_they_are_enough(payouts: Payouts) -> None:
    """The master key signs no more: two of three people do, one now and one later."""
    alice, bob, carol = (Keypair.random() for _ in range(3))
    await payouts.set_signers((alice, 1), (bob, 1), (carol, 1), master=0, medium=2)
    before = await payouts.paid_units()
    async with payouts.engine() as engine:
        request = await payouts.asked(engine)
        assert {signer.address for signer in request.signers} == {k.public_key for k in (alice, bob, carol)}
        assert request.threshold == 2
        first = await engine.signing.accept(request.settlement_id, signed_by(request, alice))
        assert (first.weight, first.complete) == (1, False)
        again = await engine.signing.accept(request.settlement_id, signed_by(request, alice))
        assert (again.already, again.complete) == (True, False)
        assert (await engine.activities.walk(request.settlement_id)).status is SettlementStatus.AWAITING_SIGNATURE
        (shown,) = await engine.requests.waiting()
        assert shown.signed_by == (alice.public_key,)
        by_bob = SignatureSubmission(signatures=detached(request, bob), by="bob")
        second = await engine.signing.accept(request.settlement_id, by_bob)
        assert (second.weight, second.complete) == (2, True)
        assert (await until_final(engine, request.settlement_id)).status is SettlementStatus.CONFIRMED
    assert await payouts.paid_units() - before == PRICE


async def test_more_signatures_than_are_needed_are_trimmed_to_the_fewest(payouts: Payouts) -> None:
    """One too many fails a transaction (txBAD_AUTH_EXTRA)."""
    alice, bob, carol = (Keypair.random() for _ in range(3))
    await payouts.set_signers((alice, 1), (bob, 2), (carol, 1), medium=2)
    before = await payouts.paid_units()
    async with payouts.engine() as engine:
        request = await payouts.asked(engine)
        everybody = signed_by(request, alice, payouts.payer, bob, carol, alice)
        receipt = await engine.signing.accept(request.settlement_id, everybody)
        assert len(receipt.accepted) == 4
        outcome = await until_final(engine, request.settlement_id)
        assert outcome.status is SettlementStatus.CONFIRMED, outcome
    async with Rpc(payouts.bench.world.url) as rpc:
        landed = await rpc.transaction(outcome.tx_hash or "")
    assert landed is not None
    assert await payouts.paid_units() - before == PRICE


async def test_two_signers_post_at_once_and_both_count(payouts: Payouts) -> None:
    alice, bob = Keypair.random(), Keypair.random()
    await payouts.set_signers((alice, 1), (bob, 1), master=0, medium=2)
    before = await payouts.paid_units()
    async with payouts.engine() as engine:
        request = await payouts.asked(engine)
        receipts = await asyncio.gather(
            *(engine.signing.accept(request.settlement_id, signed_by(request, who)) for who in (alice, bob))
        )
        assert sorted(receipt.complete for receipt in receipts) == [False, True]
        assert (await until_final(engine, request.settlement_id)).status is SettlementStatus.CONFIRMED
    assert await payouts.paid_units() - before == PRICE


async def test_the_same_signature_twice_at_once_is_stored_once(payouts: Payouts) -> None:
    before = await payouts.paid_units()
    async with payouts.engine() as engine:
        request = await payouts.asked(engine)
        receipts = await asyncio.gather(
            *(engine.signing.accept(request.settlement_id, signed_by(request, payouts.payer)) for _ in range(5))
        )
        assert sorted(receipt.already for receipt in receipts) == [False, True, True, True, True]
        assert all(receipt.complete for receipt in receipts)
        ended = await asyncio.gather(*(until_final(engine, request.settlement_id) for _ in range(3)))
        assert {outcome.status for outcome in ended} == {SettlementStatus.CONFIRMED}
    assert await payouts.paid_units() - before == PRICE


async def test_a_held_payout_takes_its_signature_and_is_sent_when_it_is_released(payouts: Payouts) -> None:
    before = await payouts.paid_units()
    async with payouts.engine() as engine:
        request = await payouts.asked(engine)
        async with payouts.bench.database.begin() as connection:
            await engine.book.control(connection, request.settlement_id, Control.HOLD)
        await engine.signing.accept(request.settlement_id, signed_by(request, payouts.payer))
        assert (await engine.activities.walk(request.settlement_id)).status is SettlementStatus.QUEUED
        assert await payouts.paid_units() == before
        async with payouts.bench.database.begin() as connection:
            await engine.book.control(connection, request.settlement_id, Control.NONE)
        assert (await until_final(engine, request.settlement_id)).status is SettlementStatus.CONFIRMED
    assert await payouts.paid_units() - before == PRICE


async def test_a_signature_for_nothing_that_waits_is_a_clear_conflict(payouts: Payouts) -> None:
    async with payouts.engine() as engine:
        request = await payouts.asked(engine)
        settlement_id = await payouts.bench.accept(engine, payouts.intent())
        submission = SignatureSubmission(signed_xdr=sign(request, payouts.payer), by="signer")
        with pytest.raises(Conflict) as none_awaited:
            await engine.signing.accept(settlement_id, submission)
    assert none_awaited.value.code == "signature_not_awaited"


async def test_why_says_who_must_sign_and_until_when(payouts: Payouts) -> None:
    alice = Keypair.random()
    await payouts.set_signers((alice, 1), medium=2)
    async with payouts.engine() as engine:
        request = await payouts.asked(engine)
        await engine.signing.accept(request.settlement_id, signed_by(request, alice))
        why = await engine.book.why(request.settlement_id)
    assert payouts.payer.public_key in why.sentence
    assert f"{request.expires_at:%Y-%m-%d %H:%M:%S}" in why.sentence
    assert "1 of 2" in why.sentence
    assert set(why.may) == {"hold", "cancel"}
