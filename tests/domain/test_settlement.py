import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import Conflict, Refused
from domain.fees import INCLUSION_MIN, REPLACEMENT_FACTOR, FeePolicy
from domain.money import AMOUNT_MAX, Amount, InvalidInput
from domain.policy import Policy
from domain.settlement import (
    TRANSITIONS,
    Argument,
    Intent,
    Invocation,
    SettlementStatus,
    check_transition,
    marker_id,
)


def intent(amount: int = 10, destination: str = "GDEST") -> Intent:
    return Intent(
        settlement_id="outage:OUT001",
        marker_id="ab" * 32,
        invocation=Invocation(
            contract="CONTRACT", function="execute_payment", arguments=(Argument(type="u32", value="1"),)
        ),
        payer="GPAYER",
        amount_units=amount,
        asset="USDC",
        source="GSOURCE",
        destination=destination,
    )


def test_what_is_paid_or_cancelled_never_changes_again() -> None:
    assert not TRANSITIONS[SettlementStatus.CONFIRMED]
    assert not TRANSITIONS[SettlementStatus.CANCELLED]


def test_every_state_can_be_reached_and_every_other_state_can_end() -> None:
    reached = {SettlementStatus.ACCEPTED} | {new for row in TRANSITIONS.values() for new in row}
    assert reached == set(SettlementStatus)
    for status, row in TRANSITIONS.items():
        if not status.final:
            assert any(new.final for new in row), status


def test_no_transition_leads_from_in_flight_to_a_second_beginning() -> None:
    for status in SettlementStatus:
        if status.in_flight:
            assert SettlementStatus.ACCEPTED not in TRANSITIONS[status]


def test_a_transition_beside_the_table_names_what_would_be_allowed() -> None:
    with pytest.raises(Conflict, match="can become nothing") as refused:
        check_transition("outage:OUT001", SettlementStatus.CONFIRMED, SettlementStatus.ACCEPTED)
    assert refused.value.code == "wrong_state"


@given(
    st.lists(st.text(max_size=8), min_size=3, max_size=3), st.lists(st.text(max_size=8), min_size=3, max_size=3)
)
def test_different_payments_have_different_markers(one: list[str], other: list[str]) -> None:
    assert (marker_id(*one) == marker_id(*other)) == (one == other)


def test_the_summary_is_not_part_of_what_must_be_the_same() -> None:
    assert intent().fingerprint == intent().model_copy(update={"summary": "another"}).fingerprint
    assert intent().fingerprint != intent(amount=11).fingerprint


@given(st.integers(0, AMOUNT_MAX))
def test_an_amount_reads_back_as_it_was_written(units: int) -> None:
    assert Amount.parse(str(Amount(units))) == Amount(units)


@pytest.mark.parametrize(
    "text", ["NaN", "-1", "+1", "1e3", "", ".5", "1.", "1,000", "٣", "0.12345678", "1" + "0" * 30]
)
def test_an_amount_that_is_no_plain_decimal_is_refused_by_field(text: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        Amount.parse(text, field="limit")
    assert "limit" in refused.value.details


@given(resource_fee=st.integers(0, 2_000_000), recent=st.integers(0, 10_000_000), cap=st.integers(200, 3_000_000))
def test_no_bid_of_the_ladder_ever_passes_max_gas(resource_fee: int, recent: int, cap: int) -> None:
    policy = FeePolicy(max_gas_stroops=cap)
    if resource_fee + 2 * INCLUSION_MIN > cap:
        with pytest.raises(Refused, match=f"exceeds max gas.*{cap}") as refused:
            policy.first_bid(resource_fee, recent)
        assert refused.value.code == "exceeds_max_gas"
        return
    bid: int | None = policy.first_bid(resource_fee, recent)
    while bid is not None:
        assert resource_fee + bid <= cap
        higher = policy.next_bid(resource_fee, bid)
        assert higher is None or higher == bid * REPLACEMENT_FACTOR
        bid = higher


def test_policy_names_the_rule_and_both_figures() -> None:
    with pytest.raises(Refused) as refused:
        Policy(live=True, amount_max=Amount(9)).check(intent())
    assert refused.value.code == "policy_amount"
    assert refused.value.details == {"amount": "0.0000010", "amount_max": "0.0000009"}
    with pytest.raises(Refused, match="blocklist"):
        Policy(live=True, blocked=frozenset({"GDEST"})).check(intent())
    with pytest.raises(Refused, match="not allowed"):
        Policy(live=True, assets=frozenset({"XLM"})).check(intent())
    Policy(live=True, amount_max=Amount(10), assets=frozenset({"USDC"})).check(intent())
