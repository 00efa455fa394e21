"""Figures come from the record: each transition once, whenever it commits; what waits, with its age."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.database.engine import Database
from adapters.database.payout_stats import payout_stats
from adapters.database.settlement_figures import AGES, Transition, TransitionReader, standing
from adapters.database.settlements import SettlementBook
from domain.settlement import Argument, Intent, Invocation, SettlementStatus, marker_id

_S = SettlementStatus


def intent(name: str, kind: str = "chunk") -> Intent:
    call = Invocation(contract="C", function="f", arguments=(Argument(type="u32", value="1"),))
    return Intent(
        settlement_id=f"{kind}:{name}",
        marker_id=marker_id("test", kind, name),
        invocation=call,
        payer="G",
        amount_units=1,
        asset="C",
        source="C",
        destination="G",
    )


async def accept(database: Database, connection: AsyncConnection, name: str) -> str:
    wanted = intent(name)
    await SettlementBook(database).accept(connection, wanted)
    return wanted.settlement_id


async def walk(connection: AsyncConnection, settlement_id: str, *states: str, **columns: object) -> None:
    """Through these states; columns are set with the last one."""
    for state in states:
        await connection.execute(
            text("UPDATE settlements SET status = :state WHERE id = :id"), {"state": state, "id": settlement_id}
        )
    for name, value in columns.items():
        await connection.execute(
            text(f"UPDATE settlements SET {name} = :value WHERE id = :id"), {"value": value, "id": settlement_id}
        )


async def read(database: Database, reader: TransitionReader) -> list[Transition]:
    async with database.begin() as connection:
        return list(await reader.read(connection))


async def test_a_transition_is_told_once_also_when_it_commits_behind_a_later_one(database: Database) -> None:
    reader = TransitionReader()
    assert await read(database, reader) == []
    async with database.begin() as slow:
        await accept(database, slow, "slow")
        async with database.begin() as quick:
            await accept(database, quick, "quick")
        assert len(await read(database, reader)) == 1
    assert len(await read(database, reader)) == 1
    assert await read(database, reader) == []


async def test_what_happened_before_the_first_look_is_not_told(database: Database) -> None:
    async with database.begin() as connection:
        await accept(database, connection, "before")
    reader = TransitionReader()
    assert await read(database, reader) == []
    async with database.begin() as connection:
        await accept(database, connection, "after")
    assert [one.status for one in await read(database, reader)] == [_S.ACCEPTED]


async def test_an_end_carries_its_reason_or_its_seconds_and_fee(database: Database) -> None:
    reader = TransitionReader()
    await read(database, reader)
    now = datetime.now(UTC)
    async with database.begin() as connection:
        paid = await accept(database, connection, "paid")
        await walk(
            connection,
            paid,
            "built",
            "queued",
            "submitted",
            "confirmed",
            created_at=now - timedelta(seconds=9),
            submitted_at=now - timedelta(seconds=2),
            confirmed_at=now,
            fee_charged=4_321,
        )
        failed = await accept(database, connection, "failed")
        await walk(connection, failed, "failed", reason_code="policy_day")
    ends = {one.status: one for one in await read(database, reader) if one.status.final}
    assert (ends[_S.CONFIRMED].confirmation_seconds, ends[_S.CONFIRMED].ledger_seconds) == (9, 2)
    assert ends[_S.CONFIRMED].fee_stroops == 4_321
    assert (ends[_S.FAILED].reason_code, ends[_S.FAILED].fee_stroops) == ("policy_day", None)


async def test_a_failed_try_keeps_its_reason_through_the_retry(database: Database) -> None:
    reader = TransitionReader()
    await read(database, reader)
    async with database.begin() as connection:
        failed = await accept(database, connection, "failed")
        for columns in (
            "status = 'failed', reason_code = 'account_missing'",
            "status = 'accepted', reason_code = NULL",
        ):
            await connection.execute(text(f"UPDATE settlements SET {columns} WHERE id = :id"), {"id": failed})
    assert [one.reason_code for one in await read(database, reader) if one.status.final] == ["account_missing"]


async def test_unknowns_are_counted_by_age_and_fees_by_the_hour(database: Database) -> None:
    now = datetime.now(UTC)
    async with database.begin() as connection:
        for name, age in (("fresh", 5), ("older", 120), ("old", 7_200)):
            settlement = await accept(database, connection, name)
            sent = now - timedelta(seconds=age)
            await walk(connection, settlement, "built", "queued", "submitted", "unknown", submitted_at=sent)
        for name, fee, hours in (("dear", 900, 0), ("dearest", 5_000, 2)):
            settlement = await accept(database, connection, name)
            done = now - timedelta(hours=hours)
            states = ("built", "queued", "submitted", "confirmed")
            await walk(connection, settlement, *states, confirmed_at=done, fee_charged=fee)
        found = await standing(connection)
    assert [found.unknowns.longer_than[age] for age in AGES] == [3, 2, 1, 0]
    assert timedelta(hours=2) <= found.unknowns.oldest < timedelta(hours=2, minutes=5)
    assert (found.signatures.longer_than[AGES[0]], found.signatures.oldest) == (0, timedelta(0))
    assert dict(found.fee_stroops_max) == {"chunk": 900}


async def test_stats_of_a_window_leave_out_what_ended_before_it(database: Database) -> None:
    now = datetime.now(UTC)
    async with database.begin() as connection:
        for number in range(100):
            settlement = await accept(database, connection, f"paid-{number}")
            done = now - timedelta(minutes=1)
            await walk(
                connection,
                settlement,
                *("built", "queued", "submitted", "confirmed"),
                submitted_at=done - timedelta(seconds=number + 1),
                confirmed_at=done,
                fee_charged=number,
            )
        old = await accept(database, connection, "old")
        await walk(
            connection, old, "built", "queued", "submitted", "confirmed", confirmed_at=now - timedelta(hours=3)
        )
        failed = await accept(database, connection, "failed")
        await walk(connection, failed, "failed", reason_code="policy_day")
        queued = await accept(database, connection, "queued")
        await walk(connection, queued, "built", "queued")
        found = await payout_stats(connection, kind="chunk", since=now - timedelta(hours=1), at=now)
        payouts = await payout_stats(connection, kind="payout", since=now - timedelta(hours=1), at=now)
    assert (found.confirmed, found.failed, found.failed_last_hour, found.pending) == (100, 1, 1, 1)
    assert (found.success_rate, dict(found.failures)) == (100 / 101, {"policy_day": 1})
    assert dict(found.by_status) == {"queued": 1}
    spread = found.ledger_seconds
    assert (spread.average, spread.p50, spread.greatest) == (50.5, 50.5, 100)
    assert (spread.p95, spread.p99) == (95.05, 99.01)
    assert (found.fee_stroops.average, found.fee_stroops_total) == (49.5, 4_950)
    assert (payouts.confirmed, payouts.success_rate, payouts.ledger_seconds.p50) == (0, None, None)


async def test_figures_that_are_read_together_are_of_one_moment(database: Database) -> None:
    reader = TransitionReader()
    await read(database, reader)
    async with database.snapshot() as then:
        before = await standing(then)
        async with database.begin() as meanwhile:
            await accept(database, meanwhile, "meanwhile")
        assert await reader.read(then) == []
        assert await standing(then) == before
    assert len(await read(database, reader)) == 1
