"""LANES_MNEMONIC is changed with payments under way: each ends on its lane, and new ones take new lanes."""

from __future__ import annotations

import pytest
from sqlalchemy import select
from stellar_sdk.sep.mnemonic import StellarMnemonic

from adapters.database.settlements_tables import lanes, pins
from adapters.stellar.lanes import LaneKeys
from adapters.stellar.rpc import Rpc
from cli.doctor import _lanes as doctor_lanes
from cli.findings import Findings
from domain.errors import Refused, Unavailable
from domain.money import Amount
from domain.settlement import SettlementStatus
from tests.settlement.conftest import Bench, until_final


def phrase() -> str:
    return StellarMnemonic("english").generate(256)


async def lane_of(bench: Bench, settlement_id: str) -> str:
    async with bench.database.begin() as connection:
        query = (
            select(pins.c.lane).where(pins.c.settlement_id == settlement_id).order_by(pins.c.id.desc()).limit(1)
        )
        return str((await connection.execute(query)).scalar_one())


async def in_use(bench: Bench) -> dict[str, bool]:
    async with bench.database.begin() as connection:
        rows = (await connection.execute(select(lanes.c.address, lanes.c.retired))).all()
    return {row.address: not row.retired for row in rows}


def addresses(mnemonic: str, count: int = 20) -> set[str]:
    return {keypair.public_key for keypair in LaneKeys(mnemonic, lanes_max=20).first(count)}


async def test_what_is_under_way_ends_on_its_lane_and_new_payments_take_new_ones(bench: Bench) -> None:
    world, after = bench.world, phrase()
    before = await world.balance(world.usdc, world.operator)
    async with bench.engine() as engine:
        built = await bench.accept(engine, bench.intent())
        # Pinned and written ahead, and not signed by the lane yet.
        await engine.activities._build(await engine.book.load(built))
        sent = await bench.accept(engine, bench.intent())
        # Signed by the lane, and its first byte not sent yet.
        await engine.activities._sign_and_write(await engine.activities._build(await engine.book.load(sent)))
    old_lane = await lane_of(bench, built)
    async with bench.engine(lanes_mnemonic=after, lanes_mnemonic_previous=bench.mnemonic) as engine:
        new = await bench.accept(engine, bench.intent())
        for settlement_id in (built, sent, new):
            assert (await until_final(engine, settlement_id)).status is SettlementStatus.CONFIRMED
        assert await lane_of(bench, built) == old_lane
        assert await lane_of(bench, sent) in addresses(bench.mnemonic)
        assert await lane_of(bench, new) in addresses(after)
        use = await in_use(bench)
        assert {address for address, used in use.items() if used} == addresses(after, 5)
        assert {address for address, used in use.items() if not used} == addresses(bench.mnemonic, 5)
    assert before - await world.balance(world.usdc, world.operator) == Amount.of(3 * 1_000)


async def test_when_nothing_is_under_way_the_phrase_before_may_go(bench: Bench) -> None:
    after = phrase()
    async with bench.engine() as engine:
        await until_final(engine, await bench.accept(engine, bench.intent()))
    async with bench.engine(lanes_mnemonic=after, lanes_mnemonic_previous=bench.mnemonic):
        pass
    async with bench.engine(lanes_mnemonic=after) as engine:
        done = await until_final(engine, await bench.accept(engine, bench.intent()))
        assert done.status is SettlementStatus.CONFIRMED


async def lanes_before(bench: Bench, **changes: object) -> str:
    """What the doctor says of the lanes before."""
    findings = Findings()
    async with Rpc(bench.world.url) as rpc:
        await doctor_lanes(bench.settings(**changes), bench.database, rpc, findings)
    assert not findings.failed
    return next(line.finding for line in findings.lines if line.check == "lanes before")


async def test_the_phrase_of_a_payment_under_way_must_not_go(bench: Bench) -> None:
    after = phrase()
    async with bench.engine() as engine:
        settlement_id = await bench.accept(engine, bench.intent())
        await engine.activities._build(await engine.book.load(settlement_id))
    async with bench.engine(lanes_mnemonic=after, lanes_mnemonic_previous=bench.mnemonic):
        pass
    with pytest.raises(Refused, match="LANES_MNEMONIC_PREVIOUS") as caught:
        async with bench.engine(lanes_mnemonic=after):
            pass
    assert settlement_id in caught.value.message
    rotated = {"lanes_mnemonic": after, "lanes_mnemonic_previous": bench.mnemonic}
    assert (await lanes_before(bench, **rotated)).startswith("1 payments are under way")
    async with bench.engine(lanes_mnemonic=after, lanes_mnemonic_previous=bench.mnemonic) as engine:
        assert (await until_final(engine, settlement_id)).status is SettlementStatus.CONFIRMED
    assert (await lanes_before(bench, **rotated)).endswith("LANES_MNEMONIC_PREVIOUS may go")


async def test_twice_rotated_each_phrase_ends_its_own(bench: Bench) -> None:
    second, third = phrase(), phrase()
    ids = []
    async with bench.engine() as engine:
        ids.append(await bench.accept(engine, bench.intent()))
        await engine.activities._build(await engine.book.load(ids[0]))
    async with bench.engine(lanes_mnemonic=second, lanes_mnemonic_previous=bench.mnemonic) as engine:
        ids.append(await bench.accept(engine, bench.intent()))
        await engine.activities._build(await engine.book.load(ids[1]))
    async with bench.engine(lanes_mnemonic=third, lanes_mnemonic_previous=f"{second}, {bench.mnemonic}") as engine:
        for settlement_id in ids:
            assert (await until_final(engine, settlement_id)).status is SettlementStatus.CONFIRMED
        assert await lane_of(bench, ids[0]) in addresses(bench.mnemonic)
        assert await lane_of(bench, ids[1]) in addresses(second)


async def test_back_to_the_phrase_before_takes_its_lanes_again(bench: Bench) -> None:
    after = phrase()
    async with bench.engine():
        pass
    async with bench.engine(lanes_mnemonic=after, lanes_mnemonic_previous=bench.mnemonic):
        pass
    async with bench.engine(lanes_mnemonic_previous=after) as engine:
        assert (await until_final(engine, await bench.accept(engine, bench.intent()))).status.final
        use = await in_use(bench)
        assert {address for address, used in use.items() if used} == addresses(bench.mnemonic, 5)


async def test_a_worker_that_was_not_started_anew_leaves_new_lanes_to_others(bench: Bench) -> None:
    """Workers are started anew one by one: until then a payment waits, and is not failed."""
    after = phrase()
    async with (
        bench.engine() as old,
        bench.engine(lanes_mnemonic=after, lanes_mnemonic_previous=bench.mnemonic) as new,
    ):
        settlement_id = await bench.accept(old, bench.intent())
        with pytest.raises(Unavailable, match="LANES_MNEMONIC"):
            await old.activities.walk(settlement_id)
        assert not (await old.book.outcome(settlement_id)).status.final
        assert (await until_final(new, settlement_id)).status is SettlementStatus.CONFIRMED
