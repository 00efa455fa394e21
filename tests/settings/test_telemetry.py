"""Metrics and traces leave the process: for Prometheus to fetch, or to a collector."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta

import aiohttp
import pytest
from aiohttp import web
from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from localnet.parts import free_port
from settings import load_settings
from settings.telemetry import temporal_runtime, trace_interceptors
from settings.temporal import connect_options
from tests.waiting import until


@activity.defn
async def greet() -> str:
    return "hello"


@workflow.defn(sandboxed=False)
class Greeting:
    """One activity."""

    @workflow.run
    async def run(self) -> str:
        return await workflow.execute_activity(greet, start_to_close_timeout=timedelta(seconds=10))


@dataclass
class Collector:
    url: str
    received: dict[str, bytes] = field(default_factory=dict)


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    port = free_port()
    found = Collector(f"http://127.0.0.1:{port}")

    async def receive(request: web.Request) -> web.Response:
        found.received[request.path] = found.received.get(request.path, b"") + await request.read()
        return web.Response()

    application = web.Application()
    application.router.add_post("/{path:.*}", receive)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    yield found
    await runner.cleanup()


async def greeting(client: Client) -> str:
    async with Worker(
        client,
        task_queue="greetings",
        workflows=[Greeting],
        activities=[greet],
        workflow_runner=UnsandboxedWorkflowRunner(),
    ):
        return await client.execute_workflow(Greeting.run, id="greeting", task_queue="greetings")


async def test_the_sdks_metrics_are_served_for_prometheus(temporal_address: str, temporal_namespace: str) -> None:
    settings = load_settings(
        None,
        temporal_address=temporal_address,
        temporal_namespace=temporal_namespace,
        temporal_metrics_port=free_port(),
    )
    client = await Client.connect(**connect_options(settings), runtime=temporal_runtime(settings))
    assert await greeting(client) == "hello"
    url = f"http://127.0.0.1:{settings.temporal_metrics_port}/metrics"
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        text = await answer.text()
    (completed,) = [line for line in text.splitlines() if line.startswith("temporal_workflow_completed_total{")]
    assert 'deployment="local"' in completed
    assert "temporal_workflow_endtoend_latency_seconds_bucket" in text


async def test_traces_and_metrics_go_to_a_collector(
    temporal_address: str, temporal_namespace: str, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    settings = load_settings(
        None,
        temporal_address=temporal_address,
        temporal_namespace=temporal_namespace,
        otel_exporter_otlp_endpoint=collector.url,
    )
    interceptors = await asyncio.to_thread(trace_interceptors, settings, process="test")
    client = await Client.connect(
        **connect_options(settings), runtime=temporal_runtime(settings), interceptors=interceptors
    )
    assert await greeting(client) == "hello"

    async def traced() -> bool | None:
        traces = collector.received.get("/v1/traces", b"")
        return True if b"RunActivity:greet" in traces and b"holdfast-test" in traces else None

    async def measured() -> bool | None:
        return True if b"temporal_workflow_completed" in collector.received.get("/v1/metrics", b"") else None

    assert await until(traced)
    assert await until(measured)


def test_without_a_collector_nothing_is_traced() -> None:
    assert trace_interceptors(load_settings(None), process="test") == []
