"""Payment files: who is paid how much, read row by row and judged whole before anything is paid.

CSV with a header, or JSON. The columns of the Stellar Disbursement Platform's (SDP) payment file are understood
too; its `phone`, `email`, `id` and `verification` are personal and neither kept nor needed: a row is paid to the
Stellar address that it names, and one that names none is reported as such. Nothing here holds more than one row,
beside 16 bytes for each destination; a second reading of the same file gives the same rows.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from types import MappingProxyType
from typing import Any, Final, TextIO

from domain.address import account_of, recipient_of
from domain.errors import InvalidInput
from domain.money import Amount

ROWS_MAX: Final = 100_000
REFERENCE_MAX: Final = 64
_LINE_MAX: Final = 4_096
"""The longest CSV field or JSON row: an address, an amount and a reference are a few hundred characters."""
_OPTIONS_MAX: Final = 16
"""Members beside `rows`; there are five that mean something."""
_READ: Final = 65_536

_MEANINGS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "destination": "destination",
        "destinationaccount": "destination",
        "walletaddress": "destination",
        "amount": "amount",
        "reference": "reference",
        "paymentid": "reference",
        "memo": "memo",
        "walletaddressmemo": "memo",
        "asset": "asset",
    }
)
"""Column without case and underscores → what it says; `walletAddress…` and `paymentID` are SDP's."""
_PERSONAL: Final = frozenset({"phone", "email", "id", "verification"})
"""SDP's columns that are read over."""
_NO_ADDRESS: Final = (
    "this row names no Stellar address, so it cannot be paid here: an account (G…), a muxed account (M…) or a "
    "contract (C…) is needed"
)


@dataclass(frozen=True, slots=True)
class Fault:
    """What is not right in a row: the file's own name of the field, and what would be."""

    field: str
    message: str


@dataclass(frozen=True, slots=True)
class Row:
    """One payment. `line` is where it begins in a CSV file, or its number (from 1) in JSON."""

    line: int
    destination: str
    amount: Amount
    reference: str | None = None


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that is never paid, and why; what stood in it is not repeated, since it may be a secret."""

    line: int
    faults: tuple[Fault, ...]
    reference: str | None = None


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What a first reading found: enough to judge each row alone in a second one."""

    rows: int
    bad: int
    total_units: int
    late: Mapping[int, Fault]
    """Rows that only a later one showed to be bad, by line."""
    first_bad: tuple[BadRow, ...]
    """The first of the bad rows, by line, for an answer."""

    @property
    def good(self) -> int:
        """How many rows can be paid."""
        return self.rows - self.bad


# Reading


class CsvRows:
    """The rows of a CSV file: comma, semicolon or tab, as its header has it; UTF-8."""

    def __init__(self, text: TextIO, *, asset: str | None = None) -> None:
        """Where the file has a column `asset`, each row must name this one."""
        self._text = text
        self.asset = asset

    def __iter__(self) -> Iterator[Row | BadRow]:
        """Read from where the file stands.

        Raises:
            InvalidInput: the file as a whole cannot be read; names the line.
        """
        line = empty = 0
        try:
            lines = _lines(self._text)
            header = next(lines, "")
            reader = csv.reader(chain([header], lines), delimiter=max(",;\t", key=header.count), strict=True)
            columns = _columns(next(reader, []))
            line = reader.line_num
            for cells in reader:
                begins, line = line + 1, reader.line_num
                if any(cell.strip() for cell in cells):
                    yield _row_of_cells(begins, columns, cells, self.asset)
                    continue
                # They are read in one go, and nothing else is done meanwhile.
                empty += 1
                if empty > ROWS_MAX:
                    raise InvalidInput(f"more than {ROWS_MAX} lines are empty", file="a line a payment")
        except csv.Error as error:
            raise InvalidInput(
                f"line {line + 1}: this is not CSV: {error}", file=f"line {line + 1}: check the quotes"
            ) from error
        except UnicodeDecodeError as error:
            raise InvalidInput(f"after line {line}: this is not UTF-8", file="text in UTF-8") from error


def _lines(text: TextIO) -> Iterator[str]:
    """Lines as they are; one without an end is not read into memory whole."""
    for number, line in enumerate(iter(lambda: text.readline(_LINE_MAX + 1), ""), start=1):
        if len(line) > _LINE_MAX:
            raise InvalidInput(
                f"line {number} is longer than {_LINE_MAX} characters", file=f"lines of at most {_LINE_MAX}"
            )
        yield line


def _columns(header: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """(the file's name, what it says) of each column."""
    columns = []
    for name in (cell.strip() for cell in header):
        plain = name.lower().replace("_", "")
        meaning = _MEANINGS.get(plain, "" if plain in _PERSONAL else None)
        if meaning is None:
            raise InvalidInput(
                f"line 1: there is no column {name[:40]!r}",
                file="columns destination, amount, reference, memo, asset; or those of a Stellar Disbursement "
                "Platform file",
            )
        columns.append((name, meaning))
    said = [meaning for _, meaning in columns if meaning]
    twice = {meaning for meaning in said if said.count(meaning) > 1}
    if twice:
        raise InvalidInput(f"line 1: two columns say {', '.join(sorted(twice))}", file="one column for each")
    if "amount" not in said or ("destination" not in said and len(said) == len(columns)):
        raise InvalidInput("line 1: there is no column destination or no column amount", file="both are needed")
    return tuple(columns)


def _row_of_cells(
    line: int, columns: Sequence[tuple[str, str]], cells: Sequence[str], asset: str | None
) -> Row | BadRow:
    if len(cells) > len(columns):
        return BadRow(line, (Fault("row", f"{len(cells)} cells for {len(columns)} columns"),))
    values = {
        meaning: (name, cell.strip()) for (name, meaning), cell in zip(columns, cells, strict=False) if meaning
    }
    names = {meaning: name for name, meaning in columns if meaning}
    return _row(line, values, names, asset)


class JsonRows:
    """The rows of `{"asset": …, "rows": [{"destination": …, "amount": "100.5"}, …]}`, one at a time."""

    def __init__(self, text: TextIO) -> None:
        self._source = _Values(text)
        self.options: dict[str, Any] = {}
        """The members beside `rows`; complete when the rows were read to the end."""

    def __iter__(self) -> Iterator[Row | BadRow]:
        """Read from where the file stands.

        Raises:
            InvalidInput: it is not JSON of this shape.
        """
        source = self._source
        seen = False
        source.take("{")
        while source.peek() != "}":
            name = source.value()
            source.take(":")
            if name == "rows" and not seen:
                seen = True
                yield from self._rows()
            elif isinstance(name, str) and name not in self.options and name != "rows":
                if len(self.options) == _OPTIONS_MAX or _printable(name) != name:
                    raise source.wrong("no members but those of a batch beside `rows`")
                self.options[name] = source.value()
            else:
                raise source.wrong("each member once")
            source.comma("}")
        source.take("}")
        if source.peek():
            raise source.wrong("nothing after the object")
        if not seen:
            raise InvalidInput("there are no rows", rows="a list of rows")

    def _rows(self) -> Iterator[Row | BadRow]:
        source = self._source
        source.take("[")
        number = 0
        while source.peek() != "]":
            number += 1
            yield _row_of_members(number, source.value())
            source.comma("]")
        source.take("]")


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any] | None:
    """An object; none where it says a member twice, since another reader may take the other one."""
    members = dict(pairs)
    return members if len(members) == len(pairs) else None


class _Values:
    """JSON values of bounded length out of a stream: the standard decoder, over a window that moves along."""

    def __init__(self, text: TextIO) -> None:
        self._text = text
        self._window = ""
        self._at = 0
        self._ended = False
        self._decoder = json.JSONDecoder(object_pairs_hook=_members)

    def peek(self) -> str:
        """The next character that is not white space; empty at the end."""
        blank = 0
        while True:
            self._fill()
            began = self._at
            while self._at < len(self._window) and self._window[self._at] in " \t\r\n":
                self._at += 1
            blank += self._at - began
            if blank > _READ:
                raise self.wrong("less white space")
            if self._at < len(self._window):
                return self._window[self._at]
            if self._ended:
                return ""

    def take(self, expected: str) -> None:
        """Go over one sign."""
        if self.peek() != expected:
            raise self.wrong(f"{expected!r}")
        self._at += 1

    def comma(self, end: str) -> None:
        """Go over the comma between two members; before `end` there is none."""
        if self.peek() == end:
            return
        self.take(",")
        if self.peek() == end:
            raise self.wrong("no comma at the end")

    def value(self) -> Any:
        """The next value whole."""
        self.peek()
        self._fill()
        try:
            value, end = self._decoder.raw_decode(self._window, self._at)
        except (ValueError, RecursionError):
            raise self.wrong(f"a value of at most {_LINE_MAX} characters") from None
        if end - self._at > _LINE_MAX:
            raise self.wrong(f"a value of at most {_LINE_MAX} characters")
        self._at = end
        return value

    def wrong(self, right: str) -> InvalidInput:
        """What to raise where the file is not what it should be."""
        return InvalidInput("the body is not JSON with rows", file=right)

    def _fill(self) -> None:
        if self._ended or len(self._window) - self._at > 2 * _LINE_MAX:
            return
        try:
            more = self._text.read(_READ)
        except UnicodeDecodeError as error:
            raise InvalidInput("the body is not UTF-8", file="text in UTF-8") from error
        self._ended = not more
        self._window = self._window[self._at :] + more
        self._at = 0


def _row_of_members(line: int, members: Any) -> Row | BadRow:
    if not isinstance(members, dict):
        return BadRow(
            line, (Fault("row", 'an object such as {"destination": "G…", "amount": "100.5"}, each member once'),)
        )
    values: dict[str, tuple[str, str]] = {}
    faults = []
    for name, value in members.items():
        plain = name.lower().replace("_", "")
        meaning = _MEANINGS.get(plain)
        if plain in _PERSONAL or value is None:
            continue
        if meaning is None or meaning == "asset" or meaning in values:
            faults.append(Fault(_printable(name)[:40], "there is no such field"))
        elif not isinstance(value, str):
            faults.append(Fault(name, 'a JSON string, such as "100.5"'))
        else:
            values[meaning] = (name, value.strip())
    if faults:
        return BadRow(line, tuple(faults))
    return _row(line, values, {}, None)


def _row(
    line: int, values: Mapping[str, tuple[str, str]], names: Mapping[str, str], asset: str | None
) -> Row | BadRow:
    """One row of what its fields say; `names` are the file's own of the columns that a short row leaves out."""

    def of(meaning: str) -> tuple[str, str]:
        return values.get(meaning, (names.get(meaning, meaning), ""))

    faults = []
    destination = amount = reference = None
    name, text = of("reference")
    try:
        reference = _reference(text)
    except ValueError as error:
        faults.append(Fault(name, str(error)))
    name, text = of("destination")
    memo_name, memo = of("memo")
    if not text:
        faults.append(Fault(name, _NO_ADDRESS))
    else:
        try:
            destination = recipient_of(text, memo or None, field=name, memo_field=memo_name)
        except InvalidInput as error:
            faults += [Fault(where, right) for where, right in error.details.items()]
    name, text = of("amount")
    try:
        amount = Amount.parse(text, field=name)
        if not amount.units:
            faults.append(Fault(name, "more than 0"))
    except InvalidInput as error:
        faults.append(Fault(name, error.details.get(name, error.message)))
    name, text = of("asset")
    if text and text != asset:
        faults.append(Fault(name, "the batch's own asset: a batch pays one"))
    if faults or destination is None or amount is None:
        return BadRow(line, tuple(faults), reference)
    return Row(line, destination, amount, reference)


def _reference(text: str) -> str | None:
    if len(text) > REFERENCE_MAX or _printable(text) != text:
        raise ValueError(f"at most {REFERENCE_MAX} characters, none of them a control character")
    return text or None


def _printable(text: str) -> str:
    return "".join(character for character in text if character.isprintable())


# Judging


def without(rows: Iterable[Row | BadRow], blocked: Collection[str]) -> Iterator[Row | BadRow]:
    """The rows, of which those to a blocked account or contract are bad."""
    if not blocked:
        yield from rows
        return
    for row in rows:
        if isinstance(row, Row) and (row.destination in blocked or account_of(row.destination) in blocked):
            yield BadRow(row.line, (Fault("destination", "it is on the blocklist: never paid"),), row.reference)
        else:
            yield row


@dataclass(slots=True)
class Repeats:
    """Payments to one destination twice must be told apart: each needs a reference, and another one."""

    _first: dict[bytes, tuple[int, bool]] = field(default_factory=dict)
    _named: dict[bytes, int] = field(default_factory=dict)

    def see(self, row: Row) -> tuple[Fault | None, tuple[int, Fault] | None]:
        """What is wrong with this row beside those before, and with the first of them because of it (by line)."""
        destination = row.destination.encode()
        key = _digest(destination)
        first, first_is_named = self._first.setdefault(key, (row.line, row.reference is not None))
        same = None
        if row.reference is not None:
            same = self._named.setdefault(_digest(destination, row.reference.encode()), row.line)
        if first == row.line:
            return None, None
        late = None if first_is_named else (first, _unnamed(row.line))
        if row.reference is None:
            return _unnamed(first), late
        if same != row.line:
            return Fault("reference", f"line {same} pays the same destination under the same reference"), late
        return None, late


def _unnamed(other: int) -> Fault:
    return Fault("reference", f"line {other} pays the same destination: each needs a reference of its own")


def _digest(*parts: bytes) -> bytes:
    return hashlib.blake2b(b"\0".join(parts), digest_size=16).digest()


def judge(rows: Iterable[Row | BadRow], late: Mapping[int, Fault]) -> Iterator[Row | BadRow]:
    """The rows of a second reading, each as it stands beside the others; `late` is what the first one found."""
    repeats = Repeats()
    for row in rows:
        if isinstance(row, BadRow):
            yield row
            continue
        fault, _ = repeats.see(row)
        fault = fault or late.get(row.line)
        yield row if fault is None else BadRow(row.line, (fault,), row.reference)


@dataclass(slots=True)
class Reading:
    """A first reading: hand it every row, then ask for the verdicts."""

    shown_max: int = 100
    _repeats: Repeats = field(default_factory=Repeats)
    _rows: int = 0
    _bad: int = 0
    _units: int = 0
    _late: dict[int, Fault] = field(default_factory=dict)
    _late_units: dict[int, int] = field(default_factory=dict)
    _shown: dict[int, BadRow] = field(default_factory=dict)

    def see(self, row: Row | BadRow) -> None:
        """Take one row into account.

        Raises:
            InvalidInput: more than ROWS_MAX rows.
        """
        self._rows += 1
        if self._rows > ROWS_MAX:
            raise InvalidInput(f"a batch has at most {ROWS_MAX:,} rows", rows=f"at most {ROWS_MAX}")
        if isinstance(row, BadRow):
            self._show(row)
            self._bad += 1
            return
        fault, late = self._repeats.see(row)
        if late is not None and late[0] not in self._late:
            self._late[late[0]] = late[1]
        if fault is not None:
            self._show(BadRow(row.line, (fault,), row.reference))
            self._bad += 1
        else:
            self._units += row.amount.units
            if row.reference is None:
                # It may turn out bad: then its amount does not count.
                self._late_units[row.line] = row.amount.units

    def _show(self, row: BadRow) -> None:
        if len(self._shown) < self.shown_max:
            self._shown[row.line] = row

    def verdicts(self) -> Verdicts:
        """What the whole file comes to."""
        shown = self._shown | {line: BadRow(line, (fault,)) for line, fault in self._late.items()}
        return Verdicts(
            rows=self._rows,
            bad=self._bad + len(self._late),
            total_units=self._units - sum(self._late_units[line] for line in self._late),
            late=MappingProxyType(self._late),
            first_bad=tuple(shown[line] for line in sorted(shown)[: self.shown_max]),
        )
