"""Pins, attempts and sends inside one transaction: a lane's number taken, its envelopes, and how it ends."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from sqlalchemy import BigInteger, Select, Text, bindparam, func, insert, select, update
from sqlalchemy.dialects.postgresql import JSONB, Insert
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.dml import ReturningInsert, ReturningUpdate

from activities.settlement_parts import Attempt, Envelope, Pin, Send, Settlement
from adapters.database.settlement_rows import FROZEN_BECAUSE, HALTED_BECAUSE, stopped_by
from adapters.database.settlements_tables import attempts, lanes, pins, sends, settlements
from domain.errors import Unavailable
from domain.settlement import SettlementStatus

_ID: Final = bindparam("the_id", type_=Text)


def _take() -> Select[Any]:
    """One statement: the first free lane nobody else is at, and a pin on its next number."""
    idle = lanes.c.settlement_id.is_(None) & ~lanes.c.retired
    free = select(lanes.c.address).where(idle).order_by(lanes.c.number).limit(1).with_for_update(skip_locked=True)
    taken = (
        update(lanes)
        .where(lanes.c.address == free.scalar_subquery())
        .values(settlement_id=_ID)
        .returning(lanes.c.address, (lanes.c.sequence + 1).label("sequence"))
        .cte("taken")
    )
    pinned = (
        insert(pins)
        .from_select(["lane", "sequence", "settlement_id"], select(taken.c.address, taken.c.sequence, _ID))
        .returning(pins.c.id, pins.c.lane, pins.c.sequence)
        .cte("pinned")
    )
    return select(pinned)


_TAKE: Final = _take()


async def take_lane(connection: AsyncConnection, settlement_id: str) -> Pin:
    """Take a free lane and pin its next number.

    Raises:
        Unavailable: `no_lane_free`.
    """
    pin = (await connection.execute(_TAKE, {"the_id": settlement_id})).one_or_none()
    if pin is None:
        raise Unavailable("every lane is busy", code="no_lane_free")
    return Pin(pin.id, pin.lane, pin.sequence, lane_signed=False)


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


_OF_ATTEMPT: Final = (
    "pin_id",
    "settlement_id",
    "purpose",
    "inner_hash",
    "envelope",
    "max_time",
    "resource_fee",
    "simulated_ledger",
    "signed_envelope",
)


def _attempt() -> ReturningInsert[int]:
    return (
        upsert(attempts)
        .values({name: bindparam(f"new_{name}", type_=attempts.c[name].type) for name in _OF_ATTEMPT})
        # Built again within one second of ledger time the envelope is the same to the byte: take it up again.
        .on_conflict_do_update(
            index_elements=["inner_hash"],
            set_={"superseded": False, "pin_id": bindparam("new_pin_id", type_=attempts.c.pin_id.type)},
        )
        .returning(attempts.c.id)
    )


_ATTEMPT: Final = _attempt()
_OF_BUILT: Final = ("builds", "pin_id", "request_id", "expires_at", "reserved_on")


def _build() -> ReturningUpdate[int | None]:
    """An envelope, and the settlement that was built of it: one statement."""
    written = _ATTEMPT.cte("written")
    built = {name: bindparam(f"built_{name}", type_=settlements.c[name].type) for name in _OF_BUILT}
    return (
        update(settlements)
        .where(settlements.c.id == _ID)
        .values(
            status=SettlementStatus.BUILT,
            waits_for=None,
            attempt_id=select(written.c.id).scalar_subquery(),
            **built,
        )
        .returning(settlements.c.attempt_id)
    )


_BUILD: Final = _build()


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
    built: Mapping[str, Any] | None = None,
) -> Attempt:
    """Write an envelope ahead; with `built`, the columns of it, the settlement is built of it."""
    written = {
        "pin_id": pin.id,
        "settlement_id": settlement_id,
        "purpose": "burn" if burn else "pay",
        "inner_hash": envelope.hash,
        "envelope": envelope.xdr,
        "max_time": max_time,
        "resource_fee": resource_fee,
        "simulated_ledger": simulated_ledger,
        "signed_envelope": signed,
    }
    given = {f"new_{name}": value for name, value in written.items()}
    if built is not None:
        given |= {"the_id": settlement_id, **{f"built_{name}": built[name] for name in _OF_BUILT}}
    inserted = await connection.execute(_ATTEMPT if built is None else _BUILD, given)
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


def _send() -> Insert:
    return (
        upsert(sends)
        .values(
            outer_hash=bindparam("the_hash", type_=Text),
            attempt_id=bindparam("the_attempt"),
            settlement_id=_ID,
            envelope=bindparam("the_envelope", type_=Text),
            inclusion_fee=bindparam("the_fee", type_=BigInteger),
        )
        .on_conflict_do_nothing()
    )


_SEND: Final = _send()


def _queue() -> ReturningUpdate[Any]:
    """The signatures, that the lane has signed, the first fee bump, and the settlement queued: one statement.

    It gives what stands against sending.
    """
    signed = (
        update(attempts)
        .where(attempts.c.id == bindparam("the_attempt"))
        .values(
            signatures=bindparam("the_signatures", type_=JSONB),
            signed_envelope=bindparam("the_signed", type_=Text),
        )
    )
    pinned = update(pins).where(pins.c.id == bindparam("the_pin")).values(lane_signed=True)
    queued = update(settlements).where(settlements.c.id == _ID).values(status=SettlementStatus.QUEUED)
    written = queued.add_cte(signed.cte("signed"), pinned.cte("pinned"), _SEND.cte("sent"))
    return written.returning(HALTED_BECAUSE, FROZEN_BECAUSE)


_QUEUE: Final = _queue()


def _of_send(settlement_id: str, attempt_id: int, send: Send) -> dict[str, Any]:
    return {
        "the_id": settlement_id,
        "the_attempt": attempt_id,
        "the_hash": send.outer_hash,
        "the_envelope": send.envelope,
        "the_fee": send.inclusion_fee,
    }


async def queue_signed(
    connection: AsyncConnection,
    settlement: Settlement,
    signed_envelope: str,
    signatures: Mapping[str, bytes],
    send: Send,
) -> None:
    """Write a signed attempt, its signatures by signer and its first fee bump ahead: now the lane has signed.

    The caller has locked the row to send: so a freeze either is seen here or waits for this transaction.

    Raises:
        Unavailable: everything is frozen, or the history changed; the transaction is to be rolled back.
    """
    pin, attempt = settlement.pin, settlement.attempt
    if pin is None or attempt is None:
        raise AssertionError(f"{settlement.id} is sent without a pin")
    signed = {
        "the_pin": pin.id,
        "the_signatures": [signature.hex() for signature in signatures.values()],
        "the_signed": signed_envelope,
    }
    queued = await connection.execute(_QUEUE, _of_send(settlement.id, attempt.id, send) | signed)
    if (stopped := stopped_by(queued.one())) is not None:
        raise Unavailable(stopped, code="frozen")


async def insert_send(connection: AsyncConnection, settlement_id: str, attempt_id: int, send: Send) -> None:
    """Write a fee bump ahead."""
    await connection.execute(_SEND, _of_send(settlement_id, attempt_id, send))
