"""Operators, sites, wallets and webhooks over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from adapters.database.wallets import mark_ready, sealed_key
from domain.money import Amount
from tests.api.conftest import Front
from tests.api.figures import NOW, OPERATOR
from tests.api.test_outages import assert_problem


@pytest.mark.parametrize(
    "amount", ["0.12345678", "-1", "NaN", "1" + "0" * 30, "1e3", "", "1,000", 1000, 0.1, True, "Infinity"]
)
async def test_an_amount_that_is_no_plain_decimal_string_is_refused(front: Front, amount: Any) -> None:
    body = {"name": "Acme", "auto_payment_max": amount}
    answer = await front.admin.put("/api/v1/operators/acme", json=body)
    assert_problem(answer, 422, "invalid_input", "/auto_payment_max")


async def test_an_operator_and_its_site_are_written_and_read_back(front: Front) -> None:
    body = {"name": "Acme", "wallet": OPERATOR, "emails": ["noc@acme.example"], "auto_payment_max": "250.5"}
    assert (await front.admin.put("/api/v1/operators/acme", json=body)).status_code == 201
    answer = await front.admin.put("/api/v1/operators/acme", json=body)
    assert answer.status_code == 200
    assert '"auto_payment_max":250.50,' in answer.text
    site = await front.admin.put("/api/v1/sites/Mast 7", json={"operator": "acme"})
    assert (site.status_code, site.json()["operator"]) == (201, "acme")
    listed = (await front.viewer.get("/api/v1/sites", params={"operator": "acme"})).json()
    assert [found["name"] for found in listed["sites"]] == ["Mast 7"]
    unknown = await front.admin.put("/api/v1/sites/Mast 8", json={"operator": "nobody"})
    assert_problem(unknown, 422, "invalid_input")
    assert_problem(await front.viewer.get("/api/v1/operators/nobody"), 404, "not_found")
    for wrong in ("not a mail", "a@b\r\nBcc: c@d.example", "a@b"):
        answer = await front.admin.put("/api/v1/operators/acme", json={"name": "Acme", "emails": [wrong]})
        assert_problem(answer, 422, "invalid_input", "/emails/0")


async def test_a_wallet_is_made_once_a_user_and_its_secret_is_nowhere_in_the_clear(front: Front) -> None:
    body = {"user_id": "user123"}
    first = await front.operations.post("/api/v1/wallets/create", json=body)
    again = await front.operations.post("/api/v1/wallets/create", json=body)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["address"] == again.json()["address"]
    assert front.stories.woken == ["user123", "user123"], "an unfinished one is started again"
    custody = front.deps.custody
    assert custody is not None
    async with front.deps.database.begin() as connection:
        address, sealed = await sealed_key(connection, "user123")
        keypair = custody.open_wallet(sealed, address=address)
        assert keypair.raw_secret_key() not in sealed.ciphertext + sealed.wrapped_key
        await mark_ready(connection, "user123", tx_hash="ab" * 32, at=NOW)
    assert keypair.secret not in first.text
    ready = (await front.viewer.get("/api/v1/wallets/users/user123")).json()
    assert (ready["status"], ready["explorer_url"]) == ("ready", f"http://explorer.test/tx/{'ab' * 32}")
    await front.operations.post("/api/v1/wallets/create", json=body)
    assert len(front.stories.woken) == 2


async def test_a_balance_has_the_guides_shape(front: Front) -> None:
    front.ledger.accounts[OPERATOR] = {"XLM": Amount.of(1000), "USDC": Amount(1), "NOCIQ": Amount(0)}
    answer = await front.viewer.get(f"/api/v1/wallets/{OPERATOR}/balance")
    assert answer.text == '{"XLM":1000.00,"USDC":0.0000001,"NOCIQ":0.00}'
    other = "GAIH3ULLFQ4DGSECF2AR555KZ4KNDGEKN4AFI4SU2M7B43MGK3QJZNSR"
    assert_problem(await front.viewer.get(f"/api/v1/wallets/{other}/balance"), 404, "not_found")


async def test_a_webhook_is_made_with_a_secret_that_is_shown_once_and_ended(front: Front) -> None:
    body = {"url": "https://example.org/hook", "types": ["payment.confirmed"]}
    headers = {"Idempotency-Key": "hook-1"}
    made = await front.admin.post("/api/v1/webhooks", json=body, headers=headers)
    assert made.status_code == 201
    assert made.json()["secret"].startswith("whsec_")
    again = await front.admin.post("/api/v1/webhooks", json=body, headers=headers)
    assert (again.status_code, again.json()["secret"]) == (200, None)
    hook = made.json()["id"]
    assert (await front.admin.get(f"/api/v1/webhooks/{hook}/deliveries")).json()["deliveries"] == []
    assert_problem(await front.admin.post(f"/api/v1/webhooks/{hook}/replay", json={}), 422, "invalid_input")
    replayed = await front.admin.post(f"/api/v1/webhooks/{hook}/replay", json={"since": "2026-01-01T00:00:00Z"})
    assert replayed.json() == {"deliveries": 0}
    assert (await front.admin.delete(f"/api/v1/webhooks/{hook}")).json()["disabled_at"] is not None
    bad = {"url": "ftp://example.org/hook"}
    assert_problem(await front.admin.post("/api/v1/webhooks", json=bad), 422, "invalid_input", "/url")
