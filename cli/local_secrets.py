"""Secrets of the local network: made once, kept in files that only this user may read."""

from __future__ import annotations

import base64
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from stellar_sdk import Keypair

from cli.supervision import write_private
from settings import Settings, load_settings

_SEEDS: Final = (
    "stellar_pool_secret_key",
    "stellar_fee_secret_key",
    "sla_admin_secret_key",
    "usdc_issuer_secret_key",
    "nociq_issuer_secret_key",
    "operator_secret_key",
    "noc_team_secret_key",
    "payout_hot_signer_secret",
)
_KEYRINGS: Final = ("payload_keys", "custody_keys")
_WORDS: Final = ("webhook_secret", "payout_pkcs11_pin")
_CONTRACTS: Final = "contracts.json"
_SIGNER: Final = "signer.json"


class LocalSecrets:
    """The files under `directory`; a setting that somebody gave is never replaced by one of them."""

    def __init__(self, directory: Path, settings: Settings) -> None:
        self._directory = directory
        self._settings = settings
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        directory.chmod(0o700)
        for name in (*_SEEDS, *_KEYRINGS, *_WORDS):
            if not self._path(name).exists():
                write_private(self._path(name), self._make(name))

    def _path(self, name: str) -> Path:
        return self._directory.resolve() / name

    def _make(self, name: str) -> str:
        if name in _SEEDS:
            return Keypair.random().secret
        if name in _KEYRINGS:
            return "local1:" + base64.b64encode(secrets.token_bytes(32)).decode()
        return secrets.token_hex(32)

    def keypair(self, name: str) -> Keypair:
        """The key pair of one account, such as `operator_secret_key`."""
        given = getattr(self._settings, name, None)
        if given is not None and self._settings.is_set(name):
            return Keypair.from_secret(given.get_secret_value())
        return Keypair.from_secret(self._path(name).read_text().strip())

    def word(self, name: str) -> str:
        """The plain text of one secret, such as `webhook_secret`."""
        given = getattr(self._settings, name, None)
        if given is not None and self._settings.is_set(name):
            return str(given.get_secret_value())
        return self._path(name).read_text().strip()

    def environment(self) -> Mapping[str, str]:
        """`NAME_FILE` settings for the parts: paths, and never the secrets themselves."""
        fields = type(self._settings).model_fields
        return {
            f"{name.upper()}_FILE": str(self._path(name))
            for name in (*_SEEDS, *_KEYRINGS, *_WORDS)
            if name in fields and not self._settings.is_set(name)
        }


def with_local(settings: Settings) -> Settings:
    """The settings as the worker and the API of a local `holdfast up` see them: with its secrets and contract ids.

    On any other network, and where `up` never ran, they are returned as they are.
    """
    directory = settings.var_dir / "secrets"
    if not settings.local or not directory.is_dir():
        return settings
    values: dict[str, str] = {
        name: (directory / name).read_text().strip()
        for name in (*_SEEDS, *_KEYRINGS, *_WORDS)
        if name in type(settings).model_fields and not settings.is_set(name) and (directory / name).exists()
    }
    for name, value in (read_contract_ids(settings) | _read(settings, _SIGNER)).items():
        if name not in type(settings).model_fields:
            # SoftHSM finds its tokens by a variable, and knows no other way.
            os.environ.setdefault(name.upper(), value)
        elif not settings.is_set(name):
            values[name] = value
    return load_settings(**values)


def write_contract_ids(settings: Settings, ids: Mapping[str, str]) -> None:
    """Keep the ids of the local contracts beside the local secrets."""
    write_private(settings.var_dir / "secrets" / _CONTRACTS, json.dumps(dict(ids), indent=2) + "\n")


def read_contract_ids(settings: Settings) -> dict[str, str]:
    """The ids of the local contracts by setting's name; empty where nothing was deployed."""
    return _read(settings, _CONTRACTS)


def write_signer(settings: Settings, chosen: Mapping[str, str]) -> None:
    """Keep who signs for the local payer, by variables' names, for the commands that are run beside `up`."""
    write_private(settings.var_dir / "secrets" / _SIGNER, json.dumps(dict(chosen), indent=2) + "\n")


def _read(settings: Settings, file: str) -> dict[str, str]:
    try:
        found: dict[str, str] = json.loads((settings.var_dir / "secrets" / file).read_text())
    except (OSError, ValueError):
        return {}
    return {name.lower(): value for name, value in found.items()}
