"""Addresses as Holdfast reads them are those of the Stellar SDK, to the last character."""

from __future__ import annotations

import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stellar_sdk import Keypair, MuxedAccount, StrKey

from domain.address import AddressKind, account_of, decode, encode, recipient_of
from domain.errors import InvalidInput

keys = st.binary(min_size=32, max_size=32)
numbers = st.integers(min_value=0, max_value=2**64 - 1)


@given(keys, numbers)
def test_what_is_encoded_here_is_what_the_sdk_encodes(key: bytes, number: int) -> None:
    account = StrKey.encode_ed25519_public_key(key)
    assert encode(AddressKind.ACCOUNT, key) == account
    assert encode(AddressKind.CONTRACT, key) == StrKey.encode_contract(key)
    assert recipient_of(account, str(number)) == MuxedAccount(account, number).account_muxed
    assert account_of(recipient_of(account, str(number))) == account


@given(st.text(alphabet="ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", min_size=55, max_size=55))
def test_what_is_not_an_address_to_the_sdk_is_none_here(text: str) -> None:
    address = f"G{text}"
    if StrKey.is_valid_ed25519_public_key(address):
        assert decode(address)[0] is AddressKind.ACCOUNT
    else:
        with pytest.raises(InvalidInput):
            recipient_of(address)


@given(keys, st.integers(min_value=0, max_value=55), st.sampled_from("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"))
def test_one_wrong_character_is_noticed(key: bytes, place: int, other: str) -> None:
    account = StrKey.encode_ed25519_public_key(key)
    changed = account[:place] + other + account[place + 1 :]
    if changed != account:
        with pytest.raises((InvalidInput, ValueError)):
            recipient_of(changed)


def test_a_secret_key_is_refused_and_not_repeated() -> None:
    seed = Keypair.random().secret
    with pytest.raises(InvalidInput) as refused:
        recipient_of(seed)
    assert "secret key" in refused.value.details["destination"]
    assert seed not in str(refused.value.details) + refused.value.message


@pytest.mark.parametrize("memo", ["-1", "1.5", "abc", "18446744073709551616", "١", ""])
def test_a_memo_that_is_no_number_names_the_memo(memo: str) -> None:
    account = StrKey.encode_ed25519_public_key(secrets.token_bytes(32))
    with pytest.raises(InvalidInput) as refused:
        recipient_of(account, memo)
    assert list(refused.value.details) == ["memo"]
