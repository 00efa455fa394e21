"""Settings of payments: what may be sent by itself, the limits, and how it is signed and followed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from domain.money import Amount
from settings.fields import AccountId, Accounts, AmountValue, ContractId, Contracts, Seed, setting
from settings.stellar import StellarSettings, is_local, native_contract

_CONTRACT_RIGHT: Final = "a contract id: C and 55 more letters and digits, with a valid checksum"
_AMOUNT_RIGHT: Final = "a plain decimal number with at most 7 decimals, such as 10000 or 0.5"


def _allowed_by_default(above: Mapping[str, Any]) -> tuple[str, ...]:
    """The deployment's own tokens; XLM moves by payouts alone."""
    tokens = [above.get("usdc_token_address"), above.get("nociq_token_address")]
    if above.get("payout_contract_id"):
        tokens.append(native_contract(above["stellar_network_passphrase"]))
    return tuple(token for token in tokens if token)


class PaymentSettings(StellarSettings):
    """Payments: what may be sent by itself, the limits, and how it is signed and followed."""

    auto_payment_enabled: bool = setting(
        "Whether a resolved outage is paid without a person, up to MAX_AUTO_PAYMENT_AMOUNT.",
        default=True,
        right="true or false",
    )
    max_auto_payment_amount: AmountValue = setting(
        "Above this amount a person approves first, another one than who resolved the outage.",
        default=Amount.of(10_000),
        unit="of the paid asset",
        right=_AMOUNT_RIGHT,
    )
    policy_max_amount: AmountValue = setting(
        "The greatest amount of one payment; above it the payment is refused.",
        default=Amount.of(100_000),
        unit="of the paid asset",
        right=_AMOUNT_RIGHT,
    )
    policy_day_amount: AmountValue = setting(
        "The greatest sum of a day (UTC) by asset; above it the payment is refused.",
        default=Amount.of(1_000_000),
        unit="of the paid asset",
        right=_AMOUNT_RIGHT,
    )
    policy_four_eyes_amount: AmountValue = setting(
        "Above this amount a payout waits until another person than the one who asked for it approves it.",
        default=Amount.of(10_000),
        unit="of the paid asset",
        right=_AMOUNT_RIGHT,
    )
    destination_blocklist: Accounts = setting(
        "Accounts and contracts that are never paid.",
        default=(),
        right="Stellar addresses (G… or C…), comma-separated",
    )
    payout_contract_id: ContractId | None = setting(
        "The payout contract.",
        default=None,
        default_text="deployed by `holdfast up` on the local network",
        right=f"{_CONTRACT_RIGHT}; `holdfast deploy` prints it",
    )
    payout_cap_per_day: AmountValue = setting(
        "The payout contract's own cap for a day (UTC), also for a stolen payer's key; `holdfast deploy` sets it.",
        default_from=lambda above: above.get("policy_day_amount"),
        default_text="POLICY_DAY_AMOUNT",
        unit="of each asset",
        right=_AMOUNT_RIGHT,
    )
    payout_cap_per_call: AmountValue = setting(
        "The payout contract's own cap for a call, which may pay a list of people; `holdfast deploy` sets it.",
        default_from=lambda above: above.get("payout_cap_per_day"),
        default_text="PAYOUT_CAP_PER_DAY",
        unit="of each asset",
        right=_AMOUNT_RIGHT,
    )
    allowed_assets: Contracts = setting(
        "The token contracts that payments may move.",
        default_from=_allowed_by_default,
        default_text="USDC_TOKEN_ADDRESS, NOCIQ_TOKEN_ADDRESS, and XLM's where PAYOUT_CONTRACT_ID is set",
        right="contract ids (C…), comma-separated",
    )

    payouts_live_execution: bool = setting(
        "Whether anything is signed and sent at all; false builds only.",
        default_from=is_local,
        default_text="true on the local network, false elsewhere",
        right="true or false",
    )
    payouts_sign_with_hot_key: bool = setting(
        "Whether payments are signed at once with a secret key of these settings, not by an outside signer.",
        default_from=is_local,
        default_text="true on the local network, false elsewhere",
        right="true or false",
    )
    payouts_max_gas_stroops: int = setting(
        "The most that one transaction may cost: resource fee and inclusion fee together.",
        default=2_000_000,
        unit="stroops",
        right="a whole number from 100 to 10000000000",
        ge=100,
        le=10_000_000_000,
    )
    batch_max_gas_stroops: int = setting(
        "The most that one transaction of a batch may cost, which pays many; where it costs more it is divided.",
        default=20_000_000,
        unit="stroops",
        right="a whole number from 100 to 10000000000",
        ge=100,
        le=10_000_000_000,
    )
    batch_upload_bytes_max: int = setting(
        "The greatest payment file that is taken; BODY_BYTES_MAX does not hold for it.",
        default=33_554_432,
        unit="bytes",
        right="1024 to 1073741824",
        ge=1024,
        le=1_073_741_824,
    )
    payouts_max_attempts: int = setting(
        "How often a payment is rebuilt after a definite failure that may pass.",
        default=5,
        right="1 to 100",
        ge=1,
        le=100,
    )
    payouts_confirm_poll_ms: int = setting(
        "The longest pause between two looks for a closed ledger; there are ten looks a ledger.",
        default=2500,
        unit="ms",
        right="50 to 60000",
        ge=50,
        le=60_000,
    )
    payouts_confirm_max_polls: int = setting(
        "After so many polls without proof a person is asked to look; it is looked for further, and never failed.",
        default=20,
        right="1 to 10000",
        ge=1,
        le=10_000,
    )
    payout_method_name: str = setting(
        "The payout contract's function.",
        default="distribute_winnings",
        right="a contract function's name: at most 32 letters, digits and underscores",
        pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,31}$",
    )
    payout_source_account: AccountId | None = setting(
        "The account that payouts are paid from.",
        default_from=lambda above: above.get("stellar_pool_public_key"),
        default_text="the pool account",
        right="a Stellar account: G and 55 more letters and digits, with a valid checksum",
    )
    payout_hot_signer_secret: Seed | None = setting(
        "The secret key that signs payouts where PAYOUT_SIGNER is hot: PAYOUT_SOURCE_ACCOUNT's, or a signer's.",
        default_from=lambda above: above.get("stellar_pool_secret_key"),
        default_text="STELLAR_POOL_SECRET_KEY",
        right="a Stellar secret key: S and 55 more letters and digits, with a valid checksum",
    )
