from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import Conflict, Forbidden
from domain.money import Amount
from domain.outage import (
    TRANSITIONS,
    OutageStanding,
    OutageStatus,
    Waits,
    check_transition,
    waits_for,
    wakes_at,
    warnings_due,
)
from domain.settlement import SettlementOutcome, SettlementStatus
from domain.sla import SLA_TABLE, PaymentKind, Severity
from domain.sla_payment import (
    PHASES,
    RETRY_DELAYS,
    OperatorTerms,
    PaymentPhase,
    PaymentRules,
    SlaContracts,
    check_approver,
    check_phase,
    decision_of,
    phase_after,
    sla_intent,
)

NOW = datetime(2026, 1, 16, 10, tzinfo=UTC)
CONTRACTS = SlaContracts(sla="C-SLA", usdc="C-USDC", reward_token="C-NOCIQ", pool="G-POOL")

severities = st.sampled_from(Severity)
minutes = st.integers(0, 100_000)
units = st.integers(0, 2**62)
statuses = st.sampled_from(OutageStatus)
phases = st.sampled_from(PaymentPhase)
moments = st.timedeltas(timedelta(), timedelta(days=2)).map(lambda span: NOW + span)


def standing(**values: object) -> OutageStanding:
    fields: dict[str, object] = {
        "outage_id": "OUT001",
        "status": OutageStatus.OPEN,
        "severity": Severity.CRITICAL,
        "detected_at": NOW,
    }
    return OutageStanding.model_validate(fields | values)


@given(statuses, statuses)
def test_only_transitions_of_the_table_pass(old: OutageStatus, new: OutageStatus) -> None:
    if new in TRANSITIONS[old]:
        check_transition("OUT001", old, new)
    else:
        with pytest.raises(Conflict):
            check_transition("OUT001", old, new)


@given(phases, phases)
def test_only_phases_of_the_table_follow_each_other(old: PaymentPhase, new: PaymentPhase) -> None:
    if new in PHASES[old]:
        check_phase("OUT001", old, new)
    else:
        with pytest.raises(Conflict):
            check_phase("OUT001", old, new)


def test_what_is_paid_or_cancelled_stays_so() -> None:
    assert not PHASES[PaymentPhase.CONFIRMED]
    assert not PHASES[PaymentPhase.CANCELLED]


def test_money_that_may_be_on_its_way_is_never_put_back_to_an_earlier_phase() -> None:
    assert PaymentPhase.DUE not in PHASES[PaymentPhase.SETTLING]
    assert PaymentPhase.NONE not in PHASES[PaymentPhase.SETTLING]


@given(severities, moments, st.sets(st.sampled_from((80, 100))))
def test_a_warning_is_due_from_its_time_on_and_only_once(
    severity: Severity, at: datetime, warned: set[int]
) -> None:
    due = warnings_due(standing(severity=severity, warned=tuple(sorted(warned))), at=at)
    threshold = SLA_TABLE[severity].threshold_minutes
    for percent in (80, 100):
        passed = at - NOW >= timedelta(minutes=threshold) * percent / 100
        assert (percent in due) == (passed and percent not in warned)


@given(severities, moments, statuses)
def test_after_the_next_waking_time_at_least_one_warning_is_due(
    severity: Severity, at: datetime, status: OutageStatus
) -> None:
    outage = standing(severity=severity, status=status)
    wakes = wakes_at(outage)
    if waits_for(outage) is Waits.REPAIR:
        assert wakes is not None
        assert warnings_due(outage, at=wakes)
    else:
        assert not warnings_due(outage, at=at)


@given(statuses, phases)
def test_a_payment_that_the_engine_has_is_always_followed(status: OutageStatus, phase: PaymentPhase) -> None:
    waits = waits_for(standing(status=status, phase=phase))
    assert (waits is Waits.LEDGER) == (phase is PaymentPhase.SETTLING)
    if phase.final:
        assert waits is Waits.NOTHING
    # Whoever asks is told what comes; only what is over waits for nothing.
    if waits is Waits.NOTHING:
        assert phase.final or phase is PaymentPhase.HELD or status is OutageStatus.CANCELLED


@given(
    st.integers(0, 2**62), st.integers(0, 2**62), st.none() | st.integers(0, 2**62), st.booleans(), st.booleans()
)
def test_a_payment_goes_by_itself_only_where_every_switch_and_limit_allows_it(
    amount: int, limit: int, operator_limit: int | None, enabled: bool, operator_auto: bool
) -> None:
    rules = PaymentRules(auto_enabled=enabled, auto_max=Amount(limit))
    terms = OperatorTerms(operator_auto, None if operator_limit is None else Amount(operator_limit))
    allowed = (
        enabled and operator_auto and amount <= limit and (operator_limit is None or amount <= operator_limit)
    )
    assert (rules.why_approval(Amount(amount), terms) is None) == allowed


def test_the_person_who_resolved_may_not_approve() -> None:
    with pytest.raises(Forbidden):
        check_approver("OUT001", initiator="ann", wallets_named_by=None, by="ann")
    check_approver("OUT001", initiator="ann", wallets_named_by="cem", by="bob")


@given(st.sampled_from(SettlementStatus), st.booleans(), st.integers(0, 5))
def test_only_a_definite_failure_that_may_pass_is_tried_again_and_three_times_at_most(
    status: SettlementStatus, may_pass: bool, retries: int
) -> None:
    outcome = SettlementOutcome(settlement_id="outage:OUT001", status=status, may_pass=may_pass)
    phase, retry_at = phase_after(outcome, retries=retries, at=NOW)
    by_itself = status is SettlementStatus.FAILED and may_pass and retries < 3
    assert (phase is PaymentPhase.RETRYING) == by_itself
    assert (retry_at is not None) == by_itself
    if not status.final:
        assert phase is PaymentPhase.SETTLING
    assert len(RETRY_DELAYS) == 3


@given(severities, minutes, st.none() | st.just("ab" * 32))
def test_the_intent_pays_what_was_decided_and_authorizes_nothing_else(
    severity: Severity, mttr: int, rca: str | None
) -> None:
    decision = decision_of(severity, mttr, at=NOW)
    intent = sla_intent(
        "OUT001",
        decision,
        operator_wallet="G-OPERATOR",
        noc_team_wallet="G-NOC",
        rca_hash=rca,
        deployment="test",
        contracts=CONTRACTS,
    )
    assert intent.settlement_id == "outage:OUT001"
    assert intent.amount_units == decision.amount_units
    assert [argument.type for argument in intent.invocation.arguments] == [
        "bytes",
        "symbol",
        "u32",
        "u32",
        "address",
        "address",
        "option",
    ]
    assert intent.invocation.arguments[0].value == intent.marker_id
    if decision.kind is PaymentKind.PENALTY:
        assert intent.invocation.calls == ()
        assert (intent.source, intent.destination, intent.asset) == ("G-OPERATOR", "G-POOL", "C-USDC")
    else:
        (transfer,) = intent.invocation.calls
        assert (transfer.contract, transfer.function) == ("C-NOCIQ", "transfer")
        assert [argument.value for argument in transfer.arguments] == [
            "G-POOL",
            "G-NOC",
            str(decision.amount_units),
        ]
