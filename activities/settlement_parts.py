"""What a settlement needs of the world: its own state as the engine reads it, and the Protocols of the parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from domain.errors import HoldfastError
from domain.settlement import Control, Ending, Intent, MarkerState, SettlementOutcome, SettlementStatus, Witness
from domain.signing import Authority, Signature, SigningRequest


@dataclass(frozen=True, slots=True)
class Simulation:
    """What the ledger says the call would do. `replayed`: the marker is there, so it was paid before.

    `transaction_data` is SorobanTransactionData (base64 XDR) with headroom; `resource_fee` is in stroops.
    """

    ledger: int
    transaction_data: str
    resource_fee: int
    replayed: bool
    restores: int = 0
    """How many archived entries it restores: most of the resource fee is then for that."""


@dataclass(frozen=True, slots=True)
class Pin:
    """One lane and one of its sequence numbers, held by one settlement until that number is consumed."""

    id: int
    lane: str
    sequence: int
    lane_signed: bool
    until: datetime | None = None
    """The last second, by ledger close time, in which any envelope that the lane signed on it can land."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One inner envelope on a pin (base64 XDR); `max_time` is its last second by ledger close time."""

    id: int
    burn: bool
    inner_hash: str
    envelope: str
    max_time: datetime
    resource_fee: int
    simulated_ledger: int
    signed_envelope: str
    """With the payer's and the lane's signatures; empty before the lane has signed."""


@dataclass(frozen=True, slots=True)
class Send:
    """One fee bump around an attempt, as it was or will be sent."""

    outer_hash: str
    envelope: str
    inclusion_fee: int


@dataclass(frozen=True, slots=True)
class Ticket:
    """A live request for signatures, and those that were accepted.

    `deferred` is false where our own signer is asked. An entry outlives envelopes: until it expires, each is built
    around the same one.
    """

    request: SigningRequest
    signatures: tuple[Signature, ...]
    deferred: bool


@dataclass(frozen=True, slots=True)
class Stale:
    """Why what was signed can no longer be sent as it is, though the payment itself can be made."""

    reason: str


@dataclass(frozen=True, slots=True)
class Settlement:
    """A settlement as it stands: its intent, and the newest pin, attempt and send."""

    intent: Intent
    status: SettlementStatus
    control: Control
    builds: int
    pin: Pin | None
    attempt: Attempt | None
    send: Send | None
    outcome: SettlementOutcome
    stopped: str | None
    """Why nothing may be sent now: frozen by a person, or the history changed."""
    ticket: Ticket | None = None
    ending: Ending | None = None
    """How it ends, unpaid, once nobody can use the authorization entries that were shown."""

    @property
    def id(self) -> str:
        """`kind:business id`."""
        return self.intent.settlement_id


@dataclass(frozen=True, slots=True)
class Proof:
    """What the ledger recorded of a transaction of ours."""

    tx_hash: str
    successful: bool
    burn: bool
    ledger: int
    closed_at: datetime
    fee_charged: int
    result: str
    moved_units: int | None = None
    """What the contract says that it moved, in units of 10⁻⁷; None where it says nothing."""
    outcomes: bytes = b""
    """A byte a recipient, where the contract says so: 0 paid, else the token's error."""

    @property
    def consumed(self) -> bool:
        """Whether this transaction is what consumed the number: a txBAD_SEQ lost it to another one of ours."""
        return self.successful or "txBAD_SEQ" not in self.result


@dataclass(frozen=True, slots=True)
class Envelope:
    """An unsigned inner envelope and its hash on our network."""

    xdr: str
    hash: str


@dataclass(frozen=True, slots=True)
class Kept:
    """What the ledger keeps of a settlement whose lane says nothing: its marker, and what that says was paid."""

    ledger: int
    marker: MarkerState
    moved_units: int | None = None
    outcomes: bytes = b""


class SettlementBook(Protocol):
    """The record. Every method is one transaction, and compares before it swaps."""

    async def load(self, settlement_id: str) -> Settlement:
        """Read a settlement and renew our lease on it."""

    async def check_waiting(self, settlement_id: str) -> None:
        """See whether there is a lane to wait with for a signature; `write_ahead` takes it, or says no after all.

        Raises:
            Unavailable: `no_lane_free`.
        """

    async def write_ahead(
        self,
        settlement: Settlement,
        simulation: Simulation,
        *,
        max_time: datetime,
        day_max_units: int | None,
        build: Callable[[str, int], Envelope],
        ask: Callable[[Envelope], SigningRequest] | None = None,
        because: str = "",
        holds: bool = True,
    ) -> Settlement:
        """Reserve, take or keep a pin, and commit the envelope that `build(lane, sequence)` makes.

        With `ask` the request for signatures that it makes is committed with it; what was asked for before is
        superseded, for the reason `because`. Without `holds` nothing is reserved and the pin is returned at once:
        it only shows what would be.

        Raises:
            Refused: the day's limit.
            Unavailable: `no_lane_free`.
        """

    async def note_wait(self, settlement: Settlement, reason: str) -> None:
        """Keep why it is not built yet, for `why`."""

    async def write_request(
        self,
        settlement: Settlement,
        request: SigningRequest,
        *,
        deferred: bool,
        because: str,
        day_max_units: int | None,
    ) -> Settlement:
        """Reserve, and commit a request that needs no lane: an authorization entry; the one before is superseded.

        Raises:
            Refused: the day's limit.
        """

    async def reserve_today(self, settlement: Settlement, day_max_units: int) -> None:
        """Move what was reserved on an earlier day, when a signature was asked for, to the day of sending.

        Raises:
            Refused: the day's limit.
        """

    async def write_send(
        self, settlement: Settlement, *, signatures: Mapping[str, bytes], signed_envelope: str, send: Send
    ) -> Settlement:
        """Commit the signatures and the first fee bump: from here the lane has signed.

        Raises:
            Unavailable: everything is frozen, or the history changed: checked in the same transaction.
        """

    async def write_entry_send(
        self,
        settlement: Settlement,
        simulation: Simulation,
        *,
        signatures: Mapping[str, bytes],
        max_time: datetime,
        build: Callable[[str, int], tuple[Envelope, str, Send]],
    ) -> Settlement:
        """Take or keep a pin, and commit what `build(lane, sequence)` makes around a signed authorization entry.

        That is the envelope, the same signed by the lane, and the first fee bump: from here the lane has signed.

        Raises:
            Unavailable: `no_lane_free`; everything is frozen, or the history changed.
        """

    async def write_bump(self, settlement: Settlement, send: Send) -> Settlement:
        """Commit a higher fee bump around the same inner envelope."""

    async def write_burn(
        self, settlement: Settlement, envelope: Envelope, max_time: datetime, send: Send
    ) -> Settlement:
        """Commit a no-op on the pin, which consumes the number in the payment's place."""

    async def note_answer(self, send: Send, answer: str) -> None:
        """Keep what the node said to a send, for `why`."""

    async def record(self, settlement: Settlement, proof: Proof) -> Settlement:
        """Record what the ledger recorded, end the pin and post or void the reservation."""

    async def record_paid_before(
        self, settlement: Settlement, proof: Proof | None, kept: Kept | None = None
    ) -> Settlement:
        """The marker was there already: confirmed, whatever our record had forgotten."""

    async def end(self, settlement: Settlement) -> Settlement:
        """Nobody can use what was shown any more, and the marker is absent: it ends as `ending` says."""

    async def fail_unsent(self, settlement: Settlement, refusal: HoldfastError) -> Settlement:
        """A definite no before the lane signed: fail, return the pin, void the reservation."""

    async def fail_expired(self, settlement: Settlement, refusal: HoldfastError) -> Settlement:
        """A definite no on the other side of a proved expiry: fail, return the pin, void the reservation."""

    async def fail_consumed(self, settlement: Settlement, reason: str) -> Settlement:
        """The number is consumed and the marker absent: by this pin it never will be paid."""

    async def cancel_unsent(self, settlement: Settlement) -> Settlement:
        """Withdraw before the lane signed."""

    async def supersede(self, settlement: Settlement) -> Settlement:
        """The attempt is proved expired or stale: back to `built`, on the same pin."""

    async def doubt(self, settlement: Settlement, *, person: str | None) -> Settlement:
        """No proof for a while: `unknown`; `person` says what a person should look at."""

    async def envelopes_sent(self, settlement: Settlement) -> tuple[str, ...]:
        """Every outer hash of this settlement that may have left us, newest first."""


class Ledger(Protocol):
    """Stellar, as a settlement needs it."""

    async def simulate(self, intent: Intent) -> Simulation:
        """Simulate the call, and hold the answer against the intent.

        Raises:
            Refused: it would fail, asks for another authorization, or decides another amount.
        """

    def build(
        self, intent: Intent, simulation: Simulation, lane: str, sequence: int, max_time: datetime
    ) -> Envelope:
        """Make the unsigned inner envelope on the pin. No I/O."""

    async def authority(self, account: str) -> Authority:
        """Who signs for an account now.

        Raises:
            Refused: `account_missing`.
            Unavailable: the ledger does not answer.
        """

    def ask_for_envelope(
        self, intent: Intent, envelope: Envelope, authority: Authority, expires_at: datetime
    ) -> SigningRequest:
        """Make the request for an envelope's signatures. No I/O."""

    def ask_for_entry(
        self, intent: Intent, authority: Authority, expires_at: datetime, expires_ledger: int
    ) -> SigningRequest:
        """Make the request for an authorization entry, with a nonce of its own. No I/O."""

    async def look_again(self, intent: Intent, attempt: Attempt) -> Stale | None:
        """Whether a signed envelope would still land as it is.

        Raises:
            Refused: the payment cannot be made at all now.
        """

    def assemble(self, request: SigningRequest, signatures: Mapping[str, bytes]) -> str:
        """Put signatures (by signer) into the request's authorization entry. No I/O."""

    async def enforce(self, intent: Intent, entry: str) -> Simulation | Stale:
        """Simulate the call with the signed entry, as the ledger will enforce it.

        Raises:
            Refused: the payment cannot be made at all now.
        """

    def build_around(
        self, intent: Intent, entry: str, simulation: Simulation, pin: tuple[str, int], max_time: datetime
    ) -> Envelope:
        """Make the inner envelope around a signed entry, on (lane, sequence): only the lane signs it. No I/O."""

    def build_burn(self, lane: str, sequence: int, max_time: datetime) -> Envelope:
        """Make a no-op on the pin. No I/O."""

    def sign_last(self, envelope: str, lane: str, signatures: Mapping[str, bytes]) -> str:
        """Attach the payer's signatures (by signer) and, last, the lane's own. No I/O."""

    def bump(self, signed_envelope: str, inclusion_fee: int) -> Send:
        """Wrap the signed inner envelope in a fee bump that bids `inclusion_fee` stroops. No I/O."""

    async def send(self, send: Send) -> str:
        """Send, and say what the node answered. No answer proves anything.

        Raises:
            OutcomeUnknown: no answer.
        """

    async def witness(self, settlement: Settlement) -> Witness:
        """One ledger's truth about the settlement's pin and marker.

        Raises:
            Unavailable: no answer, or a node that is behind what we have seen.
        """

    async def find(self, hashes: tuple[str, ...]) -> Proof | None:
        """Look for a landed transaction by its hashes. None proves nothing."""

    async def find_marker(self, intent: Intent) -> Proof | None:
        """The transaction that wrote the marker, as far as the node remembers."""

    async def kept(self, intent: Intent) -> Kept:
        """What the ledger keeps of the settlement now.

        Raises:
            Unavailable: no answer, or a node that is behind what we have seen.
        """

    async def inclusion_fee_p90(self) -> int:
        """What nine of ten recent Soroban transactions paid for inclusion, stroops an operation."""


class Closes(Protocol):
    """The follower: tells of closed ledgers, and of settlements that it recorded."""

    @property
    def closed_at(self) -> datetime:
        """The close time of the newest ledger that was followed."""

    @property
    def sequence(self) -> int:
        """Its number."""

    @property
    def interval_seconds(self) -> float:
        """How long a ledger takes to close, of late."""

    async def wait(self, settlement_id: str) -> bool:
        """Wait for the next closed ledger; True where this settlement's outcome was recorded with it.

        Raises:
            Unavailable: no ledger closed for long.
        """


class PayerSigner(Protocol):
    """Who signs for the payer, at once."""

    @property
    def public_key(self) -> str:
        """The account of the key. A signer whose key is kept elsewhere knows it once it has signed.

        Raises:
            Unavailable: it does not know it yet.
        """

    async def sign(self, transaction_hash: bytes) -> bytes:
        """An Ed25519 signature over the 32-byte hash of a transaction, or of an authorization's preimage.

        Raises:
            Unavailable: the signer does not answer.
            Refused: it will not sign.
        """
