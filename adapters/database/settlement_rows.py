"""The settlement book's rows: how a settlement is read, pinned, recorded and ended inside one transaction."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Row, and_, delete, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from activities.settlement_parts import Attempt, Envelope, Pin, Proof, Send, Settlement
from adapters.database.heads import halted_reason
from adapters.database.settlements_tables import (
    attempts,
    lanes,
    pins,
    reservations,
    sends,
    settlement_history,
    settlements,
    spending,
)
from adapters.database.switches import frozen
from domain.errors import NotFound, Refused, Unavailable
from domain.settlement import Control, Intent, SettlementOutcome, SettlementStatus
from domain.why import SettlementFacts

_S = SettlementStatus


def intent_columns(intent: Intent) -> dict[str, Any]:
    """An intent as columns of `settlements`."""
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


def differences(stored: dict[str, Any], intent: Intent) -> list[str]:
    """The names of the fields in which an intent differs from the stored one."""
    now = json.loads(intent.model_dump_json())
    return sorted(name for name in now if stored.get(name) != now[name])


def as_outcome(row: Row[Any]) -> SettlementOutcome:
    """What is told of a settlement."""
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


async def locked(connection: AsyncConnection, settlement_id: str) -> Row[Any]:
    """Lock a settlement.

    Raises:
        NotFound: no such settlement.
    """
    row = (
        await connection.execute(select(settlements).where(settlements.c.id == settlement_id).with_for_update())
    ).one_or_none()
    if row is None:
        raise NotFound(f"there is no settlement {settlement_id}")
    return row


async def as_believed(connection: AsyncConnection, settlement: Settlement) -> Row[Any] | None:
    """Lock the row; None where status or newest attempt is not what the caller believes."""
    row = await locked(connection, settlement.id)
    current = await newest_attempt(connection, settlement.id)
    believed = settlement.attempt.id if settlement.attempt else None
    return row if row.status == settlement.status and (current.id if current else None) == believed else None


async def reread(connection: AsyncConnection, settlement_id: str) -> Settlement:
    """Read a settlement as it stands in this transaction."""
    row = (await connection.execute(select(settlements).where(settlements.c.id == settlement_id))).one()
    return await as_settlement(connection, row)


async def why_stopped(connection: AsyncConnection) -> str | None:
    """Why nothing may be sent now, if anything stands against it."""
    halted = await halted_reason(connection)
    if halted is not None:
        return f"history changed: {halted}"
    freeze = await frozen(connection)
    return None if freeze is None else f"all sending is frozen: {freeze.reason}"


async def newest_attempt(connection: AsyncConnection, settlement_id: str) -> Row[Any] | None:
    """The newest attempt on the held pin that is not superseded."""
    rows = await connection.execute(
        select(attempts)
        .join(pins, pins.c.id == attempts.c.pin_id)
        .where(attempts.c.settlement_id == settlement_id, pins.c.state == "held", ~attempts.c.superseded)
        .order_by(attempts.c.id.desc())
        .limit(1)
    )
    return rows.one_or_none()


async def as_settlement(connection: AsyncConnection, row: Row[Any]) -> Settlement:
    """The engine's view of a row."""
    status = _S(row.status)
    pin = attempt = send = None
    if not status.final and status is not _S.ACCEPTED:
        held = (
            await connection.execute(select(pins).where(pins.c.settlement_id == row.id, pins.c.state == "held"))
        ).one_or_none()
        if held is not None:
            pin = Pin(held.id, held.lane, held.sequence, held.lane_signed)
        newest = await newest_attempt(connection, row.id)
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
        outcome=as_outcome(row),
        stopped=None if status.final else await why_stopped(connection),
    )


async def read_facts(connection: AsyncConnection, settlement_id: str) -> SettlementFacts:
    """What the record holds of a settlement, for `why`.

    Raises:
        NotFound: no such settlement.
    """
    row = (await connection.execute(select(settlements).where(settlements.c.id == settlement_id))).one_or_none()
    if row is None:
        raise NotFound(f"there is no settlement {settlement_id}")
    view = await as_settlement(connection, row)
    since: datetime = (
        await connection.execute(
            select(func.max(settlement_history.c.at)).where(settlement_history.c.settlement_id == settlement_id)
        )
    ).scalar_one()
    answer = None
    if view.send is not None:
        asked = select(sends.c.answer).where(sends.c.outer_hash == view.send.outer_hash)
        answer = (await connection.execute(asked)).scalar_one_or_none()
    return SettlementFacts(
        settlement_id=row.id,
        status=view.status,
        control=view.control,
        since=since,
        builds=row.builds,
        tries=row.tries,
        lane=view.pin.lane if view.pin else None,
        sequence=view.pin.sequence if view.pin else None,
        max_time=view.attempt.max_time if view.attempt else None,
        bid_stroops=view.send.inclusion_fee if view.send else None,
        last_answer=answer,
        stopped=view.stopped,
        needs_person=row.needs_person,
        owner_alive=row.lease_until is not None and row.lease_until > datetime.now(UTC),
        tx_hash=row.tx_hash,
        ledger=row.ledger,
        reason_code=row.reason_code,
        reason=row.reason,
    )


async def set_status(
    connection: AsyncConnection, row: Row[Any], status: SettlementStatus, **columns: Any
) -> Row[Any]:
    """Move to a status; the database refuses what TRANSITIONS does not allow."""
    changed = await connection.execute(
        update(settlements)
        .where(settlements.c.id == row.id)
        .values(status=status, **columns)
        .returning(*settlements.c)
    )
    return changed.one()


async def move(connection: AsyncConnection, row: Row[Any], status: SettlementStatus, **columns: Any) -> Settlement:
    """Move to a status, and read the settlement again."""
    return await as_settlement(connection, await set_status(connection, row, status, **columns))


async def take_lane(connection: AsyncConnection, settlement_id: str) -> Pin:
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


async def end_pin(connection: AsyncConnection, settlement_id: str, *, consumer: str | None) -> None:
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


async def return_pin(connection: AsyncConnection, settlement_id: str) -> None:
    """The pinned number can no longer be consumed by an envelope of ours: free the lane, at the same number."""
    returned = await connection.execute(
        update(pins)
        .where(pins.c.settlement_id == settlement_id, pins.c.state == "held")
        .values(state="returned", ended_at=func.now())
        .returning(pins.c.lane)
    )
    for lane in returned.scalars():
        await connection.execute(update(lanes).where(lanes.c.address == lane).values(settlement_id=None))


async def insert_attempt(
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
    """Write an envelope ahead; gives its id."""
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


async def insert_send(connection: AsyncConnection, settlement_id: str, attempt_id: int, send: Send) -> None:
    """Write a fee bump ahead."""
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


async def record(connection: AsyncConnection, settlement_id: str, proof: Proof) -> bool:
    """Record one proof; False where the settlement was final already."""
    row = await locked(connection, settlement_id)
    if _S(row.status).final:
        return False
    paid = proof.successful and not proof.burn
    await end_pin(connection, settlement_id, consumer=proof.tx_hash)
    await end_reservation(connection, settlement_id, posted=paid)
    columns: dict[str, Any] = {
        "tx_hash": proof.tx_hash,
        "ledger": proof.ledger,
        "closed_at": proof.closed_at,
        "fee_charged": proof.fee_charged,
        "needs_person": None,
    }
    if paid:
        await set_status(connection, row, _S.CONFIRMED, confirmed_at=func.now(), **columns)
    elif proof.burn:
        reason = "cancelled: the sequence number was consumed by a no-op"
        await set_status(connection, row, _S.CANCELLED, reason_code="cancelled", reason=reason, **columns)
    else:
        reason = f"the ledger recorded it as failed: {proof.result}"
        # A new try is simulated first, which names the cause with figures where there still is one.
        await set_status(
            connection, row, _S.FAILED, reason_code="failed_on_ledger", reason=reason, may_pass=True, **columns
        )
    return True


async def reserve(connection: AsyncConnection, intent: Intent, day_max_units: int | None) -> None:
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


async def end_reservation(connection: AsyncConnection, settlement_id: str, *, posted: bool) -> None:
    """Post what was reserved, or give it back."""
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
