"""Keys, scopes, limits, the keyless caller, and what every answer carries."""

from __future__ import annotations

import re
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import update

from adapters.database.engine import Database
from adapters.database.settlements_tables import ledger_head
from api.access import RateLimit
from tests.api.conftest import FixedLedger, Front, RecordedStories, parts
from tests.api.figures import REPORT
from tests.api.http import Client, served
from tests.api.test_outages import assert_problem


async def test_a_missing_or_wrong_key_is_unauthenticated(front: Front) -> None:
    assert_problem(await front.nobody.get("/api/v1/outages"), 401, "unauthenticated")
    wrong = {"X-API-Key": "hf_wrongwrongwrong"}
    answer = await front.nobody.get("/api/v1/outages", headers=wrong)
    assert_problem(answer, 401, "unauthenticated")
    assert answer.headers["www-authenticate"] == "Bearer"
    assert "wrongwrong" not in answer.text


async def test_a_key_is_taken_from_either_header(front: Front) -> None:
    answer = await front.nobody.get("/api/v1/me", headers={"X-API-Key": front.admin_key})
    assert answer.json()["person"]["name"] == "A administrator"


async def test_a_key_may_do_no_more_than_its_scopes(front: Front) -> None:
    answer = await front.viewer.post("/api/v1/outages", json=REPORT)
    assert_problem(answer, 403, "forbidden")
    assert answer.json()["details"]["scope"] == "outages:write"
    assert_problem(await front.finance.get("/api/v1/keys"), 403, "forbidden")


async def test_a_key_is_made_shown_once_used_and_revoked(front: Front) -> None:
    person = (await front.admin.post("/api/v1/people", json={"name": "Ada", "roles": ["finance"]})).json()
    body = {"person_id": person["id"], "label": "laptop", "scopes": ["payments:read"]}
    headers = {"Idempotency-Key": "key-1"}
    made = await front.admin.post("/api/v1/keys", json=body, headers=headers)
    assert made.status_code == 201
    secret = made.json()["key"]
    again = await front.admin.post("/api/v1/keys", json=body, headers=headers)
    assert (again.status_code, again.json()["id"], again.json()["key"]) == (200, made.json()["id"], None)
    use = {"Authorization": f"Bearer {secret}"}
    assert (await front.nobody.get("/api/v1/payments/history", headers=use)).status_code == 200
    assert_problem(await front.nobody.get("/api/v1/outages", headers=use), 403, "forbidden")
    listed = await front.admin.get("/api/v1/keys")
    assert (listed.status_code, secret in listed.text) == (200, False)
    await front.admin.delete(f"/api/v1/keys/{made.json()['id']}")
    assert_problem(await front.nobody.get("/api/v1/payments/history", headers=use), 401, "unauthenticated")


async def test_a_key_beyond_its_owners_roles_or_past_its_time_is_refused(front: Front) -> None:
    person = (await front.admin.post("/api/v1/people", json={"name": "Bo", "roles": ["viewer"]})).json()
    beyond = {"person_id": person["id"], "scopes": ["admin"]}
    assert_problem(await front.admin.post("/api/v1/keys", json=beyond), 422, "invalid_input", "/scopes")
    past = {"person_id": person["id"], "expires_at": (datetime.now(UTC) - timedelta(1)).isoformat()}
    secret = (await front.admin.post("/api/v1/keys", json=past)).json()["key"]
    use = {"Authorization": f"Bearer {secret}"}
    assert_problem(await front.nobody.get("/api/v1/me", headers=use), 401, "unauthenticated")


def test_a_bucket_allows_a_burst_and_then_its_rate() -> None:
    limit = RateLimit(60)
    assert [limit.take("a", now=0) is None for _ in range(16)] == [True] * 15 + [False]
    assert limit.take("b", now=0) is None
    assert limit.take("a", now=1) is None
    assert limit.take("a", now=1) == pytest.approx(1)


async def test_too_many_requests_are_told_when_to_come_again(database: Database) -> None:
    deps = parts(database, RecordedStories(), FixedLedger(), requests_per_minute=4)
    async with served(deps) as url, AsyncExitStack() as stack:
        client = Client(url)
        stack.push_async_callback(client.session.close)
        answers = [await client.get("/api/v1/me") for _ in range(3)]
        assert_problem(answers[-1], 429, "rate_limited")
        assert int(answers[-1].headers["retry-after"]) >= 1


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 201),
        ({"Origin": "http://evil.example"}, 401),
        ({"Host": "evil.example"}, 401),
        ({"Authorization": "hf_without_the_scheme"}, 401),
        ({"X-API-Key": ""}, 401),
    ],
)
async def test_a_keyless_caller_is_only_this_machine_itself_without_a_key_and_no_page_in_its_browser(
    database: Database, headers: dict[str, str], status: int
) -> None:
    deps = parts(database, RecordedStories(), FixedLedger(), keyless=True)
    async with served(deps) as url, AsyncExitStack() as stack:
        client = Client(url)
        stack.push_async_callback(client.session.close)
        report: dict[str, Any] = REPORT | {"site_name": "Elsewhere"}
        assert (await client.post("/api/v1/outages", json=report, headers=headers)).status_code == status
        if status == 201:
            answer = await client.post("/api/v1/payments/process-sla", json={"outage_id": "OUT001"})
            assert_problem(answer, 403, "forbidden")


async def test_every_answer_carries_a_request_id_and_security_headers(front: Front) -> None:
    for answer in (
        await front.nobody.get("/health", headers={"X-Request-Id": "my-request-1"}),
        await front.nobody.get("/nothing", headers={"X-Request-Id": "my-request-1"}),
    ):
        assert answer.headers["x-request-id"] == "my-request-1"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
    assert answer.json()["instance"].endswith("my-request-1")


async def test_ready_says_what_stands_against_a_payment(front: Front) -> None:
    assert (await front.nobody.get("/ready")).status_code == 200
    front.ledger.found = {"sla_contract": "it is not on the ledger"}
    front.stories.away = True
    answer = await front.nobody.get("/ready")
    assert answer.status_code == 503
    assert answer.json()["checks"]["sla_contract"] == "it is not on the ledger"
    assert answer.json()["checks"]["temporal"] == "Temporal does not answer"


async def test_ready_is_not_said_while_no_worker_follows_the_ledger(front: Front) -> None:
    long_ago = datetime.now(UTC) - timedelta(minutes=2)
    async with front.deps.database.begin() as connection:
        await connection.execute(update(ledger_head).values(closed_at=long_ago))
    answer = await front.nobody.get("/ready")
    assert answer.status_code == 503
    assert answer.json()["checks"]["worker"].startswith("none follows the ledger")


async def test_a_freeze_is_audited_told_and_not_ready_until_the_thaw(front: Front) -> None:
    answer = await front.admin.post("/api/v1/freeze", json={"reason": "an odd payment"})
    assert answer.json()["frozen"]
    ready = await front.nobody.get("/ready")
    assert (ready.status_code, ready.json()["frozen"]) == (503, True)
    await front.admin.post("/api/v1/thaw", json={"reason": "it was ours"})
    assert (await front.nobody.get("/ready")).status_code == 200
    events = await front.viewer.get("/api/v1/events", params={"after": "0", "follow": "false"})
    assert "event: system.frozen" in events.text
    assert "event: system.thawed" in events.text
    assert (await front.admin.get("/api/v1/audit/verify")).json()["broken_at"] is None


async def test_metrics_name_routes_and_never_paths(front: Front) -> None:
    await front.viewer.get("/api/v1/outages/OUT777")
    text = (await front.nobody.get("/metrics")).text
    assert 'route="/api/v1/outages/{outage_id}"' in text
    assert "OUT777" not in text
    assert "holdfast_deliveries_pending" in text


async def test_the_docs_page_needs_nothing_from_elsewhere(front: Front) -> None:
    page = await front.nobody.get("/docs")
    assert page.status_code == 200
    sources = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(sources) >= 2
    for source in sources:
        assert source.startswith("/"), source
        assert (await front.nobody.get(source)).status_code == 200
