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

from activities.story_names import NIGHTLY_STORY, STORIES
from domain.errors import Unavailable

NIGHTLY: Final = "nightly"
_HOUR_UTC: Final = 3
_CATCH_UP: Final = timedelta(days=2)
"""A round that was missed while Temporal was away is made up for, as long as it is not older."""


async def ensure_schedules(client: Client) -> None:
    """Have the schedules as they are written here; a schedule that a person has paused stays so.

    Raises:
        Unavailable: Temporal does not answer.
    """
    wanted = _nightly()

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
            await client.create_schedule(NIGHTLY, wanted)
        except ScheduleAlreadyRunningError:
            await client.get_schedule_handle(NIGHTLY).update(as_wanted)
    except RPCError as error:
        raise Unavailable("Temporal does not answer", code="temporal_unavailable") from error


def _nightly() -> Schedule:
    return Schedule(
        action=ScheduleActionStartWorkflow(
            NIGHTLY_STORY, id=NIGHTLY, task_queue=STORIES, static_summary="The nightly round"
        ),
        spec=ScheduleSpec(calendars=[ScheduleCalendarSpec(hour=[ScheduleRange(_HOUR_UTC)])]),
        policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.SKIP, catchup_window=_CATCH_UP),
    )
