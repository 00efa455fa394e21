"""Words that come late, to a record that has gone on: they change neither what is paid nor what is on its way."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from activities.settlement_parts import Proof
from adapters.database.engine import Database
from adapters.database.outage_story import OutageDesk
from adapters.database.reading import PaymentFilter, list_payments
from domain.errors import Conflict, Refused
from domain.money import Amount
from domain.outage import OutageStatus
from domain.settlement import SettlementStatus
from domain.sla_payment import PaymentPhase, PaymentRules, SlaContracts
from tests.outage.conftest import NOCIQ, POOL, SLA, TX_HASH, USDC, Story


def desk_of(story: Story, database: Database) -> OutageDesk:
    rules = PaymentRules(auto_enabled=True, auto_max=Amount.of(10_000))
    contracts = SlaContracts(sla=SLA, usdc=USDC, reward_token=NOCIQ, pool=POOL)
    return OutageDesk(database, story.engine.book, rules=rules, contracts=contracts, deployment="test")


async def test_a_payment_that_landed_in_a_dispute_keeps_its_decision(story: Story) -> None:
    """A corrected time comes too late: the paid decision stays in the history and the statement."""
    story.engine.script.extend(["pending"] * 1000)
    outage_id = await story.report(minutes_ago=60)
    await story.resolve(outage_id, after_minutes=25)
    await story.until(outage_id, lambda outage: outage.phase is PaymentPhase.SETTLING)
    await story.command("dispute", outage_id, by="operator")
    book = story.engine.book
    landed = Proof(TX_HASH, True, False, 4711, datetime.now(UTC), 100, "")
    await book.record_paid_before(await book.load(f"outage:{outage_id}"), landed)
    await story.stories.outage_changed(outage_id)
    await story.until(outage_id, lambda outage: outage.phase is PaymentPhase.CONFIRMED)
    with pytest.raises(Conflict, match="confirmed"):
        await story.resolve(outage_id, after_minutes=20, by="arbiter")
    outage = await story.resolve(outage_id, after_minutes=25, by="arbiter")
    assert (outage.status, outage.phase) == (OutageStatus.RESOLVED, PaymentPhase.CONFIRMED)
    async with story.database.begin() as connection:
        (paid,) = await list_payments(connection, PaymentFilter(), before=None, limit=10)
    assert (paid.amount, paid.tx_hash) == (Amount.of(1_000), TX_HASH)


async def test_a_failure_told_again_after_a_reset_does_not_fail_the_try_that_is_in_flight(
    story: Story, database: Database
) -> None:
    """Temporal replays an old answer; were it believed, a cancel would be granted while money is on its way."""
    desk, book, now = desk_of(story, database), story.engine.book, datetime.now(UTC)
    outage_id = await story.report(minutes_ago=60, wake=False)
    await story.resolve(outage_id, after_minutes=25, wake=False)
    await desk.take_stock(outage_id, now)
    settlement = await book.load(f"outage:{outage_id}")
    failed = (await book.fail_unsent(settlement, Refused("too small", code="allowance_too_small"))).outcome
    assert (await desk.record_outcome(outage_id, failed, now)).phase is PaymentPhase.REFUSED
    await story.command("request_retry", outage_id, by="finance", wake=False)
    assert (await desk.take_stock(outage_id, now)).phase is PaymentPhase.SETTLING

    assert (await desk.record_outcome(outage_id, failed, now)).phase is PaymentPhase.SETTLING
    assert (await book.outcome(f"outage:{outage_id}")).status is SettlementStatus.ACCEPTED
    assert (await story.command("cancel", outage_id, by="finance", wake=False)).phase is PaymentPhase.SETTLING
