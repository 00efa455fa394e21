"""The walk that sees a payment on the ledger confirms its outage: once, and with others of the same ledger."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from activities.settlement_parts import Proof
from adapters.database.engine import Database
from adapters.database.paid_outages import PaidOutages
from domain.outage import OutageStatus
from domain.settlement import SettlementOutcome, SettlementStatus
from domain.sla_payment import PaymentPhase
from tests.outage.conftest import TX_HASH, Story
from tests.outage.test_late_words import desk_of

CLOSED_AT = datetime(2026, 1, 16, 12, 2, tzinfo=UTC)


async def settling(story: Story, database: Database) -> str:
    outage_id = await story.report(minutes_ago=60, wake=False)
    await story.resolve(outage_id, after_minutes=25, wake=False)
    standing = await desk_of(story, database).take_stock(outage_id, datetime.now(UTC))
    assert standing.phase is PaymentPhase.SETTLING
    return outage_id


async def landed(story: Story, outage_id: str) -> SettlementOutcome:
    book = story.engine.book
    proof = Proof(TX_HASH, True, False, 4711, CLOSED_AT, 100, "")
    return (await book.record_paid_before(await book.load(f"outage:{outage_id}"), proof)).outcome


async def test_those_of_one_ledger_are_confirmed_together_and_told_once_each(
    story: Story, database: Database
) -> None:
    outages = [await settling(story, database) for _ in range(3)]
    outcomes = [await landed(story, outage_id) for outage_id in outages]
    paid = PaidOutages(database)
    concluded = await asyncio.gather(*(paid.conclude(outcome) for outcome in outcomes * 2))
    assert {outcome.record_status for outcome in concluded} == {"resolved"}
    for outage_id in outages:
        outage = await story.read(outage_id)
        assert (outage.phase, outage.tx_hash, outage.ledger) == (PaymentPhase.CONFIRMED, TX_HASH, 4711)
        assert outage.confirmed_at == CLOSED_AT
        assert (await story.told(outage_id)).count("payment.confirmed") == 1
    again = await paid.conclude(outcomes[0])
    assert again.record_status == "resolved"
    assert (await story.told(outages[0])).count("payment.confirmed") == 1


async def test_a_disputed_outage_whose_payment_landed_stays_disputed(story: Story, database: Database) -> None:
    outage_id = await settling(story, database)
    await story.command("dispute", outage_id, by="operator", wake=False)
    outcome = await PaidOutages(database).conclude(await landed(story, outage_id))
    assert outcome.record_status == "disputed"
    outage = await story.read(outage_id)
    assert (outage.status, outage.phase) == (OutageStatus.DISPUTED, PaymentPhase.CONFIRMED)


async def test_what_is_not_an_outage_that_settles_is_left_to_its_story(story: Story, database: Database) -> None:
    paid, outage_id = PaidOutages(database), await story.report(wake=False)
    for settlement_id in (f"outage:{outage_id}", "outage:OUT999", f"payout:{outage_id}"):
        outcome = SettlementOutcome(settlement_id=settlement_id, status=SettlementStatus.CONFIRMED)
        assert await paid.conclude(outcome) == outcome
    failed = SettlementOutcome.failed(f"outage:{await settling(story, database)}", "cancelled", "because")
    assert await paid.conclude(failed) == failed
    assert (await story.read(outage_id)).phase is PaymentPhase.NONE
