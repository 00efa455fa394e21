"""Wait for a condition; the only sleep of the tests."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def until(look: Callable[[], Awaitable[T | None]], *, seconds_max: float = 30) -> T:
    """Look until there is something, and give it; seldom after a second, since looking costs what is looked at."""
    began = time.monotonic()
    while (found := await look()) is None:
        waited = time.monotonic() - began
        if waited > seconds_max:
            raise AssertionError(f"nothing after {seconds_max} s")
        await asyncio.sleep(0.02 if waited < 1 else 0.1)
    return found
