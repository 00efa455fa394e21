"""What is asked for in one moment is read at once, and never from a read that began before."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import pytest

from adapters.database.gathered import Gathered
from domain.errors import Unavailable


class Shelf:
    """Keeps what was asked of it, and answers when it is let."""

    def __init__(self) -> None:
        self.reads: list[tuple[str, ...]] = []
        self.open = asyncio.Event()
        self.open.set()
        self.edition = 1

    async def read(self, keys: Sequence[str]) -> Mapping[str, int]:
        self.reads.append(tuple(keys))
        found = {key: self.edition for key in keys if key != "absent"}
        await self.open.wait()
        if "away" in keys:
            raise Unavailable("the shelf is away")
        if "torn" in keys:
            raise ValueError("a torn page")
        return found


async def test_what_is_asked_for_in_one_moment_is_one_read() -> None:
    shelf = Shelf()
    gathered = Gathered(shelf.read)
    assert await asyncio.gather(*(gathered.ask(key) for key in ("a", "b", "a", "absent"))) == [1, 1, 1, None]
    assert shelf.reads == [("a", "b", "absent")]


async def test_who_asks_while_a_read_runs_is_told_by_the_next() -> None:
    shelf = Shelf()
    gathered = Gathered(shelf.read)
    shelf.open.clear()
    first = asyncio.create_task(gathered.ask("a"))
    while not shelf.reads:
        await asyncio.sleep(0)
    shelf.edition = 2
    second = asyncio.create_task(gathered.ask("a"))
    await asyncio.sleep(0)
    shelf.open.set()
    assert (await first, await second) == (1, 2)


async def test_that_the_database_is_away_is_told_to_all_who_asked_with_it_and_to_nobody_else() -> None:
    shelf = Shelf()
    gathered = Gathered(shelf.read)
    answers = await asyncio.gather(gathered.ask("a"), gathered.ask("away"), return_exceptions=True)
    assert all(isinstance(answer, Unavailable) for answer in answers)
    assert shelf.reads == [("a", "away")]
    assert await gathered.ask("a") == 1


async def test_what_cannot_be_read_is_told_to_nobody_but_who_asked_for_it() -> None:
    shelf = Shelf()
    gathered = Gathered(shelf.read)
    a, torn, b = await asyncio.gather(*(gathered.ask(key) for key in ("a", "torn", "b")), return_exceptions=True)
    assert (a, b) == (1, 1)
    assert isinstance(torn, ValueError)


async def test_who_no_longer_waits_harms_nobody() -> None:
    shelf = Shelf()
    gathered = Gathered(shelf.read)
    shelf.open.clear()
    gone, stays = (asyncio.create_task(gathered.ask("a")) for _ in range(2))
    while not shelf.reads:
        await asyncio.sleep(0)
    gone.cancel()
    shelf.open.set()
    assert await stays == 1
    with pytest.raises(asyncio.CancelledError):
        await gone
