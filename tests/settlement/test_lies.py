"""Whoever answers in the ledger's place: only an answer to our very question is believed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer
from stellar_sdk import Keypair, scval

from adapters.stellar.own_sequence import OwnSequence
from adapters.stellar.rpc import Rpc
from domain.errors import Unavailable
from domain.settlement import SettlementStatus
from localnet.clients import LocalLedger
from tests.settlement.conftest import Bench, until_final
from tests.settlement.test_proof import written
from tests.settlement.world import PASSPHRASE, _call


class MixedUp:
    """A proxy before the ledger that can be told to give one caller what it remembers for another."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.keeps_id = False
        self.instead: dict[str, Any] | None = None

    async def answer(self, request: web.Request) -> web.Response:
        asked = await request.json()
        if self.instead is not None:
            return web.json_response(self.instead | ({"id": asked["id"]} if self.keeps_id else {}))
        async with ClientSession() as session, session.post(self._url, json=asked) as response:
            return web.json_response(await response.json())


@pytest.fixture
async def mixed_up(bench: Bench) -> AsyncIterator[tuple[MixedUp, str]]:
    proxy = MixedUp(bench.world.url)
    application = web.Application()
    application.router.add_post("/", proxy.answer)
    server = TestServer(application)
    await server.start_server()
    yield proxy, str(server.make_url("/"))
    await server.close()


@pytest.mark.parametrize("keeps_id", [False, True])
async def test_the_success_of_another_transaction_is_no_proof_of_ours(
    bench: Bench, mixed_up: tuple[MixedUp, str], *, keeps_id: bool
) -> None:
    proxy, url = mixed_up
    async with bench.engine() as engine, Rpc(url) as through:
        paid = await until_final(engine, await bench.accept(engine, bench.intent()))
        assert paid.tx_hash is not None
        unsent = await written(engine, await bench.accept(engine, bench.intent()))
        assert unsent.send is not None
        found = await engine.rpc.call("getTransaction", {"hash": paid.tx_hash})
        assert await through.transaction(paid.tx_hash) is not None
        proxy.instead, proxy.keeps_id = {"jsonrpc": "2.0", "id": -1, "result": found}, keeps_id
        with pytest.raises(Unavailable):
            await through.transaction(unsent.send.outer_hash)


async def test_a_call_that_only_names_our_id_is_not_shown_as_our_payment(
    bench: Bench, ledger: LocalLedger
) -> None:
    """Strangers ask for the marker in the very ledger that pays; ours alone is the payment."""
    world, intent = bench.world, bench.intent()
    async with bench.engine() as engine, Rpc(world.url) as rpc:
        settlement = await written(engine, await bench.accept(engine, intent))
        assert settlement.send is not None
        strangers = [Keypair.random() for _ in range(5)]
        for stranger in strangers:
            ledger.friendbot(stranger.public_key)
        asks = _call(world.sla, "get_marker", [scval.to_bytes(bytes.fromhex(intent.marker_id))])
        built = [await OwnSequence(rpc, stranger, PASSPHRASE)._build([asks], (), ()) for stranger in strangers]
        ledger.fault("stalled_ledger", seconds=5)
        for pin in built:
            assert (await rpc.send(pin.envelope)).status == "PENDING"
        assert await engine.ledger.send(settlement.send) == "PENDING"
        ledger.clear_faults()
        paid = await until_final(engine, intent.settlement_id)
        proof = await engine.ledger.find_marker(intent)
        others = [await rpc.transaction(pin.hash) for pin in built]
    assert paid.status is SettlementStatus.CONFIRMED
    assert {landed.ledger for landed in others if landed is not None} == {paid.ledger}
    assert proof is not None
    assert proof.tx_hash == paid.tx_hash
