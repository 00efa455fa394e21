"""A payment file as it comes in: kept on disk while it is read twice, never in memory whole."""

from __future__ import annotations

import asyncio
import hashlib
import io
from collections.abc import AsyncIterator, Collection, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from tempfile import SpooledTemporaryFile
from typing import IO, Annotated, Any, Final, Literal

from fastapi import Request
from pydantic import Field, ValidationError

from adapters.stellar.assets import ASSET_RIGHT, token_of
from api.fields import Body, Text
from domain.batch import OnBadRows
from domain.batch_file import BadRow, CsvRows, JsonRows, Reading, Row, Verdicts, without
from domain.errors import HoldfastError, InvalidInput
from domain.settlement import SigningMode

_IN_MEMORY_MAX: Final = 1_048_576
_AT_ONCE: Final = 500
"""So many rows are read before others have their turn in this process."""


class FileKind(StrEnum):
    """What the body is."""

    CSV = "text/csv"
    JSON = "application/json"


SignerName = Literal["hot", "kms", "pkcs11", "external"]
"""Who may be asked to sign for the payer."""


class BatchOptions(Body):
    """What holds for the whole batch: of JSON, members beside `rows`; of CSV, in the query."""

    asset: Annotated[str, Field(max_length=69, description=ASSET_RIGHT, examples=["XLM"])]
    name: Annotated[Text, Field(max_length=120, description="Any name of your own.")] = ""
    on_bad_rows: OnBadRows = Field(
        default=OnBadRows.SKIP,
        description="`skip`: bad rows are reported and never paid, the others are paid. `refuse`: one bad row, "
        "and nothing is accepted.",
    )
    signer: SignerName | None = Field(
        default=None, description="One of PAYOUT_SIGNERS_OFFERED; without it the one that PAYOUT_SIGNER names."
    )
    signing: SigningMode | None = Field(
        default=None,
        description="What is signed of each call. Without it an authorization entry where somebody outside signs, "
        "else as PAYOUT_SIGNING says.",
    )


@dataclass(frozen=True, slots=True)
class Upload:
    """A whole file that was read once."""

    kind: FileKind
    digest: str
    options: BatchOptions
    token: str
    verdicts: Verdicts
    _file: IO[bytes]
    _blocked: Collection[str]

    def rows(self) -> Iterator[Row | BadRow]:
        """Read it again from the beginning; rows are judged each by itself."""
        rows, _ = _open(self._file, self.kind, self.options.asset)
        return without(rows, self._blocked)


@asynccontextmanager
async def uploaded(
    request: Request, query: dict[str, Any], *, network_passphrase: str, blocked: Collection[str]
) -> AsyncIterator[Upload]:
    """Take in the body, and read it once; it is gone on leaving.

    Raises:
        InvalidInput: the file cannot be read, or its options are not right.
        HoldfastError: `malformed_request`: it is neither CSV nor JSON.
    """
    kind = _kind(request)
    with SpooledTemporaryFile(max_size=_IN_MEMORY_MAX) as file:
        digest = hashlib.sha256()
        async for block in request.stream():
            digest.update(block)
            file.write(block)
        rows, members = _open(file, kind, query.get("asset"))
        reading = Reading()
        for number, row in enumerate(without(rows, blocked), start=1):
            reading.see(row)
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)
        options = _options(query if kind is FileKind.CSV else members)
        token = token_of(options.asset, network_passphrase)
        yield Upload(kind, digest.hexdigest(), options, token, reading.verdicts(), file, blocked)


def _kind(request: Request) -> FileKind:
    named = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        return FileKind(named)
    except ValueError:
        raise HoldfastError(
            "a batch is text/csv or application/json: name it in Content-Type", code="malformed_request"
        ) from None


def _open(file: IO[bytes], kind: FileKind, asset: Any) -> tuple[Iterable[Row | BadRow], dict[str, Any]]:
    """The rows from the beginning, and the options that are complete when they were read to the end."""
    file.seek(0)
    text = io.TextIOWrapper(io.BufferedReader(_Kept(file)), encoding="utf-8-sig", newline="")
    if kind is FileKind.CSV:
        return CsvRows(text, asset=asset), {}
    rows = JsonRows(text)
    return rows, rows.options


class _Kept(io.RawIOBase):
    """A view of the file: a text wrapper closes what it wraps when it goes."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        block = self._file.read(len(buffer))
        buffer[: len(block)] = block
        return len(block)


def _options(given: dict[str, Any]) -> BatchOptions:
    try:
        return BatchOptions.model_validate(given)
    except ValidationError as error:
        wrong = {
            "/".join(str(part) for part in entry["loc"]): "there is no such field"
            if entry["type"] == "extra_forbidden"
            else "it is needed"
            if entry["type"] == "missing"
            else entry["msg"].removeprefix("Value error, ")
            for entry in error.errors()
        }
        raise InvalidInput(f"not right: {', '.join(wrong)}", **wrong) from None
