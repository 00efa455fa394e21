"""Operators and sites over HTTP."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Path, Query
from pydantic import BaseModel, Field
from starlette.responses import Response

from adapters.database import registry
from adapters.database.audit import record
from adapters.database.registry import Operator, Site
from api.access import needs
from api.deps import Parts
from api.exact import ExactJSONResponse, MoneyNumber, money
from api.fields import Body, Email, MoneyText, Text, WalletAddress
from api.problems import may_answer
from domain.money import Amount
from domain.people import Caller, Scope

router: Final = APIRouter(prefix="/api/v1", tags=["registry"])
Reader = Annotated[Caller, Depends(needs(Scope.REGISTRY_READ))]
Writer = Annotated[Caller, Depends(needs(Scope.REGISTRY_WRITE))]
OperatorId = Annotated[str, Path(pattern=r"^[a-z0-9][a-z0-9\-]{0,62}$", examples=["acme-telecom"])]
SiteName = Annotated[str, Path(min_length=1, max_length=120, examples=["Test Site"])]
Emails = Annotated[list[Annotated[Email, Field(max_length=254)]], Field(max_length=20)]


class PutOperator(Body):
    """An operator, whole: what is not named is its default."""

    name: Annotated[Text, Field(min_length=1, max_length=120)]
    wallet: WalletAddress | None = None
    emails: Emails = Field(default_factory=list)
    phones: Annotated[list[Annotated[str, Field(pattern=r"^\+[1-9][0-9]{6,14}$")]], Field(max_length=20)] = Field(
        default_factory=list, description="In international form, such as +254700000000."
    )
    auto_payment: bool = Field(default=True, description="False: each payment waits for a person.")
    auto_payment_max: MoneyText | None = Field(
        default=None,
        description="The greatest automatic payment, beside MAX_AUTO_PAYMENT_AMOUNT; the lower counts.",
    )


class OperatorView(BaseModel):
    """An operator."""

    id: str
    name: str
    wallet: str | None
    emails: list[str]
    phones: list[str]
    auto_payment: bool
    auto_payment_max: MoneyNumber | None
    changed_at: datetime


class OperatorsView(BaseModel):
    """A page of operators, by id."""

    operators: list[OperatorView]
    next: str | None = None


class PutSite(Body):
    """A site, whole."""

    operator: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9\-]{0,62}$")]
    noc_team_wallet: WalletAddress | None = None
    emails: Emails = Field(default_factory=list)


class SiteView(BaseModel):
    """A site."""

    name: str
    operator: str
    noc_team_wallet: str | None
    emails: list[str]
    changed_at: datetime


class SitesView(BaseModel):
    """A page of sites, by name."""

    sites: list[SiteView]
    next: str | None = None


class Page(Body):
    """Which page."""

    cursor: Annotated[str, Field(max_length=120, description="`next` of the page before.")] = ""
    limit: Annotated[int, Field(ge=1, le=200)] = 50


class SitePage(Page):
    """Which sites."""

    operator: Annotated[str, Field(max_length=63)] | None = None


def _operator(operator: Operator) -> OperatorView:
    limit = operator.auto_payment_max_units
    return OperatorView(
        id=operator.id,
        name=operator.name,
        wallet=operator.wallet,
        emails=list(operator.emails),
        phones=list(operator.phones),
        auto_payment=operator.auto_payment,
        auto_payment_max=None if limit is None else money(Amount(limit)),
        changed_at=operator.changed_at or datetime.now(UTC),
    )


def _site(site: Site) -> SiteView:
    return SiteView(
        name=site.name,
        operator=site.operator_id,
        noc_team_wallet=site.noc_team_wallet,
        emails=list(site.emails),
        changed_at=site.changed_at or datetime.now(UTC),
    )


@router.get("/operators", response_model=OperatorsView, responses=may_answer())
async def read_operators(deps: Parts, _caller: Reader, page: Annotated[Page, Query()]) -> Response:
    """List operators."""
    async with deps.database.begin() as connection:
        found = [
            _operator(o) for o in await registry.list_operators(connection, after=page.cursor, limit=page.limit)
        ]
    return ExactJSONResponse(
        OperatorsView(operators=found, next=found[-1].id if len(found) == page.limit else None)
    )


@router.get("/operators/{operator_id}", response_model=OperatorView, responses=may_answer("not_found"))
async def read_operator(deps: Parts, _caller: Reader, operator_id: OperatorId) -> Response:
    """Read one operator."""
    async with deps.database.begin() as connection:
        return ExactJSONResponse(_operator(await registry.find_operator(connection, operator_id)))


@router.put(
    "/operators/{operator_id}",
    response_model=OperatorView,
    responses={
        201: {"model": OperatorView, "description": "It is new"},
        **may_answer("malformed_request", "body_too_large"),
    },
)
async def put_operator(deps: Parts, caller: Writer, operator_id: OperatorId, body: PutOperator) -> Response:
    """Write an operator."""
    limit = body.auto_payment_max
    operator = Operator(
        id=operator_id,
        name=body.name,
        wallet=body.wallet,
        emails=tuple(body.emails),
        phones=tuple(body.phones),
        auto_payment=body.auto_payment,
        auto_payment_max_units=None if limit is None else limit.units,
    )
    async with deps.database.begin() as connection:
        new = await registry.put_operator(connection, operator, by=caller.id, at=datetime.now(UTC))
        # Contacts are people's: the audit log names what decides over money.
        await record(
            connection,
            actor=caller.id,
            action="operator.put",
            subject=f"operator:{operator_id}",
            details=operator.model_dump(
                mode="json", include={"name", "wallet", "auto_payment", "auto_payment_max_units"}
            ),
        )
        view = _operator(await registry.find_operator(connection, operator_id))
    return ExactJSONResponse(view, 201 if new else 200)


@router.get("/sites", response_model=SitesView, responses=may_answer())
async def read_sites(deps: Parts, _caller: Reader, page: Annotated[SitePage, Query()]) -> Response:
    """List sites."""
    async with deps.database.begin() as connection:
        rows = await registry.list_sites(
            connection, operator_id=page.operator, after=page.cursor, limit=page.limit
        )
    found = [_site(site) for site in rows]
    return ExactJSONResponse(SitesView(sites=found, next=found[-1].name if len(found) == page.limit else None))


@router.get("/sites/{site_name}", response_model=SiteView, responses=may_answer("not_found"))
async def read_site(deps: Parts, _caller: Reader, site_name: SiteName) -> Response:
    """Read one site."""
    async with deps.database.begin() as connection:
        return ExactJSONResponse(_site(await registry.find_site(connection, site_name)))


@router.put(
    "/sites/{site_name}",
    response_model=SiteView,
    responses={
        201: {"model": SiteView, "description": "It is new"},
        **may_answer("malformed_request", "body_too_large"),
    },
)
async def put_site(
    deps: Parts,
    caller: Writer,
    site_name: Annotated[Text, Path(min_length=1, max_length=120, examples=["Test Site"])],
    body: PutSite,
) -> Response:
    """Write a site."""
    site = Site(
        name=site_name,
        operator_id=body.operator,
        noc_team_wallet=body.noc_team_wallet,
        emails=tuple(body.emails),
    )
    async with deps.database.begin() as connection:
        new = await registry.put_site(connection, site, by=caller.id, at=datetime.now(UTC))
        await record(
            connection,
            actor=caller.id,
            action="site.put",
            subject=f"site:{site_name}",
            details=site.model_dump(mode="json", include={"operator_id", "noc_team_wallet"}),
        )
        view = _site(await registry.find_site(connection, site_name))
    return ExactJSONResponse(view, 201 if new else 200)
