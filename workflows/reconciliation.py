"""Reconciling payments, begun by a schedule."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from temporalio import workflow
from temporalio.common import RetryPolicy

with workflow.unsafe.imports_passed_through():
    from activities.reconciliation import ReconciliationActivities, ReconciliationResult
    from activities.story_names import RECONCILIATION_STORY

_RETRY: Final = RetryPolicy(initial_interval=timedelta(seconds=5), maximum_interval=timedelta(minutes=10))
_ROUND: Final = timedelta(hours=1)
_NIGHT: Final = timedelta(hours=10)
"""The next night's round must not wait behind this one."""


@workflow.defn(name=RECONCILIATION_STORY, failure_exception_types=[Exception])
class ReconciliationStory:
    """Does the ledger say what the record says?"""

    @workflow.run
    async def run(self) -> ReconciliationResult:
        """Compare them; whoever has to look is told by the activity."""
        found: ReconciliationResult = await workflow.execute_activity_method(
            ReconciliationActivities.reconcile_payments,
            workflow.now(),
            start_to_close_timeout=_ROUND,
            schedule_to_close_timeout=_NIGHT,
            retry_policy=_RETRY,
            summary="payments on the ledger beside those in the record",
        )
        verdict = f"{found.differences} differences" if found.differences else "No difference"
        workflow.set_current_details(
            f"{verdict}: {found.on_ledger} payments on the ledger, {found.in_record} in the record, "
            f"ledgers {found.first_ledger} to {found.last_ledger}"
        )
        return found
