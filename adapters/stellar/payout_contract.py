"""The payout contract: what it says of itself, and how it is set up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from stellar_sdk import Account, Address, Keypair, StrKey, TransactionBuilder, scval, xdr

from adapters.stellar.calls import map_fields
from adapters.stellar.contract_errors import explain
from adapters.stellar.deployment import Deployment
from adapters.stellar.figures import Figures
from adapters.stellar.rpc import Rpc
from domain.errors import Unavailable
from domain.money import Amount

NOBODY: Final = StrKey.encode_ed25519_public_key(bytes(32))
"""The source of simulations: they sign nothing, and any account serves."""
_UNITS_MAX: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Caps:
    """How much of a token one call, and one day (UTC), may move."""

    per_call: Amount
    per_day: Amount


@dataclass(frozen=True, slots=True)
class PayoutConfig:
    """What the contract has been told by its administrator."""

    admin: str
    executor: str
    paused: bool
    tokens: Mapping[str, Caps]
    """The allowed tokens, by contract id."""


@dataclass(frozen=True, slots=True)
class TokenState:
    """An allowed token: its caps, what the contract holds and what it moved since midnight UTC."""

    caps: Caps
    balance: Amount
    moved_today: Amount


class PayoutContract:
    """Reads one payout contract by simulation, which needs no signature and costs nothing."""

    def __init__(self, rpc: Rpc, network_passphrase: str, contract: str) -> None:
        self._rpc = rpc
        self._network_passphrase = network_passphrase
        self._contract = contract

    async def config(self) -> PayoutConfig:
        """Everything that is configured.

        Raises:
            Refused: `contract_missing` or `contract_refused`: the contract is not there, or it is another one.
            Unavailable: the ledger does not answer.
        """
        fields = map_fields(await self._read("get_config"))
        return PayoutConfig(
            admin=Address.from_xdr_sc_val(fields["admin"]).address,
            executor=Address.from_xdr_sc_val(fields["executor"]).address,
            paused=scval.from_bool(fields["paused"]),
            tokens={
                Address.from_xdr_sc_val(entry.key).address: _caps(map_fields(entry.val))
                for entry in (fields["tokens"].map.sc_map if fields["tokens"].map is not None else ())
            },
        )

    async def token(self, token: str) -> TokenState | None:
        """One token's state; None where it is not allowed.

        Raises:
            Refused, Unavailable: as `config`.
        """
        answer = await self._read("get_token", scval.to_address(token))
        if answer.type is xdr.SCValType.SCV_VOID:
            return None
        fields = map_fields(answer)
        return TokenState(_caps(fields), _amount(fields["balance"]), _amount(fields["moved_today"]))

    async def _read(self, function: str, *arguments: xdr.SCVal) -> xdr.SCVal:
        builder = TransactionBuilder(Account(NOBODY, 0), self._network_passphrase)
        builder.add_time_bounds(0, 0)
        builder.append_invoke_contract_function_op(self._contract, function, list(arguments))
        simulated = await self._rpc.simulate(builder.build().to_xdr())
        if simulated.error is not None:
            raise explain(simulated.error)
        if not simulated.result:
            raise Unavailable(f"{function} of {self._contract} cannot be read", code="ledger_unavailable")
        return xdr.SCVal.from_xdr(simulated.result)


class PayoutSetup:
    """Sets a payout contract up; each step only where its witness on the ledger is missing."""

    def __init__(self, rpc: Rpc, network_passphrase: str) -> None:
        self._rpc = rpc
        self._network_passphrase = network_passphrase
        self._deployment = Deployment(rpc, network_passphrase)

    async def deploy(self, wasm_hash: bytes, deployer: Keypair, salt: bytes, *, admin: str, executor: str) -> str:
        """Have the contract on the ledger; gives its id, which follows from deployer, salt and network."""
        arguments = [scval.to_address(admin), scval.to_address(executor)]
        return await self._deployment.deploy(wasm_hash, deployer, salt, arguments)

    async def configure(
        self, contract: str, admin: Keypair, *, executor: str, tokens: Mapping[str, Caps]
    ) -> tuple[str, ...]:
        """Have this executor, and these tokens allowed with these caps; gives what was called.

        Tokens that are allowed beside these are left alone.

        Raises:
            Refused, Unavailable, OutcomeUnknown: of the step that went wrong; again goes on from there.
        """
        reader = PayoutContract(self._rpc, self._network_passphrase, contract)
        config = await reader.config()
        called: list[str] = []
        if config.executor != executor:

            async def named() -> bool:
                return (await reader.config()).executor == executor

            arguments = [scval.to_address(executor)]
            await self._deployment.call(contract, "set_executor", arguments, admin, witness=named)
            called.append("set_executor")
        for token, caps in tokens.items():
            if config.tokens.get(token) == caps:
                continue

            async def allowed(token: str = token, caps: Caps = caps) -> bool:
                return (await reader.config()).tokens.get(token) == caps

            arguments = [
                scval.to_address(token),
                scval.to_int128(caps.per_call.units),
                scval.to_int128(caps.per_day.units),
            ]
            await self._deployment.call(contract, "set_token", arguments, admin, witness=allowed)
            called.append("set_token")
        return tuple(called)

    async def lacks(self, contract: str, token: str, up_to: Amount) -> Amount:
        """What `contract` lacks of `up_to`; zero where it holds half of it or more."""
        held = await Figures(self._rpc, self._network_passphrase).balance(token, contract, reader=NOBODY)
        return Amount(0) if held.units * 2 >= up_to.units else Amount(up_to.units - held.units)

    async def top_up(self, contract: str, token: str, payer: Keypair, up_to: Amount) -> bool:
        """Have at least half of `up_to` of the token in the contract, paid by `payer`; True where it was not.

        A plain transfer: it needs the token alone, allowed already or not.
        """
        missing = await self.lacks(contract, token, up_to)
        if not missing.units:
            return False

        async def enough() -> bool:
            return not (await self.lacks(contract, token, up_to)).units

        arguments = [
            scval.to_address(payer.public_key),
            scval.to_address(contract),
            scval.to_int128(missing.units),
        ]
        return await self._deployment.call(token, "transfer", arguments, payer, witness=enough)


def _caps(fields: Mapping[str, xdr.SCVal]) -> Caps:
    return Caps(_amount(fields["per_call"]), _amount(fields["per_day"]))


def _amount(value: xdr.SCVal) -> Amount:
    """An amount; one beyond what an asset can have (a contract's own token) is told as the greatest."""
    return Amount(min(scval.from_int128(value), _UNITS_MAX))
