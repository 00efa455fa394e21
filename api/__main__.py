"""`python -m api`: one API process, wired from the settings."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import structlog
import uvicorn
import uvloop

from adapters.custody import Custody
from adapters.database.engine import Database
from adapters.database.outages import OutageBook
from adapters.database.payouts import PayoutBook
from adapters.database.settlements import SettlementBook
from adapters.database.webhook_endpoints import ensure_endpoint
from adapters.stellar.limits import CallLimitsReader
from adapters.stellar.reader import LedgerReader, ReadContracts
from adapters.stellar.rpc import Rpc
from adapters.temporal.batch_stories import BatchStories
from adapters.temporal.client import connect
from adapters.temporal.codec import SealedPayloads
from adapters.temporal.payout_stories import PayoutStories
from adapters.temporal.stories import Stories
from adapters.temporal.wallet_stories import WalletStories
from api.deps import ApiOptions, Batches, Deps, Payouts
from api.main import create_app
from domain.errors import HoldfastError, Refused, Unavailable
from settings import Settings, SettingsError, load_settings
from settings.payouts import payout_policy_of, payout_terms_of
from settings.telemetry import set_up_logging, trace_interceptors
from settings.temporal import connect_options

_log = structlog.get_logger("api")
KEEP_ALIVE_SECONDS: Final = 75
"""Longer than the 60 s after which balancers and clients drop an idle connection: who reuses one loses nothing."""
_CONNECTIONS_MAX: Final = 20
_FIRST_ENDPOINT: Final = "hook_settings"
"""The endpoint that WEBHOOK_URL names."""


@asynccontextmanager
async def wired(settings: Settings) -> AsyncIterator[Deps]:
    """Everything that the API needs; what it opens is closed on leaving.

    Raises:
        Refused: no payload key is set.
    """
    if settings.payload_keys is None:
        raise Refused("PAYLOAD_KEYS is needed: what Temporal stores is sealed")
    codec = SealedPayloads(settings.payload_keys.keys, current=settings.payload_keys.current)
    database = Database(settings.database_url.get_secret_value(), connections_max=_CONNECTIONS_MAX)
    rpc = Rpc(str(settings.stellar_soroban_rpc_url))
    try:
        tracers = trace_interceptors(settings, process="api")
        # Lazily: commands are taken, and answered 202, while Temporal is away.
        client = await connect(**connect_options(settings), codec=codec, interceptors=tracers, lazy=True)
        book = SettlementBook(database)
        ring = settings.custody_keys
        temporal = WalletStories(client)
        deps = Deps(
            database=database,
            book=book,
            outages=OutageBook(book),
            stories=Stories(client),
            wallet_stories=temporal,
            temporal=temporal,
            ledger=LedgerReader(
                rpc,
                network_passphrase=settings.stellar_network_passphrase,
                contracts=ReadContracts(
                    sla=settings.sla_contract_id,
                    tokens={"USDC": settings.usdc_token_address, "NOCIQ": settings.nociq_token_address},
                ),
            ),
            custody=None
            if ring is None
            else Custody(ring.keys, current=ring.current, tenant=settings.holdfast_deployment),
            payouts=Payouts(
                book=PayoutBook(database, book, payout_policy_of(settings)),
                stories=PayoutStories(client),
                terms=payout_terms_of(settings),
                network_passphrase=settings.stellar_network_passphrase,
            ),
            batches=_batches(settings, rpc, BatchStories(client)),
            options=ApiOptions(
                explorer_url=str(settings.explorer_url),
                network=settings.stellar_network,
                body_bytes_max=settings.body_bytes_max,
                requests_per_minute=settings.rate_limit_per_minute,
                keyless=settings.api_local_keyless,
                private_webhooks=settings.local,
                followed_seconds_max=settings.followed_seconds_max,
            ),
        )
        await _ensure_webhook(settings, deps)
        yield deps
    finally:
        await rpc.close()
        await database.close()


def _batches(settings: Settings, rpc: Rpc, stories: BatchStories) -> Batches | None:
    terms = payout_terms_of(settings)
    if terms is None:
        return None
    policy = payout_policy_of(settings)
    limits = CallLimitsReader(
        rpc,
        contract=terms.contract,
        network_passphrase=settings.stellar_network_passphrase,
        amount_max=policy.policy.amount_max,
    )
    return Batches(stories, limits, policy, upload_bytes_max=settings.batch_upload_bytes_max)


async def _ensure_webhook(settings: Settings, deps: Deps) -> None:
    if settings.webhook_url is None or settings.webhook_secret is None or deps.custody is None:
        return
    sealed = deps.custody.seal_webhook(_FIRST_ENDPOINT, settings.webhook_secret)
    try:
        async with deps.database.alone(_FIRST_ENDPOINT), deps.database.begin() as connection:
            await ensure_endpoint(
                connection,
                endpoint_id=_FIRST_ENDPOINT,
                url=str(settings.webhook_url),
                sealed_secret=sealed,
                by="system:settings",
            )
    except Unavailable as error:
        _log.warning("WEBHOOK_URL is taken up with the next start", reason=error.message)


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; open streams get five seconds.

    Raises:
        Refused: no payload key is set.
    """
    async with wired(settings) as deps:
        config = uvicorn.Config(
            create_app(deps),
            host=settings.api_host,
            port=settings.api_port,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=5,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            lifespan="off",
        )
        await uvicorn.Server(config).serve()


def main() -> int:
    """Run one API; gives the process's exit status."""
    try:
        settings = load_settings()
        set_up_logging(settings, process="api")
        # It announces itself in lines of its own; what fails it still says.
        logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(settings))
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except HoldfastError as error:
        _log.error("cannot start", code=error.code, reason=error.message)
        return 2
    except KeyboardInterrupt:
        return 0
    except Exception:
        _log.exception("ended by a mistake")
        return 1
    return 0


if __name__ == "__main__":
    status = main()
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    # The interpreter's own exit can crash while the SDK's threads still hold a connection.
    os._exit(status)
