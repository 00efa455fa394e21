"""The key on the signer's side of the gap: a seed in a file, or an HSM's. No setting of the server is read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from stat import S_IRWXG, S_IRWXO
from typing import Protocol

from pydantic import SecretStr
from stellar_sdk import Keypair, StrKey

from adapters.signers.hot import HotSigner
from domain.errors import Refused


class Key(Protocol):
    """Signs with one key."""

    @property
    def public_key(self) -> str:
        """Its account, `G…`."""

    async def sign(self, transaction_hash: bytes) -> bytes:
        """An Ed25519 signature over 32 bytes."""


def seed_key(path: Path) -> Key:
    """The key whose seed is alone in a file that only its owner may read.

    Raises:
        Refused: there is no such file, others may read it, or it holds no seed; it is never quoted.
    """
    text = _secret_in(path)
    if not StrKey.is_valid_ed25519_secret_seed(text):
        raise Refused(f"{path} does not hold a Stellar seed (S…) and nothing else", code="signer_refused")
    return HotSigner(text)


async def hsm_key(
    module: Path, token_label: str, key_label: str, *, pin_file: Path | None, ask_pin: Callable[[], str]
) -> Key:
    """The key on a token; its PIN is read from a file, or asked for.

    Raises:
        Refused: the module, token, key or PIN is not right.
        Unavailable: the token does not work now.
    """
    # The library of PKCS#11 is loaded only where it is used.
    from adapters.signers.pkcs11 import Pkcs11Signer  # noqa: PLC0415

    pin = SecretStr(ask_pin() if pin_file is None else _secret_in(pin_file))
    signer = Pkcs11Signer(module=module, token_label=token_label, key_label=key_label, pin=pin)
    await signer.open()
    return signer


def _secret_in(path: Path) -> str:
    try:
        mode = path.stat().st_mode
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(f"{path} cannot be read: {type(error).__name__}", code="signer_refused") from None
    if mode & (S_IRWXG | S_IRWXO):
        raise Refused(f"others than its owner may read {path}: chmod 600 {path}", code="signer_refused")
    return text


async def signature_by(key: Key, payload: bytes) -> bytes:
    """A signature that was verified against the key's own account before it leaves.

    Raises:
        Refused: what came back is no signature of this key.
        Unavailable: the key's keeper does not answer.
    """
    signature = await key.sign(payload)
    try:
        Keypair.from_public_key(key.public_key).verify(payload, signature)
    except Exception:
        raise Refused(f"what was signed is no signature of {key.public_key}", code="signer_refused") from None
    return signature
