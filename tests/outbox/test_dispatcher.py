"""What the outbox promises: told if and only if it committed, in order, signed, again until it arrives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import aiosmtplib
import pytest
from aiohttp import web
from pydantic import SecretStr
from sqlalchemy import select, update

from adapters.custody import Custody
from adapters.database import outbox
from adapters.database.engine import Database
from adapters.database.outbox_tables import deliveries, webhook_endpoints
from adapters.database.people import add_person
from adapters.database.registry import Operator, Site, put_operator, put_site
from adapters.database.webhook_endpoints import add_endpoint, replay
from adapters.dispatcher import Dispatcher, back_off
from adapters.mail import Mailer, MailServer
from adapters.webhooks import Webhooks, check_url, sign
from domain.errors import InvalidInput, Refused
from domain.events import Event, EventType
from domain.people import Role
from localnet.clients import LocalInbox
from tests.waiting import until

HOOK = "hook_test"
SECRET = SecretStr("a-webhook-secret-of-tests")
CUSTODY = Custody({"k1": b"k" * 32}, current="k1", tenant="test")
AT = datetime(2026, 1, 16, 10, 30, tzinfo=UTC)


def paid(outage: str = "OUT001", **changed: object) -> Event:
    data = {"type": "penalty", "amount": "1000.0000000", "asset": "USDC", "tx_hash": "ab" * 32}
    return Event(
        type=EventType.PAYMENT_CONFIRMED,
        subject=f"outage:{outage}",
        at=AT,
        data=data,
        **({"operator_id": "test-operator", "site_name": "Test Site"} | changed),  # type: ignore[arg-type]
    )


async def tell(database: Database, *events: Event) -> None:
    async with database.begin() as connection:
        for event in events:
            await outbox.tell(connection, event)


@pytest.fixture
async def dispatcher(database: Database, inbox: LocalInbox) -> AsyncIterator[Dispatcher]:
    async with database.begin() as connection:
        operator = Operator(id="test-operator", name="Test", emails=("operator@example.org",))
        await put_operator(connection, operator, by="test", at=AT)
        await add_endpoint(
            connection,
            endpoint_id=HOOK,
            url=f"{inbox.url}/hooks/test",
            sealed_secret=CUSTODY.seal_webhook(HOOK, SECRET),
            by="test",
        )
    webhooks = Webhooks(private_allowed=True)
    server = MailServer("127.0.0.1", inbox.smtp_port, "Holdfast <holdfast@localhost>", starttls=False)
    yield Dispatcher(
        database,
        mailer=Mailer(server),
        webhooks=webhooks,
        custody=CUSTODY,
        explorer_url="http://explorer.test",
        api_url="http://api.test",
    )
    await webhooks.close()


async def states(database: Database) -> dict[str, tuple[str, int]]:
    async with database.begin() as connection:
        rows = await connection.execute(
            select(deliveries.c.channel, deliveries.c.state, deliveries.c.attempts).order_by(deliveries.c.id)
        )
        return {row.channel: (row.state, row.attempts) for row in rows}


async def due_now(database: Database) -> None:
    """Time passes: back-offs end."""
    async with database.begin() as connection:
        await connection.execute(update(deliveries).values(next_at=AT))
        await connection.execute(update(webhook_endpoints).values(retry_at=None))


async def test_a_payment_is_told_by_signed_webhook_and_by_mail_with_amount_and_link(
    database: Database, inbox: LocalInbox, dispatcher: Dispatcher
) -> None:
    await tell(database, paid())
    stop = asyncio.Event()
    running = asyncio.create_task(dispatcher.run(stop))
    messages = await asyncio.to_thread(inbox.wait_for, 2)
    stop.set()
    await running
    by_kind = {message["kind"]: message for message in messages}
    assert "1,000 USDC" in by_kind["mail"]["subject"]
    assert f"http://explorer.test/tx/{'ab' * 32}" in str(by_kind["mail"])
    assert "signature is right" in str(by_kind["webhook"])
    assert "+00:00" not in f"{by_kind['mail']['text']} {by_kind['webhook']['text']}"
    assert "2026-01-16T10:30:00Z" in by_kind["mail"]["text"]
    assert await states(database) == {"webhook": ("sent", 1), "mail": ("sent", 1)}


async def test_what_was_rolled_back_is_not_told(database: Database, dispatcher: Dispatcher) -> None:
    async def fail_after_telling() -> None:
        async with database.begin() as connection:
            await outbox.tell(connection, paid())
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail_after_telling()
    assert not await dispatcher.step()
    assert await states(database) == {}


async def test_an_endpoint_that_fails_is_tried_again_after_its_back_off_and_then_replayed(
    database: Database, inbox: LocalInbox, dispatcher: Dispatcher
) -> None:
    inbox.fault("webhook_503")
    await tell(database, paid(operator_id=None))
    await dispatcher.step()
    assert await states(database) == {"webhook": ("pending", 1)}
    assert not await dispatcher.step(), "it waits"
    await due_now(database)
    await dispatcher.step()
    assert await states(database) == {"webhook": ("sent", 2)}
    async with database.begin() as connection:
        assert await replay(connection, HOOK, by="test", at=AT, since=AT) == 1
    await dispatcher.step()
    taken = [message for message in inbox.messages(kind="webhook") if "503" not in str(message.get("answer", ""))]
    assert len(taken) >= 2


async def test_one_dead_endpoint_does_not_hold_up_another(
    database: Database, inbox: LocalInbox, dispatcher: Dispatcher
) -> None:
    async with database.begin() as connection:
        await add_endpoint(
            connection,
            endpoint_id="hook_dead",
            url="http://127.0.0.1:9/none",
            sealed_secret=CUSTODY.seal_webhook("hook_dead", SECRET),
            by="test",
        )
    await tell(database, *(paid(f"OUT00{number}", operator_id=None) for number in range(1, 4)))
    await dispatcher.step()
    assert len(inbox.messages(kind="webhook")) == 3


async def test_two_dispatchers_send_each_message_once(
    database: Database, inbox: LocalInbox, dispatcher: Dispatcher
) -> None:
    await tell(database, *(paid(f"OUT{number:03}", operator_id=None) for number in range(1, 11)))

    async def drain() -> None:
        for _ in range(10):
            await dispatcher.step()

    await asyncio.gather(drain(), drain(), drain())
    assert len(inbox.messages(kind="webhook")) == 10


async def test_a_mail_server_that_says_later_is_asked_again(
    database: Database, inbox: LocalInbox, dispatcher: Dispatcher
) -> None:
    inbox.fault("smtp_451")
    await tell(database, paid())
    await dispatcher.step()
    assert (await states(database))["mail"] == ("pending", 1)
    await due_now(database)
    await dispatcher.step()
    assert (await states(database))["mail"] == ("sent", 2)


async def test_a_batch_goes_over_few_connections_to_the_mail_server(
    database: Database, inbox: LocalInbox, dispatcher: Dispatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    connected = 0
    connect = aiosmtplib.SMTP.connect

    async def counted(client: aiosmtplib.SMTP, *given: Any, **named: Any) -> Any:
        nonlocal connected
        connected += 1
        return await connect(client, *given, **named)

    monkeypatch.setattr(aiosmtplib.SMTP, "connect", counted)
    await tell(database, *(paid(f"OUT{number:03}") for number in range(1, 21)))
    await dispatcher.step()
    assert len(inbox.messages(kind="mail")) == 20
    assert connected <= 4


async def test_a_slow_receiver_does_not_keep_the_others_from_being_marked_as_sent(
    database: Database, inbox: LocalInbox, dispatcher: Dispatcher
) -> None:
    may_answer, asked = asyncio.Event(), asyncio.Event()

    async def slow(_request: web.Request) -> web.Response:
        asked.set()
        await may_answer.wait()
        return web.Response()

    application = web.Application()
    application.router.add_post("/slow", slow)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    async with database.begin() as connection:
        await add_endpoint(
            connection,
            endpoint_id="hook_slow",
            url=f"http://127.0.0.1:{runner.addresses[0][1]}/slow",
            sealed_secret=CUSTODY.seal_webhook("hook_slow", SECRET),
            by="test",
        )
    await tell(database, paid())
    stepping = asyncio.create_task(dispatcher.step())
    await asked.wait()

    async def others_marked() -> bool | None:
        async with database.begin() as connection:
            rows = await connection.execute(select(deliveries.c.recipient, deliveries.c.state))
            found = {row.recipient: row.state for row in rows}
        return found == {"hook_slow": "pending", HOOK: "sent", "operator@example.org": "sent"} or None

    await until(others_marked)
    assert not stepping.done()
    may_answer.set()
    await stepping
    await runner.cleanup()
    assert await states(database) == {"webhook": ("sent", 1), "mail": ("sent", 1)}


async def test_each_address_hears_once_of_an_event_however_often_it_is_registered(
    database: Database, inbox: LocalInbox, dispatcher: Dispatcher
) -> None:
    async with database.begin() as connection:
        both = Site(
            name="Test Site", operator_id="test-operator", emails=("operator@example.org", "site@example.org")
        )
        await put_site(connection, both, by="test", at=AT)
        acting = await add_person(
            connection, name="Acting", roles=[Role.FINANCE], by="test", email="operator@example.org"
        )
        await add_person(connection, name="Auditing", roles=[Role.VIEWER], by="test", email="a@example.org")
    assert acting.email is not None
    asks = Event(
        type=EventType.PAYMENT_REFUSED,
        subject="outage:OUT001",
        at=AT,
        operator_id="test-operator",
        site_name="Test Site",
        data={"reason": "too little"},
    )
    await tell(database, asks, asks.model_copy(update={"operator_id": None, "site_name": None}))
    await dispatcher.step()
    mails = sorted(message["to"] for message in inbox.messages(kind="mail"))
    assert mails == ["operator@example.org", "operator@example.org", "site@example.org"]


async def test_positions_follow_commits_so_that_no_reader_passes_over_a_late_one(database: Database) -> None:
    begun, may_commit = asyncio.Event(), asyncio.Event()

    async def late() -> None:
        async with database.begin() as connection:
            await outbox.tell(connection, paid("OUT001"))
            begun.set()
            await may_commit.wait()

    waiting = asyncio.create_task(late())
    await begun.wait()
    await tell(database, paid("OUT002"))
    async with database.begin() as connection:
        await outbox.place(connection)
        first = await outbox.read_events(connection, after=0)
    may_commit.set()
    await waiting
    async with database.begin() as connection:
        await outbox.place(connection)
        rest = await outbox.read_events(connection, after=int(first[-1].id or 0))
    assert [event.subject for event in (*first, *rest)] == ["outage:OUT002", "outage:OUT001"]


async def test_the_log_is_sealed_while_the_dispatcher_runs(database: Database, dispatcher: Dispatcher) -> None:
    from adapters.database import audit

    stop = asyncio.Event()
    running = asyncio.create_task(dispatcher.run(stop))

    async def sealed() -> bool | None:
        async with database.begin() as connection:
            report = await audit.verify(connection)
        return (report.sealed > 0 and report.unsealed == 0) or None

    await until(sealed)
    stop.set()
    await running


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/",
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://[::ffff:10.0.0.1]/",
        "https://169.254.169.254/latest",
        "https://10.1.2.3/",
        "https://localhost/",
        "https://user:pw@example.org/",
        "ftp://example.org/",
        "https://",
        "nonsense",
    ],
)
def test_a_webhook_into_a_private_network_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput):
        check_url(url, private_allowed=False)


async def test_a_public_name_that_leads_to_a_private_address_is_refused_when_it_is_resolved(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from aiohttp.resolver import ThreadedResolver

    async def private(*_given: object, **_named: object) -> list[dict[str, object]]:
        return [{"hostname": "evil.example", "host": "10.0.0.1", "port": 443, "family": 2, "proto": 0, "flags": 0}]

    monkeypatch.setattr(ThreadedResolver, "resolve", private)
    webhooks = Webhooks(private_allowed=False)
    with pytest.raises(Refused):
        await webhooks.send(
            "https://evil.example/", b"{}", event_type="webhook.test", delivery_id=1, secret=SECRET, timestamp=1
        )
    await webhooks.close()


def test_a_signature_covers_time_and_body() -> None:
    signed = sign(SECRET, 1, b"{}")
    assert signed.startswith("t=1,v1=")
    assert signed != sign(SECRET, 2, b"{}") != sign(SECRET, 2, b"{ }")


def test_a_back_off_doubles_to_an_hour() -> None:
    assert timedelta(seconds=1) < back_off(1) < timedelta(seconds=3)
    assert timedelta(minutes=45) < back_off(40) < timedelta(minutes=75)
