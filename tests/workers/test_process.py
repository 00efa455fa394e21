from __future__ import annotations

import asyncio
import base64
import re
import time

import aiohttp
from temporalio.client import Client

from adapters.stellar.reader import LedgerReader, ReadContracts
from adapters.stellar.rpc import Rpc
from domain.money import Amount
from domain.sla import Severity
from domain.sla_payment import PaymentPhase
from tests.settlement.world import PASSPHRASE
from tests.waiting import until
from tests.workers.conftest import House


async def test_a_resolved_outage_is_paid_on_the_ledger_by_one_process(house: House) -> None:
    worker = house.worker()
    await worker.ready()
    before = await house.world.balance(house.world.usdc, house.world.operator)
    outage_id = await house.resolved_outage()
    await (await house.stories()).outage_changed(outage_id)
    outage = await house.ended(outage_id)
    assert outage.phase is PaymentPhase.CONFIRMED, outage.reason
    after = await house.world.balance(house.world.usdc, house.world.operator)
    assert before - after == Amount.of(1_000)


async def test_a_story_that_nobody_started_is_begun_by_the_sweeper(house: House) -> None:
    outage_id = await house.resolved_outage(Severity.HIGH, 10)
    await house.worker().ready()
    assert (await house.ended(outage_id)).phase is PaymentPhase.CONFIRMED


async def test_the_hash_of_an_rca_is_anchored_by_the_payment(house: House) -> None:
    await house.worker().ready()
    outage_id = await house.resolved_outage(Severity.HIGH, 10, rca="A fuse.")
    await (await house.stories()).outage_changed(outage_id)
    outage = await house.ended(outage_id)
    async with Rpc(house.world.url) as rpc:
        reader = LedgerReader(
            rpc, network_passphrase=PASSPHRASE, contracts=ReadContracts(sla=house.world.sla, tokens={})
        )
        assert await reader.anchored_rca(outage_id) == outage.rca_hash


async def test_a_worker_killed_while_it_pays_is_followed_by_another_and_pays_once(house: House) -> None:
    first = house.worker()
    await first.ready()
    before = await house.world.balance(house.world.usdc, house.world.operator)
    outage_id = await house.resolved_outage()
    await (await house.stories()).outage_changed(outage_id)

    async def settling() -> bool | None:
        return True if (await house.read(outage_id)).phase is not PaymentPhase.NONE else None

    await until(settling)
    first.kill()
    await house.worker().ready()
    assert (await house.ended(outage_id)).phase is PaymentPhase.CONFIRMED
    after = await house.world.balance(house.world.usdc, house.world.operator)
    assert before - after == Amount.of(1_000)


async def test_two_workers_and_many_wakes_pay_an_outage_once(house: House) -> None:
    workers = [house.worker(HOLDFAST_WORKERS="2") for _ in range(2)]
    await asyncio.gather(*(worker.ready() for worker in workers))
    before = await house.world.balance(house.world.usdc, house.world.operator)
    outage_id = await house.resolved_outage()
    stories = await house.stories()
    await asyncio.gather(*(stories.outage_changed(outage_id) for _ in range(8)))
    assert (await house.ended(outage_id)).phase is PaymentPhase.CONFIRMED
    after = await house.world.balance(house.world.usdc, house.world.operator)
    assert before - after == Amount.of(1_000)


async def test_with_temporals_data_gone_the_sweeper_finishes_the_stories(house: House) -> None:
    first = house.worker(MAX_AUTO_PAYMENT_AMOUNT="10")
    await first.ready()
    outage_id = await house.resolved_outage()
    await (await house.stories()).outage_changed(outage_id)

    async def waiting() -> bool | None:
        return True if (await house.read(outage_id)).phase is PaymentPhase.AWAITING_APPROVAL else None

    await until(waiting)
    first.kill()
    async with house.database.begin() as connection:
        await house.book.approve(connection, outage_id, by="finance", at=(await house.read(outage_id)).changed_at)
    # A namespace that has never heard of the story is a Temporal that has lost its data.
    house.namespace = "default"
    await house.worker().ready()
    assert (await house.ended(outage_id)).phase is PaymentPhase.CONFIRMED


async def test_a_worker_told_to_stop_leaves_within_seconds(house: House) -> None:
    worker = house.worker()
    await worker.ready()
    began = time.monotonic()
    assert worker.terminate() == 0, worker.log.read_text()
    assert time.monotonic() - began < 8


async def test_no_secret_and_no_payload_is_readable_in_logs_or_temporal(house: House) -> None:
    worker = house.worker()
    await worker.ready()
    outage_id = await house.resolved_outage()
    stories = await house.stories()
    await stories.outage_changed(outage_id)
    await house.ended(outage_id)
    client = await Client.connect(house.temporal_address, namespace=house.namespace)
    history = (await client.get_workflow_handle(f"outage:{outage_id}").fetch_history()).to_json()
    assert base64.b64encode(b"binary/encrypted").decode() in history
    assert "mttr_minutes" not in opened_base64(history)
    worker.terminate()
    said = worker.log.read_text()
    assert house.world.pool.secret not in said
    assert house.mnemonic not in said


async def test_the_codec_endpoint_opens_payloads_for_the_web_ui_only(house: House) -> None:
    worker = house.worker()
    await worker.ready()

    async def ask(origin: str | None) -> int:
        headers = {} if origin is None else {"Origin": origin}
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{worker.codec_url}/decode", json={"payloads": []}, headers=headers) as answer,
        ):
            return answer.status

    assert await ask("http://localhost:8233") == 200
    assert await ask("https://evil.example") == 403
    assert await ask(None) == 401


def opened_base64(text: str) -> str:
    """The text with every base64 string in it opened."""

    def opened(match: re.Match[str]) -> str:
        whole = match[0][: len(match[0]) // 4 * 4]
        return base64.b64decode(whole).decode(errors="replace")

    return re.sub(r"[A-Za-z0-9+/]{8,}", opened, text)
