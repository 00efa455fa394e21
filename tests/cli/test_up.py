"""`holdfast up` as a person runs it: a process of its own, and the kernel's word on what is left of it."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from localnet.parts import free_port

pytestmark = pytest.mark.slow

PORTS = (
    "POSTGRES_PORT",
    "TEMPORAL_PORT",
    "TEMPORAL_UI_PORT",
    "CODEC_PORT",
    "LEDGER_PORT",
    "INBOX_PORT",
    "INBOX_SMTP_PORT",
    "API_PORT",
    "METRICS_PORT",
    "TEMPORAL_METRICS_PORT",
)


def wait_until(condition: Callable[[], Any], what: str, *, seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not in time: {what}"
        time.sleep(0.05)
    return found


class Up:
    """One `holdfast up` in a directory of its own, on ports of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.environment = {**os.environ, "LEDGER_CLOSE_MS": "200"}
        self.environment |= {name: str(free_port()) for name in PORTS}
        self.output = directory / "up.out"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.output.write_text("")
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "cli.main", "up"],
                cwd=self.directory,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        wait_until(lambda: "Ctrl-C" in self.said() or not self.runs, "everything is up")
        assert self.runs, self.said()

    @property
    def runs(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def said(self) -> str:
        return self.output.read_text(errors="replace")

    def facts(self) -> dict[str, Any]:
        facts: dict[str, Any] = json.loads((self.directory / "var" / "up.json").read_text())
        return facts

    def family(self) -> list[psutil.Process]:
        """Everything that hangs beneath it."""
        assert self.process is not None
        return psutil.Process(self.process.pid).children(recursive=True)

    def pid_of(self, part: str) -> int:
        mark = {"ledger": "holdfast-ledger", "postgres": "bin/postgres", "supervisord": "supervisor.supervisord"}
        found = [child for child in self.family() if any(mark[part] in word for word in child.cmdline())]
        assert found, [child.cmdline() for child in self.family()]
        return found[0].pid

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "cli.main", *arguments],
            cwd=self.directory,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def interrupt(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(15)

    def end(self) -> None:
        if self.process is not None and self.process.poll() is None:
            family = self.family()
            self.process.kill()
            self.process.wait()
            gone(family)


def gone(family: list[psutil.Process]) -> None:
    """See that none of them runs, within seconds."""
    _, alive = psutil.wait_procs(family, timeout=10)
    assert not alive, [process.cmdline() for process in alive]


@pytest.fixture
def up(parts_directory: Path, request: pytest.FixtureRequest) -> Iterator[Up]:
    # Not tmp_path: PostgreSQL's own user must be able to pass through it.
    directory = parts_directory / re.sub(r"\W", "_", request.node.name)[:60]
    directory.mkdir()
    running = Up(directory)
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
