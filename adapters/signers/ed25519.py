"""What all signers share: an Ed25519 public key as others encode it, and the proof that a signature is by it."""

from __future__ import annotations

from typing import Final

from stellar_sdk import Keypair, StrKey
from stellar_sdk.exceptions import BadSignatureError

from domain.errors import Refused

SPKI_PREFIX: Final = bytes.fromhex("302a300506032b6570032100")
"""SubjectPublicKeyInfo of an Ed25519 key (RFC 8410): these 12 bytes, then the 32 of the key."""
KEY_BYTES: Final = 32


def account_of(key: bytes) -> str:
    """The Stellar account, `G…`, of 32 bytes of public key."""
    return StrKey.encode_ed25519_public_key(key)


def key_of_spki(spki: bytes) -> bytes | None:
    """The 32 bytes of an Ed25519 key from its SubjectPublicKeyInfo in DER; None for a key of another type."""
    if len(spki) != len(SPKI_PREFIX) + KEY_BYTES or not spki.startswith(SPKI_PREFIX):
        return None
    return spki[len(SPKI_PREFIX) :]


def checked(signature: bytes, payload: bytes, signer: str, *, mend: str) -> bytes:
    """The signature, when it is the signer's over the payload: nothing that a signer answers is taken on trust.

    Raises:
        Refused: it is not; `mend` says what to look at.
    """
    try:
        Keypair.from_public_key(signer).verify(payload, signature)
    except BadSignatureError:
        raise Refused(f"what was signed is no signature of {signer}: {mend}", code="signer_refused") from None
    return signature
