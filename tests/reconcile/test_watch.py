"""Every night: people are told where ledger and record differ, once a night, and nobody where they agree."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from activities.reconciliation import ReconciliationActivities, ReconciliationResult
from activities.story_names import RECONCILIATION_STORY, STORIES
from adapters.database.outbox_tables import events
from adapters.payment_watch import PaymentWatch
from adapters.temporal.schedules import RECONCILIATION, ensure_schedules
from domain.events import Event, EventType
from domain.messages import compose
from domain.money import Amount
from tests.reconcile.conftest import Payouts
from tests.waiting import until
from workflows.reconciliation import ReconciliationStory

NIGHT = datetime(2026, 1, 16, 3, 30, tzinfo=UTC)


async def told(payouts: Payouts) -> list[Event]:
    async with payouts.bench.database.begin() as connection:
        rows = await connection.execute(
            select(events).where(events.c.type == EventType.RECONCILIATION_DIFFERS).order_by(events.c.id)
        )
        return [Event(type=EventType(row.type), subject=row.subject, at=row.at, data=row.data) for row in rows]


async def test_a_difference_is_told_once_a_night_and_none_is_not_told(payouts: Payouts) -> None:
    watch = PaymentWatch(payouts.bench.database, payouts.audit)
    assert (await watch.look(NIGHT)).differences == 0
    assert await told(payouts) == []
    paid = payouts.intent("unknown-1", Amount.of(25))
    landed = await payouts.pay_by_hand(paid)
    for _ in range(2):
        assert (await watch.look(NIGHT)).differences == 1
    (event,) = await told(payouts)
    assert event.type.needs_person
    assert (event.data["count"], event.data["kinds"]) == (1, {"only_on_ledger": 1})
    assert event.data["differences"][0]["tx_hash"] == landed.hash
    mail = compose(event, explorer_url="http://explorer", api_url="http://api")
    assert mail.subject == "Holdfast: the ledger and the record differ in 1 payments"
    assert paid.marker_id in mail.body
    await watch.look(NIGHT + timedelta(days=1))
    assert len(await told(payouts)) == 2


async def test_the_schedule_begins_the_story_and_the_story_compares(
    payouts: Payouts, temporal: WorkflowEnvironment
) -> None:
    await payouts.pay_by_hand(payouts.intent("unknown-1", Amount.of(25)))
    activities = ReconciliationActivities(PaymentWatch(payouts.bench.database, payouts.audit))
    await ensure_schedules(temporal.client)
    handle = temporal.client.get_schedule_handle(RECONCILIATION)
    async with Worker(
        temporal.client,
        task_queue=STORIES,
        workflows=[ReconciliationStory],
        activities=[activities.reconcile_payments],
    ):
        await handle.trigger()

        async def begun() -> str | None:
            recent = (await handle.describe()).info.recent_actions
            return recent[-1].action.workflow_id if recent else None  # type: ignore[union-attr]

        workflow_id = await until(begun)
        found = await temporal.client.get_workflow_handle(workflow_id, result_type=ReconciliationResult).result()
    assert (found.differences, found.on_ledger) == (1, 1)
    assert len(await told(payouts)) == 1
    description = await temporal.client.get_workflow_handle(workflow_id).describe()
    assert description.workflow_type == RECONCILIATION_STORY


async def test_there_is_something_to_reconcile() -> None:
    from adapters.stellar.payment_audit import PaymentAudit
    from domain.errors import Refused

    with pytest.raises(Refused, match="PAYOUT_CONTRACT_ID"):
        PaymentAudit(database=None, rpc=None, contracts=[])  # type: ignore[arg-type]
