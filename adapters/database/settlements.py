"""The settlement book: the engine's record in Postgres.

Every change locks the settlement's row, compares it with what the caller believed (status and newest attempt), and
only then swaps; a caller who believed something else changes nothing and is handed the row as it is.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import Row, and_, delete, func, insert, or_, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from activities.settlement_parts import Attempt, Envelope, Pin, Proof, Send, Settlement, Simulation
from adapters.database.engine import Database
from adapters.database.settlements_tables import (
    attempts,
    lanes,
    ledger_head,
    pins,
    reservations,
    sends,
    settlements,
    spending,
)
from adapters.database.switches import frozen
from domain.errors import Conflict, HoldfastError, NotFound, Refused, Unavailable
from domain.settlement import Control, Intent, SettlementOutcome, SettlementStatus, check_transition

_S = SettlementStatus
_LEASE: Final = timedelta(seconds=20)
_ASK_AFTER: Final = timedelta(minutes=10)
"""An unknown older than this asks a person to look; nothing else changes."""


class SettlementBook:
    """Satisfies `activities.settlement_parts.SettlementBook`; `owner` names this process in leases."""

    def __init__(self, database: Database, *, owner: str = "front") -> None:
        self._database = database
        self._owner = owner

    # What stories and the front call.

    async def accept(self, connection: AsyncConnection, intent: Intent) -> SettlementOutcome:
        """Record an intent inside the caller's transaction; again with the same intent changes nothing.

        Raises:
            Conflict: the id is there with another intent.
        """
        inserted = await connection.execute(
            upsert(settlements)
            .values(**_intent_columns(intent))
            .on_conflict_do_nothing()
            .returning(settlements.c.id)
        )
        if inserted.scalar_one_or_none() is not None:
            return SettlementOutcome(settlement_id=intent.settlement_id, status=_S.ACCEPTED)
        row = await _locked(connection, intent.settlement_id)
        if row.fingerprint != intent.fingerprint:
            raise Conflict(
                f"{intent.settlement_id} was accepted with another intent",
                settlement_id=intent.settlement_id,
                differs=", ".join(_differences(row.intent, intent)),
            )
        return _outcome(row)

    async def retry(self, connection: AsyncConnection, intent: Intent) -> SettlementOutcome:
        """Let a failed settlement begin again, with the intent as it is now; its marker stays the same.

        Raises:
            Conflict: `wrong_state`: it has not failed, so it may still be paid or was.
        """
        row = await _locked(connection, intent.settlement_id)
        check_transition(row.id, _S(row.status), _S.ACCEPTED)
        changed = await connection.execute(
            update(settlements)
            .where(settlements.c.id == row.id)
            .values(
                **_intent_columns(intent),
                status=_S.ACCEPTED,
                tries=row.tries + 1,
                builds=0,
                control=Control.NONE,
                needs_person=None,
                reason_code=None,
                reason=None,
                details={},
                may_pass=False,
            )
            .returning(*settlements.c)
        )
        return _outcome(changed.one())

    async def control(self, connection: AsyncConnection, settlement_id: str, control: Control) -> None:
        """Set the control column, which the walk reads each ledger.

        Raises:
            NotFound: no such settlement.
            Conflict: `wrong_state`: it is final.
        """
        row = await _locked(connection, settlement_id)
        if _S(row.status).final:
            raise Conflict(f"{settlement_id} is {row.status}: it is final", code="wrong_state")
        await connection.execute(
            update(settlements).where(settlements.c.id == settlement_id).values(control=control)
        )

    async def outcome(self, settlement_id: str) -> SettlementOutcome:
        """How a settlement stands.

        Raises:
            NotFound: no such settlement.
        """
        async with self._database.begin() as connection:
            row = (
                await connection.execute(select(settlements).where(settlements.c.id == settlement_id))
            ).one_or_none()
        if row is None:
            raise NotFound(f"there is no settlement {settlement_id}")
        return _outcome(row)

    # What the walk calls.

    async def load(self, settlement_id: str) -> Settlement:
        """Read a settlement and renew our lease on it.

        Raises:
            NotFound: no such settlement.
        """
        async with self._database.begin() as connection:
            leased = await connection.execute(
                update(settlements)
                .where(settlements.c.id == settlement_id)
                .values(lease_owner=self._owner, lease_until=func.now() + _LEASE)
                .returning(*settlements.c)
            )
            row = leased.one_or_none()
            if row is None:
                raise NotFound(f"there is no settlement {settlement_id}")
            return await _settlement(connection, row)

    async def write_ahead(
        self,
        settlement: Settlement,
        simulation: Simulation,
        *,
        max_time: datetime,
        day_max_units: int | None,
        build: Callable[[str, int], Envelope],
    ) -> Settlement:
        """See `activities.settlement_parts.SettlementBook`."""
        async with self._database.begin() as connection:
            row = await _as_believed(connection, settlement)
            if row is None:
                return await _reread(connection, settlement.id)
            await _reserve(connection, settlement.intent, day_max_units)
            pin = settlement.pin or await _take_lane(connection, settlement.id)
            envelope = build(pin.lane, pin.sequence)
            await connection.execute(
                update(attempts).where(attempts.c.pin_id == pin.id, ~attempts.c.superseded).values(superseded=True)
            )
            await _insert_attempt(
                connection,
                settlement.id,
                pin,
                envelope,
                max_time,
                resource_fee=simulation.resource_fee,
                simulated_ledger=simulation.ledger,
            )
            return await _move(connection, row, _S.BUILT, builds=row.builds + 1)

    async def write_send(
        self, settlement: Settlement, *, signature: bytes | None, signed_envelope: str, send: Send
    ) -> Settlement:
        """See `activities.settlement_parts.SettlementBook`."""
        async with self._database.begin() as connection:
            row = await _as_believed(connection, settlement)
            attempt = settlement.attempt
            if row is None or attempt is None or settlement.pin is None:
                return await _reread(connection, settlement.id)
            if (stopped := await _stopped(connection)) is not None:
                raise Unavailable(stopped, code="frozen")
            await connection.execute(
                update(attempts)
                .where(attempts.c.id == attempt.id)
                .values(signatures=[signature.hex()] if signature else [], signed_envelope=signed_envelope)
            )
            await connection.execute(update(pins).where(pins.c.id == settlement.pin.id).values(lane_signed=True))
            await _insert_send(connection, settlement.id, attempt.id, send)
            if settlement.status is not _S.QUEUED:
                await _set_status(connection, row, _S.QUEUED)
            return await _move(connection, row, _S.SUBMITTED, submitted_at=func.now())

    async def write_bump(self, settlement: Settlement, send: Send) -> Settlement:
        """See `activities.settlement_parts.SettlementBook`."""
        async with self._database.begin() as connection:
            row = await _as_believed(connection, settlement)
            if row is not None and settlement.attempt is not None:
                await _insert_send(connection, settlement.id, settlement.attempt.id, send)
                if settlement.control is Control.BUMP:
                    await connection.execute(
                        update(settlements).where(settlements.c.id == row.id).values(control=Control.NONE)
                    )
            return await _reread(connection, settlement.id)

    async def write_burn(
        self, settlement: Settlement, envelope: Envelope, max_time: datetime, send: Send
    ) -> Settlement:
        """See `activities.settlement_parts.SettlementBook`."""
        async with self._database.begin() as connection:
            row = await _as_believed(connection, settlement)
            if row is not None and settlement.pin is not None:
                attempt_id = await _insert_attempt(
                    connection, settlement.id, settlement.pin, envelope, max_time, burn=True, signed=envelope.xdr
                )
                await _insert_send(connection, settlement.id, attempt_id, send)
            return await _reread(connection, settlement.id)

    async def note_answer(self, send: Send, answer: str) -> None:
        """Keep what the node said to a send, for `why`."""
        async with self._database.begin() as connection:
            await connection.execute(
                update(sends).where(sends.c.outer_hash == send.outer_hash).values(answer=answer[:500])
            )

    async def record(self, settlement: Settlement, proof: Proof) -> Settlement:
        """See `activities.settlement_parts.SettlementBook`."""
        async with self._database.begin() as connection:
            await _record(connection, settlement.id, proof)
            return await _reread(connection, settlement.id)

    async def record_landed(self, proofs: Sequence[tuple[str, Proof]]) -> frozenset[str]:
        """Record what one ledger holds of ours, all in one transaction; gives the settlements that it ended."""
        if not proofs:
            return frozenset()
        async with self._database.begin() as connection:
            return frozenset(
                [
                    settlement_id
                    for settlement_id, proof in proofs
                    if await _record(connection, settlement_id, proof)
                ]
            )

    async def ours_among(self, hashes: Sequence[str]) -> dict[str, tuple[str, bool]]:
        """Which of these outer hashes are ours: hash → (settlement, whether it is a burn)."""
        if not hashes:
            return {}
        async with self._database.begin() as connection:
            rows = await connection.execute(
                select(sends.c.outer_hash, sends.c.settlement_id, attempts.c.purpose)
                .join(attempts, attempts.c.id == sends.c.attempt_id)
                .where(sends.c.outer_hash.in_(hashes))
            )
            return {row.outer_hash: (row.settlement_id, row.purpose == "burn") for row in rows}

    async def record_paid_before(self, settlement: Settlement, proof: Proof | None) -> Settlement:
        """See `activities.settlement_parts.SettlementBook`."""
        async with self._database.begin() as connection:
            row = await _locked(connection, settlement.id)
            if _S(row.status).final:
                return await _reread(connection, settlement.id)
            await _end_pin(connection, settlement.id, consumer=proof.tx_hash if proof else None)
            await _end_reservation(connection, settlement.id, posted=True)
            return await _move(
                connection,
                row,
                _S.CONFIRMED,
                confirmed_at=func.now(),
                tx_hash=proof.tx_hash if proof else None,
                ledger=proof.ledger if proof else None,
                closed_at=proof.closed_at if proof else None,
                fee_charged=proof.fee_charged if proof else None,
                reason="the contract's marker was there: it was paid before our record knew of it",
                needs_person=None,
            )

    async def fail_unsent(self, settlement: Settlement, refusal: HoldfastError) -> Settlement:
        """See `activities.settlement_parts.SettlementBook`."""
        return await self._end_unpaid(settlement, _S.FAILED, refusal)

    async def fail_expired(self, settlement: Settlement, refusal: HoldfastError) -> Settlement:
        """See `activities.settlement_parts.SettlementBook`."""
        return await self._end_unpaid(settlement, _S.FAILED, refusal)

    async def cancel_unsent(self, settlement: Settlement) -> Settlement:
        """See `activities.settlement_parts.SettlementBook`."""
        return await self._end_unpaid(
            settlement, _S.CANCELLED, Refused("cancelled by an operator", code="cancelled")
        )

    async def fail_consumed(self, settlement: Settlement, reason: str) -> Settlement:
        """See `activities.settlement_parts.SettlementBook`."""
        async with self._database.begin() as connection:
            row = await _as_believed(connection, settlement)
            if row is None:
                return await _reread(connection, settlement.id)
            await _end_pin(connection, settlement.id, consumer="unidentified")
            await _end_reservation(connection, settlement.id, posted=False)
            return await _move(
                connection, row, _S.FAILED, reason_code="failed_on_ledger", reason=reason, may_pass=True
            )

    async def supersede(self, settlement: Settlement) -> Settlement:
        """See `activities.settlement_parts.SettlementBook`."""
        async with self._database.begin() as connection:
            row = await _as_believed(connection, settlement)
            if row is None:
                return await _reread(connection, settlement.id)
            await connection.execute(
                update(attempts).where(attempts.c.settlement_id == settlement.id).values(superseded=True)
            )
            return await _move(connection, row, _S.BUILT, needs_person=None)

    async def doubt(self, settlement: Settlement, *, person: str | None) -> Settlement:
        """See `activities.settlement_parts.SettlementBook`."""
        async with self._database.begin() as connection:
            row = await _as_believed(connection, settlement)
            if row is None:
                return await _reread(connection, settlement.id)
            submitted: datetime | None = row.submitted_at
            if person is None and submitted is not None and datetime.now(UTC) - submitted > _ASK_AFTER:
                since = submitted.isoformat(timespec="seconds")
                person = f"no proof either way since {since}; it is looked at each ledger"
            if row.status == _S.UNKNOWN:
                await connection.execute(
                    update(settlements).where(settlements.c.id == row.id).values(needs_person=person)
                )
                return await _reread(connection, settlement.id)
            return await _move(connection, row, _S.UNKNOWN, needs_person=person)

    async def envelopes_sent(self, settlement: Settlement) -> tuple[str, ...]:
        """See `activities.settlement_parts.SettlementBook`."""
        async with self._database.begin() as connection:
            rows = await connection.execute(
                select(sends.c.outer_hash)
                .join(pins, pins.c.settlement_id == sends.c.settlement_id)
                .where(sends.c.settlement_id == settlement.id, pins.c.state == "held")
                .order_by(sends.c.created_at.desc())
            )
            return tuple(rows.scalars())

    async def orphans(self) -> tuple[tuple[str, Send], ...]:
        """Settlements in flight whose owner's lease lapsed, with the envelope to send again."""
        async with self._database.begin() as connection:
            if await _stopped(connection) is not None:
                return ()
            rows = await connection.execute(
                select(sends.c.settlement_id, sends.c.outer_hash, sends.c.envelope, sends.c.inclusion_fee)
                .distinct(sends.c.settlement_id)
                .join(settlements, settlements.c.id == sends.c.settlement_id)
                .where(
                    settlements.c.status.in_((_S.SUBMITTED, _S.UNKNOWN)),
                    settlements.c.control.in_((Control.NONE, Control.BUMP)),
                    or_(settlements.c.lease_until.is_(None), settlements.c.lease_until < func.now()),
                )
                .order_by(sends.c.settlement_id, sends.c.created_at.desc())
                .limit(200)
            )
            return tuple((r.settlement_id, Send(r.outer_hash, r.envelope, r.inclusion_fee)) for r in rows)

    async def _end_unpaid(
        self, settlement: Settlement, status: SettlementStatus, refusal: HoldfastError
    ) -> Settlement:
        """End a settlement of which nothing can land any more, and give its number back."""
        async with self._database.begin() as connection:
            row = await _as_believed(connection, settlement)
            if row is None:
                return await _reread(connection, settlement.id)
            await _return_pin(connection, settlement.id)
            await _end_reservation(connection, settlement.id, posted=False)
            return await _move(
                connection,
                row,
                status,
                reason_code=refusal.code,
                reason=refusal.message,
                details=refusal.details,
                may_pass=refusal.retryable,
                needs_person=None,
            )


def _intent_columns(intent: Intent) -> dict[str, Any]:
    return {
        "id": intent.settlement_id,
        "kind": intent.kind,
        "fingerprint": intent.fingerprint,
        "intent": json.loads(intent.model_dump_json()),
        "marker_id": intent.marker_id,
        "payer": intent.payer,
        "amount_units": intent.amount_units,
        "asset": intent.asset,
        "source": intent.source,
        "destination": intent.destination,
    }


def _differences(stored: dict[str, Any], intent: Intent) -> list[str]:
    now = json.loads(intent.model_dump_json())
    return sorted(name for name in now if stored.get(name) != now[name])


def _outcome(row: Row[Any]) -> SettlementOutcome:
    return SettlementOutcome(
        settlement_id=row.id,
        status=_S(row.status),
        tx_hash=row.tx_hash,
        ledger=row.ledger,
        closed_at=row.closed_at,
        reason_code=row.reason_code,
        reason=row.reason or row.needs_person,
        details=row.details,
        may_pass=row.may_pass,
    )


async def _locked(connection: AsyncConnection, settlement_id: str) -> Row[Any]:
    row = (
        await connection.execute(select(settlements).where(settlements.c.id == settlement_id).with_for_update())
    ).one_or_none()
    if row is None:
        raise NotFound(f"there is no settlement {settlement_id}")
    return row


async def _as_believed(connection: AsyncConnection, settlement: Settlement) -> Row[Any] | None:
    """Lock the row; None where status or newest attempt is not what the caller believes."""
    row = await _locked(connection, settlement.id)
    current = await _newest_attempt(connection, settlement.id)
    believed = settlement.attempt.id if settlement.attempt else None
    return row if row.status == settlement.status and (current.id if current else None) == believed else None


async def _reread(connection: AsyncConnection, settlement_id: str) -> Settlement:
    row = (await connection.execute(select(settlements).where(settlements.c.id == settlement_id))).one()
    return await _settlement(connection, row)


async def _stopped(connection: AsyncConnection) -> str | None:
    """Why nothing may be sent now, if anything stands against it."""
    halted = (await connection.execute(select(ledger_head.c.halted_reason))).scalar_one_or_none()
    if halted is not None:
        return f"history changed: {halted}"
    freeze = await frozen(connection)
    return None if freeze is None else f"all sending is frozen: {freeze.reason}"


async def _newest_attempt(connection: AsyncConnection, settlement_id: str) -> Row[Any] | None:
    """The newest attempt on the held pin that is not superseded."""
    rows = await connection.execute(
        select(attempts)
        .join(pins, pins.c.id == attempts.c.pin_id)
        .where(attempts.c.settlement_id == settlement_id, pins.c.state == "held", ~attempts.c.superseded)
        .order_by(attempts.c.id.desc())
        .limit(1)
    )
    return rows.one_or_none()


async def _settlement(connection: AsyncConnection, row: Row[Any]) -> Settlement:
    status = _S(row.status)
    pin = attempt = send = None
    if not status.final and status is not _S.ACCEPTED:
        held = (
            await connection.execute(select(pins).where(pins.c.settlement_id == row.id, pins.c.state == "held"))
        ).one_or_none()
        if held is not None:
            pin = Pin(held.id, held.lane, held.sequence, held.lane_signed)
        newest = await _newest_attempt(connection, row.id)
        if newest is not None:
            attempt = Attempt(
                id=newest.id,
                burn=newest.purpose == "burn",
                inner_hash=newest.inner_hash,
                envelope=newest.envelope,
                max_time=newest.max_time,
                resource_fee=newest.resource_fee,
                simulated_ledger=newest.simulated_ledger,
                signed_envelope=newest.signed_envelope or "",
            )
            last = (
                await connection.execute(
                    select(sends)
                    .where(sends.c.attempt_id == newest.id)
                    .order_by(sends.c.inclusion_fee.desc())
                    .limit(1)
                )
            ).one_or_none()
            if last is not None:
                send = Send(last.outer_hash, last.envelope, last.inclusion_fee)
    return Settlement(
        intent=Intent.model_validate(row.intent),
        status=status,
        control=Control(row.control),
        builds=row.builds,
        pin=pin,
        attempt=attempt,
        send=send,
        outcome=_outcome(row),
        stopped=None if status.final else await _stopped(connection),
    )


async def _set_status(
    connection: AsyncConnection, row: Row[Any], status: SettlementStatus, **columns: Any
) -> Row[Any]:
    changed = await connection.execute(
        update(settlements)
        .where(settlements.c.id == row.id)
        .values(status=status, **columns)
        .returning(*settlements.c)
    )
    return changed.one()


async def _move(
    connection: AsyncConnection, row: Row[Any], status: SettlementStatus, **columns: Any
) -> Settlement:
    return await _settlement(connection, await _set_status(connection, row, status, **columns))


async def _take_lane(connection: AsyncConnection, settlement_id: str) -> Pin:
    """Take a free lane and pin its next number.

    Raises:
        Unavailable: `no_lane_free`.
    """
    free = select(lanes.c.address).where(lanes.c.settlement_id.is_(None)).order_by(lanes.c.number).limit(1)
    taken = await connection.execute(
        update(lanes)
        .where(lanes.c.address == free.with_for_update(skip_locked=True).scalar_subquery())
        .values(settlement_id=settlement_id)
        .returning(lanes.c.address, lanes.c.sequence)
    )
    lane = taken.one_or_none()
    if lane is None:
        raise Unavailable("every lane is busy", code="no_lane_free")
    sequence = lane.sequence + 1
    pinned = await connection.execute(
        insert(pins).values(lane=lane.address, sequence=sequence, settlement_id=settlement_id).returning(pins.c.id)
    )
    return Pin(pinned.scalar_one(), lane.address, sequence, lane_signed=False)


async def _end_pin(connection: AsyncConnection, settlement_id: str, *, consumer: str | None) -> None:
    """The pinned number is consumed: free the lane, which goes on after it."""
    ended = await connection.execute(
        update(pins)
        .where(pins.c.settlement_id == settlement_id, pins.c.state == "held")
        .values(state="consumed", consumer=consumer, ended_at=func.now())
        .returning(pins.c.lane, pins.c.sequence, pins.c.lane_signed)
    )
    for pin in ended:
        await connection.execute(
            update(lanes)
            .where(lanes.c.address == pin.lane)
            # A number that the lane never signed for was not consumed by us: it is the next one still.
            .values(settlement_id=None, sequence=pin.sequence if pin.lane_signed else lanes.c.sequence)
        )


async def _return_pin(connection: AsyncConnection, settlement_id: str) -> None:
    """The pinned number can no longer be consumed by an envelope of ours: free the lane, at the same number."""
    returned = await connection.execute(
        update(pins)
        .where(pins.c.settlement_id == settlement_id, pins.c.state == "held")
        .values(state="returned", ended_at=func.now())
        .returning(pins.c.lane)
    )
    for lane in returned.scalars():
        await connection.execute(update(lanes).where(lanes.c.address == lane).values(settlement_id=None))


async def _insert_attempt(
    connection: AsyncConnection,
    settlement_id: str,
    pin: Pin,
    envelope: Envelope,
    max_time: datetime,
    *,
    resource_fee: int = 0,
    simulated_ledger: int = 0,
    burn: bool = False,
    signed: str | None = None,
) -> int:
    inserted = await connection.execute(
        upsert(attempts)
        .values(
            pin_id=pin.id,
            settlement_id=settlement_id,
            purpose="burn" if burn else "pay",
            inner_hash=envelope.hash,
            envelope=envelope.xdr,
            max_time=max_time,
            resource_fee=resource_fee,
            simulated_ledger=simulated_ledger,
            signed_envelope=signed,
        )
        # Built again within one second of ledger time the envelope is the same to the byte: take it up again.
        .on_conflict_do_update(index_elements=["inner_hash"], set_={"superseded": False, "pin_id": pin.id})
        .returning(attempts.c.id)
    )
    return int(inserted.scalar_one())


async def _insert_send(connection: AsyncConnection, settlement_id: str, attempt_id: int, send: Send) -> None:
    await connection.execute(
        upsert(sends)
        .values(
            outer_hash=send.outer_hash,
            attempt_id=attempt_id,
            settlement_id=settlement_id,
            envelope=send.envelope,
            inclusion_fee=send.inclusion_fee,
        )
        .on_conflict_do_nothing()
    )


async def _record(connection: AsyncConnection, settlement_id: str, proof: Proof) -> bool:
    """Record one proof; False where the settlement was final already."""
    row = await _locked(connection, settlement_id)
    if _S(row.status).final:
        return False
    paid = proof.successful and not proof.burn
    await _end_pin(connection, settlement_id, consumer=proof.tx_hash)
    await _end_reservation(connection, settlement_id, posted=paid)
    columns: dict[str, Any] = {
        "tx_hash": proof.tx_hash,
        "ledger": proof.ledger,
        "closed_at": proof.closed_at,
        "fee_charged": proof.fee_charged,
        "needs_person": None,
    }
    if paid:
        await _set_status(connection, row, _S.CONFIRMED, confirmed_at=func.now(), **columns)
    elif proof.burn:
        reason = "cancelled: the sequence number was consumed by a no-op"
        await _set_status(connection, row, _S.CANCELLED, reason_code="cancelled", reason=reason, **columns)
    else:
        reason = f"the ledger recorded it as failed: {proof.result}"
        # A new try is simulated first, which names the cause with figures where there still is one.
        await _set_status(
            connection, row, _S.FAILED, reason_code="failed_on_ledger", reason=reason, may_pass=True, **columns
        )
    return True


async def _reserve(connection: AsyncConnection, intent: Intent, day_max_units: int | None) -> None:
    """Reserve the amount in the day's limit of payer and asset, once a settlement.

    Raises:
        Refused: `policy_day`, with both figures.
    """
    existing = (
        await connection.execute(select(reservations).where(reservations.c.settlement_id == intent.settlement_id))
    ).one_or_none()
    if existing is not None and existing.state != "voided":
        return
    day = datetime.now(UTC).date()
    key = and_(spending.c.payer == intent.payer, spending.c.asset == intent.asset, spending.c.day == day)
    await connection.execute(
        upsert(spending).values(payer=intent.payer, asset=intent.asset, day=day).on_conflict_do_nothing()
    )
    if day_max_units is not None:
        spent = (await connection.execute(select(spending).where(key).with_for_update())).one()
        total = int(spent.reserved_units + spent.posted_units) + intent.amount_units
        if total > day_max_units:
            raise Refused(
                f"{total} units of {intent.asset} today would be above the day's limit of {day_max_units}",
                code="policy_day",
                day_units=str(total),
                day_units_max=str(day_max_units),
            )
    await connection.execute(
        update(spending).where(key).values(reserved_units=spending.c.reserved_units + intent.amount_units)
    )
    await connection.execute(delete(reservations).where(reservations.c.settlement_id == intent.settlement_id))
    await connection.execute(
        insert(reservations).values(
            settlement_id=intent.settlement_id,
            payer=intent.payer,
            asset=intent.asset,
            day=day,
            units=intent.amount_units,
        )
    )


async def _end_reservation(connection: AsyncConnection, settlement_id: str, *, posted: bool) -> None:
    ended = await connection.execute(
        update(reservations)
        .where(reservations.c.settlement_id == settlement_id, reservations.c.state == "reserved")
        .values(state="posted" if posted else "voided")
        .returning(reservations.c.payer, reservations.c.asset, reservations.c.day, reservations.c.units)
    )
    for row in ended:
        await connection.execute(
            update(spending)
            .where(spending.c.payer == row.payer, spending.c.asset == row.asset, spending.c.day == row.day)
            .values(
                reserved_units=spending.c.reserved_units - row.units,
                posted_units=spending.c.posted_units + (row.units if posted else 0),
            )
        )
