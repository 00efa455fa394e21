"""Parts that worker and codec make of the settings."""

from __future__ import annotations

from adapters.custody import Custody
from adapters.mail import Mailer, MailServer
from adapters.temporal.codec import SealedPayloads
from adapters.temporal.codec_server import CodecEndpoint
from domain.errors import Refused
from domain.sla_payment import PaymentRules, SlaContracts
from settings import Settings


def payload_codec(settings: Settings) -> SealedPayloads:
    """What seals payloads.

    Raises:
        Refused: there is no key; only the local network has one of its own.
    """
    ring = settings.payload_keys
    if ring is None:
        raise Refused("PAYLOAD_KEYS is needed: what Temporal stores is sealed")
    return SealedPayloads(ring.keys, current=ring.current)


def codec_endpoint(settings: Settings) -> CodecEndpoint | None:
    """The codec endpoint; None where nothing would guard it: another network than the local one, and no token."""
    token = settings.codec_token.get_secret_value() if settings.codec_token else None
    if token is None and not settings.local:
        return None
    return CodecEndpoint(payload_codec(settings), origins=settings.codec_origins, token=token)


def custody_of(settings: Settings) -> Custody | None:
    """What opens wallets' keys and webhooks' secrets; None where there is no keyring."""
    ring = settings.custody_keys
    return None if ring is None else Custody(ring.keys, current=ring.current, tenant=settings.holdfast_deployment)


def mailer_of(settings: Settings) -> Mailer | None:
    """Who hands over mail; None where there is no mail server."""
    if not settings.smtp_host:
        return None
    return Mailer(
        MailServer(
            host=settings.smtp_host,
            port=settings.smtp_port,
            sender=settings.smtp_from,
            username=settings.smtp_username,
            password=settings.smtp_password,
            starttls=settings.smtp_starttls,
        )
    )


def payment_rules(settings: Settings) -> PaymentRules:
    """When a payment needs nobody's approval."""
    return PaymentRules(auto_enabled=settings.auto_payment_enabled, auto_max=settings.max_auto_payment_amount)


def sla_contracts(settings: Settings) -> SlaContracts:
    """The addresses of an SLA payment.

    Raises:
        SettingsError: names every one that is missing.
    """
    settings.require("sla_contract_id", "usdc_token_address", "nociq_token_address", "stellar_pool_public_key")
    return SlaContracts(
        sla=str(settings.sla_contract_id),
        usdc=str(settings.usdc_token_address),
        reward_token=str(settings.nociq_token_address),
        pool=str(settings.stellar_pool_public_key),
    )
