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

_NIGHT: Final = timedelta(hours=10)
"""The next night's round must not wait behind this one."""


@workflow.defn(name=NIGHTLY_STORY, failure_exception_types=[Exception])
class NightlyStory:
    """Look after what ends by itself."""

    @workflow.run
    async def run(self) -> tuple[str, ...]:
        """Warn of allowances that end, and keep the contract alive; gives the operators that were told."""
        told: tuple[str, ...] = await workflow.execute_activity_method(
            NightlyActivities.warn_of_ending_allowances,
            workflow.now(),
            start_to_close_timeout=timedelta(minutes=5),
            schedule_to_close_timeout=_NIGHT,
            retry_policy=_RETRY,
            summary="allowances that end within 30 or 7 days",
        )
        extended: bool = await workflow.execute_activity_method(
            NightlyActivities.keep_contract_alive,
            start_to_close_timeout=timedelta(minutes=5),
            schedule_to_close_timeout=_NIGHT,
            retry_policy=_RETRY,
            summary="the life of the contract and its code",
        )
        life = "extended" if extended else "long enough"
        workflow.set_current_details(f"Warned: {', '.join(told) or 'nobody'}\n\nThe contract's life: {life}")
        return told
