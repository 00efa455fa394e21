"""How many recipients one call carries under the public network's limits, which the local ledger has."""

from __future__ import annotations

import asyncio
import secrets
import tomllib
from collections.abc import Sequence
from pathlib import Path

import pytest
from stellar_sdk import Asset, Keypair, MuxedAccount, scval, xdr
from stellar_sdk.operation import ChangeTrust, CreateAccount

from adapters.stellar.own_sequence import OwnSequence
from adapters.stellar.rpc import Landed, Rpc
from domain.errors import Refused
from domain.money import Amount
from tests.settlement.test_payout_contract import answered, distribute
from tests.settlement.world import PASSPHRASE, World

BUDGETS = Path(__file__).parents[2] / "contracts" / "budgets.toml"
ACCOUNTS = 99
EVENTS_MAX = 16_384
"""Bytes of a transaction's events and its answer."""
_SIGNERS_A_TRANSACTION = 19
"""Of the twenty that an envelope carries one is the source's."""


@pytest.fixture(scope="module")
def budget() -> dict[str, int]:
    return dict(tomllib.loads(BUDGETS.read_text())["ledger"]["payout_recipients_a_call"])


@pytest.fixture(scope="module")
def people(world: World) -> Sequence[str]:
    return asyncio.run(make_people(world))


async def make_people(world: World) -> Sequence[str]:
    """Accounts with a trustline for USDC."""
    keypairs = [Keypair.random() for _ in range(ACCOUNTS)]
    usdc = Asset("USDC", world.issuer.public_key)
    async with Rpc(world.url) as rpc:
        issuer = OwnSequence(rpc, world.issuer, PASSPHRASE, poll_seconds=0.03)
        await issuer.land([CreateAccount(keypair.public_key, "3") for keypair in keypairs])
        for first in range(0, ACCOUNTS, _SIGNERS_A_TRANSACTION):
            some = keypairs[first : first + _SIGNERS_A_TRANSACTION]
            await issuer.land([ChangeTrust(usdc, source=keypair.public_key) for keypair in some], signers=some)
    return [keypair.public_key for keypair in keypairs]


async def pay(world: World, token: str, addresses: Sequence[str]) -> Landed:
    pairs = [(address, Amount.of(1)) for address in addresses]
    return await distribute(world, secrets.token_hex(32), token, pairs)


def muxed(address: str) -> str:
    account = MuxedAccount(address, secrets.randbits(63)).account_muxed
    assert account is not None
    return account


def told_bytes(landed: Landed) -> int:
    """Events and answer, as the ledger counts them."""
    assert landed.meta is not None
    meta = xdr.TransactionMeta.from_xdr(landed.meta).v4
    assert meta is not None
    assert meta.soroban_meta is not None
    assert meta.soroban_meta.return_value is not None
    events = [event for operation in meta.operations for event in operation.events]
    answer = len(meta.soroban_meta.return_value.to_xdr_bytes())
    return sum(len(event.to_xdr_bytes()) for event in events) + answer


@pytest.mark.parametrize("kind", ["usdc", "usdc_with_numbers", "xlm", "xlm_with_numbers"])
async def test_as_many_recipients_as_the_budget_says_fit_and_no_more(
    world: World, people: Sequence[str], budget: dict[str, int], kind: str
) -> None:
    token = world.usdc if kind.startswith("usdc") else world.native
    addresses = [muxed(address) for address in people] if kind.endswith("numbers") else people
    most = budget[kind]
    landed = await pay(world, token, addresses[:most])
    assert scval.from_bytes(answered(landed)["outcomes"]) == bytes(most)
    assert EVENTS_MAX - 300 < told_bytes(landed) <= EVENTS_MAX, "the events bind first"
    with pytest.raises(Refused, match="RESOURCE_LIMIT_EXCEEDED"):
        await pay(world, token, addresses[: most + 1])
