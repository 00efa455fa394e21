"""Temporal's workers: one for stories, one for each settlement queue whose slots are its lanes.

Stories of single payments are told on the queue of their payments, so that both are one worker's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, Final

from temporalio.client import Client
from temporalio.common import VersioningBehavior, WorkerDeploymentVersion
from temporalio.worker import UnsandboxedWorkflowRunner, Worker, WorkerDeploymentConfig

from activities.batch import BatchActivities
from activities.nightly import NightlyActivities
from activities.outage import OutageActivities
from activities.payout import PayoutActivities
from activities.reconciliation import ReconciliationActivities
from activities.settlement import SettlementActivities
from activities.signing import SigningActivities
from activities.story_names import SETTLE_BULK, SETTLE_INTERACTIVE, STORIES
from activities.wallet import WalletActivities
from adapters.temporal.deployments import DEPLOYMENT
from adapters.temporal.failures import TranslateFailures
from settings import Settings
from workflows.batch import BatchStory
from workflows.nightly import NightlyStory
from workflows.outage import OutageStory
from workflows.payout import PayoutStory
from workflows.reconciliation import ReconciliationStory
from workflows.wallet import WalletStory

WORKFLOWS: Final[Sequence[type]] = (
    OutageStory,
    PayoutStory,
    BatchStory,
    WalletStory,
    NightlyStory,
    ReconciliationStory,
)
_GRACE: Final = timedelta(seconds=3)
"""How long a walk may go on when the worker stops: the row keeps its place, so another goes on from there."""
_STICKY_MAX: Final = timedelta(seconds=5)
_WALLETS_AT_ONCE: Final = 20
_RECORDS_AT_ONCE: Final = 20
_STORIES_KEPT: Final = 1_000
"""Stories of payments that a worker keeps in memory, at 85 KB each; the one that slept longest goes first.

One that waits hours for a person is played again from its dozen events when word comes. One in flight should not
be, since that costs a fifth of its CPU: a burst of a thousand finds room, and twice the slots where that is more.
"""
_OTHER_STORIES_KEPT: Final = 100
"""Batches, wallets, nightly rounds: few at once, but a batch may wait for days."""


def temporal_workers(
    client: Client,
    settings: Settings,
    *,
    outages: OutageActivities,
    payouts: PayoutActivities,
    batches: BatchActivities | None,
    settlements: SettlementActivities,
    signing: SigningActivities,
    wallets: WalletActivities | None,
    nightly: NightlyActivities,
    reconciliation: ReconciliationActivities,
) -> tuple[Worker, ...]:
    """Wire the workers; `wallets` None where no keyring opens their keys, `batches` where no contract pays."""
    records: list[Callable[..., Any]] = [outages.take_stock, outages.record_outcome, outages.ask_person]
    records += [payouts.take_stock, payouts.next_in_order]
    stories: list[Callable[..., Any]] = [*records, signing.accept_signature]
    stories += [nightly.warn_of_ending_allowances, nightly.keep_contract_alive]
    stories.append(reconciliation.reconcile_payments)
    if batches is not None:
        stories.append(batches.take_stock)
    if wallets is not None:
        stories.append(wallets.make_wallet)
    common: dict[str, Any] = {
        "interceptors": [TranslateFailures()],
        "graceful_shutdown_timeout": _GRACE,
        "deployment_config": _deployment(settings),
    }
    storytelling: dict[str, Any] = {
        "workflows": WORKFLOWS,
        # A workflow's code runs unsandboxed here, which spares a quarter of the worker's CPU; tests and replays
        # run it in the sandbox.
        "workflow_runner": UnsandboxedWorkflowRunner(),
        # Each holds a database connection: more at once would only hold up the workflow tasks that wait for them.
        "max_concurrent_local_activities": _RECORDS_AT_ONCE,
        # A dead worker's stories are another's after this long. Shorter, and a ledger's whole harvest of outcomes
        # times out while it stands in line, and is replayed from the first event on.
        "sticky_queue_schedule_to_start_timeout": _STICKY_MAX,
    }

    def slots(lanes: int) -> int:
        return max(1, lanes // settings.holdfast_workers)

    interactive = slots(settings.lanes_interactive)
    return (
        Worker(
            client,
            task_queue=STORIES,
            activities=stories,
            max_concurrent_activities=_WALLETS_AT_ONCE,
            max_cached_workflows=_OTHER_STORIES_KEPT,
            **storytelling,
            **common,
        ),
        # With its story on the same queue a payment begins, while a lane's slot is free, in the answer to the
        # workflow task that schedules it: that spares Temporal a quarter of a payment.
        Worker(
            client,
            task_queue=SETTLE_INTERACTIVE,
            activities=[settlements.settle, *records],
            max_concurrent_activities=interactive,
            max_cached_workflows=max(_STORIES_KEPT, 2 * interactive),
            **storytelling,
            **common,
        ),
        Worker(
            client,
            task_queue=SETTLE_BULK,
            activities=[settlements.settle],
            max_concurrent_activities=slots(settings.lanes_bulk),
            **common,
        ),
    )


def _deployment(settings: Settings) -> WorkerDeploymentConfig | None:
    """Report a build where one is named: stories wait for people, so they go over to the next build by replay."""
    if not settings.holdfast_build_id:
        return None
    return WorkerDeploymentConfig(
        version=WorkerDeploymentVersion(DEPLOYMENT, settings.holdfast_build_id),
        use_worker_versioning=True,
        default_versioning_behavior=VersioningBehavior.AUTO_UPGRADE,
    )
