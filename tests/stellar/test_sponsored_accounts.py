"""Accounts with sponsored reserves, on the real ledger: once, whatever gets lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from stellar_sdk import Asset, Keypair

from adapters.database.engine import Database
from adapters.stellar.accounts import SponsoredAccounts
from adapters.stellar.entries import account_key, account_state, trustline_key
from adapters.stellar.rpc import Rpc
from domain.errors import OutcomeUnknown, Refused
from tests.conftest import TestLedger

PASSPHRASE = "Standalone Network ; February 2017"


@pytest.fixture
async def rpc(ledger: TestLedger) -> AsyncIterator[Rpc]:
    async with Rpc(ledger.url) as client:
        yield client


@pytest.fixture
def funder(ledger: TestLedger) -> Keypair:
    keypair = Keypair.random()
    ledger.friendbot(keypair.public_key)
    return keypair


@pytest.fixture
def accounts(rpc: Rpc, funder: Keypair) -> SponsoredAccounts:
    return SponsoredAccounts(rpc, funder, PASSPHRASE, poll_seconds=0.02)


async def _there(rpc: Rpc, keypairs: list[Keypair]) -> int:
    found = await rpc.ledger_entries([account_key(keypair.public_key) for keypair in keypairs])
    return len(found.by_key)


async def _sequence(rpc: Rpc, address: str) -> int:
    key = account_key(address)
    return account_state((await rpc.ledger_entries([key])).by_key[key.to_xdr()].data).sequence


async def test_as_many_accounts_as_signatures_admit_share_a_transaction(
    accounts: SponsoredAccounts, rpc: Rpc
) -> None:
    new = [Keypair.random() for _ in range(25)]
    created = await accounts.create(new, home_domain="holdfast-test")
    assert len(created.transactions) == 2  # 19 accounts and the funder sign the first
    assert await _there(rpc, new) == 25
    key = account_key(new[-1].public_key)
    state = account_state((await rpc.ledger_entries([key])).by_key[key.to_xdr()].data)
    assert (state.home_domain, state.balance_units, state.reserved_units) == ("holdfast-test", 0, 0)


async def test_what_exists_is_left_out(accounts: SponsoredAccounts, funder: Keypair, rpc: Rpc) -> None:
    asset, other = Asset("USDC", funder.public_key), Asset("NOCIQ", funder.public_key)
    old, new = Keypair.random(), Keypair.random()
    await accounts.create([old], trustlines=[asset])
    created = await accounts.create([old, new], trustlines=[asset, other])
    assert (created.accounts, created.trustlines) == ((new.public_key,), 3)
    before = await _sequence(rpc, funder.public_key)
    again = await accounts.create([old, new], trustlines=[asset, other])
    assert (again.accounts, again.trustlines, again.transactions) == ((), 0, ())
    assert await _sequence(rpc, funder.public_key) == before
    keys = [trustline_key(one.public_key, line) for one in (old, new) for line in (asset, other)]
    assert len((await rpc.ledger_entries(keys)).by_key) == 4


@pytest.mark.parametrize("kind", ["drop_answer_after", "drop_answer_before", "unavailable", "try_again_later"])
async def test_a_lost_answer_costs_a_look_and_makes_nothing_twice(
    accounts: SponsoredAccounts, funder: Keypair, ledger: TestLedger, rpc: Rpc, kind: str
) -> None:
    new = [Keypair.random() for _ in range(3)]
    before = await _sequence(rpc, funder.public_key)
    ledger.fault(kind, method="sendTransaction", count=1)
    await accounts.create(new)
    assert await _there(rpc, new) == 3
    assert await _sequence(rpc, funder.public_key) == before + 1


async def test_without_proof_it_is_unknown_and_found_out_afterwards(
    rpc: Rpc, funder: Keypair, ledger: TestLedger
) -> None:
    impatient = SponsoredAccounts(rpc, funder, PASSPHRASE, poll_seconds=0.02, patience_seconds=0.3)
    new = [Keypair.random()]
    ledger.fault("stalled_ledger", seconds=3)
    with pytest.raises(OutcomeUnknown):
        await impatient.create(new)
    ledger.clear_faults()
    await SponsoredAccounts(rpc, funder, PASSPHRASE, poll_seconds=0.02).create(new)
    assert await _there(rpc, new) == 1


async def test_a_funder_that_is_not_there_is_refused_by_name(rpc: Rpc) -> None:
    nobody = Keypair.random()
    with pytest.raises(Refused, match=nobody.public_key) as refused:
        await SponsoredAccounts(rpc, nobody, PASSPHRASE).create([Keypair.random()])
    assert refused.value.code == "account_missing"


async def test_a_funder_without_reserves_is_refused_by_name(
    accounts: SponsoredAccounts, funder: Keypair, rpc: Rpc
) -> None:
    poor = Keypair.random()
    await accounts.create([poor])  # it has no XLM at all
    with pytest.raises(Refused) as refused:
        await SponsoredAccounts(rpc, poor, PASSPHRASE).create([Keypair.random()])
    assert refused.value.code == "failed_on_ledger"


async def test_two_builders_take_turns_on_the_funders_sequence(
    rpc: Rpc, funder: Keypair, database: Database
) -> None:
    first, second = (
        SponsoredAccounts(
            rpc,
            funder,
            PASSPHRASE,
            one_builder=lambda: database.alone(f"funder {funder.public_key}"),
            poll_seconds=0.02,
        )
        for _ in range(2)
    )
    shared = [Keypair.random() for _ in range(4)]
    before = await _sequence(rpc, funder.public_key)
    one, two = await asyncio.gather(first.create(shared), second.create(shared))
    assert len(one.accounts) + len(two.accounts) == 4
    assert await _sequence(rpc, funder.public_key) == before + 1
