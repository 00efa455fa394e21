"""`holdfast workers`: which builds of the workers there are, which one is current, and which may go."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from temporalio.client import Client

from adapters.temporal.client import connect
from adapters.temporal.deployments import Build, Standing, builds, make_current
from domain.errors import NotFound
from settings import Settings
from settings.temporal import connect_options

_SENTENCES = {
    Standing.NEW: "it was never current, and takes nothing: its workers may go, or `holdfast workers promote` it",
    Standing.CURRENT: "stories begin and go on here: promote another build first",
    Standing.RAMPING: "a share of the stories begins here: end the ramp first",
    Standing.DRAINING: "it takes nothing new, and something may be left on it: not yet",
    Standing.DRAINED: "nothing is left on it: its workers may go",
}


async def _client(settings: Settings) -> Client:
    return await connect(**connect_options(settings), codec=None)


async def drain(settings: Settings, console: Console, build_id: str | None) -> int:
    """Say which builds may go; with `build_id`, whether this one may: 0 where it may, 1 where not yet."""
    found = await builds(await _client(settings))
    if build_id is not None:
        build = next((one for one in found if one.build_id == build_id), None)
        if build is None:
            raise NotFound(f"Temporal knows no build {build_id!r}; HOLDFAST_BUILD_ID names a worker's")
        console.print(f"{build.build_id}: {_sentence(build)}", highlight=False, soft_wrap=True)
        return 0 if build.may_go else 1
    if not found:
        console.print("No worker has named a build (HOLDFAST_BUILD_ID): any worker may go at any time.")
        return 0
    table = Table("build", "standing", "may go")
    for one in found:
        table.add_row(one.build_id, one.standing.value, _sentence(one))
    console.print(table)
    return 0


def _sentence(build: Build) -> str:
    looked = f" (looked at {build.checked_at:%Y-%m-%d %H:%M:%S} UTC)" if build.checked_at else ""
    return f"{_SENTENCES[build.standing]}{looked}"


async def promote(settings: Settings, console: Console, build_id: str) -> int:
    """Let stories go over to a build."""
    await make_current(await _client(settings), build_id)
    console.print(f"{build_id} is current: stories go over to it as they wake, by replay.", highlight=False)
    return 0
