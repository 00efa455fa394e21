"""Workers die (-9) in the middle of a batch: each row is paid once."""

from __future__ import annotations

from pathlib import Path

from stellar_sdk import Keypair

from adapters.database.engine import Database
from adapters.database.signing import SigningBook
from adapters.temporal.client import connect
from domain.batch import BatchStatus, CallLimits, RowStatus
from domain.money import Amount
from domain.payout import PayoutMode
from domain.signing import SigningRequest
from localnet.clients import LocalLedger
from settings import Settings
from tests.batch.conftest import Street, trusting
from tests.settlement.conftest import Bench
from tests.settlement.payouts import Payouts, signed_by
from tests.settlement.world import World
from tests.waiting import until
from tests.workers.conftest import running_house
from workers.parts import payload_codec

_THREES = CallLimits(rows_max=3, weight_max=10**6, account_weight=1, muxed_weight=1, contract_weight=1)


async def test_workers_killed_in_the_middle_of_a_batch_pay_each_row_once(
    world: World,
    database: Database,
    database_url: str,
    temporal_address: str,
    temporal_namespace: str,
    tmp_path: Path,
) -> None:
    people = [Keypair.random() for _ in range(36)]
    await trusting(world, people)
    async with running_house(
        world, database, database_url, temporal_address, temporal_namespace, tmp_path
    ) as house:
        settings = Settings(_env_file=None, holdfast_deployment=house.deployment, stellar_network="local")
        client = await connect(temporal_address, namespace=temporal_namespace, codec=payload_codec(settings))
        bench = Bench(world, database, house.deployment, house.mnemonic)
        street = Street(bench, database, client, world.payout)
        given = {"PAYOUT_CONTRACT_ID": world.payout, "LANES_BULK": "2"}
        worker = house.worker(**given)
        await worker.ready()
        batch_id = await street.send([(one.public_key, "1") for one in people], limits=_THREES)
        for paid in (3, 15):
            await street.until(
                batch_id, lambda batch, paid=paid: batch.counts.paid >= paid and batch.counts.sending > 0
            )
            worker.kill()
            worker = house.worker(**given)
        batch = await street.until(batch_id, BatchStatus.COMPLETED, seconds_max=120)
    assert (batch.counts.paid, batch.counts.failed) == (36, 0)
    assert {row.status for row in await street.rows(batch_id)} == {RowStatus.PAID}
    assert [await street.balance(one) for one in people] == [Amount.of(1)] * 36


async def test_workers_killed_while_calls_wait_and_when_they_are_signed_pay_each_row_once(
    world: World,
    database: Database,
    database_url: str,
    temporal_address: str,
    temporal_namespace: str,
    tmp_path: Path,
    ledger: LocalLedger,
) -> None:
    people = [Keypair.random() for _ in range(24)]
    await trusting(world, people)
    async with running_house(
        world, database, database_url, temporal_address, temporal_namespace, tmp_path
    ) as house:
        settings = Settings(_env_file=None, holdfast_deployment=house.deployment, stellar_network="local")
        client = await connect(temporal_address, namespace=temporal_namespace, codec=payload_codec(settings))
        bench = Bench(world, database, house.deployment, house.mnemonic)
        payouts = await Payouts.make(bench, ledger)
        payer = payouts.payer
        street = Street(
            bench, database, client, payouts.contract, payer=payer.public_key, mode=PayoutMode.EXTERNAL
        )
        given = {
            "PAYOUT_CONTRACT_ID": payouts.contract,
            "PAYOUT_SIGNER": "external",
            "PAYOUT_SOURCE_ACCOUNT": payer.public_key,
            "LANES_BULK": "2",
        }
        requests = SigningBook(database)
        worker = house.worker(**given)
        await worker.ready()
        batch_id = await street.send([(one.public_key, "1") for one in people], limits=_THREES)

        async def asked() -> tuple[SigningRequest, ...] | None:
            found = await requests.waiting(batch_id=batch_id)
            return found if len(found) == 8 else None

        waiting = await until(asked, seconds_max=60)
        worker.kill()
        worker = house.worker(**given)
        await worker.ready()
        for one in waiting:
            receipt = await street.stories.submit_signature(one.settlement_id, signed_by(one, payer))
            assert receipt.complete
        await street.until(batch_id, lambda batch: batch.counts.paid >= 3 and batch.counts.sending > 0)
        worker.kill()
        house.worker(**given)
        batch = await street.until(batch_id, BatchStatus.COMPLETED, seconds_max=120)
    assert (batch.counts.paid, batch.counts.failed) == (24, 0)
    assert [await street.balance(one) for one in people] == [Amount.of(1)] * 24
