"""How a settlement ends: by proof, or unpaid.

Unpaid it ends at once where nothing of it can land, else when nobody can use what was shown. An envelope cannot
land without its lane's signature. An authorization entry can: whoever has it signed may send it in their own
transaction, until its last ledger.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from activities.settlement_parts import Kept, Proof
from adapters.database.pin_rows import end_pin
from adapters.database.settlement_rows import locked, set_status
from adapters.database.settlements_tables import attempts, sends
from adapters.database.signing_rows import end_request
from domain.errors import HoldfastError
from domain.money import Amount
from domain.settlement import Ending, SettlementStatus
from domain.signing import SigningStatus

_S = SettlementStatus


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
        **(
            {
                "confirmed_at": func.now(),
                "pin_id": None,
                "attempt_id": None,
                "expires_at": None,
                "ending": None,
                "needs_person": None,
                "reason": None,
            }
            | columns
            | moved
        ),
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
