"""What the wallet story may say: have the account made. The secret is opened inside, and never leaves."""

from __future__ import annotations

from typing import Protocol

from pydantic import BaseModel
from temporalio import activity


class WalletOutcome(BaseModel):
    """How a wallet stands: accepted, ready or failed."""

    user_id: str
    address: str
    status: str
    tx_hash: str | None = None
    reason_code: str | None = None
    reason: str | None = None


class WalletDesk(Protocol):
    """Makes wallets on the ledger."""

    async def make(self, user_id: str) -> WalletOutcome:
        """Have the account with its trustlines on the ledger; what is there already is left alone.

        A definite no is an outcome, `failed`. Raises Unavailable and OutcomeUnknown, after which the same call
        finds out what became of it.
        """


class WalletActivities:
    """The verbs of the wallet story."""

    def __init__(self, desk: WalletDesk) -> None:
        self._desk = desk

    @activity.defn(name="make_wallet")
    async def make_wallet(self, user_id: str) -> WalletOutcome:
        """Make the wallet of a user, once."""
        return await self._desk.make(user_id)
