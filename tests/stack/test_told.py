"""Everybody is told of each step: by mail, by signed webhooks, and on the event stream."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from domain.errors import Unavailable
from localnet.clients import LocalInbox
from tests.stack.conftest import Front
from tests.waiting import until

STEPS = [
    "outage.reported",
    "outage.warning",
    "outage.resolved",
    "outage.decided",
    "payment.submitted",
    "payment.confirmed",
]


async def webhooks_of(front: Front, mailbox: LocalInbox, outage: str) -> list[dict[str, Any]]:
    """Of this house and this outage, oldest first."""

    def look() -> list[dict[str, Any]]:
        return mailbox.messages(kind="webhook", to=front.house.settings.holdfast_deployment, contains=outage)

    return list(reversed(await asyncio.to_thread(look)))


async def test_webhooks_tell_each_step_once_and_their_signature_can_be_verified(
    front: Front, mailbox: LocalInbox
) -> None:
    outage = await front.resolved()
    status = await front.until_payment(outage, "confirmed")

    async def all_there() -> list[dict[str, Any]] | None:
        found = await webhooks_of(front, mailbox, outage)
        return found if any(one["data"]["type"] == "payment.confirmed" for one in found) else None

    found = await until(all_there)
    told = [one["data"] for one in found]
    types = [event["type"] for event in told]
    assert set(types) >= set(STEPS) - {"outage.warning"}
    assert len(types) == len(set(types)), "each step is told once"
    assert all(one["verified"] is True for one in found)
    confirmed = next(event for event in told if event["type"] == "payment.confirmed")
    assert confirmed["data"]["tx_hash"] == status["contract_tx_hash"]
    assert (confirmed["data"]["amount"], confirmed["data"]["asset"]) == ("1000.0000000", "USDC")


async def test_operator_and_noc_team_get_mail_of_the_payment_with_its_transaction(
    front: Front, mailbox: LocalInbox
) -> None:
    outage = await front.resolved()
    status = await front.until_payment(outage, "confirmed")
    link = f"{front.house.url}/api/v1/outages/{outage}"

    async def paid() -> list[dict[str, Any]] | None:
        mails = await asyncio.to_thread(mailbox.messages, kind="mail", contains=link)
        of_payment = [mail for mail in mails if "is paid" in mail["subject"]]
        return of_payment if len(of_payment) >= 2 else None

    mails = await until(paid)
    assert {mail["to"] for mail in mails} == {"operator@example.org", "noc@example.org"}
    for mail in mails:
        assert "1,000 USDC" in mail["subject"]
        assert status["contract_tx_hash"] in mail["text"]


async def test_the_event_stream_tells_each_step_as_it_happens_and_resumes_where_it_was_left(
    front: Front,
) -> None:
    outage = await front.report()
    seen = await follow(front, outage, since="0", until_type="outage.reported")
    following = asyncio.create_task(follow(front, outage, since=seen[-1]["id"], until_type="payment.confirmed"))
    await front.resolve(outage)
    told = [*seen, *await asyncio.wait_for(following, 60)]
    types = [event["type"] for event in told]
    assert [step for step in types if step != "outage.warning"] == [
        step for step in STEPS if step != "outage.warning"
    ]
    positions = [int(event["id"]) for event in told]
    assert positions == sorted(set(positions))
    assert told[-1]["explorer_url"].endswith(f"/tx/{told[-1]['data']['tx_hash']}")


async def follow(front: Front, outage: str, *, since: str, until_type: str) -> list[dict[str, Any]]:
    """Read the stream as a browser does, from a position on, until this outage has come so far."""
    found: list[dict[str, Any]] = []
    async with front.guest.session.get("/api/v1/events", headers={"Last-Event-ID": since}) as stream:
        assert stream.status == 200
        async for line in stream.content:
            if not line.startswith(b"data:"):
                continue
            event = json.loads(line.removeprefix(b"data:"))
            if event["subject"] == f"outage:{outage}":
                found.append(event)
                if event["type"] == until_type:
                    return found
    raise Unavailable("the stream ended")
