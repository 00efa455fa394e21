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


class ContractUpkeep(Protocol):
    """Pays the rent of the contracts' code, which payments leave alone."""

    async def keep_alive(self) -> bool:
        """Extend each contract's life where little is left; whether one was extended.

        Raises Refused where the fee account lacks XLM, Unavailable or OutcomeUnknown where there is no answer.
        """


class NightlyActivities:
    """The verbs of the night."""

    def __init__(self, allowances: AllowanceWatch, contract: ContractUpkeep) -> None:
        self._allowances = allowances
        self._contract = contract

    @activity.defn
    async def warn_of_ending_allowances(self, at: datetime) -> tuple[str, ...]:
        """Warn operators whose allowance ends soon; gives who was told."""
        return await self._allowances.warn(at)

    @activity.defn
    async def keep_contract_alive(self) -> bool:
        """Extend the life of the contracts and their code where little is left; whether it did."""
        return await self._contract.keep_alive()
