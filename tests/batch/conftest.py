"""Batches whole: a real Temporal server, the engine, the contract on a real ledger, a fresh database."""

from __future__ import annotations

import io
import itertools
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import select
from stellar_sdk import Asset, Keypair
from stellar_sdk.operation import ChangeTrust, CreateAccount
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import UnsandboxedWorkflowRunner, Worker
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

from activities.batch import BatchActivities
from activities.story_names import SETTLE_BULK, STORIES, batch_story_id
from adapters.database.batch_report import read_rows
from adapters.database.batch_rows import find_batch
from adapters.database.batch_story import BatchDesk, BatchRules
from adapters.database.batches import BatchBook, NewBatch
from adapters.database.engine import Database
from adapters.database.outbox_tables import events
from adapters.stellar.limits import CallLimitsReader
from adapters.stellar.own_sequence import OwnSequence
from adapters.stellar.rpc import Rpc
from adapters.temporal.batch_stories import BatchStories
from adapters.temporal.failures import TranslateFailures
from domain.batch import Batch, BatchStatus, CallLimits, OnBadRows, RowReport, batch_id_of, signing_of
from domain.batch_file import CsvRows, Reading, judge
from domain.money import Amount
from domain.payout import PayoutMode, PayoutTerms
from domain.settlement import SigningMode
from tests.settlement.conftest import Bench, bench, world
from tests.settlement.world import PASSPHRASE, World
from tests.waiting import until
from workers.engine import Engine
from workflows.batch import BatchStory

__all__ = ["bench", "world"]

_KEYS = itertools.count(1)
TINY = CallLimits(rows_max=4, weight_max=10**6, account_weight=1, muxed_weight=1, contract_weight=1)
"""Chunks of four, so that a small batch has many."""


async def trusting(world: World, keypairs: Sequence[Keypair]) -> None:
    """Have accounts with a trustline for USDC."""
    asset = Asset("USDC", world.issuer.public_key)
    async with Rpc(world.url) as rpc:
        for some in (keypairs[start : start + 18] for start in range(0, len(keypairs), 18)):
            operations = [
                operation
                for keypair in some
                for operation in (
                    CreateAccount(destination=keypair.public_key, starting_balance="5"),
                    ChangeTrust(asset=asset, source=keypair.public_key),
                )
            ]
            await OwnSequence(rpc, world.issuer, PASSPHRASE, poll_seconds=0.03).land(operations, signers=some)


@dataclass
class Street:
    """One test's deployment: commands as people give them, and the record."""

    bench: Bench
    database: Database
    client: Client
    contract: str
    window: int = 4
    blocked: frozenset[str] = frozenset()
    four_eyes_above: Amount | None = None
    payer: str = ""
    mode: PayoutMode = PayoutMode.QUEUED
    given: Mapping[str, object] = field(default_factory=dict)
    """Settings of its engine."""
    sandbox: bool = True
    book: BatchBook = field(default_factory=BatchBook)

    @property
    def world(self) -> World:
        return self.bench.world

    @property
    def stories(self) -> BatchStories:
        return BatchStories(self.client)

    @property
    def terms(self) -> PayoutTerms:
        return PayoutTerms(
            contract=self.contract,
            method="distribute_winnings",
            payer=self.payer or self.world.pool.public_key,
            deployment=self.bench.deployment,
            mode=self.mode,
            signers=("external", "hot"),
        )

    async def limits(self) -> CallLimits:
        async with Rpc(self.world.url) as rpc:
            reader = CallLimitsReader(rpc, contract=self.contract, network_passphrase=PASSPHRASE)
            return await reader.read(self.world.usdc, reader=self.world.pool.public_key)

    async def send(
        self,
        rows: Sequence[tuple[str, str] | tuple[str, str, str]],
        *,
        limits: CallLimits | None = TINY,
        wake: bool = True,
        key: str | None = None,
        needs_approval: bool = False,
        signer: str | None = None,
        signing: SigningMode | None = None,
    ) -> str:
        lines = [",".join([*row, ""][:3]) for row in rows]
        text = "\n".join(["destination,amount,reference", *lines]) + "\n"
        reading = Reading()
        for row in CsvRows(io.StringIO(text, newline="")):
            reading.see(row)
        verdicts = reading.verdicts()
        batch_id = batch_id_of(self.bench.deployment, "somebody", key or f"k{next(_KEYS)}")
        new = NewBatch(
            batch_id=batch_id,
            name="test",
            asset=f"USDC:{self.world.issuer.public_key}",
            token=self.world.usdc,
            signing=signing_of(self.terms.signed_by(signer), signing),
            signer=signer,
            on_bad_rows=OnBadRows.SKIP,
            verdicts=verdicts,
            limits=limits or await self.limits(),
            needs_approval=needs_approval,
        )
        async with self.database.begin() as connection:
            found = judge(CsvRows(io.StringIO(text, newline="")), verdicts.late)
            await self.book.accept(connection, new, found, by="initiator", at=datetime.now(UTC))
        if wake:
            await self.stories.batch_changed(batch_id)
        return batch_id

    async def command(self, name: str, batch_id: str, *, by: str = "finance", wake: bool = True) -> Batch:
        async with self.database.begin() as connection:
            batch: Batch = await getattr(self.book, name)(connection, batch_id, by=by, at=datetime.now(UTC))
        if wake:
            await self.stories.batch_changed(batch_id)
        return batch

    async def read(self, batch_id: str) -> Batch:
        async with self.database.look() as connection:
            return await find_batch(connection, batch_id)

    async def rows(self, batch_id: str) -> Sequence[RowReport]:
        batch = await self.read(batch_id)
        async with self.database.look() as connection:
            return await read_rows(connection, batch.number, limit=100_000)

    async def until(
        self, batch_id: str, holds: Callable[[Batch], bool] | BatchStatus, *, seconds_max: float = 60
    ) -> Batch:
        async def look() -> Batch | None:
            batch = await self.read(batch_id)
            met = batch.status is holds if isinstance(holds, BatchStatus) else holds(batch)
            return batch if met else None

        return await until(look, seconds_max=seconds_max)

    async def told(self, batch_id: str) -> list[str]:
        async with self.database.look() as connection:
            query = select(events.c.type).where(events.c.subject == f"batch:{batch_id}").order_by(events.c.id)
            return list((await connection.execute(query)).scalars())

    async def history(self, batch_id: str) -> list[Any]:
        handle = self.client.get_workflow_handle(batch_story_id(batch_id))
        return list((await handle.fetch_history()).events)

    @asynccontextmanager
    async def working(self, **changes: object) -> AsyncIterator[Engine]:
        """A worker's engine and stories; leaving it is a worker that stops."""
        async with self.bench.engine(**{**self.given, **changes}) as engine:
            rules = BatchRules(
                self.terms,
                window=self.window,
                blocked=self.blocked,
                lanes_waiting=2,
                four_eyes_above=self.four_eyes_above,
            )
            stories = BatchActivities(BatchDesk(self.database, engine.book, rules))
            async with (
                Worker(
                    self.client,
                    task_queue=STORIES,
                    workflows=[BatchStory],
                    activities=[stories.take_stock, engine.signing.accept_signature],
                    interceptors=[TranslateFailures()],
                    workflow_runner=SandboxedWorkflowRunner() if self.sandbox else UnsandboxedWorkflowRunner(),
                ),
                Worker(
                    self.client,
                    task_queue=SETTLE_BULK,
                    activities=[engine.activities.settle],
                    max_concurrent_activities=self.window,
                    interceptors=[TranslateFailures()],
                ),
            ):
                yield engine

    async def balance(self, account: Keypair | str) -> Amount:
        return await self.world.balance(self.world.usdc, account)


@pytest.fixture
async def street(bench: Bench, database: Database, temporal: WorkflowEnvironment) -> Street:
    return Street(bench, database, temporal.client, bench.world.payout)


@pytest.fixture
async def paid(street: Street) -> list[Keypair]:
    """Ten people who can be paid in USDC."""
    found = [Keypair.random() for _ in range(10)]
    await trusting(street.world, found)
    return found
