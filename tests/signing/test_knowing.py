"""What waits is seen: by metrics, by stats, and by whoever missed a webhook."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from localnet.clients import LocalInbox
from localnet.process import RunningPart
from tests.signing.conftest import Gap
from tests.waiting import until

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


async def metrics(gap: Gap) -> Samples:
    def scrape() -> str:
        with urllib.request.urlopen(f"{gap.house.url}/metrics") as answer:
            text: str = answer.read().decode()
            return text

    text = await asyncio.to_thread(scrape)
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples.get((name, tuple(sorted(labels.items()))), 0.0)


async def test_what_waits_for_a_signature_is_counted_with_its_age_and_its_lane(gap: Gap) -> None:
    before = await metrics(gap)
    payout_id = await gap.ask(signing="envelope")
    after = await metrics(gap)
    for name, labels in (
        ("holdfast_signatures_waiting", {"longer_than_seconds": "0"}),
        ("holdfast_lanes", {"state": "busy"}),
        ("holdfast_settlements_created_total", {"kind": "payout"}),
    ):
        assert value(after, name, **labels) - value(before, name, **labels) == 1, name
    assert value(after, "holdfast_signature_oldest_seconds") > 0
    stats = (await gap.finance.get("/api/v1/payouts/stats")).json()
    assert stats["awaiting_signature"]["count"] == value(
        after, "holdfast_signatures_waiting", longer_than_seconds="0"
    )
    assert stats["by_status"]["awaiting_signature"] >= 1
    await gap.finance.post(f"/api/v1/payouts/{payout_id}/cancel")

    async def cancelled() -> Samples | None:
        now = await metrics(gap)
        name, labels = "holdfast_settlements_ended_total", {"kind": "payout", "outcome": "cancelled"}
        return now if value(now, name, **labels) - value(before, name, **labels) == 1 else None

    now = await until(cancelled)
    assert value(now, "holdfast_lanes", state="busy") == value(before, "holdfast_lanes", state="busy")


async def test_what_was_paid_is_counted_once_with_its_time_and_fee(gap: Gap) -> None:
    before = await metrics(gap)
    payout_id = await gap.ask(signing="auth_entry")
    await gap.sign("--only", payout_id, "--yes", "--limit", "NOCIQ=100")
    paid = await gap.until(payout_id, "confirmed")
    for _ in range(2):
        after = await metrics(gap)
        for name in (
            "holdfast_settlement_confirmation_seconds_count",
            "holdfast_settlement_ledger_seconds_count",
            "holdfast_settlement_fee_stroops_count",
        ):
            assert value(after, name, kind="payout") - value(before, name, kind="payout") == 1, name
        ended = {"kind": "payout", "outcome": "confirmed"}
        name = "holdfast_settlements_ended_total"
        assert value(after, name, **ended) - value(before, name, **ended) == 1
    name = "holdfast_settlement_fee_stroops_sum"
    charged = value(after, name, kind="payout") - value(before, name, kind="payout")
    assert charged == paid["fee_charged_stroops"] > 0
    assert value(after, "holdfast_settlement_fee_stroops_max", kind="payout") >= charged
    said = json.loads(gap.house.command("stats", "--json"))
    served = (await gap.finance.get("/api/v1/payouts/stats", params={"hours": "24"})).json()
    for figures in (said, served):
        assert figures["confirmed"] >= 1
        assert figures["confirmation_seconds"]["p50"] >= figures["ledger_seconds"]["p50"] > 0
        assert figures["fee_stroops"]["greatest"] >= charged
        assert figures["pending"] == 0
    assert "sent to confirmed" in gap.house.command("stats")


async def test_missed_webhooks_are_sent_again_by_command_and_only_those_that_were_named(
    gap: Gap, inbox_process: RunningPart
) -> None:
    mailbox = LocalInbox(inbox_process.url, inbox_process.part.ports["INBOX_SMTP_PORT"])
    payout_id = await gap.ask(signing="auth_entry")
    await gap.sign("--only", payout_id, "--yes", "--limit", "NOCIQ=100")
    await gap.until(payout_id, "confirmed")

    async def told() -> list[dict[str, Any]]:
        deployment = gap.house.settings.holdfast_deployment
        return await asyncio.to_thread(
            mailbox.messages, kind="webhook", to=deployment, contains=f'"payout:{payout_id}"'
        )

    def of(found: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
        return [one["data"] for one in found if one["data"]["type"] == name]

    async def once() -> list[dict[str, Any]] | None:
        found = await told()
        return found if of(found, "payout.confirmed") else None

    found = await until(once)
    assert of(found, "payout.signature_requested"), [one["data"]["type"] for one in found]
    assert "hook_settings" in gap.house.command("webhooks", "list")
    said = gap.house.command(
        "webhooks", "replay", "hook_settings", "--since", "10m", "--event", "payout.confirmed"
    )
    assert "sent to" in said

    async def twice() -> list[dict[str, Any]] | None:
        again = await told()
        return again if len(of(again, "payout.confirmed")) == 2 else None

    again = await until(twice)
    first, second = of(again, "payout.confirmed")
    assert first["id"] == second["id"], "a receiver knows it again"
    assert len(of(again, "payout.signature_requested")) == len(of(found, "payout.signature_requested"))
