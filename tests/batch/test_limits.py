"""As many payments a call as the network admits: the figures are held against the ledger that enforces them."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
from stellar_sdk import Asset, Keypair, MuxedAccount, StrKey, scval, xdr
from stellar_sdk.operation import ChangeTrust, CreateAccount

from adapters.stellar.footprint import WriteFees, promote_balances
from adapters.stellar.limits import CallLimitsReader, read_limits
from adapters.stellar.own_sequence import OwnSequence
from adapters.stellar.rpc import Rpc
from domain.batch import CallLimits, Cutter
from domain.errors import Refused
from domain.money import AMOUNT_MAX, Amount
from tests.settlement.world import PASSPHRASE, World


def reader(rpc: Rpc, world: World, **more: Amount) -> CallLimitsReader:
    return CallLimitsReader(rpc, contract=world.payout, network_passphrase=PASSPHRASE, **more)


async def people(rpc: Rpc, world: World, count: int) -> list[str]:
    """Accounts with a trustline for USDC."""
    asset = Asset("USDC", world.issuer.public_key)
    made: list[str] = []
    while len(made) < count:
        some = [Keypair.random() for _ in range(min(18, count - len(made)))]
        made += [keypair.public_key for keypair in some]
        operations = [
            operation
            for keypair in some
            for operation in (
                CreateAccount(destination=keypair.public_key, starting_balance="5"),
                ChangeTrust(asset=asset, source=keypair.public_key),
            )
        ]
        source = OwnSequence(rpc, world.issuer, PASSPHRASE, poll_seconds=0.03)
        await source.land(operations, signers=some)
    return made


def fill(limits: CallLimits, destinations: list[str]) -> list[str]:
    """The recipients of the first chunk."""
    cutter = Cutter(limits)
    return [address for address in destinations if cutter.place(address, 10**7)[0] == "1"]


@pytest.mark.parametrize("kind", ["account", "muxed", "contract"])
async def test_a_full_chunk_lands(world: World, kind: str) -> None:
    async with Rpc(world.url) as rpc:
        limits = await reader(rpc, world).read(world.usdc, reader=world.pool.public_key)
        if kind == "contract":
            there = [StrKey.encode_contract(os.urandom(32)) for _ in range(90)]
        else:
            there = await people(rpc, world, 90)
            if kind == "muxed":
                there = [MuxedAccount(address, 2**64 - 1).account_muxed for address in there]
        chosen = fill(limits, there)
        assert 40 < len(chosen) < 90, "the network's limit is what ends it"
        recipients = scval.to_vec(
            [scval.to_vec([scval.to_address(address), scval.to_int128(10**7)]) for address in chosen]
        )
        landed = await world.call_payout(
            "distribute_winnings", scval.to_bytes(os.urandom(32)), scval.to_address(world.usdc), recipients
        )
        assert landed.successful
        meta = xdr.TransactionMeta.from_xdr(landed.meta or "").v4
        assert meta is not None
        events = [event for operation in meta.operations for event in operation.events]
        returned = meta.soroban_meta.return_value if meta.soroban_meta else None
        used = sum(len(event.to_xdr_bytes()) for event in events) + len(
            (returned or scval.to_void()).to_xdr_bytes()
        )
        network = await read_limits(rpc)
        assert used <= network.events_bytes
        assert network.events_bytes - used < 1_200, (
            f"{network.events_bytes - used} bytes of events are left unused"
        )


async def test_the_rows_follow_the_network_s_settings(world: World) -> None:
    async with Rpc(world.url) as rpc:
        limits = await read_limits(rpc)
    assert limits.events_bytes == 16_384
    assert limits.instructions == 100_000_000
    assert replace(limits, write_entries=40).rows_max == 30
    assert replace(limits, disk_read_entries=30).rows_max == 20
    assert replace(limits, write_entries=1).rows_max == 1, "one row always goes: the ledger says the rest"


async def test_the_contract_s_cap_and_the_policy_s_bound_a_chunk_s_amount(world: World) -> None:
    contract = await world.new_payout(per_call=Amount.of(500))
    async with Rpc(world.url) as rpc:
        limits = CallLimitsReader(rpc, contract=contract, network_passphrase=PASSPHRASE, amount_max=Amount.of(900))
        assert (await limits.read(world.usdc, reader=world.pool.public_key)).units_max == Amount.of(500).units
        limits = CallLimitsReader(rpc, contract=contract, network_passphrase=PASSPHRASE, amount_max=Amount.of(90))
        assert (await limits.read(world.usdc, reader=world.pool.public_key)).units_max == Amount.of(90).units


async def test_a_token_that_the_contract_does_not_pay_is_refused_by_name(world: World) -> None:
    async with Rpc(world.url) as rpc:
        with pytest.raises(Refused, match="does not pay") as refused:
            await reader(rpc, world).read(world.nociq, reader=world.pool.public_key)
    assert refused.value.code == "asset_not_allowed"


def test_rows_are_put_into_chunks_in_order_and_within_every_limit() -> None:
    limits = CallLimits(
        rows_max=4, weight_max=100, account_weight=20, muxed_weight=50, contract_weight=20, units_max=1000
    )
    cutter = Cutter(limits)
    placed = [cutter.place(*row) for row in [("G", 1)] * 5 + [("M", 1)] * 3 + [("G", 999), ("G", 2), ("G", 2000)]]
    assert placed == [
        ("1", 0),
        ("1", 1),
        ("1", 2),
        ("1", 3),
        ("2", 0),
        ("2", 1),
        ("3", 0),
        ("3", 1),
        ("4", 0),
        ("5", 0),
        ("6", 0),
    ]
    assert CallLimits(1, 1, 1, 1, 1).units_max == AMOUNT_MAX


def test_only_balances_are_promoted_and_the_fee_grows_with_them() -> None:
    account = xdr.LedgerKey(
        xdr.LedgerEntryType.ACCOUNT,
        account=xdr.LedgerKeyAccount(Keypair.random().xdr_account_id()),
    )
    code = xdr.LedgerKey(
        xdr.LedgerEntryType.CONTRACT_CODE, contract_code=xdr.LedgerKeyContractCode(xdr.Hash(bytes(32)))
    )
    data = xdr.SorobanTransactionData(
        ext=xdr.SorobanTransactionDataExt(0),
        resources=xdr.SorobanResources(
            xdr.LedgerFootprint([code, account], []), xdr.Uint32(1), xdr.Uint32(2), xdr.Uint32(3)
        ),
        resource_fee=xdr.Int64(4),
    )
    promoted = promote_balances(data.to_xdr(), WriteFees(entry=10_000, kilobyte=875))
    after = xdr.SorobanTransactionData.from_xdr(promoted.transaction_data).resources
    assert after.footprint.read_only == [code]
    assert after.footprint.read_write == [account]
    assert after.write_bytes.uint32 > 100
    assert promoted.extra_fee >= 10_000
    data.resources.footprint.read_only = [code]
    assert promote_balances(data.to_xdr(), WriteFees(10_000, 875)).extra_fee == 0
