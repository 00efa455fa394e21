"""The ceiling: a bare workflow with one plain activity, on this machine's Temporal, with and without the sandbox.

Nothing that Holdfast does can be quicker than this, so every rate is told as a share of it.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from datetime import timedelta
from typing import Final

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker, WorkflowRunner
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

from bench.figures import Figure, ScenarioResult

IN_FLIGHT: Final = 100
_ROUNDS: Final = 5
_ROUND_WORKFLOWS: Final = 200
_IDLE_WORKFLOWS: Final = 50


@activity.defn
async def nothing(argument: str) -> str:
    """Do nothing, as a plain activity."""
    return argument


@workflow.defn
class Bare:
    """One plain activity and nothing else."""

    @workflow.run
    async def run(self, argument: str) -> str:
        """Schedule it and give what it gave."""
        return await workflow.execute_activity(nothing, argument, start_to_close_timeout=timedelta(seconds=10))


async def _rate(client: Client, queue: str, count: int) -> float:
    """Workflows completed a second, `IN_FLIGHT` of them at once."""
    slots = asyncio.Semaphore(IN_FLIGHT)

    async def one() -> None:
        async with slots:
            await client.execute_workflow(Bare.run, "x", id=f"bare-{uuid.uuid4()}", task_queue=queue)

    began = time.monotonic()
    await asyncio.gather(*(one() for _ in range(count)))
    return count / (time.monotonic() - began)


async def _latencies(client: Client, queue: str) -> list[float]:
    """Seconds of one workflow after the other, on an idle server."""
    seconds = []
    for _ in range(_IDLE_WORKFLOWS):
        began = time.monotonic()
        await client.execute_workflow(Bare.run, "x", id=f"bare-{uuid.uuid4()}", task_queue=queue)
        seconds.append(time.monotonic() - began)
    return seconds


async def measure(client: Client) -> ScenarioResult:
    """Measure rate and latency both ways, the ways taking turns so that a busy machine hurts both alike."""
    runners: dict[str, WorkflowRunner] = {
        "sandbox": SandboxedWorkflowRunner(),
        "no sandbox": UnsandboxedWorkflowRunner(),
    }
    rates: dict[str, list[float]] = {name: [] for name in runners}
    idle: dict[str, list[float]] = {name: [] for name in runners}
    for round_number in range(_ROUNDS + 1):
        for name, runner in runners.items():
            queue = f"ceiling-{name.replace(' ', '-')}"
            async with Worker(
                client, task_queue=queue, workflows=[Bare], activities=[nothing], workflow_runner=runner
            ):
                rate = await _rate(client, queue, _ROUND_WORKFLOWS)
                if round_number == 0:
                    # The first round warms caches and connections.
                    idle[name] = await _latencies(client, queue)
                else:
                    rates[name].append(rate)
    figures = [
        Figure.of(
            f"rate, {name}", "workflows/s", rates[name], note=f"{_ROUND_WORKFLOWS} a sample, {IN_FLIGHT} at once"
        )
        for name in runners
    ]
    figures += [Figure.of(f"latency, {name}", "s", idle[name], note="one after the other") for name in runners]
    figures[0] = figures[0].against(figures[1])
    return ScenarioResult(
        "Ceiling", "A bare workflow with one plain activity; one worker process.", tuple(figures)
    )
