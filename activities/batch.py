"""What the batch story may say of its record. Nothing here leaves Postgres.

The verb that moves money is `settle` (activities.settlement), once for each chunk; this runs as a local activity
in the worker that runs the story.
"""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from temporalio import activity

from domain.batch import BatchStanding


class BatchDesk(Protocol):
    """The record of batches; a call is one transaction and may be made again."""

    async def take_stock(self, batch_id: str, at: datetime) -> BatchStanding:
        """Record what the engine says of the open chunks, and hand over the next ones.

        Raises:
            NotFound: there is no such batch.
            Unavailable: the database does not answer.
        """


class BatchActivities:
    """The story's verb over a desk."""

    def __init__(self, desk: BatchDesk) -> None:
        self._desk = desk

    @activity.defn(name="take_stock_of_batch")
    async def take_stock(self, batch_id: str, at: datetime) -> BatchStanding:
        """Record what the engine says of the open chunks, and hand over the next ones as the record says."""
        return await self._desk.take_stock(batch_id, at)
