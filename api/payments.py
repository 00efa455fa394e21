"""Payments over HTTP: approve, look up, retry, and the operator's safe actions."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Path, Query, Request
from pydantic import AfterValidator, BaseModel, Field
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.responses import Response

from adapters.database.audit import record
from adapters.database.outage_rows import find_outage, lock_outage
from adapters.database.outbox import tell
from adapters.database.reading import PaymentFilter, list_payments, statement
from api.access import needs
from api.controls import Action
from api.deps import Deps, Parts
from api.exact import ExactJSONResponse, money
from api.fields import Body, Instant, MoneyText, WalletAddress
from api.once import IdempotencyKey, Once
from api.outages import CHANGED, changed
from api.problems import may_answer
from api.tables import plain_cell
from api.views import HistoryView, OutageView, payment_view
from domain.errors import Conflict, NotFound
from domain.events import Event, EventType
from domain.instants import instant
from domain.money import Amount
from domain.outage import Outage, OutageStatus, Waits, waits_for
from domain.people import Caller, Scope
from domain.settlement import Control, SettlementStatus
from domain.sla import PaymentKind
from domain.sla_payment import PaymentPhase

router: Final = APIRouter(prefix="/api/v1", tags=["payments"])
Reader = Annotated[Caller, Depends(needs(Scope.PAYMENTS_READ))]
Approver = Annotated[Caller, Depends(needs(Scope.PAYMENTS_APPROVE))]
Controller = Annotated[Caller, Depends(needs(Scope.PAYMENTS_CONTROL))]
PaymentId = Annotated[
    str,
    Path(
        pattern=r"^(outage:)?OUT[0-9]{3,18}$", description="The outage's id, such as OUT001.", examples=["OUT001"]
    ),
    AfterValidator(lambda value: value.removeprefix("outage:")),
]


class ProcessSla(Body):
    """Which outage's payment to approve and pay."""

    outage_id: Annotated[str, Field(pattern=r"^OUT[0-9]{3,18}$", examples=["OUT001"])]
    amount: MoneyText | None = Field(
        default=None, description="What is agreed to: where another was decided meanwhile, it is a conflict (409)."
    )


class RetryPayment(Body):
    """Wallets are taken only where none is known yet; one that is not the registry's needs an approval."""

    operator_wallet: WalletAddress | None = None
    noc_team_wallet: WalletAddress | None = None


@router.post(
    "/payments/process-sla",
    summary="Process SLA Payment",
    response_model=OutageView,
    responses={
        **CHANGED,
        **may_answer("not_found", "malformed_request", "body_too_large", "four_eyes", "conflict"),
    },
)
async def process_sla(
    request: Request, deps: Parts, caller: Approver, body: ProcessSla, key: IdempotencyKey = None
) -> Response:
    """Approve and pay what waits; where nothing has to be approved, say how the payment stands.

    The person who resolved the outage may not approve its payment (`four_eyes`).
    """
    now = datetime.now(UTC)
    async with deps.database.begin() as connection:
        once = Once(connection, caller, key)
        before = await once.before(request, body)
        outage = await lock_outage(connection, body.outage_id)
        _same_amount(outage, body.amount)
        if before is not None:
            pass  # what this request agreed to; a decision made since then is another
        elif outage.phase is PaymentPhase.AWAITING_APPROVAL:
            outage = await deps.outages.approve(connection, body.outage_id, by=caller.id, at=now)
            await _audit(connection, caller, "payment.approve", body.outage_id)
        elif outage.resolved_at is None:
            raise Conflict(f"{body.outage_id} is {outage.status}: resolve it first", code="wrong_state")
        elif outage.phase is PaymentPhase.HELD:
            raise Conflict(
                f"{body.outage_id} is disputed: settling the dispute releases its payment", code="wrong_state"
            )
        if before is None:
            await once.made(body.outage_id, status=200)
    return await changed(deps, outage)


def _same_amount(outage: Outage, agreed: Amount | None) -> None:
    decided = None if outage.decision is None else outage.decision.amount
    if agreed is not None and decided is not None and agreed != decided:
        raise Conflict(
            f"{outage.outage_id} is decided at {decided.brief}, not {agreed.brief}", amount=f"decided as {decided}"
        )


class HistoryFilter(Body):
    """Which payments; pages are newest first."""

    type: PaymentKind | None = None
    status: PaymentPhase | None = None
    asset: Annotated[str, Field(pattern=r"^[A-Za-z0-9]{1,12}$")] | None = None
    operator: Annotated[str, Field(max_length=63)] | None = None
    since: Instant | None = Field(default=None, alias="from", description="By the ledger's time.")
    until: Instant | None = Field(default=None, alias="to", description="Exclusive.")
    cursor: Annotated[str, Field(pattern=r"^[0-9]{1,18}$", description="`next` of the page before.")] | None = None
    limit: Annotated[int, Field(ge=1, le=200)] = 50


@router.get("/payments/history", response_model=HistoryView, responses=may_answer())
async def read_history(deps: Parts, _caller: Reader, wanted: Annotated[HistoryFilter, Query()]) -> Response:
    """Every payment that was decided, newest outage first."""
    chosen = PaymentFilter(
        kind=wanted.type,
        phase=wanted.status,
        asset=wanted.asset,
        operator_id=wanted.operator,
        since=wanted.since,
        until=wanted.until,
    )
    before = None if wanted.cursor is None else int(wanted.cursor)
    return await _page(deps, chosen, before=before, limit=wanted.limit)


class Page(Body):
    """Which page."""

    cursor: Annotated[str, Field(pattern=r"^[0-9]{1,18}$", description="`next` of the page before.")] | None = None
    limit: Annotated[int, Field(ge=1, le=200)] = 50


@router.get("/approvals", response_model=HistoryView, responses=may_answer())
async def read_approvals(deps: Parts, _caller: Reader, page: Annotated[Page, Query()]) -> Response:
    """What waits for approval, and why; `resolved_by` is the person who may not give it."""
    wanted = PaymentFilter(phase=PaymentPhase.AWAITING_APPROVAL)
    return await _page(deps, wanted, before=None if page.cursor is None else int(page.cursor), limit=page.limit)


async def _page(deps: Deps, wanted: PaymentFilter, *, before: int | None, limit: int) -> Response:
    async with deps.database.begin() as connection:
        found = await list_payments(connection, wanted, before=before, limit=limit)
    more = str(found[-1].number) if len(found) == limit else None
    return ExactJSONResponse(HistoryView(transactions=[payment_view(deps, one) for one in found], next=more))


@router.post(
    "/payments/{payment_id}/retry",
    response_model=OutageView,
    responses={
        **CHANGED,
        **may_answer("not_found", "malformed_request", "body_too_large", "idempotency_conflict"),
    },
)
async def retry(  # noqa: PLR0917 - parameters of the request, given by name
    request: Request,
    deps: Parts,
    caller: Controller,
    payment_id: PaymentId,
    body: RetryPayment | None = None,
    key: IdempotencyKey = None,
) -> Response:
    """Try a refused payment again, once its reason is mended. It keeps its id: it can never be paid twice."""
    now = datetime.now(UTC)
    wallets = body or RetryPayment()
    async with deps.database.begin() as connection:
        once = Once(connection, caller, key)
        if await once.before(request, wallets) is None:
            outage = await deps.outages.request_retry(
                connection,
                payment_id,
                by=caller.id,
                at=now,
                operator_wallet=wallets.operator_wallet,
                noc_team_wallet=wallets.noc_team_wallet,
            )
            await _audit(connection, caller, "payment.retry", payment_id)
            await once.made(payment_id, status=200)
        else:
            outage = await find_outage(connection, payment_id)
    return await changed(deps, outage)


class WhyView(BaseModel):
    """What a payment waits for, since when, and what may safely be done."""

    outage_id: str
    payment_status: PaymentPhase
    settlement_status: SettlementStatus | None = Field(description="Null before the engine has it.")
    sentence: str
    since: datetime
    may: list[str] = Field(description="Actions that are safe now: none of them can pay twice.")
    reason_code: str | None
    tx_hash: str | None
    ledger: int | None
    explorer_url: str | None


@router.get("/payments/{payment_id}/why", response_model=WhyView, responses=may_answer("not_found"))
async def read_why(deps: Parts, _caller: Reader, payment_id: PaymentId) -> Response:
    """Why is it stuck, and is it safe to act? Answers with every worker down."""
    async with deps.database.begin() as connection:
        outage = await find_outage(connection, payment_id)
    return ExactJSONResponse(await _why(deps, outage))


async def _why(deps: Deps, outage: Outage) -> WhyView:
    status, sentence, since, may = None, _waits(outage), outage.changed_at, _may(outage)
    reason_code, tx_hash, ledger = outage.reason_code, outage.tx_hash, outage.ledger
    if outage.phase is PaymentPhase.SETTLING or outage.phase.final:
        try:
            engine = await deps.book.why(outage.settlement_id)
        except NotFound:
            pass
        else:
            status, sentence, since, may = engine.status, engine.sentence, engine.since, list(engine.may)
            tx_hash, ledger = engine.facts.tx_hash or tx_hash, engine.facts.ledger or ledger
            reason_code = engine.facts.reason_code or reason_code
    return WhyView(
        outage_id=outage.outage_id,
        payment_status=outage.phase,
        settlement_status=status,
        sentence=sentence,
        since=since,
        may=may,
        reason_code=reason_code,
        tx_hash=tx_hash,
        ledger=ledger,
        explorer_url=deps.transaction_url(tx_hash),
    )


def _waits(outage: Outage) -> str:
    return {
        Waits.REPAIR: "The outage is not resolved: the clock runs.",
        Waits.APPROVAL: "It waits for approval by another person than who resolved the outage or named a wallet:"
        f" {outage.why_approval}.",
        Waits.DISPUTE: f"The outage is disputed: {outage.dispute_reason or 'no reason was given'}.",
        Waits.PERSON: f"It was refused and waits for a person: {outage.reason}",
        Waits.LATER: f"It was not paid ({outage.reason}); it is tried again at {outage.retry_at}.",
        Waits.LEDGER: "It is with the settlement engine.",
        Waits.DECISION: "It is resolved; its decision comes next, by itself.",
        Waits.PAYMENT: "It is decided and agreed; the payment begins next, by itself.",
        Waits.NOTHING: "It is over." if outage.ended else "It goes on by itself.",
    }[waits_for(outage)]


def _may(outage: Outage) -> list[str]:
    match waits_for(outage):
        case Waits.APPROVAL:
            return ["approve", "dispute", "cancel"]
        case Waits.PERSON | Waits.LATER:
            return ["retry", "dispute", "cancel"]
        case Waits.DISPUTE:
            return ["resolve", "cancel"]
        case _:
            return []


_CONTROLS: Final = {
    Action.HOLD: Control.HOLD,
    Action.RESUME: Control.NONE,
    Action.CANCEL: Control.CANCEL,
    Action.BUMP_FEE: Control.BUMP,
}
_TOLD: Final = {Action.HOLD: EventType.PAYMENT_HELD, Action.RESUME: EventType.PAYMENT_RESUMED}


@router.post(
    "/payments/{payment_id}/{action}",
    response_model=WhyView,
    responses={
        202: {"model": WhyView, "description": "It is recorded; the story goes on as soon as Temporal answers"},
        **may_answer("not_found", "wrong_state"),
    },
)
async def act(deps: Parts, caller: Controller, payment_id: PaymentId, action: Action) -> Response:
    """Hold, resume, cancel, verify or bump the fee of a payment that is with the engine; each is safe and audited.

    A cancelled payment is `cancelled` only when it is proved that it cannot land; `verify` asks the ledger anew.
    """
    now = datetime.now(UTC)
    async with deps.database.begin() as connection:
        outage = await lock_outage(connection, payment_id)
        if outage.phase is not PaymentPhase.SETTLING:
            raise Conflict(
                f"the payment of {payment_id} is {outage.phase}; only one with the engine takes {action}",
                code="wrong_state",
            )
        if action is Action.RESUME and outage.status is OutageStatus.DISPUTED:
            raise Conflict(
                f"{payment_id} is disputed: settling the dispute releases its payment", code="wrong_state"
            )
        if action is not Action.VERIFY:
            await deps.book.control(connection, outage.settlement_id, _CONTROLS[action])
        await _audit(connection, caller, f"payment.{action}", payment_id)
        if action in _TOLD:
            told = Event(
                type=_TOLD[action],
                subject=f"outage:{payment_id}",
                at=now,
                data={"outage_id": payment_id, "site_name": outage.site_name, "by": caller.id},
                operator_id=outage.operator_id,
                site_name=outage.site_name,
            )
            await tell(connection, told)
    answer = await changed(deps, outage)
    return ExactJSONResponse(await _why(deps, outage), answer.status_code)


_COLUMNS: Final = (
    "outage_id",
    "operator",
    "site",
    "severity",
    "detected_at",
    "resolved_at",
    "mttr_minutes",
    "threshold_minutes",
    "type",
    "amount",
    "asset",
    "from",
    "to",
    "confirmed_at",
    "ledger",
    "tx_hash",
    "explorer_url",
)


@router.get(
    "/statements/{month}.csv",
    response_class=Response,
    responses={
        200: {"content": {"text/csv": {"schema": {"type": "string"}}}, "description": "One row a payment"},
        **may_answer(),
    },
)
async def read_statement(
    deps: Parts,
    _caller: Reader,
    month: Annotated[str, Path(pattern=r"^20[0-9]{2}-(0[1-9]|1[0-2])$", examples=["2026-01"])],
    operator: Annotated[str | None, Query(max_length=63, description="Only this operator's payments.")] = None,
) -> Response:
    """A month of payments by the ledger's time (UTC), one row each."""
    since, until = _month(month)
    async with deps.database.begin() as connection:
        found = await statement(connection, since=since, until=until, operator_id=operator)
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\r\n")
    rows.writerow(_COLUMNS)
    for one in found:
        penalty = one.kind is PaymentKind.PENALTY
        rows.writerow(
            plain_cell(cell)
            for cell in (
                one.outage_id,
                one.operator_id,
                one.site_name,
                one.severity,
                instant(one.detected_at),
                instant(one.resolved_at),
                one.mttr_minutes,
                one.threshold_minutes,
                one.kind,
                money(one.amount),
                one.asset,
                one.operator_wallet if penalty else "pool",
                "pool" if penalty else one.noc_team_wallet,
                None if one.confirmed_at is None else instant(one.confirmed_at),
                one.ledger,
                one.tx_hash,
                deps.transaction_url(one.tx_hash),
            )
        )
    name = f"holdfast-{month}{'' if operator is None else '-operator'}.csv"
    return Response(
        text.getvalue(),
        media_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


def _month(month: str) -> tuple[datetime, datetime]:
    year, number = (int(part) for part in month.split("-"))
    since = datetime(year, number, 1, tzinfo=UTC)
    return since, datetime(year + number // 12, number % 12 + 1, 1, tzinfo=UTC)


async def _audit(connection: AsyncConnection, caller: Caller, action: str, outage_id: str) -> None:
    await record(connection, actor=caller.id, action=action, subject=f"outage:{outage_id}")
