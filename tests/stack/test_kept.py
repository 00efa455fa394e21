"""What is kept on the ledger beside payments: reports' hashes, and users' wallets."""

from __future__ import annotations

import asyncio
from typing import Any

from stellar_sdk import Asset

from adapters.stellar.entries import account_key, account_state, trustline_key
from adapters.stellar.rpc import Rpc
from tests.stack.conftest import Front
from tests.waiting import until

RCA = "A fuse of rack 4 blew at 10:00; it was replaced at 10:25."


async def test_a_report_is_anchored_with_the_payment_and_only_its_own_text_verifies(front: Front) -> None:
    outage = await front.resolved(rca=RCA)
    status = await front.until_payment(outage, "confirmed")
    path = f"/api/v1/outages/{outage}/rca/verify"
    right = (await front.guest.get(path, params={"text": RCA})).json()
    assert right["matches"] is True
    assert right["anchored_sha256"] == right["text_sha256"]
    assert right["tx_hash"] == status["contract_tx_hash"]
    changed = (await front.guest.post(path, json={"rca": RCA.replace("fuse", "cable")})).json()
    assert changed["matches"] is False
    assert changed["anchored_sha256"] == right["anchored_sha256"]


async def test_nothing_is_anchored_for_an_outage_without_a_report(front: Front) -> None:
    outage = await front.resolved("high", 10)
    await front.until_payment(outage, "confirmed")
    found = (await front.guest.get(f"/api/v1/outages/{outage}/rca/verify", params={"text": RCA})).json()
    assert (found["matches"], found["anchored_sha256"]) == (False, None)


async def test_a_wallet_asked_for_twice_at_once_is_one_sponsored_account_with_both_trustlines(
    front: Front,
) -> None:
    answers = await asyncio.gather(
        *(front.guest.post("/api/v1/wallets/create", json={"user_id": "user123"}) for _ in range(2))
    )
    assert sorted(answer.status_code for answer in answers) == [200, 201], [one.text for one in answers]
    (address,) = {answer.json()["address"] for answer in answers}
    assert all("secret" not in answer.text.lower() for answer in answers)

    async def ready() -> dict[str, Any] | None:
        wallet: dict[str, Any] = (await front.guest.get("/api/v1/wallets/users/user123")).json()
        assert wallet["status"] != "failed", wallet
        return wallet if wallet["status"] == "ready" else None

    assert (await until(ready))["address"] == address
    house = front.house
    keys = [
        trustline_key(address, Asset(code, house.account(f"{code.lower()}_issuer"))) for code in ("USDC", "NOCIQ")
    ]
    account = account_key(address)
    async with Rpc(house.outside.rpc_url) as rpc:
        found = (await rpc.ledger_entries([account, *keys])).by_key
    assert set(found) == {key.to_xdr() for key in (account, *keys)}
    state = account_state(found[account.to_xdr()].data)
    assert (state.balance_units, state.reserved_units) == (0, 0), "its reserves are the sponsor's"
    balance = await front.guest.get(f"/api/v1/wallets/{address}/balance")
    assert balance.json() == {"XLM": 0.0, "USDC": 0.0, "NOCIQ": 0.0}
