"""Wallets over HTTP: made once a user, and what an account holds."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Path, Request
from pydantic import BaseModel, Field, RootModel
from starlette.responses import Response
from stellar_sdk import Keypair

from adapters.database import wallets
from adapters.database.audit import record
from adapters.database.wallets import Wallet
from api.access import needs
from api.deps import Deps, Parts
from api.exact import ExactJSONResponse, MoneyNumber, money
from api.fields import Body, WalletAddress
from api.once import IdempotencyKey, Once
from api.problems import may_answer
from api.waking import awake
from domain.errors import Refused
from domain.people import Caller, Scope

router: Final = APIRouter(prefix="/api/v1/wallets", tags=["wallets"])
Reader = Annotated[Caller, Depends(needs(Scope.WALLETS_READ))]
Writer = Annotated[Caller, Depends(needs(Scope.WALLETS_WRITE))]
UserId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._\-]{0,63}$", examples=["user123"])]


class CreateWallet(Body):
    """For whom. Take an id of your own, not a name or a phone number: it is shown to operators."""

    user_id: UserId


class WalletView(BaseModel):
    """A wallet; its secret key is sealed and never shown."""

    user_id: str
    address: str = Field(description="The account (G…).")
    status: str = Field(description="`accepted`: being made on the ledger; `ready`; `failed`.")
    tx_hash: str | None
    explorer_url: str | None
    reason_code: str | None
    reason: str | None
    created_at: datetime
    ready_at: datetime | None


def _view(deps: Deps, wallet: Wallet) -> WalletView:
    fields = {name: getattr(wallet, name) for name in WalletView.model_fields if name in Wallet.model_fields}
    return WalletView(**fields, explorer_url=deps.transaction_url(wallet.tx_hash))


@router.post(
    "/create",
    status_code=201,
    response_model=WalletView,
    responses={
        200: {"model": WalletView, "description": "The user has this wallet already"},
        202: {"model": WalletView, "description": "It is recorded, and made as soon as Temporal answers"},
        **may_answer("malformed_request", "body_too_large", "idempotency_conflict"),
    },
)
async def create_wallet(
    request: Request, deps: Parts, caller: Writer, body: CreateWallet, key: IdempotencyKey = None
) -> Response:
    """Make a wallet, once a user: the key is kept sealed, account and trustlines are sponsored."""
    if deps.custody is None:
        raise Refused("wallets are not kept here: CUSTODY_KEYS is not set")
    keypair = Keypair.random()
    async with deps.database.begin() as connection:
        once = Once(connection, caller, key)
        await once.before(request, body)
        wallet, new = await wallets.add_wallet(
            connection,
            user_id=body.user_id,
            address=keypair.public_key,
            sealed=deps.custody.seal_wallet(keypair),
            by=caller.id,
        )
        if new:
            await record(connection, actor=caller.id, action="wallet.create", subject=f"wallet:{body.user_id}")
        elif wallet.status == "failed":
            wallet = await wallets.accept_again(connection, body.user_id)
        await once.made(body.user_id)
    status = 201 if new else 200
    if wallet.status == "accepted":
        woken = await awake(deps.wallet_stories.wallet_requested(body.user_id), user_id=body.user_id)
        status = status if woken else 202
    return ExactJSONResponse(_view(deps, wallet), status)


@router.get("/users/{user_id}", response_model=WalletView, responses=may_answer("not_found"))
async def read_wallet(
    deps: Parts, _caller: Reader, user_id: Annotated[str, Path(pattern=r"^[A-Za-z0-9][A-Za-z0-9._\-]{0,63}$")]
) -> Response:
    """Read a user's wallet."""
    async with deps.database.begin() as connection:
        return ExactJSONResponse(_view(deps, await wallets.find_wallet(connection, user_id)))


class BalancesView(RootModel[dict[str, MoneyNumber]]):
    """Asset code to amount: exact decimal numbers."""

    model_config = {"json_schema_extra": {"examples": [{"XLM": 1000.00, "USDC": 5000.00, "NOCIQ": 500.00}]}}


@router.get(
    "/{address}/balance", response_model=BalancesView, responses=may_answer("not_found", "contract_missing")
)
async def read_balance(deps: Parts, _caller: Reader, address: Annotated[WalletAddress, Path()]) -> Response:
    """What an account holds on the ledger now; an asset that it has no trustline for is 0.00."""
    held = await deps.ledger.balances(address)
    return ExactJSONResponse({code: money(amount) for code, amount in held.items()})
