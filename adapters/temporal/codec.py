"""The payload codec: what Temporal stores is sealed with AES-256-GCM, and names the key that opens it.

Ids, search attributes and names of workflows stay readable: they hold no personal data and no secret.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from temporalio.api.common.v1 import Payload
from temporalio.converter import PayloadCodec

from domain.errors import Refused

ENCODING: Final = b"binary/encrypted"
_NONCE_BYTES: Final = 12


class SealedPayloads(PayloadCodec):
    """Seals every payload with the current key; opens with any key of the ring, so that keys can be rotated."""

    def __init__(self, keys: Mapping[str, bytes], *, current: str) -> None:
        """`keys` by id, 32 bytes each; `current` is the one that seals."""
        if current not in keys or any(len(key) != 32 for key in keys.values()):
            raise ValueError("a keyring holds its current key, and every key has 32 bytes")
        self._keys = {key_id: AESGCM(key) for key_id, key in keys.items()}
        self._current = current

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Seal each payload with its metadata."""
        return [self._seal(payload) for payload in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Open what is sealed; what never was is passed on.

        Raises:
            Refused: the key is not on the ring, or the payload was changed.
        """
        return [self._open(payload) for payload in payloads]

    def _seal(self, payload: Payload) -> Payload:
        nonce = os.urandom(_NONCE_BYTES)
        sealed = self._keys[self._current].encrypt(nonce, payload.SerializeToString(), self._current.encode())
        return Payload(
            metadata={"encoding": ENCODING, "encryption-key-id": self._current.encode()}, data=nonce + sealed
        )

    def _open(self, payload: Payload) -> Payload:
        if payload.metadata.get("encoding") != ENCODING:
            return payload
        key_id = payload.metadata.get("encryption-key-id", b"").decode(errors="replace")
        key = self._keys.get(key_id)
        if key is None:
            raise Refused(f"no key {key_id!r} on this ring opens the payload: see PAYLOAD_KEYS")
        nonce, sealed = payload.data[:_NONCE_BYTES], payload.data[_NONCE_BYTES:]
        try:
            return Payload.FromString(key.decrypt(nonce, sealed, key_id.encode()))
        except InvalidTag:
            raise Refused(f"the payload was not sealed with key {key_id!r}, or was changed") from None
