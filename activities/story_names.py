"""Names by which stories, task queues and search attributes are known outside: they never change."""

from __future__ import annotations

from typing import Final

from temporalio.common import SearchAttributeKey

STORIES: Final = "stories"
"""The task queue of workflows that pay nothing themselves, and of what they do."""
SETTLE_INTERACTIVE: Final = "settle-interactive"
"""The task queue of single payments and of their stories; its slots for activities are the lanes' quota."""
SETTLE_BULK: Final = "settle-bulk"
"""The task queue of batches."""

OUTAGE_STORY: Final = "OutageStory"
WALLET_STORY: Final = "WalletStory"
NIGHTLY_STORY: Final = "NightlyStory"
RECONCILIATION_STORY: Final = "ReconciliationStory"
PAYOUT_STORY: Final = "PayoutStory"
BATCH_STORY: Final = "BatchStory"
CHANGED_SIGNAL: Final = "changed"
"""The signal of every story; it carries nothing, and only wakes."""

KIND: Final = SearchAttributeKey.for_keyword("HoldfastKind")
STATUS: Final = SearchAttributeKey.for_keyword("HoldfastStatus")
SEVERITY: Final = SearchAttributeKey.for_keyword("HoldfastSeverity")
OPERATOR: Final = SearchAttributeKey.for_keyword("HoldfastOperator")
ASSET: Final = SearchAttributeKey.for_keyword("HoldfastAsset")
AMOUNT: Final = SearchAttributeKey.for_float("HoldfastAmount")


def outage_story_id(outage_id: str) -> str:
    """The workflow id of an outage's story: `outage:OUT001`."""
    return f"outage:{outage_id}"


def wallet_story_id(user_id: str) -> str:
    """The workflow id of a wallet's story: `wallet:user123`."""
    return f"wallet:{user_id}"


def payout_story_id(payout_id: str) -> str:
    """The workflow id of a payout's story: `payout:round-1-winner-1`."""
    return f"payout:{payout_id}"


def batch_story_id(batch_id: str) -> str:
    """The workflow id of a batch's story: `batch:bat0123456789abcdef`."""
    return f"batch:{batch_id}"
