"""Reconciling payments: what the ledger says was paid beside what the record says. Pure, both ways."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from domain.money import ONE
from domain.settlement import MarkerState, SettlementStatus


class LedgerPayment(BaseModel):
    """A payment as one of our contracts told it in an event."""

    model_config = ConfigDict(frozen=True)

    marker_id: str
    contract: str
    token: str
    amount_units: int
    tx_hash: str
    ledger: int
    closed_at: datetime


class RecordedPayment(BaseModel):
    """A settlement as the record has it; of a confirmed one, `amount_units` is what it says was moved."""

    model_config = ConfigDict(frozen=True)

    settlement_id: str
    marker_id: str
    contract: str
    token: str
    status: SettlementStatus
    amount_units: int
    tx_hash: str | None
    ledger: int | None


class DifferenceKind(StrEnum):
    """In what the ledger and the record differ."""

    ONLY_ON_LEDGER = "only_on_ledger"
    """It was paid, and the record does not say so."""
    ONLY_IN_RECORD = "only_in_record"
    """The record says that it was paid, and the ledger has neither event nor marker."""
    AMOUNT = "amount"
    """Both have it, with different amounts or tokens."""
    PAID_TWICE = "paid_twice"
    """One id was paid more than once: by two contracts, since one contract never does."""


_K = DifferenceKind


class Difference(BaseModel):
    """One payment in which they differ; what is null is not there."""

    model_config = ConfigDict(frozen=True)

    kind: DifferenceKind
    sentence: str
    marker_id: str
    settlement_id: str | None = None
    status: SettlementStatus | None = Field(default=None, description="The settlement's, in the record.")
    contract: str
    token: str
    ledger_units: int | None = None
    record_units: int | None = None
    tx_hash: str | None = None
    ledger: int | None = None


class Reconciliation(BaseModel):
    """What was compared, and every difference that was found.

    Events are read from `first_ledger`, the oldest that the RPC keeps, to `last_ledger`. What was paid before is
    known by its marker alone: that it was paid, and of a payout how much, but not what the record lacks.
    """

    model_config = ConfigDict(frozen=True)

    contracts: tuple[str, ...]
    first_ledger: int
    first_closed_at: datetime
    last_ledger: int
    last_closed_at: datetime
    on_ledger: int
    in_record: int
    by_marker: int
    under_way: int
    differences: tuple[Difference, ...]

    @property
    def same(self) -> bool:
        """Whether both say the same."""
        return not self.differences


def compare_paid(
    paid: LedgerPayment, record: RecordedPayment | None, before: LedgerPayment | None = None
) -> Difference | None:
    """Hold one payment of the ledger against the record; `before` is an earlier payment under the same id.

    One that is being sent is no difference: its own proof ends it within ledgers. See `under_way`.
    """
    if before is not None:
        return _of_ledger(
            _K.PAID_TWICE,
            paid,
            record,
            f"it was paid before, by {before.contract} in ledger {before.ledger} (transaction {before.tx_hash})",
        )
    if record is None:
        return _of_ledger(_K.ONLY_ON_LEDGER, paid, None, "it was paid, and the record does not know it")
    if record.status is not SettlementStatus.CONFIRMED:
        if under_way(record):
            return None
        return _of_ledger(
            _K.ONLY_ON_LEDGER, paid, record, f"it was paid, and the record has it as {record.status}"
        )
    if (paid.amount_units, paid.token) != (record.amount_units, record.token):
        token = "" if paid.token == record.token else f" of {paid.token}, not of {record.token}"
        return _of_ledger(
            _K.AMOUNT,
            paid,
            record,
            f"{units(paid.amount_units)} was paid, and the record says {units(record.amount_units)}{token}",
        )
    return None


def under_way(record: RecordedPayment) -> bool:
    """Whether bytes that pay it are out, so that ledger and record may stand apart for a moment."""
    return record.status is SettlementStatus.QUEUED or record.status.in_flight


def compare_unseen(
    record: RecordedPayment, marker: MarkerState, moved_units: int | None = None
) -> Difference | None:
    """Hold a confirmed settlement without an event against its marker, which outlives all events.

    `moved_units` is what the marker says was moved; None where it does not say.
    """
    if marker is MarkerState.PAID:
        if moved_units is None or moved_units == record.amount_units:
            return None
        kind = _K.AMOUNT
        sentence = f"{units(moved_units)} was paid, and the record says {units(record.amount_units)}"
    else:
        kind = _K.ONLY_IN_RECORD
        there = "its id was voided" if marker is MarkerState.VOID else "the contract has no marker of it"
        sentence = f"the record says that it was paid, and {there}"
    return Difference(
        kind=kind,
        sentence=sentence,
        marker_id=record.marker_id,
        settlement_id=record.settlement_id,
        status=record.status,
        contract=record.contract,
        token=record.token,
        ledger_units=moved_units,
        record_units=record.amount_units,
        tx_hash=record.tx_hash,
        ledger=record.ledger,
    )


def units(amount_units: int) -> str:
    """An amount for people, however great: a contract's has 128 bits."""
    return f"{amount_units // ONE:,}.{amount_units % ONE:07d}"


def tally(differences: Sequence[Difference]) -> dict[str, int]:
    """How many of each kind there are."""
    found: dict[str, int] = {}
    for difference in differences:
        found[difference.kind] = found.get(difference.kind, 0) + 1
    return found


def _of_ledger(
    kind: DifferenceKind, paid: LedgerPayment, record: RecordedPayment | None, sentence: str
) -> Difference:
    return Difference(
        kind=kind,
        sentence=sentence,
        marker_id=paid.marker_id,
        settlement_id=None if record is None else record.settlement_id,
        status=None if record is None else record.status,
        contract=paid.contract,
        token=paid.token,
        ledger_units=paid.amount_units,
        record_units=None if record is None else record.amount_units,
        tx_hash=paid.tx_hash,
        ledger=paid.ledger,
    )
