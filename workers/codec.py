"""`python -m workers.codec`: the codec endpoint alone: one address for the Web UI beside several workers."""

from __future__ import annotations

import asyncio
import signal
import sys

import structlog

from domain.errors import HoldfastError
from settings import Settings, SettingsError, load_settings
from settings.telemetry import set_up_logging
from workers.http import served
from workers.parts import codec_endpoint


async def run_codec(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        SettingsError: nothing would guard the endpoint, or there is no key.
    """
    settings.require("payload_keys")
    endpoint = codec_endpoint(settings)
    if endpoint is None:
        raise SettingsError([("CODEC_TOKEN", "needed here: 16 characters or more")])
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with served(endpoint.application(), settings.codec_host, settings.codec_port):
        structlog.get_logger("codec").info("ready", port=settings.codec_port)
        await stop.wait()


def main() -> int:
    """Run the endpoint; gives the process's exit status."""
    try:
        settings = load_settings()
        set_up_logging(settings, process="codec")
        asyncio.run(run_codec(settings))
    except (SettingsError, HoldfastError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
