"""Payouts that are only built, or that somebody outside signs, now or later."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import func, select
from stellar_sdk import Keypair, TransactionEnvelope
from temporalio.testing import WorkflowEnvironment

from adapters.database.engine import Database
from adapters.database.settlements_tables import lanes, sends
from domain.money import Amount
from tests.payout.conftest import Street, open_street
from tests.settlement.world import PASSPHRASE, World
from tests.waiting import until


async def busy_lanes(street: Street) -> int:
    async with street.database.look() as connection:
        query = select(func.count()).select_from(lanes).where(lanes.c.settlement_id.is_not(None))
        return int((await connection.execute(query)).scalar_one())


async def was_sent(street: Street, payout_id: str) -> bool:
    async with street.database.look() as connection:
        query = select(sends.c.outer_hash).where(sends.c.settlement_id == f"payout:{payout_id}")
        return (await connection.execute(query)).first() is not None


@pytest.fixture
async def builds(world: World, database: Database, temporal: WorkflowEnvironment) -> AsyncIterator[Street]:
    """PAYOUTS_LIVE_EXECUTION=false."""
    async with open_street(world, database, temporal.client, payouts_live_execution=False) as street:
        yield street


@pytest.fixture
async def outside(world: World, database: Database, temporal: WorkflowEnvironment) -> AsyncIterator[Street]:
    """Live, and the hot key does not sign payouts: somebody outside does."""
    async with open_street(world, database, temporal.client, payouts_sign_with_hot_key=False) as street:
        yield street


def signed(xdr: str, *by: Keypair) -> str:
    envelope = TransactionEnvelope.from_xdr(xdr, PASSPHRASE)
    for keypair in by:
        envelope.sign(keypair)
    return envelope.to_xdr()


async def test_build_only_answers_the_guides_fields_and_sends_nothing(builds: Street) -> None:
    before = await builds.world.balance(builds.world.usdc, builds.world.noc_team)
    answer = await builds.post(payout_id="test-1", idempotency_key="test:1")
    assert answer["mode"] == "build_only"
    assert answer["transaction"]["status"] == "built"
    envelope = TransactionEnvelope.from_xdr(answer["unsigned_xdr"], PASSPHRASE)
    assert envelope.signatures == []
    assert (await builds.handle("test-1").result()).phase == "built"
    assert not await was_sent(builds, "test-1")
    assert await busy_lanes(builds) == 0
    assert await builds.told("test-1") == ["payout.created", "payout.built"]
    again = await builds.post(200, payout_id="test-1", idempotency_key="test:1")
    assert again["transaction"]["created_at"] == answer["transaction"]["created_at"]
    assert again["unsigned_xdr"] == answer["unsigned_xdr"]
    assert await builds.world.balance(builds.world.usdc, builds.world.noc_team) == before


async def test_what_is_built_only_can_be_withdrawn(builds: Street) -> None:
    payout_id = (await builds.post())["transaction"]["id"]
    done = await builds.act(payout_id, "cancel")
    assert (done.status_code, done.json()["status"]) == (200, "cancelled")
    assert (await builds.told(payout_id))[-1] == "payout.cancelled"


async def test_above_max_gas_the_request_is_refused_with_both_figures(
    world: World, database: Database, temporal: WorkflowEnvironment
) -> None:
    changed: dict[str, Any] = {"payouts_live_execution": False, "payouts_max_gas_stroops": 100}
    async with open_street(world, database, temporal.client, **changed) as street:
        body = street.body()
        answer = await street.finance.post("/api/v1/payouts", json=body)
        found = answer.json()
        assert (answer.status_code, found["code"]) == (422, "exceeds_max_gas")
        assert "exceeds max gas" in found["detail"]
        assert found["details"]["max_gas_stroops"] == "100"
        assert int(found["details"]["resource_fee_stroops"]) > 100
        assert (await street.get(body["payout_id"]))["status"] == "failed"


async def test_the_guides_external_flow_builds_waits_takes_the_signed_xdr_and_pays(outside: Street) -> None:
    world = outside.world
    before = await world.balance(world.usdc, world.noc_team)
    answer = await outside.post()
    payout_id = answer["transaction"]["id"]
    assert answer["mode"] == "awaiting_signature"
    assert answer["transaction"]["status"] == "awaiting_signature"
    assert answer["signing_request"] == f"/api/v1/payouts/{payout_id}/signing-request"
    why = (await outside.finance.get(f"/api/v1/payouts/{payout_id}/why")).json()
    assert (why["waits_for"], sorted(why["may"])) == ("signature", ["cancel", "hold"])
    answered = await outside.finance.post(
        f"/api/v1/payouts/{payout_id}/signature", json={"signed_xdr": signed(answer["unsigned_xdr"], world.pool)}
    )
    assert answered.status_code == 200, answered.text
    assert answered.json()["complete"] is True
    await outside.until(payout_id, "confirmed")
    assert await world.balance(world.usdc, world.noc_team) - before == Amount.parse("100.5")
    assert await outside.told(payout_id) == [
        "payout.created",
        "payout.signature_requested",
        "payout.queued",
        "payout.submitted",
        "payout.confirmed",
    ]


async def test_a_wrong_signature_is_refused_by_the_update_and_the_payout_goes_on_waiting(outside: Street) -> None:
    answer = await outside.post()
    payout_id = answer["transaction"]["id"]
    path = f"/api/v1/payouts/{payout_id}/signature"
    wrong = await outside.finance.post(path, json={"signed_xdr": signed(answer["unsigned_xdr"], Keypair.random())})
    assert wrong.status_code == 422, wrong.text
    assert wrong.json()["code"].startswith("signature_")
    assert (await outside.get(payout_id))["status"] == "awaiting_signature"
    right = {"signed_xdr": signed(answer["unsigned_xdr"], outside.world.pool)}
    assert (await outside.finance.post(path, json=right)).status_code == 200
    await outside.until(payout_id, "confirmed")


async def test_any_number_of_refused_signatures_keeps_no_right_one_out(outside: Street) -> None:
    answer = await outside.post()
    payout_id = answer["transaction"]["id"]
    path = f"/api/v1/payouts/{payout_id}/signature"
    noise = base64.b64encode(bytes(64)).decode()
    wrong = {"signatures": [{"signer": outside.world.pool.public_key, "signature": noise}]}
    begun = (await outside.handle(payout_id).describe()).run_id

    async def anew() -> bool | None:
        posted = [outside.finance.post(path, json=wrong) for _ in range(10)]
        assert {answer.status_code for answer in await asyncio.gather(*posted)} == {422}
        return True if (await outside.handle(payout_id).describe()).run_id != begun else None

    # A story that only grew would at last take no more Updates, the right one neither.
    await until(anew, seconds_max=60)
    right = {"signed_xdr": signed(answer["unsigned_xdr"], outside.world.pool)}
    assert (await outside.finance.post(path, json=right)).status_code == 200
    await outside.until(payout_id, "confirmed")


async def test_an_authorization_entry_is_asked_for_per_payout_and_holds_no_lane_while_it_waits(
    outside: Street,
) -> None:
    answer = await outside.post(signing="auth_entry")
    payout_id = answer["transaction"]["id"]
    assert (answer["mode"], answer["unsigned_xdr"]) == ("awaiting_signature", None)
    assert await busy_lanes(outside) == 0
    request = (await outside.finance.get(f"/api/v1/payouts/{payout_id}/signing-request")).json()
    signature = outside.world.pool.sign(bytes.fromhex(request["hash"]))
    posted = {
        "signatures": [
            {"signer": outside.world.pool.public_key, "signature": base64.b64encode(signature).decode()}
        ]
    }
    answered = await outside.finance.post(f"/api/v1/payouts/{payout_id}/signature", json=posted)
    assert answered.status_code == 200, answered.text
    await outside.until(payout_id, "confirmed")


@pytest.mark.parametrize("signing", ["envelope", "auth_entry"])
async def test_what_waits_for_a_signature_is_held_resumed_and_cancelled(outside: Street, signing: str) -> None:
    answer = await outside.post(signing=signing)
    payout_id = answer["transaction"]["id"]
    assert (await outside.act(payout_id, "hold")).json()["waits_for"] == "resume"
    assert (await outside.act(payout_id, "resume")).json()["waits_for"] == "signature"
    cancelled = await outside.act(payout_id, "cancel")
    assert cancelled.status_code == 200, cancelled.text
    if signing == "envelope":
        await outside.until(payout_id, "cancelled")
        assert await busy_lanes(outside) == 0
        late = await outside.finance.post(
            f"/api/v1/payouts/{payout_id}/signature",
            json={"signed_xdr": signed(answer["unsigned_xdr"], outside.world.pool)},
        )
        assert late.status_code == 409, late.text
        assert not await was_sent(outside, payout_id)


async def test_a_signature_reaches_a_payout_whose_story_temporal_has_lost(outside: Street) -> None:
    answer = await outside.post()
    payout_id = answer["transaction"]["id"]
    await outside.handle(payout_id).terminate("lost")
    answered = await outside.finance.post(
        f"/api/v1/payouts/{payout_id}/signature",
        json={"signed_xdr": signed(answer["unsigned_xdr"], outside.world.pool)},
    )
    assert answered.status_code == 200, answered.text
    await outside.until(payout_id, "confirmed")


async def test_a_signature_reaches_a_payout_whose_story_the_worker_let_go_of(
    world: World, database: Database, temporal: WorkflowEnvironment
) -> None:
    changed: dict[str, Any] = {"payouts_sign_with_hot_key": False, "stories_kept": 1}
    async with open_street(world, database, temporal.client, **changed) as street:
        answers = [await street.post(signing="auth_entry") for _ in range(3)]
        payout_id = answers[0]["transaction"]["id"]
        request = (await street.finance.get(f"/api/v1/payouts/{payout_id}/signing-request")).json()
        signature = base64.b64encode(world.pool.sign(bytes.fromhex(request["hash"]))).decode()
        answered = await street.finance.post(
            f"/api/v1/payouts/{payout_id}/signature",
            json={"signatures": [{"signer": world.pool.public_key, "signature": signature}]},
        )
        assert answered.status_code == 200, answered.text
        assert (await street.until(payout_id, "confirmed"))["attempts"] == 1
        history = await street.handle(payout_id).fetch_history()
        failed = [event for event in history.events if event.HasField("workflow_task_failed_event_attributes")]
        assert not failed, "it was played again as it went"
