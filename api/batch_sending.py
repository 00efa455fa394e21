"""Batches over HTTP, sent: a payment file is checked whole before anything is paid, and accepted once."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Final, get_args

from fastapi import APIRouter, Depends, Query, Request
from pydantic import Field, SerializerFunctionWrapHandler, model_serializer
from starlette.responses import Response

from adapters.database.batch_rows import find_batch
from adapters.database.batches import BatchBook, NewBatch
from api.access import needs
from api.batch_upload import FileKind, SignerName, Upload, uploaded
from api.batch_views import (
    BatchCheckView,
    BatchView,
    bad_row_views,
    batch_view,
    sum_of,
)
from api.batches import audit_batch, awake_batch
from api.deps import Batches, Deps, Parts, batches_of
from api.exact import ExactJSONResponse
from api.fields import Body
from api.once import IdempotencyKey, Once
from api.problems import FieldError, may_answer, problem
from domain.batch import (
    Cutter,
    OnBadRows,
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
Writer = Annotated[Caller, Depends(needs(Scope.PAYOUTS_WRITE))]
_BOOK: Final = BatchBook()
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
    batches = batches_of(deps)
    terms = deps.payouts.configured()
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
                await audit_batch(connection, caller, "batch.send", batch_id, details)
                await once.made(batch_id)
    if not batch.ended and not await awake_batch(deps, batch_id):
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
    batches = batches_of(deps)
    terms = deps.payouts.configured()
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
