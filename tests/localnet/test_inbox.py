"""The inbox: what is sent over real SMTP and HTTP is there to be seen, and never run."""

from __future__ import annotations

import hashlib
import hmac
import time
from base64 import b64encode
from email.message import EmailMessage
from pathlib import Path

import aiohttp
import aiosmtplib
import pytest

from localnet.clients import LocalInbox, LocalPartError
from localnet.inbox.messages import MESSAGES_MAX, Mailbox
from localnet.inbox.signatures import verify
from localnet.parts import free_port
from localnet.parts import inbox as inbox_part
from localnet.process import RunningPart

SECRET = "a-webhook-secret-of-tests"
HOSTILE = "<script>alert(1)</script>"


def mail(subject: str = "Penalty settled", text: str = "1,000 USDC", html: str = "") -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "holdfast@localhost", "noc@example.org", subject
    message.set_content(text)
    if html:
        message.add_alternative(html, subtype="html")
    return message


async def send(inbox: LocalInbox, message: EmailMessage) -> None:
    await aiosmtplib.send(message, hostname="127.0.0.1", port=inbox.smtp_port)


async def post(inbox: LocalInbox, body: bytes, name: str = "holdfast", **headers: str) -> int:
    url = f"{inbox.url}/hooks/{name}"
    async with aiohttp.ClientSession() as session, session.post(url, data=body, headers=headers) as answer:
        return answer.status


async def get(inbox: LocalInbox, path: str) -> tuple[str, dict[str, str]]:
    async with aiohttp.ClientSession() as session, session.get(f"{inbox.url}{path}") as answer:
        return await answer.text(), dict(answer.headers)


def signature(body: bytes, at: int, secret: str = SECRET) -> str:
    return f"t={at},v1={hmac.new(secret.encode(), f'{at}.'.encode() + body, hashlib.sha256).hexdigest()}"


async def test_mail_arrives_with_its_recipients_headers_and_both_bodies(inbox: LocalInbox) -> None:
    await send(inbox, mail("Zahlung bestätigt – 1 000 €", "Text", "<p>HTML</p>"))
    (message,) = inbox.messages(kind="mail", to="noc@", contains="bestätigt")
    assert message["subject"] == "Zahlung bestätigt – 1 000 €"
    assert message["sender"] == "holdfast@localhost"
    assert message["text"].strip() == "Text"
    assert message["html"].strip() == "<p>HTML</p>"
    assert ["To", "noc@example.org"] in message["headers"]


async def test_newest_comes_first_and_filters_narrow(inbox: LocalInbox) -> None:
    await send(inbox, mail("first"))
    await post(inbox, b'{"type": "outage.settled"}')
    await send(inbox, mail("third"))
    assert [message["subject"] for message in inbox.messages()] == ["third", "outage.settled", "first"]
    assert [message["subject"] for message in inbox.messages(kind="webhook")] == ["outage.settled"]
    assert inbox.messages(to="nobody") == []
    inbox.clear()
    assert inbox.messages() == []


async def test_a_right_signature_is_told_from_a_wrong_an_old_and_a_missing_one(inbox: LocalInbox) -> None:
    body, now = b'{"type":"payment.confirmed"}', int(time.time())
    name = "Holdfast-Signature"
    await post(inbox, body, **{name: signature(body, now)})
    await post(inbox, body, **{name: signature(body + b" ", now)})
    await post(inbox, body, **{name: signature(body, now - 3600)})
    await post(inbox, body)
    found = inbox.messages()
    assert [message["verified"] for message in reversed(found)] == [True, False, False, None]
    assert "too far from now" in found[1]["verification"]


def test_standard_webhooks_signatures_are_understood() -> None:
    at, body = str(int(time.time())), b"{}"
    digest = hmac.new(b"k" * 24, f"msg_1.{at}.".encode() + body, hashlib.sha256).digest()
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": at,
        "webhook-signature": f"v1,AAAA v1,{b64encode(digest).decode()}",
    }
    assert verify(headers, body, "whsec_" + b64encode(b"k" * 24).decode())[0] is True
    assert verify(headers, body, "another")[0] is False


async def test_hostile_messages_are_shown_as_text_only(inbox: LocalInbox) -> None:
    await send(inbox, mail(HOSTILE, HOSTILE, HOSTILE))
    await post(inbox, HOSTILE.encode(), name="x")
    (mail_id,) = [message["id"] for message in inbox.messages(kind="mail")]
    for path in ("/", "/list", f"/messages/{mail_id}", "/?contains=%3Cscript%3Ealert(1)%3C/script%3E"):
        page, headers = await get(inbox, path)
        assert HOSTILE not in page
        assert "&lt;script&gt;" in page
        assert "default-src 'none'" in headers["Content-Security-Policy"]


async def test_an_unavailable_endpoint_keeps_nothing_and_comes_back(inbox: LocalInbox) -> None:
    inbox.fault("webhook_503", count=2)
    assert [await post(inbox, b"{}") for _ in range(3)] == [503, 503, 204]
    assert len(inbox.messages()) == 1


async def test_a_dropped_answer_leaves_the_message_there(inbox: LocalInbox) -> None:
    inbox.fault("webhook_drop")
    with pytest.raises(aiohttp.ClientConnectionError):
        await post(inbox, b"{}")
    assert len(inbox.messages()) == 1


async def test_a_fault_may_hit_one_hook_only(inbox: LocalInbox) -> None:
    inbox.fault("webhook_503", name="a")
    assert [await post(inbox, b"{}", name="b"), await post(inbox, b"{}", name="a")] == [204, 503]


async def test_a_slow_endpoint_is_slow(inbox: LocalInbox) -> None:
    inbox.fault("webhook_delay", delay_ms=300)
    began = time.monotonic()
    await post(inbox, b"{}")
    assert time.monotonic() - began >= 0.3


async def test_the_mail_server_refuses_for_now_as_often_as_asked(inbox: LocalInbox) -> None:
    inbox.fault("smtp_451")
    with pytest.raises(aiosmtplib.SMTPDataError) as caught:
        await send(inbox, mail())
    assert caught.value.code == 451
    await send(inbox, mail())
    assert len(inbox.messages()) == 1


def test_a_fault_that_does_not_exist_is_refused(inbox: LocalInbox) -> None:
    with pytest.raises(LocalPartError, match="422"):
        inbox.fault("webhook_404")


async def test_a_body_that_is_too_large_is_refused(inbox: LocalInbox) -> None:
    assert await post(inbox, b"x" * 1_100_000) == 413


def test_only_the_last_messages_are_kept_and_survive_a_restart(tmp_path: Path) -> None:
    state = tmp_path / "inbox.jsonl"
    fields = {"sender": "", "to": "a", "headers": (), "subject": ""}
    mailbox = Mailbox(state)
    for number in range(MESSAGES_MAX * 2 + 50):
        mailbox.add(kind="mail", text=str(number), **fields)
    with state.open("a") as file:
        file.write('{"id": 99')  # killed while it wrote
    again = Mailbox(state)
    assert len(again) == MESSAGES_MAX
    assert next(again.newest_first()).text == str(MESSAGES_MAX * 2 + 49)
    assert again.add(kind="mail", text="next", **fields).id == MESSAGES_MAX * 2 + 51
    assert len(state.read_text().splitlines()) == MESSAGES_MAX + 1


async def test_a_killed_inbox_still_has_its_messages(tmp_path: Path) -> None:
    part = inbox_part(free_port(), free_port(), state=tmp_path / "inbox.jsonl")
    running = RunningPart(part, tmp_path / "log").start()
    client = LocalInbox(part.url, part.ports["INBOX_SMTP_PORT"])
    await send(client, mail("before the kill"))
    running.kill()
    with RunningPart(part, tmp_path / "log"):
        assert [message["subject"] for message in client.messages()] == ["before the kill"]
