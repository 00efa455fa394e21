"""Accept a signature from outside: looked at from every side, stored beside what was asked for.

Only signatures are taken; each must verify against the hash of what we stored, on our network, and be of a key
that signs for the payer on the ledger now. What is enough makes the settlement `queued`; the walk looks again
before the lane signs.
"""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from temporalio import activity

from domain.errors import Conflict
from domain.policy import Policy
from domain.settlement import Intent
from domain.signing import (
    Authority,
    Signature,
    SignatureReceipt,
    SignatureSubmission,
    SigningRequest,
    SigningStatus,
)


class SigningBook(Protocol):
    """The record of requests and signatures. Every method is one transaction."""

    async def awaited(self, settlement_id: str, submission: SignatureSubmission) -> tuple[Intent, SigningRequest]:
        """The settlement's live request, which the submission must be for.

        Raises:
            NotFound: no such settlement or request.
            Conflict: `signature_superseded` or `signature_not_awaited`.
        """

    async def was_asked(self, settlement_id: str, signed_hash: str) -> str | None:
        """The id of an earlier request of this settlement with this hash."""

    async def accept(
        self, request: SigningRequest, signatures: tuple[Signature, ...], authority: Authority, *, by: str
    ) -> SignatureReceipt:
        """Store signatures; enough of them, and the settlement is queued.

        Raises:
            Conflict: `signature_superseded` or `signature_not_awaited`: it changed meanwhile.
        """


class Verifier(Protocol):
    """What is signed, and by whom, as the ledger has it."""

    def signed_hash(self, request: SigningRequest, signed_xdr: str) -> str:
        """The hash (hex), on our network, of what a signed XDR signs.

        Raises:
            Refused: `signature_malformed` or `signature_fee_bump`.
        """

    def signatures(
        self, request: SigningRequest, submission: SignatureSubmission, authority: Authority
    ) -> tuple[Signature, ...]:
        """Every signature of a submission, each verified.

        Raises:
            Refused: `signature_malformed`, `signature_fee_bump`, `signature_wrong_hash`,
                `signature_wrong_network`, `signature_invalid` or `signature_unknown_signer`.
        """

    async def authority(self, account: str) -> Authority:
        """Who signs for an account now.

        Raises:
            Refused: `account_missing`.
            Unavailable: the ledger does not answer.
        """


class Head(Protocol):
    """The newest ledger that was followed."""

    @property
    def closed_at(self) -> datetime:
        """Its close time."""

    @property
    def sequence(self) -> int:
        """Its number."""


class SigningActivities:
    """Wired by the workers."""

    def __init__(self, *, book: SigningBook, verifier: Verifier, head: Head, policy: Policy) -> None:
        self._book = book
        self._verifier = verifier
        self._head = head
        self._policy = policy

    @activity.defn(name="accept_signature")
    async def accept_signature(self, settlement_id: str, submission: SignatureSubmission) -> SignatureReceipt:
        """Take the signatures of a submission; the same ones again change nothing.

        Raises:
            Refused: a code that begins with `signature_`, or the policy's.
            NotFound: no such settlement or request.
            Unavailable: the ledger or the database does not answer.
        """
        return await self.accept(settlement_id, submission)

    async def accept(self, settlement_id: str, submission: SignatureSubmission) -> SignatureReceipt:
        """The same without Temporal."""
        intent, request = await self._book.awaited(settlement_id, submission)
        await self._check_what_is_signed(request, submission)
        if request.status is SigningStatus.WAITING:
            self._check_time(request)
            self._policy.check(intent)
        authority = await self._verifier.authority(intent.payer)
        signatures = self._verifier.signatures(request, submission, authority)
        return await self._book.accept(request, signatures, authority, by=submission.by)

    async def _check_what_is_signed(self, request: SigningRequest, submission: SignatureSubmission) -> None:
        """An envelope that was superseded says so, and not only that it is another one."""
        if submission.signed_xdr is None:
            return
        signed = self._verifier.signed_hash(request, submission.signed_xdr)
        if signed == request.hash:
            return
        earlier = await self._book.was_asked(request.settlement_id, signed)
        if earlier is not None:
            raise Conflict(
                f"it signs {earlier}, which was superseded by {request.id}: fetch and sign that one",
                code="signature_superseded",
                request_id=earlier,
                superseded_by=request.id,
            )

    def _check_time(self, request: SigningRequest) -> None:
        ledger, closed_at = self._head.sequence, self._head.closed_at
        if closed_at > request.expires_at or ledger > (request.expires_ledger or ledger):
            raise Conflict(
                f"the request ended at {request.expires_at.isoformat(timespec='seconds')}, and ledger {ledger} "
                f"closed at {closed_at.isoformat(timespec='seconds')}: a fresh one follows",
                code="signature_expired",
                request_id=request.id,
            )
