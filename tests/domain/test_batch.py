"""What a batch decides by itself: how it is cut, what a failure leads to, and what ids are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.batch import (
    BATCH_TRANSITIONS,
    CHUNK_TRIES_MAX,
    AfterFailure,
    BatchStatus,
    CallLimits,
    Cutter,
    after_failure,
    batch_id_of,
    check_transition,
    chunk_intent,
    decimal_of,
    halves,
)
from domain.errors import ERROR_CODES, Conflict
from domain.payout import PayoutMode, PayoutTerms
from domain.settlement import Intent, SettlementOutcome, SigningMode

TERMS = PayoutTerms(
    contract="CDMLFMKMMD7MWZP3FKUBZPVHTUEDLSX4BYGYKH4GCESXYHS3IHQ4EIG4",
    method="distribute_winnings",
    payer="GAIH3ULLFQ4DGSECF2AR555KZ4KNDGEKN4AFI4SU2M7B43MGK3QJZNSR",
    deployment="test",
    mode=PayoutMode.QUEUED,
)


def failed(code: str, *, may_pass: bool = False) -> SettlementOutcome:
    return SettlementOutcome.failed("chunk:x", code, "why").model_copy(update={"may_pass": may_pass})


def intent(key: str = "1", recipients: tuple[tuple[str, int], ...] = (("G1", 5), ("G2", 7))) -> Intent:
    return chunk_intent(
        "bat0123456789abcdef", key, recipients, token="C", signing=SigningMode.ENVELOPE, terms=TERMS
    )


@pytest.mark.parametrize(
    ("code", "may_pass", "rows", "tries", "wanted"),
    [
        ("failed_on_ledger", True, 50, 1, AfterFailure.AGAIN),
        ("failed_on_ledger", True, 1, 1, AfterFailure.AGAIN),
        ("failed_on_ledger", True, 50, CHUNK_TRIES_MAX, AfterFailure.DIVIDE),
        ("failed_on_ledger", True, 1, CHUNK_TRIES_MAX, AfterFailure.REFUSE),
        ("contract_refused", False, 50, 1, AfterFailure.DIVIDE),
        ("contract_refused", False, 1, 1, AfterFailure.REFUSE),
        ("destination_blocked", False, 2, 1, AfterFailure.DIVIDE),
        ("policy_amount", False, 2, 1, AfterFailure.DIVIDE),
        ("payout_call_cap", False, 1, 1, AfterFailure.REFUSE),
        ("trustline_missing", False, 1, 1, AfterFailure.REFUSE),
        ("nothing_payable", False, 50, 1, AfterFailure.REFUSE),
        ("exceeds_max_gas", False, 50, 1, AfterFailure.DIVIDE),
        ("exceeds_max_gas", False, 1, 1, AfterFailure.STOP),
        ("payout_contract_short", False, 50, 1, AfterFailure.STOP),
        ("payout_day_cap", False, 1, 1, AfterFailure.STOP),
        ("contract_paused", False, 50, 1, AfterFailure.STOP),
        ("id_reused", False, 50, 1, AfterFailure.STOP),
        ("cancelled", False, 50, 1, AfterFailure.WITHDRAW),
    ],
)
def test_what_a_failed_call_leads_to(
    code: str, may_pass: bool, rows: int, tries: int, wanted: AfterFailure
) -> None:
    assert code in ERROR_CODES
    assert after_failure(failed(code, may_pass=may_pass), rows=rows, tries=tries) is wanted


def test_dividing_ends() -> None:
    """Each refusal of a call leads to smaller ones, down to one row, which is refused or stops the batch."""
    keys = ["1"]
    for _ in range(8):
        keys = [half for key in keys for half in halves(key)]
    assert len(set(keys)) == 2**8
    assert all(len(f"chunk:bat0123456789abcdef.{key}") <= 80 for key in keys)


def test_only_transitions_of_the_table_pass() -> None:
    for old in BatchStatus:
        for new in BatchStatus:
            if new in BATCH_TRANSITIONS[old]:
                check_transition("bat", old, new)
            else:
                with pytest.raises(Conflict, match="it can become"):
                    check_transition("bat", old, new)


def test_a_batch_s_id_follows_from_its_key_and_nothing_else() -> None:
    assert batch_id_of("d", "person:1", "k") == batch_id_of("d", "person:1", "k")
    others = {
        batch_id_of(*parts) for parts in [("d", "p", "k"), ("e", "p", "k"), ("d", "q", "k"), ("d", "p", "l")]
    }
    assert len(others) == 4


def test_a_call_s_intent_says_whom_and_how_much_and_a_single_one_is_no_list() -> None:
    several = intent()
    assert (several.amount_units, several.partial, several.destination) == (12, True, "2 recipients")
    alone = intent("r7.2", (("G1", 5),))
    assert (alone.amount_units, alone.partial, alone.destination) == (5, False, "G1")
    assert several.marker_id != alone.marker_id
    assert several.fingerprint != intent(recipients=(("G2", 7), ("G1", 5))).fingerprint


@given(
    st.lists(st.tuples(st.sampled_from(["G", "M", "C"]), st.integers(1, 60)), max_size=80),
    st.integers(1, 9),
    st.integers(30, 200),
    st.integers(1, 100),
)
def test_a_cut_keeps_the_order_and_every_limit(
    rows: list[tuple[str, int]], rows_max: int, weight_max: int, units_max: int
) -> None:
    limits = CallLimits(rows_max, weight_max, 10, 25, 12, units_max)
    cutter = Cutter(limits)
    chunks: dict[str, list[tuple[str, int]]] = {}
    for row in rows:
        key, position = cutter.place(*row)
        chunk = chunks.setdefault(key, [])
        assert position == len(chunk)
        chunk.append(row)
    assert [row for chunk in chunks.values() for row in chunk] == rows
    assert list(chunks) == [str(number + 1) for number in range(len(chunks))]
    for chunk in chunks.values():
        assert len(chunk) <= rows_max
        assert sum(limits.weight(destination) for destination, _ in chunk) <= weight_max
        # One row alone always goes: the contract and the policy say what is wrong with it.
        assert sum(units for _, units in chunk) <= units_max or len(chunk) == 1


def test_a_sum_beyond_one_balance_is_told_exactly() -> None:
    assert decimal_of(2**70) == "118059162071741.1303424"
