"""A batch: many payments of one asset, put into few contract calls. All of it is pure.

A batch is cut into chunks when it is accepted, and a chunk is one settlement: its id says which rows it pays, so
that a batch whose record was lost is cut the same way and pays nothing twice. A row stays in its chunk until the
chunk's settlement is proved failed; only then do its rows go into other chunks, whose ids derive from it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from domain.errors import Conflict, Forbidden
from domain.money import AMOUNT_MAX, Amount
from domain.payout import PayoutMode, PayoutTerms
from domain.settlement import Argument, Intent, Invocation, SettlementOutcome, SigningMode, marker_id

BATCH_ID_PATTERN: Final = r"^bat[0-9a-f]{16}$"
_ROW_KEY: Final = re.compile(r"r[0-9]+\.(?P<attempt>[0-9]+)")
CHUNK_TRIES_MAX: Final = 3
"""So often the same chunk is tried after failures that may pass, before it is taken apart."""
REQUESTS_AT_ONCE_MAX: Final = 2_000
"""So many calls of a batch ask for authorization entries at once; none of them holds a lane while it waits."""


class BatchStatus(StrEnum):
    """Where a batch stands."""

    AWAITING_APPROVAL = "awaiting_approval"
    """Above the four-eyes limit: another person than the one who sent it has to agree."""
    RUNNING = "running"
    PAUSED = "paused"
    """Nothing more is sent; what was sent is followed to its end."""
    STOPPED = "stopped"
    """Something stands against every payment of it: a person mends that, then resumes."""
    CANCELLING = "cancelling"
    """What is unsent is withdrawn; what was sent is followed to its end."""
    COMPLETED = "completed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """Whether nothing more happens by itself."""
        return self in {BatchStatus.COMPLETED, BatchStatus.CANCELLED}


_B = BatchStatus
BATCH_TRANSITIONS: Final[Mapping[BatchStatus, Mapping[BatchStatus, str]]] = MappingProxyType(
    {
        _B.AWAITING_APPROVAL: {
            _B.RUNNING: "another person agreed",
            _B.CANCELLING: "withdrawn",
        },
        _B.RUNNING: {
            _B.AWAITING_APPROVAL: "the four-eyes limit was lowered before all of it was sent",
            _B.PAUSED: "a person asked",
            _B.STOPPED: "something stands against every payment",
            _B.CANCELLING: "a person asked",
            _B.COMPLETED: "every row is paid, or proved not paid",
        },
        _B.PAUSED: {
            _B.RUNNING: "resumed",
            _B.CANCELLING: "a person asked",
            _B.COMPLETED: "what had been sent was all there was",
        },
        _B.STOPPED: {
            _B.RUNNING: "resumed, once the reason is mended",
            _B.CANCELLING: "a person asked",
            _B.COMPLETED: "what had been sent was all there was",
        },
        _B.CANCELLING: {_B.CANCELLED: "nothing of it can be paid any more"},
        _B.COMPLETED: {_B.RUNNING: "its failed rows are tried again"},
        _B.CANCELLED: {},
    }
)
"""From → to → why it happens."""


def check_transition(batch_id: str, old: BatchStatus, new: BatchStatus) -> None:
    """Let only transitions of the table pass.

    Raises:
        Conflict: `wrong_state`, naming what would be allowed.
    """
    if new not in BATCH_TRANSITIONS[old]:
        allowed = ", ".join(BATCH_TRANSITIONS[old]) or "nothing: it is final"
        raise Conflict(f"{batch_id} is {old}; it can become {allowed}, not {new}", code="wrong_state")


def check_approver(batch_id: str, *, initiator: str, by: str) -> None:
    """Four eyes: who sent a batch may not approve it.

    Raises:
        Forbidden: `four_eyes`.
    """
    if initiator == by:
        raise Forbidden(f"{batch_id} was sent by the same person; another has to approve it", code="four_eyes")


class ChunkState(StrEnum):
    """Where a chunk stands."""

    PLANNED = "planned"
    OPEN = "open"
    """The engine has it; money may be on its way."""
    SETTLED = "settled"
    """The ledger has it; each row's outcome is known."""
    REFUSED = "refused"
    """Proved not paid: its only row failed, or all of them."""
    DIVIDED = "divided"
    """Proved not paid: its rows are in other chunks."""
    CANCELLED = "cancelled"


class RowStatus(StrEnum):
    """What became of a row."""

    BAD = "bad"
    """Not right in the file; never paid."""
    WAITING = "waiting"
    SENDING = "sending"
    PAID = "paid"
    FAILED = "failed"
    """Proved not paid."""
    CANCELLED = "cancelled"


class OnBadRows(StrEnum):
    """What a bad row does to the others."""

    SKIP = "skip"
    """Bad rows are reported and never paid; the others are."""
    REFUSE = "refuse"
    """One bad row, and nothing is accepted."""


def batch_id_of(deployment: str, caller: str, key: str) -> str:
    """A batch's id derives from its idempotency key: sent again to a record that lost it, it is the same batch."""
    digest = hashlib.sha256("\0".join((deployment, caller, key)).encode())
    return f"bat{digest.hexdigest()[:16]}"


# Cutting


@dataclass(frozen=True, slots=True)
class CallLimits:
    """What one contract call may hold.

    `weight_max` bounds the rows' weights together (bytes of events, which the network bounds first), `rows_max`
    their number, `units_max` their amounts: the contract's cap for a call and the policy's for one payment.
    """

    rows_max: int
    weight_max: int
    account_weight: int
    muxed_weight: int
    contract_weight: int
    units_max: int = AMOUNT_MAX

    def weight(self, destination: str) -> int:
        """What a payment to this address weighs."""
        match destination[:1]:
            case "M":
                return self.muxed_weight
            case "C":
                return self.contract_weight
            case _:
                return self.account_weight


@dataclass(slots=True)
class Cutter:
    """Puts rows into chunks in the order of the file: the next chunk begins where a row no longer fits."""

    limits: CallLimits
    number: int = 0
    rows: int = 0
    _weight: int = 0
    _units: int = 0

    def place(self, destination: str, units: int) -> tuple[str, int]:
        """The chunk's key and the row's position in it, from 0."""
        weight = self.limits.weight(destination)
        fits = (
            self.rows < self.limits.rows_max
            and self._weight + weight <= self.limits.weight_max
            and self._units + units <= self.limits.units_max
        )
        if not fits or self.number == 0:
            self.number, self.rows, self._weight, self._units = self.number + 1, 0, 0, 0
        position = self.rows
        self.rows, self._weight, self._units = position + 1, self._weight + weight, self._units + units
        return str(self.number), position


def halves(key: str) -> tuple[str, str]:
    """The keys of the two chunks that a refused chunk is divided into."""
    return f"{key}.1", f"{key}.2"


def row_key(row: int, attempt: int) -> str:
    """The key of a chunk that pays one failed row again: `attempt` counts from 2."""
    return f"r{row}.{attempt}"


_ATTEMPTS_AHEAD: Final = 16
"""So many tries of one row are looked for that a record which went back in time does not know of."""


def heirs(key: str, rows: Sequence[tuple[int, int]]) -> Iterator[str]:
    """The keys under which a chunk's rows may have been paid after it: its halves, theirs, and each row's own.

    `rows` are (row, attempt) in the order of their positions, as the record has them.
    """
    first, second = halves(key)
    if len(rows) > 1:
        middle = len(rows) // 2
        for half, part in ((first, rows[:middle]), (second, rows[middle:])):
            yield half
            yield from heirs(half, part)
        return
    # Of one row the second half is the whole.
    yield second
    for row, attempt in rows:
        for ahead in range(attempt + 1, attempt + 1 + _ATTEMPTS_AHEAD):
            again = row_key(row, ahead)
            yield again
            yield halves(again)[1]


def attempt_of(key: str, otherwise: int) -> int:
    """Which try of its row a chunk is, by its key; `otherwise` where that does not say so."""
    found = _ROW_KEY.match(key)
    return otherwise if found is None else int(found["attempt"])


def chunk_marker(deployment: str, batch_id: str, key: str) -> str:
    """The contract's lock for one chunk, as hex."""
    return marker_id(deployment, "chunk", f"{batch_id}.{key}")


def settlement_id_of(batch_id: str, key: str) -> str:
    """The engine's name of a chunk: `chunk:bat0123456789abcdef.7`."""
    return f"chunk:{batch_id}.{key}"


def signing_of(terms: PayoutTerms, asked: SigningMode | None) -> SigningMode:
    """What is signed of a batch's calls: as asked for, else an authorization entry where somebody outside signs.

    Envelopes would hold a lane each while they wait, and few may.
    """
    if asked is not None:
        return asked
    return SigningMode.AUTH_ENTRY if terms.mode is PayoutMode.EXTERNAL else terms.signing


def window_of(signing: SigningMode, *, outside: bool, window: int, lanes_waiting: int) -> int:
    """How many calls of a batch are with the engine at once; `window` of those that are signed as they come.

    No more envelopes are asked for outside than may wait with a lane: the others would wait for that.
    """
    if not outside:
        return window
    if signing is SigningMode.AUTH_ENTRY:
        return max(window, REQUESTS_AT_ONCE_MAX)
    return max(1, min(window, lanes_waiting))


def batch_of_chunk(settlement_id: str) -> str:
    """The batch whose chunk a settlement is."""
    return settlement_id.removeprefix("chunk:").partition(".")[0]


def chunk_intent(
    batch_id: str,
    key: str,
    recipients: Sequence[tuple[str, int]],
    *,
    token: str,
    signing: SigningMode,
    terms: PayoutTerms,
    signer: str | None = None,
) -> Intent:
    """Say exactly what the engine is to settle: one call that pays `recipients` (address, units of 10⁻⁷)."""
    settlement_id = settlement_id_of(batch_id, key)
    marker = chunk_marker(terms.deployment, batch_id, key)
    pairs = tuple(
        Argument(
            type="vec",
            items=(Argument(type="address", value=address), Argument(type="i128", value=str(units))),
        )
        for address, units in recipients
    )
    alone = len(recipients) == 1
    return Intent(
        settlement_id=settlement_id,
        marker_id=marker,
        invocation=Invocation(
            contract=terms.contract,
            function=terms.method,
            arguments=(
                Argument(type="bytes", value=marker),
                Argument(type="address", value=token),
                Argument(type="vec", items=pairs),
            ),
        ),
        payer=terms.payer,
        amount_units=sum(units for _, units in recipients),
        asset=token,
        source=terms.contract,
        destination=recipients[0][0] if alone else f"{len(recipients)} recipients",
        summary=f"{batch_id}, chunk {key}: {len(recipients)} payments",
        signing=signing,
        partial=not alone,
        signer=signer,
    )


# What a failure leads to


class AfterFailure(StrEnum):
    """What to do about a chunk that is proved not paid."""

    AGAIN = "again"
    """The same chunk under the same id."""
    DIVIDE = "divide"
    """One of its rows may be the cause: two halves."""
    REFUSE = "refuse"
    """Its only row cannot be paid, or not one of its rows."""
    STOP = "stop"
    """It stands against every payment: ask a person."""
    WITHDRAW = "withdraw"
    """It was cancelled."""


_OF_THE_WHOLE: Final = frozenset(
    {
        "asset_not_allowed",
        "attempts_exhausted",
        "contract_missing",
        "contract_paused",
        "decision_differs",
        "frozen",
        "id_reused",
        "id_voided",
        "live_execution_off",
        "payout_contract_short",
        "payout_day_cap",
        "policy_day",
        "signature_refused",
        "unexpected_authorization",
    }
)
"""Reasons that no other cut of the rows would help against."""
_OF_EACH: Final = "nothing_payable"
"""The contract has said of every row why it cannot be paid."""
_OF_ITS_SIZE: Final = frozenset({"exceeds_max_gas"})
"""Reasons that fewer rows help against, and that are nobody's fault when one row alone still meets them."""


def after_failure(outcome: SettlementOutcome, *, rows: int, tries: int) -> AfterFailure:
    """Say what a definite failure of a chunk leads to; `tries` counts those that were made."""
    code = outcome.reason_code or ""
    if code == "cancelled":
        return AfterFailure.WITHDRAW
    if outcome.may_pass and tries < CHUNK_TRIES_MAX:
        return AfterFailure.AGAIN
    if code in _OF_THE_WHOLE or (code in _OF_ITS_SIZE and rows == 1):
        return AfterFailure.STOP
    if code == _OF_EACH:
        return AfterFailure.REFUSE
    return AfterFailure.DIVIDE if rows > 1 else AfterFailure.REFUSE


# What the story and people are shown


class BatchCounts(BaseModel):
    """How far a batch is, in rows; all of them together are `rows`."""

    model_config = ConfigDict(frozen=True)

    rows: int = 0
    bad: int = 0
    waiting: int = 0
    sending: int = 0
    paid: int = 0
    failed: int = 0
    cancelled: int = 0


class BatchStanding(BaseModel):
    """What the story needs to know of a batch: its chunks that are with the engine, and no row."""

    batch_id: str
    status: BatchStatus
    open: tuple[str, ...] = ()
    """Settlement ids of the chunks that the engine has; told to the story, those that it can go on with now."""
    awaiting_signature: int = 0
    """How many chunks wait for a signature, as stock-taking found it."""
    wakes_at: datetime | None = None
    """When there is something to go on with, even if nobody calls."""
    more: bool = False
    """Whether there is room for chunks that were not handed over yet: take stock again at once."""
    counts: BatchCounts = Field(default_factory=BatchCounts)
    asset: str = ""
    amount_units: int = 0
    reason_code: str | None = None
    reason: str | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing is left for the story to do."""
        return self.status.ended and not self.open


class Batch(BatchStanding):
    """The whole record, for people."""

    number: int
    """In order of acceptance; pages are cut by it."""
    name: str
    token: str
    on_bad_rows: OnBadRows
    signing: SigningMode
    """What is signed of each call."""
    signer: str | None = None
    """Which of the payer's signers was asked for; None: the one that the settings name."""
    chunks: int
    paid_units: int
    unpaid_units: int
    """What is waiting or being sent."""
    created_at: datetime
    created_by: str
    changed_at: datetime
    approved_by: str | None = None
    approved_at: datetime | None = None
    needs_approval: bool = False
    reason_details: dict[str, str] = Field(default_factory=dict)
    ended_at: datetime | None = None

    @property
    def amount(self) -> str:
        """The sum of the good rows as a decimal; it may be more than one balance can hold."""
        return decimal_of(self.amount_units)


def decimal_of(units: int) -> str:
    """Units of 10⁻⁷ as a decimal text; a batch's sum may be beyond what an `Amount` holds."""
    whole, fraction = divmod(units, Amount.of(1).units)
    return f"{whole}.{fraction:07d}"


class RowReport(BaseModel):
    """What became of one row."""

    model_config = ConfigDict(frozen=True)

    row: int
    line: int
    status: RowStatus
    destination: str | None = None
    amount_units: int | None = None
    reference: str | None = None
    reason_code: str | None = None
    reason: str | None = None
    field: str | None = None
    """Of a bad row: where the first fault is."""
    tx_hash: str | None = None
    ledger: int | None = None
    closed_at: datetime | None = None
    settlement_id: str | None = None
