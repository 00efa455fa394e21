"""What stops money: a freeze that is committed is followed by no first send; another deployment is no retry."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import func, select, text

from adapters.database.settlements_tables import sends
from adapters.database.switches import freeze, thaw
from domain.errors import Refused, Unavailable
from domain.settlement import SettlementStatus, marker_id
from tests.settlement.conftest import Bench, until_final
from tests.settlement.test_proof import written
from tests.waiting import until


async def test_a_freeze_waits_for_the_send_that_is_being_written_and_nothing_follows_it(bench: Bench) -> None:
    """The freeze comes between the look at the switch and the commit of the send."""
    async with bench.engine() as engine:
        first = await bench.accept(engine, bench.intent())
        second = await engine.activities._build(await engine.book.load(await bench.accept(engine, bench.intent())))
        submit, looked, go_on = engine.book._submit, asyncio.Event(), asyncio.Event()

        async def slow(*what: Any) -> None:
            await submit(*what)
            looked.set()
            await go_on.wait()

        book: Any = engine.book
        book._submit = slow
        writing = asyncio.create_task(written(engine, first))
        await looked.wait()

        async def freeze_all() -> int:
            async with bench.database.begin() as connection:
                await freeze(connection, by="test", reason="now", at=datetime.now(UTC))
                return int((await connection.execute(select(func.count()).select_from(sends))).scalar_one())

        freezing = asyncio.create_task(freeze_all())

        async def freeze_waits() -> bool | None:
            async with bench.database.begin() as connection:
                waiting = await connection.execute(
                    text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
                )
                return bool(waiting.scalar_one()) or None

        await until(freeze_waits)
        assert not freezing.done()
        go_on.set()
        assert (await writing).status is SettlementStatus.SUBMITTED
        assert await freezing == 1, "the freeze saw the send that was written before it"
        book._submit = submit
        with pytest.raises(Unavailable, match="frozen"):
            await engine.activities._sign_and_write(second)
        async with bench.database.begin() as connection:
            await thaw(connection, by="test", reason="done", at=datetime.now(UTC))
        for settlement_id in (first, second.id):
            assert (await until_final(engine, settlement_id)).status is SettlementStatus.CONFIRMED


async def test_another_deployment_does_not_retry_what_failed_under_the_first(bench: Bench) -> None:
    """Its marker would be another: the contract would pay what it cannot know to be the same."""
    intent = bench.intent()
    async with bench.engine() as engine:
        settlement_id = await bench.accept(engine, intent)
        await engine.book.fail_unsent(await engine.book.load(settlement_id), Refused("no"))
        other = intent.model_copy(update={"marker_id": marker_id("another", "outage", "OUT1")})
        with pytest.raises(Refused, match="HOLDFAST_DEPLOYMENT"):
            async with bench.database.begin() as connection:
                await engine.book.retry(connection, other)
        async with bench.database.begin() as connection:
            await engine.book.retry(connection, intent)
        assert (await until_final(engine, settlement_id)).status is SettlementStatus.CONFIRMED
