"""Who signs payouts, as the settings say."""

from __future__ import annotations

from itertools import pairwise

import pytest
from pydantic import SecretStr
from stellar_sdk import Keypair
from stellar_sdk.sep.mnemonic import StellarMnemonic

from settings import PayoutSigner, Settings, SettingsError, load_settings
from settings.redaction import is_secret_field

POOL = Keypair.random()
CONTRACT = "CDLZFC3SYJYDZT7K67VZ75HPJVIEUVNIXF47ZG2FB2RMQQVU2HHGCYSC"


def load(**variables: str) -> Settings:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        return load_settings(None)


@pytest.mark.parametrize(
    ("variables", "signer"),
    [
        ({}, "hot"),
        ({"PAYOUTS_SIGN_WITH_HOT_KEY": "false"}, "external"),
        ({"STELLAR_NETWORK": "testnet"}, "external"),
        ({"STELLAR_NETWORK": "testnet", "PAYOUTS_SIGN_WITH_HOT_KEY": "true"}, "hot"),
        ({"PAYOUT_SIGNER": " KMS "}, "kms"),
        ({"PAYOUT_SIGNER": "pkcs11"}, "pkcs11"),
    ],
)
def test_who_signs_follows_the_guides_setting_unless_it_is_said(variables: dict[str, str], signer: str) -> None:
    assert load(**variables).payout_signer == signer


@pytest.mark.parametrize(("hot", "signer"), [("true", "kms"), ("true", "external"), ("false", "hot")])
def test_two_settings_that_contradict_each_other_are_named(hot: str, signer: str) -> None:
    with pytest.raises(SettingsError, match="PAYOUTS_SIGN_WITH_HOT_KEY") as caught:
        load(PAYOUTS_SIGN_WITH_HOT_KEY=hot, PAYOUT_SIGNER=signer)
    assert f"PAYOUT_SIGNER is {signer}" in str(caught.value)


@pytest.mark.parametrize("signer", ["kms", "pkcs11"])
@pytest.mark.parametrize("how", ["PAYOUT_SIGNER", "PAYOUT_SIGNERS_OFFERED"])
def test_the_pool_cannot_be_the_payer_of_another_signer(how: str, signer: str) -> None:
    """Its hot key signs at once, so that the other one would guard nothing."""
    given = {"STELLAR_POOL_SECRET_KEY": POOL.secret, "PAYOUT_CONTRACT_ID": CONTRACT, how: signer}
    with pytest.raises(SettingsError, match="PAYOUT_SOURCE_ACCOUNT"):
        load(**given)
    own = Keypair.random().public_key
    assert load(**given, PAYOUT_SOURCE_ACCOUNT=own).payout_source_account == own


def test_an_unknown_signer_is_named_with_what_is_right() -> None:
    with pytest.raises(SettingsError, match="PAYOUT_SIGNER: must be hot, kms, pkcs11 or external"):
        load(PAYOUT_SIGNER="yubikey")
    with pytest.raises(SettingsError, match="PAYOUT_SIGNERS_OFFERED"):
        load(PAYOUT_SIGNERS_OFFERED="kms,yubikey")


def test_the_signers_on_offer_follow_the_one_that_signs() -> None:
    settings = load(PAYOUT_SIGNER="kms", PAYOUT_SIGNERS_OFFERED="external, KMS,hot")
    assert settings.payout_signers == (PayoutSigner.KMS, PayoutSigner.EXTERNAL, PayoutSigner.HOT)


@pytest.mark.parametrize(
    ("variables", "region"),
    [
        ({"PAYOUT_KMS_KEY_ID": "arn:aws:kms:eu-central-1:111122223333:key/1"}, "eu-central-1"),
        ({"PAYOUT_KMS_KEY_ID": "alias/x", "AWS_REGION": "eu-west-1"}, "eu-west-1"),
        (
            {"PAYOUT_KMS_KEY_ID": "alias/x", "PAYOUT_KMS_REGION": "eu-west-2", "AWS_REGION": "eu-west-1"},
            "eu-west-2",
        ),
        ({"PAYOUT_KMS_KEY_ID": "alias/x"}, ""),
    ],
)
def test_the_region_is_the_arns_unless_it_is_said(variables: dict[str, str], region: str) -> None:
    assert load(STELLAR_NETWORK="testnet", **variables).payout_kms_region == region


def test_only_the_local_network_has_a_kms_of_its_own() -> None:
    local = load(PAYOUT_SIGNER="kms", KMS_PORT="4999")
    assert local.starts_kms
    assert local.payout_kms_endpoint_url == "http://127.0.0.1:4999"
    assert not load(PAYOUT_SIGNER="kms", PAYOUT_KMS_ENDPOINT_URL="http://127.0.0.1:4566").starts_kms
    elsewhere = load(PAYOUT_SIGNER="kms", STELLAR_NETWORK="testnet")
    assert not elsewhere.starts_kms
    assert elsewhere.payout_kms_endpoint_url == ""
    assert elsewhere.payout_kms_key_id == ""


@pytest.mark.parametrize("seconds", ["59", "2592001"])
def test_a_request_is_valid_for_a_minute_to_thirty_days(seconds: str) -> None:
    with pytest.raises(SettingsError, match="PAYOUT_SIGNATURE_VALIDITY_SECONDS"):
        load(PAYOUT_SIGNATURE_VALIDITY_SECONDS=seconds)


def test_a_token_label_is_at_most_32_bytes() -> None:
    assert load(PAYOUT_PKCS11_TOKEN_LABEL="ä" * 16).payout_pkcs11_token_label == "ä" * 16
    with pytest.raises(SettingsError, match="PAYOUT_PKCS11_TOKEN_LABEL"):
        load(PAYOUT_PKCS11_TOKEN_LABEL="ä" * 17)


def test_previous_phrases_are_checked_one_by_one_and_never_shown() -> None:
    one, two = (StellarMnemonic("english").generate(128) for _ in range(2))
    settings = load(LANES_MNEMONIC_PREVIOUS=f"{one},  {two}")
    assert settings.lanes_phrases_previous == (one, two)
    assert load().lanes_phrases_previous == ()
    wrong = f"{one}, {two} zoo"
    with pytest.raises(SettingsError, match="LANES_MNEMONIC_PREVIOUS") as caught:
        load(LANES_MNEMONIC_PREVIOUS=wrong)
    # A word alone may be one of ours: "phrase" is in the list.
    assert not [pair for pair in pairwise(one.split()) if " ".join(pair) in str(caught.value)]


@pytest.mark.parametrize(
    ("name", "value"), [("payout_pkcs11_pin", "123456"), ("lanes_mnemonic_previous", "abandon ability")]
)
def test_new_secrets_are_secrets_by_name_too(name: str, value: str) -> None:
    assert is_secret_field(name, value)
    assert Settings.model_fields[name].annotation == SecretStr | None
