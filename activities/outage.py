"""What the outage story may say of its record. Nothing here leaves Postgres.

The verb that moves money is `settle` (activities.settlement); these run as local activities in the worker that
runs the story.
"""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from temporalio import activity

from domain.outage import OutageStanding
from domain.settlement import SettlementOutcome


class OutageDesk(Protocol):
    """The record of outages; each call is one transaction and may be made again.

    All raise NotFound where there is no such outage, and Unavailable where the database does not answer.
    """

    async def take_stock(self, outage_id: str, at: datetime) -> OutageStanding:
        """Read the outage and write what follows from it at `at`: warnings, decision, the engine's intent."""

    async def record_outcome(self, outage_id: str, outcome: SettlementOutcome, at: datetime) -> OutageStanding:
        """Write down what the engine says of the payment."""

    async def ask_person(self, outage_id: str, reason: str, at: datetime) -> OutageStanding:
        """Have a person look at a payment that has no proof yet; once a payment."""


class OutageActivities:
    """The story's verbs over a desk."""

    def __init__(self, desk: OutageDesk) -> None:
        self._desk = desk

    @activity.defn
    async def take_stock(self, outage_id: str, at: datetime) -> OutageStanding:
        """Warn, decide, and hand the payment to the engine, as far as the record at `at` says so."""
        return await self._desk.take_stock(outage_id, at)

    @activity.defn
    async def record_outcome(self, outage_id: str, outcome: SettlementOutcome, at: datetime) -> OutageStanding:
        """Write down how the payment ended; a pending outcome changes nothing."""
        return await self._desk.record_outcome(outage_id, outcome, at)

    @activity.defn
    async def ask_person(self, outage_id: str, reason: str, at: datetime) -> OutageStanding:
        """Have a person look; nothing else changes."""
        return await self._desk.ask_person(outage_id, reason, at)
