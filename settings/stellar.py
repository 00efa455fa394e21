"""Settings of the network, its accounts and its contracts."""

from __future__ import annotations

import hashlib
from enum import StrEnum
from typing import Any, Final

from pydantic import SecretStr, field_validator
from pydantic_settings import BaseSettings

from settings.fields import AccountId, ContractId, HttpUrl, Keyring, KeyringValue, Seed, setting


class StellarNetwork(StrEnum):
    """Which network; the guides' spellings are accepted in any case."""

    LOCAL = "local"
    TESTNET = "testnet"
    FUTURENET = "futurenet"
    PUBLIC = "public"


NETWORK_SPELLINGS: Final = {
    "local": StellarNetwork.LOCAL,
    "standalone": StellarNetwork.LOCAL,
    "testnet": StellarNetwork.TESTNET,
    "test": StellarNetwork.TESTNET,
    "futurenet": StellarNetwork.FUTURENET,
    "public": StellarNetwork.PUBLIC,
    "pubnet": StellarNetwork.PUBLIC,
    "mainnet": StellarNetwork.PUBLIC,
}

PASSPHRASES: Final = {
    StellarNetwork.LOCAL: "Standalone Network ; February 2017",
    StellarNetwork.TESTNET: "Test SDF Network ; September 2015",
    StellarNetwork.FUTURENET: "Test SDF Future Network ; October 2022",
    StellarNetwork.PUBLIC: "Public Global Stellar Network ; September 2015",
}

# The public network has no free RPC of its own: an operator chooses a provider.
_RPC_URLS: Final = {
    StellarNetwork.TESTNET: "https://soroban-testnet.stellar.org",
    StellarNetwork.FUTURENET: "https://rpc-futurenet.stellar.org",
}

_EXPLORERS: Final = {
    StellarNetwork.TESTNET: "https://stellar.expert/explorer/testnet",
    StellarNetwork.FUTURENET: "https://futurenet.stellarchain.io",
    StellarNetwork.PUBLIC: "https://stellar.expert/explorer/public",
}


def is_local(above: dict[str, Any]) -> bool:
    """Whether the settings read so far name the local network."""
    return above["stellar_network"] is StellarNetwork.LOCAL


def _rpc_url(above: dict[str, Any]) -> str:
    if is_local(above):
        return f"http://127.0.0.1:{above['ledger_port']}"
    return _RPC_URLS.get(above["stellar_network"], "")


def _explorer_url(above: dict[str, Any]) -> str:
    if is_local(above):
        return f"http://127.0.0.1:{above['ledger_port']}"
    return _EXPLORERS[above["stellar_network"]]


def public_key(seed: SecretStr | None) -> str | None:
    """Give the account of a secret key."""
    if seed is None:
        return None
    from stellar_sdk import Keypair  # noqa: PLC0415

    return Keypair.from_secret(seed.get_secret_value()).public_key


def native_contract(network_passphrase: str) -> str:
    """Give the id of XLM's asset contract, which is the network's own."""
    from stellar_sdk import Asset  # noqa: PLC0415

    return Asset.native().contract_id(network_passphrase)


def derived_mnemonic(above: dict[str, Any]) -> SecretStr:
    """Derive the lanes' phrase from the pool's secret key: another deployment has other lanes.

    Without a pool key it derives from the deployment's name alone; nothing can be sent then anyhow.
    """
    from mnemonic import Mnemonic  # noqa: PLC0415

    seed: SecretStr | None = above.get("stellar_pool_secret_key")
    secret = seed.get_secret_value() if seed else ""
    material = f"holdfast lanes\0{above['holdfast_deployment']}\0{secret}".encode()
    return SecretStr(Mnemonic("english").to_mnemonic(hashlib.sha256(material).digest()))


def play_keyring(above: dict[str, Any], purpose: str) -> Keyring | None:
    """Give the local network a keyring without asking for one; other networks must be given theirs."""
    return Keyring.of_play_money(above["holdfast_deployment"], purpose) if is_local(above) else None


_SEED_RIGHT: Final = "a Stellar secret key: S and 55 more letters and digits, with a valid checksum"
_ACCOUNT_RIGHT: Final = "a Stellar account: G and 55 more letters and digits, with a valid checksum"
_CONTRACT_RIGHT: Final = "a contract id: C and 55 more letters and digits, with a valid checksum"


class StellarSettings(BaseSettings):
    """The network, the accounts and the contracts."""

    holdfast_deployment: str = setting(
        "The name of this deployment: it is in every lane's home_domain and in every payment's marker id, "
        "so it must never change once money has moved.",
        default="local",
        right="1 to 24 of a-z, 0-9, dot and hyphen, beginning with a letter or digit",
        pattern=r"^[a-z0-9][a-z0-9.\-]{0,23}$",
    )
    stellar_network: StellarNetwork = setting(
        "The Stellar network.",
        default=StellarNetwork.LOCAL,
        right="local, testnet, futurenet or public (standalone, test, mainnet and pubnet are understood too)",
    )
    ledger_port: int = setting(
        "The port of the local ledger: RPC, friendbot and explorer.",
        default=8003,
        right="a port between 1 and 65535",
        ge=1,
        le=65535,
    )
    ledger_close_ms: int = setting(
        "How often the local ledger closes; 5000 is like the public network.",
        default=1000,
        unit="ms",
        right="50 to 60000",
        ge=50,
        le=60_000,
    )
    stellar_network_passphrase: str = setting(
        "The network's passphrase, which every signature covers.",
        default_from=lambda above: PASSPHRASES[above["stellar_network"]],
        default_text="by STELLAR_NETWORK",
        right="the network's passphrase, such as 'Test SDF Network ; September 2015'",
        min_length=1,
    )
    stellar_soroban_rpc_url: HttpUrl = setting(
        "The Stellar RPC that is read and sent to.",
        default_from=_rpc_url,
        default_text="the local ledger, or the network's own; none on the public network: choose a provider",
        names=("STELLAR_SOROBAN_RPC_URL", "SOROBAN_RPC_URL", "STELLAR_RPC_URL"),
        right="an http or https URL; on the public network that of a provider of your choice",
    )
    stellar_horizon_url: str = setting(
        "Accepted because guides name it, and not used: everything is read from the RPC.",
        default="",
        right="anything",
    )
    explorer_url: HttpUrl = setting(
        "Where links to transactions lead: /tx/HASH is added.",
        default_from=_explorer_url,
        default_text="by STELLAR_NETWORK: the local ledger's own, or stellar.expert",
        right="an http or https URL",
    )

    stellar_pool_secret_key: Seed | None = setting(
        "The pool account's secret key: it holds rewards, receives penalties and is the contract's executor.",
        default=None,
        default_text="made by `holdfast up` on the local network",
        right=_SEED_RIGHT,
    )
    stellar_pool_public_key: AccountId | None = setting(
        "The pool account; checked to belong to STELLAR_POOL_SECRET_KEY.",
        default_from=lambda above: public_key(above.get("stellar_pool_secret_key")),
        default_text="that of STELLAR_POOL_SECRET_KEY",
        right=_ACCOUNT_RIGHT,
    )
    stellar_fee_secret_key: Seed | None = setting(
        "The account that pays all fees, and nothing else.",
        default_from=lambda above: above.get("stellar_pool_secret_key"),
        default_text="STELLAR_POOL_SECRET_KEY",
        right=_SEED_RIGHT,
    )
    sla_contract_id: ContractId | None = setting(
        "The SLA contract.",
        default=None,
        default_text="deployed by `holdfast up` on the local network",
        right=f"{_CONTRACT_RIGHT}; `holdfast deploy` prints it",
    )
    usdc_token_address: ContractId | None = setting(
        "The contract of USDC, which penalties are paid in; CODE:ISSUER is understood too.",
        default=None,
        default_text="deployed by `holdfast up` on the local network",
        right=f"{_CONTRACT_RIGHT}; or CODE:ISSUER of an asset",
    )
    nociq_token_address: ContractId | None = setting(
        "The contract of NOCIQ, which rewards are paid in; CODE:ISSUER is understood too.",
        default=None,
        default_text="deployed by `holdfast up` on the local network",
        right=f"{_CONTRACT_RIGHT}; or CODE:ISSUER of an asset",
    )

    lanes_mnemonic: SecretStr = setting(
        "The secret that the lanes' keys derive from (SEP-5); a lane's key moves no money.",
        default_from=derived_mnemonic,
        default_text="derived from STELLAR_POOL_SECRET_KEY and HOLDFAST_DEPLOYMENT",
        right="a BIP-39 phrase of 12 to 24 English words",
    )
    lanes_mnemonic_previous: SecretStr | None = setting(
        "The phrases that LANES_MNEMONIC replaced: what is in flight ends on their lanes; nothing begins there.",
        default=None,
        default_text="none",
        right="BIP-39 phrases of 12 to 24 English words, comma-separated",
    )
    lanes_max: int = setting(
        "How many lanes there may be: each carries one transaction a ledger.",
        default=20,
        unit="lanes",
        right="3 to 10000",
        ge=3,
        le=10_000,
    )
    lanes_interactive: int = setting(
        "Lanes that single payments may hold at once.",
        default=12,
        unit="lanes",
        right="1 or more; together with LANES_BULK and LANES_WAITING at most LANES_MAX",
        ge=1,
    )
    lanes_bulk: int = setting(
        "Lanes that batches may hold at once.",
        default=4,
        unit="lanes",
        right="1 or more; together with LANES_INTERACTIVE and LANES_WAITING at most LANES_MAX",
        ge=1,
    )
    lanes_waiting: int = setting(
        "Lanes that payments may hold while they wait for an external signature.",
        default=4,
        unit="lanes",
        right="0 or more; together with LANES_INTERACTIVE and LANES_BULK at most LANES_MAX",
        ge=0,
    )

    payload_keys: KeyringValue | None = setting(
        "AES-256 keys that seal what Temporal stores: the first seals, all of them open.",
        default_from=lambda above: play_keyring(above, "payloads"),
        default_text="a fixed key on the local network; needed elsewhere",
        right="id:base64 of 32 bytes, comma-separated, such as k1:$(openssl rand -base64 32)",
    )
    custody_keys: KeyringValue | None = setting(
        "AES-256 keys that seal the secret keys of wallets that Holdfast keeps.",
        default_from=lambda above: play_keyring(above, "custody"),
        default_text="a fixed key on the local network; needed elsewhere",
        right="id:base64 of 32 bytes, comma-separated, such as k1:$(openssl rand -base64 32)",
    )

    @field_validator("stellar_network", mode="before")
    @classmethod
    def _spelling(cls, value: object) -> object:
        return NETWORK_SPELLINGS.get(value.strip().lower(), value) if isinstance(value, str) else value

    @field_validator("usdc_token_address", "nociq_token_address", mode="before")
    @classmethod
    def _asset(cls, value: object, info: Any) -> object:
        if not isinstance(value, str) or ":" not in value:
            return value
        from stellar_sdk import Asset  # noqa: PLC0415
        from stellar_sdk.exceptions import SdkError  # noqa: PLC0415

        code, _, issuer = value.strip().partition(":")
        try:
            return Asset(code, issuer).contract_id(info.data["stellar_network_passphrase"])
        except (SdkError, ValueError, KeyError):
            raise ValueError("not an asset") from None

    @field_validator("lanes_mnemonic")
    @classmethod
    def _words(cls, value: SecretStr) -> SecretStr:
        from mnemonic import Mnemonic  # noqa: PLC0415

        phrase = " ".join(value.get_secret_value().split())
        if not Mnemonic("english").check(phrase):
            raise ValueError("not a BIP-39 phrase")
        return SecretStr(phrase)

    @field_validator("lanes_mnemonic_previous")
    @classmethod
    def _previous_words(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None:
            return None
        phrases = [
            cls._words(SecretStr(phrase)) for phrase in value.get_secret_value().split(",") if phrase.strip()
        ]
        return SecretStr(",".join(phrase.get_secret_value() for phrase in phrases))

    @property
    def lanes_phrases_previous(self) -> tuple[str, ...]:
        """The phrases that LANES_MNEMONIC replaced."""
        previous = self.lanes_mnemonic_previous
        return tuple(previous.get_secret_value().split(",")) if previous is not None else ()
