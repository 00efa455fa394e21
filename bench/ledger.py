"""The local ledger alone: its own benchmark (`ledger-bench`, beside the ledger's binary), several times over."""

from __future__ import annotations

import asyncio
import re
import shutil
from typing import Final

from bench.figures import Check, Figure, ScenarioResult
from localnet.parts import LEDGER_DIRECTORY

_RUNS: Final = 3
_NUMBER: Final = r"([0-9.]+)"


async def measure(_ceiling: ScenarioResult) -> ScenarioResult:
    """Build and run it; the aims are those of the ledger's issue."""
    applied, sent, simulate = [], [], []
    for _ in range(_RUNS):
        said = await _run()
        applied.append(_found(rf"transfers applied a second:\s+{_NUMBER}", said))
        sent.append(_found(rf"sent and applied a second:\s+{_NUMBER}", said))
        simulate.append(_found(rf"simulate p50: {_NUMBER} ms", said))
    figures = (
        Figure.of("asset transfers applied", "transfers/s", applied, note="closing only"),
        Figure.of("asset transfers sent and applied", "transfers/s", sent, note="one client, one after the other"),
        Figure.of("simulate, p50 of a run", "ms", simulate),
    )
    return ScenarioResult(
        "Ledger",
        f"`ledger-bench`, {_RUNS} runs: signatures checked, contracts run in the real host.",
        figures,
        (
            Check("200 transfers applied a second", figures[0].p50 >= 200, f"{figures[0].p50:.0f}"),
            Check("simulate under 5 ms at p50", figures[2].p50 < 5, f"{figures[2].p50:.2f} ms"),
        ),
    )


async def _run() -> str:
    built = LEDGER_DIRECTORY / "target" / "release" / "ledger-bench"
    cargo = shutil.which("cargo")
    command = (
        [cargo, "run", "--release", "--locked", "--quiet", "--bin", "ledger-bench"] if cargo else [str(built)]
    )
    process = await asyncio.create_subprocess_exec(
        *command, cwd=LEDGER_DIRECTORY, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    if process.returncode != 0:
        raise RuntimeError(f"ledger-bench failed: {err.decode(errors='replace')[-1000:]}")
    return out.decode()


def _found(pattern: str, text: str) -> float:
    match = re.search(pattern, text)
    if match is None:
        raise RuntimeError(f"ledger-bench did not say {pattern!r}:\n{text}")
    return float(match[1])
