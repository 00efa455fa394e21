"""Settings of what Holdfast runs on: Postgres, Temporal, and what is logged and measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import SecretStr, field_validator

from settings.fields import HttpUrl, Words, setting
from settings.stellar import StellarSettings, is_local

PORT_RIGHT: Final = "a port between 1 and 65535"
PORT: Final[dict[str, Any]] = {"right": PORT_RIGHT, "ge": 1, "le": 65535}


class ServiceSettings(StellarSettings):
    """What Holdfast runs on: Postgres, Temporal, and what is logged and measured."""

    var_dir: Path = setting(
        "Where `holdfast up` keeps its state and writes up.json.", default=Path("var"), right="a directory's path"
    )
    postgres_port: int = setting(
        "The port of the embedded PostgreSQL, used where DATABASE_URL is not set.", default=54321, **PORT
    )
    database_url: SecretStr = setting(
        "The PostgreSQL database.",
        default_from=lambda above: SecretStr(f"postgresql://postgres@127.0.0.1:{above['postgres_port']}/holdfast"),
        default_text="the embedded PostgreSQL that `holdfast up` starts",
        right="postgresql://USER:PASSWORD@HOST:PORT/DATABASE",
    )

    temporal_port: int = setting(
        "The port of the local Temporal server, used where TEMPORAL_ADDRESS is not set.", default=7233, **PORT
    )
    temporal_address: str = setting(
        "Temporal's front end; where it is not set, `holdfast up` starts a server of its own.",
        default_from=lambda above: f"127.0.0.1:{above['temporal_port']}",
        default_text="the local server that `holdfast up` starts",
        right="HOST:PORT, such as 127.0.0.1:7233",
        pattern=r"^[A-Za-z0-9.\-\[\]:]+:[0-9]{1,5}$",
    )
    temporal_namespace: str = setting("Temporal's namespace.", default="default", right="a name", min_length=1)
    temporal_api_key: SecretStr | None = setting(
        "The API key of Temporal Cloud; it turns TLS on.", default=None, default_text="none", right="an API key"
    )
    temporal_tls: bool = setting(
        "Whether to speak TLS to Temporal.",
        default_from=lambda above: above.get("temporal_api_key") is not None,
        default_text="true where TEMPORAL_API_KEY is set",
        right="true or false",
    )
    temporal_tls_server_name: str = setting(
        "The name that Temporal's certificate must have.", default="", default_text="the host", right="a host name"
    )
    temporal_tls_server_ca_cert_path: Path | None = setting(
        "The certificate authority that Temporal's certificate must come from.",
        default=None,
        default_text="the machine's",
        right="the path of a PEM file",
    )
    temporal_tls_client_cert_path: Path | None = setting(
        "Our certificate, for mutual TLS.", default=None, default_text="none", right="the path of a PEM file"
    )
    temporal_tls_client_key_path: Path | None = setting(
        "The key of our certificate.", default=None, default_text="none", right="the path of a PEM file"
    )
    temporal_ui_port: int = setting("The port of the local Temporal Web UI.", default=8233, **PORT)
    temporal_ui_url: HttpUrl = setting(
        "Where links to workflows lead.",
        default_from=lambda above: f"http://127.0.0.1:{above['temporal_ui_port']}",
        default_text="the local Web UI",
        right="an http or https URL",
    )
    codec_port: int = setting(
        "The loopback port on which the Temporal Web UI has payloads opened.", default=8888, **PORT
    )
    codec_host: str = setting(
        "The address on which the codec endpoint listens; leave it on loopback unless a container is around it.",
        default="127.0.0.1",
        right="an address such as 127.0.0.1",
    )
    codec_origins: Words = setting(
        "The Web UIs that may have payloads opened.",
        default_from=lambda above: tuple(
            {above["temporal_ui_url"]: 0, f"http://localhost:{above['temporal_ui_port']}": 0}
        ),
        default_text="TEMPORAL_UI_URL, and localhost",
        right="origins such as https://temporal.example.org, comma-separated",
    )
    codec_token: SecretStr | None = setting(
        "The bearer token that the codec endpoint asks for.",
        default=None,
        default_text="none on the local network; without one the endpoint does not start elsewhere",
        right="16 characters or more",
    )

    holdfast_workers: int = setting(
        "How many worker processes share the lanes' quotas.", default=1, right="1 to 1000", ge=1, le=1000
    )
    holdfast_build_id: str = setting(
        "The build that a worker reports for Temporal's worker versioning.",
        default="",
        default_text="no versioning",
        right="a version, such as a git commit",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = setting(
        "The least severe lines that are logged.", default="INFO", right="DEBUG, INFO, WARNING or ERROR"
    )
    log_json: bool = setting(
        "Whether lines are JSON, instead of text for people.",
        default_from=lambda above: not is_local(above),
        default_text="false on the local network, true elsewhere",
        right="true or false",
    )
    metrics_host: str = setting(
        "The address on which metrics are served.", default="127.0.0.1", right="an address such as 0.0.0.0"
    )
    metrics_port: int = setting("The port of a worker's own Prometheus metrics.", default=9464, **PORT)
    temporal_metrics_port: int = setting(
        "The port of the Temporal SDK's Prometheus metrics.", default=9465, **PORT
    )
    otel_exporter_otlp_endpoint: str = setting(
        "The OpenTelemetry collector that traces and the SDK's metrics are sent to, by OTLP over HTTP.",
        default="",
        default_text="none: metrics are served for Prometheus, nothing is traced",
        right="an http or https URL without a path, such as http://127.0.0.1:4318",
        pattern=r"^(https?://[^\s/]+)?$",
    )

    @field_validator("database_url")
    @classmethod
    def _database(cls, value: SecretStr) -> SecretStr:
        url = urlsplit(value.get_secret_value())
        if not url.scheme.startswith("postgres") or not url.path.strip("/"):
            raise ValueError("not a PostgreSQL URL")
        return value

    @field_validator("log_level", mode="before")
    @classmethod
    def _level(cls, value: object) -> object:
        return value.strip().upper() if isinstance(value, str) else value

    @field_validator(
        "temporal_tls_server_ca_cert_path", "temporal_tls_client_cert_path", "temporal_tls_client_key_path"
    )
    @classmethod
    def _readable(cls, value: Path | None) -> Path | None:
        if value is not None and not value.is_file():
            raise ValueError("there is no such file")
        return value

    @field_validator("codec_token")
    @classmethod
    def _long(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value()) < 16:
            raise ValueError("too short")
        return value
