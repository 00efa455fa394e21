"""Contracts and tokens on a network: uploaded, deployed, configured; each step only where it is missing.

Every step has a witness on the ledger (the code, the instance, the trustline, the allowance), is looked at before
and after, and is therefore safe to do again after a lost answer.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from stellar_sdk import Asset, Keypair, scval, xdr
from stellar_sdk.operation import ChangeTrust, ExtendFootprintTTL, InvokeHostFunction, Payment
from stellar_sdk.operation.operation import Operation

from adapters.stellar.entries import (
    Allowance,
    account_key,
    allowance_key,
    allowance_state,
    code_key,
    contract_address,
    deployed_contract_id,
    instance_key,
    trustline_key,
    trustline_state,
    wasm_hash_of,
)
from adapters.stellar.own_sequence import OwnSequence
from adapters.stellar.rpc import Rpc
from domain.errors import OutcomeUnknown, Refused, Unavailable
from domain.money import Amount

_TRIES_MAX: Final = 4
LIFE_LEDGERS_LEAST: Final = 14 * 17_280
"""A contract with less life than this (14 days of 5 s ledgers) is extended ..."""
LIFE_LEDGERS: Final = 30 * 17_280
"""... to this: 30 days."""
_LIVE_UNTIL_SLACK_LEDGERS: Final = 120
"""Below the greatest live-until: the ledger goes on while the transaction is on its way."""


@dataclass(frozen=True, slots=True)
class Holding:
    """What an account should hold of an asset: a trustline, and where `top_up_to` is set a balance.

    The issuer pays up to `top_up_to` when less than half of it is there.
    """

    account: Keypair
    asset: Asset
    top_up_to: Amount | None = None


class Deployment:
    """Sets one network up. Each source account is used by one caller at a time."""

    def __init__(self, rpc: Rpc, passphrase: str) -> None:
        self._rpc = rpc
        self._passphrase = passphrase

    # looks

    async def entry(self, key: xdr.LedgerKey) -> xdr.LedgerEntryData | None:
        """One ledger entry, None where it is not there."""
        found = (await self._rpc.ledger_entries([key])).by_key.get(key.to_xdr())
        return found.data if found is not None else None

    async def wasm_hash(self, contract: str) -> bytes | None:
        """The hash of the code that a contract runs; None where there is no such contract, or it is a token."""
        data = await self.entry(instance_key(contract))
        return wasm_hash_of(data) if data is not None else None

    async def allowance(self, token: str, owner: str, spender: str) -> Allowance | None:
        """What `spender` may draw from `owner`; None where it never was approved or has ended."""
        found = await self._rpc.ledger_entries([key := allowance_key(token, owner, spender)])
        entry = found.by_key.get(key.to_xdr())
        if entry is None:
            return None
        allowance = allowance_state(entry.data)
        return allowance if allowance.live_until >= found.ledger else None

    async def greatest_live_until(self) -> int:
        """The last ledger through which an entry that is written now may live."""
        key = xdr.LedgerKey(
            type=xdr.LedgerEntryType.CONFIG_SETTING,
            config_setting=xdr.LedgerKeyConfigSetting(
                config_setting_id=xdr.ConfigSettingID.CONFIG_SETTING_STATE_ARCHIVAL
            ),
        )
        found = await self._rpc.ledger_entries([key])
        entry = found.by_key.get(key.to_xdr())
        setting = entry.data.config_setting if entry is not None else None
        archival = setting.state_archival_settings if setting is not None else None
        if archival is None:
            raise Unavailable("the ledger does not give its state archival settings", code="ledger_unavailable")
        return found.ledger + archival.max_entry_ttl.uint32 - 1

    # steps

    async def upload(self, wasm: bytes, payer: Keypair) -> bytes:
        """Have this code on the ledger; gives its hash."""
        digest = sha256(wasm).digest()
        function = xdr.HostFunction(type=xdr.HostFunctionType.HOST_FUNCTION_TYPE_UPLOAD_CONTRACT_WASM, wasm=wasm)
        await self._ensure(
            lambda: self._there(code_key(digest)), lambda: self._land(payer, [InvokeHostFunction(function)])
        )
        return digest

    async def deploy(
        self, wasm_hash: bytes, deployer: Keypair, salt: bytes, arguments: Sequence[xdr.SCVal]
    ) -> str:
        """Have a contract of this deployer and salt (32 bytes) on the ledger; gives its id.

        The id depends on deployer, salt and network alone, so a second call finds the first one's contract.
        """
        contract = deployed_contract_id(deployer.public_key, salt, self._passphrase)
        preimage = xdr.ContractIDPreimage(
            type=xdr.ContractIDPreimageType.CONTRACT_ID_PREIMAGE_FROM_ADDRESS,
            from_address=xdr.ContractIDPreimageFromAddress(
                address=contract_address(deployer.public_key), salt=xdr.Uint256(salt)
            ),
        )
        executable = xdr.ContractExecutable(
            type=xdr.ContractExecutableType.CONTRACT_EXECUTABLE_WASM, wasm_hash=xdr.Hash(wasm_hash)
        )
        function = xdr.HostFunction(
            type=xdr.HostFunctionType.HOST_FUNCTION_TYPE_CREATE_CONTRACT_V2,
            create_contract_v2=xdr.CreateContractArgsV2(
                contract_id_preimage=preimage, executable=executable, constructor_args=list(arguments)
            ),
        )
        await self._ensure(
            lambda: self._there(instance_key(contract)),
            lambda: self._land(deployer, [InvokeHostFunction(function)]),
        )
        return contract

    async def token(self, asset: Asset, payer: Keypair) -> str:
        """Have the asset's Stellar Asset Contract on the ledger; gives its id."""
        contract = asset.contract_id(self._passphrase)
        function = xdr.HostFunction(
            type=xdr.HostFunctionType.HOST_FUNCTION_TYPE_CREATE_CONTRACT,
            create_contract=xdr.CreateContractArgs(
                contract_id_preimage=xdr.ContractIDPreimage(
                    type=xdr.ContractIDPreimageType.CONTRACT_ID_PREIMAGE_FROM_ASSET,
                    from_asset=asset.to_xdr_object(),
                ),
                executable=xdr.ContractExecutable(
                    type=xdr.ContractExecutableType.CONTRACT_EXECUTABLE_STELLAR_ASSET
                ),
            ),
        )
        await self._ensure(
            lambda: self._there(instance_key(contract)),
            lambda: self._land(payer, [InvokeHostFunction(function)]),
        )
        return contract

    async def upgrade(self, contract: str, wasm_hash: bytes, admin: Keypair) -> bool:
        """Have the contract run this code, on its administrator's word; True where it did not before."""

        async def runs() -> bool:
            return await self.wasm_hash(contract) == wasm_hash

        call = invocation(contract, "upgrade", scval.to_bytes(wasm_hash))
        return await self._ensure(runs, lambda: self._land(admin, [call]))

    async def call(
        self,
        contract: str,
        function: str,
        arguments: Sequence[xdr.SCVal],
        caller: Keypair,
        *,
        witness: Callable[[], Awaitable[bool]],
    ) -> bool:
        """Call until `witness` says that it is done; True where it was not before."""
        operation = invocation(contract, function, *arguments)
        return await self._ensure(witness, lambda: self._land(caller, [operation]))

    async def approve(self, token: str, owner: Keypair, spender: str, amount: Amount) -> bool:
        """Have an allowance of at least half of `amount`, for at least half of the longest time there is.

        Gives True where it was approved anew: for the whole amount, to nearly the greatest live-until.
        """
        until = await self.greatest_live_until() - _LIVE_UNTIL_SLACK_LEDGERS
        ledger = (await self._rpc.latest_ledger()).sequence

        async def enough() -> bool:
            allowance = await self.allowance(token, owner.public_key, spender)
            return (
                allowance is not None
                and allowance.amount_units * 2 >= amount.units
                and allowance.live_until - ledger >= (until - ledger) // 2
            )

        call = invocation(
            token,
            "approve",
            scval.to_address(owner.public_key),
            scval.to_address(spender),
            scval.to_int128(amount.units),
            scval.to_uint32(until),
        )
        return await self._ensure(enough, lambda: self._land(owner, [call]))

    async def hold(self, payer: Keypair, holdings: Sequence[Holding], issuers: Sequence[Keypair]) -> bool:
        """Have trustlines and balances as `holdings` say, in one transaction; True where something was missing.

        `issuers` are the keys of the issuers who top up; for play money only.
        """
        issuer_of = {issuer.public_key: issuer for issuer in issuers}
        missing: list[Operation] = []
        signers: dict[str, Keypair] = {}

        async def complete() -> bool:
            missing.clear()
            signers.clear()
            keys = [trustline_key(holding.account.public_key, holding.asset) for holding in holdings]
            found = (await self._rpc.ledger_entries(keys)).by_key
            for holding, key in zip(holdings, keys, strict=True):
                entry = found.get(key.to_xdr())
                if entry is None:
                    missing.append(ChangeTrust(holding.asset, source=holding.account.public_key))
                    signers[holding.account.public_key] = holding.account
                balance = trustline_state(entry.data).balance_units if entry is not None else 0
                if holding.top_up_to is None or balance * 2 >= holding.top_up_to.units:
                    continue
                issuer = issuer_of[str(holding.asset.issuer)]
                missing.append(
                    Payment(
                        holding.account.public_key,
                        holding.asset,
                        str(Amount(holding.top_up_to.units - balance)),
                        source=issuer.public_key,
                    )
                )
                signers[issuer.public_key] = issuer
            return not missing

        return await self._ensure(complete, lambda: self._land(payer, list(missing), list(signers.values())))

    async def life(self, keys: Sequence[xdr.LedgerKey]) -> int:
        """Ledgers that are left to the shortest-lived of these entries; negative where one is archived.

        Raises:
            Refused: `contract_missing`: one of them is not on the ledger.
        """
        found = await self._rpc.ledger_entries(list(keys))
        ends = [entry.live_until for entry in found.by_key.values() if entry.live_until is not None]
        if len(ends) < len(keys):
            raise Refused("a contract or its code is not on the ledger", code="contract_missing")
        return min(ends) - found.ledger

    async def keep_alive(self, contract: str, payer: Keypair) -> bool:
        """Extend a contract and its code where `LIFE_LEDGERS_LEAST` is not left; True where it did.

        Payments leave the code alone: its rent counts the parsed module, tens of XLM for a season.

        Raises:
            Refused: `contract_missing`, or the payer lacks XLM for the rent.
        """
        wasm_hash = await self.wasm_hash(contract)
        if wasm_hash is None:
            raise Refused(f"{contract} is not a contract with code", code="contract_missing")
        keys = [instance_key(contract), code_key(wasm_hash)]

        async def lives() -> bool:
            return await self.life(keys) >= LIFE_LEDGERS_LEAST

        async def extend() -> None:
            source = OwnSequence(self._rpc, payer, self._passphrase)
            await source.land([ExtendFootprintTTL(extend_to=LIFE_LEDGERS)], footprint=keys)

        return await self._ensure(lives, extend)

    async def exists(self, address: str) -> bool:
        """Whether an account is on the ledger."""
        return await self._there(account_key(address))

    # inside

    async def _there(self, key: xdr.LedgerKey) -> bool:
        return await self.entry(key) is not None

    async def _land(
        self, source: Keypair, operations: Sequence[Operation], signers: Sequence[Keypair] = ()
    ) -> None:
        await OwnSequence(self._rpc, source, self._passphrase).land(operations, signers=signers)

    async def _ensure(self, there: Callable[[], Awaitable[bool]], act: Callable[[], Awaitable[None]]) -> bool:
        """Act until the witness is there; True where it was not at first.

        Raises:
            Refused, Unavailable, OutcomeUnknown: of the last try, when the witness is still not there.
        """
        if await there():
            return False
        for tried in range(1, _TRIES_MAX + 1):
            try:
                await act()
            except (Refused, Unavailable, OutcomeUnknown) as error:
                # Another deployment may have been quicker, and a lost answer may have been a yes.
                if await there():
                    return True
                if tried == _TRIES_MAX or isinstance(error, Refused):
                    raise
            else:
                return True
        raise AssertionError("the last try either returned or raised")


def invocation(contract: str, function: str, *arguments: xdr.SCVal) -> InvokeHostFunction:
    """A contract call as an operation."""
    return InvokeHostFunction(
        xdr.HostFunction(
            type=xdr.HostFunctionType.HOST_FUNCTION_TYPE_INVOKE_CONTRACT,
            invoke_contract=xdr.InvokeContractArgs(
                contract_address=contract_address(contract),
                function_name=xdr.SCSymbol(function.encode()),
                args=list(arguments),
            ),
        )
    )
