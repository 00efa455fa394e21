"""How payouts stand, over HTTP: the guide's questions, answered."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query
from pydantic import Field
from starlette.responses import Response

from adapters.database.payout_stats import PaymentKind, PayoutStats, payout_stats
from api.access import needs
from api.deps import Parts
from api.exact import ExactJSONResponse
from api.fields import Body
from api.problems import may_answer
from domain.people import Caller, Scope

router: Final = APIRouter(prefix="/api/v1/payouts", tags=["payouts"])
Reader = Annotated[Caller, Depends(needs(Scope.PAYOUTS_READ))]


class StatsOf(Body):
    """Which payouts, and how far back."""

    hours: Annotated[int, Field(ge=1, le=24 * 366)] = 24
    kind: PaymentKind = Field(default="payout", description="`chunk`: the payments of batches.")


@router.get("/stats", response_model=PayoutStats, responses=may_answer())
async def read_stats(deps: Parts, _caller: Reader, wanted: Annotated[StatsOf, Query()]) -> Response:
    """How many wait, how many failed and why, how long they take, and what they cost."""
    at = datetime.now(UTC)
    async with deps.database.snapshot() as connection:
        found = await payout_stats(connection, kind=wanted.kind, since=at - timedelta(hours=wanted.hours), at=at)
    return ExactJSONResponse(found)
