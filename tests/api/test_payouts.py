"""Payouts over HTTP: what is taken, what is refused and how, and that a key is one payout for good."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import func, select, update
from stellar_sdk import Keypair, MuxedAccount

from adapters.database.payouts_tables import payouts
from adapters.database.settlements_tables import settlements
from tests.api.conftest import TERMS, Front
from tests.api.figures import NOC, OPERATOR
from tests.api.http import Answer, Client

ISSUED = f"USDC:{OPERATOR}"
MUXED = MuxedAccount(NOC, 7).account_muxed


def body(**more: Any) -> dict[str, Any]:
    return {
        "payout_id": "round-1-winner-1",
        "destination_account": NOC,
        "amount": "100.5000000",
        "asset": "XLM",
        "idempotency_key": "round-1:winner-1:2026-02-22",
    } | more


async def ask(client: Client, *, header: str | None = None, **more: Any) -> Answer:
    headers = {} if header is None else {"Idempotency-Key": header}
    return await client.post("/api/v1/payouts", json=body(**more), headers=headers)


def errors(answer: Answer) -> dict[str, str]:
    return {found["field"]: found["message"] for found in answer.json()["errors"]}


async def count(front: Front, table: Any) -> int:
    async with front.deps.database.look() as connection:
        return int((await connection.execute(select(func.count()).select_from(table))).scalar_one())


async def test_a_payout_is_written_down_given_to_the_engine_and_begun(front: Front) -> None:
    answer = await ask(front.finance)
    assert answer.status_code == 201, answer.text
    found = answer.json()
    assert (found["mode"], found["unsigned_xdr"]) == ("queued", None)
    transaction = found["transaction"]
    assert (transaction["id"], transaction["status"]) == ("round-1-winner-1", "accepted")
    assert '"amount":100.50,' in answer.text
    assert front.stories.woken == ["round-1-winner-1"]
    assert await count(front, settlements) == 1
    again = await front.finance.get("/api/v1/payouts/round-1-winner-1")
    assert again.json()["transaction"]["idempotency_key"] == "round-1:winner-1:2026-02-22"


async def test_the_same_key_and_payload_is_the_same_payout_whoever_sends_it_and_however_it_is_written(
    front: Front,
) -> None:
    first = await ask(front.finance)
    for client, more in (
        (front.finance, {}),
        (front.admin, {"amount": "100.5"}),
        (front.operations, {"asset": "CDMLFMKMMD7MWZP3FKUBZPVHTUEDLSX4BYGYKH4GCESXYHS3IHQ4EIG4"}),
    ):
        again = await ask(client, **more)
        assert again.status_code == 200, again.text
        assert again.json()["transaction"]["created_at"] == first.json()["transaction"]["created_at"]
    assert (await count(front, payouts), await count(front, settlements)) == (1, 1)


@pytest.mark.parametrize(
    ("more", "fields"),
    [
        ({"amount": "100.6"}, {"/amount": "recorded as 100.5000000"}),
        ({"asset": ISSUED}, {"/asset": "recorded as XLM"}),
        ({"payout_id": "round-1-winner-2"}, {"/payout_id": "recorded as round-1-winner-1"}),
        (
            {"destination_account": OPERATOR, "memo": "7", "ordered": True},
            {
                "/destination_account": f"recorded as {NOC}",
                "/memo": "recorded as none",
                "/ordered": "recorded as false",
            },
        ),
        (
            {"idempotency_key": "another", "not_before": "2027-01-01T00:00:00Z"},
            {
                "/idempotency_key": "recorded as round-1:winner-1:2026-02-22",
                "/not_before": "recorded as none",
            },
        ),
    ],
)
async def test_another_payload_is_a_conflict_that_names_each_differing_field(
    front: Front, more: dict[str, Any], fields: dict[str, str]
) -> None:
    await ask(front.finance)
    answer = await ask(front.finance, **more)
    assert (answer.status_code, answer.json()["code"]) == (409, "idempotency_conflict")
    assert errors(answer) == fields
    assert (await count(front, payouts), await count(front, settlements)) == (1, 1)


async def test_an_id_that_has_another_payout_and_a_key_that_has_a_third_names_the_keys_payout(
    front: Front,
) -> None:
    await ask(front.finance)
    await ask(front.finance, payout_id="two", idempotency_key="two")
    answer = await ask(front.finance, payout_id="two")
    assert errors(answer) == {"/payout_id": "recorded as round-1-winner-1"}


async def test_many_at_once_with_one_key_are_one_payout(front: Front) -> None:
    answers = await asyncio.gather(*(ask(front.finance) for _ in range(12)))
    assert sorted(answer.status_code for answer in answers) == [*[200] * 11, 201]
    assert (await count(front, payouts), await count(front, settlements)) == (1, 1)


async def test_the_key_may_be_a_header_and_both_must_agree(front: Front) -> None:
    header_only = await ask(front.finance, idempotency_key=None, header="from-the-header")
    assert header_only.json()["transaction"]["idempotency_key"] == "from-the-header"
    agreed = await ask(front.finance, payout_id="p2", idempotency_key="k2", header="k2")
    assert agreed.status_code == 201
    for more, header in (({"idempotency_key": "k3"}, "k4"), ({"idempotency_key": None}, None)):
        answer = await ask(front.finance, payout_id="p3", header=header, **more)
        assert (answer.status_code, list(errors(answer))) == (422, ["/idempotency_key"])


SEED = Keypair.from_raw_ed25519_seed(bytes(32)).secret
BAD_CHECKSUM = NOC[:-1] + ("A" if NOC[-1] != "A" else "B")


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("destination_account", "GXXX", "checksum"),
        ("destination_account", BAD_CHECKSUM, "checksum"),
        ("destination_account", 5, "checksum"),
        ("destination_account", SEED, "secret key"),
        ("amount", "1.00000001", "at most 7 decimals"),
        ("amount", "0", "more than 0"),
        ("amount", "-1", "plain positive"),
        ("amount", "1e3", "plain positive"),
        ("amount", 100.5, "JSON string"),
        ("asset", "usdc", "CODE:ISSUER"),
        ("asset", "USDC:GXXX", "CODE:ISSUER"),
        ("asset", f"THIRTEENCHARS:{NOC}", "CODE:ISSUER"),
        ("asset", 1, "CODE:ISSUER"),
        ("memo", "thank you", "no other memo"),
        ("memo", str(2**64), "no other memo"),
        ("memo", True, "no other memo"),
        ("idempotency_key", "two words", "without spaces"),
        ("idempotency_key", "", ""),
        ("idempotency_key", "k" * 201, ""),
        ("payout_id", "a/b", "letters, digits and"),
        ("payout_id", "stats", "path of its own"),
        ("not_before", "2026-01-01T00:00:00", "zone"),
        ("signing", "by_hand", ""),
        ("urgent", True, "no such field"),
    ],
)
async def test_what_is_not_right_names_its_field_and_nothing_is_written_down(
    front: Front, field: str, value: Any, says: str
) -> None:
    answer = await ask(front.finance, **{field: value})
    assert answer.status_code == 422, answer.text
    found = errors(answer)
    assert list(found) == [f"/{field}"]
    assert says in found[f"/{field}"]
    assert await count(front, payouts) == 0
    if isinstance(value, str) and value.startswith("S"):
        assert value not in answer.text


async def test_a_number_as_memo_is_paid_to_the_muxed_account(front: Front) -> None:
    for number, memo in enumerate(("7", 7)):
        answer = await ask(front.finance, payout_id=f"p{number}", idempotency_key=f"k{number}", memo=memo)
        transaction = answer.json()["transaction"]
        assert (transaction["destination_account"], transaction["paid_to"]) == (NOC, MUXED)


@pytest.mark.parametrize("destination", [MUXED, TERMS.contract])
async def test_a_memo_needs_an_account(front: Front, destination: str) -> None:
    answer = await ask(front.finance, destination_account=destination, memo="8")
    assert (answer.status_code, list(errors(answer))) == (422, ["/memo"])
    assert (await ask(front.finance, destination_account=destination)).status_code == 201


async def test_a_refusal_of_the_policy_has_its_figures_and_nothing_is_written_down(front: Front) -> None:
    refused = await ask(front.finance, amount="1000000000.5")
    assert (refused.status_code, refused.json()["code"]) == (422, "policy_amount")
    assert refused.json()["details"] == {"amount": "1000000000.5000000", "amount_max": "1000000000.0000000"}
    assert await count(front, payouts) == 0


async def test_a_payout_above_the_limit_waits_for_another_person(front: Front) -> None:
    waits = (await ask(front.finance, amount="10000.0000001")).json()["transaction"]
    assert (waits["status"], waits["waits_for"], waits["needs_approval"]) == ("accepted", "approval", True)
    assert await count(front, settlements) == 0
    path = "/api/v1/payouts/round-1-winner-1/approve"
    refused = await front.finance.post(path)
    assert (refused.status_code, refused.json()["code"]) == (403, "four_eyes")
    assert (await front.operations.post(path)).status_code == 403
    approved = await front.admin.post(path)
    assert approved.status_code == 200, approved.text
    assert approved.json()["approved_by"] != waits["created_by"]
    assert approved.json()["waits_for"] == "nothing"
    again = await front.admin.post(path)
    assert again.json()["approved_at"] == approved.json()["approved_at"]


async def test_each_payout_keeps_what_its_version_of_the_policy_decided(front: Front) -> None:
    (decision,) = (await ask(front.finance)).json()["transaction"]["policy"]
    assert (decision["stage"], decision["allowed"], decision["needs_approval"]) == ("accepted", True, False)
    (above,) = (await ask(front.finance, payout_id="b", idempotency_key="b", amount="20000")).json()[
        "transaction"
    ]["policy"]
    assert above["version"] == decision["version"]
    assert above["why"] == "20,000 is above the four-eyes limit of 10,000"


async def test_pages_are_newest_first_and_can_be_narrowed(front: Front) -> None:
    for number in range(5):
        destination = OPERATOR if number == 3 else NOC
        await ask(
            front.finance, payout_id=f"p{number}", idempotency_key=f"k{number}", destination_account=destination
        )
    first = (await front.viewer.get("/api/v1/payouts", params={"limit": 2})).json()
    assert [one["id"] for one in first["payouts"]] == ["p4", "p3"]
    second = (await front.viewer.get("/api/v1/payouts", params={"limit": 3, "cursor": first["next"]})).json()
    assert [one["id"] for one in second["payouts"]] == ["p2", "p1", "p0"]
    narrowed = await front.viewer.get("/api/v1/payouts", params={"destination": OPERATOR, "status": "accepted"})
    assert [one["id"] for one in narrowed.json()["payouts"]] == ["p3"]
    none = await front.viewer.get("/api/v1/payouts", params={"status": "confirmed"})
    assert none.json() == {"payouts": [], "next": None}
    past = await front.viewer.get("/api/v1/payouts", params={"to": "2020-01-01T00:00:00Z"})
    assert past.json()["payouts"] == []


async def test_while_temporal_is_away_a_payout_is_taken_and_answered_202(front: Front) -> None:
    front.stories.away = True
    assert (await ask(front.finance)).status_code == 202
    assert (await ask(front.finance)).status_code == 202
    assert await count(front, payouts) == 1
    front.stories.away = False
    assert (await ask(front.finance)).status_code == 200
    assert front.stories.woken == ["round-1-winner-1"], "a replay of a payout that has not ended begins it again"


async def test_who_may_only_read_may_not_pay_nor_act(front: Front) -> None:
    assert (await ask(front.viewer)).status_code == 403
    await ask(front.finance)
    for action in ("cancel", "hold", "retry", "approve"):
        assert (await front.viewer.post(f"/api/v1/payouts/round-1-winner-1/{action}")).status_code == 403


async def test_a_payout_that_waits_is_cancelled_at_once_and_for_good(front: Front) -> None:
    await ask(front.finance, not_before="2099-01-01T00:00:00Z")
    waits = (await front.viewer.get("/api/v1/payouts/round-1-winner-1/why")).json()
    assert (waits["waits_for"], waits["may"]) == ("time", ["hold", "cancel"])
    done = await front.finance.post("/api/v1/payouts/round-1-winner-1/cancel")
    assert (done.status_code, done.json()["status"]) == (200, "cancelled")
    assert (await ask(front.finance, not_before="2099-01-01T00:00:00Z")).json()["transaction"][
        "status"
    ] == "cancelled"
    for action in ("hold", "resume", "retry", "verify", "bump-fee", "approve"):
        answer = await front.admin.post(f"/api/v1/payouts/round-1-winner-1/{action}")
        assert (answer.status_code, answer.json()["code"]) == (409, "wrong_state"), action


async def test_a_database_refuses_a_second_payout_for_a_key_and_an_approval_by_the_same_person(
    front: Front,
) -> None:
    from sqlalchemy.exc import IntegrityError

    await ask(front.finance)
    await ask(front.finance, payout_id="two", idempotency_key="two")
    for values in ({"idempotency_key": "round-1:winner-1:2026-02-22"}, {"approved_by": payouts.c.created_by}):
        with pytest.raises(IntegrityError):
            async with front.deps.database.begin() as connection:
                await connection.execute(update(payouts).where(payouts.c.payout_id == "two").values(**values))
