"""Outages over HTTP: a command writes its record and wakes the story; nobody waits for results."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, Field
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.responses import Response

from adapters.database.audit import record
from adapters.database.outage_rows import find_outage
from adapters.database.reading import list_outages
from adapters.database.registry import site_and_operator
from api.access import needs
from api.deps import Deps, Parts
from api.exact import ExactJSONResponse
from api.fields import Body, Instant, OutageId, Text, WalletAddress
from api.once import IdempotencyKey, Once
from api.problems import may_answer
from api.views import OutagesView, OutageView, SlaStatusView, outage_view, sla_status_view
from api.waking import awake
from domain.errors import InvalidInput
from domain.outage import Outage, OutageStatus
from domain.people import Caller, Scope
from domain.sla import Severity
from domain.sla_payment import strange_wallets

router: Final = APIRouter(prefix="/api/v1", tags=["outages"])
sla_router: Final = APIRouter(prefix="/api/v1", tags=["sla"])
Reader = Annotated[Caller, Depends(needs(Scope.OUTAGES_READ))]
Writer = Annotated[Caller, Depends(needs(Scope.OUTAGES_WRITE))]


class ReportOutage(Body):
    """A new outage. Wallets that are not named are those of the site's registry entry.

    A payment with a wallet that is not the registry's waits for the approval of another person.
    """

    site_name: Annotated[Text, Field(min_length=1, max_length=120, examples=["Test Site"])]
    severity: Severity
    detected_at: Instant
    operator_wallet: WalletAddress | None = None
    noc_team_wallet: WalletAddress | None = None
    description: Annotated[Text, Field(max_length=2000)] = ""


_CORRECTED: Final = (
    "Without a status only, after the payment was refused. One that is not the registry's needs another person's"
    " approval."
)


class ChangeOutage(Body):
    """What became of an outage; or, without a status, other wallets for a payment that was refused."""

    status: Literal["acknowledged", "resolved", "disputed", "cancelled"] | None = None
    operator_wallet: WalletAddress | None = Field(default=None, description=_CORRECTED)
    noc_team_wallet: WalletAddress | None = Field(default=None, description=_CORRECTED)
    resolved_at: Instant | None = Field(default=None, description="Needed with `resolved`, and only with it.")
    rca: Annotated[Text, Field(min_length=1, max_length=100_000)] | None = Field(
        default=None, description="The root-cause report; its sha256 is anchored on chain. With `resolved` only."
    )
    reason: Annotated[Text, Field(max_length=2000)] | None = Field(
        default=None, description="With `disputed` or `cancelled`."
    )

    def check(self) -> None:
        """Refuse what does not go together.

        Raises:
            InvalidInput: naming the fields.
        """
        wrong: dict[str, str] = {}
        wallets = [name for name in ("operator_wallet", "noc_team_wallet") if getattr(self, name) is not None]
        if self.status is None and not wallets:
            wrong["status"] = "acknowledged, resolved, disputed or cancelled; or name a wallet instead"
        elif self.status is not None:
            wrong |= dict.fromkeys(wallets, "only without a status, and after a refusal")
        if self.status == "resolved":
            if self.resolved_at is None:
                wrong["resolved_at"] = "needed with status resolved: a time with a zone"
            if self.reason is not None:
                wrong["reason"] = "only with status disputed or cancelled"
        else:
            for name in ("resolved_at", "rca"):
                if getattr(self, name) is not None:
                    wrong[name] = "only with status resolved"
            if self.status in {"acknowledged", None} and self.reason is not None:
                wrong["reason"] = "only with status disputed or cancelled"
        if wrong:
            raise InvalidInput(f"not right: {', '.join(wrong)}", **wrong)


@router.post(
    "/outages",
    status_code=201,
    response_model=OutageView,
    responses={
        200: {"model": OutageView, "description": "It was reported before, with this Idempotency-Key"},
        202: {"model": OutageView, "description": "It is recorded; its story starts as soon as Temporal answers"},
        **may_answer("malformed_request", "body_too_large", "idempotency_conflict"),
    },
)
async def report_outage(
    request: Request, deps: Parts, caller: Writer, body: ReportOutage, key: IdempotencyKey = None
) -> Response:
    """Report an outage: its clock runs from `detected_at`."""
    now = datetime.now(UTC)
    async with deps.database.begin() as connection:
        once = Once(connection, caller, key)
        before = await once.before(request, body)
        if before is not None:
            outage, status = await find_outage(connection, before), 200
        else:
            outage, status = await _report(deps, connection, caller, body, now), 201
            await once.made(outage.outage_id)
    if not outage.ended and not await _awake(deps, outage):
        status = 202
    return ExactJSONResponse(
        outage_view(deps, outage), status, headers={"Location": f"/api/v1/outages/{outage.outage_id}"}
    )


async def _report(
    deps: Deps, connection: AsyncConnection, caller: Caller, body: ReportOutage, now: datetime
) -> Outage:
    found = await site_and_operator(connection, body.site_name)
    site, operator = found or (None, None)
    wallets = {
        "operator_wallet": (body.operator_wallet, operator.wallet if operator else None),
        "noc_team_wallet": (body.noc_team_wallet, site.noc_team_wallet if site else None),
    }
    outage = await deps.outages.report(
        connection,
        site_name=body.site_name,
        severity=body.severity,
        detected_at=body.detected_at,
        by=caller.id,
        at=now,
        description=body.description,
        operator_id=operator.id if operator else None,
        wallets_named_by=caller.id if strange_wallets(body.site_name, wallets) else None,
        **{name: named or registered for name, (named, registered) in wallets.items()},
    )
    await record(connection, actor=caller.id, action="outage.report", subject=f"outage:{outage.outage_id}")
    return outage


async def _awake(deps: Deps, outage: Outage) -> bool:
    waking = deps.stories.outage_changed(
        outage.outage_id,
        summary=f"{outage.outage_id} · {outage.severity} · {outage.site_name}",
        severity=outage.severity,
        operator_id=outage.operator_id,
    )
    return await awake(waking, outage=outage.outage_id)


async def changed(deps: Deps, outage: Outage) -> Response:
    """Wake the story of a changed outage and answer: 200, or 202 where the sweeper will wake it."""
    woken = await _awake(deps, outage)
    return ExactJSONResponse(outage_view(deps, outage), 200 if woken else 202)


CHANGED: Final[dict[int | str, dict[str, Any]]] = {
    202: {"model": OutageView, "description": "It is recorded; the story goes on as soon as Temporal answers"},
    **may_answer("malformed_request", "body_too_large", "not_found", "conflict", "wrong_state"),
}


@router.put("/outages/{outage_id}", response_model=OutageView, responses=CHANGED)
async def change_outage(deps: Parts, caller: Writer, outage_id: OutageId, body: ChangeOutage) -> Response:
    """Acknowledge, resolve, dispute or cancel an outage, or correct its wallets; the same again is the same."""
    body.check()
    if body.status is None:
        return await _correct_wallets(deps, caller, outage_id, body)
    now = datetime.now(UTC)
    book = deps.outages
    async with deps.database.begin() as connection:
        match OutageStatus(body.status):
            case OutageStatus.ACKNOWLEDGED:
                outage = await book.acknowledge(connection, outage_id, by=caller.id, at=now)
            case OutageStatus.DISPUTED:
                outage = await book.dispute(connection, outage_id, by=caller.id, at=now, reason=body.reason)
            case OutageStatus.CANCELLED:
                outage = await book.cancel(connection, outage_id, by=caller.id, at=now)
            case _:
                outage = await book.resolve(
                    connection, outage_id, resolved_at=body.resolved_at or now, by=caller.id, at=now, rca=body.rca
                )
        details = {} if body.reason is None else {"reason": body.reason}
        await record(
            connection,
            actor=caller.id,
            action=f"outage.{body.status}",
            subject=f"outage:{outage_id}",
            details=details,
        )
    return await changed(deps, outage)


async def _correct_wallets(deps: Deps, caller: Caller, outage_id: str, body: ChangeOutage) -> Response:
    async with deps.database.begin() as connection:
        outage, before = await deps.outages.correct_wallets(
            connection,
            outage_id,
            by=caller.id,
            at=datetime.now(UTC),
            operator_wallet=body.operator_wallet,
            noc_team_wallet=body.noc_team_wallet,
        )
        if before:
            await record(
                connection,
                actor=caller.id,
                action="outage.correct_wallets",
                subject=f"outage:{outage_id}",
                details={"before": before, "now": {name: getattr(outage, name) for name in before}},
            )
    return await changed(deps, outage)


@router.get("/outages/{outage_id}", response_model=OutageView, responses=may_answer("not_found"))
async def read_outage(deps: Parts, _caller: Reader, outage_id: OutageId) -> Response:
    """Read one outage with its decision and payment."""
    async with deps.database.begin() as connection:
        return ExactJSONResponse(outage_view(deps, await find_outage(connection, outage_id)))


class OutageFilter(Body):
    """Which outages; pages are newest first."""

    status: OutageStatus | None = None
    severity: Severity | None = None
    site_name: Annotated[str, Field(max_length=120)] | None = None
    operator: Annotated[str, Field(max_length=63)] | None = None
    cursor: Annotated[str, Field(pattern=r"^[0-9]{1,18}$", description="`next` of the page before.")] | None = None
    limit: Annotated[int, Field(ge=1, le=200)] = 50


@router.get("/outages", response_model=OutagesView, responses=may_answer())
async def read_outages(deps: Parts, _caller: Reader, wanted: Annotated[OutageFilter, Query()]) -> Response:
    """List outages."""
    async with deps.database.begin() as connection:
        found = await list_outages(
            connection,
            status=wanted.status,
            severity=wanted.severity,
            site_name=wanted.site_name,
            operator_id=wanted.operator,
            before=None if wanted.cursor is None else int(wanted.cursor),
            limit=wanted.limit,
        )
    page = [outage_view(deps, outage) for outage in found]
    more = str(int(page[-1].id.removeprefix("OUT"))) if len(page) == wanted.limit else None
    return ExactJSONResponse(OutagesView(outages=page, next=more))


@sla_router.get(
    "/sla/status/{outage_id}",
    summary="Read SLA Status",
    response_model=SlaStatusView,
    responses=may_answer("not_found"),
)
async def read_sla_status(deps: Parts, _caller: Reader, outage_id: OutageId) -> Response:
    """How an outage stands against its SLA: the guide's fields, then ours."""
    async with deps.database.begin() as connection:
        outage = await find_outage(connection, outage_id)
    return ExactJSONResponse(sla_status_view(deps, outage, at=datetime.now(UTC)))


class RcaCheck(BaseModel):
    """Whether a text is the one whose hash is anchored on chain."""

    outage_id: str
    matches: bool
    text_sha256: str | None = Field(description="Of the text that was asked about; null where there is none.")
    anchored_sha256: str | None = Field(description="On chain; null where nothing is anchored yet.")
    tx_hash: str | None
    explorer_url: str | None


class RcaText(Body):
    """A text to compare."""

    rca: Annotated[Text, Field(min_length=1, max_length=100_000)]


async def _verify_rca(deps: Deps, outage_id: str, text_hash: str | None) -> Response:
    async with deps.database.begin() as connection:
        outage = await find_outage(connection, outage_id)
    asked = text_hash or outage.rca_hash
    anchored = await deps.ledger.anchored_rca(outage_id)
    return ExactJSONResponse(
        RcaCheck(
            outage_id=outage_id,
            matches=asked is not None and asked == anchored,
            text_sha256=asked,
            anchored_sha256=anchored,
            tx_hash=outage.tx_hash,
            explorer_url=deps.transaction_url(outage.tx_hash),
        )
    )


@router.get(
    "/outages/{outage_id}/rca/verify",
    summary="Verify RCA",
    response_model=RcaCheck,
    responses=may_answer("not_found"),
)
async def verify_rca(
    deps: Parts,
    _caller: Reader,
    outage_id: OutageId,
    text: Annotated[
        str | None, Query(max_length=4000, description="The text; without it the recorded one.")
    ] = None,
    sha256: Annotated[str | None, Query(pattern="^[0-9a-f]{64}$", description="Or its hash.")] = None,
) -> Response:
    """Does this text, or the recorded one, match what is anchored on chain? Long texts: POST."""
    return await _verify_rca(
        deps, outage_id, sha256 if text is None else hashlib.sha256(text.encode()).hexdigest()
    )


@router.post(
    "/outages/{outage_id}/rca/verify",
    summary="Verify RCA Text",
    response_model=RcaCheck,
    responses=may_answer("not_found", "malformed_request", "body_too_large"),
)
async def verify_rca_text(deps: Parts, _caller: Reader, outage_id: OutageId, body: RcaText) -> Response:
    """Does this text match what is anchored on chain?"""
    return await _verify_rca(deps, outage_id, hashlib.sha256(body.rca.encode()).hexdigest())
