"""Signatures that people hand to a story while it waits for them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Final

from temporalio import workflow
from temporalio.common import RetryPolicy

from workflows.histories import is_long

with workflow.unsafe.imports_passed_through():
    from activities.signing import SigningActivities
    from activities.story_names import STORIES
    from domain.signing import SignatureReceipt, SignatureSubmission

_RETRY: Final = RetryPolicy(
    initial_interval=timedelta(milliseconds=200), maximum_interval=timedelta(seconds=2), maximum_attempts=5
)
_LOOK_MAX: Final = timedelta(seconds=20)


async def take_signatures(
    settlement_id: str, submission: SignatureSubmission, *, events_max: int, wake: Callable[[], None]
) -> SignatureReceipt:
    """Have signatures looked at and kept; `wake` is called where the story has something to do then."""
    complete = False
    try:
        receipt = await workflow.execute_activity_method(
            SigningActivities.accept_signature,
            args=[settlement_id, submission],
            task_queue=STORIES,
            start_to_close_timeout=_LOOK_MAX,
            retry_policy=_RETRY,
            summary="look at the signatures, and keep them",
        )
        complete = receipt.complete
        return receipt
    finally:
        # A story takes so many Updates and no more: refused ones, too, have it begin anew.
        if complete or is_long(events_max):
            wake()
