"""Payments over HTTP: approval by another person, history, statement, and an operator's actions."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime

import pytest

from adapters.database.outage_story import OutageDesk
from domain.money import Amount
from domain.settlement import SettlementOutcome, SettlementStatus
from domain.sla_payment import PaymentRules, SlaContracts
from tests.api.conftest import Front
from tests.api.figures import NOC, OPERATOR, REPORT, RESOLVE
from tests.api.test_outages import assert_problem

_POOL = "GAIH3ULLFQ4DGSECF2AR555KZ4KNDGEKN4AFI4SU2M7B43MGK3QJZNSR"
CONTRACTS = SlaContracts(
    sla="CA3D5KRYM6CB7OWQ6TWYRR3Z4T7GNZLKERYNZGGA5SOAOPIFY6YQGAXE",
    usdc="CBIELTK6YBZJU5UP2WWQEUCYKLPU6AUNZ2BQ4WWFEIE3USCIHMXQDAMA",
    reward_token="CDLZFC3SYJYDZT7K67VZ75HPJVIEUVNIXF47ZG2FB2RMQQVU2HHGCYSC",
    pool=_POOL,
)
_TX = "ab" * 32


@pytest.fixture
def desk(front: Front) -> OutageDesk:
    """The story's hands; the workflow that would use them is elsewhere."""
    rules = PaymentRules(auto_enabled=True, auto_max=Amount.of(900))
    return OutageDesk(front.deps.database, front.deps.book, rules=rules, contracts=CONTRACTS, deployment="test")


async def decided(front: Front, desk: OutageDesk, **changed: str) -> str:
    outage = (await front.operations.post("/api/v1/outages", json=REPORT | changed)).json()["id"]
    await front.operations.put(f"/api/v1/outages/{outage}", json=RESOLVE)
    await desk.take_stock(outage, datetime.now(UTC))
    return str(outage)


async def confirmed(front: Front, desk: OutageDesk) -> str:
    outage = await decided(front, desk)
    await front.finance.post("/api/v1/payments/process-sla", json={"outage_id": outage})
    standing = await desk.take_stock(outage, datetime.now(UTC))
    outcome = SettlementOutcome(
        settlement_id=standing.settlement_id,
        status=SettlementStatus.CONFIRMED,
        tx_hash=_TX,
        ledger=7,
        closed_at=datetime(2026, 1, 16, 10, 30, tzinfo=UTC),
    )
    await desk.record_outcome(outage, outcome, datetime.now(UTC))
    return outage


async def test_a_payment_above_the_limit_is_approved_by_another_person_than_its_initiator(
    front: Front, desk: OutageDesk
) -> None:
    outage = (await front.admin.post("/api/v1/outages", json=REPORT)).json()["id"]
    await front.admin.put(f"/api/v1/outages/{outage}", json=RESOLVE)
    await desk.take_stock(outage, datetime.now(UTC))
    waiting = (await front.viewer.get("/api/v1/approvals")).json()["transactions"]
    assert [(one["outage_id"], one["amount"], one["asset"]) for one in waiting] == [(outage, 1000.0, "USDC")]
    body = {"outage_id": outage}
    assert_problem(await front.admin.post("/api/v1/payments/process-sla", json=body), 403, "four_eyes")
    answer = await front.finance.post("/api/v1/payments/process-sla", json=body)
    assert (answer.status_code, answer.json()["payment_status"]) == (200, "due")
    assert (await front.viewer.get("/api/v1/approvals")).json()["transactions"] == []


async def test_an_outage_that_is_not_resolved_has_nothing_to_pay(front: Front) -> None:
    outage = (await front.operations.post("/api/v1/outages", json=REPORT)).json()["id"]
    answer = await front.finance.post("/api/v1/payments/process-sla", json={"outage_id": outage})
    assert_problem(answer, 409, "wrong_state")
    answer = await front.finance.post("/api/v1/payments/process-sla", json={"outage_id": "OUT999"})
    assert_problem(answer, 404, "not_found")


async def test_the_history_is_the_guides_and_its_filters_and_numbers_are_exact(
    front: Front, desk: OutageDesk
) -> None:
    outage = await confirmed(front, desk)
    answer = await front.viewer.get("/api/v1/payments/history")
    assert '"amount":1000.00,' in answer.text
    (payment,) = answer.json()["transactions"]
    expected = {
        "tx_hash": _TX,
        "type": "penalty",
        "asset": "USDC",
        "status": "confirmed",
        "timestamp": "2026-01-16T10:30:00Z",
        "outage_id": outage,
        "explorer_url": f"http://explorer.test/tx/{_TX}",
    }
    assert expected.items() <= payment.items()
    for params, count in (
        ({"type": "penalty"}, 1),
        ({"type": "reward"}, 0),
        ({"status": "confirmed", "asset": "USDC", "operator": "test-operator"}, 1),
        ({"from": "2026-01-16T10:30:00Z"}, 1),
        ({"to": "2026-01-16T10:30:00Z"}, 0),
    ):
        found = (await front.viewer.get("/api/v1/payments/history", params=params)).json()["transactions"]
        assert len(found) == count, params
    answer = await front.viewer.get("/api/v1/payments/history", params={"from": "2026-01-16T10:30:00"})
    assert_problem(answer, 422, "invalid_input", "from")


async def test_the_guides_sla_status_of_a_paid_outage(front: Front, desk: OutageDesk) -> None:
    outage = await confirmed(front, desk)
    answer = await front.viewer.get(f"/api/v1/sla/status/{outage}")
    assert '"penalty_amount":1000.00,' in answer.text
    guide = {"status": "violated", "mttr_minutes": 25, "threshold_minutes": 15, "contract_tx_hash": _TX}
    assert guide.items() <= answer.json().items()


async def test_a_months_statement_lists_what_ledgers_hold(front: Front, desk: OutageDesk) -> None:
    outage = await confirmed(front, desk)
    answer = await front.viewer.get("/api/v1/statements/2026-01.csv", params={"operator": "test-operator"})
    header, row, end = answer.text.split("\r\n")
    assert header.startswith("outage_id,operator,site")
    assert row.startswith(f"{outage},test-operator,Test Site,critical,")
    assert f",penalty,1000.00,USDC,{OPERATOR},pool," in row
    assert end == ""
    assert len((await front.viewer.get("/api/v1/statements/2026-02.csv")).text.splitlines()) == 1
    [row] = list(csv.DictReader(io.StringIO(answer.text)))
    assert (row["detected_at"], row["confirmed_at"]) == ("2026-01-16T10:00:00Z", "2026-01-16T10:30:00Z")
    assert_problem(await front.viewer.get("/api/v1/statements/2026-13.csv"), 422, "invalid_input", "month")


async def test_why_answers_before_and_while_the_engine_has_it_and_actions_are_audited(
    front: Front, desk: OutageDesk
) -> None:
    outage = await decided(front, desk)
    why = (await front.viewer.get(f"/api/v1/payments/{outage}/why")).json()
    assert (why["payment_status"], why["settlement_status"]) == ("awaiting_approval", None)
    assert_problem(await front.finance.post(f"/api/v1/payments/{outage}/hold"), 409, "wrong_state")
    await front.finance.post("/api/v1/payments/process-sla", json={"outage_id": outage})
    await desk.take_stock(outage, datetime.now(UTC))
    for action in ("hold", "verify", "resume", "bump-fee", "cancel"):
        answer = await front.finance.post(f"/api/v1/payments/{outage}/{action}")
        assert (answer.status_code, answer.json()["settlement_status"]) == (200, "accepted"), answer.text
    assert_problem(await front.operations.post(f"/api/v1/payments/{outage}/hold"), 403, "forbidden")
    assert_problem(await front.finance.post(f"/api/v1/payments/{outage}/steal"), 422, "invalid_input")


async def test_a_refused_payment_takes_the_missing_wallet_with_its_retry(front: Front, desk: OutageDesk) -> None:
    outage = await decided(front, desk, site_name="Unregistered", operator_wallet=OPERATOR, severity="high")
    refused = (await front.viewer.get(f"/api/v1/outages/{outage}")).json()
    assert refused["payment_status"] == "awaiting_approval" or refused["reason_code"] == "wallet_missing"
    if refused["payment_status"] == "awaiting_approval":
        await front.finance.post("/api/v1/payments/process-sla", json={"outage_id": outage})
        await desk.take_stock(outage, datetime.now(UTC))
    path = f"/api/v1/payments/{outage}/retry"
    assert_problem(
        await front.finance.post(path, json={"noc_team_wallet": "G"}), 422, "invalid_input", "/noc_team_wallet"
    )
    answer = await front.finance.post(path, json={"noc_team_wallet": NOC})
    # Nobody registered this site: whom it pays is for another person to approve than who named it.
    assert (answer.status_code, answer.json()["waits_for"]) == (200, "decision"), answer.text
    assert_problem(await front.finance.post(path), 409, "wrong_state")
    await desk.take_stock(outage, datetime.now(UTC))
    waiting = (await front.viewer.get(f"/api/v1/outages/{outage}")).json()
    assert waiting["waits_for"] == "approval"
    assert f"noc_team_wallet {NOC} is not the registry's for Unregistered" in waiting["why_approval"]
    process = {"outage_id": outage}
    assert_problem(await front.finance.post("/api/v1/payments/process-sla", json=process), 403, "four_eyes")
    assert (await front.admin.post("/api/v1/payments/process-sla", json=process)).status_code == 200
