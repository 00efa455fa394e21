"""The mail server: takes any mail for anybody, and delivers none."""

from __future__ import annotations

import asyncio
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import EmailPolicy
from typing import Any, Final, cast

from aiosmtpd.smtp import SMTP

from localnet.inbox.faults import Faults
from localnet.inbox.messages import Mailbox

MAIL_BYTES_MAX: Final = 10 * 1024 * 1024


class _AsText(EmailPolicy):
    """Headers that are text already are left alone: to take each of them apart is most of the time of a mail."""

    def header_fetch_parse(self, name: str, value: str) -> Any:
        """Give a header's value."""
        is_text = value.isascii() and "=?" not in value and name.lower() != "content-disposition"
        return "".join(value.splitlines()) if is_text else super().header_fetch_parse(name, value)


_POLICY: Final = _AsText()


def _body(message: EmailMessage, kind: str) -> str:
    part = message.get_body((kind,))
    if part is None:
        return ""
    try:
        return str(part.get_content())
    except (LookupError, ValueError):  # a character set that does not exist, or bytes that are not of it
        payload = part.get_payload(decode=True)
        return payload.decode("utf-8", "replace") if isinstance(payload, bytes) else str(payload)


class MailHandler:
    """Keeps each mail in the mailbox."""

    def __init__(self, mailbox: Mailbox, faults: Faults) -> None:
        self._mailbox = mailbox
        self._faults = faults

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        """Keep a mail, and answer as SMTP does."""
        if self._faults.take("smtp_451"):
            return "451 4.3.0 Not now, as was asked"
        if self._faults.take("smtp_550"):
            return "550 5.1.1 Never, as was asked"
        message = cast(EmailMessage, message_from_bytes(envelope.original_content, policy=_POLICY))
        self._mailbox.add(
            kind="mail",
            sender=str(envelope.mail_from or ""),
            to=", ".join(envelope.rcpt_tos),
            subject=str(message.get("Subject", "")) or "(no subject)",
            headers=tuple((name, str(value)) for name, value in message.items()),
            text=_body(message, "plain"),
            html=_body(message, "html"),
            attachments=tuple(
                part.get_filename() or part.get_content_type() for part in message.iter_attachments()
            ),
        )
        return "250 2.0.0 Kept"


async def serve_mail(mailbox: Mailbox, faults: Faults, host: str, port: int) -> asyncio.Server:
    """Listen for SMTP; mail above `MAIL_BYTES_MAX` is refused."""

    def session() -> SMTP:
        return SMTP(
            MailHandler(mailbox, faults),
            data_size_limit=MAIL_BYTES_MAX,
            enable_SMTPUTF8=True,
            hostname="inbox.localhost",
            ident="Holdfast inbox",
            loop=asyncio.get_running_loop(),
        )

    return await asyncio.get_running_loop().create_server(session, host, port)
