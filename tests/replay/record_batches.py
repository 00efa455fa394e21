"""Record histories of batches: `pytest tests/replay/record_batches.py`; see record.py.

The story knows of a batch what stock-taking tells it, so a script of standings stands for record and engine.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest
from temporalio import activity
from temporalio.testing import TimeSkipper
from temporalio.worker import Worker

from activities.story_names import SETTLE_BULK, STORIES, batch_story_id
from adapters.temporal.batch_stories import BatchStories
from domain.batch import BatchStanding, BatchStatus
from domain.settlement import SettlementOutcome, SettlementStatus
from domain.signing import SignatureReceipt, SignatureSubmission
from tests.replay.batch_scenes import BATCH_SCENES
from tests.replay.record import _missing, _write
from workers.temporal_workers import WORKFLOWS

_ID = "bat0123456789abcdef"


@pytest.mark.parametrize("name", BATCH_SCENES)
async def test_record_a_batch(time_skipping: TimeSkipper, name: str) -> None:
    path = _missing(f"batch-{name}")
    scene = BATCH_SCENES[name]
    standings, signals = deque(scene.standings), deque(scene.wakes_at)
    signed: list[asyncio.Task[SignatureReceipt]] = []
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
        if taken in scene.signs_at:
            # Not waited for here: the story takes it when stock was taken.
            submission = SignatureSubmission(signed_xdr="AAAA", by="somebody")
            signed.append(asyncio.create_task(stories.submit_signature(f"chunk:{batch_id}.1", submission)))
        looks_at = at + scene.looks_after[taken] if taken in scene.looks_after else None
        return BatchStanding(batch_id=batch_id, status=status, open=opened, wakes_at=looks_at, asset="XLM")

    @activity.defn(name="settle")
    async def settle(settlement_id: str) -> SettlementOutcome:
        steps = outcomes[settlement_id]
        status = steps.popleft() if steps else SettlementStatus.CONFIRMED
        # Longer than any time that is skipped.
        awaited = status is SettlementStatus.AWAITING_SIGNATURE
        ends = datetime.now(UTC) + timedelta(days=30) if awaited else None
        return SettlementOutcome(settlement_id=settlement_id, status=status, expires_at=ends)

    @activity.defn(name="accept_signature")
    async def accept_signature(settlement_id: str, submission: SignatureSubmission) -> SignatureReceipt:
        return SignatureReceipt(
            settlement_id=settlement_id,
            request_id="sig_1",
            accepted=(),
            weight=1,
            threshold=1,
            complete=submission.signed_xdr is not None,
        )

    async with (
        Worker(
            time_skipping.client,
            task_queue=STORIES,
            workflows=WORKFLOWS,
            activities=[take_stock, accept_signature],
        ),
        Worker(time_skipping.client, task_queue=SETTLE_BULK, activities=[settle]),
    ):
        await stories.batch_changed(_ID)
        handle = time_skipping.client.get_workflow_handle(batch_story_id(_ID), result_type=BatchStanding)
        assert (await handle.result()).status is BatchStatus.COMPLETED
        assert all(receipt.complete for receipt in await asyncio.gather(*signed))
        await _write(path, handle)
