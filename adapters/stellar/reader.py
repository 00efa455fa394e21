"""What the front reads from the ledger: balances, anchored reports, and what stands against a payment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from stellar_sdk import Account, Asset, StrKey, TransactionBuilder, scval, xdr

from adapters.stellar.entries import (
    account_key,
    account_state,
    asset_of,
    instance_key,
    trustline_key,
    trustline_state,
)
from adapters.stellar.rpc import Rpc
from domain.errors import HoldfastError, NotFound, Refused, Unavailable
from domain.money import Amount

_NOBODY: Final = StrKey.encode_ed25519_public_key(bytes(32))
"""The source of simulations: they sign nothing, and any account serves."""


@dataclass(frozen=True, slots=True)
class ReadContracts:
    """Contract ids to read; None where a setting is missing."""

    sla: str | None
    tokens: Mapping[str, str | None]
    """Asset code to token contract, such as USDC."""


class LedgerReader:
    """Reads entries only: nothing is signed and nothing sent."""

    def __init__(self, rpc: Rpc, *, network_passphrase: str, contracts: ReadContracts) -> None:
        self._rpc = rpc
        self._network_passphrase = network_passphrase
        self._contracts = contracts
        self._assets: dict[str, Asset] = {}

    async def assets(self) -> Sequence[Asset]:
        """The classic assets behind the token contracts.

        Raises:
            Refused: `contract_missing`: a token contract is not set or not on the ledger.
            Unavailable: the ledger does not answer.
        """
        return tuple((await self._assets_by_code()).values())

    async def _assets_by_code(self) -> Mapping[str, Asset]:
        missing = {code: token for code, token in self._contracts.tokens.items() if code not in self._assets}
        if missing:
            keys = {code: instance_key(token) for code, token in missing.items() if token is not None}
            found = (await self._rpc.ledger_entries(list(keys.values()))).by_key if keys else {}
            for code in missing:
                entry = found.get(keys[code].to_xdr()) if code in keys else None
                asset = asset_of(entry.data) if entry is not None else None
                if asset is None:
                    raise Refused(f"there is no asset contract for {code} on the ledger", code="contract_missing")
                self._assets[code] = asset
        return self._assets

    async def balances(self, address: str) -> Mapping[str, Amount]:
        """By asset code, with XLM first; an asset without a trustline is zero.

        Raises:
            NotFound: there is no such account.
            Refused: `contract_missing`.
            Unavailable: the ledger does not answer.
        """
        assets = await self._assets_by_code()
        account = account_key(address)
        lines = {code: trustline_key(address, asset) for code, asset in assets.items() if asset.issuer != address}
        found = (await self._rpc.ledger_entries([account, *lines.values()])).by_key
        entry = found.get(account.to_xdr())
        if entry is None:
            raise NotFound("there is no such account on the ledger")
        balances = {"XLM": Amount(account_state(entry.data).balance_units)}
        for code, key in lines.items():
            line = found.get(key.to_xdr())
            balances[code] = Amount(0 if line is None else trustline_state(line.data).balance_units)
        return balances

    async def anchored_rca(self, outage_id: str) -> str | None:
        """The hash (hex) of the latest version of an outage's report; None where none is anchored.

        Raises:
            Refused: `contract_missing`.
            Unavailable: the ledger does not answer.
        """
        if self._contracts.sla is None:
            raise Refused("SLA_CONTRACT_ID is not set", code="contract_missing")
        # By the contract's own function: how it stores its versions is its own affair.
        builder = TransactionBuilder(Account(_NOBODY, 0), self._network_passphrase)
        builder.add_time_bounds(0, 0)
        builder.append_invoke_contract_function_op(self._contracts.sla, "get_rca", [scval.to_symbol(outage_id)])
        simulated = await self._rpc.simulate(builder.build().to_xdr())
        if simulated.error is not None or not simulated.result:
            raise Unavailable("the contract's get_rca cannot be read", code="ledger_unavailable")
        anchor = xdr.SCVal.from_xdr(simulated.result)
        if anchor.type is xdr.SCValType.SCV_VOID:
            return None
        return scval.from_bytes(scval.from_struct(anchor)["hash"]).hex()

    async def problems(self) -> Mapping[str, str]:
        """What stands against a payment, by check; empty where nothing does."""
        found: dict[str, str] = {}
        try:
            if not await self._rpc.healthy():
                found["rpc"] = "the RPC says that it is not healthy"
            passphrase = await self._rpc.network()
            if passphrase != self._network_passphrase:
                found["network"] = "the RPC serves another network than STELLAR_NETWORK_PASSPHRASE"
            found |= await self._missing_contracts()
        except HoldfastError as error:
            found["rpc"] = error.message
        return found

    async def _missing_contracts(self) -> dict[str, str]:
        contracts = {"sla_contract": self._contracts.sla}
        contracts |= {f"{code.lower()}_token": token for code, token in self._contracts.tokens.items()}
        keys = {name: instance_key(contract) for name, contract in contracts.items() if contract is not None}
        there = (await self._rpc.ledger_entries(list(keys.values()))).by_key if keys else {}
        return {
            name: "its id is not set" if name not in keys else "it is not on the ledger"
            for name in contracts
            if name not in keys or keys[name].to_xdr() not in there
        }
