"""Settings: the guides' names work as they stand, and a wrong one is named without its secret."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from stellar_sdk import Asset, Keypair

from domain.money import Amount
from settings import Keyring, Settings, SettingsError, StellarNetwork, load_settings
from settings.source import environment_names, is_secret

POOL = Keypair.from_raw_ed25519_seed(bytes(range(32)))
OTHER = Keypair.from_raw_ed25519_seed(bytes(reversed(range(32))))
KEY = base64.b64encode(bytes(32)).decode()


Load = Callable[..., Settings]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Load settings from the given variables alone."""

    def load(**variables: str) -> Settings:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        return load_settings(tmp_path / "absent.env")

    return load


def problems(load: Load, **variables: str) -> dict[str, str]:
    with pytest.raises(SettingsError) as caught:
        load(**variables)
    for name in dict(caught.value.problems):
        assert name in str(caught.value)
    return dict(caught.value.problems)


def test_with_nothing_set_everything_is_local_play_money(load: Load) -> None:
    settings = load()
    assert settings.local
    assert settings.starts_ledger
    assert settings.starts_postgres
    assert settings.starts_temporal
    assert settings.stellar_network_passphrase == "Standalone Network ; February 2017"
    assert settings.payouts_live_execution
    assert settings.payload_keys != settings.custody_keys


@pytest.mark.parametrize(
    ("spelling", "network"),
    [
        ("local", StellarNetwork.LOCAL),
        ("Standalone", StellarNetwork.LOCAL),
        ("TESTNET", StellarNetwork.TESTNET),
        ("test", StellarNetwork.TESTNET),
        ("mainnet", StellarNetwork.PUBLIC),
        ("PUBLIC", StellarNetwork.PUBLIC),
        ("PubNet", StellarNetwork.PUBLIC),
        ("FutureNet", StellarNetwork.FUTURENET),
    ],
)
def test_every_spelling_of_a_network_is_understood(load: Load, spelling: str, network: StellarNetwork) -> None:
    settings = load(STELLAR_NETWORK=spelling, SOROBAN_RPC_URL="https://rpc.example.org")
    assert settings.stellar_network is network
    assert settings.starts_ledger is False


@pytest.mark.parametrize("name", ["STELLAR_SOROBAN_RPC_URL", "SOROBAN_RPC_URL", "STELLAR_RPC_URL"])
def test_the_rpc_has_three_names(load: Load, name: str) -> None:
    assert load(**{name: "https://rpc.example.org/"}).stellar_soroban_rpc_url == "https://rpc.example.org"


@pytest.mark.parametrize("path", ["", "/rpc", "/soroban/rpc"])
def test_friendbot_is_beside_the_local_rpc(load: Load, path: str) -> None:
    settings = load(STELLAR_SOROBAN_RPC_URL=f"http://quickstart:8000{path}")
    assert settings.friendbot_url == "http://quickstart:8000/friendbot"


def test_the_integration_guides_variables_load(load: Load) -> None:
    contract = Asset("USDC", OTHER.public_key).contract_id("Test SDF Network ; September 2015")
    settings = load(
        STELLAR_NETWORK="testnet",
        STELLAR_HORIZON_URL="https://horizon-testnet.stellar.org",
        STELLAR_SOROBAN_RPC_URL="https://soroban-testnet.stellar.org",
        STELLAR_POOL_SECRET_KEY=POOL.secret,
        STELLAR_POOL_PUBLIC_KEY=POOL.public_key,
        SLA_CONTRACT_ID=contract,
        USDC_TOKEN_ADDRESS=f"USDC:{OTHER.public_key}",
        NOCIQ_TOKEN_ADDRESS=contract,
        AUTO_PAYMENT_ENABLED="true",
        MAX_AUTO_PAYMENT_AMOUNT="10000",
        VITE_SLA_CONTRACT_ID="nonsense",
    )
    assert settings.max_auto_payment_amount == Amount.of(10_000)
    assert settings.usdc_token_address == contract
    assert settings.allowed_assets == (contract, contract)
    assert settings.stellar_fee_secret_key == settings.stellar_pool_secret_key
    assert settings.payouts_live_execution is False
    assert any("STELLAR_HORIZON_URL is set and not used" in note for note in settings.notes)


def test_the_payout_guides_variables_load(load: Load) -> None:
    settings = load(
        STELLAR_NETWORK_PASSPHRASE="Test SDF Network ; September 2015",
        SOROBAN_RPC_URL="https://soroban-testnet.stellar.org",
        PAYOUTS_LIVE_EXECUTION="false",
        PAYOUTS_SIGN_WITH_HOT_KEY="false",
        PAYOUT_HOT_SIGNER_SECRET=POOL.secret,
        PAYOUT_SOURCE_ACCOUNT=POOL.public_key,
        PAYOUTS_MAX_GAS_STROOPS="2000000",
        PAYOUTS_MAX_ATTEMPTS="5",
        PAYOUTS_CONFIRM_POLL_MS="2500",
        PAYOUTS_CONFIRM_MAX_POLLS="20",
        PAYOUT_METHOD_NAME="distribute_winnings",
    )
    assert settings.stellar_network_passphrase == "Test SDF Network ; September 2015"
    assert settings.payouts_sign_with_hot_key is False


@pytest.mark.parametrize(
    ("name", "value", "right"),
    [
        ("STELLAR_NETWORK", "mianet", "local, testnet, futurenet or public"),
        ("PAYOUTS_MAX_GAS_STROOPS", "many", "a whole number from 100"),
        ("PAYOUTS_MAX_GAS_STROOPS", "-5", "a whole number from 100"),
        ("SOROBAN_RPC_URL", "rpc.example.org", "an http or https URL"),
        ("MAX_AUTO_PAYMENT_AMOUNT", "1e5", "a plain decimal number"),
        ("MAX_AUTO_PAYMENT_AMOUNT", "0.00000001", "at most 7 decimals"),
        ("SLA_CONTRACT_ID", "C" * 56, "a contract id"),
        ("STELLAR_POOL_PUBLIC_KEY", "GXXX", "a Stellar account"),
        ("DESTINATION_BLOCKLIST", f"{POOL.public_key},nobody", "Stellar addresses"),
        ("AUTO_PAYMENT_ENABLED", "perhaps", "true or false"),
        ("API_PORT", "80000", "a port"),
        ("DATABASE_URL", "mysql://x/y", "postgresql://"),
        ("HOLDFAST_DEPLOYMENT", "a" * 40, "1 to 24"),
        ("LOG_LEVEL", "loud", "DEBUG, INFO"),
    ],
)
def test_a_wrong_value_names_its_variable_and_what_is_right(load: Load, name: str, value: str, right: str) -> None:
    found = problems(load, **{name: value})
    assert right in found[name]
    assert len(found) == 1


def test_all_wrong_values_are_named_at_once(load: Load) -> None:
    assert set(problems(load, API_PORT="x", LANES_MAX="0", LOG_JSON="?")) == {"API_PORT", "LANES_MAX", "LOG_JSON"}


@pytest.mark.parametrize(
    "name",
    [environment_names(name, field)[0] for name, field in Settings.model_fields.items() if is_secret(field)],
)
def test_no_secret_is_ever_shown(load: Load, name: str) -> None:
    wrong = f"hunter2-{POOL.secret}"
    try:
        settings = load(**{name: wrong})
    except SettingsError as error:
        text = str(error)
        assert name in text
    else:
        text = f"{settings!r} {settings} {settings.model_dump_json(exclude={'payload_keys', 'custody_keys'})}"
    assert "hunter2" not in text
    assert POOL.secret not in text


def test_a_seed_in_the_place_of_an_account_is_not_shown(load: Load) -> None:
    assert POOL.secret not in problems(load, STELLAR_POOL_PUBLIC_KEY=POOL.secret)["STELLAR_POOL_PUBLIC_KEY"]


def test_the_pools_account_must_belong_to_its_key(load: Load) -> None:
    found = problems(load, STELLAR_POOL_SECRET_KEY=POOL.secret, STELLAR_POOL_PUBLIC_KEY=OTHER.public_key)
    assert POOL.public_key in found["STELLAR_POOL_PUBLIC_KEY"]


def test_the_public_network_needs_an_rpc_of_ones_choice(load: Load) -> None:
    assert "provider" in problems(load, STELLAR_NETWORK="mainnet")["STELLAR_SOROBAN_RPC_URL"]


def test_keys_that_guard_money_are_needed_off_the_local_network(load: Load) -> None:
    settings = load(STELLAR_NETWORK="testnet")
    assert settings.payload_keys is None
    with pytest.raises(SettingsError, match="CUSTODY_KEYS: missing: id:base64"):
        settings.require("payload_keys", "custody_keys")


def test_lane_quotas_must_fit(load: Load) -> None:
    assert "at least 20" in problems(load, LANES_MAX="19")["LANES_MAX"]


def test_a_secret_comes_from_a_file(load: Load, tmp_path: Path) -> None:
    (tmp_path / "pool").write_text(f"{POOL.secret}\n")
    settings = load(STELLAR_POOL_SECRET_KEY_FILE=str(tmp_path / "pool"))
    assert settings.stellar_pool_public_key == POOL.public_key


def test_a_secrets_file_that_is_not_there_is_named(load: Load) -> None:
    assert "/nowhere" in problems(load, STELLAR_POOL_SECRET_KEY_FILE="/nowhere")["STELLAR_POOL_SECRET_KEY_FILE"]


def test_a_secret_is_not_given_twice(load: Load, tmp_path: Path) -> None:
    (tmp_path / "pool").write_text(POOL.secret)
    found = problems(
        load, STELLAR_POOL_SECRET_KEY=POOL.secret, STELLAR_POOL_SECRET_KEY_FILE=str(tmp_path / "pool")
    )
    assert "not both" in found["STELLAR_POOL_SECRET_KEY"]


def test_a_misspelt_limit_is_not_silently_off(load: Load) -> None:
    found = problems(load, PAYOUTS_MAX_GAS_STROOP="100")
    assert "did you mean PAYOUTS_MAX_GAS_STROOPS?" in found["PAYOUTS_MAX_GAS_STROOP"]


def test_a_slow_local_ledger_is_followed_for_as_long_as_it_takes_to_close(load: Load) -> None:
    assert load().followed_seconds_max == 30
    assert load(LEDGER_CLOSE_MS="40000").followed_seconds_max > 80
    elsewhere = load(STELLAR_NETWORK="testnet", SOROBAN_RPC_URL="https://rpc.example.org", LEDGER_CLOSE_MS="40000")
    assert elsewhere.followed_seconds_max == 30


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("PAYOUTS_MAX_GAS_STROOP_LIMIT", "PAYOUTS_MAX_GAS_STROOPS"),
        ("STELLAR_POOL_SECRET", "STELLAR_POOL_SECRET_KEY"),
        ("HOLDFAST_BUILD", "HOLDFAST_BUILD_ID"),
    ],
)
def test_a_variable_that_looks_like_a_setting_and_is_none_is_told_with_the_nearest_name(
    load: Load, name: str, near: str
) -> None:
    notes = load(**{name: "5", "HOLDFAST_API_URL": "http://127.0.0.1:8000"}).notes
    assert [note for note in notes if note.startswith(name)] == [f"{name} is no setting; did you mean {near}?"]
    assert not [note for note in notes if note.startswith("HOLDFAST_API_URL")]


def test_the_environment_stands_above_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / ".env"
    file.write_text("API_PORT=9001\nLANES_MAX=30\nSMTP_HOST=\n")
    monkeypatch.setenv("API_PORT", "9002")
    settings = load_settings(file)
    assert (settings.api_port, settings.lanes_max, settings.smtp_host) == (9002, 30, "127.0.0.1")


def test_lanes_derive_from_the_pool_and_the_deployment(load: Load) -> None:
    first = load(STELLAR_POOL_SECRET_KEY=POOL.secret).lanes_mnemonic.get_secret_value()
    again = load(STELLAR_POOL_SECRET_KEY=POOL.secret).lanes_mnemonic.get_secret_value()
    elsewhere = load(STELLAR_POOL_SECRET_KEY=POOL.secret, HOLDFAST_DEPLOYMENT="blue").lanes_mnemonic
    assert first == again
    assert len(first.split()) == 24
    assert elsewhere.get_secret_value() != first
    Keypair.from_mnemonic_phrase(first, index=0)


def test_a_keyring_seals_with_its_first_key() -> None:
    ring = Keyring.parse(f"new:{KEY}, old:{base64.b64encode(bytes([1]) * 32).decode()}")
    assert ring.current == "new"
    assert set(ring.keys) == {"new", "old"}
    assert KEY not in repr(ring)


@pytest.mark.parametrize("text", ["", "k1", "k1:", f"k1:{KEY},k1:{KEY}", "k1:AAAA", "k1:!!!"])
def test_a_keyring_that_is_not_one_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"entry|bytes") as caught:
        Keyring.parse(text)
    assert KEY not in str(caught.value)


def test_the_examples_file_loads_when_every_line_is_uncommented(tmp_path: Path) -> None:
    example = Path(__file__).parents[2] / ".env.example"
    lines = [
        line.removeprefix("#")
        for line in example.read_text().splitlines()
        if line.startswith("#") and not line.startswith(("# ", "##"))
    ]
    file = tmp_path / ".env"
    file.write_text("\n".join(lines))
    assert len(lines) == len(Settings.model_fields)
    assert load_settings(file) == load_settings(tmp_path / "absent")
    assert os.environ.get("API_PORT") is None
