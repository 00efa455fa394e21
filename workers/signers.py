"""Who signs for which payer, as the settings say; and that the key is one of the payer's, as the ledger says."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

import structlog

from activities.settlement_parts import PayerSigner
from adapters.signers.hot import HotSigner
from domain.errors import Refused, Unavailable
from domain.settlement import Intent
from domain.signing import Authority
from settings import PayoutSigner, Settings

_log = structlog.get_logger("signers")
_PAYOUTS: Final = ("payout:", "chunk:")
"""How the ids of payouts' settlements begin: what an outage costs is paid by the pool, whose key is always hot."""
LOCAL_KMS_CREDENTIALS: Final = ("local", "local")
"""A local KMS takes any; a real one never gets these."""

_NAMED_BY: Final[Mapping[PayoutSigner, str]] = {
    PayoutSigner.HOT: "PAYOUT_HOT_SIGNER_SECRET",
    PayoutSigner.KMS: "PAYOUT_KMS_KEY_ID",
    PayoutSigner.PKCS11: "PAYOUT_PKCS11_KEY_LABEL",
}

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
                f"{self._setting}, the key of {key}, weighs {weight} for PAYOUT_SOURCE_ACCOUNT {self._payer}, and it takes "
                f"{authority.threshold}: raise its weight, or have several sign by PAYOUT_SIGNER=external",
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


@dataclass(frozen=True, slots=True)
class PayerKeys:
    """The payers' signers."""

    by_payer: Mapping[str, PayerSigner]
    payouts: CheckedSigner | None
    """Who signs payouts at once; None where somebody outside does, or nobody."""
    external: bool

    def deferred(self, intent: Intent) -> bool:
        """Whether somebody outside signs this one, and may take hours."""
        return self.external and intent.settlement_id.startswith(_PAYOUTS)

    async def check(self) -> None:
        """Check the payouts' signer. A keeper that does not answer now is asked again by the first payout.

        Raises:
            Refused: the key cannot sign for the payer; names the setting to mend.
        """
        if self.payouts is None:
            return
        try:
            _log.info("signer", finding=await self.payouts.check())
        except Unavailable as error:
            _log.warning("signer not checked yet", code=error.code, reason=error.message)

    def close(self) -> None:
        """Let go of threads and sessions."""
        if self.payouts is not None:
            self.payouts.close()


def payer_keys(settings: Settings, authority: AuthorityOf) -> PayerKeys:
    """Who signs for which payer: the pool's hot key for its own payments, whom PAYOUT_SIGNER names for payouts.

    Raises:
        SettingsError: what that signer needs is not set.
    """
    by_payer: dict[str, PayerSigner] = {}
    if settings.stellar_pool_secret_key is not None:
        pool = HotSigner(settings.stellar_pool_secret_key.get_secret_value())
        by_payer[pool.public_key] = pool
    external = settings.payout_signer is PayoutSigner.EXTERNAL
    payouts = None if external else payout_signer(settings, authority)
    payer = settings.payout_source_account
    # The pool's own payments go by the pool's key, unless its hot key is being rotated.
    rotated = settings.payout_hot_signer_secret != settings.stellar_pool_secret_key
    if payouts is not None and payer is not None and (payer not in by_payer or (payouts.hot and rotated)):
        by_payer[payer] = payouts
    # Without a payout contract nothing is paid by this signer: whatever is wrong with it keeps no worker down.
    return PayerKeys(by_payer, payouts if settings.payout_contract_id is not None else None, external)


def payout_signer(settings: Settings, authority: AuthorityOf) -> CheckedSigner | None:
    """The signer that PAYOUT_SIGNER names; None where there is no payer, no hot key, or somebody outside signs.

    Raises:
        SettingsError: what that signer needs is not set.
    """
    payer = settings.payout_source_account
    if payer is None:
        return None
    signer: KeptKey
    match settings.payout_signer:
        case PayoutSigner.HOT:
            if settings.payout_hot_signer_secret is None:
                return None
            signer = HotSigner(settings.payout_hot_signer_secret.get_secret_value())
        case PayoutSigner.KMS:
            settings.require("payout_kms_key_id")
            from adapters.signers.kms import KmsSigner  # noqa: PLC0415 - boto3 takes its time

            signer = KmsSigner(
                settings.payout_kms_key_id,
                region=settings.payout_kms_region,
                endpoint_url=settings.payout_kms_endpoint_url,
                credentials=LOCAL_KMS_CREDENTIALS if settings.starts_kms else None,
            )
        case PayoutSigner.PKCS11:
            settings.require("payout_pkcs11_module", "payout_pkcs11_pin")
            if settings.payout_pkcs11_module is None or settings.payout_pkcs11_pin is None:
                raise AssertionError("required above")
            from adapters.signers.pkcs11 import Pkcs11Signer  # noqa: PLC0415 - nobody else needs the library

            signer = Pkcs11Signer(
                module=settings.payout_pkcs11_module,
                token_label=settings.payout_pkcs11_token_label,
                key_label=settings.payout_pkcs11_key_label,
                pin=settings.payout_pkcs11_pin,
            )
        case PayoutSigner.EXTERNAL:
            return None
    return CheckedSigner(signer, payer, authority, setting=_NAMED_BY[settings.payout_signer])
