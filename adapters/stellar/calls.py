"""Intents as Soroban values: the call, the authorization tree that we sign, and the marker's ledger key."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from stellar_sdk import scval, xdr

from adapters.stellar.entries import contract_address, contract_data_key
from domain.settlement import Argument, Intent, Invocation

_SCALARS: Final[Mapping[str, Callable[[str], xdr.SCVal]]] = {
    "symbol": scval.to_symbol,
    "string": scval.to_string,
    "address": lambda value: xdr.SCVal(xdr.SCValType.SCV_ADDRESS, address=contract_address(value)),
    "u32": lambda value: scval.to_uint32(int(value)),
    "u64": lambda value: scval.to_uint64(int(value)),
    "i128": lambda value: scval.to_int128(int(value)),
    "bool": lambda value: scval.to_bool(value == "true"),
    "bytes": lambda value: scval.to_bytes(bytes.fromhex(value)),
}


def to_scval(argument: Argument) -> xdr.SCVal:
    """One argument as a Soroban value."""
    if argument.type == "vec":
        return scval.to_vec([to_scval(item) for item in argument.items])
    if argument.type == "option":
        return to_scval(argument.items[0]) if argument.items else scval.to_void()
    return _SCALARS[argument.type](argument.value)


def to_invoke_args(call: Invocation) -> xdr.InvokeContractArgs:
    """The call itself, without the calls below it."""
    return xdr.InvokeContractArgs(
        contract_address=contract_address(call.contract),
        function_name=xdr.SCSymbol(call.function.encode()),
        args=[to_scval(argument) for argument in call.arguments],
    )


def to_authorized(call: Invocation) -> xdr.SorobanAuthorizedInvocation:
    """The call with the calls below it, as the payer authorizes them."""
    return xdr.SorobanAuthorizedInvocation(
        function=xdr.SorobanAuthorizedFunction(
            type=xdr.SorobanAuthorizedFunctionType.SOROBAN_AUTHORIZED_FUNCTION_TYPE_CONTRACT_FN,
            contract_fn=to_invoke_args(call),
        ),
        sub_invocations=[to_authorized(below) for below in call.calls],
    )


def authorization(intent: Intent) -> xdr.SorobanAuthorizationEntry:
    """The one authorization that the payer gives, as the operation's source: our tree, to the last argument."""
    return xdr.SorobanAuthorizationEntry(
        credentials=xdr.SorobanCredentials(
            type=xdr.SorobanCredentialsType.SOROBAN_CREDENTIALS_SOURCE_ACCOUNT,
        ),
        root_invocation=to_authorized(intent.invocation),
    )


def marker_key(contract: str, marker_id: str) -> xdr.LedgerKey:
    """Where a contract keeps the marker of an id: persistent data under `Vec[Symbol("Marker"), Bytes(id)]`."""
    key = scval.to_vec([scval.to_symbol("Marker"), scval.to_bytes(bytes.fromhex(marker_id))])
    return contract_data_key(contract, key)


def map_fields(value: xdr.SCVal) -> dict[str, xdr.SCVal]:
    """The fields of a contract's struct by name; empty for any other value."""
    if value.map is None:
        return {}
    return {entry.key.sym.sc_symbol.decode(): entry.val for entry in value.map.sc_map if entry.key.sym is not None}
