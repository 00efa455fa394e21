"""Settle: the one verb that moves money.

One activity walks the whole line

    intent → policy → simulate → pin → sign → look again → lane signs → send → proof → record

and each step is guarded by the row's state, never by the number of the try: whoever comes next, after a crash or
beside us, goes on where the row stands. Two rules carry everything:

* nothing leaves us that is not written ahead (pin and envelope before the signer is asked, the signed fee bump
  before the first byte);
* after the lane has signed, only proof ends a settlement: SUCCESS or FAILED by hash, or the verdict.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Final

from temporalio import activity

from activities.settlement_parts import (
    Attempt,
    Closes,
    Envelope,
    Ledger,
    PayerSigner,
    Pin,
    Settlement,
    SettlementBook,
)
from domain.errors import OutcomeUnknown, Refused, Unavailable
from domain.fees import FeePolicy
from domain.policy import Policy
from domain.settlement import Control, SettlementOutcome, SettlementStatus, Verdict, verdict

_HEARTBEAT_SECONDS: Final = 3.0
_CLOSES_MAX: Final = 3
"""After so many ledgers without proof the story is told `pending` and asks again."""
_CLOSES_BEFORE_BUMP: Final = 2
_QUEUED_ANSWERS: Final = frozenset({"PENDING", "DUPLICATE"})
_LEAST_LEFT: Final = timedelta(seconds=10)
"""An envelope with less than this to live is not sent: it is built anew on the same pin."""


class SettlementActivities:
    """The engine's activities, wired by the workers."""

    def __init__(
        self,
        *,
        book: SettlementBook,
        ledger: Ledger,
        closes: Closes,
        signers: Mapping[str, PayerSigner],
        policy: Policy,
        fees: FeePolicy,
        builds_max: int,
        validity: timedelta,
    ) -> None:
        """`signers` by payer; `builds_max` bounds a settlement's envelopes, `validity` is their life."""
        self._book = book
        self._ledger = ledger
        self._closes = closes
        self._signers = signers
        self._policy = policy
        self._fees = fees
        self._builds_max = builds_max
        self._validity = validity

    @activity.defn(name="settle")
    async def settle(self, settlement_id: str) -> SettlementOutcome:
        """Walk a settlement until it is final, or report it pending after three ledgers.

        Raises:
            Unavailable: something that it needs does not answer; the row keeps its place, try again.
        """
        async with _heartbeats():
            return await self.walk(settlement_id)

    async def walk(self, settlement_id: str) -> SettlementOutcome:
        """The same without Temporal."""
        settlement = await self._book.load(settlement_id)
        while not settlement.status.final:
            if settlement.status.in_flight:
                try:
                    settlement = await self._prove(settlement)
                except Refused as refusal:
                    # The lane has signed: a no to a question of ours is no proof of anything.
                    raise Unavailable(f"{settlement.id} is in flight, and {refusal.message}") from refusal
                if not settlement.status.final and settlement.status.in_flight:
                    return settlement.outcome
                continue
            if settlement.control is Control.CANCEL:
                settlement = await self._book.cancel_unsent(settlement)
                continue
            if settlement.control is Control.HOLD or settlement.status is SettlementStatus.AWAITING_SIGNATURE:
                return settlement.outcome
            if settlement.status is SettlementStatus.BUILT and not self._policy.live:
                return settlement.outcome
            try:
                settlement = await self._advance(settlement)
            except Refused as refusal:
                settlement = await self._book.fail_unsent(settlement, refusal)
        return settlement.outcome

    async def _advance(self, settlement: Settlement) -> Settlement:
        """One step before the first send. A Refused here is definite: the lane has not signed."""
        if settlement.stopped is not None:
            raise Unavailable(settlement.stopped, code="frozen")
        if settlement.status is SettlementStatus.ACCEPTED or not self._is_fresh(settlement):
            return await self._build(settlement)
        return await self._sign_and_write(settlement)

    def _is_fresh(self, settlement: Settlement) -> bool:
        attempt = settlement.attempt
        return attempt is not None and attempt.max_time - self._closes.closed_at >= _LEAST_LEFT

    async def _build(self, settlement: Settlement) -> Settlement:
        """Policy, simulation, pin, envelope: committed before any signer is asked."""
        intent = settlement.intent
        self._policy.check(intent)
        simulation = await self._ledger.simulate(intent)
        if simulation.replayed:
            return await self._book.record_paid_before(settlement, await self._ledger.find_marker(intent))
        self._fees.first_bid(simulation.resource_fee, 0)
        max_time = (self._closes.closed_at + self._validity).replace(microsecond=0)
        day_max = self._policy.day_max
        return await self._book.write_ahead(
            settlement,
            simulation,
            max_time=max_time,
            day_max_units=None if day_max is None else day_max.units,
            build=lambda lane, sequence: self._ledger.build(intent, simulation, lane, sequence, max_time),
        )

    async def _sign_and_write(self, settlement: Settlement) -> Settlement:
        """The payer signs, the lane signs last, and both are committed with the first fee bump."""
        pin, attempt = _pinned(settlement)
        self._policy.check(settlement.intent)
        signer = self._signers.get(settlement.intent.payer)
        if signer is None:
            raise Refused(f"no signer here signs for {settlement.intent.payer}", code="signature_refused")
        signature = await signer.sign(bytes.fromhex(attempt.inner_hash))
        signed = self._ledger.sign_last(attempt.envelope, pin.lane, signature, signer.public_key)
        bid = self._fees.first_bid(attempt.resource_fee, await self._ledger.inclusion_fee_p90())
        return await self._book.write_send(
            settlement, signature=signature, signed_envelope=signed, send=self._ledger.bump(signed, bid)
        )

    async def _prove(self, settlement: Settlement) -> Settlement:
        """Send, and wait for proof. Whatever a node answers meanwhile, only proof ends it."""
        if settlement.status is SettlementStatus.UNKNOWN:
            settlement = await self._judge(settlement)
        queued = False
        for close in range(1, _CLOSES_MAX + 1):
            if not settlement.status.in_flight:
                return settlement
            before = settlement.send
            settlement = await self._steer(settlement, bump=close > _CLOSES_BEFORE_BUMP)
            may_send = settlement.stopped is None and settlement.control is not Control.HOLD
            # What a node has queued is not sent again before a ledger or two had room for it.
            if may_send and not (queued and settlement.send == before):
                queued = await self._send(settlement)
            await self._closes.wait(settlement.id)
            settlement = await self._book.load(settlement.id)
        return settlement if settlement.status.final else await self._judge(settlement)

    async def _steer(self, settlement: Settlement, *, bump: bool) -> Settlement:
        """Raise the bid when the ladder or an operator says so; burn the number when a cancel is wanted."""
        pin, attempt = _pinned(settlement)
        send = settlement.send
        if settlement.stopped is not None or send is None:
            return settlement
        if settlement.control is Control.CANCEL and not attempt.burn:
            max_time = (self._closes.closed_at + self._validity).replace(microsecond=0)
            unsigned = self._ledger.build_burn(pin.lane, pin.sequence, max_time)
            signed = self._ledger.sign_last(unsigned.xdr, pin.lane, None, pin.lane)
            burn = Envelope(signed, unsigned.hash)
            bid = self._fees.next_bid(0, send.inclusion_fee, burn=True) or send.inclusion_fee
            return await self._book.write_burn(settlement, burn, max_time, self._ledger.bump(signed, bid))
        if bump or settlement.control is Control.BUMP:
            higher = self._fees.next_bid(attempt.resource_fee, send.inclusion_fee, burn=attempt.burn)
            if higher is not None:
                return await self._book.write_bump(settlement, self._ledger.bump(attempt.signed_envelope, higher))
        return settlement

    async def _send(self, settlement: Settlement) -> bool:
        """Send the newest fee bump, unchanged; whether the node says that it is queued, which proves nothing."""
        if settlement.send is None:
            return False
        try:
            answer = await self._ledger.send(settlement.send)
        except (OutcomeUnknown, Refused) as no_answer:
            answer = no_answer.message
        if answer in _QUEUED_ANSWERS:
            return True
        await self._book.note_answer(settlement.send, answer)
        return False

    async def _judge(self, settlement: Settlement) -> Settlement:
        """Look for proof by hash, else by the verdict over the lane's sequence and the marker."""
        pin, attempt = _pinned(settlement)
        proof = await self._ledger.find(await self._book.envelopes_sent(settlement))
        if proof is not None:
            return await self._book.record(settlement, proof)
        witness = await self._ledger.witness(settlement)
        match verdict(witness, sequence=pin.sequence, max_time=pin.until or attempt.max_time):
            case Verdict.PAID:
                found = await self._ledger.find_marker(settlement.intent)
                return await self._book.record_paid_before(settlement, found)
            case Verdict.NOT_PAID:
                return await self._book.fail_consumed(
                    settlement,
                    f"ledger {witness.ledger}: sequence {pin.sequence} of lane {pin.lane} is consumed and the "
                    "contract has no marker: it was not paid, and by this number it never will be",
                )
            case Verdict.EXPIRED:
                return await self._expire(settlement)
            case Verdict.WAIT:
                return await self._book.doubt(settlement, person=None)
            case Verdict.ASK:
                return await self._book.doubt(
                    settlement,
                    person=f"lane {pin.lane} stands at {witness.lane_sequence} on ledger {witness.ledger}, which "
                    f"cannot be with sequence {pin.sequence} pinned: a lane is gone or time went back",
                )

    async def _expire(self, settlement: Settlement) -> Settlement:
        """No envelope on the pin can land any more: build anew on the same pin, as often as is allowed."""
        if settlement.control is Control.CANCEL:
            return await self._book.cancel_unsent(settlement)
        if settlement.builds >= self._builds_max:
            return await self._book.fail_expired(
                settlement,
                Refused(
                    f"built {settlement.builds} times and never admitted to a ledger; each try is proved expired",
                    code="attempts_exhausted",
                    builds=str(settlement.builds),
                    builds_max=str(self._builds_max),
                ),
            )
        return await self._book.supersede(settlement)


def _pinned(settlement: Settlement) -> tuple[Pin, Attempt]:
    if settlement.pin is None or settlement.attempt is None:
        raise AssertionError(f"{settlement.id} is {settlement.status} without a pin")
    return settlement.pin, settlement.attempt


@asynccontextmanager
async def _heartbeats() -> AsyncIterator[None]:
    """Heartbeat beside the work, so that a worker's death is noticed in seconds."""

    async def beat() -> None:
        while True:
            activity.heartbeat()
            await asyncio.sleep(_HEARTBEAT_SECONDS)

    task = asyncio.create_task(beat())
    try:
        yield
    finally:
        task.cancel()
