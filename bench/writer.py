"""Writes bench/results/DATE.json, for programs, and DATE.md, for people."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from bench.figures import Figure, ScenarioResult

RESULTS: Final = Path(__file__).parent / "results"


def _number(value: float) -> str:
    if value == 0:
        return "0"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _row(figure: Figure) -> str:
    spread = [figure.minimum, figure.p50, figure.p95, figure.p99, figure.maximum]
    ratio = f"{figure.ratio:.2f} of {figure.ratio_of}" if figure.ratio is not None else ""
    cells = [figure.name, figure.unit, *map(_number, spread), str(figure.samples), ratio, figure.note]
    return "| " + " | ".join(cells) + " |"


def render(machine: dict[str, Any], results: list[ScenarioResult], at: datetime) -> str:
    """Give the page for people."""
    built = f"Python {machine['python']}, {machine['temporal']}, {machine['rustc']}, commit {machine['commit']}"
    on = f"{machine['cores']} cores of {machine['cpu']}, {machine['memory_gb']} GB, {machine['system']}"
    lines = [
        f"# Figures of {at:%Y-%m-%d %H:%M} UTC",
        "",
        f"{on}; load before {machine['load_before']}. {built}.",
        "Server, worker, API, Postgres and ledger share these cores. Machines differ, so only ratios within one "
        "run can be compared.",
    ]
    for result in results:
        lines += ["", f"## {result.name}", "", result.what, ""]
        lines += [
            "| figure | unit | min | p50 | p95 | p99 | max | samples | ratio (p50) | note |",
            "|---|---|---|---|---|---|---|---|---|---|",
        ]
        lines += [_row(figure) for figure in result.figures]
        if result.checks:
            lines += ["", "| aim | met | measured |", "|---|---|---|"]
            lines += [
                f"| {check.aim} | {'yes' if check.met else '**no**'} | {check.measured} |"
                for check in result.checks
            ]
    return "\n".join(lines) + "\n"


def write(machine: dict[str, Any], results: list[ScenarioResult], *, directory: Path = RESULTS) -> Path:
    """Write both files; gives the path of the page for people."""
    at = datetime.now(UTC)
    directory.mkdir(parents=True, exist_ok=True)
    stem = directory / f"{at:%Y-%m-%dT%H%M%S}"
    document = {"at": at.isoformat(), "machine": machine, "scenarios": [result.to_json() for result in results]}
    stem.with_suffix(".json").write_text(json.dumps(document, indent=2) + "\n")
    page = stem.with_suffix(".md")
    page.write_text(render(machine, results, at))
    return page
