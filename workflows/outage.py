"""The outage story: from the report to a payment that is on the ledger.

All facts live in Postgres. The story is woken, takes stock of the record, acts, and waits; a story that was lost
begins again where the record stands. Its signal carries nothing: it only wakes.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from temporalio import workflow
from temporalio.common import Priority, RetryPolicy, SearchAttributeKey, SearchAttributePair
from temporalio.exceptions import ActivityError, is_cancelled_exception

from workflows.histories import is_long

with workflow.unsafe.imports_passed_through():
    from activities.outage import OutageActivities
    from activities.settlement import SettlementActivities
    from activities.story_names import (
        AMOUNT,
        ASSET,
        KIND,
        OPERATOR,
        OUTAGE_STORY,
        SETTLE_INTERACTIVE,
        SEVERITY,
        STATUS,
    )
    from domain.outage import OutageStanding, OutageStatus, Waits, waits_for, wakes_at
    from domain.settlement import SettlementOutcome
    from domain.sla_payment import PaymentPhase

_RECORD_RETRY: Final = RetryPolicy(
    initial_interval=timedelta(milliseconds=100), maximum_interval=timedelta(seconds=5)
)
_SETTLE_RETRY: Final = RetryPolicy(
    initial_interval=timedelta(milliseconds=500), maximum_interval=timedelta(seconds=5)
)
_SETTLE_MAX: Final = timedelta(minutes=10)
_ASK_AFTER: Final = timedelta(minutes=10)
"""How long a payment may be without proof before a person is asked to look; it is never failed by a timer."""
_PAUSE_MAX: Final = timedelta(minutes=1)
_EVENTS_MAX: Final = 500

_SENTENCES: Final = {
    Waits.REPAIR: "The clock runs until the outage is resolved.",
    Waits.APPROVAL: "The payment waits until another person than the one who resolved the outage approves it.",
    Waits.DISPUTE: "It is disputed: the payment is held until the dispute is settled or the outage cancelled.",
    Waits.LATER: "The payment was not made, for a reason that may pass; it is tried again by itself.",
    Waits.PERSON: "The payment was refused: mend the reason, then ask for a retry.",
    Waits.DECISION: "It is resolved; the decision comes next.",
    Waits.PAYMENT: "It is decided and agreed; the payment is handed over next.",
    Waits.LEDGER: "The payment is with the settlement engine.",
    Waits.NOTHING: "It is over.",
}


@workflow.defn(name=OUTAGE_STORY, failure_exception_types=[Exception])
class OutageStory:
    """Warn while it lasts; when it is resolved, decide, pay once, and tell."""

    def __init__(self) -> None:
        self._news = False
        # What whoever started it has made searchable already.
        self._shown: dict[str, Any] = {
            pair.key.name: pair.value for pair in workflow.info().typed_search_attributes
        }
        self._unproved_since: datetime | None = None
        self._pending_rounds = 0

    @workflow.run
    async def run(self, outage_id: str) -> OutageStanding:
        """Follow one outage to its end; returns how it ended."""
        outage = await self._take_stock(outage_id)
        while not outage.ended:
            if waits_for(outage) is Waits.LEDGER:
                outage = await self._pay(outage)
            else:
                # A repair, an approval, a dispute's end, a person, or the time of a warning or of the next try.
                await self._wait_for_news(until=wakes_at(outage))
                outage = await self._take_stock(outage_id)
            self._begin_anew_when_long(outage_id)
        return outage

    @workflow.signal
    def changed(self) -> None:
        """Say that the record has changed."""
        self._news = True

    async def _take_stock(self, outage_id: str) -> OutageStanding:
        """Warn, decide and hand over the payment, as far as the record says so."""
        self._news = False
        outage = await workflow.execute_local_activity_method(
            OutageActivities.take_stock,
            args=[outage_id, workflow.now()],
            start_to_close_timeout=timedelta(seconds=10),
            retry_policy=_RECORD_RETRY,
            summary="read the record, write what follows",
        )
        return self._show(outage)

    async def _pay(self, outage: OutageStanding) -> OutageStanding:
        """Have the engine settle, and record the outcome; without proof, wait a little and come back."""
        outcome, trouble = await self._settle(outage)
        if outcome is not None and outcome.status.final:
            self._unproved_since, self._pending_rounds = None, 0
            if outcome.record_status is not None:
                # The walk has confirmed the record too.
                paid = {"phase": PaymentPhase.CONFIRMED, "status": OutageStatus(outcome.record_status)}
                over = {"tx_hash": outcome.tx_hash, "reason_code": None, "reason": None}
                return self._show(outage.model_copy(update=paid | over))
            outage = await workflow.execute_local_activity_method(
                OutageActivities.record_outcome,
                args=[outage.outage_id, outcome, workflow.now()],
                start_to_close_timeout=timedelta(seconds=10),
                retry_policy=_RECORD_RETRY,
                summary=f"record: {outcome.status}",
            )
            return self._show(outage)
        return await self._stay_with(outage, outcome, trouble)

    async def _settle(self, outage: OutageStanding) -> tuple[SettlementOutcome | None, str | None]:
        """One walk of the engine: an outcome, or why there is none. Neither says that nothing was paid."""
        try:
            outcome = await workflow.execute_activity_method(
                SettlementActivities.settle,
                outage.settlement_id,
                task_queue=SETTLE_INTERACTIVE,
                start_to_close_timeout=_SETTLE_MAX,
                heartbeat_timeout=timedelta(seconds=10),
                retry_policy=_SETTLE_RETRY,
                summary=outage.decision.sentence if outage.decision else outage.outage_id,
                priority=Priority(fairness_key=outage.operator_id),
            )
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise
            # The settlement's row keeps its place whatever went wrong with the walk.
            return None, str(error.cause or error)
        return outcome, None

    async def _stay_with(
        self, outage: OutageStanding, outcome: SettlementOutcome | None, trouble: str | None
    ) -> OutageStanding:
        self._unproved_since = self._unproved_since or workflow.now()
        self._pending_rounds += 1
        if trouble is not None or workflow.now() - self._unproved_since >= _ASK_AFTER:
            why = trouble or (outcome.reason if outcome else None) or "there is no proof either way yet"
            outage = await workflow.execute_local_activity_method(
                OutageActivities.ask_person,
                args=[outage.outage_id, why, workflow.now()],
                start_to_close_timeout=timedelta(seconds=10),
                retry_policy=_RECORD_RETRY,
                summary="ask a person to look",
            )
        self._show(outage, pending=(outcome.reason if outcome else trouble) or "no proof either way yet")
        # In flight, a walk has waited for three ledgers already; held or unsigned, it comes back at once.
        paced = outcome is not None and outcome.status.in_flight and self._pending_rounds <= 3
        if not paced:
            pause = min(timedelta(seconds=2 ** min(self._pending_rounds - 1, 10)), _PAUSE_MAX)
            await self._wait_for_news(until=workflow.now() + pause)
            self._news = False
        return outage

    async def _wait_for_news(self, *, until: datetime | None) -> None:
        if until is None:
            await workflow.wait_condition(lambda: self._news)
            return
        left = until - workflow.now()
        if left > timedelta(0):
            try:
                await workflow.wait_condition(
                    lambda: self._news, timeout=left, timeout_summary=f"until {until:%Y-%m-%d %H:%M:%S} UTC"
                )
            except TimeoutError:
                return

    def _begin_anew_when_long(self, outage_id: str) -> None:
        """Nothing is carried over: the record is in Postgres."""
        if is_long(_EVENTS_MAX):
            workflow.continue_as_new(outage_id)

    def _show(self, outage: OutageStanding, *, pending: str | None = None) -> OutageStanding:
        """Let people read the record in the Web UI, and search it; each changed attribute set is one event."""
        lines = [f"**{outage.outage_id}** · {outage.severity} · {outage.status} · payment {outage.phase}"]
        if outage.decision is not None:
            lines.append(outage.decision.sentence)
        if outage.reason is not None:
            lines.append(f"{outage.reason_code}: {outage.reason}")
        if outage.tx_hash is not None:
            lines.append(f"transaction {outage.tx_hash}")
        lines.append(pending or _SENTENCES[waits_for(outage)])
        workflow.set_current_details("\n\n".join(lines))
        if waits_for(outage) is not Waits.LEDGER or pending is not None:
            self._make_searchable(outage)
        return outage

    def _make_searchable(self, outage: OutageStanding) -> None:
        wanted: list[tuple[SearchAttributeKey[str], str] | tuple[SearchAttributeKey[float], float]] = [
            (KIND, "outage"),
            (STATUS, outage.phase if outage.phase.value != "none" else outage.status),
            (SEVERITY, outage.severity),
        ]
        if outage.operator_id is not None:
            wanted.append((OPERATOR, outage.operator_id))
        if outage.decision is not None:
            wanted += [(ASSET, outage.decision.asset), (AMOUNT, float(outage.decision.amount.decimal))]
        updates: Sequence[SearchAttributePair[Any]] = [
            SearchAttributePair(key, value) for key, value in wanted if self._shown.get(key.name) != value
        ]
        if updates:
            self._shown.update({pair.key.name: pair.value for pair in updates})
            workflow.upsert_search_attributes([pair.key.value_set(pair.value) for pair in updates])
