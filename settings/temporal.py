"""How to reach Temporal, as `temporalio.client.Client.connect` wants it."""

from __future__ import annotations

from pathlib import Path
from typing import TypedDict

from temporalio.service import TLSConfig

from settings.settings import Settings


class ConnectOptions(TypedDict):
    """The part of `Client.connect`'s arguments that settings decide."""

    target_host: str
    namespace: str
    api_key: str | None
    tls: bool | TLSConfig


def connect_options(settings: Settings) -> ConnectOptions:
    """Give `Client.connect` its address, namespace, key and TLS."""
    return ConnectOptions(
        target_host=settings.temporal_address,
        namespace=settings.temporal_namespace,
        api_key=settings.temporal_api_key.get_secret_value() if settings.temporal_api_key else None,
        tls=_tls(settings),
    )


def _tls(settings: Settings) -> bool | TLSConfig:
    files = (
        settings.temporal_tls_server_ca_cert_path,
        settings.temporal_tls_client_cert_path,
        settings.temporal_tls_client_key_path,
    )
    if not settings.temporal_tls and not any(files):
        return False

    def read(path: Path | None) -> bytes | None:
        return path.read_bytes() if path else None

    authority, certificate, key = map(read, files)
    return TLSConfig(
        server_root_ca_cert=authority,
        domain=settings.temporal_tls_server_name or None,
        client_cert=certificate,
        client_private_key=key,
    )
