"""One worker process: everything that it runs, wired, until it is told to stop."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, TypeVar

import structlog
from prometheus_client import CollectorRegistry, Gauge, PlatformCollector, ProcessCollector
from temporalio.client import Client, Interceptor
from temporalio.runtime import Runtime
from temporalio.worker import Worker

from activities.batch import BatchActivities
from activities.nightly import NightlyActivities
from activities.outage import OutageActivities
from activities.payout import PayoutActivities
from activities.reconciliation import ReconciliationActivities
from activities.wallet import WalletActivities
from adapters.allowance_watch import AllowanceWatch
from adapters.database.batch_story import BatchDesk, BatchRules
from adapters.database.engine import Database
from adapters.database.outage_story import OutageDesk
from adapters.database.payout_story import PayoutDesk
from adapters.dispatcher import Dispatcher
from adapters.payment_watch import PaymentWatch
from adapters.stellar.allowances import Allowances
from adapters.stellar.payment_audit import PaymentAudit
from adapters.stellar.reader import LedgerReader, ReadContracts
from adapters.temporal.batch_stories import BatchStories
from adapters.temporal.client import connect
from adapters.temporal.payout_stories import PayoutStories
from adapters.temporal.schedules import ensure_schedules
from adapters.temporal.search_attributes import register_search_attributes
from adapters.temporal.stories import Stories
from adapters.temporal.wallet_stories import WalletStories
from adapters.wallet_desk import WalletDesk
from adapters.webhooks import Webhooks
from domain.errors import Unavailable
from settings import Settings
from settings.payouts import payout_policy_of, payout_terms_of
from settings.telemetry import temporal_runtime, trace_interceptors
from settings.temporal import connect_options
from workers.engine import Engine, running_engine
from workers.http import metrics_application, served
from workers.parts import (
    codec_endpoint,
    custody_of,
    mailer_of,
    payload_codec,
    payment_rules,
    sla_contracts,
)
from workers.sweeper import Sweeper
from workers.temporal_workers import temporal_workers

_log = structlog.get_logger("worker")
_AGAIN_SECONDS: Final = 1.0
_CONNECTIONS_MAX: Final = 30
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _House:
    """What runs in one worker process."""

    settings: Settings
    database: Database
    engine: Engine
    client: Client
    stop: asyncio.Event


async def run_worker(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT, then drain within seconds.

    Raises:
        SettingsError: a setting that a worker needs is missing.
        Refused: another network answers, a foreign lane is there, or no payload key is set.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    sla_contracts(settings)
    database = Database(settings.database_url.get_secret_value(), connections_max=_CONNECTIONS_MAX)
    try:
        async with running_engine(settings, database) as engine:
            runtime = temporal_runtime(settings)
            tracers = trace_interceptors(settings, process="worker")
            halted = await _once_there(engine.start, stop)
            client = await _once_there(lambda: _connected(settings, runtime, tracers), stop)
            if client is None:
                return
            if halted is not None:
                _log.error("all sending is halted", reason=halted)
            await _run(_House(settings, database, engine, client, stop))
    finally:
        await database.close()
    _log.info("stopped")


async def _run(house: _House) -> None:
    """Everything side by side; what fails ends the process, and the supervisor begins another."""
    settings, stop = house.settings, house.stop
    async with AsyncExitStack() as stack:
        webhooks = Webhooks(private_allowed=settings.local)
        stack.push_async_callback(webhooks.close)
        mailer = mailer_of(settings)
        if mailer is not None:
            stack.callback(mailer.close)
        dispatcher = Dispatcher(
            house.database,
            mailer=mailer,
            webhooks=webhooks,
            custody=custody_of(settings),
            explorer_url=settings.explorer_url,
            api_url=settings.api_url,
        )
        sweeper = Sweeper(
            house.database,
            Stories(house.client),
            WalletStories(house.client),
            PayoutStories(house.client),
            BatchStories(house.client),
        )
        endpoint = codec_endpoint(settings)
        if endpoint is not None:
            await stack.enter_async_context(
                served(endpoint.application(), settings.codec_host, settings.codec_port)
            )
        # Walks that are being drained still wait for ledgers, so the follower stops after them.
        drained = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(house.engine.follower.run(drained))
            group.create_task(dispatcher.run(drained))
            group.create_task(house.engine.lanes.run(drained))
            sweeping = group.create_task(sweeper.run(stop))
            async with AsyncExitStack() as at_work:
                for worker in _temporal_workers(house):
                    await at_work.enter_async_context(worker)
                await at_work.enter_async_context(_metrics(house))
                _log.info("ready", temporal=settings.temporal_address, rpc=settings.stellar_soroban_rpc_url)
                await stop.wait()
                _log.info("draining")
            sweeping.cancel()  # it may be waiting for its turn
            drained.set()


def _temporal_workers(house: _House) -> tuple[Worker, ...]:
    desk = OutageDesk(
        house.database,
        house.engine.book,
        rules=payment_rules(house.settings),
        contracts=sla_contracts(house.settings),
        deployment=house.settings.holdfast_deployment,
    )
    return temporal_workers(
        house.client,
        house.settings,
        outages=OutageActivities(desk),
        payouts=PayoutActivities(_payout_desk(house)),
        batches=_batches(house),
        settlements=house.engine.activities,
        signing=house.engine.signing,
        wallets=_wallets(house),
        nightly=_nightly(house),
        reconciliation=_reconciliation(house),
    )


def _payout_desk(house: _House) -> PayoutDesk:
    settings = house.settings
    return PayoutDesk(
        house.database,
        house.engine.book,
        policy=payout_policy_of(settings),
        terms=payout_terms_of(settings),
        tries_max=settings.payouts_max_attempts,
    )


def _batches(house: _House) -> BatchActivities | None:
    settings = house.settings
    terms = payout_terms_of(settings)
    if terms is None:
        return None
    rules = BatchRules(
        terms,
        window=settings.lanes_bulk,
        blocked=frozenset(settings.destination_blocklist),
        lanes_waiting=settings.lanes_waiting,
        four_eyes_above=settings.policy_four_eyes_amount,
    )
    return BatchActivities(BatchDesk(house.database, house.engine.book, rules))


def _nightly(house: _House) -> NightlyActivities:
    contracts = sla_contracts(house.settings)
    allowances = Allowances(house.engine.rpc, token=contracts.usdc, spender=contracts.sla)
    upkeep = house.engine.upkeep(house.settings.paying_contracts)
    return NightlyActivities(AllowanceWatch(house.database, allowances), upkeep)


def _reconciliation(house: _House) -> ReconciliationActivities:
    audit = PaymentAudit(database=house.database, rpc=house.engine.rpc, contracts=house.settings.paying_contracts)
    return ReconciliationActivities(PaymentWatch(house.database, audit))


def _wallets(house: _House) -> WalletActivities | None:
    custody = custody_of(house.settings)
    if custody is None:
        return None
    settings = house.settings
    reader = LedgerReader(
        house.engine.rpc,
        network_passphrase=settings.stellar_network_passphrase,
        contracts=ReadContracts(
            sla=settings.sla_contract_id,
            tokens={"USDC": settings.usdc_token_address, "NOCIQ": settings.nociq_token_address},
        ),
    )
    return WalletActivities(WalletDesk(house.database, custody, house.engine.accounts, reader))


def _metrics(house: _House) -> AbstractAsyncContextManager[None]:
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    ledger = Gauge("holdfast_followed_ledger", "The newest ledger followed.", registry=registry)
    age = Gauge("holdfast_followed_ledger_age_seconds", "How long ago that ledger closed.", registry=registry)

    def not_ready() -> str | None:
        return "it is draining" if house.stop.is_set() else None

    def ledger_age() -> float:
        return (datetime.now(UTC) - house.engine.follower.closed_at).total_seconds()

    ledger.set_function(lambda: house.engine.follower.sequence)
    age.set_function(ledger_age)
    settings = house.settings
    return served(metrics_application(registry, not_ready=not_ready), settings.metrics_host, settings.metrics_port)


async def _connected(settings: Settings, runtime: Runtime, tracers: Sequence[Interceptor]) -> Client:
    client = await connect(
        **connect_options(settings), codec=payload_codec(settings), runtime=runtime, interceptors=tracers
    )
    await register_search_attributes(client)
    await ensure_schedules(client)
    return client


async def _once_there(begin: Callable[[], Awaitable[T]], stop: asyncio.Event) -> T | None:
    """Begin something once what it needs is there; None when told to stop first."""
    while not stop.is_set():
        try:
            return await begin()
        except Unavailable as error:
            _log.warning("waits", code=error.code, reason=error.message)
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), _AGAIN_SECONDS)
    return None
