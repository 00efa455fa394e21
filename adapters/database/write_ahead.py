"""The half of the settlement book that writes ahead: before a signer is asked, and before the first byte is sent.

Every write locks the settlement's row and compares it with what the caller believed, and only then swaps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Text, bindparam, func, update
from sqlalchemy.ext.asyncio import AsyncConnection

from activities.settlement_parts import Envelope, Send, Settlement, Simulation, Ticket
from adapters.database.engine import Database
from adapters.database.pin_rows import insert_attempt, insert_send, queue_signed, return_pin, take_lane
from adapters.database.settlement_rows import (
    as_believed,
    check_day,
    move,
    reread,
    set_status,
    today,
)
from adapters.database.settlements_tables import attempts, settlements
from adapters.database.signing_rows import (
    check_waiting_lanes,
    end_request,
    insert_request,
    queue_for_waiting_lanes,
)
from domain.settlement import Control, SettlementStatus
from domain.signing import SigningRequest, SigningStatus

_S = SettlementStatus
_KEPT_BACK: Final = frozenset({Control.HOLD, Control.CANCEL})
# Made once: to put a statement together takes as long as to send it.
_SUBMITTED: Final = (
    update(settlements)
    .where(settlements.c.id == bindparam("the_id", type_=Text))
    .values(status=_S.SUBMITTED, submitted_at=func.now(), expires_at=None)
)


class WriteAhead:
    """See `activities.settlement_parts.SettlementBook`."""

    def __init__(self, database: Database, *, lanes_waiting: int) -> None:
        """`lanes_waiting` bounds the lanes that are held while somebody outside signs."""
        self._database = database
        self._lanes_waiting = lanes_waiting

    async def check_waiting(self, settlement_id: str) -> None:
        """See `activities.settlement_parts.SettlementBook`."""
        async with self._database.look() as connection:
            await check_waiting_lanes(connection, settlement_id, self._lanes_waiting)

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
        """See `activities.settlement_parts.SettlementBook`."""
        async with self._database.begin() as connection:
            row = await as_believed(connection, settlement, to_reserve=day_max_units is not None)
            if row is None:
                return await reread(connection, settlement.id)
            if day_max_units is not None:
                await check_day(connection, settlement.intent, day_max_units)
            if ask is not None and settlement.pin is None:
                await queue_for_waiting_lanes(connection)
                await check_waiting_lanes(connection, settlement.id, self._lanes_waiting)
            pin = settlement.pin or await take_lane(connection, settlement.id)
            envelope = build(pin.lane, pin.sequence)
            if settlement.attempt is not None:
                await connection.execute(
                    update(attempts).where(attempts.c.id == settlement.attempt.id).values(superseded=True)
                )
            if not holds:
                await return_pin(connection, pin.id)
            # To ask again is no try: nothing was sent.
            builds = row.builds + (0 if settlement.ticket is not None else 1)
            request = None if ask is None else ask(envelope)
            await self._replace_request(connection, settlement, request, because)
            attempt = await insert_attempt(
                connection,
                settlement.id,
                pin,
                envelope,
                max_time,
                resource_fee=simulation.resource_fee,
                simulated_ledger=simulation.ledger,
                built={
                    "builds": builds,
                    "pin_id": pin.id if holds else None,
                    "request_id": None if request is None else request.id,
                    "expires_at": None if request is None else request.expires_at,
                    "reserved_on": today() if holds else None,
                },
            )
            status, ticket = _S.BUILT, None
            if request is not None:
                await insert_request(connection, request, deferred=True)
                await set_status(connection, row.id, _S.AWAITING_SIGNATURE)
                status, ticket = _S.AWAITING_SIGNATURE, Ticket(request, (), deferred=True)
            told = {"status": status, "expires_at": None if request is None else request.expires_at}
            return replace(
                settlement,
                status=status,
                builds=builds,
                pin=pin if holds else None,
                attempt=attempt,
                send=None,
                ticket=ticket,
                outcome=settlement.outcome.model_copy(update=told),
            )

    async def note_wait(self, settlement: Settlement, reason: str) -> None:
        """See `activities.settlement_parts.SettlementBook`."""
        async with self._database.begin() as connection:
            await connection.execute(
                update(settlements)
                .where(settlements.c.id == settlement.id, settlements.c.status == settlement.status)
                .values(waits_for=reason)
            )

    async def write_request(
        self,
        settlement: Settlement,
        request: SigningRequest,
        *,
        deferred: bool,
        because: str,
        day_max_units: int | None,
    ) -> Settlement:
        """See `activities.settlement_parts.SettlementBook`."""
        async with self._database.begin() as connection:
            row = await as_believed(connection, settlement, to_reserve=day_max_units is not None)
            if row is None:
                return await reread(connection, settlement.id)
            if day_max_units is not None:
                await check_day(connection, settlement.intent, day_max_units)
            await self._replace_request(connection, settlement, request, because)
            await insert_request(connection, request, deferred=deferred)
            columns: dict[str, Any] = {
                "request_id": request.id,
                "entry_until": max(request.expires_ledger or 0, row.entry_until or 0),
                "reserved_on": today(),
            }
            await set_status(connection, row.id, _S.BUILT, **columns)
            if not deferred:
                return await reread(connection, row.id)
            return await move(connection, row.id, _S.AWAITING_SIGNATURE, expires_at=request.expires_at)

    async def reserve_today(self, settlement: Settlement, day_max_units: int) -> None:
        """See `activities.settlement_parts.SettlementBook`."""
        async with self._database.begin() as connection:
            row = await as_believed(connection, settlement, to_reserve=True)
            if row is None or row.reserved_on == today():
                return
            await check_day(connection, settlement.intent, day_max_units)
            await connection.execute(
                update(settlements).where(settlements.c.id == row.id).values(reserved_on=today())
            )

    async def _replace_request(
        self, connection: AsyncConnection, settlement: Settlement, request: SigningRequest | None, because: str
    ) -> None:
        """End what was asked for before, in favour of what is asked for now."""
        if settlement.ticket is not None:
            successor = None if request is None else request.id
            await end_request(
                connection, settlement.id, SigningStatus.SUPERSEDED, because, superseded_by=successor
            )

    async def write_send(
        self, settlement: Settlement, *, signatures: Mapping[str, bytes], signed_envelope: str, send: Send
    ) -> Settlement:
        """See `activities.settlement_parts.SettlementBook`."""
        async with self._database.begin() as connection:
            row = await as_believed(connection, settlement, to_send=True)
            attempt = settlement.attempt
            if row is None or attempt is None or settlement.pin is None or row.control in _KEPT_BACK:
                return await reread(connection, settlement.id)
            await self._submit(connection, settlement, signatures, signed_envelope, send)
            return replace(
                settlement,
                status=_S.SUBMITTED,
                pin=replace(
                    settlement.pin,
                    lane_signed=True,
                    until=max(attempt.max_time, settlement.pin.until or attempt.max_time),
                ),
                attempt=replace(attempt, signed_envelope=signed_envelope),
                send=send,
                outcome=settlement.outcome.model_copy(update={"status": _S.SUBMITTED}),
            )

    async def write_entry_send(
        self,
        settlement: Settlement,
        simulation: Simulation,
        *,
        signatures: Mapping[str, bytes],
        max_time: datetime,
        build: Callable[[str, int], tuple[Envelope, str, Send]],
    ) -> Settlement:
        """See `activities.settlement_parts.SettlementBook`."""
        async with self._database.begin() as connection:
            row = await as_believed(connection, settlement, to_send=True)
            if row is None or row.control in _KEPT_BACK:
                return await reread(connection, settlement.id)
            pin = settlement.pin or await take_lane(connection, settlement.id)
            envelope, signed_envelope, send = build(pin.lane, pin.sequence)
            attempt = await insert_attempt(
                connection,
                settlement.id,
                pin,
                envelope,
                max_time,
                resource_fee=simulation.resource_fee,
                simulated_ledger=simulation.ledger,
            )
            changed = replace(settlement, pin=pin, attempt=attempt)
            columns = {"pin_id": pin.id, "attempt_id": attempt.id, "builds": row.builds + 1}
            await connection.execute(update(settlements).where(settlements.c.id == row.id).values(**columns))
            await self._submit(connection, changed, signatures, signed_envelope, send)
            return await reread(connection, row.id)

    async def _submit(
        self,
        connection: AsyncConnection,
        settlement: Settlement,
        signatures: Mapping[str, bytes],
        signed_envelope: str,
        send: Send,
    ) -> None:
        """Write signatures and send ahead: from here the lane has signed.

        Raises:
            Unavailable: everything is frozen, or the history changed.
        """
        await queue_signed(
            connection, settlement, signatures=signatures, signed_envelope=signed_envelope, send=send
        )
        await connection.execute(_SUBMITTED, {"the_id": settlement.id})

    async def write_bump(self, settlement: Settlement, send: Send) -> Settlement:
        """See `activities.settlement_parts.SettlementBook`."""
        async with self._database.begin() as connection:
            row = await as_believed(connection, settlement)
            if row is not None and settlement.attempt is not None:
                await insert_send(connection, settlement.id, settlement.attempt.id, send)
                if settlement.control is Control.BUMP:
                    await connection.execute(
                        update(settlements)
                        .where(settlements.c.id == row.id, settlements.c.control == Control.BUMP)
                        .values(control=Control.NONE)
                    )
            return await reread(connection, settlement.id)

    async def write_burn(
        self, settlement: Settlement, envelope: Envelope, max_time: datetime, send: Send
    ) -> Settlement:
        """See `activities.settlement_parts.SettlementBook`."""
        async with self._database.begin() as connection:
            row = await as_believed(connection, settlement)
            if row is not None and settlement.pin is not None:
                burn = await insert_attempt(
                    connection, settlement.id, settlement.pin, envelope, max_time, burn=True, signed=envelope.xdr
                )
                await insert_send(connection, settlement.id, burn.id, send)
                await connection.execute(
                    update(settlements).where(settlements.c.id == row.id).values(attempt_id=burn.id)
                )
            return await reread(connection, settlement.id)
