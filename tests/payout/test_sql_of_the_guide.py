"""The payout guide's three questions in SQL, run as they are written there."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import text
from stellar_sdk import Keypair

from tests.conftest import TestLedger
from tests.payout.conftest import Street

PENDING = """
SELECT COUNT(*) FROM transactions 
WHERE status IN ('queued', 'submitted');
"""  # noqa: W291 - as it stands in the guide
FAILED_LAST_HOUR = """
SELECT * FROM transactions 
WHERE status = 'failed' 
AND updated_at > NOW() - INTERVAL '1 hour';
"""  # noqa: W291
AVERAGE_CONFIRMATION = """
SELECT AVG(EXTRACT(EPOCH FROM (confirmed_at - created_at))) 
FROM transactions 
WHERE status = 'confirmed';
"""  # noqa: W291


async def rows(street: Street, query: str) -> list[Any]:
    async with street.database.look() as connection:
        return list((await connection.execute(text(query))).mappings())


async def test_the_guides_questions_are_answered_by_the_view(street: Street) -> None:
    paid = (await street.post())["transaction"]["id"]
    failed = (await street.post(destination_account=street.funded(Keypair.random())))["transaction"]["id"]
    waits = (await street.post(not_before="2099-01-01T00:00:00Z"))["transaction"]["id"]
    confirmed = await street.until(paid, "confirmed")
    await street.until(failed, "failed")
    assert (await rows(street, PENDING))[0]["count"] == 0
    (one,) = await rows(street, FAILED_LAST_HOUR)
    assert (one["payout_id"], one["reason_code"]) == (failed, "trustline_missing")
    seconds = (await rows(street, AVERAGE_CONFIRMATION))[0]["avg"]
    took = datetime.fromisoformat(confirmed["confirmed_at"]) - datetime.fromisoformat(confirmed["created_at"])
    assert abs(float(seconds) - took.total_seconds()) < 0.001
    every = await rows(street, "SELECT id, status, amount FROM transactions ORDER BY created_at")
    assert [(one["id"], one["status"]) for one in every] == [
        (f"payout:{paid}", "confirmed"),
        (f"payout:{failed}", "failed"),
        (f"payout:{waits}", "accepted"),
    ]
    assert {str(one["amount"]) for one in every} == {"100.5000000"}


async def test_what_is_on_its_way_is_counted_as_pending(street: Street, ledger: TestLedger) -> None:
    ledger.fault("stalled_ledger", seconds=60)
    payout_id = (await street.post())["transaction"]["id"]
    await street.until(payout_id, "submitted")
    assert (await rows(street, PENDING))[0]["count"] == 1
    ledger.clear_faults()
    await street.until(payout_id, "confirmed")
    assert (await rows(street, PENDING))[0]["count"] == 0
