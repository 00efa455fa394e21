"""Payouts as a signer is shown them, made here by the SDK and by nothing of ours."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from typing import Any

from stellar_sdk import (
    Account,
    Asset,
    Keypair,
    Network,
    SorobanDataBuilder,
    StrKey,
    TransactionBuilder,
    TransactionEnvelope,
    scval,
    xdr,
)

PASSPHRASE = "Standalone Network ; February 2017"
PAYER, LANE = Keypair.random(), Keypair.random()
ALICE, BOB = Keypair.random().public_key, Keypair.random().public_key
CONTRACT = StrKey.encode_contract(bytes([7]) * 32)
USDC = Asset("USDC", Keypair.random().public_key)
TOKEN = USDC.contract_id(PASSPHRASE)
MARKER = "ab" * 32
MAX_TIME = 2_000_000_000


def arguments(*payees: tuple[str, int], token: str = TOKEN, marker: str = MARKER) -> list[xdr.SCVal]:
    vectors = [scval.to_vec([scval.to_address(address), scval.to_int128(units)]) for address, units in payees]
    return [scval.to_bytes(bytes.fromhex(marker)), scval.to_address(token), scval.to_vec(vectors)]


def call(
    given: list[xdr.SCVal], *, contract: str = CONTRACT, function: str = "distribute_winnings"
) -> xdr.InvokeContractArgs:
    address = scval.to_address(contract).address
    assert address is not None
    return xdr.InvokeContractArgs(address, xdr.SCSymbol(function.encode()), given)


def invocation(
    of: xdr.InvokeContractArgs, *below: xdr.SorobanAuthorizedInvocation
) -> xdr.SorobanAuthorizedInvocation:
    function = xdr.SorobanAuthorizedFunction(
        xdr.SorobanAuthorizedFunctionType.SOROBAN_AUTHORIZED_FUNCTION_TYPE_CONTRACT_FN, contract_fn=of
    )
    return xdr.SorobanAuthorizedInvocation(function, list(below))


def by_source(root: xdr.SorobanAuthorizedInvocation) -> xdr.SorobanAuthorizationEntry:
    kind = xdr.SorobanCredentialsType.SOROBAN_CREDENTIALS_SOURCE_ACCOUNT
    return xdr.SorobanAuthorizationEntry(xdr.SorobanCredentials(kind), root)


THEFT = invocation(call(arguments((BOB, 1)), contract=TOKEN, function="transfer"))


def envelope(
    given: list[xdr.SCVal] | None = None,
    *,
    contract: str = CONTRACT,
    function: str = "distribute_winnings",
    auth: list[xdr.SorobanAuthorizationEntry] | None = None,
    source: str = LANE.public_key,
    payer: str | None = PAYER.public_key,
    max_time: int | None = MAX_TIME,
    change: Callable[[TransactionBuilder], Any] = lambda builder: None,
) -> str:
    """The unsigned XDR of a payout, or of what pretends to be one."""
    given = arguments((ALICE, 1_005_000_000)) if given is None else given
    builder = TransactionBuilder(Account(source, 41), PASSPHRASE, base_fee=100)
    if max_time is not None:
        builder.add_time_bounds(0, max_time)
    if auth is None:
        auth = [by_source(invocation(call(given, contract=contract, function=function)))]
    builder.append_invoke_contract_function_op(contract, function, given, auth=auth, source=payer)
    builder.set_soroban_data(SorobanDataBuilder().set_resource_fee(90_000).build())
    change(builder)
    built = builder.build()
    built.transaction.fee = 90_100
    return built.to_xdr()


def entry(
    root: xdr.SorobanAuthorizedInvocation | None = None,
    *,
    passphrase: str = PASSPHRASE,
    payer: str = PAYER.public_key,
    nonce: int = 5,
    until_ledger: int = 900,
) -> tuple[str, str]:
    """The preimage and the entry of an authorization (base64 XDR)."""
    root = root or invocation(call(arguments((ALICE, 1_005_000_000))))
    address = scval.to_address(payer).address
    assert address is not None
    credentials = xdr.SorobanCredentials(
        xdr.SorobanCredentialsType.SOROBAN_CREDENTIALS_ADDRESS,
        address=xdr.SorobanAddressCredentials(
            address, xdr.Int64(nonce), xdr.Uint32(until_ledger), scval.to_void()
        ),
    )
    preimage = xdr.HashIDPreimage(
        xdr.EnvelopeType.ENVELOPE_TYPE_SOROBAN_AUTHORIZATION,
        soroban_authorization=xdr.HashIDPreimageSorobanAuthorization(
            xdr.Hash(Network(passphrase).network_id()), xdr.Int64(nonce), xdr.Uint32(until_ledger), root
        ),
    )
    return preimage.to_xdr(), xdr.SorobanAuthorizationEntry(credentials, root).to_xdr()


def hash_of(unsigned_xdr: str, passphrase: str = PASSPHRASE) -> bytes:
    """By the protocol's own words: sha256(network id ‖ envelope type ‖ transaction)."""
    parsed = TransactionEnvelope.from_xdr(unsigned_xdr, passphrase)
    body = parsed.to_xdr_object().v1
    assert body is not None
    tagged = (2).to_bytes(4, "big") + body.tx.to_xdr_bytes()
    return sha256(sha256(passphrase.encode()).digest() + tagged).digest()
