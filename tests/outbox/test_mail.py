"""A mail arrives as it was meant: each letter of it, from whom it came, and to nobody else."""

from __future__ import annotations

import pytest

from adapters.mail import Mailer, MailServer
from domain.errors import Refused
from domain.messages import Message
from localnet.clients import LocalInbox
from tests.outbox.test_dispatcher import paid

BODY = "Straße 1 – 1 000 €\n.\n..two dots\nFrom here on\n" + "https://explorer.test/" + "x" * 120 + "\n"
SUBJECT = "Holdfast: " + "die Zahlung für Köln ist bestätigt, " * 5 + "ja"


def mailer(inbox: LocalInbox, sender: str = "Holdfast <holdfast@localhost>") -> Mailer:
    return Mailer(MailServer("127.0.0.1", inbox.smtp_port, sender, starttls=False))


@pytest.mark.parametrize(
    ("sender", "address", "recipient"),
    [
        ("Holdfast <holdfast@localhost>", "holdfast@localhost", "noc@example.org"),
        ("Größe <pay@example.org>", "pay@example.org", "noc@example.org"),
        ("Grüße <grüße@bücher.example>", "grüße@bücher.example", "köln@example.org"),
        ("A very long name " * 8 + "<pay@example.org>", "pay@example.org", "noc@example.org"),
    ],
)
async def test_each_letter_of_a_mail_arrives(inbox: LocalInbox, sender: str, address: str, recipient: str) -> None:
    post = mailer(inbox, sender)
    await post.send(recipient, Message(SUBJECT, BODY), event=paid(), reference="delivery-7")
    post.close()
    (mail,) = inbox.messages(kind="mail")
    headers = dict(mail["headers"])
    assert (mail["sender"], mail["to"], mail["subject"]) == (address, recipient, SUBJECT)
    assert mail["text"].replace("\r\n", "\n") == BODY
    assert headers["Message-ID"] == f"<delivery-7@{address.partition('@')[2]}>"
    assert headers["Date"] == "Fri, 16 Jan 2026 10:30:00 +0000"
    assert headers["Auto-Submitted"] == "auto-generated"
    if address.isascii():
        assert " ".join(headers["From"].split()) == " ".join(sender.split())
        assert headers["To"] == recipient


@pytest.mark.parametrize(
    "recipient",
    ["noc@example.org\r\nBcc: other@example.org", "Noc\nX: y <noc@example.org>", "a b <c d@e.org>", ""],
)
async def test_what_is_no_address_is_refused_and_becomes_no_header(inbox: LocalInbox, recipient: str) -> None:
    with pytest.raises(Refused, match="not an address"):
        await mailer(inbox).send(recipient, Message("s", "b"), event=paid(), reference="delivery-8")
    assert not inbox.messages(kind="mail")
