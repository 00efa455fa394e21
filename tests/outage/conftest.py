"""The outage story on a real Temporal server and a real database; only the ledger's part is scripted."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select
from temporalio import activity
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowHandle
from temporalio.testing import TimeSkipper
from temporalio.worker import Worker

from activities.outage import OutageActivities
from activities.settlement_parts import Proof
from activities.story_names import SETTLE_INTERACTIVE, outage_story_id
from adapters.database.engine import Database
from adapters.database.outage_rows import find_outage
from adapters.database.outage_story import OutageDesk
from adapters.database.outages import OutageBook
from adapters.database.outbox_tables import events
from adapters.database.paid_outages import PaidOutages
from adapters.database.settlements import SettlementBook
from adapters.temporal.failures import TranslateFailures
from adapters.temporal.stories import Stories
from domain.errors import HoldfastError
from domain.money import Amount
from domain.outage import Outage, OutageStanding
from domain.settlement import SettlementOutcome
from domain.sla import Severity
from domain.sla_payment import PaymentRules, SlaContracts
from tests.registering import OPERATOR_ID, SITE_NAME, register
from tests.waiting import until
from workflows.outage import OutageStory

POOL = "GAIH3ULLFQ4DGSECF2AR555KZ4KNDGEKN4AFI4SU2M7B43MGK3QJZNSR"
OPERATOR = "GDGQVOKHW4VEJRU2TETD6DBRKEO5ERCNF353LW5WBFW3JJWQ2BRQ6KDD"
NOC = "GB6NVEN5HSUBKMYCE5ZOWSK5K23TBWRUQLZY3KNMXUZ3AQ2ESC4MY4AQ"
SLA = "CA3D5KRYM6CB7OWQ6TWYRR3Z4T7GNZLKERYNZGGA5SOAOPIFY6YQGAXE"
USDC = "CBIELTK6YBZJU5UP2WWQEUCYKLPU6AUNZ2BQ4WWFEIE3USCIHMXQDAMA"
NOCIQ = "CDLZFC3SYJYDZT7K67VZ75HPJVIEUVNIXF47ZG2FB2RMQQVU2HHGCYSC"
TX_HASH = "ab" * 32

Step = HoldfastError | str
_UNDER_WAY = {EventType.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED, EventType.EVENT_TYPE_WORKFLOW_TASK_STARTED}


@dataclass
class ScriptedEngine:
    """The engine's activity over the real settlement book; a script stands where the ledger would.

    An error ends a walk as failed, `pending` leaves it as it is, anything else confirms it. An empty script
    confirms.
    """

    book: SettlementBook
    paid: PaidOutages
    script: deque[Step] = field(default_factory=deque)
    calls: list[str] = field(default_factory=list)

    @activity.defn(name="settle")
    async def settle(self, settlement_id: str) -> SettlementOutcome:
        self.calls.append(settlement_id)
        return await self.paid.conclude(await self._walk(settlement_id))

    async def _walk(self, settlement_id: str) -> SettlementOutcome:
        # What the ledger does is settled when a walk begins: a test may change the script while one is under way.
        step = self.script[0] if self.script else "confirm"
        settlement = await self.book.load(settlement_id)
        if settlement.status.final:
            return settlement.outcome
        if settlement.control == "cancel":
            return (await self.book.cancel_unsent(settlement)).outcome
        if settlement.control == "hold":
            return settlement.outcome
        if self.script:
            self.script.popleft()
        if isinstance(step, HoldfastError):
            return (await self.book.fail_unsent(settlement, step)).outcome
        if step == "pending":
            return settlement.outcome
        proof = Proof(TX_HASH, True, False, 4711, datetime.now(UTC), 100, "")
        return (await self.book.record_paid_before(settlement, proof)).outcome


@dataclass
class Story:
    """One test's house: commands as people give them, and the story beside them."""

    database: Database
    client: Client
    book: OutageBook
    engine: ScriptedEngine
    stories: Stories
    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    async def report(
        self,
        severity: Severity = Severity.CRITICAL,
        *,
        minutes_ago: float = 0,
        wake: bool = True,
        **more: str | None,
    ) -> str:
        wallets: dict[str, str | None] = {"operator_wallet": OPERATOR, "noc_team_wallet": NOC}
        async with self.database.begin() as connection:
            outage = await self.book.report(
                connection,
                site_name=SITE_NAME,
                operator_id=OPERATOR_ID,
                severity=severity,
                detected_at=self.now - timedelta(minutes=minutes_ago),
                by="reporter",
                at=self.now,
                **(wallets | more),  # type: ignore[arg-type]
            )
        if wake:
            await self.stories.outage_changed(outage.outage_id)
        return outage.outage_id

    async def resolve(
        self,
        outage_id: str,
        *,
        after_minutes: float,
        by: str = "engineer",
        wake: bool = True,
        rca: str | None = None,
    ) -> Outage:
        outage = await self.read(outage_id)
        resolved_at = outage.detected_at + timedelta(minutes=after_minutes)
        async with self.database.begin() as connection:
            outage = await self.book.resolve(
                connection, outage_id, resolved_at=resolved_at, by=by, at=max(self.now, resolved_at), rca=rca
            )
        if wake:
            await self.stories.outage_changed(outage_id)
        return outage

    async def command(self, name: str, outage_id: str, *, by: str, wake: bool = True) -> Outage:
        async with self.database.begin() as connection:
            outage: Outage = await getattr(self.book, name)(connection, outage_id, by=by, at=self.now)
        if wake:
            await self.stories.outage_changed(outage_id)
        return outage

    async def read(self, outage_id: str) -> Outage:
        async with self.database.begin() as connection:
            return await find_outage(connection, outage_id)

    async def told(self, outage_id: str) -> list[str]:
        """Types of events, in order."""
        async with self.database.begin() as connection:
            query = select(events.c.type).where(events.c.subject == f"outage:{outage_id}").order_by(events.c.id)
            return list((await connection.execute(query)).scalars())

    def handle(self, outage_id: str) -> WorkflowHandle[OutageStory, OutageStanding]:
        return self.client.get_workflow_handle_for(OutageStory.run, outage_story_id(outage_id))

    async def ending(self, outage_id: str) -> OutageStanding:
        return await self.handle(outage_id).result()

    async def until(self, outage_id: str, condition: Callable[[Outage], bool]) -> Outage:
        """Wait for a condition of the record."""

        async def look() -> Outage | None:
            outage = await self.read(outage_id)
            return outage if condition(outage) else None

        return await until(look)

    async def events_count(self, outage_id: str) -> int:
        """How long the history is once no workflow task is under way."""

        async def look() -> int | None:
            events = (await self.handle(outage_id).fetch_history()).events
            return None if events[-1].event_type in _UNDER_WAY else len(events)

        return await until(look)


@asynccontextmanager
async def story_house(
    client: Client, database: Database, *, auto: bool = True, auto_max: int = 10_000, workers: bool = True
) -> AsyncIterator[Story]:
    settlements = SettlementBook(database, owner="test")
    desk = OutageDesk(
        database,
        settlements,
        rules=PaymentRules(auto_enabled=auto, auto_max=Amount.of(auto_max)),
        contracts=SlaContracts(sla=SLA, usdc=USDC, reward_token=NOCIQ, pool=POOL),
        deployment="test",
    )
    await register(database, operator_wallet=OPERATOR, noc_team_wallet=NOC)
    engine = ScriptedEngine(settlements, PaidOutages(database))
    story = Story(database, client, OutageBook(settlements), engine, Stories(client))
    if not workers:
        yield story
        return
    acts = OutageActivities(desk)
    async with Worker(
        client,
        task_queue=SETTLE_INTERACTIVE,
        workflows=[OutageStory],
        activities=[engine.settle, acts.take_stock, acts.record_outcome, acts.ask_person],
        interceptors=[TranslateFailures()],
    ):
        yield story


@pytest.fixture
async def story(time_skipping: TimeSkipper, database: Database) -> AsyncIterator[Story]:
    """Auto payment is on up to 10,000."""
    async with story_house(time_skipping.client, database) as house:
        yield house


@pytest.fixture
async def careful(time_skipping: TimeSkipper, database: Database) -> AsyncIterator[Story]:
    """Auto payment is on up to 100."""
    async with story_house(time_skipping.client, database, auto_max=100) as house:
        yield house
