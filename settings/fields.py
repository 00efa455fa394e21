"""How a setting is declared and read: its sentence, its unit, what would be right, and the types of its values."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final

from pydantic import AliasChoices, BeforeValidator, Field, PlainSerializer, PlainValidator, SecretStr
from pydantic_settings import NoDecode

from domain.errors import InvalidInput
from domain.money import Amount

REQUIRED: Final[Any] = ...


def setting(
    description: str,
    *,
    right: str,
    default: Any = REQUIRED,
    default_from: Callable[[dict[str, Any]], Any] | None = None,
    default_text: str | None = None,
    unit: str = "",
    names: tuple[str, ...] = (),
    **limits: Any,
) -> Any:
    """Declare one setting.

    Args:
        description: one sentence for docs/settings.md and .env.example.
        right: what a right value is; shown when a wrong one stops the start.
        default: the value when the variable is absent.
        default_from: computes the default from the settings above this one.
        default_text: how the documents name a default that is computed.
        unit: of the value, such as `ms` or `stroops`.
        names: every environment name that is accepted, the preferred one first; without it the field's own.
        limits: pydantic's constraints, such as `ge=1`.
    """
    extra = {"right": right, "unit": unit, "default_text": default_text}
    kwargs: dict[str, Any] = {"description": description, "json_schema_extra": extra, **limits}
    if names:
        kwargs["validation_alias"] = AliasChoices(*names)
    if default_from is not None:
        return Field(default_factory=default_from, **kwargs)
    return Field(default, **kwargs)


def _amount(value: object) -> Amount:
    if isinstance(value, Amount):
        return value
    try:
        return Amount.parse(str(value).strip(), field="the amount")
    except InvalidInput as error:
        raise ValueError(error.message) from None


def _comma_separated(value: object) -> object:
    if isinstance(value, str):
        return tuple(item for item in (part.strip() for part in value.split(",")) if item)
    return value


def _account(value: object) -> object:
    from stellar_sdk import StrKey  # noqa: PLC0415 - costs 0.2 s, and only needed where an address is set

    if not isinstance(value, str) or not StrKey.is_valid_ed25519_public_key(value.strip()):
        raise ValueError("not a Stellar account")
    return value.strip()


def _contract(value: object) -> object:
    from stellar_sdk import StrKey  # noqa: PLC0415

    if not isinstance(value, str) or not StrKey.is_valid_contract(value.strip()):
        raise ValueError("not a contract id")
    return value.strip()


def _address(value: object) -> object:
    try:
        return _account(value)
    except ValueError:
        return _contract(value)


def _seed(value: object) -> SecretStr:
    from stellar_sdk import StrKey  # noqa: PLC0415

    text = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
    if not StrKey.is_valid_ed25519_secret_seed(text.strip()):
        raise ValueError("not a Stellar secret key")
    return SecretStr(text.strip())


def _url(*schemes: str) -> Callable[[object], object]:
    def check(value: object) -> object:
        text = str(value).strip().rstrip("/")
        scheme, separator, rest = text.partition("://")
        if not separator or scheme not in schemes or not rest.split("/")[0]:
            raise ValueError(f"not a URL that begins with {' or '.join(f'{name}://' for name in schemes)}")
        return text

    return check


AmountValue = Annotated[
    Amount, NoDecode, PlainValidator(_amount, json_schema_input_type=str), PlainSerializer(str, return_type=str)
]
"""A decimal string."""

Accounts = Annotated[
    tuple[Annotated[str, BeforeValidator(_address)], ...], NoDecode, BeforeValidator(_comma_separated)
]
"""Accounts or contracts, comma-separated."""

Contracts = Annotated[
    tuple[Annotated[str, BeforeValidator(_contract)], ...], NoDecode, BeforeValidator(_comma_separated)
]
"""Contract ids, comma-separated."""

Words = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_comma_separated)]
"""Words, comma-separated."""

AccountId = Annotated[str, BeforeValidator(_account)]
"""A Stellar account, `G…`."""

ContractId = Annotated[str, BeforeValidator(_contract)]
"""A Soroban contract, `C…`."""

Seed = Annotated[SecretStr, BeforeValidator(_seed)]
"""A Stellar secret key, `S…`."""

HttpUrl = Annotated[str, BeforeValidator(_url("http", "https"))]
"""An http or https URL, without a slash at its end."""


@dataclass(frozen=True, slots=True)
class Keyring:
    """AES-256 keys by id. The current one seals; all of them open."""

    current: str
    keys: Mapping[str, bytes] = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> Keyring:
        """Read `id:base64,id:base64`; the first is the current one.

        Raises:
            ValueError: never with the keys in its text.
        """
        keys: dict[str, bytes] = {}
        for number, entry in enumerate((part.strip() for part in text.split(",")), start=1):
            key_id, separator, encoded = entry.partition(":")
            if not separator or not key_id:
                raise ValueError(f"entry {number} is not of the form id:base64")
            try:
                key = base64.b64decode(encoded, validate=True)
            except (binascii.Error, ValueError):
                raise ValueError(f"the key of entry {number} is not base64") from None
            if len(key) != 32:
                raise ValueError(f"the key of entry {number} has {len(key)} bytes, and AES-256 needs 32")
            if key_id in keys:
                raise ValueError(f"the id of entry {number} is there twice")
            keys[key_id] = key
        return cls(next(iter(keys)), keys)

    @classmethod
    def of_play_money(cls, deployment: str, purpose: str) -> Keyring:
        """Make a fixed keyring for the local network, which anybody can compute: it guards play money only."""
        digest = hashlib.sha256(f"holdfast play money\0{deployment}\0{purpose}".encode()).digest()
        return cls("local", {"local": digest})


def _keyring(value: object) -> Keyring:
    if isinstance(value, Keyring):
        return value
    return Keyring.parse(value.get_secret_value() if isinstance(value, SecretStr) else str(value))


KeyringValue = Annotated[Keyring, NoDecode, PlainValidator(_keyring, json_schema_input_type=str)]
"""A keyring as `id:base64,…`."""
