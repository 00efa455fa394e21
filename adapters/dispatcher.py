"""The dispatcher: sends what the outbox holds, and seals the audit log. One runs in each worker."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog

from adapters.custody import Custody
from adapters.database import audit, outbox
from adapters.database.engine import Database
from adapters.database.outbox import Delivery
from adapters.mail import Mailer
from adapters.webhooks import Webhooks, body_of
from domain.errors import HoldfastError, Refused, Unavailable
from domain.events import Event
from domain.messages import compose

_log = structlog.get_logger("dispatcher")

# LISTEN/NOTIFY would take a lock of the whole database in each commit that tells something, in the money's path;
# an empty look at two partial indexes costs less than that.
_POLL: Final = 0.25
_MARK_EVERY_SECONDS: Final = 1.0
_SEAL_EVERY: Final = timedelta(seconds=1)
_SEAL_WHOLE_EVERY: Final = timedelta(minutes=10)
_BACK_OFF_FIRST_SECONDS: Final = 2.0
_BACK_OFF_MAX_SECONDS: Final = 3600.0


def back_off(attempts: int) -> timedelta:
    """How long to wait after so many tries: doubling from 2 s to an hour, spread by a fifth."""
    seconds = min(_BACK_OFF_FIRST_SECONDS * 2 ** (attempts - 1), _BACK_OFF_MAX_SECONDS)
    return timedelta(seconds=seconds * random.uniform(0.8, 1.2))  # noqa: S311 - not a secret


class Dispatcher:
    """Sends deliveries; several may run at once. `mailer` None: there is no mail server, and mails are refused."""

    def __init__(
        self,
        database: Database,
        *,
        mailer: Mailer | None,
        webhooks: Webhooks,
        custody: Custody | None,
        explorer_url: str,
        api_url: str,
    ) -> None:
        self._database = database
        self._mailer = mailer
        self._webhooks = webhooks
        self._custody = custody
        self._explorer_url = explorer_url.rstrip("/")
        self._api_url = api_url.rstrip("/")
        self._sealed_at = self._sealed_whole_at = datetime.min.replace(tzinfo=UTC)

    async def run(self, stop: asyncio.Event) -> None:
        """Send until `stop`; a database that is away is waited for."""
        while not stop.is_set():
            try:
                busy = await self.step()
            except Unavailable as error:
                _log.warning("waits for the database", code=error.code)
                busy = False
            except Exception:
                # The others' messages must not wait for somebody to mend this one.
                _log.exception("a round failed")
                busy = False
            if not busy:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), _POLL)

    async def step(self) -> bool:
        """Place new events, send what is due, seal the log; whether there may be more to do at once."""
        async with self._database.begin() as connection:
            placed = await outbox.place(connection)
            due = await outbox.claim(connection)
        if due:
            await self._deliver(due)
        now = datetime.now(UTC)
        if now - self._sealed_at >= _SEAL_EVERY:
            self._sealed_at = now
            whole = now - self._sealed_whole_at >= _SEAL_WHOLE_EVERY
            if whole:
                self._sealed_whole_at = now
            async with self._database.begin() as connection:
                await audit.seal(connection, whole=whole)
        return placed or bool(due)

    async def _deliver(self, due: Sequence[Delivery]) -> None:
        """Send them side by side, and write down what became of them: together, but none waits for a slow one."""
        under_way = {asyncio.create_task(self._send(delivery)): delivery for delivery in due}
        pending: set[asyncio.Task[None]] = set(under_way)
        mistake: BaseException | None = None
        try:
            while pending:
                done, pending = await asyncio.wait(pending, timeout=_MARK_EVERY_SECONDS)
                ended = [(under_way[task], task.exception()) for task in done]
                mistake = next((e for _, e in ended if e and not isinstance(e, HoldfastError)), mistake)
                if ended:
                    await self._mark(ended)
        finally:
            for task in pending:
                task.cancel()
        if mistake is not None:
            # Told last: it must not keep the others' messages from being marked as sent.
            raise mistake

    async def _mark(self, ended: Sequence[tuple[Delivery, BaseException | None]]) -> None:
        async with self._database.begin() as connection:
            await outbox.mark_sent(connection, [delivery for delivery, error in ended if error is None])
            for delivery, error in ended:
                if isinstance(error, Refused):
                    _log.warning("refused", delivery=delivery.id, channel=delivery.channel, reason=error.message)
                    await outbox.mark_refused(connection, delivery, error.message)
                elif isinstance(error, HoldfastError):
                    # Unknown is sent again too: its delivery id and Message-ID let a receiver drop a second copy.
                    wait = back_off(delivery.attempts)
                    _log.info("waits", delivery=delivery.id, channel=delivery.channel, reason=error.message)
                    await outbox.mark_failed(connection, delivery, error.message, wait=wait, at=datetime.now(UTC))

    async def _send(self, delivery: Delivery) -> None:
        event = delivery.event
        if delivery.channel == "mail":
            if self._mailer is None:
                raise Refused("no mail server is set (SMTP_HOST)")
            message = compose(event, explorer_url=self._explorer_url, api_url=self._api_url)
            await self._mailer.send(delivery.recipient, message, event=event, reference=f"delivery-{delivery.id}")
            return
        if self._custody is None:
            raise Refused("no keyring is set (CUSTODY_KEYS)")
        await self._webhooks.send(
            delivery.url,
            body_of(event, self._links(event)),
            event_type=event.type,
            delivery_id=delivery.id,
            secret=self._custody.open_webhook(delivery.recipient, delivery.sealed_secret),
            timestamp=int(datetime.now(UTC).timestamp()),
        )

    def _links(self, event: Event) -> dict[str, str]:
        links: dict[str, str] = {}
        if event.data.get("tx_hash"):
            links["explorer"] = f"{self._explorer_url}/tx/{event.data['tx_hash']}"
        kind, _, name = event.subject.partition(":")
        if kind == "outage":
            links["outage"] = f"{self._api_url}/api/v1/outages/{name}"
        if kind == "payout":
            links["payout"] = f"{self._api_url}/api/v1/payouts/{name}"
        return links
