"""Secrets of the local network: made once, kept in files that only this user may read."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from stellar_sdk import Keypair

from cli.supervision import write_private
from settings import Settings

_SEEDS: Final = (
    "stellar_pool_secret_key",
    "stellar_fee_secret_key",
    "sla_admin_secret_key",
    "usdc_issuer_secret_key",
    "nociq_issuer_secret_key",
    "operator_secret_key",
    "noc_team_secret_key",
)
_KEYRINGS: Final = ("payload_keys", "custody_keys")
_WORDS: Final = ("webhook_secret",)


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
