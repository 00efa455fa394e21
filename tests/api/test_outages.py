"""Outages over HTTP: the guide's examples, and all that is refused."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from tests.api.conftest import Front
from tests.api.figures import NOC, OPERATOR, REPORT, RESOLVE, SECRET


async def reported(front: Front, **changed: Any) -> str:
    answer = await front.operations.post("/api/v1/outages", json=REPORT | changed)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def assert_problem(answer: Any, status: int, code: str, *fields: str) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert (body["code"], body["status"]) == (code, status)
    assert {entry["field"] for entry in body["errors"]} >= set(fields), body


async def test_the_guides_report_needs_only_a_site_and_finds_its_wallets(front: Front) -> None:
    answer = await front.operations.post("/api/v1/outages", json=REPORT)
    assert answer.status_code == 201
    body = answer.json()
    assert body["id"] == "OUT001"
    assert (body["operator_wallet"], body["noc_team_wallet"]) == (OPERATOR, NOC)
    assert front.stories.woken == ["OUT001"]
    assert answer.headers["location"] == "/api/v1/outages/OUT001"


async def test_a_resolved_outage_shows_the_guides_sla_status(front: Front) -> None:
    outage = await reported(front)
    assert (await front.operations.put(f"/api/v1/outages/{outage}", json=RESOLVE)).status_code == 200
    body = (await front.viewer.get(f"/api/v1/sla/status/{outage}")).json()
    assert (body["status"], body["mttr_minutes"], body["threshold_minutes"]) == ("violated", 25, 15)
    assert {"penalty_amount", "contract_tx_hash"} <= body.keys()


async def test_a_report_is_taken_while_temporal_is_away(front: Front) -> None:
    front.stories.away = True
    assert (await front.operations.post("/api/v1/outages", json=REPORT)).status_code == 202


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"severity": "terrible"}, "/severity"),
        ({"detected_at": "2026-01-16T10:00:00"}, "/detected_at"),
        ({"detected_at": 1_768_557_600}, "/detected_at"),
        ({"detected_at": "9999-01-01T00:00:00Z"}, "/detected_at"),
        ({"operator_wallet": "GNOT"}, "/operator_wallet"),
        ({"noc_team_wallet": OPERATOR[:-1] + "A"}, "/noc_team_wallet"),
        ({"colour": "red"}, "/colour"),
        ({"site_name": ""}, "/site_name"),
        ({"site_name": "a\x00b"}, "/site_name"),
    ],
)
async def test_a_report_that_is_not_right_names_its_field(
    front: Front, change: dict[str, Any], field: str
) -> None:
    answer = await front.operations.post("/api/v1/outages", json=REPORT | change)
    assert_problem(answer, 422, "invalid_input", field)
    assert front.stories.woken == []


async def test_a_secret_key_for_a_wallet_is_refused_and_neither_echoed_nor_logged(
    front: Front, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    answers = [
        await front.operations.post("/api/v1/outages", json=REPORT | {"operator_wallet": SECRET}),
        await front.operations.post("/api/v1/outages", json=REPORT | {SECRET: 1}),
        await front.viewer.get(f"/api/v1/wallets/{SECRET}/balance"),
        await front.viewer.get(f"/api/v1/outages/{SECRET}"),
        await front.viewer.get("/api/v1/outages", params={"site_name": "x", SECRET: "1"}),
    ]
    assert [answer.status_code for answer in answers] == [422] * 5
    assert "secret key" in answers[0].text
    for answer in answers:
        assert SECRET not in answer.text
        assert SECRET not in str(answer.headers)
    seen = capsys.readouterr()
    assert SECRET not in caplog.text + seen.out + seen.err


async def test_resolved_before_detected_is_refused(front: Front) -> None:
    outage = await reported(front)
    early = RESOLVE | {"resolved_at": "2026-01-16T09:59:59Z"}
    answer = await front.operations.put(f"/api/v1/outages/{outage}", json=early)
    assert_problem(answer, 422, "invalid_input", "/resolved_at")


async def test_resolving_twice_with_another_time_is_a_conflict_and_the_same_time_is_not(front: Front) -> None:
    outage = await reported(front)
    for expected in (200, 200):
        assert (await front.operations.put(f"/api/v1/outages/{outage}", json=RESOLVE)).status_code == expected
    later = RESOLVE | {"resolved_at": "2026-01-16T10:26:00Z"}
    answer = await front.operations.put(f"/api/v1/outages/{outage}", json=later)
    assert_problem(answer, 409, "conflict", "/resolved_at")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"status": "resolved"}, "/resolved_at"),
        ({"status": "resolved", "resolved_at": "2026-01-16T10:25:00"}, "/resolved_at"),
        ({"status": "paid"}, "/status"),
        ({"status": "acknowledged", "rca": "text"}, "/rca"),
        ({"status": "disputed", "resolved_at": "2026-01-16T10:25:00Z"}, "/resolved_at"),
    ],
)
async def test_a_change_that_does_not_go_together_names_its_field(
    front: Front, body: dict[str, Any], field: str
) -> None:
    outage = await reported(front)
    assert_problem(await front.operations.put(f"/api/v1/outages/{outage}", json=body), 422, "invalid_input", field)


async def test_an_unknown_outage_is_not_found(front: Front) -> None:
    assert_problem(await front.viewer.get("/api/v1/outages/OUT999"), 404, "not_found")
    assert_problem(await front.viewer.get("/api/v1/sla/status/OUT999"), 404, "not_found")
    assert_problem(await front.operations.put("/api/v1/outages/OUT999", json=RESOLVE), 404, "not_found")
    assert_problem(await front.viewer.get("/api/v1/nothing"), 404, "not_found")
    assert_problem(await front.viewer.delete("/api/v1/outages"), 405, "method_not_allowed")


async def test_a_body_that_is_not_json_is_malformed(front: Front) -> None:
    headers = {"Content-Type": "application/json"}
    answer = await front.operations.post("/api/v1/outages", content=b"{", headers=headers)
    assert_problem(answer, 400, "malformed_request")
    answer = await front.operations.post("/api/v1/outages", content=b"\xff\xfe", headers=headers)
    assert answer.status_code in {400, 422}


async def test_a_body_of_two_megabytes_is_refused_whether_its_length_is_declared_or_not(front: Front) -> None:
    body = json.dumps(REPORT | {"description": "x" * 2_000_000}).encode()
    headers = {"Content-Type": "application/json"}
    assert_problem(
        await front.operations.post("/api/v1/outages", content=body, headers=headers), 413, "body_too_large"
    )

    async def streamed() -> Any:
        for start in range(0, len(body), 65536):
            yield body[start : start + 65536]

    answer = await front.operations.post("/api/v1/outages", content=streamed(), headers=headers)
    assert_problem(answer, 413, "body_too_large")


async def test_an_idempotency_key_leads_to_the_same_outage_and_a_conflict_names_the_fields(front: Front) -> None:
    headers = {"Idempotency-Key": "outage-1"}
    first = await front.operations.post("/api/v1/outages", json=REPORT, headers=headers)
    again = await front.operations.post("/api/v1/outages", json=REPORT, headers=headers)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["id"] == again.json()["id"]
    other = await front.operations.post("/api/v1/outages", json=REPORT | {"severity": "low"}, headers=headers)
    assert_problem(other, 409, "idempotency_conflict", "/severity")
    elsewhere = await front.admin.post("/api/v1/outages", json=REPORT | {"severity": "low"}, headers=headers)
    assert elsewhere.status_code == 201, "keys are each caller's own"


async def test_lists_are_filtered_and_paged_newest_first(front: Front) -> None:
    for severity in ("critical", "low", "critical"):
        await reported(front, severity=severity)
    page = (await front.viewer.get("/api/v1/outages", params={"limit": 2})).json()
    assert [outage["id"] for outage in page["outages"]] == ["OUT003", "OUT002"]
    rest = (await front.viewer.get("/api/v1/outages", params={"limit": 2, "cursor": page["next"]})).json()
    assert [outage["id"] for outage in rest["outages"]] == ["OUT001"]
    critical = (await front.viewer.get("/api/v1/outages", params={"severity": "critical"})).json()
    assert len(critical["outages"]) == 2


async def test_an_rca_text_is_compared_with_what_is_anchored_on_chain(front: Front) -> None:
    outage = await reported(front)
    await front.operations.put(f"/api/v1/outages/{outage}", json=RESOLVE | {"rca": "a fibre was cut"})
    path = f"/api/v1/outages/{outage}/rca/verify"
    body = (await front.viewer.get(path)).json()
    assert (body["matches"], body["anchored_sha256"]) == (False, None)
    front.ledger.anchors[outage] = body["text_sha256"]
    assert (await front.viewer.get(path)).json()["matches"]
    assert (await front.viewer.post(path, json={"rca": "a fibre was cut"})).json()["matches"]
    assert not (await front.viewer.get(path, params={"text": "nothing happened"})).json()["matches"]
