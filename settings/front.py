"""Settings of the API, of what people are told, and of the local inbox."""

from __future__ import annotations

from pydantic import SecretStr

from settings.fields import HttpUrl, setting
from settings.services import PORT
from settings.stellar import StellarSettings, is_local


class FrontSettings(StellarSettings):
    """The API, what people are told, and the local inbox."""

    api_host: str = setting(
        "The address on which the API listens.", default="127.0.0.1", right="an address such as 0.0.0.0"
    )
    api_port: int = setting("The port on which the API listens.", default=8000, **PORT)
    api_url: HttpUrl = setting(
        "Where links to the API lead.",
        default_from=lambda above: f"http://127.0.0.1:{above['api_port']}",
        default_text="http://127.0.0.1 and API_PORT",
        right="an http or https URL",
    )
    api_local_keyless: bool = setting(
        "Whether requests without a key, from this machine, act as a local initiator who may report and resolve "
        "outages but approve nothing; only on the local network with a loopback API_HOST.",
        default=False,
        right="true or false; true only with STELLAR_NETWORK=local and a loopback API_HOST",
    )
    rate_limit_per_minute: int = setting(
        "How many requests one API key may make.",
        default=600,
        unit="requests a minute",
        right="1 to 1000000",
        ge=1,
        le=1_000_000,
    )
    body_bytes_max: int = setting(
        "The greatest request body.",
        default=1_048_576,
        unit="bytes",
        right="1024 to 104857600",
        ge=1024,
        le=104_857_600,
    )

    inbox_port: int = setting("The port of the local inbox's page and webhooks.", default=8025, **PORT)
    inbox_smtp_port: int = setting("The port of the local inbox's SMTP.", default=1025, **PORT)

    smtp_host: str = setting(
        "The mail server; without one no mail is sent.",
        default_from=lambda above: "127.0.0.1" if is_local(above) else "",
        default_text="the inbox on the local network; none elsewhere",
        right="a host name",
    )
    smtp_port: int = setting(
        "The mail server's port.",
        default_from=lambda above: above["inbox_smtp_port"] if is_local(above) else 587,
        default_text="INBOX_SMTP_PORT on the local network; 587 elsewhere",
        **PORT,
    )
    smtp_username: str = setting("The name to log in at the mail server with.", default="", right="a name")
    smtp_password: SecretStr | None = setting(
        "The password to log in at the mail server with.", default=None, default_text="none", right="a password"
    )
    smtp_from: str = setting(
        "Who mails come from.",
        default="Holdfast <holdfast@localhost>",
        right="an address such as Holdfast <payments@example.org>",
        pattern=r"^[^\r\n]*[^\s@<]+@[^\s@>]+>?$",
    )
    smtp_starttls: bool = setting(
        "Whether mail must go over TLS.",
        default_from=lambda above: not is_local(above),
        default_text="false on the local network, true elsewhere",
        right="true or false",
    )

    webhook_url: HttpUrl | None = setting(
        "The first endpoint that is told of every step; further ones are made through the API.",
        default_from=lambda above: (
            f"http://127.0.0.1:{above['inbox_port']}/hooks/holdfast" if is_local(above) else None
        ),
        default_text="the inbox on the local network; none elsewhere",
        right="an http or https URL",
    )
    webhook_secret: SecretStr | None = setting(
        "The secret that signs what is sent to WEBHOOK_URL (HMAC-SHA256).",
        default_from=lambda above: SecretStr("play-money-webhook-secret") if is_local(above) else None,
        default_text="a fixed one on the local network; needed with WEBHOOK_URL elsewhere",
        right="16 characters or more, such as $(openssl rand -hex 32)",
    )
