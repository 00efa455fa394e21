"""The one class of all settings, and the one way to load it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, ClassVar, Self

from dotenv import dotenv_values
from pydantic import ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from settings.front import FrontSettings
from settings.payments import PaymentSettings
from settings.redaction import redact
from settings.services import ServiceSettings
from settings.signing import PayoutSigner, SigningSettings
from settings.source import (
    SecretFiles,
    environment,
    environment_names,
    is_secret,
    misspelt,
    secret_file_problems,
    unknown_names,
)
from settings.stellar import StellarNetwork, StellarSettings, public_key

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
"""Addresses that only this machine reaches."""


class SettingsError(Exception):
    """Holdfast cannot start with these settings; the text names each variable and what would be right."""

    def __init__(self, problems: list[tuple[str, str]]) -> None:
        self.problems = tuple(problems)
        count = "a setting is" if len(problems) == 1 else f"{len(problems)} settings are"
        lines = [f"Holdfast cannot start: {count} not right.", ""]
        lines += [f"  {name}: {right}" for name, right in problems]
        lines += ["", "Every setting is described in docs/settings.md and .env.example."]
        super().__init__("\n".join(lines))


class Settings(SigningSettings, ServiceSettings, FrontSettings):
    """Every setting: from the environment, over `.env`, over the defaults.

    Values that depend on others (the passphrase, the RPC's URL) are filled in: what is read here counts.
    """

    GROUPS: ClassVar[tuple[type[BaseSettings], ...]] = (
        StellarSettings,
        PaymentSettings,
        SigningSettings,
        ServiceSettings,
        FrontSettings,
    )

    model_config = SettingsConfigDict(
        frozen=True,
        extra="ignore",
        env_file=".env",
        env_file_encoding="utf-8",
        env_ignore_empty=True,
        validate_by_name=True,
        validate_by_alias=True,
        # A wrong value is named by our own message; pydantic's would echo it.
        hide_input_in_errors=True,
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, then the environment, then `.env`, then the files that `NAME_FILE` points to."""
        env_file = getattr(dotenv_settings, "env_file", None)
        files = SecretFiles(settings_cls, environment(Path(env_file) if env_file else None))
        return init_settings, env_settings, dotenv_settings, files

    @model_validator(mode="after")
    def _agree(self) -> Self:
        problems: list[tuple[str, str]] = []
        pool = public_key(self.stellar_pool_secret_key)
        if pool is not None and self.stellar_pool_public_key != pool:
            problems.append(
                (
                    "STELLAR_POOL_PUBLIC_KEY",
                    f"it is not the account of STELLAR_POOL_SECRET_KEY; that one is {pool}",
                )
            )
        if not self.stellar_soroban_rpc_url:
            problems.append(
                ("STELLAR_SOROBAN_RPC_URL", f"needed on {self.stellar_network}: the URL of a Stellar RPC provider")
            )
        lanes = self.lanes_interactive + self.lanes_bulk + self.lanes_waiting
        if lanes > self.lanes_max:
            problems.append(
                ("LANES_MAX", f"at least {lanes}: LANES_INTERACTIVE, LANES_BULK and LANES_WAITING together")
            )
        if self.api_local_keyless and not (self.local and self.api_host in LOOPBACK):
            problems.append(("API_LOCAL_KEYLESS", "true only with STELLAR_NETWORK=local and a loopback API_HOST"))
        if self.webhook_url and self.webhook_secret is None:
            problems.append(("WEBHOOK_SECRET", "needed with WEBHOOK_URL: 16 characters or more"))
        if self.webhook_secret is not None and len(self.webhook_secret.get_secret_value()) < 16:
            problems.append(("WEBHOOK_SECRET", "16 characters or more, such as $(openssl rand -hex 32)"))
        if (self.temporal_tls_client_cert_path is None) != (self.temporal_tls_client_key_path is None):
            problems.append(
                ("TEMPORAL_TLS_CLIENT_CERT_PATH", "set together with TEMPORAL_TLS_CLIENT_KEY_PATH, or neither")
            )
        problems += self._problems_of_the_payer()
        if problems:
            raise SettingsError(problems)
        return self

    def _problems_of_the_payer(self) -> list[tuple[str, str]]:
        # Whether the signer's key is one of the payer's is asked of the ledger, when a worker starts and by the
        # doctor: a payer may have several, and while one is rotated it has two.
        problems: list[tuple[str, str]] = []
        hot = self.payout_signer is PayoutSigner.HOT
        if self.is_set("payouts_sign_with_hot_key") and self.payouts_sign_with_hot_key != hot:
            right = "false" if self.payouts_sign_with_hot_key else "true"
            problems.append(("PAYOUTS_SIGN_WITH_HOT_KEY", f"{right}, since PAYOUT_SIGNER is {self.payout_signer}"))
        if (
            {PayoutSigner.KMS, PayoutSigner.PKCS11} & set(self.payout_signers)
            and self.payout_contract_id is not None
            and self.stellar_pool_secret_key is not None
            and self.payout_source_account == self.stellar_pool_public_key
        ):
            problems.append(
                (
                    "PAYOUT_SOURCE_ACCOUNT",
                    f"needed where {' or '.join(self.payout_signers)} sign: an account of its own, "
                    "since STELLAR_POOL_SECRET_KEY signs for the pool account at once",
                )
            )
        return problems

    @property
    def local(self) -> bool:
        """Whether this is the local network, with play money and all parts on this machine."""
        return self.stellar_network is StellarNetwork.LOCAL

    @property
    def paying_contracts(self) -> tuple[str, ...]:
        """The contracts that pay: the SLA contract and the payout contract, as far as they are set."""
        return tuple(contract for contract in (self.sla_contract_id, self.payout_contract_id) if contract)

    def is_set(self, field: str) -> bool:
        """Whether somebody gave this setting a value, instead of its default."""
        return field in self.model_fields_set

    @property
    def starts_ledger(self) -> bool:
        """Whether `holdfast up` starts a ledger of its own."""
        return self.local and not self.is_set("stellar_soroban_rpc_url")

    @property
    def starts_postgres(self) -> bool:
        """Whether `holdfast up` starts a PostgreSQL of its own."""
        return not self.is_set("database_url")

    @property
    def starts_temporal(self) -> bool:
        """Whether `holdfast up` starts a Temporal server of its own."""
        return not self.is_set("temporal_address")

    @property
    def friendbot_url(self) -> str | None:
        """Where accounts of play money are funded; None where there is only real money."""
        match self.stellar_network:
            case StellarNetwork.LOCAL:
                # stellar/quickstart has its RPC at /rpc, and friendbot beside it.
                root = self.stellar_soroban_rpc_url.removesuffix("/rpc").removesuffix("/soroban")
                return f"{root}/friendbot"
            case StellarNetwork.TESTNET:
                return "https://friendbot.stellar.org"
            case StellarNetwork.FUTURENET:
                return "https://friendbot-futurenet.stellar.org"
            case StellarNetwork.PUBLIC:
                return None

    @property
    def followed_seconds_max(self) -> float:
        """How old the newest followed ledger may be while a worker follows: several closes, and never under 30 s.

        The public networks close a ledger in about 5 s; the local one's time is a setting.
        """
        return max(30.0, 3 * self.ledger_close_ms / 1000 + 5) if self.local else 30.0

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know of these settings; logged at the start."""
        notes = []
        if self.stellar_horizon_url:
            notes.append("STELLAR_HORIZON_URL is set and not used: everything is read from the RPC.")
        if not self.payouts_live_execution:
            notes.append("PAYOUTS_LIVE_EXECUTION is false: transactions are built, and never signed or sent.")
        for name, near in unknown_names(type(self).model_fields, os.environ):
            notes.append(f"{name} is no setting{f'; did you mean {near}?' if near else '.'}")
        return tuple(notes)

    def require(self, *fields: str) -> None:
        """Check that these settings have values, whatever their defaults are.

        Raises:
            SettingsError: names every one that is missing.
        """
        missing = []
        for name in fields:
            if getattr(self, name) in (None, ""):
                field = type(self).model_fields[name]
                missing.append((environment_names(name, field)[0], f"missing: {_right(name)}"))
        if missing:
            raise SettingsError(missing)


def _right(field_name: str) -> str:
    extra = Settings.model_fields[field_name].json_schema_extra
    return str(extra["right"]) if isinstance(extra, dict) else ""


def _field_of(location: str) -> str | None:
    """Give the field that an error's location, a field's name or a variable's, belongs to."""
    for name, field in Settings.model_fields.items():
        if location == name or location.upper() in environment_names(name, field):
            return name
    return None


def _sentence(location: str, error: dict[str, Any], values: dict[str, str]) -> tuple[str, str]:
    name = _field_of(location)
    if name is None:
        return location, str(error["msg"])
    field = Settings.model_fields[name]
    names = environment_names(name, field)
    given = next((candidate for candidate in names if candidate in values), None)
    if given is None and is_secret(field):
        given = next((f"{candidate}_FILE" for candidate in names if f"{candidate}_FILE" in values), None)
    sentence = f"must be {_right(name)}"
    if is_secret(field):
        # pydantic's messages may quote the value; those of our own checks never do.
        if error["type"] == "value_error":
            sentence += f"; {str(error['msg']).removeprefix('Value error, ')}"
        return given or names[0], sentence
    if given is not None:
        sentence += f"; it is {redact(values[given])!r}"
    return given or names[0], sentence


def load_settings(env_file: str | os.PathLike[str] | None = ".env", **values: Any) -> Settings:
    """Read the settings.

    Args:
        env_file: a file of variables; the process's own environment stands above it.
        values: settings by field name that stand above both.

    Raises:
        SettingsError: names every variable that is wrong and what would be right, and never a secret value.
    """
    path = Path(env_file) if env_file is not None else None
    at_hand = {name.upper(): value for name, value in environment(path).items()}
    problems = secret_file_problems(Settings.model_fields, at_hand)
    names = set(os.environ) | (set(dotenv_values(path)) if path is not None and path.is_file() else set())
    problems += misspelt(Settings.model_fields, names)
    if problems:
        raise SettingsError(problems)
    try:
        return Settings(_env_file=path, **values)
    except ValidationError as error:
        sentences: dict[str, str] = {}
        for problem in error.errors(include_input=False, include_url=False, include_context=False):
            # A default that depends on a wrong setting is not wrong itself.
            if problem["type"] == "default_factory_not_called" or not problem["loc"]:
                continue
            variable, right = _sentence(str(problem["loc"][0]), dict(problem), at_hand)
            sentences.setdefault(variable, right)
        raise SettingsError(list(sentences.items())) from None
