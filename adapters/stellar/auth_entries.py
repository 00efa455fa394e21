"""Authorization entries: what the payer signs where it is not the envelope. No I/O.

An entry authorizes one call tree once: it has a nonce of its own and a last ledger. It says nothing of sequence,
footprint or fees, so those are made fresh when the signature is there.
"""

from __future__ import annotations

import hashlib
import secrets
from base64 import b64encode
from collections.abc import Mapping
from typing import Final

from stellar_sdk import Network, StrKey, scval, xdr
from stellar_sdk.auth import build_authorization_preimage

from adapters.stellar.calls import to_authorized
from adapters.stellar.entries import contract_address
from domain.settlement import Intent

_NONCE_BITS: Final = 63


def new_entry(intent: Intent, expires_ledger: int) -> xdr.SorobanAuthorizationEntry:
    """The payer's authorization of our tree, to the last argument, unsigned; valid through `expires_ledger`."""
    return xdr.SorobanAuthorizationEntry(
        credentials=xdr.SorobanCredentials(
            type=xdr.SorobanCredentialsType.SOROBAN_CREDENTIALS_ADDRESS,
            address=xdr.SorobanAddressCredentials(
                address=contract_address(intent.payer),
                nonce=xdr.Int64(secrets.randbits(_NONCE_BITS)),
                signature_expiration_ledger=xdr.Uint32(expires_ledger),
                signature=scval.to_void(),
            ),
        ),
        root_invocation=to_authorized(intent.invocation),
    )


def preimage_of(entry: xdr.SorobanAuthorizationEntry, network_passphrase: str) -> xdr.HashIDPreimage:
    """What is hashed and signed for an entry."""
    return build_authorization_preimage(
        entry, _credentials(entry).signature_expiration_ledger.uint32, network_passphrase
    )


def hash_of(preimage: xdr.HashIDPreimage) -> bytes:
    """The 32 bytes that are signed."""
    return hashlib.sha256(preimage.to_xdr_bytes()).digest()


def hash_on(preimage_xdr: str, network_passphrase: str) -> bytes:
    """What a signer who is set to another network signs for the same preimage."""
    preimage = xdr.HashIDPreimage.from_xdr(preimage_xdr)
    if preimage.soroban_authorization is None:
        raise AssertionError("a request for an entry without its preimage")
    preimage.soroban_authorization.network_id = xdr.Hash(Network(network_passphrase).network_id())
    return hash_of(preimage)


def signed(entry_xdr: str, signatures: Mapping[str, bytes]) -> str:
    """The entry with signatures by signer: the host wants them sorted by public key, each once."""
    entry = xdr.SorobanAuthorizationEntry.from_xdr(entry_xdr)
    by_key = sorted((StrKey.decode_ed25519_public_key(signer), value) for signer, value in signatures.items())
    _credentials(entry).signature = scval.to_vec(
        [
            scval.to_struct({"public_key": scval.to_bytes(key), "signature": scval.to_bytes(value)})
            for key, value in by_key
        ]
    )
    return entry.to_xdr()


def signatures_in(entry: xdr.SorobanAuthorizationEntry) -> tuple[tuple[str, str], ...]:
    """The signatures that an entry carries: signer and base64 signature.

    Raises:
        ValueError: they are not a classic account's.
    """
    found = []
    for element in scval.from_vec(_credentials(entry).signature):
        fields = scval.from_struct(element)
        key, value = scval.from_bytes(fields["public_key"]), scval.from_bytes(fields["signature"])
        found.append((StrKey.encode_ed25519_public_key(key), b64encode(value).decode()))
    return tuple(found)


def without_signatures(entry: xdr.SorobanAuthorizationEntry) -> str:
    """The entry as it was before it was signed (base64 XDR); None of its other parts changes."""
    bare = xdr.SorobanAuthorizationEntry.from_xdr_bytes(entry.to_xdr_bytes())
    _credentials(bare).signature = scval.to_void()
    return bare.to_xdr()


def is_ours(recorded: str, intent: Intent) -> bool:
    """Whether a simulation's recorded entry (base64 XDR) asks the payer for exactly our tree."""
    entry = xdr.SorobanAuthorizationEntry.from_xdr(recorded)
    credentials = entry.credentials.address
    return (
        credentials is not None
        and credentials.address.to_xdr() == contract_address(intent.payer).to_xdr()
        and entry.root_invocation.to_xdr() == to_authorized(intent.invocation).to_xdr()
    )


def _credentials(entry: xdr.SorobanAuthorizationEntry) -> xdr.SorobanAddressCredentials:
    if entry.credentials.address is None:
        raise ValueError("not an account's authorization")
    return entry.credentials.address
