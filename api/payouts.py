"""Payouts over HTTP: asked for once by an idempotency key, followed, and acted on."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Path, Query
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.responses import Response

from adapters.database.audit import record
from adapters.database.payout_rows import find_payout
from adapters.database.payouts_reading import PayoutFilter, list_payouts
from api.access import needs
from api.controls import Action
from api.deps import Deps, Parts
from api.exact import ExactJSONResponse
from api.fields import Body, Instant
from api.once import IdempotencyKey
from api.payout_request import CreatePayout, understood
from api.payout_views import CreatedPayout, PayoutsView, PayoutView, PayoutWhyView, payout_view
from api.problems import may_answer
from api.waking import awake
from domain.errors import NotFound, Refused
from domain.payout import Payout, PayoutMode, PayoutPhase, Waits, waits_for
from domain.payout_request import PAYOUT_ID_PATTERN, PayoutRequest
from domain.people import Caller, Scope
from domain.settlement import SettlementStatus

router: Final = APIRouter(prefix="/api/v1/payouts", tags=["payouts"])
Reader = Annotated[Caller, Depends(needs(Scope.PAYOUTS_READ))]
Writer = Annotated[Caller, Depends(needs(Scope.PAYOUTS_WRITE))]
Approver = Annotated[Caller, Depends(needs(Scope.PAYMENTS_APPROVE))]
Controller = Annotated[Caller, Depends(needs(Scope.PAYMENTS_CONTROL))]
PayoutId = Annotated[str, Path(pattern=PAYOUT_ID_PATTERN, examples=["round-1-winner-1"])]
_BUILT_WITHIN_SECONDS: Final = 3.0
_LOOK_SECONDS: Final = 0.05


_CREATED: Final[dict[int | str, dict[str, Any]]] = {
    200: {"model": CreatedPayout, "description": "It was asked for before, with this key and this payload"},
    202: {"model": CreatedPayout, "description": "It is recorded; its story starts as soon as Temporal answers"},
    **may_answer(
        "malformed_request",
        "body_too_large",
        "idempotency_conflict",
        "policy_amount",
        "asset_not_allowed",
        "destination_blocked",
        "contract_missing",
        "exceeds_max_gas",
    ),
}


@router.post("", status_code=201, response_model=CreatedPayout, responses=_CREATED)
async def create_payout(deps: Parts, caller: Writer, body: CreatePayout, key: IdempotencyKey = None) -> Response:
    """Ask for a payout. The same key and payload again is the same payout; it is paid once, whatever fails."""
    request = understood(deps, body, key)
    payout, new = await _accept(deps, caller, request)
    status = 201 if new else 200
    if not payout.ended and not await awake(deps.payouts.stories.payout_accepted(payout), payout=payout.payout_id):
        status = 202
    if payout.mode is not PayoutMode.QUEUED:
        payout = await _built(deps, payout, wait=status != 202)
        if new and payout.phase is PayoutPhase.FAILED:
            raise Refused(
                payout.reason or "it failed",
                code=payout.reason_code,
                **(payout.reason_details | {"payout_id": payout.payout_id}),
            )
    return ExactJSONResponse(
        await _created(deps, payout), status, headers={"Location": f"/api/v1/payouts/{payout.payout_id}"}
    )


async def _accept(deps: Deps, caller: Caller, request: PayoutRequest) -> tuple[Payout, bool]:
    """Write it down, or find it: what was accepted once is found whatever the settings say by now."""
    book = deps.payouts.book
    try:
        terms = deps.payouts.configured().of(request)
    except Refused:
        async with deps.database.look() as connection:
            before = await book.accepted_before(connection, request)
        if before is None:
            raise
        return before, False
    version = await book.policy_version()
    async with deps.database.begin() as connection:
        payout, new = await book.accept(
            connection, request, terms, policy_version=version, by=caller.id, at=datetime.now(UTC)
        )
        if new:
            await _audit(connection, caller, "payout.create", payout.payout_id)
    return payout, new


async def _built(deps: Deps, payout: Payout, *, wait: bool) -> Payout:
    """Wait a moment for what is to be signed or inspected; where it takes longer, the answer goes without it."""
    loop = asyncio.get_running_loop()
    until = loop.time() + (_BUILT_WITHIN_SECONDS if wait else 0)
    while True:
        async with deps.database.look() as connection:
            payout = await find_payout(connection, payout.payout_id)
        early = payout.status in {None, SettlementStatus.ACCEPTED} or (
            payout.status is SettlementStatus.FAILED and payout.phase is PayoutPhase.SETTLING
        )
        # An external one is built first, and then asked for.
        early = early or (payout.mode is PayoutMode.EXTERNAL and payout.status is SettlementStatus.BUILT)
        if payout.phase is not PayoutPhase.SETTLING or not early or loop.time() >= until:
            return payout
        await asyncio.sleep(_LOOK_SECONDS)


async def _created(deps: Deps, payout: Payout) -> CreatedPayout:
    unsigned = None
    waits = payout.status is SettlementStatus.AWAITING_SIGNATURE
    if waits or (payout.mode is PayoutMode.BUILD_ONLY and payout.status is not None):
        unsigned = await deps.book.unsigned_xdr(payout.settlement_id)
    return CreatedPayout(
        mode=payout.mode,
        unsigned_xdr=unsigned,
        signing_request=f"/api/v1/payouts/{payout.payout_id}/signing-request" if waits else None,
        transaction=payout_view(deps, payout, at=datetime.now(UTC)),
    )


class ListedPayouts(Body):
    """Which payouts; pages are newest first."""

    status: SettlementStatus | None = None
    destination: Annotated[str, Field(max_length=69, pattern=r"^[GMC][A-Z2-7]{55,68}$")] | None = None
    since: Instant | None = Field(default=None, alias="from", description="Asked for at this time or later.")
    until: Instant | None = Field(default=None, alias="to", description="Exclusive.")
    cursor: Annotated[str, Field(pattern=r"^[0-9]{1,18}$", description="`next` of the page before.")] | None = None
    limit: Annotated[int, Field(ge=1, le=200)] = 50


@router.get("", response_model=PayoutsView, responses=may_answer())
async def read_payouts(deps: Parts, _caller: Reader, wanted: Annotated[ListedPayouts, Query()]) -> Response:
    """List payouts."""
    chosen = PayoutFilter(
        status=wanted.status, destination=wanted.destination, since=wanted.since, until=wanted.until
    )
    before = None if wanted.cursor is None else int(wanted.cursor)
    async with deps.database.look() as connection:
        found = await list_payouts(connection, chosen, before=before, limit=wanted.limit)
    more = str(found[-1].number) if len(found) == wanted.limit else None
    now = datetime.now(UTC)
    return ExactJSONResponse(PayoutsView(payouts=[payout_view(deps, one, at=now) for one in found], next=more))


@router.get("/{payout_id}", response_model=CreatedPayout, responses=may_answer("not_found"))
async def read_payout(deps: Parts, _caller: Reader, payout_id: PayoutId) -> Response:
    """Read one payout, in the same shape as it was answered when it was asked for."""
    async with deps.database.look() as connection:
        payout = await find_payout(connection, payout_id)
    return ExactJSONResponse(await _created(deps, payout))


@router.get("/{payout_id}/why", response_model=PayoutWhyView, responses=may_answer("not_found"))
async def read_why(deps: Parts, _caller: Reader, payout_id: PayoutId) -> Response:
    """Why is it stuck, and is it safe to act? Answers with every worker down."""
    async with deps.database.look() as connection:
        payout = await find_payout(connection, payout_id)
    return ExactJSONResponse(await _why(deps, payout))


async def _why(deps: Deps, payout: Payout) -> PayoutWhyView:
    waits = waits_for(payout, at=datetime.now(UTC))
    sentence, may, since = _words(payout, waits), _may(payout, waits), payout.changed_at
    if payout.phase in {PayoutPhase.SETTLING, PayoutPhase.CONFIRMED}:
        try:
            engine = await deps.book.why(payout.settlement_id)
        except NotFound:
            pass
        else:
            sentence, may, since = engine.sentence, list(engine.may), engine.since
    return PayoutWhyView(
        payout_id=payout.payout_id,
        status=payout.shown_status,
        waits_for=waits,
        sentence=sentence,
        since=since,
        may=may,
        reason_code=payout.reason_code,
        tx_hash=payout.tx_hash,
        ledger=payout.ledger,
        explorer_url=deps.transaction_url(payout.tx_hash),
    )


def _words(payout: Payout, waits: Waits) -> str:
    ends = {
        PayoutPhase.BUILT: "It is built only: its unsigned envelope is there, no lane is held, nothing is sent.",
        PayoutPhase.CANCELLED: f"It was cancelled and can never be paid: {payout.reason}.",
    }
    return ends.get(payout.phase) or {
        Waits.APPROVAL: f"It waits for approval by another person than the one who asked for it: "
        f"{payout.why_approval}.",
        Waits.TIME: f"It waits for its time, {payout.not_before}.",
        Waits.TURN: "It is ordered, and an earlier ordered payout of the same payer has not ended.",
        Waits.RESUME: "An operator holds it; nothing was sent.",
        Waits.LATER: f"It was not paid ({payout.reason}); it is tried again at {payout.retry_at}.",
        Waits.PERSON: f"It was not paid: {payout.reason}. A retry pays at most once.",
    }.get(waits, "It goes on by itself.")


def _may(payout: Payout, waits: Waits) -> list[str]:
    if payout.phase is PayoutPhase.BUILT:
        return ["cancel"]
    return {
        Waits.APPROVAL: ["approve", "hold", "cancel"],
        Waits.TIME: ["hold", "cancel"],
        Waits.TURN: ["hold", "cancel"],
        Waits.RESUME: ["resume", "cancel"],
        Waits.LATER: ["retry", "hold", "cancel"],
        Waits.PERSON: ["retry", "cancel"],
    }.get(waits, [])


_ACTED: Final[dict[int | str, dict[str, Any]]] = {
    202: {"model": PayoutWhyView, "description": "It is recorded; the story goes on as soon as Temporal answers"},
    **may_answer("not_found", "wrong_state"),
}


@router.post(
    "/{payout_id}/approve",
    response_model=PayoutView,
    responses={
        202: {"model": PayoutView, "description": "It is recorded; the story goes on as soon as Temporal answers"},
        **may_answer("not_found", "wrong_state", "four_eyes"),
    },
)
async def approve(deps: Parts, caller: Approver, payout_id: PayoutId) -> Response:
    """Agree to a payout above the four-eyes limit; the person who asked for it may not (`four_eyes`)."""
    now = datetime.now(UTC)
    async with deps.database.begin() as connection:
        payout = await deps.payouts.book.approve(connection, payout_id, by=caller.id, at=now)
        await _audit(connection, caller, "payout.approve", payout_id)
    woken = await awake(deps.payouts.stories.payout_changed(payout_id), payout=payout_id)
    return ExactJSONResponse(payout_view(deps, payout, at=now), 200 if woken else 202)


@router.post("/{payout_id}/retry", response_model=PayoutWhyView, responses=_ACTED)
async def retry(deps: Parts, caller: Controller, payout_id: PayoutId) -> Response:
    """Try a failed payout again, once its reason is mended. It keeps its id: it can never be paid twice."""
    async with deps.database.begin() as connection:
        payout = await deps.payouts.book.retry(connection, payout_id, at=datetime.now(UTC))
        await _audit(connection, caller, "payout.retry", payout_id)
    return await _acted(deps, payout)


@router.post("/{payout_id}/{action}", response_model=PayoutWhyView, responses=_ACTED)
async def act(deps: Parts, caller: Controller, payout_id: PayoutId, action: Action) -> Response:
    """Hold, resume, cancel, verify or bump the fee of a payout; each is safe and audited.

    One that was sent is `cancelled` only when it is proved that it cannot land; `verify` asks the ledger anew.
    """
    now, book = datetime.now(UTC), deps.payouts.book
    async with deps.database.begin() as connection:
        match action:
            case Action.HOLD:
                payout = await book.hold(connection, payout_id, by=caller.id, at=now)
            case Action.RESUME:
                payout = await book.resume(connection, payout_id, by=caller.id, at=now)
            case Action.CANCEL:
                payout = await book.cancel(connection, payout_id, at=now)
            case Action.BUMP_FEE:
                payout = await book.bump_fee(connection, payout_id, at=now)
            case Action.VERIFY:
                payout = await book.verify(connection, payout_id, at=now)
        await _audit(connection, caller, f"payout.{action}", payout_id)
    return await _acted(deps, payout)


async def _acted(deps: Deps, payout: Payout) -> Response:
    # One that this ended too: its story still waits, and wakes the one behind it.
    woken = await awake(deps.payouts.stories.payout_changed(payout.payout_id), payout=payout.payout_id)
    return ExactJSONResponse(await _why(deps, payout), 200 if woken else 202)


async def _audit(connection: AsyncConnection, caller: Caller, action: str, payout_id: str) -> None:
    await record(connection, actor=caller.id, action=action, subject=f"payout:{payout_id}")
