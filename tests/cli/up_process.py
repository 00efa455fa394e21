"""A `holdfast up` as a person runs it, for tests: a process of its own, in a directory and on ports of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import psutil

from localnet.parts import free_port

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
    "KMS_PORT",
)


def wait_until(condition: Callable[[], Any], what: str | Callable[[], str], *, seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not in time: {what if isinstance(what, str) else what()}")
        time.sleep(0.05)
    return found


class Up:
    """One `holdfast up` in a directory of its own, on ports of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.environment = {**os.environ, "LEDGER_CLOSE_MS": "200"}
        self.environment |= {name: str(free_port()) for name in PORTS}
        self.environment.pop("SOFTHSM2_CONF", None)  # of the tests' own tokens, beside these in one process
        self.output = directory / "up.out"
        self.process: subprocess.Popen[bytes] | None = None

    @classmethod
    def beneath(cls, parent: Path, name: str) -> Self:
        """In a new directory; not pytest's own, for PostgreSQL's user must be able to pass through it."""
        directory = parent / re.sub(r"\W", "_", name)[:60]
        directory.mkdir()
        return cls(directory)

    def start(self, *arguments: str) -> None:
        self.output.write_text("")
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "cli.main", "up", *arguments],
                cwd=self.directory,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        wait_until(lambda: "Ctrl-C" in self.said() or not self.runs, self.said, seconds=110)
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
        mark = {
            "ledger": "holdfast-ledger",
            "postgres": "bin/postgres",
            "temporal": "server start-dev",
            "worker": "-m workers",
            "api": "-m api",
            "kms": "bin/ministack",
            "supervisord": "-m supervisor.supervisord",
        }[part]
        found = [child for child in self.family() if mark in " ".join(child.cmdline())]
        assert found, [child.cmdline() for child in self.family()]
        return found[0].pid

    def outages(self) -> int:
        """How many the API knows; 0 while it does not answer."""
        facts = self.facts()
        request = urllib.request.Request(
            f"{facts['api']}/api/v1/outages", headers={"Authorization": f"Bearer {facts['api_key']}"}
        )
        try:
            with urllib.request.urlopen(request, timeout=5) as response:
                return len(json.load(response)["outages"])
        except OSError:
            return 0

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
