"""Upkeep: what has to be paid for so that payments stay possible."""

from __future__ import annotations

from collections.abc import Sequence

from stellar_sdk import Keypair

from adapters.stellar.accounts import OneBuilder
from adapters.stellar.deployment import Deployment
from adapters.stellar.rpc import Rpc
from domain.errors import HoldfastError


class ContractUpkeep:
    """Satisfies `activities.nightly.ContractUpkeep`; the fee account pays."""

    def __init__(
        self,
        rpc: Rpc,
        *,
        contracts: Sequence[str],
        payer: Keypair,
        network_passphrase: str,
        one_builder: OneBuilder,
    ) -> None:
        """`one_builder` is the lock over all processes that use the payer's sequence numbers."""
        self._deployment = Deployment(rpc, network_passphrase)
        self._contracts = contracts
        self._payer = payer
        self._one_builder = one_builder

    async def keep_alive(self) -> bool:
        """See `activities.nightly.ContractUpkeep`. One contract that cannot be extended keeps no other from it."""
        extended = False
        failed: HoldfastError | None = None
        async with self._one_builder():
            for contract in self._contracts:
                try:
                    extended |= await self._deployment.keep_alive(contract, self._payer)
                except HoldfastError as error:
                    failed = failed or error
        if failed is not None:
            raise failed
        return extended
