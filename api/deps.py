"""What the API needs to run: handed to `create_app`, so that tests hand over the parts they want to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Protocol

from fastapi import Depends, Request
from prometheus_client import CollectorRegistry

from adapters.custody import Custody
from adapters.database.engine import Database
from adapters.database.outages import OutageBook
from adapters.database.payouts import PayoutBook
from adapters.database.settlements import SettlementBook
from domain.batch import CallLimits
from domain.errors import Refused
from domain.money import Amount
from domain.payout import Payout, PayoutTerms
from domain.payout_policy import PayoutPolicy
from domain.signing import SignatureReceipt, SignatureSubmission


class Stories(Protocol):
    """Starts and wakes workflows. All raise Unavailable where Temporal does not answer."""

    async def outage_changed(
        self,
        outage_id: str,
        *,
        summary: str | None = None,
        severity: str | None = None,
        operator_id: str | None = None,
    ) -> None:
        """Wake an outage's story, or start it."""


class PayoutStories(Protocol):
    """Starts, wakes and updates the stories of payouts. All raise Unavailable where Temporal does not answer."""

    async def payout_accepted(self, payout: Payout) -> None:
        """Begin the story of a payout that was just written down; again is harmless."""

    async def payout_changed(self, payout_id: str) -> None:
        """Wake a payout's story, or begin it."""

    async def submit_signature(self, payout_id: str, submission: SignatureSubmission) -> SignatureReceipt:
        """Hand signatures over; raises Refused with a code that begins with `signature_`."""


class BatchStories(Protocol):
    """Starts and wakes the stories of batches; raises Unavailable where Temporal does not answer."""

    async def batch_changed(self, batch_id: str) -> None:
        """Wake a batch's story, or begin it; again is harmless."""

    async def submit_signature(self, settlement_id: str, submission: SignatureSubmission) -> SignatureReceipt:
        """Hand signatures for one of its calls over; raises Refused with a code that begins with `signature_`."""


class BatchLimits(Protocol):
    """How many payments one contract call may hold."""

    async def read(self, token: str, *, reader: str) -> CallLimits:
        """Read it for a token; raises Refused where the contract does not pay it, Unavailable with no answer."""


class WalletStories(Protocol):
    """Starts the workflows that make wallets; raises Unavailable where Temporal does not answer."""

    async def wallet_requested(self, user_id: str) -> None:
        """Start the workflow of a wallet; again is harmless."""


class TemporalHealth(Protocol):
    """Whether Temporal answers."""

    async def check(self) -> None:
        """Ask it; raises Unavailable."""


class LedgerReader(Protocol):
    """What the API reads from the ledger. All raise Unavailable where it does not answer."""

    async def balances(self, address: str) -> Mapping[str, Amount]:
        """By asset code, with XLM; raises NotFound for an account that is not there."""

    async def anchored_rca(self, outage_id: str) -> str | None:
        """The hash (hex) of the latest RCA on chain."""

    async def problems(self) -> Mapping[str, str]:
        """What stands against a payment: check to sentence; empty where nothing does."""


@dataclass(frozen=True, slots=True)
class ApiOptions:
    """The settings that the API heeds. `keyless`: requests of this machine need no key (local network only)."""

    explorer_url: str
    network: str = "local"
    body_bytes_max: int = 1_048_576
    requests_per_minute: int = 600
    keyless: bool = False
    private_webhooks: bool = False
    streams_max: int = 100
    followed_seconds_max: float = 30
    """How old the newest followed ledger may be before no worker is taken to follow: several closes."""


@dataclass(frozen=True, slots=True)
class Payouts:
    """What payouts need. `terms` None: they are not configured here."""

    book: PayoutBook
    stories: PayoutStories
    terms: PayoutTerms | None
    network_passphrase: str

    def configured(self) -> PayoutTerms:
        """On which terms payouts are made.

        Raises:
            Refused: `contract_missing`.
        """
        if self.terms is None:
            raise Refused(
                "payouts are not configured here: PAYOUT_CONTRACT_ID (or PAYOUT_SOURCE_ACCOUNT) is not set",
                code="contract_missing",
            )
        return self.terms


@dataclass(frozen=True, slots=True)
class Batches:
    """What batches need beside payouts. `upload_bytes_max` bounds a payment file."""

    stories: BatchStories
    limits: BatchLimits
    policy: PayoutPolicy
    upload_bytes_max: int = 33_554_432


@dataclass(frozen=True, slots=True)
class Deps:
    """Everything outside of the API's own code."""

    database: Database
    book: SettlementBook
    outages: OutageBook
    stories: Stories
    wallet_stories: WalletStories
    temporal: TemporalHealth
    ledger: LedgerReader
    custody: Custody | None
    payouts: Payouts
    options: ApiOptions
    batches: Batches | None = None
    """None: they are not configured here."""
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)

    def transaction_url(self, tx_hash: str | None) -> str | None:
        """Where the transaction can be looked at."""
        return None if tx_hash is None else f"{self.options.explorer_url.rstrip('/')}/tx/{tx_hash}"


def deps_of(request: Request) -> Deps:
    """The application's parts."""
    deps: Deps = request.app.state.deps
    return deps


def batches_of(deps: Deps) -> Batches:
    """What batches are paid with.

    Raises:
        Refused: `contract_missing`.
    """
    if deps.batches is None:
        raise Refused("batches are not configured here", code="contract_missing")
    return deps.batches


async def _parts(request: Request) -> Deps:
    # Async, since FastAPI hands what is not to another thread.
    return deps_of(request)


Parts = Annotated[Deps, Depends(_parts)]
