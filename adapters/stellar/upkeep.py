"""Upkeep: what has to be paid for so that payments stay possible."""

from __future__ import annotations

from stellar_sdk import Keypair

from adapters.stellar.accounts import OneBuilder
from adapters.stellar.deployment import Deployment
from adapters.stellar.rpc import Rpc


class ContractUpkeep:
    """Satisfies `activities.nightly.ContractUpkeep`; the fee account pays."""

    def __init__(
        self, rpc: Rpc, *, contract: str, payer: Keypair, network_passphrase: str, one_builder: OneBuilder
    ) -> None:
        """`one_builder` is the lock over all processes that use the payer's sequence numbers."""
        self._deployment = Deployment(rpc, network_passphrase)
        self._contract = contract
        self._payer = payer
        self._one_builder = one_builder

    async def keep_alive(self) -> bool:
        """See `activities.nightly.ContractUpkeep`."""
        async with self._one_builder():
            return await self._deployment.keep_alive(self._contract, self._payer)
