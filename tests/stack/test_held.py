"""What holds a payment, and what lets it go on: a freeze, another person, a dispute, a refusal, a restore."""

from __future__ import annotations

import re

import psycopg
import pytest

from bench.house import House, moved
from domain.money import Amount
from tests.stack.conftest import Builder, Doors, Front
from tests.waiting import until


async def test_a_freeze_holds_every_payment_and_a_thaw_lets_it_go_on(own_house: House, doors: Doors) -> None:
    house = own_house.start()
    front = doors(house)
    before = await front.balances()
    house.command("freeze", "--reason", "an exercise")
    ready = await front.guest.get("/ready")
    assert (ready.status_code, ready.json()["frozen"]) == (503, True)
    outage = await front.resolved()
    why = await front.until_why(outage, lambda why: why["settlement_status"] is not None)
    assert "frozen" in why["sentence"].lower() or "an exercise" in why["sentence"], why
    await until_ledger(front, await ledger_of(front) + 10)
    assert moved(before, await front.balances()) == {}
    house.command("thaw")
    await front.until_payment(outage, "confirmed")
    assert moved(before, await front.balances()) == {"operator USDC": -1000, "pool USDC": 1000}
    assert (await front.guest.get("/ready")).status_code == 200


async def ledger_of(front: Front) -> int:
    from adapters.stellar.rpc import Rpc

    async with Rpc(front.house.outside.rpc_url) as rpc:
        return await rpc.newest()


async def until_ledger(front: Front, wanted: int) -> None:
    async def look() -> bool | None:
        return True if await ledger_of(front) >= wanted else None

    await until(look)


async def test_above_the_limit_another_person_than_the_initiator_approves(front: Front) -> None:
    before = await front.balances()
    body = {"site_name": "Test Site", "severity": "critical", "detected_at": "2026-01-16T10:00:00Z"}
    outage = (await front.admin.post("/api/v1/outages", json=body)).json()["id"]
    # 150 minutes: 135 over the threshold at 100 a minute is 13,500, above MAX_AUTO_PAYMENT_AMOUNT's 10,000.
    resolved = {"status": "resolved", "resolved_at": "2026-01-16T12:30:00Z"}
    await front.admin.put(f"/api/v1/outages/{outage}", json=resolved)
    await front.until_payment(outage, "awaiting_approval")
    (waiting,) = (await front.guest.get("/api/v1/approvals")).json()["transactions"]
    assert (waiting["outage_id"], waiting["amount"]) == (outage, 13_500.0)
    own = await front.admin.post("/api/v1/payments/process-sla", json={"outage_id": outage})
    assert (own.status_code, own.json()["code"]) == (403, "four_eyes")
    keyless = await front.guest.post("/api/v1/payments/process-sla", json={"outage_id": outage})
    assert keyless.status_code == 403
    assert moved(before, await front.balances()) == {}
    approved = await front.approver.post("/api/v1/payments/process-sla", json={"outage_id": outage})
    assert approved.status_code == 200, approved.text
    await front.until_payment(outage, "confirmed")
    assert moved(before, await front.balances()) == {"operator USDC": -13_500, "pool USDC": 13_500}


async def test_a_dispute_holds_the_payment_until_it_is_settled(front: Front) -> None:
    before = await front.balances()
    outage = await front.resolved("critical", 150)
    await front.until_payment(outage, "awaiting_approval")
    path = f"/api/v1/outages/{outage}"
    disputed = await front.guest.put(path, json={"status": "disputed", "reason": "the clock was wrong"})
    assert (disputed.status_code, disputed.json()["payment_status"]) == (200, "held")
    why = await front.why(outage)
    assert "the clock was wrong" in why["sentence"]
    await front.approver.post("/api/v1/payments/process-sla", json={"outage_id": outage})
    # Another payment goes through meanwhile, so the worker is at work, and this one stays where it is.
    other = await front.resolved("high", 10)
    await front.until_payment(other, "confirmed")
    assert (await front.sla(outage))["payment_status"] == "held"
    assert moved(before, await front.balances()) == {"pool NOCIQ": -1500, "noc_team NOCIQ": 1500}
    # Settled with a corrected time: 25 minutes, not 150.
    await front.resolve(outage, 25)
    status = await front.until_payment(outage, "confirmed")
    assert status["penalty_amount"] == 1000.0
    assert moved(before, await front.balances()) == {
        "operator USDC": -1000,
        "pool USDC": 1000,
        "pool NOCIQ": -1500,
        "noc_team NOCIQ": 1500,
    }


async def test_too_small_an_allowance_is_refused_with_both_figures_and_paid_once_after_a_retry(
    own_house: House, doors: Doors
) -> None:
    house = own_house.start()
    front = doors(house)
    before = await front.balances()
    await house.approve(Amount.of(10))
    outage = await front.resolved()
    status = await front.until_payment(outage, "refused")
    assert status["reason_code"] == "allowance_too_small"
    assert re.search(r"\b1,000 are needed\b.*\b10\b", status["reason"]), status["reason"]
    assert moved(before, await front.balances()) == {}
    await house.approve(Amount.of(5_000))
    for _ in range(2):
        answer = await front.approver.post(
            f"/api/v1/payments/{outage}/retry", headers={"Idempotency-Key": "mended"}
        )
        assert answer.status_code == 200, answer.text
    await front.until_payment(outage, "confirmed")
    assert moved(before, await front.balances()) == {"operator USDC": -1000, "pool USDC": 1000}


async def test_a_restored_database_is_not_ready_and_sends_nothing_until_it_is_reconciled(
    own_house: House, doors: Doors, builder: Builder
) -> None:
    house = own_house.start()
    front = doors(house)
    outage = await front.report()
    house.stop()
    backup(builder, house)
    house.workers.clear()
    house.start()
    before = await front.balances()
    await front.resolve(outage)
    await front.until_payment(outage, "confirmed")
    paid = {"operator USDC": -1000, "pool USDC": 1000}
    assert moved(before, await front.balances()) == paid
    house.stop()
    restore(builder, house)
    house.workers.clear()
    house.start_worker()
    house.start_api(wait=False)

    async def history() -> str | None:
        try:
            answer = await front.guest.get("/ready")
        except OSError:
            return None
        history = answer.json()["checks"].get("history", "ok")
        return history if answer.status_code == 503 and history != "ok" else None

    assert "holdfast reconcile" in await until(history, seconds_max=120)
    await front.resolve(outage)
    await front.until_why(outage, lambda why: why["settlement_status"] is not None)
    await until_ledger(front, await ledger_of(front) + 10)
    assert moved(before, await front.balances()) == paid
    house.command("reconcile")
    await front.until_payment(outage, "confirmed")
    assert moved(before, await front.balances()) == paid

    ready = await front.guest.get("/ready")
    assert ready.status_code == 200, ready.text


def backup(builder: Builder, house: House) -> None:
    name = house.outside.database_url.rpartition("/")[2]
    with psycopg.connect(builder.postgres_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}_backup TEMPLATE {name}")


def restore(builder: Builder, house: House) -> None:
    name = house.outside.database_url.rpartition("/")[2]
    with psycopg.connect(builder.postgres_url, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
        connection.execute(f"ALTER DATABASE {name}_backup RENAME TO {name}")


@pytest.mark.parametrize(("severity", "minutes"), [("critical", 15), ("low", 120)])
async def test_a_repair_within_the_threshold_to_the_minute_is_rewarded(
    front: Front, severity: str, minutes: int
) -> None:
    outage = await front.resolved(severity, minutes)
    status = await front.until_payment(outage, "confirmed")
    assert (status["status"], status["type"], status["rating"]) == ("met", "reward", "good")
