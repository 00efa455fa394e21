"""What a payer's signer is asked to sign, read from the XDR alone: nothing that the server says of it is believed.

Pure: no network, no settings, no secrets. Whatever is not exactly one payout call of an expected contract is
refused, and the hash that is signed is the one computed here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Final, Literal

from stellar_sdk import Address, Asset, MuxedAccount, Network, StrKey, TransactionEnvelope, scval, xdr
from stellar_sdk.exceptions import SdkError

from domain.errors import Refused

PAYOUT_FUNCTION: Final = "distribute_winnings"
_DIGEST_DOMAIN: Final = b"holdfast-signing-batch-v1\n"


@dataclass(frozen=True, slots=True)
class Payee:
    """Who receives how much, in the token's smallest units (10⁻⁷ of a classic asset)."""

    address: str
    units: int


@dataclass(frozen=True, slots=True)
class PayoutCall:
    """One call of a payout contract: under which id (hex), and who receives how much of which token."""

    contract: str
    function: str
    marker_id: str
    token: str
    payees: tuple[Payee, ...]

    @property
    def total_units(self) -> int:
        """What all receive together."""
        return sum(payee.units for payee in self.payees)


@dataclass(frozen=True, slots=True)
class Signable:
    """One payout as its XDR says it; signing `hash` agrees to exactly this.

    An envelope names its lane, sequence, greatest fee (stroops, never the payer's to pay) and last second by
    ledger close time; an authorization entry its nonce and last ledger.
    """

    kind: Literal["envelope", "auth_entry"]
    hash: bytes
    network_passphrase: str
    call: PayoutCall
    payer: str
    lane: str | None = None
    sequence: int | None = None
    fee_max_stroops: int | None = None
    until: datetime | None = None
    nonce: int | None = None
    until_ledger: int | None = None


@dataclass(frozen=True, slots=True)
class Expected:
    """What this signer signs for, from its own configuration.

    `payers` empty means any payer. `assets` maps a token's contract id to how it is called; see `known_assets`.
    """

    network_passphrase: str
    contracts: frozenset[str]
    payers: frozenset[str] = frozenset()
    functions: frozenset[str] = frozenset({PAYOUT_FUNCTION})
    assets: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


def known_assets(names: Iterable[str], network_passphrase: str) -> Mapping[str, str]:
    """Contract ids of XLM and of the assets named as CODE:ISSUER, computed and not asked for.

    Raises:
        Refused: a name is not CODE:ISSUER.
    """
    known = {Asset.native().contract_id(network_passphrase): "XLM"}
    for name in names:
        code, _, issuer = name.partition(":")
        try:
            known[Asset(code, issuer).contract_id(network_passphrase)] = name
        except (SdkError, ValueError) as error:
            raise Refused(f"{name!r} is not an asset: CODE:ISSUER is") from error
    return MappingProxyType(known)


def batch_digest(hashes: Iterable[bytes]) -> str:
    """One digest (hex) over all that is signed together, whatever the order: the same on every screen."""
    return hashlib.sha256(_DIGEST_DOMAIN + b"".join(sorted(hashes))).hexdigest()


def decode_envelope(unsigned_xdr: str, expected: Expected) -> Signable:
    """Read a transaction envelope (base64 XDR).

    Raises:
        Refused: it is not exactly one payout call, by another account than the transaction's source, with an end.
    """
    try:
        parsed = xdr.TransactionEnvelope.from_xdr(unsigned_xdr)
        canonical = parsed.to_xdr() == unsigned_xdr
    except Exception as error:  # the SDK raises whatever the bytes provoke
        raise Refused("the transaction's XDR cannot be read") from error
    if not canonical:
        raise Refused("the transaction's XDR holds more than a transaction")
    if parsed.v1 is None:
        raise Refused(f"not a plain transaction: {parsed.type.name}")
    transaction = parsed.v1.tx
    if len(transaction.operations) != 1:
        raise Refused(f"the transaction holds {len(transaction.operations)} operations, not one")
    if transaction.memo.type is not xdr.MemoType.MEMO_NONE:
        raise Refused("the transaction has a memo, which a payout has not")
    if transaction.ext.soroban_data is None:
        raise Refused("the transaction is no complete contract call: it has no Soroban data")
    (operation,) = transaction.operations
    lane = _account(transaction.source_account)
    payer = _account(operation.source_account) if operation.source_account is not None else lane
    if payer == lane:
        raise Refused(
            f"the payer {payer} is the transaction's own source: its signature alone would let it land, and the "
            "lane could not sign last"
        )
    call = operation.body.invoke_host_function_op
    if call is None:
        raise Refused(f"the operation is {operation.body.type.name}, not a contract call")
    contract_call = call.host_function.invoke_contract
    if contract_call is None:
        raise Refused(f"not a call of a contract's function: {call.host_function.type.name}")
    _check_own_authorization(call.auth, contract_call)
    until = _end(transaction.cond)
    return _checked(
        Signable(
            kind="envelope",
            hash=TransactionEnvelope.from_xdr(unsigned_xdr, expected.network_passphrase).hash(),
            network_passphrase=expected.network_passphrase,
            payer=payer,
            lane=lane,
            sequence=transaction.seq_num.sequence_number.int64,
            fee_max_stroops=transaction.fee.uint32,
            until=until,
            call=_payout(contract_call),
        ),
        expected,
    )


def decode_entry(preimage_xdr: str, entry_xdr: str, expected: Expected) -> Signable:
    """Read an authorization entry and its preimage, whose sha256 is what is signed (both base64 XDR).

    Raises:
        Refused: it is not exactly one payout call, the two disagree, or they are of another network.
    """
    try:
        preimage = xdr.HashIDPreimage.from_xdr(preimage_xdr)
        entry = xdr.SorobanAuthorizationEntry.from_xdr(entry_xdr)
        canonical = preimage.to_xdr() == preimage_xdr and entry.to_xdr() == entry_xdr
    except Exception as error:  # the SDK raises whatever the bytes provoke
        raise Refused("the authorization's XDR cannot be read") from error
    if not canonical:
        raise Refused("the authorization's XDR holds more than an authorization")
    authorized = preimage.soroban_authorization
    if authorized is None:
        raise Refused(f"not a contract authorization: {preimage.type.name}")
    if authorized.network_id.hash != Network(expected.network_passphrase).network_id():
        raise Refused(f"it is for another network than {expected.network_passphrase!r}")
    credentials = entry.credentials.address
    if credentials is None:
        raise Refused(f"not an account's authorization: {entry.credentials.type.name}")
    same = (
        credentials.nonce == authorized.nonce
        and credentials.signature_expiration_ledger == authorized.signature_expiration_ledger
        and entry.root_invocation.to_xdr() == authorized.invocation.to_xdr()
    )
    if not same:
        raise Refused("the authorization entry and what is to be signed for it are not the same")
    invocation = authorized.invocation
    if invocation.sub_invocations:
        raise Refused(f"it authorizes {len(invocation.sub_invocations)} further calls beneath the payout")
    if invocation.function.contract_fn is None:
        raise Refused("it authorizes the making of a contract, not a payout")
    payer = Address.from_xdr_sc_address(credentials.address).address
    return _checked(
        Signable(
            kind="auth_entry",
            hash=hashlib.sha256(preimage.to_xdr_bytes()).digest(),
            network_passphrase=expected.network_passphrase,
            payer=payer,
            nonce=authorized.nonce.int64,
            until_ledger=authorized.signature_expiration_ledger.uint32,
            call=_payout(invocation.function.contract_fn),
        ),
        expected,
    )


def _checked(signable: Signable, expected: Expected) -> Signable:
    call = signable.call
    if call.contract not in expected.contracts:
        raise Refused(f"it calls the contract {call.contract}, which is none that is signed for")
    if call.function not in expected.functions:
        raise Refused(f"it calls {call.function}, not {' or '.join(sorted(expected.functions))}")
    if expected.payers and signable.payer not in expected.payers:
        raise Refused(f"it pays as {signable.payer}, which is none that is signed for")
    return signable


def _account(source: xdr.MuxedAccount) -> str:
    return MuxedAccount.from_xdr_object(source).account_id


def _end(conditions: xdr.Preconditions) -> datetime:
    bounds = conditions.time_bounds
    if conditions.type is not xdr.PreconditionType.PRECOND_TIME or bounds is None:
        raise Refused("the transaction has no end, or conditions beside its end")
    if bounds.min_time.time_point.uint64:
        raise Refused("the transaction is not valid yet: it has a beginning")
    seconds = bounds.max_time.time_point.uint64
    try:
        end = datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise Refused("the transaction has no end within this calendar") from error
    if not seconds:
        raise Refused("the transaction has no end: it could land years from now")
    return end


def _check_own_authorization(entries: list[xdr.SorobanAuthorizationEntry], call: xdr.InvokeContractArgs) -> None:
    """The payer's signature covers every entry by source account: there must be one, for this call alone."""
    if len(entries) != 1:
        raise Refused(f"the call carries {len(entries)} authorizations, not one")
    (entry,) = entries
    if entry.credentials.type is not xdr.SorobanCredentialsType.SOROBAN_CREDENTIALS_SOURCE_ACCOUNT:
        raise Refused("the call's authorization is not the payer's own")
    root = entry.root_invocation
    if root.sub_invocations:
        raise Refused(f"it authorizes {len(root.sub_invocations)} further calls beneath the payout")
    if root.function.contract_fn is None or root.function.contract_fn.to_xdr() != call.to_xdr():
        raise Refused("it authorizes another call than the one that it makes")


def _payout(call: xdr.InvokeContractArgs) -> PayoutCall:
    """The payout in a call's arguments: marker, token, and who receives how much."""
    name = call.function_name.sc_symbol.decode(errors="replace")
    contract = Address.from_xdr_sc_address(call.contract_address).address
    try:
        marker, token, recipients = call.args
        found = PayoutCall(
            contract=contract,
            function=name,
            marker_id=scval.from_bytes(marker).hex(),
            token=scval.from_address(token).address,
            payees=tuple(_payee(recipient) for recipient in scval.from_vec(recipients)),
        )
    except (SdkError, ValueError, TypeError, AttributeError) as error:
        raise Refused(f"the arguments of {name} on {contract} are not those of a payout") from error
    if len(found.marker_id) != 64 or not StrKey.is_valid_contract(found.token):
        raise Refused(f"the arguments of {name} on {contract} are not those of a payout")
    if not found.payees or any(payee.units <= 0 for payee in found.payees):
        raise Refused("it pays nobody, or an amount that is not above zero")
    return found


def _payee(recipient: xdr.SCVal) -> Payee:
    address, units = scval.from_vec(recipient)
    return Payee(scval.from_address(address).address, scval.from_int128(units))
