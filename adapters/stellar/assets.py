"""Assets as people name them, and the token contracts that move them."""

from __future__ import annotations

import re
from typing import Final

from stellar_sdk import Asset, StrKey

from domain.errors import InvalidInput

ASSET_RIGHT: Final = "XLM, CODE:ISSUER with the issuer's account (G…), or a token's contract id (C…)"
_CODE: Final = re.compile(r"[A-Za-z0-9]{1,12}", re.ASCII)


def token_of(asset: str, network_passphrase: str, *, field: str = "asset") -> str:
    """The contract that moves an asset: of a classic one its Stellar Asset Contract, whose id is known beforehand.

    Raises:
        InvalidInput: it is none; naming the field.
    """
    if asset == "XLM":
        return Asset.native().contract_id(network_passphrase)
    if StrKey.is_valid_contract(asset):
        return asset
    code, colon, issuer = asset.partition(":")
    if not colon or not _CODE.fullmatch(code) or not StrKey.is_valid_ed25519_public_key(issuer):
        raise InvalidInput(f"{field} is not an asset", **{field: ASSET_RIGHT})
    return Asset(code, issuer).contract_id(network_passphrase)
