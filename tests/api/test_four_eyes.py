"""Four eyes hold whatever comes between: a correction, a replay, a wallet named late, a dispute."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import select

from adapters.database.audit_tables import audit_log
from adapters.database.outage_rows import find_outage
from adapters.database.outage_story import OutageDesk
from domain.errors import Refused
from domain.money import Amount
from domain.outage import Outage
from domain.sla_payment import PaymentPhase, PaymentRules
from tests.api.conftest import Front
from tests.api.figures import NOC, OPERATOR, REPORT, RESOLVE
from tests.api.test_outages import assert_problem
from tests.api.test_payments import CONTRACTS, decided, desk

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


async def test_an_approval_does_not_cover_a_recipient_who_is_named_afterwards(
    front: Front, desk: OutageDesk
) -> None:
    outage = await decided(front, desk, site_name="A site that nobody registered")
    await front.finance.post(_PROCESS, json={"outage_id": outage})
    await desk.take_stock(outage, datetime.now(UTC))
    assert (await read(front, outage)).reason_code == "wallet_missing"
    path, wallets = f"/api/v1/payments/{outage}/retry", {"operator_wallet": NOC, "noc_team_wallet": NOC}
    assert (await front.finance.post(path, json=wallets)).status_code == 200
    await desk.take_stock(outage, datetime.now(UTC))
    named = await read(front, outage)
    assert (named.phase, named.noc_team_wallet) == (PaymentPhase.AWAITING_APPROVAL, NOC)
    assert named.approved_by is None
    assert_problem(await front.finance.post(_PROCESS, json={"outage_id": outage}), 403, "four_eyes")
    assert (await read(front, outage)).phase is PaymentPhase.AWAITING_APPROVAL
    assert (await front.admin.post(_PROCESS, json={"outage_id": outage})).status_code == 200
    assert (await read(front, outage)).phase is PaymentPhase.DUE


_MINE = "GAIH3ULLFQ4DGSECF2AR555KZ4KNDGEKN4AFI4SU2M7B43MGK3QJZNSR"
_QUICK = {"severity": "low"}  # repaired in 25 of 120 minutes: a reward of 1,200 NOCIQ


@pytest.fixture
def generous(front: Front) -> OutageDesk:
    """Whatever the amount, payments go by themselves."""
    rules = PaymentRules(auto_enabled=True, auto_max=Amount.of(1_000_000))
    return OutageDesk(front.deps.database, front.deps.book, rules=rules, contracts=CONTRACTS, deployment="test")


@pytest.mark.parametrize("field", ["operator_wallet", "noc_team_wallet"])
async def test_a_wallet_that_is_not_the_registrys_is_never_paid_without_another_persons_approval(
    front: Front, generous: OutageDesk, field: str
) -> None:
    outage = await decided(front, generous, **_QUICK, **{field: _MINE})
    waiting = (await front.operations.get(f"/api/v1/outages/{outage}")).json()
    assert (waiting["payment_status"], waiting["waits_for"]) == ("awaiting_approval", "approval")
    assert waiting["why_approval"] == f"{field} {_MINE} is not the registry's for Test Site"
    why = (await front.viewer.get(f"/api/v1/payments/{outage}/why")).json()
    assert waiting["why_approval"] in why["sentence"]
    assert (await front.finance.post(_PROCESS, json={"outage_id": outage})).status_code == 200
    assert (await read(front, outage)).phase is PaymentPhase.DUE


async def test_who_named_a_wallet_does_not_approve_its_payment(front: Front, generous: OutageDesk) -> None:
    report = REPORT | _QUICK | {"noc_team_wallet": _MINE}
    outage = (await front.admin.post("/api/v1/outages", json=report)).json()["id"]
    await front.operations.put(f"/api/v1/outages/{outage}", json=RESOLVE)
    await generous.take_stock(outage, datetime.now(UTC))
    assert_problem(await front.admin.post(_PROCESS, json={"outage_id": outage}), 403, "four_eyes")
    assert (await front.finance.post(_PROCESS, json={"outage_id": outage})).status_code == 200


async def test_the_registrys_own_wallets_go_by_themselves_also_where_they_are_named(
    front: Front, generous: OutageDesk
) -> None:
    outage = await decided(front, generous, **_QUICK, operator_wallet=OPERATOR, noc_team_wallet=NOC)
    assert (await read(front, outage)).phase is PaymentPhase.SETTLING


async def refused(front: Front, desk: OutageDesk) -> str:
    """A reward whose payment the engine refused for good."""
    outage = await decided(front, desk, **_QUICK)
    assert (await read(front, outage)).phase is PaymentPhase.SETTLING
    settlement = await front.deps.book.load(f"outage:{outage}")
    refusal = Refused("the account has no trustline", code="trustline_missing")
    outcome = (await front.deps.book.fail_unsent(settlement, refusal)).outcome
    await desk.record_outcome(outage, outcome, datetime.now(UTC))
    assert (await read(front, outage)).phase is PaymentPhase.REFUSED
    return outage


async def test_a_wrong_wallet_is_corrected_after_a_refusal_and_the_payment_tried_again(
    front: Front, generous: OutageDesk
) -> None:
    outage = await refused(front, generous)
    path, right = f"/api/v1/outages/{outage}", {"noc_team_wallet": _MINE}
    for _ in range(2):
        answer = await front.operations.put(path, json=right)
        assert (answer.status_code, answer.json()["noc_team_wallet"]) == (200, _MINE), answer.text
    await generous.take_stock(outage, datetime.now(UTC))
    assert (await read(front, outage)).phase is PaymentPhase.AWAITING_APPROVAL
    assert_problem(await front.operations.put(path, json={"noc_team_wallet": NOC}), 409, "wrong_state")
    assert (await front.finance.post(_PROCESS, json={"outage_id": outage})).status_code == 200
    await generous.take_stock(outage, datetime.now(UTC))
    assert (await read(front, outage)).phase is PaymentPhase.SETTLING
    async with front.deps.database.begin() as connection:
        settlement = await front.deps.book.read(connection, f"outage:{outage}")
        audited = await connection.scalars(
            select(audit_log.c.details).where(audit_log.c.action == "outage.correct_wallets")
        )
    assert settlement.intent.destination == _MINE
    assert list(audited) == [{"before": {"noc_team_wallet": NOC}, "now": {"noc_team_wallet": _MINE}}]


async def test_the_registrys_wallet_put_right_after_a_refusal_goes_by_itself(
    front: Front, generous: OutageDesk
) -> None:
    outage = await refused(front, generous)
    path = f"/api/v1/outages/{outage}"
    await front.operations.put(path, json={"noc_team_wallet": _MINE})
    await generous.take_stock(outage, datetime.now(UTC))
    await front.finance.post(_PROCESS, json={"outage_id": outage})
    await generous.take_stock(outage, datetime.now(UTC))
    settlement = await front.deps.book.load(f"outage:{outage}")
    outcome = (await front.deps.book.fail_unsent(settlement, Refused("no", code="trustline_missing"))).outcome
    await generous.record_outcome(outage, outcome, datetime.now(UTC))
    assert (await front.operations.put(path, json={"noc_team_wallet": NOC})).status_code == 200
    await generous.take_stock(outage, datetime.now(UTC))
    assert (await read(front, outage)).phase is PaymentPhase.SETTLING


async def test_wallets_are_not_corrected_while_money_may_be_on_its_way(front: Front, generous: OutageDesk) -> None:
    outage = await decided(front, generous, **_QUICK)
    path = f"/api/v1/outages/{outage}"
    assert_problem(await front.operations.put(path, json={"noc_team_wallet": _MINE}), 409, "wrong_state")
    both = RESOLVE | {"noc_team_wallet": _MINE}
    assert_problem(await front.operations.put(path, json=both), 422, "invalid_input", "/noc_team_wallet")
    assert_problem(await front.operations.put(path, json={}), 422, "invalid_input", "/status")
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
