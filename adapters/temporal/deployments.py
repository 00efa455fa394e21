"""Builds of the workers, as Temporal's worker deployment knows them: which one is current, which may go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

from temporalio.api.enums.v1 import WorkerDeploymentVersionStatus as Status
from temporalio.api.workflowservice.v1 import (
    DescribeWorkerDeploymentRequest,
    SetWorkerDeploymentCurrentVersionRequest,
)
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from domain.errors import NotFound, Refused, Unavailable

DEPLOYMENT: Final = "holdfast"
"""The worker deployment's name; its versions are HOLDFAST_BUILD_ID."""


class Standing(StrEnum):
    """How a build stands."""

    NEW = "new"
    """It reported itself and takes nothing: it was never current."""
    CURRENT = "current"
    RAMPING = "ramping"
    """It takes a share of what begins."""
    DRAINING = "draining"
    """It takes nothing new; a story may still be pinned to it."""
    DRAINED = "drained"


_STANDINGS: Final = {
    Status.WORKER_DEPLOYMENT_VERSION_STATUS_CURRENT: Standing.CURRENT,
    Status.WORKER_DEPLOYMENT_VERSION_STATUS_RAMPING: Standing.RAMPING,
    Status.WORKER_DEPLOYMENT_VERSION_STATUS_DRAINING: Standing.DRAINING,
    Status.WORKER_DEPLOYMENT_VERSION_STATUS_DRAINED: Standing.DRAINED,
}


@dataclass(frozen=True, slots=True)
class Build:
    """One build; `checked_at` is when Temporal last looked whether anything is left on it."""

    build_id: str
    standing: Standing
    checked_at: datetime | None

    @property
    def may_go(self) -> bool:
        """Whether its workers may be ended: nothing begins on it and nothing is left on it."""
        return self.standing in {Standing.DRAINED, Standing.NEW}


async def builds(client: Client) -> Sequence[Build]:
    """Every build that Temporal knows, newest first; none where no worker ever named one.

    Raises:
        Unavailable: Temporal does not answer.
    """
    request = DescribeWorkerDeploymentRequest(namespace=client.namespace, deployment_name=DEPLOYMENT)
    try:
        answer = await client.workflow_service.describe_worker_deployment(request)
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return ()
        raise Unavailable("Temporal does not answer", code="temporal_unavailable") from error
    found = sorted(
        answer.worker_deployment_info.version_summaries, key=lambda one: one.create_time.seconds, reverse=True
    )
    return tuple(
        Build(
            one.deployment_version.build_id,
            _STANDINGS.get(one.status, Standing.NEW),
            one.drainage_info.last_checked_time.ToDatetime(tzinfo=UTC)
            if one.drainage_info.HasField("last_checked_time")
            else None,
        )
        for one in found
    )


async def make_current(client: Client, build_id: str) -> None:
    """Let stories go over to a build: from here on they begin and go on there, by replay.

    Raises:
        NotFound: no worker of that build has reported itself.
        Refused: Temporal does not let it, and says why.
        Unavailable: Temporal does not answer.
    """
    request = SetWorkerDeploymentCurrentVersionRequest(
        namespace=client.namespace, deployment_name=DEPLOYMENT, build_id=build_id, identity="holdfast"
    )
    try:
        await client.workflow_service.set_worker_deployment_current_version(request)
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            raise NotFound(f"no worker of build {build_id!r} has reported itself") from error
        if error.status is RPCStatusCode.FAILED_PRECONDITION:
            raise Refused(f"build {build_id!r} cannot be current yet: {error.message}") from error
        raise Unavailable("Temporal does not answer", code="temporal_unavailable") from error
