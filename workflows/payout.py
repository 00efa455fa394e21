"""The payout story: from a request to a payment that is on the ledger, or the ledger's reason why not.

All facts live in Postgres. A payout that nothing has to be waited for is one activity: the transaction that
records its outcome writes everything that follows from it. Its signal carries nothing: it only wakes.
"""

from __future__ import annotations

import contextlib
from datetime import datetime, timedelta
from typing import Final

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception

from workflows.histories import is_long
from workflows.signatures import take_signatures

with workflow.unsafe.imports_passed_through():
    from activities.payout import PayoutActivities, PayoutStart
    from activities.settlement import SettlementActivities
    from activities.story_names import (
        CHANGED_SIGNAL,
        PAYOUT_STORY,
        SETTLE_INTERACTIVE,
        STATUS,
        payout_story_id,
    )
    from domain.payout import PayoutPhase, PayoutStanding, Waits, settlement_id_of, waits_for, wakes_at
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
_EVENTS_MAX: Final = 500
_ROUNDS_AT_ONCE: Final = 3

_SENTENCES: Final = {
    Waits.APPROVAL: "It waits until another person than the one who asked for it approves it.",
    Waits.TIME: "It waits for its time.",
    Waits.TURN: "It is ordered, and waits until those before it have ended.",
    Waits.RESUME: "An operator holds it.",
    Waits.SIGNATURE: "It waits for a signature. The lane has not signed: nothing can land.",
    Waits.LEDGER: "It is with the settlement engine.",
    Waits.LATER: "It was not paid, for a reason that may pass; it is tried again by itself.",
    Waits.PERSON: "It was not paid. A person mends the reason and asks for a retry.",
    Waits.NOTHING: "It is over.",
}


def _is_over(outcome: SettlementOutcome) -> bool:
    """Whether the transaction that recorded this outcome has ended the payout too."""
    return outcome.status.final and not (outcome.status is SettlementStatus.FAILED and outcome.may_pass)


@workflow.defn(name=PAYOUT_STORY, failure_exception_types=[Exception])
class PayoutStory:
    """Wait for whoever has to agree or sign, pay once, and say how it ended."""

    @workflow.init
    def __init__(self, start: PayoutStart) -> None:
        self._id = start.payout_id
        self._news = False
        self._shown_status: str = SettlementStatus.ACCEPTED
        self._rounds = 0
        self._trouble: str | None = None

    @workflow.run
    async def run(self, start: PayoutStart) -> PayoutStanding:
        """Follow one payout until nothing more happens by itself; returns how it stands then."""
        settling, outcome, ordered = start.settling, None, start.ordered
        while True:
            if settling:
                outcome = await self._settle()
                if outcome is not None and _is_over(outcome):
                    payout = PayoutStanding(
                        payout_id=self._id,
                        phase=PayoutPhase(outcome.status.value),
                        status=outcome.status,
                        ordered=ordered,
                        tx_hash=outcome.tx_hash,
                        reason=outcome.reason,
                    )
                    break
                if outcome is not None and outcome.status.in_flight and self._rounds <= _ROUNDS_AT_ONCE:
                    continue  # a walk has waited for three ledgers already
                if outcome is not None and outcome.status is SettlementStatus.AWAITING_SIGNATURE:
                    self._show(
                        PayoutStanding(payout_id=self._id, phase=PayoutPhase.SETTLING, status=outcome.status)
                    )
                    # A request ends by the ledger's clock, which may be behind ours: not before a pause either.
                    pause = self._pause()
                    await self._wait_for_news(until=max(outcome.expires_at or pause, pause))
            payout = await self._take_stock()
            # Who wakes a story knows no more than its id.
            ordered = payout.ordered
            if payout.ended:
                break
            settling = await self._wait(payout)
            await self._begin_anew_when_long(payout)
        await workflow.wait_condition(workflow.all_handlers_finished)
        self._show(payout)
        if payout.ordered:
            await self._wake_next()
        return payout

    @workflow.signal
    def changed(self) -> None:
        """Say that the record has changed."""
        self._news = True

    @workflow.update
    async def submit_signature(self, submission: SignatureSubmission) -> SignatureReceipt:
        """Take signatures; with enough of them the payment goes on at once."""
        return await take_signatures(
            settlement_id_of(self._id), submission, events_max=_EVENTS_MAX, wake=self._wake
        )

    def _wake(self) -> None:
        self._news = True

    async def _settle(self) -> SettlementOutcome | None:
        """One walk of the engine: an outcome, or None; which does not say that nothing was paid."""
        self._news = False
        self._rounds += 1
        try:
            outcome = await workflow.execute_activity_method(
                SettlementActivities.settle,
                settlement_id_of(self._id),
                task_queue=SETTLE_INTERACTIVE,
                start_to_close_timeout=_SETTLE_MAX,
                heartbeat_timeout=timedelta(seconds=10),
                retry_policy=_SETTLE_RETRY,
            )
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise
            # The settlement's row keeps its place whatever went wrong with the walk.
            self._trouble = str(error.cause or error)
            return None
        self._trouble = outcome.reason
        return outcome

    async def _take_stock(self) -> PayoutStanding:
        """Write what follows from the record: a hand-over, the next try, or that a person is needed."""
        self._news = False
        return await workflow.execute_local_activity_method(
            PayoutActivities.take_stock,
            args=[self._id, workflow.now()],
            start_to_close_timeout=timedelta(seconds=10),
            retry_policy=_RECORD_RETRY,
            summary="read the record, write what follows",
        )

    async def _wait(self, payout: PayoutStanding) -> bool:
        """Wait for what has to happen first; whether the engine is next."""
        self._show(payout)
        match waits_for(payout, at=workflow.now()):
            case Waits.LEDGER:
                if self._rounds > 0:
                    await self._wait_for_news(until=self._pause())
                return True
            case Waits.SIGNATURE:
                # The engine says until when: its walk ends at once.
                return True
            case Waits.NOTHING:
                return payout.phase is PayoutPhase.SETTLING
            case _:
                self._rounds = 0
                await self._wait_for_news(until=wakes_at(payout, at=workflow.now()))
                return False

    def _pause(self) -> datetime:
        """When to look again at what walks have not ended: ever later."""
        return workflow.now() + min(timedelta(seconds=2 ** min(max(self._rounds - 1, 0), 10)), _PAUSE_MAX)

    async def _wait_for_news(self, *, until: datetime | None) -> None:
        if until is None:
            await workflow.wait_condition(lambda: self._news)
        elif not self._news and until > workflow.now():
            with contextlib.suppress(TimeoutError):
                await workflow.wait_condition(
                    lambda: self._news,
                    timeout=until - workflow.now(),
                    timeout_summary=f"until {until:%Y-%m-%d %H:%M:%S} UTC",
                )
        if self._news:
            self._rounds = 0

    async def _wake_next(self) -> None:
        """Tell the next ordered payout that its turn has come; where that fails, the sweeper does."""
        following = await workflow.execute_local_activity_method(
            PayoutActivities.next_in_order,
            self._id,
            start_to_close_timeout=timedelta(seconds=10),
            retry_policy=_RECORD_RETRY,
            summary="whose turn is it",
        )
        if following is not None:
            with contextlib.suppress(ApplicationError):
                await workflow.get_external_workflow_handle(payout_story_id(following)).signal(CHANGED_SIGNAL)

    async def _begin_anew_when_long(self, payout: PayoutStanding) -> None:
        """Nothing is carried over: the record is in Postgres, and signatures are there too."""
        if is_long(_EVENTS_MAX):
            await workflow.wait_condition(workflow.all_handlers_finished)
            workflow.continue_as_new(PayoutStart(payout_id=self._id, ordered=payout.ordered))

    def _show(self, payout: PayoutStanding) -> None:
        """Let people read the record in the Web UI, and search it; a changed attribute is one event."""
        before = payout.phase in {PayoutPhase.AWAITING_APPROVAL, PayoutPhase.DUE, PayoutPhase.RETRYING}
        status = str(payout.phase if before or payout.ended else payout.status or payout.phase)
        lines = [f"**{self._id}** · {status}", _SENTENCES[waits_for(payout, at=workflow.now())]]
        if payout.reason or self._trouble:
            lines.append(payout.reason or self._trouble or "")
        if payout.tx_hash is not None:
            lines.append(f"transaction {payout.tx_hash}")
        workflow.set_current_details("\n\n".join(lines))
        if status != self._shown_status:
            self._shown_status = status
            workflow.upsert_search_attributes([STATUS.value_set(status)])
