"""Whether `holdfast up` runs on a state directory, and what it wrote there."""

from __future__ import annotations

import fcntl
import json
from pathlib import Path
from typing import IO, Any

from settings import Settings


class StackError(Exception):
    """A part cannot be started; the text names it and what to do."""


class AlreadyUpError(StackError):
    """Another `holdfast up` runs on the same state."""


class Lock:
    """One `holdfast up` on one state directory; the kernel lets go when the process ends."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "up.lock"
        self._file: IO[str] | None = None

    def take(self) -> bool:
        """True where nobody else holds it."""
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = self._path.open("a+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return False
        self._file = file
        return True

    def release(self) -> None:
        """Let go."""
        if self._file is not None:
            self._file.close()
            self._file = None


def is_up(settings: Settings) -> bool:
    """Whether a `holdfast up` runs on this state directory."""
    lock = Lock(settings.var_dir)
    if not lock.take():
        return True
    lock.release()
    return False


def read_facts(settings: Settings) -> dict[str, Any]:
    """What the running `holdfast up` wrote.

    Raises:
        StackError: it is not up, or not yet ready.
    """
    path = settings.var_dir / "up.json"
    if not is_up(settings):
        raise StackError("Holdfast is not up here: `holdfast up` first.")
    try:
        facts: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError):
        raise StackError("`holdfast up` is still starting: try again when it says that it is ready.") from None
    return facts
