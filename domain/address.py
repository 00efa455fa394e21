"""Stellar addresses (StrKey): who can be paid. Pure: base32 with a CRC-16, as SEP-23 describes it."""

from __future__ import annotations

import base64
import binascii
from enum import IntEnum
from typing import Final

from domain.errors import InvalidInput

_ID_MAX: Final = 2**64 - 1
RECIPIENT_RIGHT: Final = "an account (G…), a muxed account (M…) or a contract (C…), with a valid checksum"


class AddressKind(IntEnum):
    """The first byte of what a StrKey encodes."""

    ACCOUNT = 6 << 3
    MUXED = 12 << 3
    CONTRACT = 2 << 3
    SEED = 18 << 3


_BYTES: Final = {AddressKind.ACCOUNT: 32, AddressKind.MUXED: 40, AddressKind.CONTRACT: 32, AddressKind.SEED: 32}

_KINDS: Final = {kind.value: kind for kind in AddressKind}


def decode(text: str) -> tuple[AddressKind, bytes]:
    """The kind of an address and its bytes: a public key, a public key with 8 bytes of id, or a contract's hash.

    Raises:
        ValueError: it is none, or its checksum is wrong.
    """
    if len(text) not in {56, 69}:
        raise ValueError("not an address")
    try:
        raw = base64.b32decode(text + "=" * (-len(text) % 8))
    except (binascii.Error, ValueError):
        raise ValueError("not an address") from None
    kind, payload = _KINDS.get(raw[0]), raw[1:-2]
    checked = binascii.crc_hqx(raw[:-2], 0).to_bytes(2, "little")
    if kind is None or len(payload) != _BYTES[kind] or raw[-2:] != checked:
        raise ValueError("not an address")
    # A muxed address's text has a bit to spare. Two texts for one address would be two recipients: one is taken.
    if kind is AddressKind.MUXED and encode(kind, payload) != text:
        raise ValueError("not an address")
    return kind, payload


def encode(kind: AddressKind, payload: bytes) -> str:
    """The text of an address."""
    raw = bytes([kind]) + payload
    raw += binascii.crc_hqx(raw, 0).to_bytes(2, "little")
    return base64.b32encode(raw).decode().rstrip("=")


def muxed(account: str, number: int) -> str:
    """The M address that carries a number to an account: what a memo is, where a contract pays.

    Raises:
        ValueError: not an account, or not a 64-bit number.
    """
    kind, payload = decode(account)
    if kind is not AddressKind.ACCOUNT or not 0 <= number <= _ID_MAX:
        raise ValueError("not an account and a 64-bit number")
    return encode(AddressKind.MUXED, payload + number.to_bytes(8, "big"))


def account_of(address: str) -> str:
    """The account beneath a muxed address; any other address as it is."""
    kind, payload = decode(address)
    return encode(AddressKind.ACCOUNT, payload[:32]) if kind is AddressKind.MUXED else address


def recipient_of(
    address: str, memo: str | None = None, *, field: str = "destination", memo_field: str = "memo"
) -> str:
    """Who is paid: the address as it is, or with a number as memo the muxed address of the account.

    Raises:
        InvalidInput: naming the field; what stood there is not repeated.
    """
    try:
        kind, _ = decode(address)
    except ValueError:
        raise InvalidInput(f"{field} is not an address", **{field: RECIPIENT_RIGHT}) from None
    if kind is AddressKind.SEED:
        raise InvalidInput(
            f"{field} is a secret key",
            **{
                field: "this is a secret key, not an address. It was neither kept nor logged, yet it has "
                f"travelled: move what it guards to another account. What is right here: {RECIPIENT_RIGHT}"
            },
        )
    if memo is None:
        return address
    if not (memo.isascii() and memo.isdigit() and len(memo) <= 20 and int(memo) <= _ID_MAX):
        raise InvalidInput(
            f"{memo_field} is not a number",
            **{memo_field: f"a whole number up to {_ID_MAX}: contract payments carry no other memo"},
        )
    if kind is not AddressKind.ACCOUNT:
        raise InvalidInput(
            f"{memo_field} needs an account",
            **{memo_field: "only with an account (G…): a muxed address has its number, a contract takes none"},
        )
    return muxed(address, int(memo))
