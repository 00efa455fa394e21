"""`why` says whether something can still land, since somebody decides by it whether to pay by another way."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from domain.settlement import Control, SettlementStatus
from domain.why import SettlementFacts, why

NOW = datetime(2026, 2, 22, 10, 0, tzinfo=UTC)


def facts(status: SettlementStatus, control: Control = Control.NONE, **more: object) -> SettlementFacts:
    return SettlementFacts.model_validate(
        {"settlement_id": "payout:a", "status": status, "control": control, "since": NOW} | more
    )


@pytest.mark.parametrize("status", [SettlementStatus.SUBMITTED, SettlementStatus.UNKNOWN])
def test_what_is_held_after_it_was_sent_may_still_land(status: SettlementStatus) -> None:
    said = why(facts(status, Control.HOLD, max_time=NOW)).sentence
    assert "may still land" in said
    assert "until 2026-02-22T10:00:00" in said


def test_what_was_asked_for_and_is_not_done_yet_is_said() -> None:
    submitted = SettlementStatus.SUBMITTED
    assert "higher bid" in why(facts(submitted, Control.BUMP)).sentence
    assert "A cancel waits" in why(facts(submitted, Control.CANCEL)).sentence


def test_what_is_held_before_it_was_sent_says_so() -> None:
    assert "nothing was sent" in why(facts(SettlementStatus.QUEUED, Control.HOLD)).sentence


def test_an_envelope_that_waits_cannot_land_and_a_signed_entry_could() -> None:
    assert "The lane has not signed" in why(facts(SettlementStatus.AWAITING_SIGNATURE)).sentence
    entry = why(facts(SettlementStatus.AWAITING_SIGNATURE, expires_ledger=4242)).sentence
    assert "lane has not signed" not in entry
    assert "could use them, once, until ledger 4242" in entry
