"""Four eyes hold whatever comes between: a correction, a replay, a wallet named late, a dispute."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from adapters.database.outage_rows import find_outage
from adapters.database.outage_story import OutageDesk
from adapters.database.people import add_person, make_key
from domain.outage import Outage
from domain.people import Role
from domain.sla_payment import PaymentPhase
from tests.api.conftest import Front
from tests.api.figures import NOC, RESOLVE
from tests.api.http import Client
from tests.api.test_outages import assert_problem
from tests.api.test_payments import decided, desk

__all__ = ["desk"]
_PROCESS = "/api/v1/payments/process-sla"


async def read(front: Front, outage_id: str) -> Outage:
    async with front.deps.database.begin() as connection:
        return await find_outage(connection, outage_id)


async def corrected(front: Front, desk: OutageDesk, outage_id: str) -> None:
    """The operator disputes, and the repair turns out to have taken much longer."""
    path = f"/api/v1/outages/{outage_id}"
    assert (await front.operations.put(path, json={"status": "disputed"})).status_code == 200
    longer = RESOLVE | {"resolved_at": "2026-01-16T12:25:00Z"}
    assert (await front.operations.put(path, json=longer)).status_code == 200
    await desk.take_stock(outage_id, datetime.now(UTC))


async def test_a_repeated_approval_does_not_approve_what_was_decided_since(front: Front, desk: OutageDesk) -> None:
    outage = await decided(front, desk)
    asked: Mapping[str, Any] = {"json": {"outage_id": outage}, "headers": {"Idempotency-Key": "approve-once"}}
    assert (await front.finance.post(_PROCESS, **asked)).status_code == 200
    assert (await read(front, outage)).phase is PaymentPhase.DUE
    await corrected(front, desk, outage)
    assert (await read(front, outage)).phase is PaymentPhase.AWAITING_APPROVAL
    assert (await front.finance.post(_PROCESS, **asked)).status_code == 200
    assert (await read(front, outage)).phase is PaymentPhase.AWAITING_APPROVAL


async def test_an_approval_that_names_its_amount_approves_no_other(front: Front, desk: OutageDesk) -> None:
    outage = await decided(front, desk)
    await corrected(front, desk, outage)
    answer = await front.finance.post(_PROCESS, json={"outage_id": outage, "amount": "1000"})
    assert_problem(answer, 409, "conflict", "/amount")
    assert (await read(front, outage)).phase is PaymentPhase.AWAITING_APPROVAL
    assert (await front.finance.post(_PROCESS, json={"outage_id": outage, "amount": "13000"})).status_code == 200
    assert (await read(front, outage)).phase is PaymentPhase.DUE


async def test_who_approved_a_payment_cannot_name_its_recipient_afterwards(front: Front, desk: OutageDesk) -> None:
    outage = await decided(front, desk, site_name="A site that nobody registered")
    await front.finance.post(_PROCESS, json={"outage_id": outage})
    await desk.take_stock(outage, datetime.now(UTC))
    assert (await read(front, outage)).reason_code == "wallet_missing"
    path, wallets = f"/api/v1/payments/{outage}/retry", {"operator_wallet": NOC, "noc_team_wallet": NOC}
    assert_problem(await front.finance.post(path, json=wallets), 403, "four_eyes")
    assert (await read(front, outage)).noc_team_wallet is None
    async with front.deps.database.begin() as connection:
        third = await add_person(connection, name="A third", roles=[Role.FINANCE], by="test")
        _key, secret = await make_key(connection, person_id=third.id, by="test")
    other = Client(front.url, secret.get_secret_value())
    try:
        assert (await other.post(path, json=wallets)).status_code == 200
    finally:
        await other.session.close()
    assert (await read(front, outage)).noc_team_wallet == NOC


@pytest.mark.parametrize("action", ["resume", "bump-fee"])
async def test_a_disputed_payment_is_released_by_the_end_of_the_dispute_only(
    front: Front, desk: OutageDesk, action: str
) -> None:
    outage = await decided(front, desk)
    await front.finance.post(_PROCESS, json={"outage_id": outage})
    await desk.take_stock(outage, datetime.now(UTC))
    await front.operations.put(f"/api/v1/outages/{outage}", json={"status": "disputed"})
    assert_problem(await front.finance.post(f"/api/v1/payments/{outage}/{action}"), 409, "wrong_state")
    async with front.deps.database.begin() as connection:
        held = await front.deps.book.read(connection, f"outage:{outage}")
    assert held.control == "hold"


async def test_a_held_payment_is_not_approved_and_its_dispute_keeps_the_first_reason(
    front: Front, desk: OutageDesk
) -> None:
    outage = await decided(front, desk)
    path = f"/api/v1/outages/{outage}"
    assert (await front.operations.put(path, json={"status": "disputed"})).json()["dispute_reason"] is None
    assert_problem(await front.finance.post(_PROCESS, json={"outage_id": outage}), 409, "wrong_state")
    why = {"status": "disputed", "reason": "the clock ran on"}
    for _ in range(2):
        assert (await front.operations.put(path, json=why)).json()["dispute_reason"] == "the clock ran on"
    answer = await front.operations.put(path, json=why | {"reason": "another"})
    assert_problem(answer, 409, "conflict")
    assert answer.json()["errors"][0]["field"] == "/reason"


async def test_the_days_of_the_calendar_that_a_database_cannot_hold_are_refused(front: Front) -> None:
    for detected_at in ("0001-01-01T00:00:00+14:00", "0001-01-01T00:00:00Z", "0001-06-01T00:00:00Z"):
        report = {"site_name": "Test Site", "severity": "low", "detected_at": detected_at}
        assert_problem(await front.operations.post("/api/v1/outages", json=report), 422, "invalid_input")
    assert (await front.operations.get("/api/v1/outages")).status_code == 200
