"""The follower: reads each closed ledger once, and records every outcome of ours that it holds.

Contiguous by the previous ledger's hash. It records outcomes whoever sent them, wakes who waits in this process,
and sends again what a dead worker left in flight: money moves before Temporal notices.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final, Protocol

from activities.settlement_parts import Proof, Send
from adapters.database.heads import HeadBook
from adapters.stellar.ledger import proof_of
from adapters.stellar.rpc import Landed, LedgerHead, Rpc
from domain.errors import HoldfastError, OutcomeUnknown, Refused, Unavailable

_log: Final = logging.getLogger(__name__)
_HEADS_KEPT: Final = 1_000
_LEDGERS_A_PAGE: Final = 50
_POLL_SECONDS_MIN: Final = 0.05
_STALLED_SECONDS: Final = 60.0
_LAG_LOOKS: Final = 20
_LAG_PAUSE_SECONDS: Final = 0.5


class Record(Protocol):
    """What the follower writes: see `adapters.database.settlements.SettlementBook`."""

    async def ours_among(self, hashes: Sequence[str]) -> dict[str, tuple[str, bool]]:
        """Which outer hashes are ours."""

    async def record_landed(self, proofs: Sequence[tuple[str, Proof]]) -> frozenset[str]:
        """Record outcomes in one transaction."""

    async def orphans(self) -> tuple[tuple[str, Send], ...]:
        """What a dead worker left in flight."""


class LanesAhead(Protocol):
    """Whether a lane stands beyond what the record explains: see `adapters.stellar.lanes.Lanes`."""

    async def ahead(self) -> str | None:
        """A sentence, or None."""


class Follower:
    """One a worker. Satisfies `activities.settlement_parts.Closes` and `adapters.stellar.ledger.Heads`."""

    def __init__(
        self,
        *,
        rpc: Rpc,
        heads: HeadBook,
        record: Record,
        lanes: LanesAhead,
        network_passphrase: str,
        poll_seconds_max: float = 0.5,
    ) -> None:
        """It looks ten times a ledger, and at least every `poll_seconds_max`."""
        self._rpc = rpc
        self._heads = heads
        self._record = record
        self._lanes = lanes
        self._network_passphrase = network_passphrase
        self._poll_seconds_max = poll_seconds_max
        self._head: LedgerHead | None = None
        self._recorded_at = 0
        self._interval_seconds = 1.0
        self._closed_at: OrderedDict[int, datetime] = OrderedDict()
        self._closed = asyncio.Event()
        self._just_ended: frozenset[str] = frozenset()
        self._fee_p90: tuple[int, int] = (0, 0)

    @property
    def head(self) -> LedgerHead:
        """The newest ledger that was followed.

        Raises:
            Unavailable: none yet.
        """
        if self._head is None:
            raise Unavailable("no ledger was followed yet", code="ledger_unavailable")
        return self._head

    @property
    def sequence(self) -> int:
        """The newest ledger's number."""
        return self.head.sequence

    @property
    def closed_at(self) -> datetime:
        """The newest ledger's close time."""
        return self.head.closed_at

    @property
    def interval_seconds(self) -> float:
        """How long a ledger takes to close, smoothed."""
        return self._interval_seconds

    async def closed_at_of(self, sequence: int) -> datetime:
        """When a ledger closed, asked of the node where it was not followed.

        Raises:
            Unavailable: the node does not say.
        """
        known = self._closed_at.get(sequence)
        if known is not None:
            return known
        try:
            heads, _ = await self._rpc.ledgers(sequence, limit=1)
        except Refused as refusal:
            raise Unavailable(
                f"ledger {sequence} is not to be had: {refusal.message}", code="ledger_unavailable"
            ) from (refusal)
        if not heads or heads[0].sequence != sequence:
            raise Unavailable(f"the node gave another ledger than {sequence}", code="ledger_unavailable")
        return heads[0].closed_at

    async def inclusion_fee_p90(self) -> int:
        """What nine of ten recent Soroban transactions paid for inclusion; asked once a ledger."""
        ledger, fee = self._fee_p90
        if ledger != self.sequence:
            # A node that cannot say costs nothing: the ladder climbs from the least bid.
            with suppress(HoldfastError):
                fee = (await self._rpc.fee_stats()).p90
            self._fee_p90 = (self.sequence, fee)
        return fee

    async def wait(self, settlement_id: str) -> bool:
        """See `activities.settlement_parts.Closes`."""
        closed = self._closed
        try:
            await asyncio.wait_for(closed.wait(), _STALLED_SECONDS)
        except TimeoutError as error:
            raise Unavailable(
                f"no ledger closed for {_STALLED_SECONDS:.0f} s; the last was {self.sequence}",
                code="ledger_unavailable",
            ) from error
        return settlement_id in self._just_ended

    async def start(self) -> str | None:
        """Find our place in the chain. Gives why all sending is halted, or None where all is well.

        Raises:
            Refused: another network answers than the settings name.
            Unavailable: the ledger or the database does not answer.
        """
        passphrase = await self._rpc.network()
        if passphrase != self._network_passphrase:
            raise Refused(
                f"the RPC is on network {passphrase!r}, the settings say {self._network_passphrase!r}: "
                "set STELLAR_NETWORK or STELLAR_SOROBAN_RPC_URL"
            )
        known = await self._heads.read()
        latest = await self._rpc.latest_ledger()
        if known is None:
            await self._heads.begin(latest)
        elif (reason := await self._went_back(known, latest)) is not None:
            await self._heads.halt(reason)
        if (reason := await self._lanes.ahead()) is not None:
            await self._heads.halt(reason)
        if self._head is None:
            self._take(latest)
        await self._measure_interval(latest)
        self._recorded_at = 0 if known is None else known[0]
        return await self._heads.halted()

    async def _measure_interval(self, latest: LedgerHead) -> None:
        """How long ledgers took of late; a young ledger, which has none, is taken to close each second."""
        with suppress(HoldfastError):
            seconds = await self._rpc.close_seconds(latest)
            if seconds is not None:
                self._interval_seconds = min(10.0, seconds)

    async def _went_back(self, known: tuple[int, str, str], latest: LedgerHead) -> str | None:
        sequence, known_hash, passphrase = known
        if passphrase != self._network_passphrase:
            return f"the record is of network {passphrase!r}, this is {self._network_passphrase!r}"
        for _ in range(_LAG_LOOKS):
            if latest.sequence >= sequence:
                break
            # A node that lags comes up; a network that was reset does not.
            await asyncio.sleep(_LAG_PAUSE_SECONDS)
            latest = await self._rpc.latest_ledger()
        else:
            return f"the ledger stands at {latest.sequence}, the record at {sequence}: the network was reset"
        try:
            heads, _ = await self._rpc.ledgers(sequence, limit=1)
        except Refused:
            await self._skip_ahead()
            return None
        if heads and heads[0].sequence == sequence:
            if heads[0].hash != known_hash:
                return f"ledger {sequence} has another hash than the record: the network was reset"
            self._take(heads[0])
        return None

    async def _skip_ahead(self) -> None:
        """Go on at the newest ledger: those between are beyond the node's retention."""
        latest = await self._rpc.latest_ledger()
        _log.warning("followed again from ledger %s: what is in flight gets a verdict", latest.sequence)
        await self._heads.begin(latest)
        self._take(latest)

    def _take(self, head: LedgerHead) -> None:
        if self._head is not None:
            passed = (head.closed_at - self._head.closed_at).total_seconds()
            count = max(1, head.sequence - self._head.sequence)
            self._interval_seconds = 0.8 * self._interval_seconds + 0.2 * min(10.0, passed / count)
        self._head = head
        self._closed_at[head.sequence] = head.closed_at
        while len(self._closed_at) > _HEADS_KEPT:
            self._closed_at.popitem(last=False)

    async def run(self, stop: asyncio.Event) -> None:
        """Follow until `stop`; outages of the ledger or the database are waited out."""
        while not stop.is_set():
            pause = min(self._poll_seconds_max, max(_POLL_SECONDS_MIN, self._interval_seconds / 10))
            try:
                while await self.follow():
                    pass
            except HoldfastError as error:
                _log.warning("the follower waits: %s", error.message)
                pause = self._poll_seconds_max
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), pause)

    async def follow(self) -> bool:
        """Read the ledgers closed since the last look, if any; True where more may be waiting.

        Raises:
            Unavailable: the ledger or the database does not answer.
        """
        start = self.sequence + 1
        if await self._rpc.newest() < start:
            return False
        try:
            heads, _ = await self._rpc.ledgers(start, limit=_LEDGERS_A_PAGE)
        except Refused:
            if start < await self._rpc.oldest():
                await self._skip_ahead()
            return False  # else another node behind the address, which is not there yet
        if not heads or heads[0].sequence != start:
            return False
        previous = self.head
        for head in heads:
            if head.previous_hash != previous.hash:
                reason = f"ledger {head.sequence} does not follow the ledger {previous.sequence} that was read"
                await self._heads.halt(reason)
                raise Unavailable(reason, code="history_changed")
            previous = head
        landed, seen = await self._landed(start, heads[-1].sequence)
        ours = await self._record.ours_among([row.hash for row in landed])
        proofs = [(ours[row.hash][0], proof_of(row, burn=ours[row.hash][1])) for row in landed if row.hash in ours]
        ended = await self._record.record_landed(proofs)
        followed = [head for head in heads if head.sequence <= seen]
        if not followed:
            return False
        recorded_at = await self._heads.advance(followed[-1], at_least=self._recorded_at)
        if recorded_at is None:
            await self._heads.halt("the database is older than it was a moment ago: it was restored from a backup")
        else:
            # Where the record stands, not where we read: a halted one stays behind until a reconcile moves it.
            self._recorded_at = recorded_at
        for head in followed:
            self._take(head)
        self._wake(ended)
        await self._send_orphans()
        return len(heads) == _LEDGERS_A_PAGE

    async def _landed(self, start: int, end: int) -> tuple[list[Landed], int]:
        """Transactions of the ledgers `start` to `end`, and the newest ledger that the answering node had."""
        landed: list[Landed] = []
        cursor: str | None = None
        while True:
            page = await self._rpc.transactions(start, cursor=cursor)
            landed += [row for row in page.transactions if row.ledger <= end]
            complete = not page.transactions or page.transactions[-1].ledger > end or not page.cursor
            if complete or page.cursor == cursor:
                return landed, min(end, page.latest_ledger)
            cursor = page.cursor

    def _wake(self, ended: frozenset[str]) -> None:
        self._just_ended = ended
        self._closed.set()
        self._closed = asyncio.Event()

    async def _send_orphans(self) -> None:
        for settlement_id, send in await self._record.orphans():
            _log.warning("%s has no live owner: its envelope is sent again, unchanged", settlement_id)
            with suppress(OutcomeUnknown, Refused):
                await self._rpc.send(send.envelope)

    def age_seconds(self) -> float:
        """Seconds since the newest followed ledger closed, by this machine's clock."""
        return (datetime.now(UTC) - self.closed_at).total_seconds()
