"""Ledger keys and what their entries say: accounts, trustlines, contracts, code, and a contract's own data."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import Final

from stellar_sdk import Asset, Keypair, StrKey, scval, xdr
from stellar_sdk.xdr.sc_address import SCAddress

RESERVE_UNITS: Final = 5_000_000
"""The public network's base reserve: 0.5 XLM for each entry, and two for an account itself."""


def account_key(address: str) -> xdr.LedgerKey:
    """The key of an account's entry."""
    return xdr.LedgerKey(
        type=xdr.LedgerEntryType.ACCOUNT,
        account=xdr.LedgerKeyAccount(Keypair.from_public_key(address).xdr_account_id()),
    )


def trustline_key(address: str, asset: Asset) -> xdr.LedgerKey:
    """The key of an account's trustline for an asset."""
    return xdr.LedgerKey(
        type=xdr.LedgerEntryType.TRUSTLINE,
        trust_line=xdr.LedgerKeyTrustLine(
            account_id=Keypair.from_public_key(address).xdr_account_id(),
            asset=asset.to_trust_line_asset_xdr_object(),
        ),
    )


@lru_cache(maxsize=4096)
def contract_address(contract: str) -> SCAddress:
    """A contract or account as Soroban writes it; kept, since a payment names the same few over and over."""
    address = scval.to_address(contract).address
    if address is None:
        raise AssertionError("an address value without an address")
    return address


def contract_data_key(contract: str, key: xdr.SCVal, *, temporary: bool = False) -> xdr.LedgerKey:
    """The key of one entry of a contract's data."""
    durability = xdr.ContractDataDurability.TEMPORARY if temporary else xdr.ContractDataDurability.PERSISTENT
    return xdr.LedgerKey(
        type=xdr.LedgerEntryType.CONTRACT_DATA,
        contract_data=xdr.LedgerKeyContractData(
            contract=contract_address(contract), key=key, durability=durability
        ),
    )


def instance_key(contract: str) -> xdr.LedgerKey:
    """The key of a contract's instance, which names its code."""
    return contract_data_key(contract, xdr.SCVal(type=xdr.SCValType.SCV_LEDGER_KEY_CONTRACT_INSTANCE))


def code_key(wasm_hash: bytes) -> xdr.LedgerKey:
    """The key of uploaded code."""
    return xdr.LedgerKey(
        type=xdr.LedgerEntryType.CONTRACT_CODE, contract_code=xdr.LedgerKeyContractCode(hash=xdr.Hash(wasm_hash))
    )


def allowance_key(token: str, owner: str, spender: str) -> xdr.LedgerKey:
    """The key of a Stellar Asset Contract's allowance: temporary data under `Allowance{from, spender}`."""
    parties = scval.to_struct({"from": scval.to_address(owner), "spender": scval.to_address(spender)})
    return contract_data_key(token, scval.to_vec([scval.to_symbol("Allowance"), parties]), temporary=True)


@dataclass(frozen=True, slots=True)
class AccountState:
    """An account: what is left for fees and reserves is `spendable_units` (stroops)."""

    sequence: int
    balance_units: int
    home_domain: str
    reserved_units: int

    @property
    def spendable_units(self) -> int:
        """The balance above the reserve, in stroops."""
        return max(0, self.balance_units - self.reserved_units)


def account_state(data: xdr.LedgerEntryData) -> AccountState:
    """Read an account's entry."""
    entry = data.account
    if entry is None:
        raise AssertionError("an account's key gave another kind of entry")
    sponsoring = sponsored = 0
    v1 = entry.ext.v1
    if v1 is not None and v1.ext.v2 is not None:
        sponsoring, sponsored = v1.ext.v2.num_sponsoring.uint32, v1.ext.v2.num_sponsored.uint32
    selling = v1.liabilities.selling.int64 if v1 is not None else 0
    entries = 2 + entry.num_sub_entries.uint32 + sponsoring - sponsored
    return AccountState(
        sequence=entry.seq_num.sequence_number.int64,
        balance_units=entry.balance.int64,
        home_domain=entry.home_domain.string32.decode(errors="replace"),
        reserved_units=entries * RESERVE_UNITS + selling,
    )


@dataclass(frozen=True, slots=True)
class TrustlineState:
    """A trustline, in units of 10⁻⁷ of its asset."""

    balance_units: int
    limit_units: int
    authorized: bool


def trustline_state(data: xdr.LedgerEntryData) -> TrustlineState:
    """Read a trustline's entry."""
    entry = data.trust_line
    if entry is None:
        raise AssertionError("a trustline's key gave another kind of entry")
    authorized = bool(entry.flags.uint32 & xdr.TrustLineFlags.AUTHORIZED_FLAG)
    return TrustlineState(entry.balance.int64, entry.limit.int64, authorized)


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a spender may draw, in units of 10⁻⁷, and the last ledger on which it may."""

    amount_units: int
    live_until: int


def allowance_state(data: xdr.LedgerEntryData) -> Allowance:
    """Read an allowance of a Stellar Asset Contract."""
    if data.contract_data is None:
        raise AssertionError("an allowance's key gave another kind of entry")
    fields = scval.from_struct(data.contract_data.val)
    return Allowance(scval.from_int128(fields["amount"]), scval.from_uint32(fields["live_until_ledger"]))


def instance_of(data: xdr.LedgerEntryData) -> xdr.SCContractInstance:
    """Read a contract's instance entry."""
    if data.contract_data is None or data.contract_data.val.instance is None:
        raise AssertionError("an instance's key gave another kind of entry")
    return data.contract_data.val.instance


def wasm_hash_of(data: xdr.LedgerEntryData) -> bytes | None:
    """The hash of a contract's code; None for a Stellar Asset Contract."""
    wasm = instance_of(data).executable.wasm_hash
    return wasm.hash if wasm is not None else None


def asset_of(data: xdr.LedgerEntryData) -> Asset | None:
    """The asset of a Stellar Asset Contract's instance; None for any other contract, and for native XLM."""
    if wasm_hash_of(data) is not None:
        return None
    storage = instance_of(data).storage
    for entry in storage.sc_map if storage is not None else ():
        if entry.key.sym is not None and entry.key.sym.sc_symbol == b"METADATA":
            name = scval.from_struct(entry.val).get("name")
            code, _, issuer = (scval.from_string(name).decode() if name is not None else "").partition(":")
            return Asset(code, issuer) if issuer else None
    return None


def deployed_contract_id(deployer: str, salt: bytes, passphrase: str) -> str:
    """The id that a contract gets when `deployer` deploys it with `salt` (CAP-46-02): known beforehand."""
    preimage = xdr.HashIDPreimage(
        type=xdr.EnvelopeType.ENVELOPE_TYPE_CONTRACT_ID,
        contract_id=xdr.HashIDPreimageContractID(
            network_id=xdr.Hash(sha256(passphrase.encode()).digest()),
            contract_id_preimage=xdr.ContractIDPreimage(
                type=xdr.ContractIDPreimageType.CONTRACT_ID_PREIMAGE_FROM_ADDRESS,
                from_address=xdr.ContractIDPreimageFromAddress(
                    address=contract_address(deployer), salt=xdr.Uint256(salt)
                ),
            ),
        ),
    )
    return StrKey.encode_contract(sha256(preimage.to_xdr_bytes()).digest())
