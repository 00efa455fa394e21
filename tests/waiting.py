"""Wait for a condition; the only sleep of the tests."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def until(look: Callable[[], Awaitable[T | None]], *, seconds_max: float = 30) -> T:
    """Look until there is something, and give it."""
    deadline = time.monotonic() + seconds_max
    while (found := await look()) is None:
        if time.monotonic() > deadline:
            raise AssertionError(f"nothing after {seconds_max} s")
        await asyncio.sleep(0.02)
    return found
