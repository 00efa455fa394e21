"""What the API answers about batches."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from pydantic import BaseModel, Field

from api.deps import Deps
from api.exact import MoneyNumber, money
from domain.batch import Batch, BatchCounts, BatchStatus, OnBadRows, RowReport, RowStatus
from domain.batch_file import BadRow
from domain.money import ONE, Amount
from domain.settlement import SettlementStatus, SigningMode


class BadRowView(BaseModel):
    """One thing that is not right in one row."""

    line: int = Field(description="Of the CSV file, the first is its header; of JSON, the row's number from 1.")
    field: str = Field(description="The file's own name of the column or field.")
    message: str = Field(description="What is not right, or what would be. What stood there is not repeated.")
    reference: str | None = None


def bad_row_views(rows: tuple[BadRow, ...]) -> list[BadRowView]:
    """Show bad rows, one entry a fault."""
    return [
        BadRowView(line=row.line, field=fault.field, message=fault.message, reference=row.reference)
        for row in rows
        for fault in row.faults
    ]


class BatchCheckView(BaseModel):
    """What a payment file comes to; nothing was recorded."""

    rows: int
    bad: int
    amount: MoneyNumber = Field(description="The sum of the rows that are not bad.")
    asset: str
    calls: int | None = Field(description="Contract calls that it takes; null where the ledger was not asked.")
    bad_rows: list[BadRowView] = Field(description="The first of them.")
    sent_before: str | None = Field(description="The batch that was sent with this Idempotency-Key; else null.")


class BatchView(BaseModel):
    """A batch and how far it is."""

    id: str
    name: str
    status: BatchStatus
    sentence: str = Field(description="What it waits for, or how it ended.")
    asset: str
    token: str = Field(description="The contract that moves the asset.")
    amount: MoneyNumber = Field(description="The sum of the rows that are not bad.")
    paid_amount: MoneyNumber
    counts: BatchCounts
    calls: int = Field(description="Contract calls into which its rows are put.")
    on_bad_rows: OnBadRows
    signing: SigningMode = Field(description="What is signed of each call.")
    signer: str | None = Field(description="As asked for; null: as PAYOUT_SIGNER says.")
    awaiting_signature: int = Field(
        description="How many of its calls wait for a signature; counted where one batch is read, else 0."
    )
    bad_rows: list[BadRowView] = Field(
        default_factory=list,
        description="With the answer to its upload: the first of them. All are in the report.",
    )
    reason_code: str | None = Field(default=None, description="Of a stopped batch: a code of docs/errors.md.")
    reason: str | None = None
    reason_details: dict[str, str] = Field(default_factory=dict)
    needs_approval: bool
    created_at: datetime
    created_by: str
    approved_at: datetime | None = None
    approved_by: str | None = None
    changed_at: datetime
    ended_at: datetime | None = None
    report: str = Field(description="Where its report is, as CSV.")


_SENTENCES = {
    BatchStatus.AWAITING_APPROVAL: "It waits until another person than the one who sent it approves it.",
    BatchStatus.RUNNING: "It is being paid.",
    BatchStatus.PAUSED: "It is paused: nothing more is sent until it is resumed.",
    BatchStatus.STOPPED: "It has stopped: mend the reason, then resume it.",
    BatchStatus.CANCELLING: "What is unsent is being withdrawn; what was sent is followed to its end.",
    BatchStatus.COMPLETED: "It is over: each row is paid, or proved not paid.",
    BatchStatus.CANCELLED: "It was cancelled: what had been sent is paid, the rest never will be.",
}


def batch_view(batch: Batch, bad_rows: tuple[BadRow, ...] = ()) -> BatchView:
    """Show one batch."""
    fields = {name: getattr(batch, name) for name in BatchView.model_fields if name in Batch.model_fields}
    sentence = _SENTENCES[batch.status]
    if batch.reason is not None and batch.status is BatchStatus.STOPPED:
        sentence = f"It has stopped ({batch.reason}): mend that, then resume it."
    if batch.awaiting_signature:
        calls = "1 call waits" if batch.awaiting_signature == 1 else f"{batch.awaiting_signature} calls wait"
        sentence += (
            f" {calls} for a signature: GET /api/v1/signing-requests?batch={batch.batch_id}, `holdfast sign`."
        )
    return BatchView(
        **fields
        | {
            "id": batch.batch_id,
            "sentence": sentence,
            "amount": sum_of(batch.amount_units),
            "paid_amount": sum_of(batch.paid_units),
            "calls": batch.chunks,
            "bad_rows": bad_row_views(bad_rows),
            "report": f"/api/v1/batches/{batch.batch_id}/report.csv",
        }
    )


def sum_of(units: int) -> Decimal:
    """A sum of amounts, which may be beyond what one balance can hold."""
    whole, fraction = divmod(units, ONE)
    return Decimal(whole) + money(Amount(fraction)) if fraction else Decimal(whole).quantize(Decimal("0.01"))


class OpenCallView(BaseModel):
    """A contract call that is with the engine, and what it waits for."""

    settlement_id: str
    settlement_status: SettlementStatus
    sentence: str
    since: datetime
    tx_hash: str | None


class BatchWhyView(BaseModel):
    """What a batch waits for."""

    id: str
    status: BatchStatus
    sentence: str
    reason_code: str | None
    awaiting_signature: int = Field(description="How many of its calls wait for a signature.")
    calls: list[OpenCallView] = Field(description="What is with the engine now, oldest first; at most 20.")


class BatchesView(BaseModel):
    """A page of batches, newest first."""

    batches: list[BatchView]
    next: str | None = Field(
        default=None, description="Pass it as `cursor` for the next page; null on the last one."
    )


class RowView(BaseModel):
    """What became of one row."""

    row: int
    line: int
    status: RowStatus
    destination: str | None = Field(description="Null for a bad row: what stood there is not repeated.")
    amount: MoneyNumber | None
    reference: str | None
    field: str | None = Field(default=None, description="Of a bad row: where the first fault is.")
    reason_code: str | None = None
    reason: str | None = None
    tx_hash: str | None = None
    ledger: int | None = None
    closed_at: datetime | None = None
    explorer_url: str | None = None
    settlement_id: str | None = Field(default=None, description="The contract call that it is part of.")


def row_view(deps: Deps, row: RowReport) -> RowView:
    """Show one row."""
    fields = {name: getattr(row, name) for name in RowView.model_fields if name in RowReport.model_fields}
    return RowView(
        **fields
        | {
            "amount": None if row.amount_units is None else money(Amount(row.amount_units)),
            "explorer_url": deps.transaction_url(row.tx_hash),
        }
    )


class RowsView(BaseModel):
    """A page of rows, in the order of the file."""

    rows: list[RowView]
    next: str | None = Field(
        default=None, description="Pass it as `cursor` for the next page; null on the last one."
    )
