"""The payout story by itself: on real Temporal, with scripts where record, engine and signers would be."""

from __future__ import annotations

import time
from collections import deque
from datetime import UTC, datetime, timedelta

from temporalio.testing import WorkflowEnvironment

from domain.payout import PayoutPhase
from domain.settlement import SettlementStatus
from tests.replay.payout_scenes import PAID, Scripted, begin, outcome, playing, standing, until_events

_S = SettlementStatus


async def test_a_request_that_the_ledgers_clock_has_not_ended_yet_is_looked_at_ever_less_often(
    temporal: WorkflowEnvironment,
) -> None:
    past = outcome(_S.AWAITING_SIGNATURE, expires_at=datetime.now(UTC) - timedelta(seconds=5))
    stock = standing(PayoutPhase.SETTLING, status=_S.AWAITING_SIGNATURE)
    script = Scripted(deque([past, past, past, PAID]), deque([stock]))
    async with playing(temporal.client, script):
        begun = time.monotonic()
        handle = await begin(temporal.client, settling=True)
        await handle.result()
        assert time.monotonic() - begun >= 1 + 2 + 4
    history = await handle.fetch_history()
    assert len(history.events) < 80


async def test_a_held_payout_and_one_that_waits_for_approval_cost_nothing_while_they_wait(
    temporal: WorkflowEnvironment,
) -> None:
    for phase in (PayoutPhase.AWAITING_APPROVAL, PayoutPhase.DUE):
        script = Scripted(deque([PAID]), deque([standing(phase, held=phase is PayoutPhase.DUE)]))
        async with playing(temporal.client, script):
            handle = await begin(temporal.client)
            await until_events(handle, "marker_recorded")
            history = await handle.fetch_history()
            assert not any(event.HasField("timer_started_event_attributes") for event in history.events)
            await handle.terminate("seen")


async def test_a_story_that_is_begun_again_after_its_end_takes_stock_and_ends(
    temporal: WorkflowEnvironment,
) -> None:
    ended = standing(PayoutPhase.CONFIRMED, status=_S.CONFIRMED, tx_hash="ab" * 32)
    async with playing(temporal.client, Scripted(deque([PAID]), deque([ended]))):
        handle = await begin(temporal.client)
        assert await handle.result() is not None
    history = await handle.fetch_history()
    assert not any(event.HasField("activity_task_scheduled_event_attributes") for event in history.events)
