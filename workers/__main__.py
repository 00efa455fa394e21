"""`python -m workers`: one worker process."""

from __future__ import annotations

import asyncio
import logging
import os
import sys

import structlog
import uvloop

from domain.errors import HoldfastError
from settings import SettingsError, load_settings
from settings.telemetry import set_up_logging
from workers.collector import set_collector
from workers.main import run_worker


def main() -> int:
    """Run one worker; gives the process's exit status."""
    try:
        settings = load_settings()
        set_up_logging(settings, process="worker")
        set_collector()
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run_worker(settings))
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except HoldfastError as error:
        structlog.get_logger("worker").error("cannot start", code=error.code, reason=error.message)
        return 2
    except Exception:
        structlog.get_logger("worker").exception("ended by a mistake")
        return 1
    return 0


if __name__ == "__main__":
    status = main()
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    # The interpreter's own exit can crash while the SDK's threads still hold a long poll.
    os._exit(status)
