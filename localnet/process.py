"""Starting and stopping a part without a supervisor: for tests and benchmarks."""

from __future__ import annotations

import ctypes
import os
import pwd
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from localnet.parts import Part, PartError

_PR_SET_PDEATHSIG: Final = 1


def _die_with_parent() -> None:
    """Have the kernel kill the part when the thread that started it ends: a killed test run leaves nothing."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class RunningPart:
    """A started part. Start it from a thread that outlives it: on Linux it dies with that thread."""

    def __init__(self, part: Part, log: Path) -> None:
        self.part = part
        self.log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it answers."""
        return self.part.url

    @property
    def pid(self) -> int:
        """Its process id."""
        if self._process is None:
            raise PartError(f"{self.part.name} is not running")
        return self._process.pid

    def start(self, *, timeout_seconds: float = 60) -> Self:
        """Prepare it, start it, and wait until it is ready.

        Raises:
            PartError: it ended or was not ready in time; with the end of its log.
        """
        part = self.part
        part.prepare()
        part.check_ports()
        owner = pwd.getpwnam(part.user) if part.user else None
        preexec: Callable[[], None] | None = _die_with_parent if sys.platform == "linux" else None
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - the part's own command
                part.command,
                env={**os.environ, **part.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd="/" if owner else None,
                user=owner.pw_uid if owner else None,
                group=owner.pw_gid if owner else None,
                extra_groups=[] if owner else None,
                start_new_session=True,
                preexec_fn=preexec,  # noqa: PLW1509 - one call of prctl, no locks
            )
        deadline = time.monotonic() + timeout_seconds
        while not part.ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                tail = self.log.read_text(errors="replace")[-2000:]
                raise PartError(f"{part.name} did not become ready:\n{tail}")
            time.sleep(0.02)
        return self

    def stop(self, *, timeout_seconds: float = 10) -> None:
        """End it as it likes to be ended; kill it when it does not."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.send_signal(self.part.stop_signal)
        try:
            self._process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End it as a power cut would: kill −9, to its whole session."""
        if self._process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
