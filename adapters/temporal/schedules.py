"""What Temporal begins by the clock."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleCalendarSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleRange,
    ScheduleSpec,
    ScheduleUpdate,
    ScheduleUpdateInput,
)
from temporalio.service import RPCError

from activities.story_names import NIGHTLY_STORY, RECONCILIATION_STORY, STORIES
from domain.errors import Unavailable

NIGHTLY: Final = "nightly"
RECONCILIATION: Final = "reconciliation"
_HOUR_UTC: Final = 3
_HALF_AN_HOUR: Final = 30
_CATCH_UP: Final = timedelta(days=2)
"""A round that was missed while Temporal was away is made up for, as long as it is not older."""


async def ensure_schedules(client: Client) -> None:
    """Have the schedules as they are written here; a schedule that a person has paused stays so.

    Raises:
        Unavailable: Temporal does not answer.
    """
    for schedule_id, wanted in ((NIGHTLY, _nightly()), (RECONCILIATION, _reconciliation())):
        await _ensure(client, schedule_id, wanted)


async def _ensure(client: Client, schedule_id: str, wanted: Schedule) -> None:
    def as_wanted(stored: ScheduleUpdateInput) -> ScheduleUpdate:
        return ScheduleUpdate(
            Schedule(
                action=wanted.action,
                spec=wanted.spec,
                policy=wanted.policy,
                state=stored.description.schedule.state,
            )
        )

    try:
        try:
            await client.create_schedule(schedule_id, wanted)
        except ScheduleAlreadyRunningError:
            await client.get_schedule_handle(schedule_id).update(as_wanted)
    except RPCError as error:
        raise Unavailable("Temporal does not answer", code="temporal_unavailable") from error


def _nightly() -> Schedule:
    return _every_night(NIGHTLY_STORY, NIGHTLY, "The nightly round", minute=0)


def _reconciliation() -> Schedule:
    return _every_night(
        RECONCILIATION_STORY,
        RECONCILIATION,
        "Payments on the ledger beside those in the record",
        minute=_HALF_AN_HOUR,
    )


def _every_night(story: str, workflow_id: str, summary: str, *, minute: int) -> Schedule:
    calendar = ScheduleCalendarSpec(hour=[ScheduleRange(_HOUR_UTC)], minute=[ScheduleRange(minute)])
    return Schedule(
        action=ScheduleActionStartWorkflow(story, id=workflow_id, task_queue=STORIES, static_summary=summary),
        spec=ScheduleSpec(calendars=[calendar]),
        policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.SKIP, catchup_window=_CATCH_UP),
    )
