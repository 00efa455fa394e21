"""Record histories of batches: `pytest tests/replay/record_batches.py`; see record.py.

The story knows of a batch what stock-taking tells it, so a script of standings stands for record and engine.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Mapping
from datetime import datetime

import pytest
from temporalio import activity
from temporalio.testing import TimeSkipper
from temporalio.worker import Worker

from activities.story_names import SETTLE_BULK, STORIES, batch_story_id
from adapters.temporal.batch_stories import BatchStories
from domain.batch import BatchStanding, BatchStatus
from domain.settlement import SettlementOutcome, SettlementStatus
from tests.replay.batch_scenes import BATCH_SCENES
from tests.replay.record import _missing, _write
from workers.temporal_workers import WORKFLOWS

_ID = "bat0123456789abcdef"


@pytest.mark.parametrize("name", BATCH_SCENES)
async def test_record_a_batch(time_skipping: TimeSkipper, name: str) -> None:
    path = _missing(f"batch-{name}")
    scene = BATCH_SCENES[name]
    standings, signals = deque(scene.standings), deque(scene.wakes_at)
    outcomes: Mapping[str, deque[SettlementStatus]] = defaultdict(
        deque, {key: deque(steps) for key, steps in scene.walks.items()}
    )
    stories = BatchStories(time_skipping.client)
    taken = 0

    @activity.defn(name="take_stock_of_batch")
    async def take_stock(batch_id: str, at: datetime) -> BatchStanding:
        nonlocal taken
        taken += 1
        status, opened = standings.popleft() if len(standings) > 1 else standings[0]
        if signals and signals[0] == taken:
            signals.popleft()
            await stories.batch_changed(batch_id)
        return BatchStanding(batch_id=batch_id, status=status, open=opened, asset="XLM")

    @activity.defn(name="settle")
    async def settle(settlement_id: str) -> SettlementOutcome:
        steps = outcomes[settlement_id]
        status = steps.popleft() if steps else SettlementStatus.CONFIRMED
        return SettlementOutcome(settlement_id=settlement_id, status=status)

    async with (
        Worker(time_skipping.client, task_queue=STORIES, workflows=WORKFLOWS, activities=[take_stock]),
        Worker(time_skipping.client, task_queue=SETTLE_BULK, activities=[settle]),
    ):
        await stories.batch_changed(_ID)
        handle = time_skipping.client.get_workflow_handle(batch_story_id(_ID), result_type=BatchStanding)
        assert (await handle.result()).status is BatchStatus.COMPLETED
        await _write(path, handle)
