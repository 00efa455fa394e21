"""A signer that is held against the ledger: its key has to be one of the payer's, with weight enough."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from activities.settlement_parts import PayerSigner
from adapters.signers.hot import HotSigner
from domain.errors import Refused
from domain.signing import Authority

AuthorityOf = Callable[[str], Awaitable[Authority]]
"""Who signs for an account, as the ledger has it now."""


class KeptKey(PayerSigner, Protocol):
    """A signer whose key may be kept elsewhere."""

    async def open(self) -> str:
        """Ask for the key, check its type, and give its account.

        Raises:
            Refused: it cannot sign; names the setting to mend.
            Unavailable: its keeper does not answer.
        """

    def close(self) -> None:
        """Let go of threads and sessions."""


class CheckedSigner:
    """A signer that signs once its key was found among the payer's signers, with enough weight."""

    def __init__(self, signer: KeptKey, payer: str, authority: AuthorityOf, *, setting: str) -> None:
        """`setting` is the one that names the key."""
        self._signer = signer
        self._payer = payer
        self._authority = authority
        self._setting = setting
        self.hot: Final = isinstance(signer, HotSigner)
        self._checked = False
        self._checking = asyncio.Lock()

    @property
    def public_key(self) -> str:
        """The account of the key."""
        return self._signer.public_key

    async def open(self) -> str:
        """Ask for the key, and give its account; see `KeptKey.open`."""
        return await self._signer.open()

    async def check(self) -> str:
        """Look at key and payer; gives a sentence on what was found.

        Raises:
            Refused: the key is none of the payer's, or weighs too little; or what its keeper refuses.
            Unavailable: the keeper or the ledger does not answer.
        """
        key = await self._signer.open()
        authority = await self._authority(self._payer)
        weight = authority.weight_of([key])
        if not weight:
            raise Refused(
                f"{self._setting} is the key of {key}, which is no signer of PAYOUT_SOURCE_ACCOUNT {self._payer}: "
                "add it to the account, or mend one of the two",
                code="signer_refused",
            )
        if not authority.suffices([key]):
            raise Refused(
                f"{self._setting}, the key of {key}, weighs {weight} for PAYOUT_SOURCE_ACCOUNT {self._payer}, of "
                f"{authority.threshold} that it takes: raise it, or have several sign by PAYOUT_SIGNER=external",
                code="signer_refused",
            )
        self._checked = True
        return f"{key} signs for {self._payer}, with weight {weight} of {max(1, authority.threshold)}"

    async def sign(self, transaction_hash: bytes) -> bytes:
        """See `activities.settlement_parts.PayerSigner`; the first one makes the check where it is not made."""
        if not self._checked:
            async with self._checking:
                if not self._checked:
                    await self.check()
        return await self._signer.sign(transaction_hash)

    def close(self) -> None:
        """Let go of threads and sessions."""
        self._signer.close()
