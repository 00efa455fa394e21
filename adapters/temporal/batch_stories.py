"""Begin and wake the stories of batches."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from temporalio.client import Client
from temporalio.common import (
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from temporalio.service import RPCError

from activities.story_names import BATCH_STORY, CHANGED_SIGNAL, KIND, STATUS, STORIES, batch_story_id
from domain.errors import Unavailable

_ANSWER_MAX: Final = timedelta(seconds=5)


class BatchStories:
    """A wake carries nothing: the story reads its record.

    A batch that has ended may be begun again: its story takes stock and ends, or pays the failed rows that a
    person asked for. Whatever runs twice, the chunks' ids and the contract's markers let each row move money once.
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    async def batch_changed(self, batch_id: str) -> None:
        """Wake a batch's story after a command committed, or begin it. Doing it twice is harmless.

        Raises:
            Unavailable: Temporal does not answer; the sweeper will find the record.
        """
        try:
            await self._client.start_workflow(
                BATCH_STORY,
                batch_id,
                id=batch_story_id(batch_id),
                task_queue=STORIES,
                start_signal=CHANGED_SIGNAL,
                id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                static_summary=f"Batch {batch_id}",
                search_attributes=TypedSearchAttributes(
                    [SearchAttributePair(KIND, "batch"), SearchAttributePair(STATUS, "accepted")]
                ),
                rpc_timeout=_ANSWER_MAX,
            )
        except (RPCError, RuntimeError) as error:
            raise Unavailable("Temporal does not answer", code="temporal_unavailable") from error
