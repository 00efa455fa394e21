"""The hot signer: a Stellar seed in this process."""

from __future__ import annotations

from stellar_sdk import Keypair


class HotSigner:
    """Signs with a seed that was read from a file or the environment. It never leaves this object."""

    def __init__(self, seed: str) -> None:
        self._keypair = Keypair.from_secret(seed)
        self.public_key: str = self._keypair.public_key

    def __repr__(self) -> str:
        return f"HotSigner({self.public_key})"

    async def open(self) -> str:
        """Give the account of the key; nothing needs to be asked."""
        return self.public_key

    async def sign(self, transaction_hash: bytes) -> bytes:
        """An Ed25519 signature over the 32-byte transaction hash."""
        return self._keypair.sign(transaction_hash)

    def close(self) -> None:
        """Nothing is open."""
