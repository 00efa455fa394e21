"""The application, served in this process, on a real Postgres; Temporal and the ledger are stood in for."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from adapters.custody import Custody
from adapters.database.engine import Database
from adapters.database.heads import HeadBook
from adapters.database.outages import OutageBook
from adapters.database.payouts import PayoutBook
from adapters.database.people import add_person, make_key
from adapters.database.registry import Operator, Site, put_operator, put_site
from adapters.database.settlements import SettlementBook
from adapters.stellar.rpc import LedgerHead
from api.deps import ApiOptions, Batches, Deps, Payouts
from domain.batch import CallLimits
from domain.errors import Conflict, NotFound, Unavailable
from domain.money import Amount
from domain.payout import Payout, PayoutMode, PayoutTerms
from domain.payout_policy import PayoutPolicy
from domain.people import Role
from domain.policy import Policy
from domain.signing import SignatureReceipt, SignatureSubmission
from tests.api.figures import NOC, NOW, OPERATOR
from tests.api.http import Client, served

TERMS = PayoutTerms(
    contract="CDMLFMKMMD7MWZP3FKUBZPVHTUEDLSX4BYGYKH4GCESXYHS3IHQ4EIG4",
    method="distribute_winnings",
    payer=NOC,
    deployment="test",
    mode=PayoutMode.QUEUED,
)
POLICY = PayoutPolicy(Policy(live=True, amount_max=Amount.of(1_000_000_000)), four_eyes_above=Amount.of(10_000))


@dataclass
class RecordedStories:
    """Where Temporal would be: it remembers who was woken, or does not answer."""

    woken: list[str] = field(default_factory=list)
    away: bool = False

    async def outage_changed(
        self,
        outage_id: str,
        *,
        summary: str | None = None,
        severity: str | None = None,
        operator_id: str | None = None,
    ) -> None:
        await self.check()
        self.woken.append(outage_id)

    async def payout_accepted(self, payout: Payout) -> None:
        await self.check()
        self.woken.append(payout.payout_id)

    async def payout_changed(self, payout_id: str) -> None:
        await self.check()
        self.woken.append(payout_id)

    async def batch_changed(self, batch_id: str) -> None:
        await self.check()
        self.woken.append(batch_id)

    async def submit_signature(self, payout_id: str, submission: SignatureSubmission) -> SignatureReceipt:
        await self.check()
        raise Conflict(f"{payout_id} waits for no signature", code="signature_not_awaited")

    async def wallet_requested(self, user_id: str) -> None:
        await self.check()
        self.woken.append(user_id)

    async def check(self) -> None:
        if self.away:
            raise Unavailable("Temporal does not answer", code="temporal_unavailable")


class FixedLimits:
    """Where the ledger would be asked how many payments a call takes."""

    async def read(self, token: str, *, reader: str) -> CallLimits:
        return CallLimits(rows_max=50, weight_max=1000, account_weight=100, muxed_weight=100, contract_weight=100)


@dataclass
class FixedLedger:
    """Where the ledger's RPC would be."""

    accounts: dict[str, dict[str, Amount]] = field(default_factory=dict)
    anchors: dict[str, str] = field(default_factory=dict)
    found: dict[str, str] = field(default_factory=dict)

    async def balances(self, address: str) -> Mapping[str, Amount]:
        if address not in self.accounts:
            raise NotFound("there is no such account on the ledger")
        return self.accounts[address]

    async def anchored_rca(self, outage_id: str) -> str | None:
        return self.anchors.get(outage_id)

    async def problems(self) -> Mapping[str, str]:
        return self.found


@dataclass
class Front:
    """The application with its stand-ins and one client a person."""

    deps: Deps
    stories: RecordedStories
    ledger: FixedLedger
    admin: Client
    finance: Client
    operations: Client
    viewer: Client
    nobody: Client
    url: str
    admin_key: str


def options(**changed: object) -> ApiOptions:
    given: dict[str, Any] = {"requests_per_minute": 1_000_000, "private_webhooks": True}
    return ApiOptions(explorer_url="http://explorer.test", **(given | changed))


def parts(database: Database, stories: RecordedStories, ledger: FixedLedger, **changed: object) -> Deps:
    book = SettlementBook(database)
    return Deps(
        database=database,
        book=book,
        outages=OutageBook(book),
        stories=stories,
        wallet_stories=stories,
        temporal=stories,
        ledger=ledger,
        custody=Custody({"k1": b"k" * 32}, current="k1", tenant="test"),
        payouts=Payouts(
            book=PayoutBook(database, book, POLICY),
            stories=stories,
            terms=TERMS,
            network_passphrase="Standalone Network ; February 2017",
        ),
        batches=Batches(stories, FixedLimits(), POLICY, upload_bytes_max=8_000_000),
        options=options(**changed),
    )


@pytest.fixture
async def front(database: Database) -> AsyncIterator[Front]:
    stories, ledger = RecordedStories(), FixedLedger()
    deps = parts(database, stories, ledger)
    keys = {}
    async with database.begin() as connection:
        for role in Role:
            person = await add_person(connection, name=f"A {role}", roles=[role], by="test")
            _key, secret = await make_key(connection, person_id=person.id, by="test")
            keys[role] = secret.get_secret_value()
        operator = Operator(id="test-operator", name="Test Operator", wallet=OPERATOR)
        await put_operator(connection, operator, by="test", at=NOW)
        site = Site(name="Test Site", operator_id="test-operator", noc_team_wallet=NOC)
        await put_site(connection, site, by="test", at=NOW)
    # No worker follows here: this head stays fresh as long as the longest test lasts.
    fresh = datetime.now(UTC) + timedelta(hours=1)
    followed = LedgerHead(sequence=2, hash="ab" * 32, previous_hash="aa" * 32, closed_at=fresh, protocol=26)
    await HeadBook(database, network_passphrase="test").begin(followed)
    async with served(deps) as url, AsyncExitStack() as stack:
        clients = {role: Client(url, key) for role, key in keys.items()}
        nobody = Client(url)
        for client in (*clients.values(), nobody):
            stack.push_async_callback(client.session.close)
        yield Front(
            deps,
            stories,
            ledger,
            clients[Role.ADMINISTRATOR],
            clients[Role.FINANCE],
            clients[Role.OPERATIONS],
            clients[Role.VIEWER],
            nobody,
            url,
            keys[Role.ADMINISTRATOR],
        )
