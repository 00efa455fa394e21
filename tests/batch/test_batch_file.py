"""Payment files: what is read, what is reported with line and field, and what is never paid."""

from __future__ import annotations

import io
import json
import tracemalloc
from collections.abc import Iterable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stellar_sdk import Keypair, MuxedAccount

from domain.address import AddressKind, encode
from domain.batch_file import ROWS_MAX, BadRow, CsvRows, JsonRows, Reading, Row, Verdicts, judge
from domain.errors import InvalidInput
from domain.money import Amount

ACCOUNTS = [encode(AddressKind.ACCOUNT, bytes([number]) * 32) for number in range(20)]
ALICE, BOB = ACCOUNTS[:2]


def rows_of(text: str, *, asset: str | None = None) -> list[Row | BadRow]:
    return list(CsvRows(io.StringIO(text, newline=""), asset=asset))


def judged(text: str) -> tuple[Verdicts, list[Row | BadRow]]:
    reading = Reading()
    for row in rows_of(text):
        reading.see(row)
    verdicts = reading.verdicts()
    return verdicts, list(judge(rows_of(text), verdicts.late))


def faults(row: Row | BadRow) -> list[str]:
    return [fault.field for fault in row.faults] if isinstance(row, BadRow) else []


def test_our_columns_in_any_order_and_case() -> None:
    found = rows_of(f"Amount,destination_account,REFERENCE\n100.5,{ALICE},wage 7\n0.0000001,{BOB},\n")
    assert found == [
        Row(2, ALICE, Amount(1_005_000_000), "wage 7"),
        Row(3, BOB, Amount(1), None),
    ]


def test_a_disbursement_platform_file_is_taken_as_it_is() -> None:
    text = (
        "phone,walletAddress,walletAddressMemo,id,amount,verification,paymentID\n"
        f"+254700000001,{ALICE},,r1,10,1990-01-01,p1\n"
        f"+254700000002,{BOB},77,r2,20.25,1990-01-02,p2\n"
        "+254700000003,,,r3,30,1990-01-03,p3\n"
    )
    first, second, third = rows_of(text)
    assert first == Row(2, ALICE, Amount.of(10), "p1")
    assert second == Row(3, MuxedAccount(BOB, 77).account_muxed, Amount.parse("20.25"), "p2")
    assert isinstance(third, BadRow)
    assert (third.line, third.reference, faults(third)) == (4, "p3", ["walletAddress"])
    assert "names no Stellar address" in third.faults[0].message


def test_a_disbursement_platform_file_without_addresses_is_reported_row_by_row() -> None:
    found = rows_of("phone,id,amount,verification\n+254700000001,r1,10,x\n+254700000002,r2,20,y\n")
    assert [faults(row) for row in found] == [["destination"], ["destination"]]
    assert "2547" not in repr(found), "nothing personal is kept"


@pytest.mark.parametrize("sign", [";", "\t"])
def test_a_spreadsheet_s_own_separator_is_seen(sign: str) -> None:
    assert rows_of(f"destination{sign}amount\n{ALICE}{sign}1\n") == [Row(2, ALICE, Amount.of(1))]


def test_a_mark_before_the_header_and_empty_lines_change_nothing() -> None:
    data = f"\ufeffdestination,amount\r\n\r\n{ALICE},1\r\n,\r\n{BOB},2\r\n".encode()
    text = io.TextIOWrapper(io.BytesIO(data), encoding="utf-8-sig", newline="")
    assert [(row.line, row.amount) for row in CsvRows(text) if isinstance(row, Row)] == [
        (3, Amount.of(1)),
        (5, Amount.of(2)),
    ]


@pytest.mark.parametrize(
    ("cells", "field"),
    [
        (f"{ALICE},1.12345678,", "amount"),
        (f"{ALICE},0,", "amount"),
        (f"{ALICE},-1,", "amount"),
        (f"{ALICE},1e3,", "amount"),
        (f'{ALICE},"1,5",', "amount"),
        (f"{ALICE},,", "amount"),
        (f"{ALICE}", "amount"),
        (f"{ALICE},999999999999999,", "amount"),
        (f"{ALICE[:-1]}A,1,", "destination"),
        (f"{ALICE.lower()},1,", "destination"),
        (f"{ALICE},1,{'x' * 65}", "reference"),
        (f"{ALICE},1,a\x00b", "reference"),
        (f"{ALICE},1,a,b", "row"),
    ],
)
def test_a_bad_row_names_its_line_and_field(cells: str, field: str) -> None:
    row = rows_of(f"destination,amount,reference\n{BOB},1,ok\n{cells}\n")[1]
    assert isinstance(row, BadRow)
    assert row.line == 3
    assert faults(row) == [field]


def test_every_fault_of_a_row_is_told_at_once() -> None:
    (row,) = rows_of("destination,amount\nnobody,much\n")
    assert faults(row) == ["destination", "amount"]


def test_a_secret_in_a_cell_is_not_repeated() -> None:
    seed = Keypair.random().secret
    (row,) = rows_of(f"destination,amount\n{seed},1\n")
    assert "secret key" in repr(row)
    assert seed not in repr(row)


def test_a_line_break_inside_quotes_keeps_the_line_numbers_right() -> None:
    found = rows_of(f'destination,amount,reference\n{ALICE},1,"two\nlines"\n{BOB},x,\n')
    assert [row.line for row in found] == [2, 4]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no column destination"),
        ("destination,amnt\n", "no column 'amnt'"),
        ("destination,walletAddress,amount\n", "two columns say destination"),
        ("amount\n1\n", "no column destination"),
        (f'destination,amount\n{ALICE},"1\n', "line 2"),
        (f"destination,amount\n{ALICE},{'1' * 5000}\n", "longer than"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_whole(text: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        rows_of(text)


def test_a_file_that_is_not_utf_8_is_refused_whole() -> None:
    data = io.BytesIO(f"destination,amount,reference\n{ALICE},1,M\xfcller\n".encode("latin-1"))
    with pytest.raises(InvalidInput, match="UTF-8"):
        list(CsvRows(io.TextIOWrapper(data, encoding="utf-8-sig", newline="")))


def test_a_file_s_asset_must_be_the_batch_s() -> None:
    text = f"destination,amount,asset\n{ALICE},1,XLM\n{BOB},1,USDC\n"
    assert [faults(row) for row in rows_of(text, asset="XLM")] == [[], ["asset"]]


# The same destination twice


def test_one_destination_twice_needs_a_reference_each() -> None:
    verdicts, found = judged(f"destination,amount,reference\n{ALICE},1,\n{BOB},1,\n{ALICE},2,\n")
    assert [faults(row) for row in found] == [["reference"], [], ["reference"]]
    assert (verdicts.rows, verdicts.bad, verdicts.total_units) == (3, 2, Amount.of(1).units)
    assert [row.line for row in verdicts.first_bad] == [2, 4]


def test_one_destination_twice_with_a_reference_each_is_paid_twice() -> None:
    verdicts, found = judged(f"destination,amount,reference\n{ALICE},1,a\n{ALICE},1,b\n")
    assert all(isinstance(row, Row) for row in found)
    assert verdicts.total_units == Amount.of(2).units


def test_the_same_reference_for_the_same_destination_is_the_same_payment() -> None:
    _, found = judged(f"destination,amount,reference\n{ALICE},1,a\n{ALICE},1,a\n{BOB},1,a\n")
    assert [faults(row) for row in found] == [[], ["reference"], []]


def test_another_memo_is_another_destination() -> None:
    _, found = judged(f"destination,amount,memo\n{ALICE},1,1\n{ALICE},1,2\n{ALICE},1,2\n")
    assert [faults(row) for row in found] == [[], ["reference"], ["reference"]]


payments = st.lists(
    st.tuples(
        st.sampled_from(ACCOUNTS[:6]),
        st.sampled_from(["1", "0.5", "x", ""]),
        st.sampled_from(["", "", "a", "b"]),
    ),
    max_size=40,
)


@given(payments)
def test_two_readings_agree_and_what_is_paid_is_told_apart(chosen: list[tuple[str, str, str]]) -> None:
    lines = [f"{destination},{amount},{reference}" for destination, amount, reference in chosen]
    verdicts, found = judged("\n".join(["destination,amount,reference", *lines]) + "\n")
    good = [row for row in found if isinstance(row, Row)]
    bad = [row for row in found if isinstance(row, BadRow)]
    assert len(found) == verdicts.rows == len(chosen)
    assert (len(good), len(bad)) == (verdicts.good, verdicts.bad)
    assert sum(row.amount.units for row in good) == verdicts.total_units
    assert [row.line for row in verdicts.first_bad] == [row.line for row in bad]
    named = [(row.destination, row.reference) for row in good]
    assert len(set(named)) == len(named), "no two payments that nobody can tell apart"
    for destination in {row.destination for row in good}:
        readable = [
            row for row in rows_of("\n".join(["destination,amount,reference", *lines])) if isinstance(row, Row)
        ]
        if sum(row.destination == destination for row in readable) > 1:
            assert all(row.reference for row in good if row.destination == destination)


# JSON


def json_rows(body: object) -> tuple[list[Row | BadRow], dict[str, object]]:
    source = JsonRows(io.StringIO(body if isinstance(body, str) else json.dumps(body)))
    return list(source), source.options


def test_json_rows_are_the_same_rows() -> None:
    found, options = json_rows(
        {
            "asset": "XLM",
            "rows": [
                {"destination": ALICE, "amount": "100.5", "reference": "wage 7"},
                {"walletAddress": BOB, "amount": "1", "paymentID": None, "walletAddressMemo": "9", "phone": "+1"},
            ],
            "name": "wages",
        }
    )
    assert found == [
        Row(1, ALICE, Amount.parse("100.5"), "wage 7"),
        Row(2, MuxedAccount(BOB, 9).account_muxed, Amount.of(1)),
    ]
    assert options == {"asset": "XLM", "name": "wages"}


def test_a_json_row_that_says_two_amounts_is_bad() -> None:
    row = json.dumps({"destination": Keypair.random().public_key, "amount": "1"})
    found, _ = json_rows(f'{{"rows": [{row[:-1]}, "amount": "1000"}}]}}')
    assert isinstance(found[0], BadRow)
    assert "each member once" in found[0].faults[0].message


def test_a_bad_json_row_names_its_number_and_field() -> None:
    found, _ = json_rows(
        {"rows": [{"destination": ALICE, "amount": 1}, "x", {"destination": ALICE, "amount": "1", "amout": "2"}]}
    )
    assert [(row.line, faults(row)) for row in found] == [(1, ["amount"]), (2, ["row"]), (3, ["amout"])]


@pytest.mark.parametrize(
    "body",
    [
        "",
        "[]",
        "{}",
        '{"rows": {}}',
        '{"rows": []',
        '{"rows": [,]}',
        '{"rows": [{"a": "b"},]}',
        '{"rows": []} x',
        '{"rows": [], "rows": []}',
        '{"rows": [{"destination": "' + "G" * 9000 + '"}]}',
        '{"rows": ' + "[" * 6000 + "]}",
        '{"rows": [], "a": ' + "1" * 5000 + "}",
    ],
)
def test_what_is_not_json_with_rows_is_refused_whole(body: str) -> None:
    with pytest.raises(InvalidInput):
        json_rows(body)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=20),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
        max_leaves=12,
    ),
    st.sampled_from([None, 1, "\t"]),
)
def test_the_stream_reads_what_the_standard_decoder_reads(value: object, indent: int | str | None) -> None:
    source = JsonRows(io.StringIO(json.dumps({"value": value, "rows": []}, indent=indent)))
    assert list(source) == []
    assert source.options == {"value": value}


# Size


def _many(count: int) -> Iterator[str]:
    yield "destination,amount\n"
    for number in range(count):
        yield f"{encode(AddressKind.ACCOUNT, number.to_bytes(32, 'big'))},1\n"


class _Lines(io.TextIOBase):
    """A file that is never in memory whole."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = iter(lines)

    def readline(self, _size: int = -1) -> str:  # type: ignore[override]
        return next(self._lines, "")


def test_more_rows_than_a_batch_may_have_are_refused() -> None:
    reading = Reading()
    row = Row(1, ALICE, Amount.of(1))
    for _ in range(ROWS_MAX):
        reading.see(row)
    with pytest.raises(InvalidInput, match="100,000"):
        reading.see(row)


def test_a_file_is_judged_in_bounded_memory() -> None:
    """A tenth of the largest; memory grows by the row's 16 bytes of digest and their place, not by the row."""
    tracemalloc.start()
    try:
        reading = Reading()
        for row in CsvRows(_Lines(_many(ROWS_MAX // 10))):
            reading.see(row)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert reading.verdicts().good == ROWS_MAX // 10
    assert peak < 5 * 2**20, f"{peak / 2**20:.0f} MB"


@pytest.mark.parametrize(
    "text",
    [
        "{" + ",".join(f'"m{number}":1' for number in range(100_000)) + ',"rows":[]}',
        '{"\\ud800":1,"rows":[]}',
        '{"asset":' + " " * 200_000 + '"XLM","rows":[]}',
    ],
    ids=["members", "a surrogate", "white space"],
)
def test_json_that_says_nothing_is_refused_before_it_is_read_to_the_end(text: str) -> None:
    """No row is seen meanwhile, so nobody else would have their turn."""
    source = io.StringIO(text)
    with pytest.raises(InvalidInput):
        list(JsonRows(source))
    assert source.tell() <= 200_000


def test_a_file_of_empty_lines_is_refused_before_it_is_read_to_the_end() -> None:
    source = io.StringIO("destination,amount\n" + "\n" * 5 * ROWS_MAX)
    with pytest.raises(InvalidInput, match="empty"):
        list(CsvRows(source))
    assert source.tell() < 2 * ROWS_MAX
