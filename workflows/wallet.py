"""The wallet story: an account with trustlines, whose reserves the funder sponsors, made once a user."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from temporalio import workflow
from temporalio.common import RetryPolicy

with workflow.unsafe.imports_passed_through():
    from activities.story_names import WALLET_STORY
    from activities.wallet import WalletActivities, WalletOutcome

_RETRY: Final = RetryPolicy(
    initial_interval=timedelta(seconds=1), backoff_coefficient=2, maximum_interval=timedelta(minutes=1)
)


@workflow.defn(name=WALLET_STORY, failure_exception_types=[Exception])
class WalletStory:
    """Have the account on the ledger, and say so."""

    @workflow.run
    async def run(self, user_id: str) -> WalletOutcome:
        """Make one wallet; an outage of the ledger is waited for without end, since nothing else may be tried."""
        workflow.set_current_details("The account is being made on the ledger.")
        outcome = await workflow.execute_activity_method(
            WalletActivities.make_wallet,
            user_id,
            start_to_close_timeout=timedelta(minutes=5),
            retry_policy=_RETRY,
            summary="account and trustlines, sponsored",
        )
        workflow.set_current_details(
            f"Ready: {outcome.address}" if outcome.status == "ready" else f"Refused: {outcome.reason}"
        )
        return outcome
