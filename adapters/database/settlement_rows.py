"""The settlement book's rows: how a settlement is read, pinned, recorded and ended inside one transaction.

Every settlement names its held pin and its newest attempt in its own row: who has locked that row has locked all.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any, Final

from sqlalchemy import ARRAY, Row, Text, Update, bindparam, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from activities.settlement_parts import Attempt, Pin, Send, Settlement
from adapters.database.audit_tables import deployment
from adapters.database.settlements_tables import (
    attempts,
    ledger_head,
    pins,
    sends,
    settlement_history,
    settlements,
)
from adapters.database.signing_rows import read_ticket
from adapters.database.switches import FROZEN, share_freeze
from domain.errors import NotFound, Refused
from domain.settlement import Control, Ending, Intent, SettlementOutcome, SettlementStatus
from domain.why import SettlementFacts

_S = SettlementStatus

HALTED_BECAUSE: Final = select(ledger_head.c.halted_reason).scalar_subquery().label("halted")
FROZEN_BECAUSE: Final = (
    select(deployment.c.reason).where(deployment.c.name == FROZEN).scalar_subquery().label("frozen_reason")
)
_LAST_SEND: Final = (
    select(sends.c.outer_hash, sends.c.envelope.label("outer_envelope"), sends.c.inclusion_fee)
    .where(sends.c.attempt_id == settlements.c.attempt_id)
    .order_by(sends.c.inclusion_fee.desc())
    .limit(1)
    .lateral("last_send")
)
_UNTIL: Final = (
    select(func.max(attempts.c.max_time))
    .where(attempts.c.pin_id == settlements.c.pin_id, attempts.c.signed_envelope.is_not(None))
    .correlate(settlements)
    .scalar_subquery()
    .label("until")
)
"""Until every envelope that the lane signed on the pin is expired: payment and no-op may both be alive."""
_VIEW: Final = (
    select(
        settlements,
        pins.c.lane,
        pins.c.sequence,
        pins.c.lane_signed,
        _UNTIL,
        attempts.c.purpose,
        attempts.c.inner_hash,
        attempts.c.envelope,
        attempts.c.max_time,
        attempts.c.resource_fee,
        attempts.c.simulated_ledger,
        attempts.c.signed_envelope,
        _LAST_SEND,
        HALTED_BECAUSE,
        FROZEN_BECAUSE,
    )
    .outerjoin(pins, pins.c.id == settlements.c.pin_id)
    .outerjoin(attempts, attempts.c.id == settlements.c.attempt_id)
    .outerjoin(_LAST_SEND, settlements.c.attempt_id.is_not(None))
)
"""Everything that the engine looks at of a settlement, in one statement."""
# Statements are made once: to put one together takes as long as to send it.
_ID: Final = bindparam("the_id", type_=Text)
_AMONG: Final = settlements.c.id == func.any(bindparam("the_ids", type_=ARRAY(Text)))
_SOME: Final = _VIEW.where(_AMONG)
_LOCK: Final = select(settlements).where(settlements.c.id == _ID).with_for_update(of=settlements)
_LOCK_TO_SEND: Final = _LOCK.add_columns(share_freeze())
_LOCK_TO_RESERVE: Final = _LOCK.add_columns(
    func.pg_advisory_xact_lock(func.hashtextextended(bindparam("the_day", type_=Text), 0)).label("holds_the_day")
)
_LOCK_ALL: Final = select(settlements).where(_AMONG).order_by(settlements.c.id).with_for_update()
_HALTED_OR_FROZEN: Final = select(HALTED_BECAUSE, FROZEN_BECAUSE)
_RESERVED: Final = select(func.coalesce(func.sum(settlements.c.amount_units), 0)).where(
    settlements.c.payer == bindparam("the_payer"),
    settlements.c.asset == bindparam("the_asset"),
    settlements.c.reserved_on == bindparam("today"),
    settlements.c.status.not_in((_S.FAILED, _S.CANCELLED)),
    settlements.c.id != _ID,
)


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
        outcomes=tuple(row.outcomes or b""),
        expires_at=row.expires_at,
        ends_after=None if row.ending is None else int(row.ending["after"]),
        held=row.control == Control.HOLD,
    )


async def locked(
    connection: AsyncConnection, settlement_id: str, *, to_send: bool = False, to_reserve: Intent | None = None
) -> Row[Any]:
    """Lock a settlement.

    `to_send` has a freeze wait until this transaction is over, and `to_reserve` whoever else reserves of the same
    day's limit.

    Raises:
        NotFound: no such settlement.
    """
    if to_reserve is not None:
        day = f"day {to_reserve.payer} {to_reserve.asset}"
        found = await connection.execute(_LOCK_TO_RESERVE, {"the_id": settlement_id, "the_day": day})
    else:
        found = await connection.execute(_LOCK_TO_SEND if to_send else _LOCK, {"the_id": settlement_id})
    row = found.one_or_none()
    if row is None:
        raise NotFound(f"there is no settlement {settlement_id}")
    return row


async def all_locked(connection: AsyncConnection, settlement_ids: Sequence[str]) -> dict[str, Row[Any]]:
    """Lock settlements, in one order for everybody, and give those that there are."""
    rows = await connection.execute(_LOCK_ALL, {"the_ids": list(settlement_ids)})
    return {row.id: row for row in rows}


async def as_believed(
    connection: AsyncConnection, settlement: Settlement, *, to_send: bool = False, to_reserve: bool = False
) -> Row[Any] | None:
    """Lock the row; None where status, intent, pin, newest attempt or request is not what the caller believes."""
    reserve = settlement.intent if to_reserve else None
    row = await locked(connection, settlement.id, to_send=to_send, to_reserve=reserve)
    there = (row.status, row.fingerprint, row.pin_id, row.attempt_id, row.request_id)
    believed = (
        settlement.status,
        settlement.intent.fingerprint,
        settlement.pin.id if settlement.pin else None,
        settlement.attempt.id if settlement.attempt else None,
        settlement.ticket.request.id if settlement.ticket else None,
    )
    return row if there == believed else None


async def read_settlement(connection: AsyncConnection, settlement_id: str) -> tuple[Row[Any], Settlement]:
    """Read a settlement as it stands in this transaction, and its row.

    Raises:
        NotFound: no such settlement.
    """
    found = (await read_settlements(connection, [settlement_id])).get(settlement_id)
    if found is None:
        raise NotFound(f"there is no settlement {settlement_id}")
    return found


async def read_settlements(
    connection: AsyncConnection, settlement_ids: Sequence[str]
) -> dict[str, tuple[Row[Any], Settlement]]:
    """Read settlements as they stand in this transaction, those that there are, and their rows."""
    found = {}
    for row in (await connection.execute(_SOME, {"the_ids": list(settlement_ids)})).all():
        settlement = _as_settlement(row)
        if row.request_id is not None:
            settlement = replace(settlement, ticket=await read_ticket(connection, row.request_id))
        found[row.id] = (row, settlement)
    return found


async def reread(connection: AsyncConnection, settlement_id: str) -> Settlement:
    """Read a settlement as it stands in this transaction."""
    return (await read_settlement(connection, settlement_id))[1]


def _renew() -> Update:
    lapsing = select(settlements.c.id).where(_AMONG).with_for_update(skip_locked=True).cte("lapsing")
    return (
        update(settlements)
        .where(settlements.c.id == lapsing.c.id)
        .values(lease_owner=bindparam("the_owner"), lease_until=bindparam("the_end"))
    )


_RENEW: Final = _renew()


async def renew_leases(
    connection: AsyncConnection, settlement_ids: Sequence[str], owner: str, *, until: datetime
) -> None:
    """Renew leases; a row that somebody is writing keeps its own until the next look, so that nobody waits."""
    await connection.execute(_RENEW, {"the_ids": list(settlement_ids), "the_owner": owner, "the_end": until})


async def why_stopped(connection: AsyncConnection) -> str | None:
    """Why nothing may be sent now, if anything stands against it."""
    return stopped_by((await connection.execute(_HALTED_OR_FROZEN)).one())


def stopped_by(row: Row[Any]) -> str | None:
    """Why nothing may be sent now, by a row with HALTED_BECAUSE and FROZEN_BECAUSE."""
    if row.halted is not None:
        return f"history changed: {row.halted}"
    return None if row.frozen_reason is None else f"all sending is frozen: {row.frozen_reason}"


def _as_settlement(row: Row[Any]) -> Settlement:
    status = _S(row.status)
    pin = attempt = send = None
    if row.pin_id is not None:
        pin = Pin(row.pin_id, row.lane, row.sequence, row.lane_signed, row.until)
    if row.attempt_id is not None:
        attempt = Attempt(
            id=row.attempt_id,
            burn=row.purpose == "burn",
            inner_hash=row.inner_hash,
            envelope=row.envelope,
            max_time=row.max_time,
            resource_fee=row.resource_fee,
            simulated_ledger=row.simulated_ledger,
            signed_envelope=row.signed_envelope or "",
        )
    if row.outer_hash is not None:
        send = Send(row.outer_hash, row.outer_envelope, row.inclusion_fee)
    return Settlement(
        intent=Intent.model_validate(row.intent),
        status=status,
        control=Control(row.control),
        builds=row.builds,
        pin=pin,
        attempt=attempt,
        send=send,
        outcome=as_outcome(row),
        stopped=None if status.final else stopped_by(row),
        ending=None if row.ending is None else Ending.model_validate(row.ending),
    )


async def read_facts(connection: AsyncConnection, settlement_id: str) -> SettlementFacts:
    """What the record holds of a settlement, for `why`.

    Raises:
        NotFound: no such settlement.
    """
    row, view = await read_settlement(connection, settlement_id)
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
        signers=view.ticket.request.signers if view.ticket else (),
        threshold=view.ticket.request.threshold if view.ticket else 0,
        signed_by=tuple(each.signer for each in view.ticket.signatures) if view.ticket else (),
        expires_at=row.expires_at,
        expires_ledger=view.ticket.request.expires_ledger if view.ticket else None,
        waits_for=row.waits_for,
        ending=view.ending,
        build_only=view.intent.build_only,
        stopped=view.stopped,
        needs_person=row.needs_person,
        owner_alive=row.lease_until is not None and row.lease_until > datetime.now(UTC),
        tx_hash=row.tx_hash,
        ledger=row.ledger,
        reason_code=row.reason_code,
        reason=row.reason,
    )


async def set_status(
    connection: AsyncConnection, settlement_id: str, status: SettlementStatus, **columns: Any
) -> None:
    """Move to a status; the database refuses what TRANSITIONS does not allow."""
    await connection.execute(
        update(settlements).where(settlements.c.id == settlement_id).values(status=status, **columns)
    )


async def move(
    connection: AsyncConnection, settlement_id: str, status: SettlementStatus, **columns: Any
) -> Settlement:
    """Move to a status, and read the settlement again."""
    await set_status(connection, settlement_id, status, **columns)
    return await reread(connection, settlement_id)


async def check_day(connection: AsyncConnection, intent: Intent, day_max_units: int) -> None:
    """Hold an intent against the day's limit of its payer and asset; what is reserved counts.

    What failed does not. The caller has locked the row to reserve: so it is one at a time for a payer and asset,
    until this transaction ends.

    Raises:
        Refused: `policy_day`, with both figures.
    """
    reserved = await connection.execute(
        _RESERVED,
        {
            "the_payer": intent.payer,
            "the_asset": intent.asset,
            "today": today(),
            "the_id": intent.settlement_id,
        },
    )
    total = int(reserved.scalar_one()) + intent.amount_units
    if total > day_max_units:
        raise Refused(
            f"{total} units of {intent.asset} today would be above the day's limit of {day_max_units}",
            code="policy_day",
            day_units=str(total),
            day_units_max=str(day_max_units),
        )


def today() -> date:
    """The day of limits, in UTC."""
    return datetime.now(UTC).date()
