"""The batch story: keeps as many chunks with the engine as batches may have lanes, until every row has its end.

All facts live in Postgres. The story is woken, takes stock of the record, and has the engine settle each chunk
that stock-taking left open; it holds their ids and never a row. A story that was lost begins again where the
record stands.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final

from temporalio import workflow
from temporalio.common import Priority, RetryPolicy
from temporalio.exceptions import ActivityError, is_cancelled_exception

from workflows.histories import is_long
from workflows.signatures import take_signatures

with workflow.unsafe.imports_passed_through():
    from activities.batch import BatchActivities
    from activities.settlement import SettlementActivities
    from activities.story_names import BATCH_STORY, KIND, SETTLE_BULK, STATUS
    from domain.batch import BatchStanding, BatchStatus
    from domain.settlement import SettlementOutcome, SettlementStatus
    from domain.signing import SignatureReceipt, SignatureSubmission

_RECORD_RETRY: Final = RetryPolicy(
    initial_interval=timedelta(milliseconds=100), maximum_interval=timedelta(seconds=5)
)
_SETTLE_RETRY: Final = RetryPolicy(
    initial_interval=timedelta(milliseconds=500), maximum_interval=timedelta(seconds=5)
)
_SETTLE_MAX: Final = timedelta(minutes=10)
_PAUSE_MAX: Final = timedelta(minutes=1)
_LOOKS_LEAST: Final = timedelta(seconds=1)
_EVENTS_MAX: Final = 2_000

_SENTENCES: Final = {
    BatchStatus.AWAITING_APPROVAL: "It waits until another person than the one who sent it approves it.",
    BatchStatus.RUNNING: "Its payments are with the settlement engine.",
    BatchStatus.PAUSED: "It is paused: nothing more is sent until it is resumed.",
    BatchStatus.STOPPED: "It has stopped: mend the reason, then resume it.",
    BatchStatus.CANCELLING: "What is unsent is being withdrawn.",
    BatchStatus.COMPLETED: "It is over: each row is paid, or proved not paid.",
    BatchStatus.CANCELLED: "It was cancelled: what had been sent is paid, the rest never will be.",
}


def _is_for_others(outcome: SettlementOutcome) -> bool:
    """Whether the engine has nothing to do until somebody signs or resumes it, or a time has come.

    Stock-taking says when to go on, so that days of waiting are no event.
    """
    if outcome.ends_after is not None or (outcome.held and not outcome.status.in_flight):
        return True
    awaited = outcome.status is SettlementStatus.AWAITING_SIGNATURE
    return awaited and outcome.expires_at is not None and outcome.expires_at > workflow.now()


@workflow.defn(name=BATCH_STORY, failure_exception_types=[Exception])
class BatchStory:
    """Keep the window full; take stock whenever something ended or somebody called."""

    def __init__(self) -> None:
        self._news = False
        self._calls = 0
        self._shown = ""
        self._settling: dict[str, asyncio.Task[None]] = {}
        self._left: dict[str, SettlementOutcome] = {}
        """How the walks ended that are not going on."""

    @workflow.run
    async def run(self, batch_id: str) -> BatchStanding:
        """Follow one batch to its end; returns how it ended."""
        while True:
            self._news = False
            batch = await self._take_stock(batch_id)
            if batch.ended:
                await workflow.wait_condition(workflow.all_handlers_finished)
                return batch
            for settlement_id in batch.open:
                if settlement_id not in self._settling:
                    self._settling[settlement_id] = asyncio.create_task(self._settle(settlement_id, batch_id))
            if not batch.more:
                await self._wait_for_news(until=batch.wakes_at)
            await self._begin_anew_when_long(batch_id)

    @workflow.signal
    def changed(self) -> None:
        """Say that the record has changed."""
        self._news = True
        self._calls += 1

    @workflow.update
    async def submit_signature(self, settlement_id: str, submission: SignatureSubmission) -> SignatureReceipt:
        """Take signatures for one of the calls; with enough of them it goes on at once."""
        return await take_signatures(settlement_id, submission, events_max=_EVENTS_MAX, wake=self._wake)

    def _wake(self) -> None:
        self._news = True

    async def _wait_for_news(self, *, until: datetime | None) -> None:
        if until is None:
            await workflow.wait_condition(lambda: self._news)
            return
        with suppress(TimeoutError):
            await workflow.wait_condition(
                lambda: self._news,
                timeout=max(until - workflow.now(), _LOOKS_LEAST),
                timeout_summary=f"until {until:%Y-%m-%d %H:%M:%S} UTC",
            )

    async def _take_stock(self, batch_id: str) -> BatchStanding:
        batch = await workflow.execute_local_activity_method(
            BatchActivities.take_stock,
            args=[batch_id, workflow.now()],
            start_to_close_timeout=timedelta(seconds=30),
            retry_policy=_RECORD_RETRY,
            summary="read the record, write what follows",
        )
        return self._show(batch)

    async def _settle(self, settlement_id: str, batch_id: str) -> None:
        """Have the engine settle one chunk until it is proved one way or the other, however long that takes."""
        rounds = 0
        try:
            while True:
                outcome = await self._walk(settlement_id, batch_id)
                if outcome is not None and (outcome.status.final or _is_for_others(outcome)):
                    # Begun again for nothing: this worker's ledger is behind the one that stock was taken by.
                    if self._left.get(settlement_id) == outcome and not outcome.status.final:
                        await self._pause(_LOOKS_LEAST)
                    self._left[settlement_id] = outcome
                    return
                rounds += 1
                # In flight, a walk has waited for three ledgers already; else what it needs is away or it is held.
                if outcome is None or not outcome.status.in_flight or rounds > 3:
                    pause = min(timedelta(seconds=2 ** min(rounds - 1, 10)), _PAUSE_MAX)
                    await self._pause(pause)
        finally:
            del self._settling[settlement_id]
            self._news = True

    async def _pause(self, length: timedelta) -> None:
        """Wait a little, or until somebody calls."""
        calls = self._calls
        with suppress(TimeoutError):
            await workflow.wait_condition(
                lambda: self._calls != calls, timeout=length, timeout_summary="no proof yet"
            )

    async def _walk(self, settlement_id: str, batch_id: str) -> SettlementOutcome | None:
        """One walk of the engine; None where it ended without a word, which does not say that nothing was paid."""
        try:
            return await workflow.execute_activity_method(
                SettlementActivities.settle,
                settlement_id,
                task_queue=SETTLE_BULK,
                start_to_close_timeout=_SETTLE_MAX,
                heartbeat_timeout=timedelta(seconds=10),
                retry_policy=_SETTLE_RETRY,
                summary=settlement_id,
                # Batches take turns on the lanes that batches have, whichever was sent first.
                priority=Priority(priority_key=4, fairness_key=batch_id),
            )
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise
            return None

    async def _begin_anew_when_long(self, batch_id: str) -> None:
        """Nothing is carried over: the record is in Postgres, and a settlement is taken up where it stands."""
        if is_long(_EVENTS_MAX):
            # What is under way may end first, so that few walks are begun twice: that is harmless, and wasteful.
            with suppress(TimeoutError):
                await workflow.wait_condition(lambda: not self._settling, timeout=_PAUSE_MAX)
            await workflow.wait_condition(workflow.all_handlers_finished)
            workflow.continue_as_new(batch_id)

    def _show(self, batch: BatchStanding) -> BatchStanding:
        """Let people read the record in the Web UI, and search it; each changed attribute is one event."""
        counts = batch.counts
        lines = [
            f"**{batch.batch_id}** · {batch.asset} · {batch.status}",
            f"{counts.rows} rows: {counts.paid} paid, {counts.failed} failed, {counts.sending} being sent, "
            f"{counts.waiting} waiting, {counts.bad} bad, {counts.cancelled} cancelled",
        ]
        if batch.awaiting_signature:
            lines.append(f"{batch.awaiting_signature} calls wait for a signature: until then nothing is sent.")
        if batch.reason is not None:
            lines.append(f"{batch.reason_code}: {batch.reason}")
        lines.append(_SENTENCES[batch.status])
        workflow.set_current_details("\n\n".join(lines))
        if self._shown != batch.status:
            self._shown = batch.status
            workflow.upsert_search_attributes([KIND.value_set("batch"), STATUS.value_set(batch.status)])
        return batch
