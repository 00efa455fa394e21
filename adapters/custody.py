"""Envelope encryption with AES-256-GCM: a data key a secret, wrapped by a versioned key of the keyring."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import SecretStr
from stellar_sdk import Keypair
from stellar_sdk.exceptions import SdkError

from domain.custody import SEAL_VERSION, Sealed, SecretName
from domain.errors import Refused

_NONCE_BYTES: Final = 12


class Custody:
    """Seals and opens secrets. `current` names the key that wraps; every key of `keys` (32 bytes each) opens.

    `tenant` is the deployment's name: another deployment's rows do not open here.
    """

    def __init__(self, keys: Mapping[str, bytes], *, current: str, tenant: str) -> None:
        if current not in keys or any(len(key) != 32 for key in keys.values()):
            raise ValueError("a keyring holds its current key, and every key has 32 bytes")
        self._keys = {key_id: AESGCM(key) for key_id, key in keys.items()}
        self._current = current
        self._tenant = tenant

    def _name(self, purpose: str, account: str) -> SecretName:
        return SecretName(purpose=purpose, tenant=self._tenant, account=account)

    def seal(self, secret: bytes, *, purpose: str, account: str) -> Sealed:
        """Seal a secret for one purpose and account."""
        associated = self._name(purpose, account).associated_data(SEAL_VERSION)
        data_key = AESGCM.generate_key(256)
        nonce, wrap_nonce = os.urandom(_NONCE_BYTES), os.urandom(_NONCE_BYTES)
        return Sealed(
            version=SEAL_VERSION,
            kek_id=self._current,
            wrap_nonce=wrap_nonce,
            wrapped_key=self._keys[self._current].encrypt(wrap_nonce, data_key, associated),
            nonce=nonce,
            ciphertext=AESGCM(data_key).encrypt(nonce, secret, associated),
        )

    def open(self, sealed: Sealed, *, purpose: str, account: str) -> bytes:
        """Open what `seal` made.

        Raises:
            Refused: the key is not in the keyring, or the row was changed or belongs to something else.
        """
        associated = self._name(purpose, account).associated_data(sealed.version)
        try:
            return AESGCM(self._data_key(sealed, associated)).decrypt(sealed.nonce, sealed.ciphertext, associated)
        except InvalidTag:
            raise Refused(f"the sealed {purpose} of {account} does not open: it was changed or swapped") from None

    def rewrap(self, sealed: Sealed, *, purpose: str, account: str) -> Sealed:
        """Wrap the data key by the current key; the ciphertext stays. For key rotation.

        Raises:
            Refused: as `open`.
        """
        associated = self._name(purpose, account).associated_data(sealed.version)
        try:
            data_key = self._data_key(sealed, associated)
        except InvalidTag:
            raise Refused(f"the sealed {purpose} of {account} does not open: it was changed or swapped") from None
        wrap_nonce = os.urandom(_NONCE_BYTES)
        wrapped = self._keys[self._current].encrypt(wrap_nonce, data_key, associated)
        return sealed.model_copy(
            update={"kek_id": self._current, "wrap_nonce": wrap_nonce, "wrapped_key": wrapped}
        )

    def _data_key(self, sealed: Sealed, associated: bytes) -> bytes:
        key = self._keys.get(sealed.kek_id)
        if key is None:
            raise Refused(f"the keyring has no key {sealed.kek_id!r}; add it to CUSTODY_KEYS")
        return key.decrypt(sealed.wrap_nonce, sealed.wrapped_key, associated)

    def seal_wallet(self, keypair: Keypair) -> Sealed:
        """Seal a wallet's secret key for its account."""
        return self.seal(keypair.raw_secret_key(), purpose="wallet", account=keypair.public_key)

    def open_wallet(self, sealed: Sealed, *, address: str) -> Keypair:
        """Open a wallet's key; the account that follows from it must be `address`.

        Raises:
            Refused: as `open`, or the key is another account's.
        """
        secret = self.open(sealed, purpose="wallet", account=address)
        try:
            keypair = Keypair.from_raw_ed25519_seed(secret)
        except (SdkError, ValueError):
            raise Refused(f"the sealed key of {address} is not a key") from None
        if keypair.public_key != address:
            raise Refused(f"the sealed key of {address} belongs to another account")
        return keypair

    def seal_webhook(self, endpoint_id: str, secret: SecretStr) -> bytes:
        """Seal an endpoint's signing secret, as one value for a column."""
        sealed = self.seal(secret.get_secret_value().encode(), purpose="webhook", account=endpoint_id)
        return sealed.model_dump_json().encode()

    def open_webhook(self, endpoint_id: str, value: bytes) -> SecretStr:
        """Open what `seal_webhook` made.

        Raises:
            Refused: as `open`.
        """
        sealed = Sealed.model_validate_json(value)
        return SecretStr(self.open(sealed, purpose="webhook", account=endpoint_id).decode())
