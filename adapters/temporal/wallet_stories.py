"""Starts the stories that make wallets, and asks Temporal whether it is there."""

from __future__ import annotations

from datetime import timedelta

from temporalio.client import Client
from temporalio.common import (
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from temporalio.service import RPCError

from activities.story_names import KIND, STORIES, WALLET_STORY, wallet_story_id
from domain.errors import Unavailable


class WalletStories:
    """Satisfies the API's protocol of the same name, and `TemporalHealth`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def wallet_requested(self, user_id: str) -> None:
        """Start the story of a wallet whose record is not final; again is harmless.

        Raises:
            Unavailable: Temporal does not answer; the sweeper will find the record.
        """
        try:
            await self._client.start_workflow(
                WALLET_STORY,
                user_id,
                id=wallet_story_id(user_id),
                task_queue=STORIES,
                # A refused wallet may be asked for again; what is on the ledger already is found there.
                id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                static_summary="A wallet",
                search_attributes=TypedSearchAttributes([SearchAttributePair(KIND, "wallet")]),
                rpc_timeout=timedelta(seconds=5),
            )
        except (RPCError, RuntimeError) as error:
            raise Unavailable("Temporal does not answer", code="temporal_unavailable") from error

    async def check(self) -> None:
        """Ask Temporal whether it serves.

        Raises:
            Unavailable: it does not.
        """
        try:
            serves = await self._client.service_client.check_health(timeout=timedelta(seconds=2))
        except (RPCError, RuntimeError) as error:
            raise Unavailable("Temporal does not answer", code="temporal_unavailable") from error
        if not serves:
            raise Unavailable("Temporal says that it does not serve", code="temporal_unavailable")
