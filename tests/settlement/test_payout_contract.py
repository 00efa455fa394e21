"""The payout contract on the ledger, by plain calls: what the engine's settlements rest on."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

import pytest
from stellar_sdk import Keypair, MuxedAccount, scval, xdr

from adapters.stellar.calls import map_fields, marker_key
from adapters.stellar.rpc import Landed, Rpc
from domain.errors import Refused
from domain.money import Amount
from tests.settlement.world import World


def recipients(*pairs: tuple[str, Amount]) -> xdr.SCVal:
    return scval.to_vec(
        [scval.to_vec([scval.to_address(address), scval.to_int128(amount.units)]) for address, amount in pairs]
    )


async def distribute(
    world: World,
    marker: str,
    token: str,
    pairs: Sequence[tuple[str, Amount]],
    *,
    by: Keypair | None = None,
    contract: str | None = None,
) -> Landed:
    return await world.call_payout(
        "distribute_winnings",
        scval.to_bytes(bytes.fromhex(marker)),
        scval.to_address(token),
        recipients(*pairs),
        by=by,
        contract=contract,
    )


def answered(landed: Landed) -> dict[str, xdr.SCVal]:
    assert landed.meta is not None
    meta = xdr.TransactionMeta.from_xdr(landed.meta)
    assert meta.v4 is not None
    assert meta.v4.soroban_meta is not None
    assert meta.v4.soroban_meta.return_value is not None
    return map_fields(meta.v4.soroban_meta.return_value)


async def test_a_list_is_paid_out_of_the_contracts_balance_and_never_again(world: World) -> None:
    marker = secrets.token_hex(32)
    pairs = [(world.noc_team.public_key, Amount.of(12)), (world.operator.public_key, Amount.of(30))]
    before = [await world.balance(world.usdc, address) for address, _ in pairs]
    held = await world.balance(world.usdc, world.payout)

    first = answered(await distribute(world, marker, world.usdc, pairs))
    assert scval.from_int128(first["amount"]) == Amount.of(42).units
    assert scval.from_bytes(first["outcomes"]) == b"\0\0"
    assert scval.from_address(first["from"]).address == world.payout
    assert scval.from_bool(first["replayed"]) is False

    again = answered(await distribute(world, marker, world.usdc, pairs))
    assert scval.from_bool(again["replayed"]) is True
    assert scval.from_int128(again["amount"]) == Amount.of(42).units

    after = [await world.balance(world.usdc, address) for address, _ in pairs]
    assert [now - then for now, then in zip(after, before, strict=True)] == [amount for _, amount in pairs]
    assert held - await world.balance(world.usdc, world.payout) == Amount.of(42)


async def test_the_marker_is_where_the_engine_looks_for_it(world: World) -> None:
    marker = secrets.token_hex(32)
    await distribute(world, marker, world.native, [(world.noc_team.public_key, Amount.of(1))])
    key = marker_key(world.payout, marker)
    async with Rpc(world.url) as rpc:
        entry = (await rpc.ledger_entries([key])).by_key[key.to_xdr()]
    assert entry.data.contract_data is not None
    kept = map_fields(entry.data.contract_data.val)
    outcomes, amount = scval.from_vec(kept["outcome"])
    assert scval.from_bytes(outcomes) == b"\0"
    assert scval.from_int128(amount) == Amount.of(1).units


async def test_who_has_no_trustline_is_told_and_the_others_are_paid(world: World) -> None:
    stranger = Keypair.random().public_key
    pairs = [(stranger, Amount.of(5)), (world.noc_team.public_key, Amount.of(7))]
    before = await world.balance(world.usdc, world.noc_team)
    result = answered(await distribute(world, secrets.token_hex(32), world.usdc, pairs))
    outcomes = scval.from_bytes(result["outcomes"])
    assert outcomes[0] in {6, 13}
    assert outcomes[1] == 0
    assert scval.from_int128(result["amount"]) == Amount.of(7).units
    assert await world.balance(world.usdc, world.noc_team) - before == Amount.of(7)


async def test_the_only_recipient_without_a_trustline_fails_the_call_and_the_id_stays_good(world: World) -> None:
    marker, stranger = secrets.token_hex(32), Keypair.random().public_key
    with pytest.raises(Refused) as refused:
        await distribute(world, marker, world.usdc, [(stranger, Amount.of(5))])
    assert refused.value.code in {"trustline_missing", "account_missing"}
    result = answered(await distribute(world, marker, world.usdc, [(world.noc_team.public_key, Amount.of(5))]))
    assert scval.from_bool(result["replayed"]) is False


async def test_a_number_after_the_account_reaches_the_token(world: World) -> None:
    muxed = MuxedAccount(world.noc_team.public_key, 4_711).account_muxed
    assert muxed is not None
    before = await world.balance(world.usdc, world.noc_team)
    marker = secrets.token_hex(32)
    landed = await distribute(world, marker, world.usdc, [(muxed, Amount.of(3))])
    assert await world.balance(world.usdc, world.noc_team) - before == Amount.of(3)
    assert landed.meta is not None
    meta = xdr.TransactionMeta.from_xdr(landed.meta)
    assert meta.v4 is not None
    events = [event for operation in meta.v4.operations for event in operation.events]
    fields = [map_fields(event.body.v0.data) for event in events if event.body.v0 is not None]
    assert [scval.from_uint64(told["to_muxed_id"]) for told in fields if "to_muxed_id" in told] == [4_711]
    with pytest.raises(Refused, match="contract error 101"):
        await distribute(world, marker, world.usdc, [(world.noc_team.public_key, Amount.of(3))])


async def test_nobody_but_the_executor_pays(world: World) -> None:
    before = await world.balance(world.usdc, world.payout)
    pairs = [(world.operator.public_key, Amount.of(1))]
    with pytest.raises(Refused) as refused:
        await distribute(world, secrets.token_hex(32), world.usdc, pairs, by=world.operator)
    assert refused.value.code == "unexpected_authorization"
    assert await world.balance(world.usdc, world.payout) == before
