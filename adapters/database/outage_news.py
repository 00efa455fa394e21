"""What people are told of an outage: the events' data."""

from __future__ import annotations

from datetime import datetime

from domain.events import Event, EventType
from domain.instants import instant
from domain.outage import Outage


def event_about(outage: Outage, event_type: EventType, *, at: datetime, **data: str) -> Event:
    """An event of an outage; `data` goes beside what every such event says.

    The data holds no description, RCA text or person: strangers read it.
    """
    said: dict[str, str | int] = {
        "outage_id": outage.outage_id,
        "status": outage.status,
        "severity": outage.severity,
        "site_name": outage.site_name,
        "payment": outage.phase,
        "detected_at": instant(outage.detected_at),
    }
    if outage.resolved_at is not None:
        said["resolved_at"] = instant(outage.resolved_at)
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
    return Event(
        type=event_type,
        subject=f"outage:{outage.outage_id}",
        at=at,
        data={**said, **data},
        operator_id=outage.operator_id,
        site_name=outage.site_name,
    )
