"""Begin and wake the stories of payouts, and hand signatures to them."""

from __future__ import annotations

from collections.abc import Iterable
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

from activities.payout import PayoutStart
from activities.story_names import (
    AMOUNT,
    ASSET,
    CHANGED_SIGNAL,
    KIND,
    PAYOUT_STORY,
    SETTLE_INTERACTIVE,
    STATUS,
    payout_story_id,
)
from adapters.temporal.signatures import submit_signature
from domain.errors import Unavailable
from domain.payout import Payout, PayoutPhase
from domain.signing import SignatureReceipt, SignatureSubmission

_ANSWER_MAX: Final = timedelta(seconds=5)


class PayoutStories:
    """Begins, wakes and updates stories of payouts. A wake carries nothing: the story reads its record.

    A story whose payout has ended may be begun again: it takes stock, and ends. Whatever runs twice, the
    settlement's id and the contract's marker let its money move once.
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    async def payout_accepted(self, payout: Payout) -> None:
        """Begin the story of a payout that was just written down; again is harmless.

        Raises:
            Unavailable: Temporal does not answer; the sweeper will find the record.
        """
        start = PayoutStart(
            payout_id=payout.payout_id,
            settling=payout.phase is PayoutPhase.SETTLING,
            ordered=payout.ordered,
        )
        asset = payout.asset.partition(":")[0]
        searchable = [
            *_begun(payout.payout_id)["search_attributes"],
            SearchAttributePair(ASSET, asset),
            SearchAttributePair(AMOUNT, float(payout.request.amount.decimal)),
        ]
        options = _begun(payout.payout_id) | {
            "static_summary": f"{payout.request.amount.brief} {asset}",
            "search_attributes": TypedSearchAttributes(searchable),
        }
        try:
            await self._client.start_workflow(PAYOUT_STORY, start, **options, rpc_timeout=_ANSWER_MAX)
        except (RPCError, RuntimeError) as error:
            raise _away() from error

    async def payout_changed(self, payout_id: str) -> None:
        """Wake the story of a payout after a command committed, or begin it. Doing it twice is harmless.

        Raises:
            Unavailable: Temporal does not answer; the sweeper will find the record.
        """
        options = _begun(payout_id)
        options["search_attributes"] = TypedSearchAttributes(options["search_attributes"])
        try:
            await self._client.start_workflow(
                PAYOUT_STORY,
                PayoutStart(payout_id=payout_id),
                **options,
                start_signal=CHANGED_SIGNAL,
                rpc_timeout=_ANSWER_MAX,
            )
        except (RPCError, RuntimeError) as error:
            raise _away() from error

    async def submit_signature(self, payout_id: str, submission: SignatureSubmission) -> SignatureReceipt:
        """Hand signatures to the story of a payout, which is begun where Temporal does not know it.

        Raises:
            Refused: a code that begins with `signature_`, or the policy's.
            NotFound: no such payout, or nothing is asked for.
            Unavailable: Temporal, its workers, the ledger or the database do not answer: post it again.
        """
        options = _begun(payout_id)
        options["search_attributes"] = TypedSearchAttributes(options["search_attributes"])
        begin: WithStartWorkflowOperation[Any, Any] = WithStartWorkflowOperation(
            PAYOUT_STORY, PayoutStart(payout_id=payout_id), **options
        )
        return await submit_signature(self._client, begin, [submission])

    async def running_among(self, payout_ids: Iterable[str]) -> frozenset[str]:
        """Which of these payouts have a story that runs, as Temporal's visibility knows them: a moment late.

        Raises:
            Unavailable: Temporal does not answer.
        """
        wanted = [f"'{payout_story_id(payout_id)}'" for payout_id in payout_ids]
        if not wanted:
            return frozenset()
        query = f"ExecutionStatus = 'Running' AND WorkflowId IN ({', '.join(wanted)})"
        try:
            found = [execution.id async for execution in self._client.list_workflows(query)]
        except (RPCError, RuntimeError) as error:
            raise _away() from error
        return frozenset(story.removeprefix(payout_story_id("")) for story in found)


def _begun(payout_id: str) -> dict[str, Any]:
    return {
        "id": payout_story_id(payout_id),
        "task_queue": SETTLE_INTERACTIVE,
        "id_reuse_policy": WorkflowIDReusePolicy.ALLOW_DUPLICATE,
        "id_conflict_policy": WorkflowIDConflictPolicy.USE_EXISTING,
        "static_summary": "A payout",
        "search_attributes": [SearchAttributePair(KIND, "payout"), SearchAttributePair(STATUS, "accepted")],
    }


def _away() -> Unavailable:
    return Unavailable("Temporal does not answer", code="temporal_unavailable")
