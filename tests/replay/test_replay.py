"""Histories recorded with an earlier build go on with this one.

A story that runs in production stands in the middle of some recorded history: where a replay fails, put the change
behind `workflow.patched`, and do not record over the failure. See record.py.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer

from adapters.temporal.client import data_converter
from tests.replay.batch_scenes import BATCH_SCENES
from tests.replay.payout_scenes import PAYOUT_SCENES
from tests.replay.scenes import HISTORIES, OUTAGE_SCENES
from workers.temporal_workers import WORKFLOWS

RECORDED = sorted(HISTORIES.glob("*.json"))


def _history(path: Path) -> WorkflowHistory:
    return WorkflowHistory.from_json(f"recorded:{path.stem}", path.read_text())


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
async def test_a_recorded_history_replays(path: Path) -> None:
    await Replayer(workflows=WORKFLOWS, data_converter=data_converter(None)).replay_workflow(_history(path))


def test_every_scene_has_a_recorded_history() -> None:
    assert {path.stem for path in RECORDED} >= {
        *(f"outage-{name}" for name in OUTAGE_SCENES),
        *(f"batch-{name}" for name in BATCH_SCENES),
        *(f"payout-{name}" for name in PAYOUT_SCENES),
        "wallet-made",
        "night",
        "reconciliation",
    }
