"""Whatever is asked twice, by whomever, is paid once."""

from __future__ import annotations

import asyncio
from typing import Any

from bench.house import House, moved
from tests.conftest import TestLedger
from tests.stack.conftest import Doors, Front

OUTAGE = {"site_name": "Test Site", "severity": "critical", "detected_at": "2026-01-16T10:00:00Z"}
RESOLVED = {"status": "resolved", "resolved_at": "2026-01-16T10:25:00Z"}


async def payments_of(front: Front, outage: str) -> list[dict[str, Any]]:
    answer = await front.guest.get("/api/v1/payments/history", params={"limit": "200"})
    return [one for one in answer.json()["transactions"] if one["outage_id"] == outage]


async def test_the_same_resolution_sent_twice_at_once_is_one_payment(front: Front) -> None:
    before = await front.balances()
    outage = await front.report()
    path = f"/api/v1/outages/{outage}"
    answers = await asyncio.gather(*(front.guest.put(path, json=RESOLVED) for _ in range(2)))
    assert [answer.status_code for answer in answers] == [200, 200], [answer.text for answer in answers]
    await front.until_payment(outage, "confirmed")
    assert len(await payments_of(front, outage)) == 1
    assert moved(before, await front.balances()) == {"operator USDC": -1000, "pool USDC": 1000}


async def test_one_idempotency_key_sent_twice_at_once_is_one_outage_and_one_payment(front: Front) -> None:
    before = await front.balances()
    key = {"Idempotency-Key": "twice-at-once"}
    answers = await asyncio.gather(
        *(front.admin.post("/api/v1/outages", json=OUTAGE, headers=key) for _ in range(2))
    )
    assert sorted(answer.status_code for answer in answers) == [200, 201]
    (outage,) = {answer.json()["id"] for answer in answers}
    await front.resolve(outage)
    await front.until_payment(outage, "confirmed")
    assert moved(before, await front.balances()) == {"operator USDC": -1000, "pool USDC": 1000}


async def test_two_workers_pay_each_outage_once(own_house: House, doors: Doors) -> None:
    house = own_house
    both = [house.start_worker(wait=False, HOLDFAST_WORKERS="2") for _ in range(2)]
    house.start_api()
    for worker in both:
        worker.wait_until_ready()
    front = doors(house)
    before = await front.balances()
    outages = await asyncio.gather(*(front.resolved() for _ in range(6)))
    statuses = await asyncio.gather(*(front.until_payment(outage, "confirmed") for outage in outages))
    assert len({status["contract_tx_hash"] for status in statuses}) == 6
    assert moved(before, await front.balances()) == {"operator USDC": -6000, "pool USDC": 6000}


async def test_a_worker_killed_in_the_middle_of_a_payment_is_followed_by_another_that_finishes_it(
    own_house: House, doors: Doors, faults: TestLedger
) -> None:
    house = own_house.start()
    front = doors(house)
    before = await front.balances()
    # The payment reaches the node's queue and no ledger closes: it is in the middle for as long as we like.
    faults.fault("stalled_ledger", seconds=60)
    outage = await front.resolved()
    await front.until_why(outage, lambda why: why["settlement_status"] == "submitted")
    house.workers[0].kill()
    second = house.start_worker(wait=False)
    faults.clear_faults()
    second.wait_until_ready()
    await front.until_payment(outage, "confirmed")
    assert moved(before, await front.balances()) == {"operator USDC": -1000, "pool USDC": 1000}


async def test_with_temporals_data_gone_every_story_is_finished_and_nothing_is_paid_again(
    own_house: House, doors: Doors, faults: TestLedger, empty_namespace: str
) -> None:
    house = own_house.start()
    front = doors(house)
    before = await front.balances()
    paid, open_ = await front.resolved("high", 10), await front.report()
    await front.until_payment(paid, "confirmed")
    faults.fault("stalled_ledger", seconds=60)
    under_way = await front.resolved()
    await front.until_why(under_way, lambda why: why["settlement_status"] == "submitted")
    house.stop()
    faults.clear_faults()
    house.move_temporal(empty_namespace)
    house.workers.clear()
    house.start()
    # Nobody wakes the one that was under way: the sweeper finds it. The open one goes on by its own command.
    await front.until_payment(under_way, "confirmed")
    await front.resolve(open_)
    await front.until_payment(open_, "confirmed")
    assert (await front.sla(paid))["payment_status"] == "confirmed"
    assert moved(before, await front.balances()) == {
        "operator USDC": -2000,
        "pool USDC": 2000,
        "pool NOCIQ": -1500,
        "noc_team NOCIQ": 1500,
    }
