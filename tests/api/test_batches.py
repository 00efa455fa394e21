"""Batches over HTTP: checked whole, recorded once, reported row by row."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import select
from stellar_sdk import Asset, Keypair

from adapters.database.batch_story import BatchDesk, BatchRules
from adapters.database.people_tables import idempotency_keys
from domain.address import AddressKind, encode
from domain.batch_file import ROWS_MAX
from domain.payout import PayoutMode
from tests.api.conftest import TERMS, Front
from tests.api.http import Client, served

ACCOUNTS = [encode(AddressKind.ACCOUNT, bytes([number + 1]) * 32) for number in range(20)]
NATIVE = Asset.native().contract_id("Standalone Network ; February 2017")
FILE = "destination,amount,reference\n" + "".join(f"{address},1.5,w{n}\n" for n, address in enumerate(ACCOUNTS))
BAD = FILE + f"nobody,1,\n{ACCOUNTS[0]},0,w99\n"


async def send(front: Front, text: str = FILE, *, key: str = "wages", path: str = "", **query: str) -> Any:
    headers = {"Content-Type": "text/csv", "Idempotency-Key": key}
    return await front.operations.post(
        f"/api/v1/batches{path}", content=text.encode(), headers=headers, params={"asset": "XLM"} | query
    )


async def test_a_file_is_recorded_and_its_story_woken(front: Front) -> None:
    answer = await send(front, name="November")
    assert answer.status_code == 201, answer.text
    batch = answer.json()
    assert batch["status"] == "running"
    assert batch["counts"] == {
        "rows": 20,
        "bad": 0,
        "waiting": 20,
        "sending": 0,
        "paid": 0,
        "failed": 0,
        "cancelled": 0,
    }
    assert (batch["amount"], batch["calls"], batch["token"], batch["name"]) == (30, 2, NATIVE, "November")
    assert answer.headers["location"] == f"/api/v1/batches/{batch['id']}"
    assert front.stories.woken == [batch["id"]]
    assert (await front.viewer.get(answer.headers["location"])).json()["id"] == batch["id"]


async def test_the_same_file_again_is_the_same_batch_and_another_is_a_conflict(front: Front) -> None:
    first = (await send(front)).json()
    again = await send(front)
    assert (again.status_code, again.json()["id"]) == (200, first["id"])
    other = await send(front, FILE.replace("1.5", "2.5", 1))
    assert other.status_code == 409
    assert [error["field"] for error in other.json()["errors"]] == ["/rows_sha256"]
    assert len((await front.viewer.get("/api/v1/batches")).json()["batches"]) == 1


async def test_the_same_file_sent_twice_at_once_is_one_batch(front: Front) -> None:
    answers = await asyncio.gather(*(send(front) for _ in range(3)))
    assert sorted(answer.status_code for answer in answers) == [200, 200, 201]
    assert len({answer.json()["id"] for answer in answers}) == 1


async def test_json_says_the_same_as_csv(front: Front) -> None:
    rows = [{"destination": address, "amount": "1.5", "reference": "w"} for address in ACCOUNTS]
    answer = await front.operations.post(
        "/api/v1/batches",
        json={"asset": "XLM", "rows": rows, "name": "J"},
        headers={"Idempotency-Key": "j"},
    )
    assert answer.status_code == 201, answer.text
    assert (answer.json()["counts"]["waiting"], answer.json()["amount"]) == (20, 30)


async def test_bad_rows_are_reported_with_line_and_field_and_never_paid(front: Front) -> None:
    answer = await send(front, BAD)
    assert answer.status_code == 201
    batch = answer.json()
    assert (batch["counts"]["bad"], batch["counts"]["waiting"]) == (2, 20)
    assert [(row["line"], row["field"]) for row in batch["bad_rows"]] == [(22, "destination"), (23, "amount")]
    rows = (await front.viewer.get(f"/api/v1/batches/{batch['id']}/rows", params={"status": "bad"})).json()["rows"]
    assert [(row["line"], row["status"], row["field"], row["destination"]) for row in rows] == [
        (22, "bad", "destination", None),
        (23, "bad", "amount", None),
    ]


async def test_one_bad_row_refuses_the_file_where_that_is_asked_for(front: Front) -> None:
    answer = await send(front, BAD, on_bad_rows="refuse")
    assert (answer.status_code, answer.json()["code"]) == (422, "bad_rows")
    assert [error["field"] for error in answer.json()["errors"]] == ["line 22: destination", "line 23: amount"]
    assert (await front.viewer.get("/api/v1/batches")).json()["batches"] == []
    assert (await send(front, FILE, on_bad_rows="refuse")).status_code == 201, "and its key is not used up"


async def test_a_file_without_a_good_row_is_refused(front: Front) -> None:
    for text in ("destination,amount\nnobody,1\n", "destination,amount\n"):
        answer = await send(front, text)
        assert (answer.status_code, answer.json()["code"]) == (422, "bad_rows")


async def test_a_check_records_nothing(front: Front) -> None:
    answer = await send(front, BAD, path="/check")
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert (found["rows"], found["bad"], found["amount"], found["calls"]) == (22, 2, 30, 2)
    assert len(found["bad_rows"]) == 2
    assert (await front.viewer.get("/api/v1/batches")).json()["batches"] == []


async def test_the_report_is_a_table_of_all_rows(front: Front) -> None:
    text = BAD.replace("w0", "=1+1")
    batch = (await send(front, text)).json()
    answer = await front.viewer.get(batch["report"])
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert len(rows) == 22
    assert (rows[0]["line"], rows[0]["status"], rows[0]["amount"], rows[0]["reference"]) == (
        "2",
        "waiting",
        "1.50",
        "'=1+1",
    )
    assert (rows[20]["line"], rows[20]["status"], rows[20]["field"]) == ("22", "bad", "destination")
    page = (await front.viewer.get(f"/api/v1/batches/{batch['id']}/rows", params={"limit": "15"})).json()
    rest = await front.viewer.get(f"/api/v1/batches/{batch['id']}/rows", params={"cursor": page["next"]})
    assert [row["row"] for row in page["rows"] + rest.json()["rows"]] == list(range(1, 23))


async def test_why_names_each_call_that_is_with_the_engine(front: Front) -> None:
    batch = (await send(front)).json()
    desk = BatchDesk(front.deps.database, front.deps.book, BatchRules(TERMS, window=1))
    await desk.take_stock(batch["id"], datetime.now(UTC))
    why = (await front.viewer.get(f"/api/v1/batches/{batch['id']}/why")).json()
    assert why["sentence"] == "It is being paid."
    (call,) = why["calls"]
    assert (call["settlement_id"], call["settlement_status"]) == (f"chunk:{batch['id']}.1", "accepted")
    assert call["sentence"]


async def test_a_key_is_needed(front: Front) -> None:
    answer = await front.operations.post(
        "/api/v1/batches", content=FILE.encode(), headers={"Content-Type": "text/csv"}, params={"asset": "XLM"}
    )
    assert answer.status_code == 422
    assert "Idempotency-Key" in answer.json()["errors"][0]["field"]


@pytest.mark.parametrize(
    ("text", "query", "field"),
    [
        (FILE, {"asset": "GOLD"}, "/asset"),
        (FILE, {"asset": ""}, "/asset"),
        ("destination,amnt\n", {}, "/file"),
        ("", {}, "/file"),
    ],
)
async def test_what_is_wrong_with_the_whole_names_it(
    front: Front, text: str, query: dict[str, str], field: str
) -> None:
    answer = await send(front, text, **query)
    assert answer.status_code == 422, answer.text
    assert [error["field"] for error in answer.json()["errors"]] == [field]


async def test_a_hundred_thousand_rows_are_one_batch(front: Front) -> None:
    """Six megabytes, far above BODY_BYTES_MAX; every row is there, in calls of ten."""
    people = (encode(AddressKind.ACCOUNT, number.to_bytes(32, "big")) for number in range(ROWS_MAX))
    text = "destination,amount\n" + "".join(f"{one},0.01\n" for one in people)
    answer = await send(front, text)
    assert answer.status_code == 201, answer.text
    batch = answer.json()
    assert (batch["counts"]["waiting"], batch["calls"], batch["amount"]) == (ROWS_MAX, ROWS_MAX // 10, 1_000)
    last = await front.viewer.get(f"/api/v1/batches/{batch['id']}/rows", params={"cursor": str(ROWS_MAX - 1)})
    assert [row["line"] for row in last.json()["rows"]] == [ROWS_MAX + 1]


async def test_a_file_has_a_limit_of_its_own(front: Front) -> None:
    async def chunked() -> Any:
        for _ in range(801):
            yield b"x" * 10_000

    streamed = await front.operations.post(
        "/api/v1/batches",
        content=chunked(),
        headers={"Content-Type": "text/csv", "Idempotency-Key": "s"},
        params={"asset": "XLM"},
    )
    assert (streamed.status_code, streamed.json()["code"]) == (413, "body_too_large")


async def test_a_batch_above_the_limit_waits_for_another_person(front: Front) -> None:
    batch = (await send(front, FILE.replace("1.5", "1000"))).json()
    assert batch["status"] == "awaiting_approval"
    path = f"/api/v1/batches/{batch['id']}"
    assert (await front.operations.post(f"{path}/approve")).status_code == 403
    approved = await front.finance.post(f"{path}/approve")
    assert (approved.status_code, approved.json()["status"]) == (200, "running")
    own = {"Content-Type": "text/csv", "Idempotency-Key": "own"}
    mine = await front.admin.post(
        "/api/v1/batches",
        content=FILE.replace("1.5", "1000").encode(),
        headers=own,
        params={"asset": "XLM"},
    )
    refused = await front.admin.post(f"/api/v1/batches/{mine.json()['id']}/approve")
    assert (refused.status_code, refused.json()["code"]) == (403, "four_eyes")


async def test_pause_resume_and_cancel_are_said_once_and_twice(front: Front) -> None:
    batch = (await send(front)).json()
    path = f"/api/v1/batches/{batch['id']}"
    for action, status in (
        ("pause", "paused"),
        ("pause", "paused"),
        ("resume", "running"),
        ("cancel", "cancelling"),
        ("cancel", "cancelling"),
    ):
        answer = await front.finance.post(f"{path}/{action}")
        assert (answer.status_code, answer.json()["status"]) == (200, status)
    late = await front.finance.post(f"{path}/resume")
    assert (late.status_code, late.json()["code"]) == (409, "wrong_state")
    assert (await front.finance.post(f"{path}/retry")).status_code == 409
    assert (await front.operations.post(f"{path}/pause")).status_code == 403


async def test_while_temporal_is_away_a_batch_is_recorded_and_says_so(front: Front) -> None:
    front.stories.away = True
    answer = await send(front)
    assert answer.status_code == 202
    assert answer.json()["status"] == "running"


async def send_where(front: Front, text: str, kind: str, *, path: str = "", query: str = "", **terms: Any) -> Any:
    """Send it where payouts have other terms."""
    payouts = replace(front.deps.payouts, terms=replace(TERMS, **terms))
    other = replace(front.deps, payouts=payouts, registry=CollectorRegistry())
    async with served(other) as url:
        client = Client(url, front.admin_key)
        headers = {"Content-Type": kind, "Idempotency-Key": f"{kind}{query}"}
        answer = await client.post(f"/api/v1/batches{path}{query}", content=text.encode(), headers=headers)
        await client.session.close()
    return answer


async def test_where_nothing_is_sent_a_batch_is_refused_and_says_so(front: Front) -> None:
    answer = await send_where(front, FILE, "text/csv", query="?asset=XLM", mode=PayoutMode.BUILD_ONLY)
    assert (answer.status_code, answer.json()["code"]) == (409, "live_execution_off")


async def test_what_was_accepted_is_found_also_where_nothing_is_sent_any_more(front: Front) -> None:
    sent = await send_where(front, FILE, "text/csv", query="?asset=XLM")
    again = await send_where(front, FILE, "text/csv", query="?asset=XLM", mode=PayoutMode.BUILD_ONLY)
    assert (again.status_code, again.json()["id"]) == (200, sent.json()["id"])
    checked = await send_where(
        front, FILE, "text/csv", path="/check", query="?asset=XLM", mode=PayoutMode.BUILD_ONLY
    )
    assert checked.json()["sent_before"] == sent.json()["id"]


_ONE = {"asset": "XLM", "rows": [{"destination": ACCOUNTS[0], "amount": "1"}]}


async def test_where_somebody_outside_signs_entries_are_asked_for_unless_envelopes_are_wanted(
    front: Front,
) -> None:
    """Envelopes would hold a lane each while they wait."""
    whole = await send_where(front, FILE, "text/csv", query="?asset=XLM", mode=PayoutMode.EXTERNAL)
    named = await send_where(
        front, FILE, "text/csv", query="?asset=XLM&signer=external&signing=envelope", signers=("external",)
    )
    as_json = json.dumps(_ONE | {"signer": "external"})
    in_json = await send_where(front, as_json, "application/json", signers=("external",))
    assert [(one.status_code, one.json()["signer"], one.json()["signing"]) for one in (whole, named, in_json)] == [
        (201, None, "auth_entry"),
        (201, "external", "envelope"),
        (201, "external", "auth_entry"),
    ]


@pytest.mark.parametrize("path", ["", "/check"])
async def test_a_signer_that_is_not_on_offer_is_refused_by_name(front: Front, path: str) -> None:
    """Else anybody could choose the one that asks nobody."""
    for signers in ((), ("external",)):
        body = json.dumps(_ONE | {"signer": "hot"})
        answer = await send_where(front, body, "application/json", path=path, signers=signers)
        assert answer.status_code == 422
        assert [error["field"] for error in answer.json()["errors"]] == ["/signer"]
    for wrong in ({"signer": "nobody"}, {"signing": "blood"}):
        answer = await send(front, path=path, **wrong)
        assert answer.status_code == 422
        assert [error["field"].rpartition("/")[2] for error in answer.json()["errors"]] == list(wrong)
    assert (await front.viewer.get("/api/v1/batches")).json()["batches"] == []


async def test_what_was_not_said_of_the_signer_is_no_part_of_the_claim(front: Front) -> None:
    """So a request is known again that was recorded before a batch could name one."""
    await send(front)
    async with front.deps.database.look() as connection:
        fields = (await connection.execute(select(idempotency_keys.c.fields))).scalar_one()
    assert set(fields) == {"request", "asset", "name", "on_bad_rows", "rows_sha256"}
    other = await send(front, signing="auth_entry")
    assert other.status_code == 409
    assert [error["field"] for error in other.json()["errors"]] == ["/signing"]


async def test_a_secret_key_in_the_file_stands_nowhere(front: Front) -> None:
    seed = Keypair.random().secret
    answer = await send(front, FILE + f"{seed},1,\n")
    report = await front.viewer.get(answer.json()["report"])
    for text in (answer.text, report.text, json.dumps((await front.viewer.get("/api/v1/batches")).json())):
        assert seed not in text
