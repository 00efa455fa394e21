"""What the payout story may say of its record. Nothing here leaves Postgres.

The verb that moves money is `settle` (activities.settlement), and the one that takes signatures `accept_signature`
(activities.signing); these run as local activities in the worker that runs the story.
"""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from pydantic import BaseModel
from temporalio import activity

from domain.payout import PayoutStanding


class PayoutStart(BaseModel):
    """What a payout's story is told when it begins. `settling`: the engine has the intent already."""

    payout_id: str
    settling: bool = False
    ordered: bool = False


class PayoutDesk(Protocol):
    """The record of payouts; each call is one transaction and may be made again.

    All raise NotFound where there is no such payout, and Unavailable where the database does not answer.
    """

    async def take_stock(self, payout_id: str, at: datetime) -> PayoutStanding:
        """Read the payout and write what follows from it at `at`: a hand-over, a next try, or a failure."""

    async def next_in_order(self, payout_id: str) -> str | None:
        """The ordered payout whose turn it is after this one, if there is one."""


class PayoutActivities:
    """The story's verbs over a desk."""

    def __init__(self, desk: PayoutDesk) -> None:
        self._desk = desk

    @activity.defn(name="take_stock_of_payout")
    async def take_stock(self, payout_id: str, at: datetime) -> PayoutStanding:
        """Hand the payout to the engine, or begin its next try, as far as the record at `at` says so."""
        return await self._desk.take_stock(payout_id, at)

    @activity.defn(name="next_payout_in_order")
    async def next_in_order(self, payout_id: str) -> str | None:
        """Say whose turn it is."""
        return await self._desk.next_in_order(payout_id)
