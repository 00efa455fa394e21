"""What the figures were measured on: only figures of one machine and one run can be compared."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

from localnet.parts import temporal_binary

_PACKAGES = ("temporalio", "aiohttp", "fastapi", "pydantic", "psycopg", "sqlalchemy", "stellar-sdk", "uvloop")


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _memory_gb() -> float:
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)


def _first_line(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[0].strip()
    except (OSError, subprocess.CalledProcessError, IndexError):
        return "unknown"


def describe_machine() -> dict[str, Any]:
    """Give processor, cores, memory, system, load, and the versions of what took part."""
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gb": _memory_gb(),
        "system": f"{platform.system()} {platform.release()}",
        "load_before": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "rustc": _first_line("rustc", "--version"),
        "temporal": _first_line(temporal_binary(), "--version"),
        "commit": _first_line("git", "rev-parse", "--short", "HEAD"),
        "packages": {name: version(name) for name in _PACKAGES},
    }
