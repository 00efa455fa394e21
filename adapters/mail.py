"""Mail over SMTP, ending in one of the three outcomes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email.charset import QP, Charset
from email.message import Message as Mail
from email.policy import SMTP, SMTPUTF8, compat32
from email.utils import format_datetime
from typing import Final

import aiosmtplib
from aiosmtplib.email import parse_address
from pydantic import SecretStr

from domain.errors import OutcomeUnknown, Refused, Unavailable
from domain.events import Event
from domain.messages import Message

_UTF8: Final = Charset("utf-8")
_UTF8.body_encoding = QP
_CONNECTIONS_MAX: Final = 4
_IDLE_SECONDS_MAX: Final = 5.0
"""A connection that was idle for longer is not used again: servers end them, and a mail into a dying one is of
unknown outcome."""


@dataclass(frozen=True, slots=True)
class MailServer:
    """Where and how to hand over mail."""

    host: str
    port: int
    sender: str
    username: str = ""
    password: SecretStr | None = None
    starttls: bool = True
    timeout_seconds: float = 20.0


class Mailer:
    """Hands over mails, one after the other on a few connections that are kept for a moment."""

    def __init__(self, server: MailServer) -> None:
        self._server = server
        sender = SMTP.header_factory("From", server.sender)
        self._sender = sender.addresses[-1].addr_spec
        self._domain = sender.addresses[-1].domain or "localhost"
        self._from = sender.fold(policy=SMTP).partition(":")[2].strip()
        self._slots = asyncio.Semaphore(_CONNECTIONS_MAX)
        self._idle: list[tuple[aiosmtplib.SMTP, float]] = []

    async def send(self, recipient: str, message: Message, *, event: Event, reference: str) -> None:
        """Send one mail. `reference` makes its Message-ID, so that a second copy can be told to be one.

        Raises:
            Refused: the server will never take it.
            Unavailable: it was not handed over.
            OutcomeUnknown: the connection ended while it was handed over.
        """
        address = _address(recipient)
        mail = self._write(address, message, event=event, reference=reference)
        options = ["SMTPUTF8", "BODY=8BITMIME"] if self._is_wide(address) else []
        async with self._slots, self._connection() as client:
            try:
                await client.sendmail(self._sender, [address], mail, mail_options=options)
            except aiosmtplib.SMTPNotSupported:
                raise Refused("the mail server takes no address with letters beyond ASCII") from None
            except (aiosmtplib.SMTPRecipientsRefused, aiosmtplib.SMTPResponseException) as error:
                _translate(error)
            except (aiosmtplib.SMTPException, OSError) as error:
                raise OutcomeUnknown(f"the mail server went away meanwhile: {type(error).__name__}") from None

    def _write(self, address: str, message: Message, *, event: Event, reference: str) -> bytes:
        wide = self._is_wide(address)
        # The older policy where it will do: the newer one takes eight times as long.
        mail: Mail = Mail(policy=SMTPUTF8 if wide else compat32)
        mail["From"] = self._server.sender if wide else self._from
        mail["To"] = address
        mail["Subject"] = message.subject
        mail["Date"] = format_datetime(event.at)
        mail["Message-ID"] = f"<{reference}@{self._domain}>"
        mail["Auto-Submitted"] = "auto-generated"
        mail.set_payload(message.body, _UTF8)
        return mail.as_bytes()

    def _is_wide(self, address: str) -> bool:
        """Whether an address of the mail has letters beyond ASCII, which not every server takes."""
        return not f"{self._sender}{address}".isascii()

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[aiosmtplib.SMTP]:
        """A connection to the server; it is kept for the next mail where this one was handed over."""
        client = self._kept() or await self._connect()
        try:
            yield client
        except BaseException:
            client.close()
            raise
        self._idle.append((client, time.monotonic()))

    def _kept(self) -> aiosmtplib.SMTP | None:
        found: aiosmtplib.SMTP | None = None
        stale = time.monotonic() - _IDLE_SECONDS_MAX
        while self._idle and found is None:
            client, since = self._idle.pop()
            if since > stale and client.is_connected:
                found = client
            else:
                client.close()
        return found

    async def _connect(self) -> aiosmtplib.SMTP:
        server = self._server
        client = aiosmtplib.SMTP(
            hostname=server.host,
            port=server.port,
            username=server.username or None,
            password=server.password.get_secret_value() if server.password else None,
            start_tls=server.starttls,
            timeout=server.timeout_seconds,
        )
        try:
            await client.connect()
        except aiosmtplib.SMTPAuthenticationError as error:
            raise Unavailable(f"the mail server does not let us in: code {error.code}") from None
        except (aiosmtplib.SMTPException, OSError) as error:
            raise Unavailable(f"the mail server does not answer: {type(error).__name__}") from None
        return client

    def close(self) -> None:
        """Close the connections that are kept."""
        while self._idle:
            self._idle.pop()[0].close()


def _address(recipient: str) -> str:
    try:
        address = parse_address(recipient)
    except ValueError:
        address = ""
    if not address or not recipient.isprintable():
        raise Refused("the recipient is not an address that mail can be sent to")
    return address


def _translate(error: aiosmtplib.SMTPRecipientsRefused | aiosmtplib.SMTPResponseException) -> None:
    """SMTP says itself what may be tried again: 4xx may pass, 5xx may not."""
    first = error.recipients[0] if isinstance(error, aiosmtplib.SMTPRecipientsRefused) else error
    if 400 <= first.code < 500:
        raise Unavailable(f"the mail server answers {first.code}") from None
    raise Refused(f"the mail server refuses it: {first.code}") from None
