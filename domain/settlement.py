"""Settlements: one movement of money that happens exactly once, or says why not.

The states are those of the payout guide, with `accepted` before them (the intent is recorded, nothing is built)
and `unknown` and `cancelled` beside them. `TRANSITIONS` is the only table: the domain enforces it here, and a
migration writes the same rows into the database, where a trigger enforces them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from domain.errors import Conflict
from domain.money import Amount


class SettlementStatus(StrEnum):
    """Where a settlement stands."""

    ACCEPTED = "accepted"
    BUILT = "built"
    AWAITING_SIGNATURE = "awaiting_signature"
    QUEUED = "queued"
    SUBMITTED = "submitted"
    UNKNOWN = "unknown"
    CONFIRMED = "confirmed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Whether nothing more happens by itself."""
        return self in {SettlementStatus.CONFIRMED, SettlementStatus.FAILED, SettlementStatus.CANCELLED}

    @property
    def in_flight(self) -> bool:
        """Whether bytes that could move the money may have left us."""
        return self in {SettlementStatus.SUBMITTED, SettlementStatus.UNKNOWN}


_S = SettlementStatus
TRANSITIONS: Final[Mapping[SettlementStatus, Mapping[SettlementStatus, str]]] = MappingProxyType(
    {
        _S.ACCEPTED: {
            _S.BUILT: "simulated, pinned and written ahead",
            _S.CONFIRMED: "the marker was there already: paid before the record was lost",
            _S.FAILED: "refused by policy, contract or ledger; nothing was signed",
            _S.CANCELLED: "withdrawn before anything was built",
        },
        _S.BUILT: {
            _S.BUILT: "rebuilt on the same pin: it went stale before it was signed",
            _S.AWAITING_SIGNATURE: "a deferred signer was asked",
            _S.QUEUED: "the payer has signed",
            _S.CONFIRMED: "the marker was there already",
            _S.FAILED: "refused by policy, signer or simulation; the lane never signed",
            _S.CANCELLED: "withdrawn before the lane signed",
        },
        _S.AWAITING_SIGNATURE: {
            _S.BUILT: "stale or expired while it waited: rebuilt on the same pin, the old one superseded",
            _S.QUEUED: "enough valid signatures arrived",
            _S.CONFIRMED: "the marker was there already",
            _S.FAILED: "refused while it waited; the lane never signed",
            _S.CANCELLED: "withdrawn while it waited; without the lane's signature it can never land",
        },
        _S.QUEUED: {
            _S.BUILT: "stale before it was sent: rebuilt on the same pin",
            _S.SUBMITTED: "the lane signed and the send was written ahead",
            _S.CONFIRMED: "the marker was there already",
            _S.FAILED: "refused at the second look; the lane never signed",
            _S.CANCELLED: "withdrawn before the lane signed",
        },
        _S.SUBMITTED: {
            _S.CONFIRMED: "SUCCESS by hash, or the marker beside a consumed sequence",
            _S.FAILED: "FAILED by hash, or a consumed sequence without the marker",
            _S.UNKNOWN: "no proof either way for longer than a few ledgers",
            _S.BUILT: "proved expired: rebuilt on the same lane and sequence",
            _S.CANCELLED: "the burn consumed the sequence, or every envelope is proved expired",
        },
        _S.UNKNOWN: {
            _S.SUBMITTED: "sent again, unchanged",
            _S.CONFIRMED: "proof arrived",
            _S.FAILED: "proof arrived",
            _S.BUILT: "proved expired: rebuilt on the same lane and sequence",
            _S.CANCELLED: "the burn consumed the sequence, or every envelope is proved expired",
        },
        _S.FAILED: {
            _S.ACCEPTED: "tried again by the story or a person; the failure was proved, so nothing was paid"
        },
        _S.CONFIRMED: {},
        _S.CANCELLED: {},
    }
)
"""From → to → why it happens."""


def check_transition(settlement_id: str, old: SettlementStatus, new: SettlementStatus) -> None:
    """Let only transitions of the table pass.

    Raises:
        Conflict: `wrong_state`, naming what would be allowed.
    """
    if new not in TRANSITIONS[old]:
        allowed = ", ".join(TRANSITIONS[old]) or "nothing: it is final"
        raise Conflict(
            f"{settlement_id} is {old}; from there it can become {allowed}, not {new}", code="wrong_state"
        )


class Argument(BaseModel):
    """One contract argument: a Soroban type and its value as text.

    `bytes` is hex, `address` a StrKey, integers are decimal, `option` is empty or one element, `vec` any number.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: Literal["symbol", "string", "u32", "u64", "i128", "bool", "bytes", "address", "vec", "option"]
    value: str = ""
    items: tuple[Argument, ...] = ()


class Invocation(BaseModel):
    """A contract call with the calls below it that the payer authorizes: the whole authorization tree."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    contract: str
    function: str
    arguments: tuple[Argument, ...]
    calls: tuple[Invocation, ...] = ()


class SigningMode(StrEnum):
    """What the payer signs: the whole envelope, or the Soroban authorization entry alone."""

    ENVELOPE = "envelope"
    AUTH_ENTRY = "auth_entry"


_LATER_FIELDS: Final = ("signing", "build_only", "partial", "signer")


class Intent(BaseModel):
    """What a settlement is to do: ours down to the last argument, before any outsider is asked.

    `settlement_id` is `kind:business id`. `marker_id` (64 hex digits) is the contract's lock. `invocation` is the
    call and exactly the authorization tree that we sign; whatever a simulation adds to it is refused.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    settlement_id: str = Field(pattern=r"^[a-z_]+:[A-Za-z0-9._:\-]{1,120}$")
    marker_id: str = Field(pattern=r"^[0-9a-f]{64}$")
    invocation: Invocation
    payer: str
    amount_units: int = Field(ge=0)
    asset: str
    source: str
    destination: str
    summary: str = ""
    signing: SigningMode = SigningMode.ENVELOPE
    build_only: bool = False
    """It ends at `built`, with its unsigned envelope kept: nothing is signed or sent, and no lane is held."""
    partial: bool = False
    """Several recipients: what moves may be less than the amount, and each one's byte is in the outcome."""
    signer: str | None = None
    """Which of the payer's signers was asked for, such as `kms`; None: the one that the settings name."""

    @property
    def kind(self) -> str:
        """Which story: the part before the colon."""
        return self.settlement_id.partition(":")[0]

    @property
    def asks_for_entry(self) -> bool:
        """Whether the payer signs the authorization entry alone; what is only built is shown as an envelope."""
        return self.signing is SigningMode.AUTH_ENTRY and not self.build_only

    @property
    def amount(self) -> Amount:
        """What moves from `source` to `destination`."""
        return Amount(self.amount_units)

    @property
    def fingerprint(self) -> str:
        """sha256 of the whole intent: the same id with another fingerprint is a conflict.

        What came later is left out while it has its default, so that stored intents keep theirs.
        """
        later = {name for name in _LATER_FIELDS if getattr(self, name) == type(self).model_fields[name].default}
        return hashlib.sha256(self.model_dump_json(exclude={"summary"} | later).encode()).hexdigest()


def marker_id(deployment: str, kind: str, business_id: str) -> str:
    """The contract's lock for one movement of money: sha256 over length-prefixed parts, as hex.

    The prefix keeps ("a", "bc") and ("ab", "c") apart.
    """
    digest = hashlib.sha256()
    for part in (deployment, kind, business_id):
        encoded = part.encode()
        digest.update(len(encoded).to_bytes(4, "big") + encoded)
    return digest.hexdigest()


class MarkerState(StrEnum):
    """What the contract remembers of an id. Archived is not absent."""

    ABSENT = "absent"
    PAID = "paid"
    VOID = "void"


@dataclass(frozen=True, slots=True)
class Witness:
    """One ledger's truth about one pin, read in one `getLedgerEntries` answer.

    `lane_sequence` is None where the lane's account does not exist.
    """

    ledger: int
    closed_at: datetime
    lane_sequence: int | None
    marker: MarkerState


class Verdict(StrEnum):
    """What one ledger's truth proves about a pin."""

    PAID = "paid"
    NOT_PAID = "not_paid"
    EXPIRED = "expired"
    WAIT = "wait"
    ASK = "ask"


def verdict(witness: Witness, *, sequence: int, max_time: datetime) -> Verdict:
    """Judge the pin `sequence` of the witness's lane, whose last envelope is valid through `max_time`.

    Expiry is judged by the ledger's close time, never by a local clock (stellar-core: `maxTime < closeTime`).
    """
    if witness.lane_sequence is None or witness.lane_sequence < sequence - 1:
        return Verdict.ASK
    if witness.lane_sequence >= sequence:
        return Verdict.PAID if witness.marker is MarkerState.PAID else Verdict.NOT_PAID
    if witness.marker is MarkerState.PAID:
        return Verdict.ASK
    return Verdict.EXPIRED if witness.closed_at > max_time else Verdict.WAIT


class Control(StrEnum):
    """What an operator asks of a settlement; the follower reads it each ledger."""

    NONE = "none"
    HOLD = "hold"
    BUMP = "bump"
    CANCEL = "cancel"


class Ending(BaseModel):
    """How a settlement ends, unpaid, once nobody can use the authorization entries that were shown.

    An entry that was signed lands without our lanes, in anybody's transaction. So until ledger `after` is past,
    and the marker is absent then, no one may be told that it never will be paid.
    """

    model_config = ConfigDict(frozen=True)

    status: SettlementStatus
    reason_code: str
    reason: str
    details: dict[str, str] = Field(default_factory=dict)
    may_pass: bool = False
    after: int


class SettlementOutcome(BaseModel):
    """What a story is told of a settlement, and what is shown of it.

    `status` not `final` means: still pending, ask again. `reason_code` is a code of `ERROR_CODES`.
    """

    settlement_id: str
    status: SettlementStatus
    tx_hash: str | None = None
    ledger: int | None = None
    closed_at: datetime | None = None
    reason_code: str | None = None
    reason: str | None = None
    details: dict[str, str] = Field(default_factory=dict)
    may_pass: bool = False
    """Of a failure: whether the same call may do better later, without a person."""
    outcomes: tuple[int, ...] = ()
    """Of a partial settlement: a number a recipient, 0 where it was paid, else the token's error, 255 another."""
    expires_at: datetime | None = None
    """While it waits for a signature: when the request ends, by ledger close time."""
    ends_after: int | None = None
    """Where it ends unpaid once nobody can use what signers were shown: the last ledger in which one could."""
    held: bool = False
    """Whether it is held: unsent, it goes on when somebody resumes it."""
    record_status: str | None = None
    """Of a payment whose outage was confirmed with it: that outage's status. None: the story writes it down."""

    @classmethod
    def failed(cls, settlement_id: str, code: str, reason: str, **details: str) -> Self:
        """A definite failure."""
        return cls(
            settlement_id=settlement_id,
            status=SettlementStatus.FAILED,
            reason_code=code,
            reason=reason,
            details=details,
        )
