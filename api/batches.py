"""Batches over HTTP: a payment file sent whole, checked whole, paid row by row, and reported row by row."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Final, get_args

from fastapi import APIRouter, Depends, Path, Query, Request
from pydantic import Field, SerializerFunctionWrapHandler, model_serializer
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.responses import Response, StreamingResponse

from adapters.database.audit import record
from adapters.database.batch_report import read_rows
from adapters.database.batch_rows import find_batch, with_awaited
from adapters.database.batches import BatchBook, NewBatch, list_batches
from api.access import needs
from api.batch_upload import FileKind, SignerName, Upload, uploaded
from api.batch_views import (
    BatchCheckView,
    BatchesView,
    BatchView,
    BatchWhyView,
    OpenCallView,
    RowsView,
    RowView,
    bad_row_views,
    batch_view,
    row_view,
    sum_of,
)
from api.deps import Batches, Deps, Parts
from api.exact import ExactJSONResponse
from api.fields import Body
from api.once import IdempotencyKey, Once
from api.problems import FieldError, may_answer, problem
from api.tables import plain_cell
from api.waking import awake
from domain.batch import (
    BATCH_ID_PATTERN,
    Batch,
    BatchStatus,
    Cutter,
    OnBadRows,
    RowStatus,
    batch_id_of,
    signing_of,
)
from domain.batch_file import ROWS_MAX, Row, judge
from domain.errors import InvalidInput, NotFound, Refused, Unavailable
from domain.payout import PayoutMode, PayoutTerms
from domain.payout_policy import needs_four_eyes
from domain.payout_request import KEY_RIGHT
from domain.people import Caller, Scope
from domain.settlement import SigningMode

router: Final = APIRouter(prefix="/api/v1/batches", tags=["batches"])
Reader = Annotated[Caller, Depends(needs(Scope.PAYOUTS_READ))]
Writer = Annotated[Caller, Depends(needs(Scope.PAYOUTS_WRITE))]
Approver = Annotated[Caller, Depends(needs(Scope.PAYMENTS_APPROVE))]
Controller = Annotated[Caller, Depends(needs(Scope.PAYMENTS_CONTROL))]
BatchId = Annotated[str, Path(pattern=BATCH_ID_PATTERN, examples=["bat0123456789abcdef"])]
_BOOK: Final = BatchBook()
_REPORT_PAGE: Final = 1_000
_CALLS_SHOWN_MAX: Final = 20
UPLOADS: Final = (("POST", router.prefix), ("POST", f"{router.prefix}/check"))
"""What takes a payment file, under a limit of its own."""


class CsvOptions(Body):
    """Of a CSV file, what holds for the whole batch; of JSON, members beside `rows` say it."""

    asset: Annotated[str, Field(max_length=69)] | None = None
    name: Annotated[str, Field(max_length=120)] | None = None
    on_bad_rows: OnBadRows | None = None
    signer: SignerName | None = None
    signing: SigningMode | None = None

    def given(self) -> dict[str, Any]:
        """What was sent."""
        return self.model_dump(exclude_none=True)


Options = Annotated[CsvOptions, Query()]

_FIELDS: Final = {
    "destination": {"type": "string", "description": "G…, M… or C…; also `destination_account`, `walletAddress`."},
    "amount": {"type": "string", "description": "A plain decimal number with at most 7 decimals."},
    "reference": {
        "type": "string",
        "maxLength": 64,
        "description": "Needed, and different, where a destination is paid twice; also `paymentID`.",
    },
    "memo": {"type": "string", "description": "A number: the muxed account is paid; also `walletAddressMemo`."},
}
_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            FileKind.JSON: {
                "schema": {
                    "type": "object",
                    "required": ["asset", "rows"],
                    "properties": {
                        "asset": {"type": "string"},
                        "name": {"type": "string"},
                        "on_bad_rows": {"type": "string", "enum": list(OnBadRows)},
                        "signer": {"type": "string", "enum": list(get_args(SignerName))},
                        "signing": {"type": "string", "enum": list(SigningMode)},
                        "rows": {
                            "type": "array",
                            "maxItems": ROWS_MAX,
                            "items": {
                                "type": "object",
                                "required": ["destination", "amount"],
                                "properties": _FIELDS,
                            },
                        },
                    },
                }
            },
            FileKind.CSV: {
                "schema": {
                    "type": "string",
                    "description": "A header and a row a payment: destination, amount, reference?, memo?, asset?; "
                    "or the columns of a Stellar Disbursement Platform payment file.",
                }
            },
        },
    }
}


@router.post(
    "",
    status_code=201,
    response_model=BatchView,
    responses={
        200: {"model": BatchView, "description": "It was sent before, with this Idempotency-Key"},
        202: {"model": BatchView, "description": "It is recorded; its story starts as soon as Temporal answers"},
        **may_answer(
            "malformed_request",
            "body_too_large",
            "bad_rows",
            "idempotency_conflict",
            "asset_not_allowed",
            "contract_missing",
            "live_execution_off",
            "ledger_unavailable",
        ),
    },
    openapi_extra=_BODY,
)
async def send_batch(
    request: Request, deps: Parts, caller: Writer, csv_options: Options, key: IdempotencyKey = None
) -> Response:
    """Pay many. The whole file is checked before anything is paid; each bad row is reported and never paid.

    `Idempotency-Key` is needed: the same key and file again is the same batch.
    """
    batches = _configured(deps)
    terms = _terms(deps)
    if key is None:
        raise InvalidInput("Idempotency-Key is needed", **{"Idempotency-Key": f"a header: {KEY_RIGHT}"})
    now = datetime.now(UTC)
    batch_id = batch_id_of(terms.deployment, caller.id, key)
    known = await _is_known_or_may_begin(deps, terms, batch_id)
    async with _upload(request, deps, batches, csv_options) as upload:
        refused = _refused(request, upload)
        if refused is not None:
            return refused
        new = None if known else await _new(batches, terms, batch_id, upload)
        async with deps.database.begin() as connection:
            once = Once(connection, caller, key)
            if await once.before(request, _Claim.of(upload)) is not None:
                batch, status = await find_batch(connection, batch_id), 200
            elif new is None:
                raise Unavailable("the same batch is being recorded right now")
            else:
                rows = judge(upload.rows(), upload.verdicts.late)
                batch, status = await _BOOK.accept(connection, new, rows, by=caller.id, at=now), 201
                details = {"rows": str(batch.counts.rows), "sha256": upload.digest}
                await _audit(connection, caller, "batch.send", batch_id, details)
                await once.made(batch_id)
    if not batch.ended and not await _awake(deps, batch_id):
        status = 202
    return ExactJSONResponse(
        batch_view(batch, upload.verdicts.first_bad),
        status,
        headers={"Location": f"/api/v1/batches/{batch_id}"},
    )


class _Claim(Body):
    """What a repeated request is held against."""

    asset: str
    name: str
    on_bad_rows: OnBadRows
    signer: str | None
    signing: SigningMode | None
    rows_sha256: str

    @classmethod
    def of(cls, upload: Upload) -> _Claim:
        options = upload.options
        return cls(
            asset=options.asset,
            name=options.name,
            on_bad_rows=options.on_bad_rows,
            signer=options.signer,
            signing=options.signing,
            rows_sha256=upload.digest,
        )

    @model_serializer(mode="wrap")
    def _said(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without what was not said: so claims read that were made before it could be."""
        return {name: value for name, value in serialize(self).items() if value is not None}


def _upload(request: Request, deps: Deps, batches: Batches, csv_options: CsvOptions) -> Any:
    return uploaded(
        request,
        csv_options.given(),
        network_passphrase=deps.payouts.network_passphrase,
        blocked=batches.policy.policy.blocked,
    )


def _configured(deps: Deps) -> Batches:
    if deps.batches is None:
        raise Refused("batches are not configured here", code="contract_missing")
    return deps.batches


def _terms(deps: Deps) -> PayoutTerms:
    """On which terms batches are paid, before one names its signer.

    Raises:
        Refused: `contract_missing`.
    """
    terms = deps.payouts.terms
    if terms is None:
        raise Refused(
            "payouts are not configured here: PAYOUT_CONTRACT_ID (or PAYOUT_SOURCE_ACCOUNT) is not set",
            code="contract_missing",
        )
    return terms


async def _is_known_or_may_begin(deps: Deps, terms: PayoutTerms, batch_id: str | None) -> bool:
    """Whether the batch is there: what was accepted once is found, whatever the settings say by now.

    Raises:
        Refused: `live_execution_off`, where it would have to begin.
    """
    known = batch_id is not None and await _is_known(deps, batch_id)
    if not known and terms.mode is PayoutMode.BUILD_ONLY:
        raise Refused("a batch is paid or not sent at all: nothing is built only", code="live_execution_off")
    return known


def _refused(request: Request, upload: Upload) -> Response | None:
    """Nothing is accepted: no row is good, or one is bad and that was not to be."""
    verdicts = upload.verdicts
    if verdicts.good and not (verdicts.bad and upload.options.on_bad_rows is OnBadRows.REFUSE):
        return None
    named = f"{verdicts.bad} of {verdicts.rows} rows are bad" if verdicts.rows else "there are no rows"
    return problem(
        request,
        "bad_rows",
        f"{named}: nothing was accepted",
        errors=[
            FieldError(field=f"line {one.line}: {one.field}", message=one.message)
            for one in bad_row_views(verdicts.first_bad)
        ],
        details={"rows": str(verdicts.rows), "bad": str(verdicts.bad)},
    )


async def _is_known(deps: Deps, batch_id: str) -> bool:
    async with deps.database.look() as connection:
        try:
            await find_batch(connection, batch_id)
        except NotFound:
            return False
    return True


async def _new(batches: Batches, terms: PayoutTerms, batch_id: str, upload: Upload) -> NewBatch:
    policy, options = batches.policy, upload.options
    terms = terms.signed_by(options.signer)
    if policy.policy.assets and upload.token not in policy.policy.assets:
        raise Refused(
            f"the asset {upload.options.asset} is not allowed", code="asset_not_allowed", asset=upload.token
        )
    return NewBatch(
        batch_id=batch_id,
        name=upload.options.name,
        asset=upload.options.asset,
        token=upload.token,
        signing=signing_of(terms, options.signing),
        signer=options.signer,
        on_bad_rows=upload.options.on_bad_rows,
        verdicts=upload.verdicts,
        limits=await batches.limits.read(upload.token, reader=terms.payer),
        needs_approval=needs_four_eyes(upload.verdicts.total_units, above=policy.four_eyes_above),
    )


@router.post(
    "/check",
    response_model=BatchCheckView,
    responses=may_answer(
        "malformed_request",
        "body_too_large",
        "contract_missing",
        "asset_not_allowed",
        "live_execution_off",
        "ledger_unavailable",
    ),
    openapi_extra=_BODY,
)
async def check_batch(
    request: Request, deps: Parts, caller: Writer, csv_options: Options, key: IdempotencyKey = None
) -> Response:
    """Say what a file comes to: its bad rows, its sum, and how many calls it takes. Nothing is recorded.

    With the `Idempotency-Key` that it will be sent with it says also whether it was sent before.
    """
    batches = _configured(deps)
    terms = _terms(deps)
    batch_id = None if key is None else batch_id_of(terms.deployment, caller.id, key)
    known = await _is_known_or_may_begin(deps, terms, batch_id)
    async with _upload(request, deps, batches, csv_options) as upload:
        terms = terms.signed_by(upload.options.signer)
        limits = await batches.limits.read(upload.token, reader=terms.payer)
        cutter = Cutter(limits)
        for row in judge(upload.rows(), upload.verdicts.late):
            if isinstance(row, Row):
                cutter.place(row.destination, row.amount.units)
    return ExactJSONResponse(
        BatchCheckView(
            rows=upload.verdicts.rows,
            bad=upload.verdicts.bad,
            amount=sum_of(upload.verdicts.total_units),
            asset=upload.options.asset,
            calls=cutter.number,
            bad_rows=bad_row_views(upload.verdicts.first_bad),
            sent_before=batch_id if known else None,
        )
    )


class BatchFilter(Body):
    """Which batches; pages are newest first."""

    status: BatchStatus | None = None
    cursor: Annotated[str, Field(pattern=r"^[0-9]{1,18}$", description="`next` of the page before.")] | None = None
    limit: Annotated[int, Field(ge=1, le=200)] = 50


@router.get("", response_model=BatchesView, responses=may_answer())
async def read_batches(deps: Parts, _caller: Reader, wanted: Annotated[BatchFilter, Query()]) -> Response:
    """List batches."""
    async with deps.database.look() as connection:
        found = await list_batches(
            connection,
            status=wanted.status,
            before=None if wanted.cursor is None else int(wanted.cursor),
            limit=wanted.limit,
        )
    more = str(found[-1].number) if len(found) == wanted.limit else None
    return ExactJSONResponse(BatchesView(batches=[batch_view(batch) for batch in found], next=more))


@router.get("/{batch_id}", response_model=BatchView, responses=may_answer("not_found"))
async def read_batch(deps: Parts, _caller: Reader, batch_id: BatchId) -> Response:
    """How far a batch is."""
    async with deps.database.look() as connection:
        return ExactJSONResponse(
            batch_view(await with_awaited(connection, await find_batch(connection, batch_id)))
        )


@router.get("/{batch_id}/why", response_model=BatchWhyView, responses=may_answer("not_found"))
async def read_batch_why(deps: Parts, _caller: Reader, batch_id: BatchId) -> Response:
    """What a batch waits for, and each of its calls that is with the engine. Answers with every worker down."""
    async with deps.database.look() as connection:
        batch = await with_awaited(connection, await find_batch(connection, batch_id))
    calls = [await deps.book.why(settlement_id) for settlement_id in batch.open[:_CALLS_SHOWN_MAX]]
    return ExactJSONResponse(
        BatchWhyView(
            id=batch_id,
            status=batch.status,
            sentence=batch_view(batch).sentence,
            reason_code=batch.reason_code,
            awaiting_signature=batch.awaiting_signature,
            calls=[
                OpenCallView(
                    settlement_id=call.facts.settlement_id,
                    settlement_status=call.status,
                    sentence=call.sentence,
                    since=call.since,
                    tx_hash=call.facts.tx_hash,
                )
                for call in calls
            ],
        )
    )


class RowFilter(Body):
    """Which rows; pages are in the order of the file."""

    status: RowStatus | None = None
    cursor: Annotated[str, Field(pattern=r"^[0-9]{1,9}$", description="`next` of the page before.")] | None = None
    limit: Annotated[int, Field(ge=1, le=1000)] = 200


@router.get("/{batch_id}/rows", response_model=RowsView, responses=may_answer("not_found"))
async def read_batch_rows(
    deps: Parts, _caller: Reader, batch_id: BatchId, wanted: Annotated[RowFilter, Query()]
) -> Response:
    """What became of each row."""
    async with deps.database.look() as connection:
        batch = await find_batch(connection, batch_id)
        found = await read_rows(
            connection,
            batch.number,
            status=wanted.status,
            after=0 if wanted.cursor is None else int(wanted.cursor),
            limit=wanted.limit,
        )
    more = str(found[-1].row) if len(found) == wanted.limit else None
    return ExactJSONResponse(RowsView(rows=[row_view(deps, row) for row in found], next=more))


_COLUMNS: Final = tuple(RowView.model_fields)


@router.get(
    "/{batch_id}/report.csv",
    response_class=Response,
    responses={
        200: {"content": {"text/csv": {"schema": {"type": "string"}}}, "description": "One line a row"},
        **may_answer("not_found"),
    },
)
async def read_report(
    deps: Parts, _caller: Reader, batch_id: BatchId, status: Annotated[RowStatus | None, Query()] = None
) -> Response:
    """What became of each row, as CSV in the order of the file; it is written while it is read."""
    async with deps.database.look() as connection:
        batch = await find_batch(connection, batch_id)
    return StreamingResponse(
        _report(deps, batch, status),
        media_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{batch_id}.csv"'},
    )


async def _report(deps: Deps, batch: Batch, status: RowStatus | None) -> AsyncIterator[str]:
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\r\n")
    rows.writerow(_COLUMNS)
    after = 0
    while True:
        async with deps.database.look() as connection:
            page = await read_rows(connection, batch.number, status=status, after=after, limit=_REPORT_PAGE)
        for row in page:
            view = row_view(deps, row)
            rows.writerow(_cell(getattr(view, name)) for name in _COLUMNS)
        yield text.getvalue()
        text.seek(0)
        text.truncate()
        if len(page) < _REPORT_PAGE:
            return
        after = page[-1].row


def _cell(value: Any) -> str:
    return plain_cell(value.astimezone(UTC).isoformat() if isinstance(value, datetime) else value)


class BatchAction(StrEnum):
    """What may be asked of a batch; each is audited."""

    PAUSE = "pause"
    RESUME = "resume"
    CANCEL = "cancel"
    RETRY = "retry"


_CHANGED: Final[dict[int | str, dict[str, Any]]] = {
    202: {"model": BatchView, "description": "It is recorded; the story goes on as soon as Temporal answers"},
    **may_answer("not_found", "wrong_state"),
}


@router.post(
    "/{batch_id}/approve",
    response_model=BatchView,
    responses={**_CHANGED, **may_answer("four_eyes", "wrong_state")},
)
async def approve_batch(deps: Parts, caller: Approver, batch_id: BatchId) -> Response:
    """Agree to a batch above the four-eyes limit. Who sent it may not (`four_eyes`)."""
    async with deps.database.begin() as connection:
        batch = await _BOOK.approve(connection, batch_id, by=caller.id, at=datetime.now(UTC))
        await _audit(connection, caller, "batch.approve", batch_id)
    return await _changed(deps, batch)


@router.post("/{batch_id}/{action}", response_model=BatchView, responses=_CHANGED)
async def act(deps: Parts, caller: Controller, batch_id: BatchId, action: BatchAction) -> Response:
    """Pause, resume or cancel what is unsent, or pay the failed rows of a completed batch again.

    What was sent is followed to its end in any case. `resume` also lets a stopped batch go on, once its reason is
    mended. A row is paid again only where it is proved not paid.
    """
    now = datetime.now(UTC)
    async with deps.database.begin() as connection:
        command = {
            BatchAction.PAUSE: _BOOK.pause,
            BatchAction.RESUME: _BOOK.resume,
            BatchAction.CANCEL: _BOOK.cancel,
            BatchAction.RETRY: _BOOK.retry,
        }[action]
        batch = await command(connection, batch_id, by=caller.id, at=now)
        await _audit(connection, caller, f"batch.{action}", batch_id)
    return await _changed(deps, batch)


async def _changed(deps: Deps, batch: Batch) -> Response:
    woken = await _awake(deps, batch.batch_id)
    return ExactJSONResponse(batch_view(batch), 200 if woken else 202)


async def _awake(deps: Deps, batch_id: str) -> bool:
    return await awake(_configured(deps).stories.batch_changed(batch_id), batch=batch_id)


async def _audit(
    connection: AsyncConnection,
    caller: Caller,
    action: str,
    batch_id: str,
    details: dict[str, str] | None = None,
) -> None:
    await record(connection, actor=caller.id, action=action, subject=f"batch:{batch_id}", details=details or {})
