from __future__ import annotations

import pytest
from aiohttp.test_utils import TestClient, TestServer
from google.protobuf import json_format
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.exceptions import ApplicationError

from adapters.temporal.codec import SealedPayloads
from adapters.temporal.codec_server import CodecEndpoint
from adapters.temporal.failures import from_failure, to_failure
from domain.errors import OUTCOMES, HoldfastError, Refused

OLD, NEW = b"o" * 32, b"n" * 32
SECRET = Payload(metadata={"encoding": b"json/plain"}, data=b'{"amount":"1000"}')
UI = "http://localhost:8233"
TOKEN = "a-token-of-the-tests"


async def test_a_payload_comes_back_as_it_was_and_is_not_readable_meanwhile() -> None:
    codec = SealedPayloads({"k": NEW}, current="k")
    (sealed,) = await codec.encode([SECRET])
    assert b"amount" not in sealed.SerializeToString()
    assert await codec.decode([sealed]) == [SECRET]


async def test_after_a_rotation_the_old_key_still_opens_and_the_new_one_seals() -> None:
    (sealed,) = await SealedPayloads({"old": OLD}, current="old").encode([SECRET])
    rotated = SealedPayloads({"new": NEW, "old": OLD}, current="new")
    assert await rotated.decode([sealed]) == [SECRET]
    assert (await rotated.encode([SECRET]))[0].metadata["encryption-key-id"] == b"new"


async def test_a_changed_payload_or_a_key_that_is_gone_is_refused() -> None:
    codec = SealedPayloads({"k": NEW}, current="k")
    (sealed,) = await codec.encode([SECRET])
    changed = Payload(metadata=sealed.metadata, data=sealed.data[:-1] + bytes([sealed.data[-1] ^ 1]))
    with pytest.raises(Refused):
        await codec.decode([changed])
    with pytest.raises(Refused):
        await SealedPayloads({"k2": NEW}, current="k2").decode([sealed])


async def test_a_payload_that_was_never_sealed_is_passed_on() -> None:
    assert await SealedPayloads({"k": NEW}, current="k").decode([SECRET]) == [SECRET]


async def _endpoint(token: str | None) -> TestClient:  # type: ignore[type-arg]
    codec = SealedPayloads({"k": NEW}, current="k")
    client = TestClient(TestServer(CodecEndpoint(codec, origins=[UI], token=token).application()))
    await client.start_server()
    return client


async def _sealed_body() -> str:
    codec = SealedPayloads({"k": NEW}, current="k")
    return json_format.MessageToJson(Payloads(payloads=await codec.encode([SECRET])))


async def test_the_web_ui_reads_what_is_sealed() -> None:
    client = await _endpoint(None)
    answer = await client.post("/decode", data=await _sealed_body(), headers={"Origin": UI})
    assert answer.status == 200
    assert answer.headers["Access-Control-Allow-Origin"] == UI
    assert json_format.Parse(await answer.text(), Payloads()).payloads == [SECRET]
    await client.close()


async def test_other_pages_other_names_and_bare_requests_read_nothing() -> None:
    client = await _endpoint(None)
    body = await _sealed_body()
    assert (await client.post("/decode", data=body, headers={"Origin": "https://evil.example"})).status == 403
    rebound = {"Origin": UI, "Host": "evil.example"}
    assert (await client.post("/decode", data=body, headers=rebound)).status == 403
    assert (await client.post("/decode", data=body)).status == 401
    await client.close()


async def test_with_a_token_only_who_shows_it_reads() -> None:
    client = await _endpoint(TOKEN)
    body = await _sealed_body()
    assert (await client.post("/decode", data=body, headers={"Origin": UI})).status == 401
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    assert (await client.post("/decode", data=body, headers=bearer)).status == 200
    assert (await client.post("/pass", data={"token": "wrong"})).status == 401
    assert (await client.post("/pass", data={"token": TOKEN})).status == 200
    client.session.cookie_jar.update_cookies({}, client.make_url("/"))
    assert (await client.post("/decode", data=body, headers={"Origin": UI})).status == 200
    await client.close()


@pytest.mark.parametrize("kind", [*OUTCOMES.values(), HoldfastError])
def test_every_error_keeps_its_meaning_through_temporal(kind: type[HoldfastError]) -> None:
    error = kind("the allowance is 10", code="allowance_too_small", allowance="10")
    failure = to_failure(error)
    assert failure.non_retryable == (not kind.retryable)
    back = from_failure(failure)
    assert (type(back), back.message, back.code, back.details) == (kind, error.message, error.code, error.details)


def test_a_failure_that_is_not_ours_is_an_internal_mistake() -> None:
    assert from_failure(ApplicationError("boom", type="ValueError")).code == "internal"
