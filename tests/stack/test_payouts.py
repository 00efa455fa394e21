"""The payout guide's example against real processes, read back from the ledger."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from stellar_sdk import Keypair

from adapters.stellar.entries import account_key, account_state
from adapters.stellar.rpc import Rpc
from bench.house import House
from domain.money import Amount
from localnet.clients import LocalInbox
from tests.api.http import Client
from tests.conftest import TestLedger
from tests.stack.conftest import Doors, Front
from tests.waiting import until


def guides(destination: str, **more: Any) -> dict[str, Any]:
    return {
        "payout_id": "round-1-winner-1",
        "destination_account": destination,
        "amount": "100.5000000",
        "asset": "XLM",
        "idempotency_key": "round-1:winner-1:2026-02-22",
    } | more


async def xlm_of(house: House, address: str) -> Amount:
    async with Rpc(house.outside.rpc_url) as rpc:
        entry = (await rpc.ledger_entries([account_key(address)])).by_key[account_key(address).to_xdr()]
    return Amount(account_state(entry.data).balance_units)


async def until_payout(client: Client, payout_id: str, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    async def look() -> dict[str, Any] | None:
        answer = await client.get(f"/api/v1/payouts/{payout_id}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()["transaction"]
        assert found["status"] not in {"failed", "cancelled"}, found
        return found if holds(found) else None

    return await until(look, seconds_max=120)


@pytest.fixture
def winner(faults: TestLedger) -> str:
    """An account that holds XLM and nothing else."""
    keypair = Keypair.random()
    faults.friendbot(keypair.public_key)
    return str(keypair.public_key)


async def test_the_guides_example_pays_xlm_and_tells_a_webhook(
    front: Front, winner: str, mailbox: LocalInbox
) -> None:
    before = await xlm_of(front.house, winner)
    answer = await front.guest.post("/api/v1/payouts", json=guides(winner))
    assert answer.status_code == 201, answer.text
    assert answer.json()["mode"] == "queued"
    found = await until_payout(front.guest, "round-1-winner-1", lambda one: one["status"] == "confirmed")
    assert await xlm_of(front.house, winner) - before == Amount.parse("100.5")

    house = front.house.settings.holdfast_deployment

    async def told() -> list[dict[str, Any]] | None:
        hooks = await asyncio.to_thread(
            mailbox.messages, kind="webhook", to=house, contains="payout:round-1-winner-1"
        )
        ours = [hook["data"] for hook in hooks]
        return ours if any(one["type"] == "payout.confirmed" for one in ours) else None

    hooks = await until(told)
    assert {one["type"] for one in hooks} == {"payout.created", "payout.submitted", "payout.confirmed"}
    (confirmed,) = [one for one in hooks if one["type"] == "payout.confirmed"]
    assert confirmed["data"] | {"tx_hash": found["tx_hash"], "amount": "100.5000000"} == confirmed["data"]
    assert confirmed["links"]["payout"] == f"{front.house.url}/api/v1/payouts/round-1-winner-1"
    why = await front.guest.get("/api/v1/payouts/round-1-winner-1/why")
    assert found["tx_hash"] in why.json()["sentence"]


async def test_a_worker_killed_in_the_middle_of_payouts_is_followed_by_another_and_each_is_paid_once(
    own_house: House, doors: Doors, faults: TestLedger, winner: str
) -> None:
    house = own_house
    first = house.start_worker()
    house.start_api()
    front = doors(house)
    before = await xlm_of(house, winner)
    bodies = [
        guides(winner, payout_id=f"p{number}", idempotency_key=f"k{number}", amount="1") for number in range(6)
    ]
    faults.fault("stalled_ledger", seconds=60)
    answers = await asyncio.gather(*(front.guest.post("/api/v1/payouts", json=body) for body in bodies))
    assert {answer.status_code for answer in answers} == {201}
    await until_payout(front.guest, "p0", lambda one: one["status"] in {"submitted", "unknown"})
    first.kill()
    faults.clear_faults()
    house.start_worker()
    again = await asyncio.gather(*(front.guest.post("/api/v1/payouts", json=body) for body in bodies))
    assert {answer.status_code for answer in again} == {200}
    for body in bodies:
        await until_payout(front.guest, body["payout_id"], lambda one: one["status"] == "confirmed")
    assert await xlm_of(house, winner) - before == Amount.of(6)
