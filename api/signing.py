"""Signing over HTTP: what waits for a signature, and signatures in return."""

from __future__ import annotations

import asyncio
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Path, Query
from pydantic import BaseModel, Field, model_validator
from starlette.responses import Response

from adapters.database.batch_rows import find_batch
from adapters.database.payout_rows import find_payout
from adapters.database.signing import SigningBook
from adapters.stellar.signables import batch_digest
from api.access import needs
from api.deps import Deps, Parts, batches_of
from api.exact import ExactJSONResponse
from api.fields import Body, WalletAddress
from api.problems import may_answer
from domain.batch import BATCH_ID_PATTERN, batch_of_chunk
from domain.errors import HoldfastError, InvalidInput, NotFound
from domain.payout import settlement_id_of
from domain.payout_request import PAYOUT_ID_PATTERN
from domain.people import Caller, Scope
from domain.signing import (
    SIGNATURES_MAX,
    Signature,
    SignatureReceipt,
    SignatureSubmission,
    SigningRequest,
)

router: Final = APIRouter(prefix="/api/v1", tags=["signing"])
Reader = Annotated[Caller, Depends(needs(Scope.PAYOUTS_READ, Scope.PAYOUTS_SIGN))]
Signer = Annotated[Caller, Depends(needs(Scope.PAYOUTS_SIGN))]
PayoutId = Annotated[str, Path(pattern=PAYOUT_ID_PATTERN, examples=["round-1-winner-1"])]
RequestId = Annotated[str, Field(pattern=r"^[A-Za-z0-9._:\-]{1,200}$")]
_SUBMISSIONS_MAX: Final = 100
_AT_ONCE: Final = 10
"""So many Updates wait side by side for one request: the rest of the API goes on."""


class SigningRequestView(SigningRequest):
    """A request for a signature. Sign what the XDR says, not what `words` says: a signer decodes it itself."""

    payout_id: str | None = Field(description="The payout that it pays; null for what is no payout.")
    batch_id: str | None = Field(description="The batch whose call it is; null for what is no batch's.")


class SigningRequestsView(BaseModel):
    """A page of requests, oldest first."""

    signing_requests: list[SigningRequestView]
    digest: str = Field(description="Over the hashes of this page; `holdfast sign` shows the same for the same.")
    next: str | None = None


def _view(request: SigningRequest) -> SigningRequestView:
    kind, _, business_id = request.settlement_id.partition(":")
    return SigningRequestView(
        **request.model_dump(),
        payout_id=business_id if kind == "payout" else None,
        batch_id=batch_of_chunk(request.settlement_id) if kind == "chunk" else None,
    )


class PostedSignature(Body):
    """A detached signature: 64 bytes in base64, over the request's `hash`."""

    signer: WalletAddress
    signature: Annotated[str, Field(min_length=80, max_length=100)]


class PostSignature(Body):
    """The signed XDR, detached signatures, or both; only the signatures are taken from either."""

    request_id: RequestId | None = Field(default=None, description="Which request it answers; else the live one.")
    signed_xdr: Annotated[str, Field(min_length=1, max_length=200_000)] | None = Field(
        default=None, description="The envelope, or the authorization entry, with signatures; base64."
    )
    signatures: Annotated[list[PostedSignature], Field(max_length=SIGNATURES_MAX)] = Field(default_factory=list)

    @model_validator(mode="after")
    def _something(self) -> PostSignature:
        if self.signed_xdr is None and not self.signatures:
            raise ValueError("signed_xdr or signatures: one of them is needed")
        return self

    def submission(self, by: str) -> SignatureSubmission:
        """As the engine takes it."""
        return SignatureSubmission(
            request_id=self.request_id,
            signed_xdr=self.signed_xdr,
            signatures=tuple(Signature(signer=one.signer, signature=one.signature) for one in self.signatures),
            by=by,
        )


_REFUSALS: Final = (
    "malformed_request",
    "body_too_large",
    "not_found",
    "signature_malformed",
    "signature_fee_bump",
    "signature_wrong_hash",
    "signature_wrong_network",
    "signature_invalid",
    "signature_unknown_signer",
    "signature_superseded",
    "signature_not_awaited",
    "signature_expired",
    "temporal_unavailable",
)


@router.get(
    "/payouts/{payout_id}/signing-request",
    response_model=SigningRequestView,
    responses=may_answer("not_found"),
)
async def read_signing_request(deps: Parts, _caller: Reader, payout_id: PayoutId) -> Response:
    """What is asked of the payer's signers for a payout: the newest request, whether it still waits or not."""
    return ExactJSONResponse(_view(await SigningBook(deps.database).request_of(settlement_id_of(payout_id))))


@router.post("/payouts/{payout_id}/signature", response_model=SignatureReceipt, responses=may_answer(*_REFUSALS))
async def post_signature(deps: Parts, caller: Signer, payout_id: PayoutId, body: PostSignature) -> Response:
    """Hand over signatures. The same ones again change nothing; with enough of them the payout goes on."""
    return ExactJSONResponse(await _submit(deps, settlement_id_of(payout_id), body.submission(caller.id)))


async def _submit(deps: Deps, settlement_id: str, submission: SignatureSubmission) -> SignatureReceipt:
    kind, _, business_id = settlement_id.partition(":")
    # Else a story would begin for an id that nobody asked for.
    async with deps.database.look() as connection:
        if kind == "chunk":
            await find_batch(connection, batch_of_chunk(settlement_id))
        else:
            await find_payout(connection, business_id)
    if kind != "chunk":
        return await deps.payouts.stories.submit_signature(business_id, submission)
    return await batches_of(deps).stories.submit_signature(settlement_id, submission)


class ListedRequests(Body):
    """Which requests: those that wait, or the ones with these ids."""

    ids: Annotated[list[RequestId], Field(max_length=200)] = Field(
        default_factory=list, description="Ids of requests, whatever their status; the parameter may be repeated."
    )
    payer: WalletAddress | None = None
    batch: Annotated[str, Field(pattern=BATCH_ID_PATTERN, description="The calls of one batch.")] | None = None
    cursor: RequestId | None = Field(default=None, description="`next` of the page before.")
    limit: Annotated[int, Field(ge=1, le=200)] = 100


@router.get("/signing-requests", response_model=SigningRequestsView, responses=may_answer())
async def read_signing_requests(
    deps: Parts, _caller: Reader, wanted: Annotated[ListedRequests, Query()]
) -> Response:
    """All that waits for a signature, oldest first; or the requests that `ids` names."""
    book = SigningBook(deps.database)
    more = None
    if wanted.ids:
        found = await book.many(wanted.ids)
    else:
        try:
            found = await book.waiting(
                after=wanted.cursor, limit=wanted.limit, payer=wanted.payer, batch_id=wanted.batch
            )
        except NotFound:
            raise InvalidInput("there is no such page", cursor="`next` of the page before") from None
        more = found[-1].id if len(found) == wanted.limit else None
    return ExactJSONResponse(
        SigningRequestsView(
            signing_requests=[_view(request) for request in found],
            digest=batch_digest(bytes.fromhex(request.hash) for request in found),
            next=more,
        )
    )


class SubmittedSignature(PostSignature):
    """Signatures for one payout, or one call of a batch, among many."""

    settlement_id: Annotated[
        str,
        Field(pattern=r"^(payout:[A-Za-z0-9][A-Za-z0-9._:\-]{0,119}|chunk:bat[0-9a-f]{16}\.[A-Za-z0-9.]{1,80})$"),
    ] = Field(description="As the request names it: payout:round-1-winner-1, or chunk:bat0123456789abcdef.7.")


class PostSignatures(Body):
    """Many at once."""

    submissions: Annotated[list[SubmittedSignature], Field(min_length=1, max_length=_SUBMISSIONS_MAX)]


class SignatureProblem(BaseModel):
    """Why one was not taken."""

    code: str
    detail: str
    details: dict[str, str]


class SignatureResult(BaseModel):
    """What became of one: a receipt, or a problem."""

    settlement_id: str
    receipt: SignatureReceipt | None = None
    problem: SignatureProblem | None = None


class SignatureResults(BaseModel):
    """A result for each, in their order."""

    results: list[SignatureResult]


@router.post(
    "/signatures",
    response_model=SignatureResults,
    responses=may_answer("malformed_request", "body_too_large"),
)
async def post_signatures(deps: Parts, caller: Signer, body: PostSignatures) -> Response:
    """Hand over many signatures, of payouts and of batches' calls; a refused one stops no other."""
    gate = asyncio.Semaphore(_AT_ONCE)

    async def one(submitted: SubmittedSignature) -> SignatureResult:
        name = submitted.settlement_id
        async with gate:
            try:
                receipt = await _submit(deps, name, submitted.submission(caller.id))
            except HoldfastError as error:
                problem = SignatureProblem(code=error.code, detail=error.message, details=error.details)
                return SignatureResult(settlement_id=name, problem=problem)
        return SignatureResult(settlement_id=name, receipt=receipt)

    return ExactJSONResponse(SignatureResults(results=await asyncio.gather(*map(one, body.submissions))))
