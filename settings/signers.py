"""The payouts' signers, as PAYOUT_SIGNER and the settings of each name them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from adapters.signers.checked import AuthorityOf, CheckedSigner, KeptKey
from adapters.signers.hot import HotSigner
from settings.settings import Settings
from settings.signing import PayoutSigner

_LOCAL_KMS_CREDENTIALS: Final = ("local", "local")
"""A local KMS takes any; a real one never gets these."""

_NAMED_BY: Final[Mapping[PayoutSigner, str]] = {
    PayoutSigner.HOT: "PAYOUT_HOT_SIGNER_SECRET",
    PayoutSigner.KMS: "PAYOUT_KMS_KEY_ID",
    PayoutSigner.PKCS11: "PAYOUT_PKCS11_KEY_LABEL",
}


def payout_signer(settings: Settings, name: PayoutSigner, authority: AuthorityOf) -> CheckedSigner | None:
    """The payouts' signer of this name; None where there is no payer, no hot key, or somebody outside signs.

    Raises:
        SettingsError: what that signer needs is not set.
    """
    payer = settings.payout_source_account
    if payer is None:
        return None
    signer: KeptKey
    match name:
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
                credentials=_LOCAL_KMS_CREDENTIALS if settings.starts_kms else None,
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
    return CheckedSigner(signer, payer, authority, setting=_NAMED_BY[name])
