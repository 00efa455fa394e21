from __future__ import annotations

from datetime import timedelta

import pytest

from domain.errors import Conflict, Forbidden, Refused, Unavailable
from domain.outage import OutageStatus
from domain.sla import PaymentKind, Severity
from domain.sla_payment import PaymentPhase
from tests.outage.conftest import TX_HASH, Story
from workflows.outage import OutageStory


async def test_a_violated_outage_ends_with_its_penalty_confirmed(story: Story) -> None:
    outage_id = await story.report(Severity.CRITICAL, minutes_ago=60)
    await story.resolve(outage_id, after_minutes=25)
    ending = await story.ending(outage_id)
    assert ending.phase is PaymentPhase.CONFIRMED
    assert ending.decision is not None
    assert (ending.decision.kind, ending.decision.amount.brief) == (PaymentKind.PENALTY, "1,000")
    record = await story.read(outage_id)
    assert (record.tx_hash, record.ledger) == (TX_HASH, 4711)
    assert story.engine.calls == [f"outage:{outage_id}"]


async def test_a_quick_repair_ends_with_its_reward(story: Story) -> None:
    outage_id = await story.report(Severity.HIGH, minutes_ago=60)
    await story.resolve(outage_id, after_minutes=10, rca="A fuse.")
    ending = await story.ending(outage_id)
    assert ending.decision is not None
    assert (ending.decision.kind, ending.decision.amount.brief) == (PaymentKind.REWARD, "1,500")


async def test_each_step_is_told_once_and_in_order(story: Story) -> None:
    outage_id = await story.report(Severity.CRITICAL, minutes_ago=60)
    await story.until(outage_id, lambda outage: len(outage.warned) == 2)
    await story.command("acknowledge", outage_id, by="engineer")
    await story.resolve(outage_id, after_minutes=25)
    await story.ending(outage_id)
    assert await story.told(outage_id) == [
        "outage.reported",
        "outage.warning",
        "outage.acknowledged",
        "outage.resolved",
        "outage.decided",
        "payment.submitted",
        "payment.confirmed",
    ]


async def test_from_resolve_to_confirmed_takes_few_events(story: Story) -> None:
    outage_id = await story.report(Severity.CRITICAL, minutes_ago=60)
    await story.until(outage_id, lambda outage: len(outage.warned) == 2)
    before = await story.events_count(outage_id)
    await story.resolve(outage_id, after_minutes=25)
    await story.ending(outage_id)
    assert await story.events_count(outage_id) - before <= 13


async def test_warnings_come_by_durable_timer_at_80_and_100_percent(story: Story) -> None:
    outage_id = await story.report(Severity.LOW)
    outage = await story.until(outage_id, lambda outage: len(outage.warned) == 2)
    assert outage.warned == (80, 100)
    assert (await story.told(outage_id)).count("outage.warning") == 2


async def test_a_back_dated_outage_warns_once_at_once(story: Story) -> None:
    outage_id = await story.report(Severity.CRITICAL, minutes_ago=600)
    outage = await story.until(outage_id, lambda outage: bool(outage.warned))
    assert outage.warned == (80, 100)
    assert (await story.told(outage_id)).count("outage.warning") == 1


async def test_nobody_is_warned_of_a_repaired_outage(story: Story) -> None:
    outage_id = await story.report(Severity.CRITICAL, minutes_ago=600, wake=False)
    await story.resolve(outage_id, after_minutes=25)
    await story.ending(outage_id)
    assert "outage.warning" not in await story.told(outage_id)


async def test_a_payment_above_the_limit_waits_for_another_person(careful: Story) -> None:
    outage_id = await careful.report(minutes_ago=60)
    await careful.resolve(outage_id, after_minutes=25, by="engineer")
    await careful.until(outage_id, lambda outage: outage.phase is PaymentPhase.AWAITING_APPROVAL)
    assert careful.engine.calls == []
    with pytest.raises(Forbidden) as refusal:
        await careful.command("approve", outage_id, by="engineer")
    assert refusal.value.code == "four_eyes"
    await careful.command("approve", outage_id, by="finance")
    assert (await careful.ending(outage_id)).phase is PaymentPhase.CONFIRMED
    assert (await careful.read(outage_id)).approved_by == "finance"


async def test_approving_twice_is_the_same_answer_and_pays_once(careful: Story) -> None:
    outage_id = await careful.report(minutes_ago=60)
    await careful.resolve(outage_id, after_minutes=25)
    await careful.until(outage_id, lambda outage: outage.phase is PaymentPhase.AWAITING_APPROVAL)
    await careful.command("approve", outage_id, by="finance")
    await careful.command("approve", outage_id, by="finance")
    await careful.ending(outage_id)
    assert (await careful.told(outage_id)).count("payment.approved") == 1
    assert (await careful.told(outage_id)).count("payment.submitted") == 1


async def test_a_dispute_holds_the_payment_until_it_is_settled(careful: Story) -> None:
    outage_id = await careful.report(minutes_ago=60)
    await careful.resolve(outage_id, after_minutes=25)
    await careful.until(outage_id, lambda outage: outage.phase is PaymentPhase.AWAITING_APPROVAL)
    await careful.command("dispute", outage_id, by="operator")
    with pytest.raises(Conflict):
        await careful.command("approve", outage_id, by="finance")
    assert (await careful.read(outage_id)).phase is PaymentPhase.HELD
    await careful.resolve(outage_id, after_minutes=25)
    await careful.command("approve", outage_id, by="finance")
    assert (await careful.ending(outage_id)).phase is PaymentPhase.CONFIRMED


async def test_a_dispute_may_end_with_a_corrected_time_which_is_decided_anew(careful: Story) -> None:
    outage_id = await careful.report(minutes_ago=60)
    await careful.resolve(outage_id, after_minutes=25)
    await careful.until(outage_id, lambda outage: outage.phase is PaymentPhase.AWAITING_APPROVAL)
    async with careful.database.begin() as connection:  # in one breath: no late wake comes between
        await careful.book.approve(connection, outage_id, by="finance", at=careful.now)
        await careful.book.dispute(connection, outage_id, by="operator", at=careful.now)
    await careful.resolve(outage_id, after_minutes=20, by="arbiter")
    outage = await careful.until(outage_id, lambda outage: outage.phase is PaymentPhase.AWAITING_APPROVAL)
    assert outage.decision is not None
    assert outage.decision.amount.brief == "500"
    assert outage.approved_by is None  # the old approval does not cover another amount
    await careful.command("approve", outage_id, by="finance")
    assert (await careful.ending(outage_id)).phase is PaymentPhase.CONFIRMED


async def test_a_dispute_while_the_engine_has_it_holds_the_settlement(story: Story) -> None:
    story.engine.script.extend(["pending"] * 1000)
    outage_id = await story.report(minutes_ago=60)
    await story.resolve(outage_id, after_minutes=25)
    await story.until(outage_id, lambda outage: outage.phase is PaymentPhase.SETTLING)
    await story.command("dispute", outage_id, by="operator")
    story.engine.script.clear()
    calls = len(story.engine.calls)
    await story.handle(outage_id).signal(OutageStory.changed)  # else it looks ever less often
    await story.until(outage_id, lambda _: len(story.engine.calls) > calls)
    assert (await story.read(outage_id)).phase is PaymentPhase.SETTLING  # held, and confirmed by nobody
    await story.resolve(outage_id, after_minutes=25)
    assert (await story.ending(outage_id)).phase is PaymentPhase.CONFIRMED


async def test_cancelling_an_open_outage_ends_its_story_without_payment(story: Story) -> None:
    outage_id = await story.report()
    await story.command("cancel", outage_id, by="reporter")
    assert (await story.ending(outage_id)).phase is PaymentPhase.CANCELLED
    assert story.engine.calls == []


async def test_cancelling_while_the_engine_has_it_ends_only_with_the_engines_proof(story: Story) -> None:
    story.engine.script.extend(["pending"] * 1000)
    outage_id = await story.report(minutes_ago=60)
    await story.resolve(outage_id, after_minutes=25)
    await story.until(outage_id, lambda outage: outage.phase is PaymentPhase.SETTLING)
    asked = await story.command("cancel", outage_id, by="finance")
    assert asked.status is OutageStatus.RESOLVED
    assert (await story.ending(outage_id)).phase is PaymentPhase.CANCELLED
    assert (await story.read(outage_id)).status is OutageStatus.CANCELLED


async def test_a_refused_payment_waits_for_a_persons_retry_with_its_figures(story: Story) -> None:
    story.engine.script.append(
        Refused("allowance 10 of 1,000", code="allowance_too_small", allowance="10", needed="1000")
    )
    outage_id = await story.report(minutes_ago=60)
    await story.resolve(outage_id, after_minutes=25)
    outage = await story.until(outage_id, lambda outage: outage.phase is PaymentPhase.REFUSED)
    assert (outage.reason_code, outage.reason_details) == (
        "allowance_too_small",
        {"allowance": "10", "needed": "1000"},
    )
    assert len(story.engine.calls) == 1
    await story.command("request_retry", outage_id, by="finance")
    assert (await story.ending(outage_id)).phase is PaymentPhase.CONFIRMED
    assert (await story.read(outage_id)).reason_code is None


async def test_a_failure_that_may_pass_is_tried_three_times_by_itself(story: Story) -> None:
    story.engine.script.extend(Unavailable(f"try {number}") for number in range(4))
    outage_id = await story.report(minutes_ago=60)
    await story.resolve(outage_id, after_minutes=25)
    outage = await story.until(outage_id, lambda outage: outage.phase is PaymentPhase.REFUSED)
    assert len(story.engine.calls) == 4
    assert outage.reason == "try 3"
    assert (await story.told(outage_id)).count("payment.retrying") == 3


async def test_a_payment_without_proof_asks_a_person_once_and_is_never_failed(story: Story) -> None:
    story.engine.script.extend(["pending"] * 40)
    outage_id = await story.report(minutes_ago=60)
    await story.resolve(outage_id, after_minutes=25)
    assert (await story.ending(outage_id)).phase is PaymentPhase.CONFIRMED
    assert (await story.told(outage_id)).count("payment.unknown") == 1


async def test_a_wallet_that_nobody_named_is_asked_for(story: Story) -> None:
    outage_id = await story.report(minutes_ago=60, operator_wallet=None)
    await story.resolve(outage_id, after_minutes=25)
    outage = await story.until(outage_id, lambda outage: outage.phase is PaymentPhase.REFUSED)
    assert outage.reason_code == "wallet_missing"


async def test_waking_many_times_changes_nothing(story: Story) -> None:
    outage_id = await story.report(minutes_ago=60)
    await story.resolve(outage_id, after_minutes=25)
    for _ in range(5):
        await story.stories.outage_changed(outage_id)
    await story.ending(outage_id)
    await story.stories.outage_changed(outage_id)
    assert story.engine.calls == [f"outage:{outage_id}"]
    runs = [run async for run in story.client.list_workflows(f"WorkflowId = 'outage:{outage_id}'")]
    assert len(runs) == 1


async def test_a_story_that_was_terminated_begins_again_where_the_record_stands(careful: Story) -> None:
    outage_id = await careful.report(minutes_ago=60)
    await careful.resolve(outage_id, after_minutes=25)
    await careful.until(outage_id, lambda outage: outage.phase is PaymentPhase.AWAITING_APPROVAL)
    await careful.handle(outage_id).terminate()
    await careful.command("approve", outage_id, by="finance")
    assert (await careful.ending(outage_id)).phase is PaymentPhase.CONFIRMED
    assert (await careful.told(outage_id)).count("outage.decided") == 1


async def test_a_long_wait_begins_anew_before_its_history_is_long(story: Story) -> None:
    story.engine.script.extend(["pending"] * 80)
    outage_id = await story.report(minutes_ago=60)
    await story.resolve(outage_id, after_minutes=25)
    assert (await story.ending(outage_id)).phase is PaymentPhase.CONFIRMED
    assert await story.events_count(outage_id) < 500


async def test_resolving_twice_with_another_time_is_a_conflict_that_names_it(story: Story) -> None:
    outage_id = await story.report(minutes_ago=60, wake=False)
    first = await story.resolve(outage_id, after_minutes=25, wake=False)
    again = await story.resolve(outage_id, after_minutes=25, wake=False)
    assert again == first
    with pytest.raises(Conflict) as refusal:
        await story.resolve(outage_id, after_minutes=26, wake=False)
    assert "resolved_at" in refusal.value.details


async def test_a_resolution_before_the_detection_or_ahead_of_now_is_refused(story: Story) -> None:
    outage_id = await story.report(minutes_ago=60, wake=False)
    with pytest.raises(Refused):
        await story.resolve(outage_id, after_minutes=-1, wake=False)
    async with story.database.begin() as connection:
        with pytest.raises(Refused):
            await story.book.resolve(
                connection, outage_id, resolved_at=story.now + timedelta(hours=1), by="engineer", at=story.now
            )
