"""The settlement book: the engine's record in Postgres.

Every change locks the settlement's row, compares it with what the caller believed (status and newest attempt), and
only then swaps; a caller who believed something else changes nothing and is handed the row as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import func, or_, select, update
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from activities.settlement_parts import Kept, Proof, Send, Settlement
from adapters.database.endings import end_unpaid, record, record_all, refused, set_ended, set_paid
from adapters.database.engine import Database
from adapters.database.gathered import Gathered
from adapters.database.pin_rows import end_pin, return_pin
from adapters.database.settlement_rows import (
    as_believed,
    as_outcome,
    differences,
    intent_columns,
    locked,
    move,
    read_facts,
    read_settlements,
    renew_leases,
    reread,
    why_stopped,
)
from adapters.database.settlements_tables import attempts, pins, sends, settlements
from adapters.database.signing_rows import end_request
from adapters.database.write_ahead import WriteAhead
from domain.errors import Conflict, HoldfastError, NotFound, Refused
from domain.settlement import (
    Control,
    Ending,
    Intent,
    SettlementOutcome,
    SettlementStatus,
    SigningMode,
    check_transition,
)
from domain.signing import SigningStatus
from domain.why import Why, why

_S = SettlementStatus
_LEASE: Final = timedelta(seconds=20)
# Made once: to put a statement together takes longer than to send it.
_ACCEPT: Final = upsert(settlements).on_conflict_do_nothing().returning(settlements.c.id)


class SettlementBook(WriteAhead):
    """Satisfies `activities.settlement_parts.SettlementBook`; `owner` names this process in leases."""

    def __init__(
        self,
        database: Database,
        *,
        owner: str = "front",
        ask_after: timedelta = timedelta(minutes=1),
        lanes_waiting: int = 4,
    ) -> None:
        """An unknown older than `ask_after` asks a person to look; nothing else changes.

        `lanes_waiting` bounds the lanes that are held while somebody outside signs.
        """
        super().__init__(database, lanes_waiting=lanes_waiting)
        self._walked: Gathered[str, Settlement] = Gathered(self._load)
        self._owner = owner
        self._ask_after = ask_after

    # What stories and the front call.

    async def accept(self, connection: AsyncConnection, intent: Intent) -> SettlementOutcome:
        """Record an intent inside the caller's transaction; again with the same intent changes nothing.

        Raises:
            Conflict: the id is there with another intent.
        """
        inserted = await connection.execute(_ACCEPT, intent_columns(intent))
        if inserted.scalar_one_or_none() is not None:
            return SettlementOutcome(settlement_id=intent.settlement_id, status=_S.ACCEPTED)
        row = await locked(connection, intent.settlement_id)
        if row.fingerprint != intent.fingerprint:
            raise Conflict(
                f"{intent.settlement_id} was accepted with another intent",
                settlement_id=intent.settlement_id,
                differs=", ".join(differences(row.intent, intent)),
            )
        return as_outcome(row)

    async def retry(self, connection: AsyncConnection, intent: Intent) -> SettlementOutcome:
        """Let a failed settlement begin again, with the intent as it is now; its marker stays the same.

        Raises:
            Conflict: `wrong_state`: it has not failed, so it may still be paid or was.
            Refused: its marker would be another: the contract could no longer tell that it is the same payment.
        """
        row = await locked(connection, intent.settlement_id)
        check_transition(row.id, _S(row.status), _S.ACCEPTED)
        if row.marker_id != intent.marker_id:
            raise Refused(
                f"{row.id} was begun under another HOLDFAST_DEPLOYMENT: put that one back to try it again, since "
                "the contract knows it by that id only"
            )
        changed = await connection.execute(
            update(settlements)
            .where(settlements.c.id == row.id)
            .values(
                **intent_columns(intent),
                status=_S.ACCEPTED,
                tries=row.tries + 1,
                builds=0,
                pin_id=None,
                attempt_id=None,
                request_id=None,
                expires_at=None,
                entry_until=None,
                ending=None,
                outcomes=None,
                reserved_on=None,
                control=Control.NONE,
                needs_person=None,
                reason_code=None,
                reason=None,
                details={},
                may_pass=False,
            )
            .returning(*settlements.c)
        )
        return as_outcome(changed.one())

    async def control(self, connection: AsyncConnection, settlement_id: str, control: Control) -> None:
        """Set the control column, which the walk reads each ledger.

        A cancel stands, and what is held is released by `NONE` alone.

        Raises:
            NotFound: no such settlement.
            Conflict: `wrong_state`: it is final, being cancelled, or held.
        """
        row = await locked(connection, settlement_id)
        if _S(row.status).final:
            raise Conflict(f"{settlement_id} is {row.status}: it is final", code="wrong_state")
        if row.control == Control.CANCEL and control is not Control.CANCEL:
            raise Conflict(f"{settlement_id} is being cancelled", code="wrong_state")
        if row.control == Control.HOLD and control is Control.BUMP:
            raise Conflict(f"{settlement_id} is held: resume it first", code="wrong_state")
        await connection.execute(
            update(settlements).where(settlements.c.id == settlement_id).values(control=control)
        )

    async def outcome(self, settlement_id: str) -> SettlementOutcome:
        """How a settlement stands.

        Raises:
            NotFound: no such settlement.
        """
        async with self._database.look() as connection:
            row = (
                await connection.execute(select(settlements).where(settlements.c.id == settlement_id))
            ).one_or_none()
        if row is None:
            raise NotFound(f"there is no settlement {settlement_id}")
        return as_outcome(row)

    async def unsigned_xdr(self, settlement_id: str) -> str | None:
        """The newest envelope that was built for a settlement, as a signer would see it (base64 XDR)."""
        newest = (
            select(attempts.c.envelope)
            .where(attempts.c.settlement_id == settlement_id, attempts.c.purpose == "pay")
            .order_by(attempts.c.id.desc())
            .limit(1)
        )
        async with self._database.look() as connection:
            found: str | None = (await connection.execute(newest)).scalar_one_or_none()
        return found

    async def why(self, settlement_id: str) -> Why:
        """What a settlement waits for, since when, and what is safe; answers with every worker down.

        Raises:
            NotFound: no such settlement.
        """
        async with self._database.look() as connection:
            return why(await read_facts(connection, settlement_id))

    # What the walk calls.

    async def load(self, settlement_id: str) -> Settlement:
        """Read a settlement, and renew our lease on it where less than half of it is left.

        Raises:
            NotFound: no such settlement.
        """
        settlement = await self._walked.ask(settlement_id)
        if settlement is None:
            raise NotFound(f"there is no settlement {settlement_id}")
        return settlement

    async def _load(self, settlement_ids: Sequence[str]) -> dict[str, Settlement]:
        async with self._database.look() as connection:
            found = await read_settlements(connection, settlement_ids)
            halfway = datetime.now(UTC) + _LEASE / 2
            lapsing = [
                row.id
                for row, settlement in found.values()
                if not settlement.status.final
                and (row.lease_owner != self._owner or row.lease_until is None or row.lease_until <= halfway)
            ]
            if lapsing:
                await renew_leases(connection, lapsing, self._owner, until=halfway + _LEASE / 2)
            return {settlement.id: settlement for _, settlement in found.values()}

    async def read(self, connection: AsyncConnection, settlement_id: str) -> Settlement:
        """Read a settlement without taking its lease."""
        return await reread(connection, settlement_id)

    async def unpin(self, connection: AsyncConnection, settlement_id: str) -> None:
        """The number that an unsigned settlement held was consumed by a transaction that the record lost.

        Its envelope can never land: it is built anew, on another pin.
        """
        await connection.execute(
            update(attempts).where(attempts.c.settlement_id == settlement_id).values(superseded=True)
        )
        row = await locked(connection, settlement_id)
        columns: dict[str, Any] = {"pin_id": None, "attempt_id": None}
        if row.request_id is not None and row.entry_until is None:
            await end_request(connection, row.id, SigningStatus.SUPERSEDED, "its number was consumed")
            columns |= {"status": _S.BUILT, "request_id": None, "expires_at": None}
        await connection.execute(update(settlements).where(settlements.c.id == row.id).values(**columns))

    async def note_answer(self, send: Send, answer: str) -> None:
        """Keep what the node said to a send, for `why`."""
        async with self._database.begin() as connection:
            await connection.execute(
                update(sends).where(sends.c.outer_hash == send.outer_hash).values(answer=answer[:500])
            )

    async def record(self, settlement: Settlement, proof: Proof) -> Settlement:
        """See `activities.settlement_parts.SettlementBook`."""
        async with self._database.begin() as connection:
            await record(connection, settlement.id, proof)
            return await reread(connection, settlement.id)

    async def record_landed(self, proofs: Sequence[tuple[str, Proof]]) -> frozenset[str]:
        """Record what one ledger holds of ours, all in one transaction; gives the settlements that it ended."""
        if not proofs:
            return frozenset()
        async with self._database.begin() as connection:
            return await record_all(connection, proofs)

    async def ours_among(self, hashes: Sequence[str]) -> dict[str, tuple[str, bool]]:
        """Which of these outer hashes are ours: hash → (settlement, whether it is a burn)."""
        if not hashes:
            return {}
        async with self._database.look() as connection:
            rows = await connection.execute(
                select(sends.c.outer_hash, sends.c.settlement_id, attempts.c.purpose)
                .join(attempts, attempts.c.id == sends.c.attempt_id)
                .where(sends.c.outer_hash.in_(hashes))
            )
            return {row.outer_hash: (row.settlement_id, row.purpose == "burn") for row in rows}

    async def record_paid_before(
        self, settlement: Settlement, proof: Proof | None, kept: Kept | None = None
    ) -> Settlement:
        """See `activities.settlement_parts.SettlementBook`."""
        async with self._database.begin() as connection:
            row = await locked(connection, settlement.id)
            if _S(row.status).final:
                return await reread(connection, settlement.id)
            if _S(row.status).in_flight:
                await end_pin(connection, row.pin_id, consumer=proof.tx_hash if proof else None)
            else:
                # The lane has not signed: whatever wrote the marker, this number is unused.
                await return_pin(connection, row.pin_id)
            await set_paid(
                connection,
                row,
                proof or kept,
                tx_hash=proof.tx_hash if proof else None,
                ledger=proof.ledger if proof else None,
                closed_at=proof.closed_at if proof else None,
                fee_charged=proof.fee_charged if proof else None,
                reason="the contract's marker was there: it was paid before our record knew of it",
            )
            return await reread(connection, row.id)

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
            row = await as_believed(connection, settlement)
            if row is None:
                return await reread(connection, settlement.id)
            await end_pin(connection, row.pin_id, consumer="unidentified")
            ending = Ending(
                status=_S.FAILED, reason_code="failed_on_ledger", reason=reason, may_pass=True, after=0
            )
            await end_unpaid(connection, row, ending)
            return await reread(connection, row.id)

    async def end(self, settlement: Settlement) -> Settlement:
        """See `activities.settlement_parts.SettlementBook`."""
        async with self._database.begin() as connection:
            row = await as_believed(connection, settlement)
            if row is not None and row.ending is not None:
                await set_ended(connection, row, Ending.model_validate(row.ending))
            return await reread(connection, settlement.id)

    async def supersede(self, settlement: Settlement) -> Settlement:
        """See `activities.settlement_parts.SettlementBook`."""
        async with self._database.begin() as connection:
            row = await as_believed(connection, settlement)
            if row is None:
                return await reread(connection, settlement.id)
            await connection.execute(
                update(attempts).where(attempts.c.settlement_id == settlement.id).values(superseded=True)
            )
            columns: dict[str, Any] = {"attempt_id": None, "needs_person": None}
            if settlement.ticket is not None and settlement.ticket.request.kind is SigningMode.ENVELOPE:
                reason = "its envelope expired before a ledger admitted it"
                await end_request(connection, row.id, SigningStatus.EXPIRED, reason)
                columns |= {"request_id": None, "expires_at": None}
            return await move(connection, row.id, _S.BUILT, **columns)

    async def doubt(self, settlement: Settlement, *, person: str | None) -> Settlement:
        """See `activities.settlement_parts.SettlementBook`."""
        async with self._database.begin() as connection:
            row = await as_believed(connection, settlement)
            if row is None:
                return await reread(connection, settlement.id)
            submitted: datetime | None = row.submitted_at
            if person is None and submitted is not None and datetime.now(UTC) - submitted > self._ask_after:
                since = submitted.isoformat(timespec="seconds")
                person = f"no proof either way since {since}; it is looked at each ledger"
            if row.status == _S.UNKNOWN:
                await connection.execute(
                    update(settlements).where(settlements.c.id == row.id).values(needs_person=person)
                )
                return await reread(connection, settlement.id)
            return await move(connection, row.id, _S.UNKNOWN, needs_person=person)

    async def envelopes_sent(self, settlement: Settlement) -> tuple[str, ...]:
        """See `activities.settlement_parts.SettlementBook`."""
        async with self._database.look() as connection:
            rows = await connection.execute(
                select(sends.c.outer_hash)
                .join(attempts, attempts.c.id == sends.c.attempt_id)
                .join(pins, pins.c.id == attempts.c.pin_id)
                .where(sends.c.settlement_id == settlement.id, pins.c.state == "held")
                .order_by(sends.c.created_at.desc())
            )
            return tuple(rows.scalars())

    async def orphans(self) -> tuple[tuple[str, Send], ...]:
        """Settlements in flight whose owner's lease lapsed, with the envelope to send again."""
        async with self._database.look() as connection:
            if await why_stopped(connection) is not None:
                return ()
            rows = await connection.execute(
                select(sends.c.settlement_id, sends.c.outer_hash, sends.c.envelope, sends.c.inclusion_fee)
                .ext(distinct_on(sends.c.settlement_id))
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
            row = await as_believed(connection, settlement)
            if row is None:
                return await reread(connection, settlement.id)
            await return_pin(connection, row.pin_id)
            await end_unpaid(connection, row, refused(status, refusal))
            return await reread(connection, row.id)
