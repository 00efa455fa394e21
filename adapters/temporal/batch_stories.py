"""Begin and wake the stories of batches."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from temporalio.client import Client, WithStartWorkflowOperation
from temporalio.common import (
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from temporalio.service import RPCError

from activities.story_names import BATCH_STORY, CHANGED_SIGNAL, KIND, STATUS, STORIES, batch_story_id
from adapters.temporal.signatures import submit_signature
from domain.batch import batch_of_chunk
from domain.errors import Unavailable
from domain.signing import SignatureReceipt, SignatureSubmission

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
                **_begun(batch_id),
                start_signal=CHANGED_SIGNAL,
                rpc_timeout=_ANSWER_MAX,
            )
        except (RPCError, RuntimeError) as error:
            raise Unavailable("Temporal does not answer", code="temporal_unavailable") from error

    async def submit_signature(self, settlement_id: str, submission: SignatureSubmission) -> SignatureReceipt:
        """Hand signatures for one call to the story of its batch, which is begun where Temporal does not know it.

        Raises:
            Refused: a code that begins with `signature_`, or the policy's.
            NotFound: there is no such call, or nothing is asked for.
            Unavailable: Temporal, its workers, the ledger or the database do not answer: post it again.
        """
        batch_id = batch_of_chunk(settlement_id)
        begin: WithStartWorkflowOperation[Any, Any] = WithStartWorkflowOperation(
            BATCH_STORY, batch_id, **_begun(batch_id)
        )
        return await submit_signature(self._client, begin, [settlement_id, submission])


def _begun(batch_id: str) -> dict[str, Any]:
    return {
        "id": batch_story_id(batch_id),
        "task_queue": STORIES,
        "id_reuse_policy": WorkflowIDReusePolicy.ALLOW_DUPLICATE,
        "id_conflict_policy": WorkflowIDConflictPolicy.USE_EXISTING,
        "static_summary": f"Batch {batch_id}",
        "search_attributes": TypedSearchAttributes(
            [SearchAttributePair(KIND, "batch"), SearchAttributePair(STATUS, "accepted")]
        ),
    }
