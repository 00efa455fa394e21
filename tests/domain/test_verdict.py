"""The verdict: one case for each row of its table in the design."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.settlement import MarkerState, Verdict, Witness, verdict

MAX_TIME = datetime(2026, 1, 16, 10, 0, tzinfo=UTC)
BEFORE = MAX_TIME - timedelta(seconds=1)
AFTER = MAX_TIME + timedelta(seconds=1)
SEQUENCE = 7


def judge(lane_sequence: int | None, marker: MarkerState, closed_at: datetime = BEFORE) -> Verdict:
    witness = Witness(ledger=100, closed_at=closed_at, lane_sequence=lane_sequence, marker=marker)
    return verdict(witness, sequence=SEQUENCE, max_time=MAX_TIME)


@pytest.mark.parametrize("closed_at", [BEFORE, AFTER])
@pytest.mark.parametrize("lane_sequence", [SEQUENCE, SEQUENCE + 1, SEQUENCE + 100])
def test_a_consumed_number_beside_the_marker_is_paid(lane_sequence: int, closed_at: datetime) -> None:
    assert judge(lane_sequence, MarkerState.PAID, closed_at) is Verdict.PAID


@pytest.mark.parametrize("marker", [MarkerState.ABSENT, MarkerState.VOID])
@pytest.mark.parametrize("lane_sequence", [SEQUENCE, SEQUENCE + 1])
def test_a_consumed_number_without_the_marker_is_not_paid(lane_sequence: int, marker: MarkerState) -> None:
    assert judge(lane_sequence, marker) is Verdict.NOT_PAID


def test_a_number_that_nobody_used_after_its_last_second_is_expired() -> None:
    assert judge(SEQUENCE - 1, MarkerState.ABSENT, AFTER) is Verdict.EXPIRED


@pytest.mark.parametrize("closed_at", [BEFORE, MAX_TIME])
def test_the_last_second_itself_still_waits(closed_at: datetime) -> None:
    assert judge(SEQUENCE - 1, MarkerState.ABSENT, closed_at) is Verdict.WAIT


@pytest.mark.parametrize(
    ("lane_sequence", "marker"),
    [
        (None, MarkerState.ABSENT),
        (None, MarkerState.PAID),
        (SEQUENCE - 2, MarkerState.ABSENT),
        (SEQUENCE - 1, MarkerState.PAID),
    ],
)
def test_what_cannot_be_asks_a_person(lane_sequence: int | None, marker: MarkerState) -> None:
    assert judge(lane_sequence, marker) is Verdict.ASK


@given(
    lane_sequence=st.one_of(st.none(), st.integers(0, 50)),
    marker=st.sampled_from(MarkerState),
    offset_seconds=st.integers(-1000, 1000),
)
def test_no_witness_calls_a_payment_expired_that_could_still_land(
    lane_sequence: int | None, marker: MarkerState, offset_seconds: int
) -> None:
    closed_at = MAX_TIME + timedelta(seconds=offset_seconds)
    found = judge(lane_sequence, marker, closed_at)
    if found is Verdict.EXPIRED:
        assert closed_at > MAX_TIME
        assert lane_sequence == SEQUENCE - 1
        assert marker is not MarkerState.PAID
    if found is Verdict.PAID:
        assert marker is MarkerState.PAID
    if found is Verdict.NOT_PAID:
        assert marker is not MarkerState.PAID
        assert lane_sequence is not None
        assert lane_sequence >= SEQUENCE
