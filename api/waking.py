"""A record's story, begun or woken after the record was written."""

from __future__ import annotations

from collections.abc import Awaitable

import structlog

from domain.errors import Unavailable

_log = structlog.get_logger("api.waking")


async def awake(waking: Awaitable[None], **subject: str) -> bool:
    """Begin or wake a story; False where Temporal does not answer, and the sweeper will. `subject` is logged."""
    try:
        await waking
    except Unavailable as error:
        _log.warning("left to the sweeper", **subject, reason=error.message)
        return False
    return True
