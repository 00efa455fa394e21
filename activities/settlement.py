"""Settle: the one verb that moves money.

One activity walks the whole line

    intent → policy → simulate → pin → sign → look again → lane signs → send → proof → record

and each step is guarded by the row's state, never by the number of the try: whoever comes next, after a crash or
beside us, goes on where the row stands. Where somebody outside signs, it is left at `awaiting_signature`, and
walked on when enough signatures are there or the request has ended. Three rules carry everything:

* nothing leaves us that is not written ahead (pin and envelope before a signer is asked, the signed fee bump
  before the first byte);
* what waited is looked at again before the lane signs: what is stale is asked for anew, never sent to fail;
* after the lane has signed, only proof ends a settlement: SUCCESS or FAILED by hash, or the verdict.
"""

from __future__ import annotations

import asyncio
from base64 import b64decode
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Final

from temporalio import activity

from activities.building import Building
from activities.settlement_parts import (
    Attempt,
    Envelope,
    Pin,
    Send,
    Settlement,
    Simulation,
    Stale,
    Ticket,
)
from domain.errors import OutcomeUnknown, Refused, Unavailable
from domain.settlement import (
    Control,
    Intent,
    MarkerState,
    SettlementOutcome,
    SettlementStatus,
    SigningMode,
    Verdict,
    verdict,
)

_HEARTBEAT_SECONDS: Final = 5.0
_CLOSES_MAX: Final = 3
"""After so many ledgers without proof the story is told `pending` and asks again."""
_CLOSES_BEFORE_BUMP: Final = 2
_QUEUED_ANSWERS: Final = frozenset({"PENDING", "DUPLICATE"})
_LEAST_LEFT: Final = timedelta(seconds=10)
"""An envelope with less than this to live is not sent: it is built anew on the same pin."""
_LEDGERS_LEFT: Final = 3
"""A signed authorization entry with fewer ledgers to live is not sent: another is asked for."""


class SettlementActivities(Building):
    """The engine's activities, wired by the workers."""

    @activity.defn(name="settle")
    async def settle(self, settlement_id: str) -> SettlementOutcome:
        """Walk a settlement until it is final, or report it pending after three ledgers.

        Raises:
            Unavailable: something that it needs does not answer; the row keeps its place, try again.
        """
        async with _heartbeats():
            outcome = await self.walk(settlement_id)
            return await self._conclude(outcome) if outcome.status.final else outcome

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
            if settlement.ending is not None:
                settlement = await self._close(settlement)
                if settlement.ending is not None and not settlement.status.final:
                    return settlement.outcome
                continue
            if settlement.control is Control.CANCEL:
                settlement = await self._book.cancel_unsent(settlement)
                continue
            if self._waits(settlement):
                return settlement.outcome
            try:
                settlement = await self._advance(settlement)
            except Refused as refusal:
                settlement = await self._book.fail_unsent(settlement, refusal)
            except Unavailable as unavailable:
                if unavailable.code == "no_lane_free":
                    await self._book.note_wait(settlement, unavailable.message)
                raise
        return settlement.outcome

    def _waits(self, settlement: Settlement) -> bool:
        """Whether the next step is somebody else's."""
        if settlement.control is Control.HOLD:
            return True
        if settlement.status is SettlementStatus.AWAITING_SIGNATURE:
            return self._is_fresh(settlement)
        built = settlement.status in {SettlementStatus.BUILT, SettlementStatus.QUEUED}
        return built and not self._goes_on(settlement.intent)

    async def _advance(self, settlement: Settlement) -> Settlement:
        """One step before the first send. A Refused here is definite: the lane has not signed."""
        if settlement.stopped is not None:
            raise Unavailable(settlement.stopped, code="frozen")
        if not self._is_fresh(settlement):
            return await self._build(settlement, because="it expired before it was signed and sent")
        if settlement.ticket is not None:
            return await self._send_what_was_signed(settlement, settlement.ticket)
        if self._deferred(settlement.intent):
            return await self._build(settlement, because="somebody else signs now")
        return await self._sign_and_write(settlement)

    def _is_fresh(self, settlement: Settlement) -> bool:
        """Whether what was built, or is waited for, can still be sent. By ledger close time, or by ledger."""
        ticket, attempt, closed_at = settlement.ticket, settlement.attempt, self._closes.closed_at
        if ticket is not None:
            waits = settlement.status is SettlementStatus.AWAITING_SIGNATURE
            if waits and closed_at > ticket.request.expires_at:
                return False
            if ticket.request.expires_ledger is not None:
                return ticket.request.expires_ledger - self._closes.sequence >= _LEDGERS_LEFT
        if settlement.pin is None or attempt is None:
            return False
        return attempt.max_time - closed_at >= _LEAST_LEFT

    async def _sign_and_write(self, settlement: Settlement) -> Settlement:
        """The payer signs, the lane signs last, and both are committed with the first fee bump."""
        _, attempt = _pinned(settlement)
        self._policy.check(settlement.intent)
        return await self._write_send(settlement, await self._sign(settlement.intent, attempt.inner_hash))

    async def _sign(self, intent: Intent, signed_hash: str) -> Mapping[str, bytes]:
        """Have our own signer sign, at once."""
        signer = self._signers.get(intent.signer or intent.payer)
        if signer is None:
            named = f" as {intent.signer}" if intent.signer else ""
            raise Refused(f"no signer here signs{named} for {intent.payer}", code="signature_refused")
        # First the signature: a key that is kept elsewhere may be known only then.
        signature = await signer.sign(bytes.fromhex(signed_hash))
        return {signer.public_key: signature}

    async def _write_send(self, settlement: Settlement, signatures: Mapping[str, bytes]) -> Settlement:
        pin, attempt = _pinned(settlement)
        signed = self._ledger.sign_last(attempt.envelope, pin.lane, signatures)
        fees = self._fees_for(settlement.intent)
        bid = fees.first_bid(attempt.resource_fee, await self._ledger.inclusion_fee_p90())
        return await self._book.write_send(
            settlement, signatures=signatures, signed_envelope=signed, send=self._ledger.bump(signed, bid)
        )

    async def _send_what_was_signed(self, settlement: Settlement, ticket: Ticket) -> Settlement:
        """The second look: signers, policy and the call itself as they are now; then the lane signs, last."""
        intent = settlement.intent
        self._policy.check(intent)
        if ticket.deferred and self._day_max_units is not None:
            await self._book.reserve_today(settlement, self._day_max_units)
        signatures = await self._signatures(intent, ticket)
        if signatures is None:
            return await self._build(settlement, because="the payer's signers or their weights have changed")
        if ticket.request.kind is SigningMode.ENVELOPE:
            _, attempt = _pinned(settlement)
            stale = await self._ledger.look_again(intent, attempt)
            if stale is not None:
                return await self._build(settlement, because=stale.reason)
            return await self._write_send(settlement, signatures)
        entry = self._ledger.assemble(ticket.request, signatures)
        simulation = await self._ledger.enforce(intent, entry)
        if isinstance(simulation, Stale):
            if not ticket.deferred:
                raise Unavailable(f"the ledger does not take what our signer signed: {simulation.reason}")
            return await self._build(settlement, because=simulation.reason)
        if simulation.replayed:
            return await self._record_paid(settlement)
        return await self._send_around(entry, settlement, signatures, simulation)

    async def _signatures(self, intent: Intent, ticket: Ticket) -> Mapping[str, bytes] | None:
        """The fewest signatures that are enough by the ledger as it is now; None where they no longer are."""
        if not ticket.deferred:
            signed = await self._sign(intent, ticket.request.hash)
            authority = await self._ledger.authority(intent.payer)
            if not authority.suffices(signed):
                raise Refused(
                    f"{', '.join(signed)} weighs {authority.weight_of(signed)} for {intent.payer}, which wants "
                    f"{authority.threshold}",
                    code="signature_unknown_signer",
                )
            return signed
        there = {each.signer: b64decode(each.signature) for each in ticket.signatures}
        chosen = (await self._ledger.authority(intent.payer)).minimal(there)
        return None if chosen is None else {signer: there[signer] for signer in chosen}

    async def _send_around(
        self, entry: str, settlement: Settlement, signatures: Mapping[str, bytes], simulation: Simulation
    ) -> Settlement:
        """Sequence, footprint and fees are made fresh around the signed entry; the lane signs, last."""
        fees = self._fees_for(settlement.intent)
        bid = fees.first_bid(simulation.resource_fee, await self._ledger.inclusion_fee_p90())
        max_time = self._until(self._validity)

        def build(lane: str, sequence: int) -> tuple[Envelope, str, Send]:
            inner = self._ledger.build_around(settlement.intent, entry, simulation, (lane, sequence), max_time)
            signed = self._ledger.sign_last(inner.xdr, lane, {})
            return inner, signed, self._ledger.bump(signed, bid)

        return await self._book.write_entry_send(
            settlement, simulation, signatures=signatures, max_time=max_time, build=build
        )

    async def _close(self, settlement: Settlement) -> Settlement:
        """End what is not to be paid, once nobody can use the entries that were shown; unless somebody did."""
        ending = settlement.ending
        for _ in range(_CLOSES_MAX):
            if ending is None:
                break
            kept = await self._ledger.kept(settlement.intent)
            if kept.marker is MarkerState.PAID:
                return await self._record_paid(settlement)
            if kept.marker is MarkerState.VOID or kept.ledger > ending.after:
                return await self._book.end(settlement)
            if ending.after - kept.ledger >= _CLOSES_MAX:
                break
            await self._closes.wait(settlement.id)
        return settlement

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
        send, fees = settlement.send, self._fees_for(settlement.intent)
        if settlement.stopped is not None or send is None:
            return settlement
        if settlement.control is Control.CANCEL and not attempt.burn:
            max_time = (self._closes.closed_at + self._validity).replace(microsecond=0)
            unsigned = self._ledger.build_burn(pin.lane, pin.sequence, max_time)
            signed = self._ledger.sign_last(unsigned.xdr, pin.lane, {})
            burn = Envelope(signed, unsigned.hash)
            bid = fees.next_bid(0, send.inclusion_fee, burn=True) or send.inclusion_fee
            return await self._book.write_burn(settlement, burn, max_time, self._ledger.bump(signed, bid))
        if bump or settlement.control is Control.BUMP:
            higher = fees.next_bid(attempt.resource_fee, send.inclusion_fee, burn=attempt.burn)
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
                return await self._record_paid(settlement)
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
    """Heartbeat beside the work, so that a dead worker is noticed in seconds; most walks end before the first."""

    async def beat() -> None:
        while True:
            await asyncio.sleep(_HEARTBEAT_SECONDS)
            activity.heartbeat()

    task = asyncio.create_task(beat())
    try:
        yield
    finally:
        task.cancel()
