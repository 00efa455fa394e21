"""The nightly round, begun by a schedule."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from temporalio import workflow
from temporalio.common import RetryPolicy

with workflow.unsafe.imports_passed_through():
    from activities.nightly import NightlyActivities
    from activities.story_names import NIGHTLY_STORY

_RETRY: Final = RetryPolicy(initial_interval=timedelta(seconds=5), maximum_interval=timedelta(minutes=10))


@workflow.defn(name=NIGHTLY_STORY, failure_exception_types=[Exception])
class NightlyStory:
    """Look after what ends by itself."""

    @workflow.run
    async def run(self) -> tuple[str, ...]:
        """Warn of allowances that end; gives the operators that were told."""
        told: tuple[str, ...] = await workflow.execute_activity_method(
            NightlyActivities.warn_of_ending_allowances,
            workflow.now(),
            start_to_close_timeout=timedelta(minutes=5),
            # The next night's round must not wait behind this one.
            schedule_to_close_timeout=timedelta(hours=20),
            retry_policy=_RETRY,
            summary="allowances that end within 30 or 7 days",
        )
        workflow.set_current_details(f"Warned: {', '.join(told) or 'nobody'}")
        return told
