"""Record histories: `pytest tests/replay/record.py` plays each scene whose history is missing, and writes it.

To record one anew, delete its file first.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from temporalio import activity
from temporalio.client import WorkflowHandle
from temporalio.testing import TimeSkipper, WorkflowEnvironment
from temporalio.worker import Worker

from activities.reconciliation import ReconciliationResult
from activities.story_names import NIGHTLY_STORY, RECONCILIATION_STORY, STORIES
from activities.wallet import WalletOutcome
from adapters.database.engine import Database
from adapters.temporal.wallet_stories import WalletStories
from tests.outage.conftest import Story, story_house
from tests.replay.payout_scenes import PAYOUT_SCENES
from tests.replay.scenes import HISTORIES, OUTAGE_SCENES
from workers.temporal_workers import WORKFLOWS


@pytest.fixture
async def story(time_skipping: TimeSkipper, database: Database) -> AsyncIterator[Story]:
    async with story_house(time_skipping.client, database) as house:
        yield house


def _missing(name: str) -> Path:
    path = HISTORIES / f"{name}.json"
    if path.exists():
        pytest.skip("recorded already")
    return path


def _without_identity(value: Any) -> Any:
    """The history without the names of the machine and process that recorded it."""
    if isinstance(value, dict):
        return {key: _without_identity(inner) for key, inner in value.items() if key != "identity"}
    if isinstance(value, list):
        return [_without_identity(inner) for inner in value]
    # A sticky queue's name begins with process and machine.
    return "worker" if isinstance(value, str) and re.match(r"\d+@", value) else value


async def _write(path: Path, handle: WorkflowHandle[Any, Any]) -> None:
    history = _without_identity(json.loads((await handle.fetch_history()).to_json()))
    text = json.dumps(history, indent=1, sort_keys=True) + "\n"
    path.write_text(text)  # noqa: ASYNC240 - nothing else runs


@pytest.mark.parametrize("name", OUTAGE_SCENES)
async def test_record_an_outage(story: Story, name: str) -> None:
    path = _missing(f"outage-{name}")
    outage_id = await OUTAGE_SCENES[name](story)
    await story.ending(outage_id)
    await _write(path, story.handle(outage_id))


@pytest.mark.parametrize("name", PAYOUT_SCENES)
async def test_record_a_payout(temporal: WorkflowEnvironment, name: str) -> None:
    path = _missing(f"payout-{name}")
    await _write(path, await PAYOUT_SCENES[name](temporal.client))


async def test_record_a_wallet(temporal: WorkflowEnvironment) -> None:
    path = _missing("wallet-made")

    @activity.defn(name="make_wallet")
    async def make_wallet(user_id: str) -> WalletOutcome:
        return WalletOutcome(user_id=user_id, address="G", status="ready")

    async with Worker(temporal.client, task_queue=STORIES, workflows=WORKFLOWS, activities=[make_wallet]):
        await WalletStories(temporal.client).wallet_requested("user123")
        handle = temporal.client.get_workflow_handle("wallet:user123")
        await handle.result()
        await _write(path, handle)


async def test_record_a_night(temporal: WorkflowEnvironment) -> None:
    path = _missing("night")

    @activity.defn(name="warn_of_ending_allowances")
    async def warn(at: datetime) -> tuple[str, ...]:
        return ("acme",)

    @activity.defn(name="keep_contract_alive")
    async def keep_alive() -> bool:
        return True

    async with Worker(temporal.client, task_queue=STORIES, workflows=WORKFLOWS, activities=[warn, keep_alive]):
        handle = await temporal.client.start_workflow(NIGHTLY_STORY, id="nightly", task_queue=STORIES)
        await handle.result()
        await _write(path, handle)


async def test_record_a_reconciliation(temporal: WorkflowEnvironment) -> None:
    path = _missing("reconciliation")

    @activity.defn(name="reconcile_payments")
    async def reconcile(at: datetime) -> ReconciliationResult:
        return ReconciliationResult(
            first_ledger=1, last_ledger=9, on_ledger=3, in_record=2, under_way=0, differences=1
        )

    async with Worker(temporal.client, task_queue=STORIES, workflows=WORKFLOWS, activities=[reconcile]):
        handle = await temporal.client.start_workflow(
            RECONCILIATION_STORY, id="reconciliation", task_queue=STORIES
        )
        await handle.result()
        await _write(path, handle)
