"""Pins, attempts and sends inside one transaction: a lane's number taken, its envelopes, and how it ends."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from activities.settlement_parts import Attempt, Envelope, Pin, Send
from adapters.database.settlements_tables import attempts, lanes, pins, sends
from domain.errors import Unavailable


async def take_lane(connection: AsyncConnection, settlement_id: str) -> Pin:
    """Take a free lane and pin its next number.

    Raises:
        Unavailable: `no_lane_free`.
    """
    idle = lanes.c.settlement_id.is_(None) & ~lanes.c.retired
    free = select(lanes.c.address).where(idle).order_by(lanes.c.number).limit(1)
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


async def end_pin(connection: AsyncConnection, pin_id: int | None, *, consumer: str | None) -> None:
    """The pinned number is consumed: free the lane, which goes on after it, or where a reconcile saw it."""
    if pin_id is None:
        return
    ended = (
        update(pins)
        .where(pins.c.id == pin_id, pins.c.state == "held")
        .values(state="consumed", consumer=consumer, ended_at=func.now())
        .returning(pins.c.lane, pins.c.sequence)
        .cte("ended")
    )
    await connection.execute(
        update(lanes)
        .where(lanes.c.address == ended.c.lane)
        .values(settlement_id=None, sequence=func.greatest(lanes.c.sequence, ended.c.sequence))
    )


async def return_pin(connection: AsyncConnection, pin_id: int | None) -> None:
    """No envelope of ours can consume the pinned number any more: free the lane, at the same number."""
    if pin_id is None:
        return
    returned = (
        update(pins)
        .where(pins.c.id == pin_id, pins.c.state == "held")
        .values(state="returned", ended_at=func.now())
        .returning(pins.c.lane)
        .cte("returned")
    )
    await connection.execute(update(lanes).where(lanes.c.address == returned.c.lane).values(settlement_id=None))


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
) -> Attempt:
    """Write an envelope ahead."""
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
    return Attempt(
        id=inserted.scalar_one(),
        burn=burn,
        inner_hash=envelope.hash,
        envelope=envelope.xdr,
        max_time=max_time,
        resource_fee=resource_fee,
        simulated_ledger=simulated_ledger,
        signed_envelope=signed or "",
    )


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
