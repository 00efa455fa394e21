"""Scenes whose histories are recorded: each plays one way through a story, on real Temporal and Postgres."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from domain.errors import Refused, Unavailable
from domain.sla import Severity
from domain.sla_payment import PaymentPhase
from tests.outage.conftest import Story

HISTORIES: Final = Path(__file__).with_name("histories")
Scene = Callable[[Story], Awaitable[str]]


async def paid_by_itself(story: Story) -> str:
    outage_id = await story.report(Severity.CRITICAL, minutes_ago=60)
    await story.resolve(outage_id, after_minutes=25)
    return outage_id


async def warned_and_repaired(story: Story) -> str:
    outage_id = await story.report(Severity.LOW)
    await story.until(outage_id, lambda outage: len(outage.warned) == 2)
    await story.resolve(outage_id, after_minutes=200)
    return outage_id


async def disputed_and_settled(story: Story) -> str:
    story.engine.script.append(Refused("too small", code="allowance_too_small"))
    outage_id = await story.report(minutes_ago=60)
    await story.resolve(outage_id, after_minutes=25)
    await story.until(outage_id, lambda outage: outage.phase is PaymentPhase.REFUSED)
    await story.command("dispute", outage_id, by="operator")
    await story.resolve(outage_id, after_minutes=25)
    return outage_id


async def tried_again_by_itself(story: Story) -> str:
    story.engine.script.extend([Unavailable("busy"), "pending", "pending", Unavailable("busy")])
    outage_id = await story.report(minutes_ago=60)
    await story.resolve(outage_id, after_minutes=25)
    return outage_id


async def without_proof_for_long(story: Story) -> str:
    story.engine.script.extend(["pending"] * 20)
    outage_id = await story.report(minutes_ago=60)
    await story.resolve(outage_id, after_minutes=25)
    return outage_id


async def cancelled(story: Story) -> str:
    outage_id = await story.report()
    await story.command("cancel", outage_id, by="reporter")
    return outage_id


OUTAGE_SCENES: Final[dict[str, Scene]] = {
    scene.__name__: scene
    for scene in (
        paid_by_itself,
        warned_and_repaired,
        disputed_and_settled,
        tried_again_by_itself,
        without_proof_for_long,
        cancelled,
    )
}
