"""Payouts' scenes: the story on real Temporal, with scripts where record, engine and signers would be."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from temporalio import activity
from temporalio.client import Client, WorkflowHandle
from temporalio.worker import Worker

from activities.payout import PayoutStart
from activities.story_names import CHANGED_SIGNAL, PAYOUT_STORY, SETTLE_INTERACTIVE, STORIES, payout_story_id
from domain.payout import PayoutPhase, PayoutStanding
from domain.settlement import SettlementOutcome, SettlementStatus
from domain.signing import SignatureReceipt, SignatureSubmission
from tests.waiting import until
from workers.temporal_workers import WORKFLOWS

_ID: Final = "round-1-winner-1"
_S: Final = SettlementStatus


def outcome(status: SettlementStatus, **more: object) -> SettlementOutcome:
    return SettlementOutcome.model_validate({"settlement_id": f"payout:{_ID}", "status": status, **more})


def standing(phase: PayoutPhase, **more: object) -> PayoutStanding:
    return PayoutStanding.model_validate({"payout_id": _ID, "phase": phase, **more})


SETTLING: Final = standing(PayoutPhase.SETTLING, status=_S.ACCEPTED)
PAID: Final = outcome(_S.CONFIRMED, tx_hash="ab" * 32, ledger=4711)


@dataclass
class Scripted:
    """What each activity answers, in turn; the last answer is repeated."""

    settles: deque[SettlementOutcome]
    stocks: deque[PayoutStanding] = field(default_factory=lambda: deque([SETTLING]))

    @activity.defn(name="settle")
    async def settle(self, settlement_id: str) -> SettlementOutcome:
        return self.settles.popleft() if len(self.settles) > 1 else self.settles[0]

    @activity.defn(name="take_stock_of_payout")
    async def take_stock(self, payout_id: str, at: datetime) -> PayoutStanding:
        return self.stocks.popleft() if len(self.stocks) > 1 else self.stocks[0]

    @activity.defn(name="next_payout_in_order")
    async def next_in_order(self, payout_id: str) -> str | None:
        return None

    @activity.defn(name="accept_signature")
    async def accept_signature(self, settlement_id: str, submission: SignatureSubmission) -> SignatureReceipt:
        return SignatureReceipt(
            settlement_id=settlement_id, request_id="r1", accepted=("G",), weight=1, threshold=1, complete=True
        )


@asynccontextmanager
async def playing(client: Client, script: Scripted) -> AsyncIterator[None]:
    async with (
        Worker(
            client,
            task_queue=STORIES,
            workflows=WORKFLOWS,
            activities=[script.take_stock, script.next_in_order, script.accept_signature],
        ),
        Worker(client, task_queue=SETTLE_INTERACTIVE, activities=[script.settle]),
    ):
        yield


async def begin(client: Client, **more: object) -> WorkflowHandle[object, object]:
    start = PayoutStart.model_validate({"payout_id": _ID, **more})
    return await client.start_workflow(PAYOUT_STORY, start, id=payout_story_id(_ID), task_queue=STORIES)


async def until_events(handle: WorkflowHandle[object, object], kind: str, count: int = 1) -> None:
    """Wait until the history holds so many events of this kind."""

    async def look() -> bool | None:
        history = await handle.fetch_history()
        names = [event.WhichOneof("attributes") or "" for event in history.events]
        return True if sum(kind in name for name in names) >= count else None

    await until(look)


Scene = Callable[[Client], Awaitable[WorkflowHandle[object, object]]]


async def paid_at_once(client: Client) -> WorkflowHandle[object, object]:
    async with playing(client, Scripted(deque([PAID]))):
        handle = await begin(client, settling=True)
        await handle.result()
    return handle


async def without_proof_for_a_while(client: Client) -> WorkflowHandle[object, object]:
    pending = [outcome(_S.SUBMITTED), *[outcome(_S.UNKNOWN)] * 4]
    stock = standing(PayoutPhase.SETTLING, status=_S.UNKNOWN)
    async with playing(client, Scripted(deque([*pending, PAID]), deque([stock]))):
        handle = await begin(client, settling=True)
        await handle.result()
    return handle


async def signed_outside(client: Client) -> WorkflowHandle[object, object]:
    asked = outcome(_S.AWAITING_SIGNATURE, expires_at=datetime.now(UTC) + timedelta(days=1))
    stock = standing(PayoutPhase.SETTLING, status=_S.QUEUED)
    async with playing(client, Scripted(deque([asked, PAID]), deque([stock]))):
        handle = await begin(client, settling=True)
        await until_events(handle, "timer_started")
        await handle.execute_update(
            "submit_signature", SignatureSubmission(signed_xdr="AAAA", by="somebody"), result_type=SignatureReceipt
        )
        await handle.result()
    return handle


async def approved_ordered_and_tried_again(client: Client) -> WorkflowHandle[object, object]:
    soon = datetime.now(UTC) + timedelta(seconds=1)
    stocks = [
        standing(PayoutPhase.AWAITING_APPROVAL, ordered=True),
        standing(PayoutPhase.DUE, ordered=True, turn=False),
        standing(PayoutPhase.SETTLING, status=_S.ACCEPTED, ordered=True),
        standing(PayoutPhase.RETRYING, status=_S.FAILED, ordered=True, retry_at=soon),
        standing(PayoutPhase.SETTLING, status=_S.ACCEPTED, ordered=True),
    ]
    failed = outcome(_S.FAILED, reason_code="failed_on_ledger", may_pass=True)
    async with playing(client, Scripted(deque([failed, PAID]), deque(stocks))):
        handle = await begin(client, ordered=True)
        for waits in (1, 2):
            await until_events(handle, "marker_recorded", waits)
            await handle.signal(CHANGED_SIGNAL)
        await handle.result()
    return handle


async def refused(client: Client) -> WorkflowHandle[object, object]:
    async with playing(client, Scripted(deque([outcome(_S.FAILED, reason_code="trustline_missing")]))):
        handle = await begin(client, settling=True)
        await handle.result()
    return handle


PAYOUT_SCENES: Final[dict[str, Scene]] = {
    scene.__name__: scene
    for scene in (
        paid_at_once,
        without_proof_for_a_while,
        signed_outside,
        approved_ordered_and_tried_again,
        refused,
    )
}
