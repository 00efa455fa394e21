"""Fields of requests: read strictly, and refused with what would be right."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import Path
from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, WithJsonSchema
from stellar_sdk import StrKey

from domain.errors import InvalidInput
from domain.money import Amount

_ADDRESS_RIGHT: Final = "a Stellar account: G and 55 more letters and digits, with a valid checksum"
_YEARS: Final = (1970, 9998)


class Body(BaseModel):
    """A request's body: unknown fields are refused, since a misspelt one would be lost."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True, hide_input_in_errors=True)


def _address(value: Any) -> str:
    text = value.strip() if isinstance(value, str) else ""
    if StrKey.is_valid_ed25519_secret_seed(text):
        raise ValueError(
            "this is a secret key, not an account. It was neither kept nor logged, yet it has travelled: move what"
            f" it guards to another account. What is right here: {_ADDRESS_RIGHT}"
        )
    if not StrKey.is_valid_ed25519_public_key(text):
        raise ValueError(_ADDRESS_RIGHT)
    return text


WalletAddress = Annotated[
    str,
    BeforeValidator(_address),
    WithJsonSchema({"type": "string", "pattern": "^G[A-Z2-7]{55}$", "description": _ADDRESS_RIGHT}),
]


def _amount(value: Any) -> Amount:
    if isinstance(value, Amount):
        return value
    if not isinstance(value, str):
        raise ValueError('an amount is a decimal number in a JSON string, such as "100.5"')
    try:
        return Amount.parse(value)
    except InvalidInput as error:
        raise ValueError("; ".join((error.message, *error.details.values()))) from None


MoneyText = Annotated[
    Amount,
    BeforeValidator(_amount),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": r"^[0-9]{1,12}(\.[0-9]{1,7})?$",
            "description": "A plain decimal number in a string, with at most 7 decimals.",
            "examples": ["100.5"],
        }
    ),
]


def _zoned(value: Any) -> Any:
    if not isinstance(value, str):
        raise ValueError("a time with a zone in a string, such as 2026-01-16T10:00:00Z")
    return value


def _of_our_time(value: datetime) -> datetime:
    # Before year 1 in UTC no driver reads it back; and no outage is older than the clocks that measure it.
    if not _YEARS[0] <= value.year <= _YEARS[1]:
        raise ValueError(f"a time between the years {_YEARS[0]} and {_YEARS[1]}")
    return value


def _printable(value: str) -> str:
    if any(ord(character) < 32 and character not in "\n\t" for character in value) or "\x7f" in value:
        raise ValueError("a text without control characters")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("a text that UTF-8 can carry") from None
    return value


Instant = Annotated[
    AwareDatetime,
    BeforeValidator(_zoned),
    AfterValidator(_of_our_time),
    WithJsonSchema({"type": "string", "format": "date-time", "examples": ["2026-01-16T10:00:00Z"]}),
]
Text = Annotated[str, AfterValidator(_printable)]


def _email(value: str) -> str:
    local, at, domain = value.rpartition("@")
    if not at or not local or "." not in domain or any(c.isspace() or ord(c) < 33 or c in "<>,;" for c in value):
        raise ValueError("a mail address, such as noc@example.org")
    return value


Email = Annotated[
    str,
    AfterValidator(_email),
    WithJsonSchema({"type": "string", "format": "email", "maxLength": 254}),
]
OutageId = Annotated[str, Path(pattern=r"^OUT[0-9]{3,18}$", description="Such as OUT001.", examples=["OUT001"])]
