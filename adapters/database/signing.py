"""The signing book: what signers are asked for, and what they answered."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Select, func, select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.database.audit import record as audit
from adapters.database.engine import Database
from adapters.database.settlement_rows import locked, set_status
from adapters.database.settlements_tables import settlements
from adapters.database.signing_rows import as_request, set_signed, signatures_of
from adapters.database.signing_tables import signing_requests, signing_signatures
from domain.errors import Conflict, HoldfastError, NotFound
from domain.settlement import Control, Intent, SettlementStatus
from domain.signing import (
    Authority,
    Signature,
    SignatureReceipt,
    SignatureSubmission,
    SigningRequest,
    SigningStatus,
)

_PAGE_MAX = 1_000


class SigningBook:
    """Satisfies `activities.signing.SigningBook`, and answers the front."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # What the front reads.

    async def request_of(self, settlement_id: str) -> SigningRequest:
        """The newest request of a settlement, whether it still waits or not.

        Raises:
            NotFound: nobody outside was ever asked to sign for it.
        """
        newest = (
            select(signing_requests)
            .where(signing_requests.c.settlement_id == settlement_id, signing_requests.c.deferred)
            .order_by(signing_requests.c.number.desc())
            .limit(1)
        )
        found = await self._read(newest)
        if not found:
            raise NotFound(f"nobody was asked to sign for {settlement_id}")
        return found[0]

    async def waiting(
        self,
        after: str | None = None,
        limit: int = 100,
        payer: str | None = None,
        batch_id: str | None = None,
    ) -> tuple[SigningRequest, ...]:
        """Requests that wait, oldest first, after the one with the id `after`; those of one batch's calls.

        Raises:
            NotFound: there is no request `after`.
        """
        query = (
            select(signing_requests)
            .where(signing_requests.c.status == SigningStatus.WAITING, signing_requests.c.deferred)
            .order_by(signing_requests.c.number)
            .limit(max(1, min(limit, _PAGE_MAX)))
        )
        if payer is not None:
            query = query.where(signing_requests.c.payer == payer)
        if batch_id is not None:
            calls = signing_requests.c.settlement_id.startswith(f"chunk:{batch_id}.", autoescape=True)
            query = query.where(calls)
        if after is not None:
            async with self._database.look() as connection:
                number = (
                    await connection.execute(
                        select(signing_requests.c.number).where(signing_requests.c.id == after)
                    )
                ).scalar_one_or_none()
            if number is None:
                raise NotFound(f"there is no signing request {after}")
            query = query.where(signing_requests.c.number > number)
        return await self._read(query)

    async def many(self, ids: Sequence[str]) -> tuple[SigningRequest, ...]:
        """The requests with these ids, as many as there are, oldest first."""
        query = select(signing_requests).where(signing_requests.c.id.in_(list(ids)[:_PAGE_MAX]))
        return await self._read(query.order_by(signing_requests.c.number))

    async def _read(self, query: Select[tuple[object, ...]]) -> tuple[SigningRequest, ...]:
        async with self._database.look() as connection:
            rows = (await connection.execute(query)).all()
            signed = await connection.execute(
                select(signing_signatures.c.request_id, signing_signatures.c.signer)
                .where(signing_signatures.c.request_id.in_([row.id for row in rows]))
                .order_by(signing_signatures.c.at, signing_signatures.c.signer)
            )
        by_request: dict[str, list[str]] = {}
        for row in signed.all():
            by_request.setdefault(row.request_id, []).append(row.signer)
        return tuple(as_request(row, tuple(by_request.get(row.id, ()))) for row in rows)

    # What accepting a signature needs.

    async def awaited(self, settlement_id: str, submission: SignatureSubmission) -> tuple[Intent, SigningRequest]:
        """See `activities.signing.SigningBook`: a request that is signed already is given too."""
        async with self._database.look() as connection:
            row = (
                await connection.execute(select(settlements).where(settlements.c.id == settlement_id))
            ).one_or_none()
        if row is None:
            raise NotFound(f"there is no settlement {settlement_id}")
        wanted = submission.request_id or row.request_id
        found = await self.many([wanted]) if wanted is not None else ()
        if submission.request_id is not None and (not found or found[0].settlement_id != settlement_id):
            raise NotFound(f"{settlement_id} has no signing request {submission.request_id}")
        if not found or found[0].id != row.request_id or not found[0].status.live:
            raise _not_awaited(row.id, row.status, row.request_id, found[0] if found else None)
        return Intent.model_validate(row.intent), found[0]

    async def was_asked(self, settlement_id: str, signed_hash: str) -> str | None:
        """See `activities.signing.SigningBook`."""
        query = (
            select(signing_requests.c.id)
            .where(signing_requests.c.settlement_id == settlement_id, signing_requests.c.hash == signed_hash)
            .order_by(signing_requests.c.number.desc())
            .limit(1)
        )
        async with self._database.look() as connection:
            found: str | None = (await connection.execute(query)).scalar_one_or_none()
        return found

    async def accept(
        self, request: SigningRequest, signatures: tuple[Signature, ...], authority: Authority, *, by: str
    ) -> SignatureReceipt:
        """See `activities.signing.SigningBook`."""
        async with self._database.begin() as connection:
            row = await locked(connection, request.settlement_id)
            if row.request_id != request.id:
                raise _not_awaited(row.id, row.status, row.request_id, request)
            before = {each.signer for each in await signatures_of(connection, request.id)}
            awaited = row.status == SettlementStatus.AWAITING_SIGNATURE
            fresh = tuple(each for each in signatures if each.signer not in before) if awaited else ()
            if fresh:
                if row.control == Control.CANCEL:
                    raise Conflict(f"{row.id} is being cancelled", code="signature_not_awaited")
                await self._store(connection, request, fresh, by)
            signed_by = before | {each.signer for each in fresh}
            complete = authority.suffices(signed_by) or not awaited
            if complete and awaited:
                await set_signed(connection, request.id)
                await set_status(connection, row.id, SettlementStatus.QUEUED, expires_at=None)
            return SignatureReceipt(
                settlement_id=row.id,
                request_id=request.id,
                accepted=tuple(each.signer for each in fresh),
                weight=authority.weight_of(signed_by),
                threshold=max(1, authority.threshold),
                complete=complete,
                already=not fresh,
            )

    async def _store(
        self, connection: AsyncConnection, request: SigningRequest, fresh: tuple[Signature, ...], by: str
    ) -> None:
        await connection.execute(
            upsert(signing_signatures)
            .values(
                [
                    {
                        "request_id": request.id,
                        "signer": each.signer,
                        "signature": each.signature,
                        "by": by,
                        "at": func.clock_timestamp(),
                    }
                    for each in fresh
                ]
            )
            .on_conflict_do_nothing()
        )
        await audit(
            connection,
            actor=by,
            action="signature.accept",
            subject=request.settlement_id,
            details={
                "request_id": request.id,
                "hash": request.hash,
                "signers": [each.signer for each in fresh],
            },
        )


def _not_awaited(settlement_id: str, status: str, live: str | None, found: SigningRequest | None) -> HoldfastError:
    if found is not None and live is not None and found.id != live:
        return Conflict(
            f"{found.id} was superseded by {live}: fetch and sign that one. What was signed cannot be sent by us",
            code="signature_superseded",
            request_id=found.id,
            superseded_by=live,
        )
    details = {} if found is None else {"request_id": found.id}
    return Conflict(
        f"{settlement_id} is {status} and waits for no signature", code="signature_not_awaited", **details
    )
