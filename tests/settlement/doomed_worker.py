"""A worker that is killed (-9) at one edge of a settlement: run as a process of its own.

python -m tests.settlement.doomed_worker EDGE SETTLEMENT_ID   (settings as JSON on standard input)

With a `submission` among them it accepts that signature before it walks.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from typing import Any

from adapters.database.engine import Database
from domain.signing import SignatureSubmission
from settings import Settings
from workers.engine import Engine, running_engine

EDGES = ("after_write_ahead", "after_write_send", "after_send", "before_record")
SIGNING_EDGES = ("after_request", "after_accept", "after_signed_send", "after_send", "before_record")


def _die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _doom(engine: Engine, edge: str) -> None:
    """Kill this process as soon as the edge is reached."""
    book: Any = engine.book
    ledger: Any = engine.ledger

    def dying_after(target: Any, name: str) -> None:
        method = getattr(target, name)

        async def wrapped(*args: Any, **kwargs: Any) -> None:
            await method(*args, **kwargs)
            _die()

        setattr(target, name, wrapped)

    match edge:
        case "after_write_ahead":
            dying_after(book, "write_ahead")
        case "after_write_send":
            dying_after(book, "write_send")
        case "after_send":
            dying_after(ledger, "send")
        case "after_request":
            dying_after(book, "write_ahead")
            dying_after(book, "write_request")
        case "after_accept":
            dying_after(engine.requests, "accept")
        case "after_signed_send":
            dying_after(book, "write_send")
            dying_after(book, "write_entry_send")
        case "before_record":
            record_landed = book.record_landed

            async def dying_before(proofs: Any) -> Any:
                if proofs:
                    _die()
                return await record_landed(proofs)

            book.record_landed = dying_before


async def main(edge: str, settlement_id: str) -> None:
    given = json.load(sys.stdin)
    database = Database(given.pop("database_url"))
    submission = given.pop("submission", None)
    async with running_engine(Settings(_env_file=None, **given), database) as engine:
        await engine.start()
        _doom(engine, edge)
        following = asyncio.create_task(engine.follower.run(asyncio.Event()))
        if submission is not None:
            await engine.signing.accept(settlement_id, SignatureSubmission.model_validate(submission))
        await engine.activities.walk(settlement_id)
        await following


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
