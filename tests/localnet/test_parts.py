"""The parts start, are ready when they say so, and leave nothing behind."""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path
from subprocess import PIPE, Popen

import psutil
import psycopg
import pytest
from stellar_sdk import Keypair
from temporalio import workflow
from temporalio.testing import TimeSkipper, WorkflowEnvironment
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from adapters.database.engine import Database
from localnet.clients import LocalLedger, LocalPartError
from localnet.parts import PartError, free_port, postgres
from localnet.parts import temporal as temporal_part
from localnet.process import RunningPart


@workflow.defn(sandboxed=False)
class LongSleep:
    """Sleeps for thirty days."""

    @workflow.run
    async def run(self) -> str:
        await workflow.sleep(timedelta(days=30))
        return "awake"


async def test_each_test_has_a_database_of_its_own(database: Database) -> None:
    from sqlalchemy import text

    async with database.begin() as connection:
        name = (await connection.execute(text("SELECT current_database()"))).scalar_one()
    assert name.startswith("test_")


async def test_thirty_days_pass_at_once_where_time_is_skipped(time_skipping: TimeSkipper) -> None:
    client = time_skipping.client
    async with Worker(
        client, task_queue="sleepers", workflows=[LongSleep], workflow_runner=UnsandboxedWorkflowRunner()
    ):
        assert await client.execute_workflow(LongSleep.run, id="OUT001", task_queue="sleepers") == "awake"


@pytest.mark.parametrize("_again", [1, 2])
async def test_a_business_id_is_free_in_every_test(temporal: WorkflowEnvironment, _again: int) -> None:
    await temporal.client.start_workflow(LongSleep.run, id="OUT001", task_queue="nobody")


def _line_of(process: Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline()


def test_processes_that_look_for_a_free_port_at_once_are_given_different_ones() -> None:
    look = "from localnet.parts import free_port; print(free_port(), free_port()); input()"
    command = [sys.executable, "-c", look]
    looking = [Popen(command, stdin=PIPE, stdout=PIPE, text=True) for _ in range(4)]
    given = [port for process in looking for port in _line_of(process).split()]
    for process in looking:
        process.communicate("done\n")
    assert len(set(given)) == 2 * len(looking)


def test_postgres_keeps_what_was_committed_before_a_kill(tmp_path: Path, parts_directory: Path) -> None:
    part = postgres(parts_directory / f"kill-{tmp_path.name}", free_port())
    running = RunningPart(part, tmp_path / "log").start()
    children = psutil.Process(running.pid).children(recursive=True)
    with psycopg.connect(running.url) as connection:
        connection.execute("CREATE TABLE kept (x int)")
    running.kill()
    psutil.wait_procs(children, timeout=10)
    with RunningPart(part, tmp_path / "log"), psycopg.connect(part.url) as connection:
        assert connection.execute("SELECT count(*) FROM kept").fetchone() == (0,)


def test_a_taken_port_is_named_with_its_setting(tmp_path: Path, temporal_address: str) -> None:
    port = int(temporal_address.rpartition(":")[2])
    with pytest.raises(PartError, match=f"port {port}, and it is taken; set TEMPORAL_PORT"):
        RunningPart(temporal_part(port), tmp_path / "log").start()


def test_the_ledger_makes_accounts_and_misbehaves_until_the_test_ends(ledger: LocalLedger) -> None:
    account = Keypair.random().public_key
    ledger.friendbot(account)
    ledger.fault("unavailable", method="getLatestLedger", count=1)
    with pytest.raises(LocalPartError, match="503"):
        ledger.latest_ledger()
    ledger.fault("unavailable", method="getLatestLedger", count=100)
    ledger.clear_faults()
    assert ledger.latest_ledger() > 1


def test_a_killed_ledger_resumes_where_it_was(own_ledger: LocalLedger, tmp_path: Path) -> None:
    process: RunningPart = own_ledger.process  # type: ignore[attr-defined]
    account = Keypair.random().public_key
    own_ledger.friendbot(account)
    before = own_ledger.latest_ledger()
    process.kill()
    process.start()
    assert own_ledger.latest_ledger() >= before
    with pytest.raises(LocalPartError, match="already funded"):
        own_ledger.friendbot(account)


def test_stopping_leaves_no_process(tmp_path: Path) -> None:
    running = RunningPart(temporal_part(free_port()), tmp_path / "log").start()
    pid = running.pid
    running.stop()
    assert not psutil.pid_exists(pid)
