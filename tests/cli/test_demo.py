"""The demo, whole: what a person who runs `make demo` sees, and what a script can rely on."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.up_process import Up, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def up(parts_directory: Path, request: pytest.FixtureRequest) -> Iterator[Up]:
    running = Up.beneath(parts_directory, request.node.name)
    yield running
    running.end()


@pytest.fixture(scope="module")
def running(parts_directory: Path) -> Iterator[Up]:
    """One that is up already; the parts that a test kills come back."""
    up = Up.beneath(parts_directory, "demo on a running one")
    up.start()
    yield up
    up.end()


def _result(up: Up) -> dict[str, object]:
    result: dict[str, object] = json.loads((up.directory / "var" / "demo.json").read_text())
    return result


def test_once_pays_both_examples_proves_them_on_the_ledger_and_leaves(up: Up) -> None:
    played = up.run("demo", "--once")
    assert played.returncode == 0, played.stdout + played.stderr
    result = _result(up)
    assert result["ok"] is True
    payments = [(p["decision"], p["amount"], p["asset"]) for p in result["payments"]]  # type: ignore[attr-defined]
    assert payments == [("penalty", "1000.0000000", "USDC"), ("reward", "1500.0000000", "NOCIQ")]
    assert "/namespaces/default/workflows/outage%3AOUT001" in played.stdout
    assert re.search(r"/tx/[0-9a-f]{64}\n", played.stdout)
    assert not (up.directory / "var" / "up.json").exists()


@pytest.mark.parametrize("part", ["worker", "ledger", "postgres", "temporal", "api"])
def test_a_part_that_is_killed_meanwhile_pays_nothing_twice(running: Up, part: str) -> None:
    up = running
    known = up.outages()
    victim = up.pid_of(part)
    playing = subprocess.Popen(
        [sys.executable, "-m", "cli.main", "demo"],
        cwd=up.directory,
        env=up.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    wait_until(lambda: up.outages() > known or playing.poll() is not None, "an outage is reported")
    os.kill(victim, signal.SIGKILL)
    said, _ = playing.communicate(timeout=120)
    # Its exit status is about the balances on the ledger: they moved by exactly the two amounts.
    assert playing.returncode == 0, said
    assert _result(up)["ok"] is True
    wait_until(lambda: f"{part} died (signal 9), restarted in" in up.said(), f"{part} is back")


def test_payouts_are_played_with_every_signer_and_a_batch_pays_all_but_its_bad_rows(up: Up) -> None:
    played = up.run("demo", "--once")
    assert played.returncode == 0, played.stdout + played.stderr
    result = _result(up)
    payouts = {(one["signer"], one["status"]) for one in result["payouts"]}  # type: ignore[attr-defined]
    assert {(None, "built"), ("hot", "confirmed"), ("kms", "confirmed"), ("external", "confirmed")} == payouts
    batch: dict[str, Any] = result["batch"]  # type: ignore[assignment]
    assert (batch["rows"], batch["counts"]["paid"]) == (200, 197)
    assert [reason.partition(":")[0] for reason in batch["not_paid"]] == ["line 50", "line 120", "line 170"]
