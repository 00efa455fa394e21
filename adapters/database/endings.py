"""How a settlement ends: by proof, or unpaid.

Unpaid it ends at once where nothing of it can land, else when nobody can use what was shown. An envelope cannot
land without its lane's signature. An authorization entry can: whoever has it signed may send it in their own
transaction, until its last ledger.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import (
    ARRAY,
    BigInteger,
    DateTime,
    LargeBinary,
    Row,
    Text,
    Update,
    bindparam,
    column,
    func,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import TypeEngine

from activities.settlement_parts import Kept, Proof
from adapters.database.pin_rows import end_pin
from adapters.database.settlement_rows import all_locked, locked, set_status
from adapters.database.settlements_tables import attempts, lanes, pins, sends, settlements
from adapters.database.signing_rows import end_request
from domain.errors import HoldfastError
from domain.money import Amount
from domain.settlement import Ending, SettlementStatus
from domain.signing import SigningStatus

_S = SettlementStatus
_OVER: Final[dict[str, Any]] = dict.fromkeys(
    ("pin_id", "attempt_id", "expires_at", "ending", "needs_person", "reason")
)
"""What a settlement that is paid no longer has."""
_TOLD: Final[dict[str, TypeEngine[Any]]] = {
    "ids": Text(),
    "pins": BigInteger(),
    "hashes": Text(),
    "ledgers": BigInteger(),
    "times": DateTime(timezone=True),
    "fees": BigInteger(),
    "outcomes": LargeBinary(),
}


async def record_all(connection: AsyncConnection, proofs: Sequence[tuple[str, Proof]]) -> frozenset[str]:
    """Record what one ledger holds of ours; gives the settlements that it ended.

    Those that are paid as intended are written together, and what has more to be said of it one by one.
    """
    rows = await all_locked(connection, [settlement_id for settlement_id, _ in proofs])
    often = Counter(settlement_id for settlement_id, _ in proofs)
    paid = [
        (rows[settlement_id], proof)
        for settlement_id, proof in proofs
        if often[settlement_id] == 1 and settlement_id in rows and _is_paid_as_intended(rows[settlement_id], proof)
    ]
    if paid:
        await connection.execute(
            _PAID,
            {
                "the_ids": [row.id for row, _ in paid],
                "the_pins": [row.pin_id for row, _ in paid],
                "the_hashes": [proof.tx_hash for _, proof in paid],
                "the_ledgers": [proof.ledger for _, proof in paid],
                "the_times": [proof.closed_at for _, proof in paid],
                "the_fees": [proof.fee_charged for _, proof in paid],
                "the_outcomes": [proof.outcomes or None for _, proof in paid],
            },
        )
    ended = {row.id for row, _ in paid}
    for settlement_id, proof in proofs:
        if settlement_id not in ended and await record(connection, settlement_id, proof):
            ended.add(settlement_id)
    return frozenset(ended)


def _is_paid_as_intended(row: Row[Any], proof: Proof) -> bool:
    return (
        proof.successful
        and not proof.burn
        and not _S(row.status).final
        and row.request_id is None
        and proof.moved_units in {None, int(row.amount_units)}
    )


def _paid() -> Update:
    """Pins ended, lanes freed and settlements confirmed, in one statement."""
    told = (
        func.unnest(
            *(bindparam(f"the_{name}", type_=ARRAY(kind)) for name, kind in _TOLD.items()),
        )
        .table_valued(*(column(name, kind) for name, kind in _TOLD.items()), name="told")
        .render_derived()
    )
    ended = (
        update(pins)
        .where(pins.c.id == told.c.pins, pins.c.state == "held")
        .values(state="consumed", consumer=told.c.hashes, ended_at=func.now())
        .returning(pins.c.lane, pins.c.sequence)
        .cte("ended")
    )
    freed = (
        update(lanes)
        .where(lanes.c.address == ended.c.lane)
        .values(settlement_id=None, sequence=func.greatest(lanes.c.sequence, ended.c.sequence))
        .cte("freed")
    )
    return (
        update(settlements)
        .where(settlements.c.id == told.c.ids)
        .values(
            status=_S.CONFIRMED,
            tx_hash=told.c.hashes,
            ledger=told.c.ledgers,
            closed_at=told.c.times,
            fee_charged=told.c.fees,
            outcomes=func.coalesce(told.c.outcomes, settlements.c.outcomes),
            confirmed_at=func.now(),
            **_OVER,
        )
        .add_cte(freed)
    )


async def record(connection: AsyncConnection, settlement_id: str, proof: Proof) -> bool:
    """Record one proof; False where the settlement was final already, or it proves nothing of the held number."""
    row = await locked(connection, settlement_id)
    if _S(row.status).final or not proof.consumed:
        return False
    if (proof.burn or not proof.successful) and not await _is_of_pin(connection, proof.tx_hash, row.pin_id):
        return False  # a try before this one, told late: its number is not the one that is held now
    await end_pin(connection, row.pin_id, consumer=proof.tx_hash)
    columns: dict[str, Any] = {
        "tx_hash": proof.tx_hash,
        "ledger": proof.ledger,
        "closed_at": proof.closed_at,
        "fee_charged": proof.fee_charged,
    }
    if proof.successful and not proof.burn:
        await set_paid(connection, row, proof, **columns)
        return True
    if proof.burn:
        code, reason = "cancelled", "cancelled: the sequence number was consumed by a no-op"
    else:
        code, reason = "failed_on_ledger", f"the ledger recorded it as failed: {proof.result}"
    # A new try is simulated first, which names the cause with figures where there still is one.
    ending = Ending(
        status=_S.CANCELLED if proof.burn else _S.FAILED,
        reason_code=code,
        reason=reason,
        may_pass=not proof.burn,
        after=proof.ledger,
    )
    await end_unpaid(connection, row, ending, **columns)
    return True


async def _is_of_pin(connection: AsyncConnection, outer_hash: str, pin_id: int | None) -> bool:
    query = (
        select(sends.c.outer_hash)
        .join(attempts, attempts.c.id == sends.c.attempt_id)
        .where(sends.c.outer_hash == outer_hash, attempts.c.pin_id == pin_id)
    )
    return (await connection.execute(query)).one_or_none() is not None


async def set_paid(connection: AsyncConnection, row: Row[Any], told: Proof | Kept | None, **columns: Any) -> None:
    """Confirm it, with what the contract says that it moved."""
    if row.request_id is not None:
        # One that is signed stays so: who sends its signature again is told that it is there.
        await end_request(connection, row.id, SigningStatus.CANCELLED, "it is paid", unsigned_only=True)
    moved = {} if told is None or told.moved_units is None else _as_moved(row, told.moved_units)
    if told is not None and told.outcomes:
        moved["outcomes"] = told.outcomes
    await set_status(
        connection,
        row.id,
        _S.CONFIRMED,
        **({"confirmed_at": func.now()} | _OVER | columns | moved),
    )


def _as_moved(row: Row[Any], moved_units: int) -> dict[str, Any]:
    """What to record where the contract moved another amount: its terms may change while it is under way.

    Of a list it is normal that less moves: each recipient's byte says why.
    """
    intended = int(row.amount_units)
    if moved_units == intended:
        return {}
    if row.intent.get("partial") and moved_units < intended:
        return {"amount_units": moved_units}
    sentence = f"the contract moved {Amount(moved_units)} and not {Amount(intended)}: see its terms"
    details = {"intended": str(Amount(intended)), "moved": str(Amount(moved_units))}
    return {"amount_units": moved_units, "needs_person": sentence, "reason": sentence, "details": details}


def refused(status: SettlementStatus, refusal: HoldfastError) -> Ending:
    """An ending by a definite no."""
    return Ending(
        status=status,
        reason_code=refusal.code,
        reason=refusal.message,
        details=refusal.details,
        may_pass=refusal.retryable,
        after=0,
    )


async def end_unpaid(connection: AsyncConnection, row: Row[Any], ending: Ending, **columns: Any) -> None:
    """End it as `ending` says, or write down that it will; its pin has ended already."""
    if row.request_id is not None:
        await end_request(connection, row.id, SigningStatus.CANCELLED, ending.reason)
    columns |= {"pin_id": None, "attempt_id": None, "request_id": None, "expires_at": None, "needs_person": None}
    if row.entry_until is None:
        await set_ended(connection, row, ending, **columns)
        return
    waiting = ending.model_copy(update={"after": row.entry_until})
    reason = (
        f"{ending.reason}; what signers were shown can be used by whoever has it signed until ledger "
        f"{row.entry_until}, so only then is it {ending.status} for good"
    )
    columns |= {"ending": waiting.model_dump(mode="json"), "reason": reason}
    await set_status(connection, row.id, _S.BUILT, **columns)


async def set_ended(connection: AsyncConnection, row: Row[Any], ending: Ending, **columns: Any) -> None:
    """End it now."""
    await set_status(
        connection,
        row.id,
        ending.status,
        reason_code=ending.reason_code,
        reason=ending.reason,
        details=ending.details,
        may_pass=ending.may_pass,
        ending=None,
        **columns,
    )


_PAID: Final = _paid()
