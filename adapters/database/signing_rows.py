"""Signing requests inside the transaction that changes their settlement: written ahead, ended, told."""

from __future__ import annotations

import json
from typing import Any, Final

from sqlalchemy import Row, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from activities.settlement_parts import Ticket
from adapters.database.outbox import tell
from adapters.database.settlements_tables import settlements
from adapters.database.signing_tables import signing_requests, signing_signatures
from domain.errors import Unavailable
from domain.events import Event, EventType
from domain.settlement import SettlementStatus
from domain.signing import Signature, SigningRequest, SigningStatus

_BODY: Final = frozenset(
    {
        "unsigned_xdr",
        "preimage_xdr",
        "entry_xdr",
        "network_passphrase",
        "invocation",
        "signers",
        "threshold",
        "words",
        "sep7_uri",
    }
)
"""What never changes of a request, and is never searched for."""
_LIVE: Final = (SigningStatus.WAITING, SigningStatus.SIGNED)
_LANE_LOOK_SECONDS: Final = "30"
"""Who waits for one waits for people: thousands that looked every few seconds held up what waits for nobody."""
_WAITING_LANES: Final = 0x486F6C646661_03
"""The advisory lock of whoever takes a lane that will wait."""


def as_request(row: Row[Any], signed_by: tuple[str, ...] = ()) -> SigningRequest:
    """A request as it stands."""
    return SigningRequest(
        id=row.id,
        settlement_id=row.settlement_id,
        kind=row.kind,
        payer=row.payer,
        hash=row.hash,
        expires_at=row.expires_at,
        expires_ledger=row.expires_ledger,
        status=row.status,
        superseded_by=row.superseded_by,
        reason=row.reason,
        created_at=row.created_at,
        signed_by=signed_by,
        **row.body,
    )


async def insert_request(connection: AsyncConnection, request: SigningRequest, *, deferred: bool) -> None:
    """Write a request ahead, and tell signers of it; the one before it must have ended."""
    await connection.execute(
        insert(signing_requests).values(
            id=request.id,
            settlement_id=request.settlement_id,
            payer=request.payer,
            kind=request.kind,
            hash=request.hash,
            body=json.loads(request.model_dump_json(include=set(_BODY))),
            deferred=deferred,
            expires_at=request.expires_at,
            expires_ledger=request.expires_ledger,
            created_at=request.created_at,
        )
    )
    if deferred:
        await _tell(
            connection,
            EventType.PAYOUT_SIGNATURE_REQUESTED,
            request.settlement_id,
            {
                "request_id": request.id,
                "kind": request.kind,
                "hash": request.hash,
                "payer": request.payer,
                "expires_at": request.expires_at.isoformat(),
            },
        )


async def end_request(
    connection: AsyncConnection,
    settlement_id: str,
    status: SigningStatus,
    reason: str,
    *,
    superseded_by: str | None = None,
    unsigned_only: bool = False,
) -> None:
    """End a settlement's live request, if it has one: what is signed for it counts no more. Signers are told."""
    live = (SigningStatus.WAITING,) if unsigned_only else _LIVE
    ended = await connection.execute(
        update(signing_requests)
        .where(signing_requests.c.settlement_id == settlement_id, signing_requests.c.status.in_(live))
        .values(status=status, reason=reason, superseded_by=superseded_by, ended_at=func.now())
        .returning(signing_requests.c.id, signing_requests.c.deferred)
    )
    for row in ended.all():
        if row.deferred:
            data = {"request_id": row.id, "status": status, "reason": reason}
            data |= {} if superseded_by is None else {"superseded_by": superseded_by}
            await _tell(connection, EventType.PAYOUT_SIGNATURE_SUPERSEDED, settlement_id, data)


async def _tell(connection: AsyncConnection, kind: EventType, settlement_id: str, data: dict[str, str]) -> None:
    now = (await connection.execute(select(func.now()))).scalar_one()
    data = {"settlement_id": settlement_id} | data
    await tell(connection, Event(type=kind, subject=settlement_id, at=now, data=data))


async def set_signed(connection: AsyncConnection, request_id: str) -> None:
    """Enough signatures are there."""
    await connection.execute(
        update(signing_requests)
        .where(signing_requests.c.id == request_id, signing_requests.c.status == SigningStatus.WAITING)
        .values(status=SigningStatus.SIGNED, ended_at=func.now())
    )


async def read_ticket(connection: AsyncConnection, request_id: str) -> Ticket:
    """A live request and the signatures that were accepted."""
    row = (await connection.execute(select(signing_requests).where(signing_requests.c.id == request_id))).one()
    signatures = await signatures_of(connection, request_id)
    request = as_request(row, tuple(each.signer for each in signatures))
    return Ticket(request=request, signatures=signatures, deferred=row.deferred)


async def signatures_of(connection: AsyncConnection, request_id: str) -> tuple[Signature, ...]:
    """What was accepted for a request, in order."""
    rows = await connection.execute(
        select(signing_signatures)
        .where(signing_signatures.c.request_id == request_id)
        .order_by(signing_signatures.c.at, signing_signatures.c.signer)
    )
    return tuple(Signature(signer=row.signer, signature=row.signature) for row in rows.all())


async def queue_for_waiting_lanes(connection: AsyncConnection) -> None:
    """Have `check_waiting_lanes` hold until this transaction ends: one at a time takes a lane to wait with."""
    await connection.execute(select(func.pg_advisory_xact_lock(_WAITING_LANES)))


async def check_waiting_lanes(connection: AsyncConnection, settlement_id: str, lanes_max: int) -> None:
    """Hold the lanes that wait for signatures against their quota.

    Raises:
        Unavailable: `no_lane_free`: as many wait as may.
    """
    waiting = (
        await connection.execute(
            select(func.count())
            .select_from(settlements)
            .where(
                settlements.c.status == SettlementStatus.AWAITING_SIGNATURE,
                settlements.c.pin_id.is_not(None),
                settlements.c.id != settlement_id,
            )
        )
    ).scalar_one()
    if waiting >= lanes_max:
        raise Unavailable(
            f"{waiting} payments wait for a signature with a lane each, as many as LANES_WAITING admits: raise "
            "it, or set PAYOUT_SIGNING=auth_entry, which holds no lane",
            code="no_lane_free",
            lanes_waiting=str(lanes_max),
            retry_after_seconds=_LANE_LOOK_SECONDS,
        )
