"""Custody of secrets that Holdfast keeps for others: what a sealed secret is and what it is bound to."""

from __future__ import annotations

import json
from typing import Final

from pydantic import BaseModel, ConfigDict

SEAL_VERSION: Final = 1


class SecretName(BaseModel):
    """Whose secret it is and what for. It is bound into the seal: a row that was swapped does not open."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    purpose: str
    tenant: str
    account: str

    def associated_data(self, version: int) -> bytes:
        """The additional authenticated data of both seals: the same bytes for the same name, always."""
        return json.dumps(
            {"account": self.account, "purpose": self.purpose, "tenant": self.tenant, "version": version},
            sort_keys=True,
            separators=(",", ":"),
        ).encode()


class Sealed(BaseModel):
    """A secret under a data key of its own, and that key wrapped by the key-encryption key `kek_id`."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_bytes="base64", val_json_bytes="base64")

    version: int
    kek_id: str
    wrap_nonce: bytes
    wrapped_key: bytes
    nonce: bytes
    ciphertext: bytes
