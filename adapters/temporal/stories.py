"""Wake and start stories: the only way in which commands reach Temporal."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.common import (
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError

from activities.story_names import (
    CHANGED_SIGNAL,
    KIND,
    OPERATOR,
    OUTAGE_STORY,
    SETTLE_INTERACTIVE,
    SEVERITY,
    STATUS,
    outage_story_id,
)
from domain.errors import Unavailable

_ANSWER_MAX: Final = timedelta(seconds=5)


class Stories:
    """Starts and wakes stories. A wake carries nothing: the story reads its record."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def outage_changed(
        self,
        outage_id: str,
        *,
        summary: str | None = None,
        severity: str | None = None,
        operator_id: str | None = None,
    ) -> None:
        """Wake an outage's story after a command committed, or start it. Doing it twice is harmless.

        Raises:
            Unavailable: Temporal does not answer; the sweeper will find the record.
        """
        await self.wake_outage(outage_id, summary=summary, severity=severity, operator_id=operator_id)

    async def wake_outage(
        self,
        outage_id: str,
        *,
        summary: str | None = None,
        severity: str | None = None,
        operator_id: str | None = None,
        again: bool = False,
    ) -> bool:
        """Wake an outage's story, and start it where Temporal does not know it. Doing it twice is harmless.

        A story that has completed is not started again: its record was final, and nothing in it can change.
        One that failed or was terminated is: its record is not. With `again`, for a caller that read a record that
        is not final although its story completed (a database that was restored), it starts in any case. Whatever
        runs twice, the settlement's id and the contract's marker let its money move once.

        Args:
            outage_id: such as `OUT001`.
            summary: what the Web UI shows beside the id, when this starts it; sealed like every payload.
            severity: to search it by; what is not given here the story adds itself, by an event more.
            operator_id: the same.
            again: start it even if it has completed.

        Returns:
            Whether a story was reached; False where it had completed.

        Raises:
            Unavailable: Temporal does not answer.
        """
        reuse = WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY
        searchable = [SearchAttributePair(KIND, "outage"), SearchAttributePair(STATUS, "open")]
        searchable += [
            SearchAttributePair(key, value)
            for key, value in ((SEVERITY, severity), (OPERATOR, operator_id))
            if value is not None
        ]
        try:
            await self._client.start_workflow(
                OUTAGE_STORY,
                outage_id,
                id=outage_story_id(outage_id),
                task_queue=SETTLE_INTERACTIVE,
                start_signal=CHANGED_SIGNAL,
                id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE if again else reuse,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                static_summary=summary or f"Outage {outage_id}",
                search_attributes=TypedSearchAttributes(searchable),
                rpc_timeout=_ANSWER_MAX,
            )
        except WorkflowAlreadyStartedError:
            return False
        except (RPCError, RuntimeError) as error:
            raise Unavailable("Temporal does not answer", code="temporal_unavailable") from error
        return True

    async def running(self) -> frozenset[str]:
        """Workflow ids of outages', wallets' and batches' stories that run, as visibility has them: a moment late.

        Payouts are not among them: tens of thousands may wait for signatures.

        Raises:
            Unavailable: Temporal does not answer.
        """
        running = WorkflowExecutionStatus.RUNNING.name.title()
        query = f"ExecutionStatus = '{running}' AND {KIND.name} IN ('outage', 'wallet', 'batch')"
        try:
            return frozenset([execution.id async for execution in self._client.list_workflows(query)])
        except (RPCError, RuntimeError) as error:
            raise Unavailable("Temporal does not answer", code="temporal_unavailable") from error
