from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import update
from temporalio.client import Client

from adapters.database.outages_tables import outages
from adapters.temporal.stories import Stories
from adapters.temporal.wallet_stories import WalletStories
from domain.errors import Unavailable
from domain.sla_payment import PaymentPhase
from tests.outage.conftest import Story
from tests.waiting import until
from workers.sweeper import Sweeper


def _sweeper(story: Story) -> Sweeper:
    return Sweeper(story.database, story.stories, WalletStories(story.client))


async def _age(story: Story, outage_id: str, **values: object) -> None:
    """Have the record look as if it had last changed a while ago."""
    async with story.database.begin() as connection:
        await connection.execute(
            update(outages)
            .where(outages.c.outage_id == outage_id)
            .values(changed_at=story.now - timedelta(minutes=1), **values)
        )


async def _visible(story: Story, outage_id: str, running: bool) -> None:
    async def look() -> bool | None:
        return True if (f"outage:{outage_id}" in await story.stories.running()) is running else None

    await until(look)


async def test_a_record_without_a_story_gets_one(story: Story) -> None:
    outage_id = await story.report(minutes_ago=60, wake=False)
    await story.resolve(outage_id, after_minutes=25, wake=False)
    await _age(story, outage_id)
    assert await _sweeper(story).sweep() == [f"outage:{outage_id}"]
    assert (await story.ending(outage_id)).phase is PaymentPhase.CONFIRMED


async def test_a_record_that_just_changed_is_left_to_whoever_changed_it(story: Story) -> None:
    await story.report(minutes_ago=60, wake=False)
    assert await _sweeper(story).sweep() == []


async def test_a_wake_that_was_lost_is_made_up_for(careful: Story) -> None:
    outage_id = await careful.report(minutes_ago=60)
    await careful.resolve(outage_id, after_minutes=25)
    await careful.until(outage_id, lambda outage: outage.phase is PaymentPhase.AWAITING_APPROVAL)
    await _visible(careful, outage_id, running=True)
    await _age(careful, outage_id)
    assert await _sweeper(careful).sweep() == []
    await careful.command("approve", outage_id, by="finance", wake=False)
    await _age(careful, outage_id)
    assert await _sweeper(careful).sweep() == [f"outage:{outage_id}"]
    assert (await careful.ending(outage_id)).phase is PaymentPhase.CONFIRMED


async def test_a_record_that_a_restore_opened_again_gets_a_new_story_and_pays_nothing_twice(story: Story) -> None:
    outage_id = await story.report(minutes_ago=60)
    await story.resolve(outage_id, after_minutes=25)
    await story.ending(outage_id)
    await _visible(story, outage_id, running=False)
    await _age(story, outage_id, phase=PaymentPhase.SETTLING, tx_hash=None)
    assert await _sweeper(story).sweep() == [f"outage:{outage_id}"]
    await story.until(outage_id, lambda outage: outage.phase is PaymentPhase.CONFIRMED)
    assert (await story.read(outage_id)).tx_hash is not None


async def test_a_story_that_keeps_failing_is_begun_ever_less_often(story: Story) -> None:
    outage_id = await story.report(wake=False)
    await _age(story, outage_id)
    sweeper = _sweeper(story)
    assert await sweeper.sweep() == [f"outage:{outage_id}"]
    await story.handle(outage_id).terminate()
    await _visible(story, outage_id, running=False)
    await _age(story, outage_id)
    assert await sweeper.sweep() == []


async def test_while_temporal_is_away_the_sweeper_says_so_and_changes_nothing(story: Story) -> None:
    outage_id = await story.report(wake=False)
    await _age(story, outage_id)
    away = await Client.connect("127.0.0.1:1", lazy=True)
    with pytest.raises(Unavailable):
        await Sweeper(story.database, Stories(away), WalletStories(away)).sweep()
