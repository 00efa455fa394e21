"""Payouts as they are shown."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, Field

from api.deps import Deps
from api.exact import MoneyNumber, money
from domain.payout import Payout, PayoutMode, Waits, waits_for
from domain.settlement import SettlementStatus, SigningMode


class PolicyDecisionView(BaseModel):
    """What a version of the policy said of a payout."""

    version: int
    stage: str = Field(description="`accepted`: when it was asked for; `handed_over`: when the engine got it.")
    decided_at: datetime
    allowed: bool
    needs_approval: bool
    why: str | None


class PayoutView(BaseModel):
    """A payout: what was asked for, and how it stands."""

    id: str
    payout_id: str = Field(description="The same as `id`.")
    status: SettlementStatus = Field(
        description="`accepted`: not built yet; `built`, `awaiting_signature`, `queued`, `submitted`, `confirmed`,"
        " `failed` as in the guide; `unknown`: sent, and not proved either way; `cancelled`: never paid."
    )
    waits_for: Waits = Field(description="What has to happen first; `nothing` where it is over.")
    mode: PayoutMode
    destination_account: str
    paid_to: str = Field(description="The muxed account (M…) where a memo was given, else the destination.")
    amount: MoneyNumber
    asset: str
    token: str = Field(description="The contract that moves the asset.")
    memo: str | None
    idempotency_key: str
    not_before: datetime | None
    ordered: bool
    signing: SigningMode | None = Field(description="As asked for; null: as PAYOUT_SIGNING says.")
    signer: str | None = Field(description="As asked for; null: as PAYOUT_SIGNER says.")
    source_account: str = Field(description="The payer, which signs.")
    contract_id: str
    tx_hash: str | None
    ledger: int | None
    explorer_url: str | None
    fee_charged_stroops: int | None
    attempts: int
    reason_code: str | None = Field(description="Of a failure: a code of docs/errors.md.")
    reason: str | None
    reason_details: dict[str, str]
    retry_at: datetime | None
    held: bool
    needs_approval: bool
    why_approval: str | None
    approved_by: str | None
    approved_at: datetime | None
    policy: list[PolicyDecisionView]
    cancel_requested_at: datetime | None
    created_at: datetime
    created_by: str
    updated_at: datetime
    submitted_at: datetime | None
    confirmed_at: datetime | None


_OF_REQUEST = (
    "paid_to",
    "asset",
    "token",
    "memo",
    "idempotency_key",
    "not_before",
    "ordered",
    "signing",
    "signer",
)


def payout_view(deps: Deps, payout: Payout, *, at: datetime) -> PayoutView:
    """Show one payout as it stands at `at`."""
    fields = {name: getattr(payout, name) for name in PayoutView.model_fields if name in Payout.model_fields}
    fields |= {name: getattr(payout.request, name) for name in _OF_REQUEST}
    return PayoutView(
        **fields
        | {
            "id": payout.payout_id,
            "status": payout.shown_status,
            "waits_for": waits_for(payout, at=at),
            "destination_account": payout.request.destination,
            "amount": money(payout.request.amount),
            "source_account": payout.payer,
            "contract_id": payout.contract,
            "explorer_url": deps.transaction_url(payout.tx_hash),
            "fee_charged_stroops": payout.fee_charged,
            "policy": [PolicyDecisionView(**one.model_dump(exclude={"code", "details"})) for one in payout.policy],
        }
    )


class CreatedPayout(BaseModel):
    """What the guide's `createPayoutTransaction` answers."""

    mode: PayoutMode = Field(
        description="`queued`: it is signed and sent by itself; `build_only`: it ends as `unsigned_xdr`;"
        " `awaiting_signature`: it waits for POST /api/v1/payouts/{id}/signature."
    )
    unsigned_xdr: str | None = Field(
        description="The unsigned envelope (base64 XDR), in modes `build_only` and `awaiting_signature`. Null"
        " where it is not built yet (ask again with GET), or where an authorization entry is signed instead."
    )
    signing_request: str | None = Field(description="Where to read what is to be signed; else null.")
    transaction: PayoutView


class PayoutsView(BaseModel):
    """A page of payouts, newest first."""

    payouts: list[PayoutView]
    next: str | None = Field(
        default=None, description="Pass it as `cursor` for the next page; null on the last one."
    )


class PayoutWhyView(BaseModel):
    """What a payout waits for, since when, and what may safely be done."""

    payout_id: str
    status: SettlementStatus
    waits_for: Waits
    sentence: str
    since: datetime
    may: list[str] = Field(description="Actions that are safe now: none of them can pay twice.")
    reason_code: str | None
    tx_hash: str | None
    ledger: int | None
    explorer_url: str | None
