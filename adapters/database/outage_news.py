"""What people are told of an outage: the events' data, always in the transaction that made them true."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.database.outbox import tell
from domain.events import Event, EventType
from domain.outage import Outage


async def tell_of(
    connection: AsyncConnection, outage: Outage, event_type: EventType, *, at: datetime, **data: str
) -> None:
    """Record an event of an outage; `data` goes beside what every such event says.

    The data holds no description, RCA text or person: strangers read it.
    """
    said: dict[str, str | int] = {
        "outage_id": outage.outage_id,
        "status": outage.status,
        "severity": outage.severity,
        "site_name": outage.site_name,
        "payment": outage.phase,
        "detected_at": outage.detected_at.isoformat(),
    }
    if outage.resolved_at is not None:
        said["resolved_at"] = outage.resolved_at.isoformat()
    if outage.decision is not None:
        said |= {
            "type": outage.decision.kind,
            "amount": str(outage.decision.amount),
            "asset": outage.decision.asset,
            "mttr_minutes": outage.decision.mttr_minutes,
            "threshold_minutes": outage.decision.threshold_minutes,
        }
    if outage.tx_hash is not None:
        said |= {"tx_hash": outage.tx_hash, "ledger": outage.ledger or 0}
    if outage.reason_code is not None:
        said |= {"reason_code": outage.reason_code, "reason": outage.reason or ""}
    await tell(
        connection,
        Event(
            type=event_type,
            subject=f"outage:{outage.outage_id}",
            at=at,
            data={**said, **data},
            operator_id=outage.operator_id,
            site_name=outage.site_name,
        ),
    )
