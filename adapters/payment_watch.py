"""Tells people where the ledger and the record differ."""

from __future__ import annotations

from datetime import datetime
from typing import Final, Protocol

from sqlalchemy import exists, select
from sqlalchemy.ext.asyncio import AsyncConnection

from activities.reconciliation import ReconciliationResult
from adapters.database.audit import record
from adapters.database.engine import Database
from adapters.database.outbox import tell
from adapters.database.outbox_tables import events
from domain.events import Event, EventType
from domain.reconciliation import Reconciliation, tally

_NAMED_MAX: Final = 20
"""So many differences are named in the event; `holdfast reconcile payments` lists all."""


class PaymentAudit(Protocol):
    """`adapters.stellar.payment_audit.PaymentAudit`."""

    async def compare(self) -> Reconciliation:
        """Compare all that the RPC keeps."""


class PaymentWatch:
    """Satisfies `activities.reconciliation.PaymentWatch`."""

    def __init__(self, database: Database, audit: PaymentAudit) -> None:
        self._database = database
        self._audit = audit

    async def look(self, at: datetime) -> ReconciliationResult:
        """See `activities.reconciliation.PaymentWatch`."""
        found = await self._audit.compare()
        if not found.same:
            event = _event(found, at)
            async with self._database.begin() as connection:
                if not await _was_told(connection, event):
                    await tell(connection, event)
                    await record(
                        connection,
                        actor="system:reconciliation",
                        action="reconciliation.differs",
                        subject=event.subject,
                        details=tally(found.differences),
                    )
        return ReconciliationResult(
            first_ledger=found.first_ledger,
            last_ledger=found.last_ledger,
            on_ledger=found.on_ledger,
            in_record=found.in_record,
            under_way=found.under_way,
            differences=len(found.differences),
        )


def _event(found: Reconciliation, at: datetime) -> Event:
    named = found.differences[:_NAMED_MAX]
    sentences = [f"{one.settlement_id or one.marker_id}: {one.sentence}" for one in named[:3]]
    return Event(
        type=EventType.RECONCILIATION_DIFFERS,
        # A night is one event, also where the round is tried again.
        subject=f"reconciliation:{at:%Y-%m-%dT%H:%M:%SZ}",
        at=at,
        data={
            "count": len(found.differences),
            "kinds": tally(found.differences),
            "first_ledger": found.first_ledger,
            "last_ledger": found.last_ledger,
            "reason": "; ".join(sentences),
            "differences": [one.model_dump(mode="json") for one in named],
        },
    )


async def _was_told(connection: AsyncConnection, event: Event) -> bool:
    told = exists().where(events.c.type == event.type, events.c.subject == event.subject)
    return bool((await connection.execute(select(told))).scalar_one())
