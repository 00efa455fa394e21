"""Becomes a part, and makes sure that the part ends when its supervisor does.

Run by path, not imported: `python -I -S cli/leash.py SPEC.json`. The file (0600) holds the command and the
environment, so that neither a secret nor anything to be quoted stands on a command line.
"""

from __future__ import annotations

import ctypes
import json
import os
import pwd
import signal
import sys
from typing import Any

_PR_SET_PDEATHSIG = 1


def main(path: str) -> None:
    """Read the part's description and become it: the same process id, so the supervisor sees the part itself."""
    with open(path, encoding="utf-8") as file:
        spec: dict[str, Any] = json.load(file)
    parent = os.getppid()
    if spec["user"] is not None and os.geteuid() == 0:
        account = pwd.getpwnam(spec["user"])
        os.setgroups([])
        os.setgid(account.pw_gid)
        os.setuid(account.pw_uid)
    os.chdir(spec["directory"])
    if sys.platform == "linux":
        # After the change of user, which would clear it; a plain exec keeps it.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(spec["death_signal"]))
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)  # the supervisor ended between the two lines
    environment = {**os.environ, **spec["environment"]}
    os.execve(spec["command"][0], spec["command"], environment)  # noqa: S606 - a part's own command


if __name__ == "__main__":
    main(sys.argv[1])
