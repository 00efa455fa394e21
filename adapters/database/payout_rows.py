"""Reading and writing one payout's row beside its settlement's; whoever changes it holds its lock."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, DateTime, RowMapping, Select, Text, bindparam, func, select, update
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.database.payouts_tables import ENDED, payouts
from adapters.database.settlements_tables import settlements
from domain.errors import NotFound
from domain.events import EventType
from domain.money import Amount
from domain.payout import Payout, settlement_id_of
from domain.payout_request import PayoutRequest

_OURS: Final = tuple(PayoutRequest.model_fields)
_BOTH: Final = frozenset({"reason_code", "reason"})
shown_status: Final[ColumnElement[str]] = func.payout_status(
    payouts.c.phase, settlements.c.status, settlements.c.may_pass
)
"""The guide's state: one function in the database, which the `transactions` view uses too."""
_EARLIER: Final = payouts.alias("earlier")
has_turn: Final[ColumnElement[bool]] = ~(
    select(_EARLIER.c.number)
    .where(
        _EARLIER.c.ordered,
        _EARLIER.c.payer == payouts.c.payer,
        _EARLIER.c.number < payouts.c.number,
        _EARLIER.c.phase.not_in(ENDED),
        payouts.c.ordered,
    )
    .exists()
)
"""Of an ordered one: those before it have ended."""
# Made once: to put a statement together takes longer than to send it.
_TELL: Final = select(
    func.tell_of_payout(
        bindparam("the_id", type_=Text),
        bindparam("the_type", type_=Text),
        bindparam("the_time", type_=DateTime(timezone=True)),
        bindparam("the_rest", type_=JSONB),
    )
)


def select_payouts() -> Select[Any]:
    """Whole records: the payout and how its settlement stands."""
    return select(
        payouts,
        shown_status.label("shown_status"),
        has_turn.label("turn"),
        func.greatest(payouts.c.changed_at, settlements.c.updated_at).label("updated_at"),
        settlements.c.status,
        settlements.c.control,
        settlements.c.tries.label("attempts"),
        settlements.c.tx_hash,
        settlements.c.ledger,
        settlements.c.fee_charged,
        settlements.c.confirmed_at,
        settlements.c.submitted_at,
        settlements.c.reason_code.label("engine_reason_code"),
        settlements.c.reason.label("engine_reason"),
        settlements.c.details.label("engine_details"),
    ).outerjoin(settlements, settlements.c.id == payouts.c.settlement_id)


def payout_of(row: RowMapping) -> Payout:
    """Make the record of a row of `select_payouts`."""
    given = {name: row[name] for name in Payout.model_fields if name in row and name not in _BOTH}
    given["request"] = PayoutRequest(**{name: row[name] for name in _OURS})
    given["control"] = row["control"] or "none"
    given["attempts"] = row["attempts"] or 0
    if row["reason_code"] is not None:
        given |= {"reason_code": row["reason_code"], "reason": row["reason"]}
    else:
        given |= {
            "reason_code": row["engine_reason_code"],
            "reason": row["engine_reason"],
            "reason_details": row["engine_details"] or {},
        }
    return Payout(**given)


def in_words(request: PayoutRequest) -> str:
    """For people: `100.5 XLM to G…`."""
    return f"{Amount(request.amount_units).brief} {request.asset.partition(':')[0]} to {request.destination}"


async def find_payout(connection: AsyncConnection, payout_id: str) -> Payout:
    """Read one.

    Raises:
        NotFound: there is no such payout.
    """
    query = select_payouts().where(payouts.c.payout_id == payout_id)
    row = (await connection.execute(query)).mappings().one_or_none()
    if row is None:
        raise NotFound(f"there is no payout {payout_id}", payout_id=payout_id)
    return payout_of(row)


async def lock_payout(connection: AsyncConnection, payout_id: str) -> Payout:
    """Read one and keep everybody else from changing it until the transaction ends.

    Raises:
        NotFound: there is no such payout.
    """
    # The lock comes first, as a statement of its own: what is read afterwards is then what the last holder wrote.
    # The settlement before the payout, as its trigger locks them: two orders would wait for each other.
    settlement = select(settlements.c.id).where(settlements.c.id == settlement_id_of(payout_id))
    await connection.execute(settlement.with_for_update())
    await connection.execute(select(payouts.c.number).where(payouts.c.payout_id == payout_id).with_for_update())
    return await find_payout(connection, payout_id)


async def change_payout(
    connection: AsyncConnection, payout_id: str, *, at: datetime, by_story: bool = False, **values: Any
) -> Payout:
    """Write `values` and return the record; a change by anybody but the story is news for the story."""
    version = payouts.c.version if by_story else payouts.c.version + 1
    await connection.execute(
        update(payouts).where(payouts.c.payout_id == payout_id).values(version=version, changed_at=at, **values)
    )
    return await find_payout(connection, payout_id)


async def tell_of(
    connection: AsyncConnection,
    payout_id: str,
    event_type: EventType,
    *,
    at: datetime,
    more: Mapping[str, str] | None = None,
) -> None:
    """Record an event of a payout, with what every such event says of it as the rows stand now."""
    said = {"the_id": payout_id, "the_type": event_type.value, "the_time": at, "the_rest": dict(more or {})}
    await connection.execute(_TELL, said)
