"""The sweeper: has every record that is not final followed by a story, whatever Temporal has forgotten.

Always on. One worker sweeps at a time; two at once would do no harm.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final, Protocol

import structlog

from activities.story_names import batch_story_id, outage_story_id, payout_story_id, wallet_story_id
from adapters.database.batch_story import unfinished_batches
from adapters.database.engine import Database
from adapters.database.outage_story import unfinished_outages
from adapters.database.payout_story import unended_payouts
from adapters.database.wallets import unfinished_wallets
from domain.errors import HoldfastError

_log = structlog.get_logger("sweeper")

SWEEP_EVERY: Final = timedelta(seconds=5)
_SETTLED_AFTER: Final = timedelta(seconds=3)
"""A record that changed just now was most likely just woken."""
_BACK_OFF_MAX: Final = timedelta(minutes=5)
_PAGE: Final = 1000
_PAYOUTS_PAGE: Final = 200


class OutageStories(Protocol):
    """`adapters.temporal.stories.Stories`."""

    async def wake_outage(self, outage_id: str, *, again: bool = False) -> bool:
        """Wake or start; False where the story had completed."""

    async def running(self) -> frozenset[str]:
        """Workflow ids of stories that run."""


class PayoutStories(Protocol):
    """`adapters.temporal.payout_stories.PayoutStories`."""

    async def payout_changed(self, payout_id: str) -> None:
        """Wake or begin."""

    async def running_among(self, payout_ids: Iterable[str]) -> frozenset[str]:
        """Which of these payouts have a story that runs."""


class BatchStories(Protocol):
    """`adapters.temporal.batch_stories.BatchStories`."""

    async def batch_changed(self, batch_id: str) -> None:
        """Wake or begin."""


class WalletStories(Protocol):
    """`adapters.temporal.wallet_stories.WalletStories`."""

    async def wallet_requested(self, user_id: str) -> None:
        """Start the story of a wallet."""


@dataclass(frozen=True, slots=True)
class _Pause:
    until: datetime
    length: timedelta


class Sweeper:
    """Finds records whose story is missing, failed or missed its wake, and starts or wakes it."""

    def __init__(
        self,
        database: Database,
        outages: OutageStories,
        wallets: WalletStories,
        payouts: PayoutStories | None = None,
        batches: BatchStories | None = None,
    ) -> None:
        self._database = database
        self._outages = outages
        self._wallets = wallets
        self._payouts = payouts
        self._batches = batches
        self._payouts_after = 0
        self._pauses: dict[str, _Pause] = {}

    async def run(self, stop: asyncio.Event) -> None:
        """Sweep until `stop`, while no other process does; what is away is waited for."""
        while not stop.is_set():
            try:
                async with self._database.alone("sweeper"):
                    while not stop.is_set():
                        await self._sweep_logged()
                        await _pause(stop)
            except HoldfastError as error:
                _log.warning("waits", code=error.code, reason=error.message)
                await _pause(stop)

    async def _sweep_logged(self) -> None:
        try:
            begun = await self.sweep()
        except HoldfastError as error:
            _log.warning("cannot sweep now", code=error.code, reason=error.message)
            return
        except Exception:
            # What is wrong with one record must not keep the others from their stories.
            _log.exception("a sweep failed")
            return
        if begun:
            _log.info("began or woke stories", stories=begun)

    async def sweep(self) -> list[str]:
        """Look once at every record that is not final; gives the ids of the stories that were begun or woken.

        Raises:
            Unavailable: the database or Temporal does not answer.
        """
        # The records first: a story that completes in between has then made its record final.
        at = datetime.now(UTC)
        outages = await self._unfinished(at)
        async with self._database.begin() as connection:
            users = await unfinished_wallets(connection, older_than=at - _SETTLED_AFTER)
        running = await self._outages.running()
        begun = []
        for outage_id, missed in outages:
            story = outage_story_id(outage_id)
            if story not in running:
                if await self._in_turn(story, at, partial(self._begin, outage_id)):
                    begun.append(story)
            elif missed:
                await self._outages.wake_outage(outage_id)
                begun.append(story)
        for user_id in users:
            story = wallet_story_id(user_id)
            if story not in running and await self._in_turn(
                story, at, partial(self._wallets.wallet_requested, user_id)
            ):
                begun.append(story)
        if self._payouts is not None:
            begun += await self._sweep_payouts(self._payouts, at)
        if self._batches is not None:
            begun += await self._sweep_batches(self._batches, at, running)
        self._pauses = {story: pause for story, pause in self._pauses.items() if pause.until > at - _BACK_OFF_MAX}
        return begun

    async def _sweep_batches(self, stories: BatchStories, at: datetime, running: frozenset[str]) -> list[str]:
        async with self._database.begin() as connection:
            found = await unfinished_batches(connection, older_than=at - _SETTLED_AFTER)
        begun = []
        for batch_id, missed in found:
            story = batch_story_id(batch_id)
            wake = partial(stories.batch_changed, batch_id)
            if (story not in running or missed) and await self._in_turn(story, at, wake):
                begun.append(story)
        return begun

    async def _sweep_payouts(self, stories: PayoutStories, at: datetime) -> list[str]:
        """Look at one page of payouts a sweep, in rotation: tens of thousands may wait for signatures."""
        async with self._database.begin() as connection:
            page = await unended_payouts(
                connection, older_than=at - _SETTLED_AFTER, after=self._payouts_after, limit=_PAYOUTS_PAGE
            )
        self._payouts_after = page[-1][1] if len(page) == _PAYOUTS_PAGE else 0
        running = await stories.running_among(payout_id for payout_id, _, _ in page)
        begun = []
        for payout_id, _, missed in page:
            story = payout_story_id(payout_id)
            wake = partial(stories.payout_changed, payout_id)
            if (payout_id not in running or missed) and await self._in_turn(story, at, wake):
                begun.append(story)
        return begun

    async def _unfinished(self, at: datetime) -> list[tuple[str, bool]]:
        found: list[tuple[str, bool]] = []
        after = 0
        while True:
            async with self._database.begin() as connection:
                page = await unfinished_outages(
                    connection, older_than=at - _SETTLED_AFTER, after=after, limit=_PAGE
                )
            found += [(outage_id, missed) for outage_id, _, missed in page]
            if len(page) < _PAGE:
                return found
            after = page[-1][1]

    async def _begin(self, outage_id: str) -> None:
        if await self._outages.wake_outage(outage_id):
            return
        # Its story completed, so its record was final: unless the database went back in time since.
        async with self._database.begin() as connection:
            page = await unfinished_outages(connection, older_than=datetime.now(UTC), only=outage_id)
        if page:
            _log.warning("its story had completed and its record is open again", outage_id=outage_id)
            await self._outages.wake_outage(outage_id, again=True)

    async def _in_turn(self, story: str, at: datetime, begin: Callable[[], Awaitable[None]]) -> bool:
        """Begin a story unless that was done a moment ago: one that keeps failing is begun ever less often."""
        last = self._pauses.get(story)
        if last is not None and last.until > at:
            return False
        length = SWEEP_EVERY if last is None else min(last.length * 2, _BACK_OFF_MAX)
        self._pauses[story] = _Pause(at + length, length)
        await begin()
        return True


async def _pause(stop: asyncio.Event) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), SWEEP_EVERY.total_seconds())
