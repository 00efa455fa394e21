"""What is looked after every night."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from temporalio import activity


class AllowanceWatch(Protocol):
    """Looks at the allowances of every registered operator."""

    async def warn(self, at: datetime) -> tuple[str, ...]:
        """Tell of allowances that end within 30 or 7 days, each once; gives the operators that were told.

        Raises Unavailable where ledger or database do not answer.
        """


class NightlyActivities:
    """The verbs of the night."""

    def __init__(self, allowances: AllowanceWatch) -> None:
        self._allowances = allowances

    @activity.defn
    async def warn_of_ending_allowances(self, at: datetime) -> tuple[str, ...]:
        """Warn operators whose allowance ends soon; gives who was told."""
        return await self._allowances.warn(at)
