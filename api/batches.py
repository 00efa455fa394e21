"""Batches over HTTP, once they are sent: read, reported row by row, approved, paused and cancelled."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Path, Query
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.responses import Response, StreamingResponse

from adapters.database.audit import record
from adapters.database.batch_report import read_rows
from adapters.database.batch_rows import find_batch, with_awaited
from adapters.database.batches import BatchBook, list_batches
from api.access import needs
from api.batch_views import (
    BatchesView,
    BatchView,
    BatchWhyView,
    OpenCallView,
    RowsView,
    RowView,
    batch_view,
    row_view,
)
from api.deps import Deps, Parts, batches_of
from api.exact import ExactJSONResponse
from api.fields import Body
from api.problems import may_answer
from api.tables import plain_cell
from api.waking import awake
from domain.batch import (
    BATCH_ID_PATTERN,
    Batch,
    BatchStatus,
    RowStatus,
)
from domain.people import Caller, Scope

router: Final = APIRouter(prefix="/api/v1/batches", tags=["batches"])
Reader = Annotated[Caller, Depends(needs(Scope.PAYOUTS_READ))]
Approver = Annotated[Caller, Depends(needs(Scope.PAYMENTS_APPROVE))]
Controller = Annotated[Caller, Depends(needs(Scope.PAYMENTS_CONTROL))]
BatchId = Annotated[str, Path(pattern=BATCH_ID_PATTERN, examples=["bat0123456789abcdef"])]
_BOOK: Final = BatchBook()
_REPORT_PAGE: Final = 1_000
_CALLS_SHOWN_MAX: Final = 20


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
        await audit_batch(connection, caller, "batch.approve", batch_id)
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
        await audit_batch(connection, caller, f"batch.{action}", batch_id)
    return await _changed(deps, batch)


async def _changed(deps: Deps, batch: Batch) -> Response:
    woken = await awake_batch(deps, batch.batch_id)
    return ExactJSONResponse(batch_view(batch), 200 if woken else 202)


async def awake_batch(deps: Deps, batch_id: str) -> bool:
    """Begin or wake its story; False where Temporal does not answer, and the sweeper will."""
    return await awake(batches_of(deps).stories.batch_changed(batch_id), batch=batch_id)


async def audit_batch(
    connection: AsyncConnection,
    caller: Caller,
    action: str,
    batch_id: str,
    details: dict[str, str] | None = None,
) -> None:
    """Write down who did what with a batch."""
    await record(connection, actor=caller.id, action=action, subject=f"batch:{batch_id}", details=details or {})
