"""The two files that cross the gap: requests to the signer, signatures back. JSON, with a version, no secrets."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from domain.errors import Refused

VERSION: Final = 1
_BYTES_MAX: Final = 200_000_000
_Id = Annotated[str, Field(pattern=r"^[A-Za-z0-9._:\-]{1,200}$")]
"""What is shown on a terminal holds no control character."""
_Key = Annotated[str, Field(pattern=r"^G[A-Z2-7]{55}$")]
_Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Xdr = Annotated[str, Field(max_length=200_000)]


class AskedKey(BaseModel):
    """A key that may sign, and its weight, as the server says."""

    address: _Key
    weight: int


class Asked(BaseModel):
    """A request for a signature as it comes from the server; what it says in words is left behind.

    Only the XDR is believed: everything else names it, or helps to choose.
    """

    id: _Id
    settlement_id: _Id
    kind: Literal["envelope", "auth_entry"]
    hash: _Hash
    unsigned_xdr: _Xdr | None = None
    preimage_xdr: _Xdr | None = None
    entry_xdr: _Xdr | None = None
    signers: tuple[AskedKey, ...]
    threshold: int
    signed_by: tuple[_Key, ...] = ()
    expires_at: datetime


class RequestsFile(BaseModel):
    """What crosses to the signer. `digest` is over the hashes as the server has them."""

    format: Literal["holdfast-signing-requests"] = "holdfast-signing-requests"
    version: Literal[1] = VERSION
    made_at: datetime
    digest: _Hash
    requests: tuple[Asked, ...]


class Signed(BaseModel):
    """One signature (base64) over `hash`."""

    model_config = ConfigDict(extra="forbid")

    settlement_id: _Id
    request_id: _Id
    hash: _Hash
    signer: _Key
    signature: Annotated[str, Field(pattern=r"^[A-Za-z0-9+/]{86}==$")]


class SignaturesFile(BaseModel):
    """What comes back. `digest` is over the hashes that were signed."""

    format: Literal["holdfast-signatures"] = "holdfast-signatures"
    version: Literal[1] = VERSION
    made_at: datetime
    digest: _Hash
    signatures: tuple[Signed, ...]


F = TypeVar("F", RequestsFile, SignaturesFile)


def read_file(path: Path, kind: type[F]) -> F:
    """Read a file.

    Raises:
        Refused: it is not there, too large, of another format or version, or not right.
    """
    try:
        if path.stat().st_size > _BYTES_MAX:
            raise Refused(f"{path} is too large: at most {_BYTES_MAX} bytes")
        text = path.read_bytes()
    except OSError as error:
        raise Refused(f"{path} cannot be read: {type(error).__name__}") from None
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        wrong = error.errors(include_input=False)[0]
        where = "/".join(str(part) for part in wrong["loc"]) or "the file"
        wanted = f"{kind.model_fields['format'].default}, version {VERSION}"
        raise Refused(f"{path} is not of the format {wanted}: {where}: {wrong['msg']}") from None


def write_file(path: Path, content: RequestsFile | SignaturesFile) -> None:
    """Write a new file.

    Raises:
        Refused: it is there already, or cannot be written.
    """
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(content.model_dump_json(indent=1, exclude_none=True) + "\n")
    except FileExistsError:
        raise Refused(f"{path} is there already; nothing is overwritten") from None
    except OSError as error:
        raise Refused(f"{path} cannot be written: {type(error).__name__}") from None


def asked_of(rows: Sequence[Any]) -> tuple[Asked, ...]:
    """Read the requests in an answer of the server.

    Raises:
        Refused: one is not a request.
    """
    try:
        return tuple(Asked.model_validate(row) for row in rows)
    except ValidationError as error:
        wrong = error.errors(include_input=False)[0]
        where = "/".join(str(part) for part in wrong["loc"])
        raise Refused(f"the server's answer is not right: {where}: {wrong['msg']}") from None
