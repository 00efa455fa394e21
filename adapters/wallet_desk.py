"""Makes users' wallets: opens the sealed key, has the account sponsored, records how it ended."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Protocol

from stellar_sdk import Asset, Keypair

from activities.wallet import WalletOutcome
from adapters.custody import Custody
from adapters.database import wallets
from adapters.database.engine import Database
from adapters.database.wallets import Wallet
from adapters.stellar.accounts import Created
from domain.errors import Refused


class Accounts(Protocol):
    """What the desk asks of the ledger: `adapters.stellar.accounts.SponsoredAccounts`."""

    async def create(
        self, new: Sequence[Keypair], *, trustlines: Sequence[Asset] = (), home_domain: str | None = None
    ) -> Created:
        """Have these accounts with these trustlines; what exists is left alone."""


class Assets(Protocol):
    """Which assets a wallet trusts."""

    async def assets(self) -> Sequence[Asset]:
        """Read them from the ledger."""


class WalletDesk:
    """Satisfies `activities.wallet.WalletDesk`."""

    def __init__(self, database: Database, custody: Custody, accounts: Accounts, assets: Assets) -> None:
        self._database = database
        self._custody = custody
        self._accounts = accounts
        self._assets = assets

    async def make(self, user_id: str) -> WalletOutcome:
        """See `activities.wallet.WalletDesk`."""
        async with self._database.begin() as connection:
            wallet = await wallets.find_wallet(connection, user_id)
            address, sealed = await wallets.sealed_key(connection, user_id)
        if wallet.status == "ready":
            return _outcome(wallet)
        try:
            keypair = self._custody.open_wallet(sealed, address=address)
            created = await self._accounts.create([keypair], trustlines=await self._assets.assets())
        except Refused as error:
            async with self._database.begin() as connection:
                wallet = await wallets.mark_failed(
                    connection, user_id, code=error.code, reason=error.message, at=datetime.now(UTC)
                )
            return _outcome(wallet)
        # The transaction is known only to the call that made it: after a lost answer the account is there without.
        tx_hash = created.transactions[-1] if created.transactions else None
        async with self._database.begin() as connection:
            wallet = await wallets.mark_ready(connection, user_id, tx_hash=tx_hash, at=datetime.now(UTC))
        return _outcome(wallet)


def _outcome(wallet: Wallet) -> WalletOutcome:
    return WalletOutcome(**{name: getattr(wallet, name) for name in WalletOutcome.model_fields})
