"""Settings of signing: who signs for the payer, where that signer is, and how long a request waits."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, SecretStr, field_validator
from pydantic_settings import NoDecode

from settings.fields import setting
from settings.payments import PaymentSettings
from settings.services import PORT
from settings.stellar import StellarNetwork, is_local


class PayoutSigner(StrEnum):
    """Who signs payouts."""

    HOT = "hot"
    KMS = "kms"
    PKCS11 = "pkcs11"
    EXTERNAL = "external"


class PayoutSigning(StrEnum):
    """What the payer signs: the transaction's envelope, or the authorization entry of its one call."""

    ENVELOPE = "envelope"
    AUTH_ENTRY = "auth_entry"


def _words(value: object) -> object:
    if not isinstance(value, str):
        return value
    return tuple(word for word in (part.strip().lower() for part in value.split(",")) if word)


PayoutSigners = Annotated[tuple[PayoutSigner, ...], NoDecode, BeforeValidator(_words)]
"""Signers, comma-separated."""


def _signer(above: dict[str, Any]) -> PayoutSigner:
    return PayoutSigner.HOT if above.get("payouts_sign_with_hot_key") else PayoutSigner.EXTERNAL


def _kms_endpoint(above: dict[str, Any]) -> str:
    return f"http://127.0.0.1:{above['kms_port']}" if is_local(above) else ""


def _kms_region(above: dict[str, Any]) -> str:
    # arn:aws:kms:eu-central-1:123456789012:key/…
    parts = str(above.get("payout_kms_key_id") or "").split(":")
    if len(parts) > 5 and parts[0] == "arn" and parts[3]:
        return parts[3]
    return "us-east-1" if is_local(above) else ""


_DAY_SECONDS: Final = 86_400


class SigningSettings(PaymentSettings):
    """Signing: who signs for the payer, where that signer is, and how long a request waits."""

    payout_signer: PayoutSigner = setting(
        "Who signs payouts: a secret key of these settings, AWS KMS, an HSM by PKCS#11, or somebody outside, "
        "who may take hours.",
        default_from=_signer,
        default_text="hot where PAYOUTS_SIGN_WITH_HOT_KEY is true, else external",
        right="hot, kms, pkcs11 or external",
    )
    payout_signers_offered: PayoutSigners = setting(
        "The signers that a payout or a batch may name, where it is not the one that PAYOUT_SIGNER names.",
        default=(),
        default_text="none",
        right="hot, kms, pkcs11 and external, comma-separated",
    )
    payout_signing: PayoutSigning = setting(
        "What the payer signs: the envelope of the transaction, which holds a lane while it waits, or the "
        "authorization entry of the call, which holds nothing.",
        default=PayoutSigning.ENVELOPE,
        right="envelope or auth_entry",
    )
    payout_signature_validity_seconds: int = setting(
        "How long a request for an outside signature is valid, by ledger close time; then it is made anew.",
        default=_DAY_SECONDS,
        unit="s",
        right="60 to 2592000, which are 30 days",
        ge=60,
        le=30 * _DAY_SECONDS,
    )

    payout_kms_key_id: str = setting(
        "The Ed25519 key in AWS KMS that signs payouts (key spec ECC_NIST_EDWARDS25519, usage SIGN_VERIFY).",
        default_from=lambda above: "alias/holdfast-payer" if is_local(above) else "",
        default_text="none; on the local network the one that `holdfast up --signer kms` makes",
        right="a key id, an alias such as alias/payouts, or an ARN",
        pattern=r"^[A-Za-z0-9:/_.\-]{0,2048}$",
    )
    payout_kms_region: str = setting(
        "The AWS region of the key.",
        default_from=_kms_region,
        default_text="that of the key's ARN, else of the AWS configuration",
        names=("PAYOUT_KMS_REGION", "AWS_REGION", "AWS_DEFAULT_REGION"),
        right="a region such as eu-central-1",
        pattern=r"^[a-z0-9\-]{0,40}$",
    )
    kms_port: int = setting(
        "The port of the local KMS that `holdfast up --signer kms` starts.", default=4566, **PORT
    )
    payout_kms_endpoint_url: str = setting(
        "Where KMS answers, such as a VPC endpoint.",
        default_from=_kms_endpoint,
        default_text="the local KMS on the local network, AWS's own elsewhere",
        right="an http or https URL",
        pattern=r"^(https?://[^\s/]+/?)?$",
    )

    payout_pkcs11_module: Path | None = setting(
        "The HSM's PKCS#11 library.",
        default=None,
        default_text="SoftHSM's, with `holdfast up --signer pkcs11` on the local network",
        right="the path of a library, such as /usr/lib/softhsm/libsofthsm2.so",
    )
    payout_pkcs11_token_label: str = setting(
        "The label of the token that holds the key.",
        default="holdfast",
        right="a label of at most 32 bytes",
        min_length=1,
    )
    payout_pkcs11_key_label: str = setting(
        "The label of the Ed25519 key pair on the token.", default="payer", right="a label", min_length=1
    )
    payout_pkcs11_pin: SecretStr | None = setting(
        "The PIN of the token's user.",
        default=None,
        default_text="made by `holdfast up --signer pkcs11` on the local network",
        right="the user PIN, as it was set with the token",
    )

    @field_validator("payout_signer", "payout_signing", mode="before")
    @classmethod
    def _any_case(cls, value: object) -> object:
        return value.strip().lower() if isinstance(value, str) else value

    @field_validator("payout_pkcs11_token_label")
    @classmethod
    def _fits(cls, value: str) -> str:
        if len(value.encode()) > 32:
            raise ValueError("too long")
        return value

    @property
    def payout_signers(self) -> tuple[PayoutSigner, ...]:
        """Who may sign payouts: the one that PAYOUT_SIGNER names first, then the others on offer."""
        return tuple(dict.fromkeys((self.payout_signer, *self.payout_signers_offered)))

    @property
    def starts_kms(self) -> bool:
        """Whether `holdfast up` starts a KMS of its own."""
        return (
            self.stellar_network is StellarNetwork.LOCAL
            and PayoutSigner.KMS in self.payout_signers
            and "payout_kms_endpoint_url" not in self.model_fields_set
        )
