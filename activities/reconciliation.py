"""Hold what the ledger paid against the record, and tell where they differ."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from pydantic import BaseModel
from temporalio import activity


class ReconciliationResult(BaseModel):
    """What a round found; the differences themselves are in the event that tells of them."""

    first_ledger: int
    last_ledger: int
    on_ledger: int
    in_record: int
    under_way: int
    differences: int


class PaymentWatch(Protocol):
    """Compares payments on the ledger with the record."""

    async def look(self, at: datetime) -> ReconciliationResult:
        """Compare, and tell people where they differ: once for one night, however often it is asked.

        Raises Unavailable where ledger or database do not answer.
        """


class ReconciliationActivities:
    """The verb of reconciling."""

    def __init__(self, watch: PaymentWatch) -> None:
        self._watch = watch

    @activity.defn
    async def reconcile_payments(self, at: datetime) -> ReconciliationResult:
        """Compare the contracts' payments with the record, as of a night that began at `at`."""
        return await self._watch.look(at)
