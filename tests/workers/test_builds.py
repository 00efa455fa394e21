"""When an old build of the workers may go: as a real server tells it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from temporalio import workflow
from temporalio.client import Client
from temporalio.common import VersioningBehavior, WorkerDeploymentVersion
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker, WorkerDeploymentConfig

from adapters.temporal.deployments import DEPLOYMENT, Build, Standing, builds, make_current
from domain.errors import NotFound, Refused
from localnet.parts import temporal_binary
from tests.waiting import until

_SOON = (
    'matching.wv.VersionDrainageStatusVisibilityGracePeriod="100ms"',
    'matching.wv.VersionDrainageStatusRefreshInterval="100ms"',
)


@workflow.defn(name="Waits", versioning_behavior=VersioningBehavior.PINNED)
class Waits:
    """Stays on the build where it began until it is told to end."""

    def __init__(self) -> None:
        self._over = False

    @workflow.run
    async def run(self) -> None:
        await workflow.wait_condition(lambda: self._over)

    @workflow.signal
    def end(self) -> None:
        self._over = True


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    extra = [argument for value in _SOON for argument in ("--dynamic-config-value", value)]
    environment = await WorkflowEnvironment.start_local(
        dev_server_existing_path=temporal_binary(), dev_server_extra_args=extra
    )
    async with environment:
        yield environment.client


def _worker(client: Client, build_id: str) -> Worker:
    return Worker(
        client,
        task_queue="builds",
        workflows=[Waits],
        deployment_config=WorkerDeploymentConfig(
            version=WorkerDeploymentVersion(DEPLOYMENT, build_id), use_worker_versioning=True
        ),
    )


async def _standing(client: Client, build_id: str, wanted: Standing) -> Build:
    async def look() -> Build | None:
        return next(
            (one for one in await builds(client) if (one.build_id, one.standing) == (build_id, wanted)), None
        )

    return await until(look)


async def _promoted(client: Client, build_id: str) -> None:
    async def done() -> bool | None:
        try:
            await make_current(client, build_id)
        except (NotFound, Refused):
            return None  # its worker has not polled yet
        return True

    await until(done)


async def test_an_old_build_may_go_when_nothing_is_left_on_it(client: Client) -> None:
    assert await builds(client) == ()
    with pytest.raises((NotFound, Refused)):
        await make_current(client, "one")
    async with _worker(client, "one"), _worker(client, "two"):
        await _promoted(client, "one")
        assert not (await _standing(client, "one", Standing.CURRENT)).may_go
        story = await client.start_workflow(Waits.run, id="waits", task_queue="builds")

        async def began() -> bool | None:
            return (await story.describe()).history_length > 3 or None

        await until(began)
        await _promoted(client, "two")
        assert not (await _standing(client, "one", Standing.DRAINING)).may_go
        await story.signal(Waits.end)
        await story.result()
        assert (await _standing(client, "one", Standing.DRAINED)).may_go
        assert not (await _standing(client, "two", Standing.CURRENT)).may_go
