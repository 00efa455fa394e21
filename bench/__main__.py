"""`python -m bench`: run the scenarios on parts of their own and write bench/results/."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from temporalio.client import Client

from bench import ceiling
from bench.figures import ScenarioResult
from bench.machine import describe_machine
from bench.writer import write
from localnet.parts import free_port, temporal
from localnet.process import RunningPart

Scenario = Callable[..., Awaitable[ScenarioResult]]
"""A scenario starts what it needs, and is given the ceiling of this run to compare itself with."""

SCENARIOS: Final = ("outages", "payouts", "signers", "ledger")
"""Modules of this package with an async `measure(ceiling) -> ScenarioResult`, in the order in which they run."""


async def _ceiling(directory: Path) -> ScenarioResult:
    # File-backed, as `holdfast up` runs it.
    part = temporal(free_port(), state=directory / "temporal.db")
    with RunningPart(part, directory / "temporal.log") as running:
        return await ceiling.measure(await Client.connect(running.url))


async def run(
    chosen: list[str], options: Mapping[str, Mapping[str, Any]] = MappingProxyType({})
) -> list[ScenarioResult]:
    """Run the ceiling and then the chosen scenarios, each with its options."""
    with tempfile.TemporaryDirectory(prefix="holdfast-bench-") as name:
        results = [await _ceiling(Path(name))]
    for scenario in chosen:
        measure: Scenario = import_module(f"bench.{scenario}").measure
        results.append(await measure(results[0], **options.get(scenario, {})))
    return results


def main() -> int:
    """Read the arguments, run, and write; 1 where an aim was missed."""
    available = [name for name in SCENARIOS if find_spec(f"bench.{name}")]
    parser = argparse.ArgumentParser(prog="bench", description="Measure, and write bench/results/.")
    parser.add_argument("scenarios", nargs="*", help=f"which of {', '.join(available) or 'none yet'}; all without")
    parser.add_argument(
        "--waiting",
        type=int,
        action="append",
        metavar="N",
        help="how many unsigned payouts there are when memory and answers are looked at (1000, 3000)",
    )
    arguments = parser.parse_args()
    unknown = set(arguments.scenarios) - set(available)
    if unknown:
        parser.error(f"no scenario is called {', '.join(sorted(unknown))}")
    machine = describe_machine()
    options = {"payouts": {"waiting": tuple(arguments.waiting)}} if arguments.waiting else {}
    results = asyncio.run(run(arguments.scenarios or available, options))
    page = write(machine, results)
    print(page.read_text())
    print(f"written to {page} and {page.with_suffix('.json').name}")
    return 0 if all(check.met for result in results for check in result.checks) else 1


if __name__ == "__main__":
    sys.exit(main())
