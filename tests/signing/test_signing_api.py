"""Signing over HTTP, as a signer of one's own does it: requests out, signatures in, each payout paid once."""

from __future__ import annotations

import base64
from typing import Any

from stellar_sdk import Keypair, TransactionEnvelope

from domain.money import Amount
from tests.api.http import Answer, Client
from tests.settlement.world import PASSPHRASE
from tests.signing.conftest import Gap


def detached(payer: Keypair, request: dict[str, Any]) -> dict[str, Any]:
    signature = base64.b64encode(payer.sign(bytes.fromhex(request["hash"]))).decode()
    return {
        "settlement_id": request["settlement_id"],
        "request_id": request["id"],
        "signatures": [{"signer": payer.public_key, "signature": signature}],
    }


async def post(gap: Gap, payout_id: str, body: dict[str, Any]) -> Answer:
    return await gap.finance.post(f"/api/v1/payouts/{payout_id}/signature", json=body)


async def test_a_signed_envelope_that_is_posted_again_and_again_pays_once(gap: Gap) -> None:
    before = await gap.received()
    payout_id = await gap.ask()
    request = await gap.request(payout_id)
    assert (request["kind"], request["status"], request["payout_id"]) == ("envelope", "waiting", payout_id)
    envelope = TransactionEnvelope.from_xdr(request["unsigned_xdr"], request["network_passphrase"])
    assert envelope.hash_hex() == request["hash"]
    envelope.sign(gap.payer)
    answers = [await post(gap, payout_id, {"signed_xdr": envelope.to_xdr()}) for _ in range(2)]
    assert answers[0].status_code == 200, answers[0].text
    assert answers[0].json()["complete"] is True
    assert answers[0].json()["accepted"] == [gap.payer.public_key]
    found = await gap.until(payout_id, "confirmed")
    late = await post(gap, payout_id, {"signed_xdr": envelope.to_xdr()})
    for again in (answers[1], late):
        taken = again.status_code == 200 and again.json()["already"] is True
        assert taken or again.json()["code"] == "signature_not_awaited", again.text
    assert await gap.received() - before == Amount.parse("12.5")
    assert found["tx_hash"]


async def test_many_are_listed_fetched_and_signed_at_once_and_a_bad_one_stops_no_other(gap: Gap) -> None:
    before = await gap.received()
    ids = [await gap.ask(signing="auth_entry") for _ in range(3)]
    requests = [await gap.request(payout_id) for payout_id in ids]
    pages: list[str] = []
    cursor: str | None = None
    while True:
        params = {"limit": "2"} | ({"cursor": cursor} if cursor else {})
        page = (await gap.finance.get("/api/v1/signing-requests", params=params)).json()
        pages += [one["id"] for one in page["signing_requests"]]
        cursor = page["next"]
        if cursor is None:
            break
    wanted = [request["id"] for request in requests]
    assert [one for one in pages if one in wanted] == wanted
    query = "&".join(f"ids={one}" for one in wanted)
    fetched = (await gap.finance.get(f"/api/v1/signing-requests?{query}")).json()
    assert [one["id"] for one in fetched["signing_requests"]] == wanted
    assert len(fetched["digest"]) == 64

    submissions = [detached(gap.payer, request) for request in requests]
    submissions[1]["signatures"][0]["signature"] = submissions[0]["signatures"][0]["signature"]
    unknown = submissions[0] | {"settlement_id": "payout:nobody-asked"}
    answer = await gap.finance.post("/api/v1/signatures", json={"submissions": [*submissions, unknown]})
    assert answer.status_code == 200, answer.text
    results = answer.json()["results"]
    assert [one["settlement_id"] for one in results] == [one["settlement_id"] for one in [*requests, unknown]]
    assert [one["receipt"] is not None for one in results] == [True, False, True, False]
    assert results[1]["problem"]["code"].startswith("signature_")
    assert results[3]["problem"]["code"] == "not_found"
    for payout_id in (ids[0], ids[2]):
        await gap.until(payout_id, "confirmed")
    assert (await gap.payout(ids[1]))["status"] == "awaiting_signature"
    assert await gap.received() - before == Amount.of(25)
    await gap.finance.post(f"/api/v1/payouts/{ids[1]}/cancel")


async def test_a_signers_key_may_list_and_sign_and_nothing_else(gap: Gap) -> None:
    signer = Client(gap.house.url, gap.api_key)
    try:
        assert (await signer.get("/api/v1/signing-requests")).status_code == 200
        assert (await signer.get("/api/v1/payouts")).status_code == 403
        assert (await signer.post("/api/v1/payouts", json={})).status_code == 403
        nobody = await signer.post("/api/v1/payouts/nobody-asked/signature", json={"signed_xdr": "AAAA"})
        assert (nobody.status_code, nobody.json()["code"]) == (404, "not_found")
        empty = await signer.post("/api/v1/payouts/nobody-asked/signature", json={})
        assert empty.status_code == 422
    finally:
        await signer.session.close()
    guest = Client(gap.house.url)
    try:
        posted = await guest.post("/api/v1/signatures", json={"submissions": []})
        assert posted.status_code in {401, 403}, "without a key nobody signs, on the local network neither"
    finally:
        await guest.session.close()


async def test_a_signature_for_another_network_or_by_a_stranger_is_refused(gap: Gap) -> None:
    payout_id = await gap.ask()
    request = await gap.request(payout_id)
    elsewhere = TransactionEnvelope.from_xdr(request["unsigned_xdr"], "Test SDF Network ; September 2015")
    elsewhere.sign(gap.payer)
    refused = await post(gap, payout_id, {"signed_xdr": elsewhere.to_xdr()})
    assert (refused.status_code, refused.json()["code"]) == (422, "signature_wrong_network")
    stranger = TransactionEnvelope.from_xdr(request["unsigned_xdr"], PASSPHRASE)
    stranger.sign(Keypair.random())
    refused = await post(gap, payout_id, {"signed_xdr": stranger.to_xdr()})
    assert refused.status_code == 422
    assert refused.json()["code"].startswith("signature_")
    assert (await gap.payout(payout_id))["status"] == "awaiting_signature"
    await gap.finance.post(f"/api/v1/payouts/{payout_id}/cancel")
