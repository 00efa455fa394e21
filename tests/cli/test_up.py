"""`holdfast up` as a person runs it: a process of its own, and the kernel's word on what is left of it."""

from __future__ import annotations

import os
import re
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.up_process import Up, gone, wait_until

pytestmark = pytest.mark.slow


@pytest.fixture
def up(parts_directory: Path, request: pytest.FixtureRequest) -> Iterator[Up]:
    running = Up.beneath(parts_directory, request.node.name)
    yield running
    running.end()


def test_ctrl_c_stops_all_within_seconds_and_a_later_up_resumes_the_same_state(up: Up) -> None:
    up.start()
    first = up.facts()
    assert (up.directory / "var" / "up.json").stat().st_mode & 0o777 == 0o600
    second_up = up.run("up")
    assert second_up.returncode == 1
    assert "up here already" in second_up.stdout
    refused = up.run("reset", "--yes")
    assert refused.returncode == 1
    assert "stop it first" in refused.stderr
    family = up.family()
    began = time.monotonic()
    assert up.interrupt() == 0
    assert time.monotonic() - began < 12
    gone(family)
    up.start()
    again = up.facts()
    for fact in ("contracts", "accounts", "api_key", "approver_key", "database_url"):
        assert again[fact] == first[fact], fact
    up.interrupt()
    assert up.run("reset", "--yes").returncode == 0
    left = {path.name for path in (up.directory / "var").iterdir()}
    assert left <= {"up.lock"}


def test_a_part_that_is_killed_is_restarted_and_said_so(up: Up) -> None:
    up.start()
    ledger, postgres = up.pid_of("ledger"), up.pid_of("postgres")
    os.kill(ledger, signal.SIGKILL)
    wait_until(
        lambda: re.search(r"ledger died \(signal 9\), restarted in \d+\.\d s", up.said()), "the ledger is back"
    )
    os.kill(postgres, signal.SIGKILL)
    wait_until(lambda: re.search(r"postgres died \(signal 9\), restarted in", up.said()), "PostgreSQL is back")
    assert up.pid_of("ledger") != ledger
    assert up.pid_of("postgres") != postgres


def test_when_the_supervisor_is_killed_every_part_dies_with_it(up: Up) -> None:
    up.start()
    family = up.family()
    os.kill(up.pid_of("supervisord"), signal.SIGKILL)
    assert up.process is not None
    assert up.process.wait(15) == 1
    assert "supervisor ended" in up.said()
    gone(family)


def test_when_up_itself_is_killed_nothing_is_left(up: Up) -> None:
    up.start()
    family = up.family()
    assert up.process is not None
    up.process.kill()
    up.process.wait()
    gone(family)


def test_a_taken_port_is_named_with_its_setting(up: Up) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", int(up.environment["INBOX_SMTP_PORT"])))
        taken.listen()
        refused = up.run("up")
    assert refused.returncode == 1
    assert f"inbox needs port {up.environment['INBOX_SMTP_PORT']}" in refused.stdout
    assert "set INBOX_SMTP_PORT to another" in refused.stdout
