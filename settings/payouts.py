"""What the settings say of payouts: the policy that decides them, and the terms on which they are made."""

from __future__ import annotations

from domain.payout import PayoutMode, PayoutTerms
from domain.payout_policy import PayoutPolicy
from domain.policy import Policy
from domain.settlement import SigningMode
from settings.settings import Settings
from settings.signing import PayoutSigner


def policy_of(settings: Settings) -> Policy:
    """The policy of every settlement."""
    return Policy(
        live=settings.payouts_live_execution,
        amount_max=settings.policy_max_amount,
        day_max=settings.policy_day_amount,
        assets=frozenset(settings.allowed_assets),
        blocked=frozenset(settings.destination_blocklist),
    )


def payout_policy_of(settings: Settings) -> PayoutPolicy:
    """The policy of payouts: every settlement's, and above which amount another person has to agree."""
    return PayoutPolicy(policy_of(settings), four_eyes_above=settings.policy_four_eyes_amount)


def payout_terms_of(settings: Settings) -> PayoutTerms | None:
    """Who pays through which contract, and how it is signed; None where no contract or no payer is named."""
    if settings.payout_contract_id is None or settings.payout_source_account is None:
        return None
    if not settings.payouts_live_execution:
        mode = PayoutMode.BUILD_ONLY
    elif settings.payout_signer is PayoutSigner.EXTERNAL:
        mode = PayoutMode.EXTERNAL
    else:
        mode = PayoutMode.QUEUED
    return PayoutTerms(
        contract=settings.payout_contract_id,
        method=settings.payout_method_name,
        payer=settings.payout_source_account,
        deployment=settings.holdfast_deployment,
        mode=mode,
        signing=SigningMode(settings.payout_signing.value),
        signers=tuple(signer.value for signer in settings.payout_signers),
    )
