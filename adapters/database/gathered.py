"""Reading together what is asked for one by one: a closed ledger wakes every walk at the same moment."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from typing import Generic, TypeVar

from domain.errors import HoldfastError

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class Gathered(Generic[K, T]):
    """What is asked for in one moment is one read; what is asked for while that runs is the next one.

    So whoever asks is told nothing that was read before.
    """

    def __init__(self, read: Callable[[Sequence[K]], Awaitable[Mapping[K, T]]]) -> None:
        """`read` gives what there is of some keys."""
        self._read = read
        self._asked: dict[K, list[asyncio.Future[T | None]]] = {}
        self._reader: asyncio.Task[None] | None = None

    async def ask(self, key: K) -> T | None:
        """Give what there is of a key, or raise what `read` raises.

        What we name (`HoldfastError`) is told to all who asked with it; any other mistake to whose key it is.
        """
        answer: asyncio.Future[T | None] = asyncio.get_running_loop().create_future()
        self._asked.setdefault(key, []).append(answer)
        if self._reader is None or self._reader.done():
            self._reader = asyncio.create_task(self._read_on())
        return await answer

    async def _read_on(self) -> None:
        while self._asked:
            asked, self._asked = self._asked, {}
            await self._answer(asked)

    async def _answer(self, asked: Mapping[K, Sequence[asyncio.Future[T | None]]]) -> None:
        waiting = [(key, answer) for key, answers in asked.items() for answer in answers]
        try:
            found = await self._read(tuple(asked))
        except Exception as error:
            if len(asked) > 1 and not isinstance(error, HoldfastError):
                # One row that cannot be read must not keep the others' money where it is.
                for key, answers in asked.items():
                    await self._answer({key: answers})
                return
            for _, answer in waiting:
                if not answer.done():
                    answer.set_exception(error)
        else:
            for key, answer in waiting:
                if not answer.done():
                    answer.set_result(found.get(key))
