"""Figures always come with their spread, and with the share of the same run's ceiling."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.figures import Check, Figure, ScenarioResult
from bench.machine import describe_machine
from bench.writer import write


def test_percentiles_are_samples_that_were_measured() -> None:
    figure = Figure.of("latency", "s", [float(number) for number in range(100, 0, -1)])
    assert (figure.minimum, figure.p50, figure.p95, figure.p99, figure.maximum) == (1, 50, 95, 99, 100)


def test_a_figure_without_samples_is_none() -> None:
    with pytest.raises(ValueError, match="rate has no samples"):
        Figure.of("rate", "1/s", [])


def test_the_page_tells_spread_ratio_and_missed_aims(tmp_path: Path) -> None:
    ceiling = Figure.of("ceiling", "1/s", [40.0, 50.0, 60.0])
    outages = Figure.of("outages", "1/s", [20.0, 25.0, 30.0]).against(ceiling)
    result = ScenarioResult("Outages", "What it is.", (outages,), (Check("half the ceiling", False, "0.4"),))
    page = write(describe_machine(), [result], directory=tmp_path)
    text = page.read_text()
    assert "| outages | 1/s | 20 | 25 | 30 | 30 | 30 | 3 | 0.50 of ceiling |" in text
    assert "| half the ceiling | **no** | 0.4 |" in text
    document = json.loads(page.with_suffix(".json").read_text())
    assert document["scenarios"][0]["figures"][0]["ratio"] == 0.5
    assert document["machine"]["packages"]["temporalio"]
