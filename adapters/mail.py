"""Mail over SMTP, ending in one of the three outcomes."""

from __future__ import annotations

from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import format_datetime, parseaddr

import aiosmtplib
from pydantic import SecretStr

from domain.errors import OutcomeUnknown, Refused, Unavailable
from domain.events import Event
from domain.messages import Message


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
    """Hands over one mail at a time; a connection each, since mails are few."""

    def __init__(self, server: MailServer) -> None:
        self._server = server

    async def send(self, recipient: str, message: Message, *, event: Event, reference: str) -> None:
        """Send one mail. `reference` makes its Message-ID, so that a second copy can be told to be one.

        Raises:
            Refused: the server will never take it.
            Unavailable: it was not handed over.
            OutcomeUnknown: the connection ended while it was handed over.
        """
        server = self._server
        mail = EmailMessage()
        mail["From"] = server.sender
        mail["To"] = recipient
        mail["Subject"] = message.subject
        mail["Date"] = format_datetime(event.at)
        domain = parseaddr(server.sender)[1].rpartition("@")[2] or "localhost"
        mail["Message-ID"] = f"<{reference}@{domain}>"
        mail["Auto-Submitted"] = "auto-generated"
        mail.set_content(message.body)
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
        try:
            await client.send_message(mail)
        except (aiosmtplib.SMTPRecipientsRefused, aiosmtplib.SMTPResponseException) as error:
            _translate(error)
        except (aiosmtplib.SMTPException, OSError) as error:
            raise OutcomeUnknown(f"the mail server went away meanwhile: {type(error).__name__}") from None
        finally:
            client.close()


def _translate(error: aiosmtplib.SMTPRecipientsRefused | aiosmtplib.SMTPResponseException) -> None:
    """SMTP says itself what may be tried again: 4xx may pass, 5xx may not."""
    first = error.recipients[0] if isinstance(error, aiosmtplib.SMTPRecipientsRefused) else error
    if 400 <= first.code < 500:
        raise Unavailable(f"the mail server answers {first.code}") from None
    raise Refused(f"the mail server refuses it: {first.code}") from None
