"""`python -m localnet.inbox --port 8025 --smtp-port 1025 --state FILE`."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from pathlib import Path

from aiohttp import web

from localnet.inbox.faults import Faults
from localnet.inbox.mail import serve_mail
from localnet.inbox.messages import Mailbox
from localnet.inbox.pages import InboxPages


async def serve(arguments: argparse.Namespace) -> None:
    """Serve until SIGTERM or SIGINT."""
    mailbox, faults = Mailbox(arguments.state), Faults()
    secret = arguments.webhook_secret or os.environ.get("INBOX_WEBHOOK_SECRET") or None
    smtp = await serve_mail(mailbox, faults, arguments.host, arguments.smtp_port)
    runner = web.AppRunner(
        InboxPages(mailbox, faults, webhook_secret=secret).application(), access_log=None, shutdown_timeout=1
    )
    await runner.setup()
    await web.TCPSite(runner, arguments.host, arguments.port).start()
    print(
        f"ready http://{arguments.host}:{arguments.port} smtp {arguments.host}:{arguments.smtp_port}", flush=True
    )
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()
    smtp.close()
    await runner.cleanup()


def main() -> int:
    """Read the arguments and serve."""
    parser = argparse.ArgumentParser(
        prog="localnet.inbox", description="Receive mail and webhooks, and show them."
    )
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on")
    parser.add_argument("--port", type=int, default=8025, help="of the page, the webhooks and the JSON API")
    parser.add_argument("--smtp-port", type=int, default=1025, help="of SMTP")
    parser.add_argument("--state", type=Path, default=None, help="a file that survives a kill; memory without")
    parser.add_argument(
        "--webhook-secret", default=None, help="checks webhooks' signatures; better as INBOX_WEBHOOK_SECRET"
    )
    arguments = parser.parse_args()
    try:
        asyncio.run(serve(arguments))
    except OSError as error:
        print(f"the inbox cannot listen: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
