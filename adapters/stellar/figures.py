"""The figures beside a refusal: what a payment needs, and what is there."""

from __future__ import annotations

from typing import Final

from stellar_sdk import Account, TransactionBuilder, scval, xdr

from adapters.stellar.contract_errors import trustline_full
from adapters.stellar.rpc import Rpc
from domain.errors import HoldfastError, Refused, Unavailable
from domain.money import Amount
from domain.settlement import Intent

_WITH_FIGURES: Final = frozenset(
    {"allowance_too_small", "operator_balance_too_small", "pool_too_small", "payout_contract_short"}
)


class Figures:
    """Reads tokens' balances and allowances by simulation (SEP-41), which needs no signature and costs nothing."""

    def __init__(self, rpc: Rpc, network_passphrase: str) -> None:
        self._rpc = rpc
        self._network_passphrase = network_passphrase

    async def __call__(self, intent: Intent, refusal: HoldfastError) -> HoldfastError:
        """The same refusal with both figures named, where it is about an amount."""
        if refusal.code not in _WITH_FIGURES:
            return refusal
        reader = intent.payer
        if refusal.code == "allowance_too_small":
            there = await self.allowance(intent.asset, intent.source, intent.invocation.contract, reader=reader)
            what = f"{intent.source} allows the contract {there.brief}"
        else:
            there = await self.balance(intent.asset, intent.source, reader=reader)
            if refusal.details.get("contract_error") == "10" and there >= intent.amount:
                # The token's own number for any balance out of bounds, and the payer's is not.
                return trustline_full()
            what = f"{intent.source} holds {there.brief}"
        return Refused(
            f"{intent.amount.brief} are needed and {what}: {refusal.message}",
            code=refusal.code,
            **(refusal.details | {"needed": str(intent.amount), "there": str(there), "account": intent.source}),
        )

    async def balance(self, token: str, account: str, *, reader: str) -> Amount:
        """A token balance; zero where the account has no trustline."""
        return await self._read(token, "balance", [scval.to_address(account)], reader)

    async def allowance(self, token: str, owner: str, spender: str, *, reader: str) -> Amount:
        """What `spender` may still draw from `owner`; zero where the allowance has ended."""
        return await self._read(token, "allowance", [scval.to_address(owner), scval.to_address(spender)], reader)

    async def _read(self, token: str, function: str, arguments: list[xdr.SCVal], reader: str) -> Amount:
        builder = TransactionBuilder(Account(reader, 0), self._network_passphrase)
        builder.add_time_bounds(0, 0)
        builder.append_invoke_contract_function_op(token, function, arguments)
        simulated = await self._rpc.simulate(builder.build().to_xdr())
        if simulated.error is not None or not simulated.result:
            if "Error(Contract, #13)" in (simulated.error or ""):
                return Amount(0)
            raise Unavailable(f"{function} of {token} cannot be read", code="ledger_unavailable")
        units = scval.from_int128(xdr.SCVal.from_xdr(simulated.result))
        return Amount(min(units, 2**63 - 1))
