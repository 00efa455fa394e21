"""Why: in one sentence, what a settlement waits for, since when, and what an operator may safely do."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from pydantic import BaseModel

from domain.settlement import Control, SettlementStatus

_S = SettlementStatus
_SAFE_BEFORE_SENDING: Final = ("hold", "cancel")
_SAFE_IN_FLIGHT: Final = ("verify", "bump-fee", "hold", "cancel")


class SettlementFacts(BaseModel):
    """What the record holds of a settlement, for one sentence. `bid_stroops` is the last inclusion fee."""

    settlement_id: str
    status: SettlementStatus
    control: Control
    since: datetime
    builds: int = 0
    tries: int = 1
    lane: str | None = None
    sequence: int | None = None
    max_time: datetime | None = None
    bid_stroops: int | None = None
    last_answer: str | None = None
    stopped: str | None = None
    needs_person: str | None = None
    owner_alive: bool = False
    tx_hash: str | None = None
    ledger: int | None = None
    reason_code: str | None = None
    reason: str | None = None


class Why(BaseModel):
    """The answer to "why is it stuck, and is it safe to act?"."""

    settlement_id: str
    status: SettlementStatus
    sentence: str
    since: datetime
    may: tuple[str, ...]
    """Operator actions that are safe now: none of them can pay twice."""
    facts: SettlementFacts


def why(facts: SettlementFacts) -> Why:
    """Put the facts into one sentence."""
    sentence, may = _say(facts)
    return Why(
        settlement_id=facts.settlement_id,
        status=facts.status,
        sentence=sentence,
        since=facts.since,
        may=may,
        facts=facts,
    )


def _say(facts: SettlementFacts) -> tuple[str, tuple[str, ...]]:
    if facts.status.final:
        return _say_final(facts)
    if facts.stopped is not None:
        return f"Nothing is sent now: {facts.stopped}.", ("thaw",)
    if facts.control is Control.HOLD:
        return "An operator holds it.", ("resume", "cancel")
    if facts.needs_person is not None:
        return f"A person should look: {facts.needs_person}.", _SAFE_IN_FLIGHT
    if facts.status.in_flight:
        return _say_in_flight(facts), _SAFE_IN_FLIGHT
    return _say_unsent(facts)


def _say_final(facts: SettlementFacts) -> tuple[str, tuple[str, ...]]:
    if facts.status is _S.CONFIRMED:
        return f"It was paid: {facts.tx_hash or facts.reason} (ledger {facts.ledger}).", ()
    if facts.status is _S.CANCELLED:
        return f"It was cancelled and can never be paid: {facts.reason}.", ()
    return f"It was not paid: {facts.reason}. A retry pays at most once.", ("retry",)


def _say_unsent(facts: SettlementFacts) -> tuple[str, tuple[str, ...]]:
    if facts.control is Control.CANCEL:
        return "It is about to be cancelled: nothing was sent.", ()
    if facts.status is _S.AWAITING_SIGNATURE:
        return "It waits for a signature; the lane has not signed, so nothing can land.", _SAFE_BEFORE_SENDING
    worker = "a worker is at it" if facts.owner_alive else "it waits for a worker"
    if facts.status is _S.ACCEPTED:
        return f"It is accepted and not built yet: {worker}.", _SAFE_BEFORE_SENDING
    return f"It is built (try {facts.builds}) and not sent yet: {worker}.", _SAFE_BEFORE_SENDING


def _say_in_flight(facts: SettlementFacts) -> str:
    until = f" It can land until {facts.max_time.isoformat(timespec='seconds')}." if facts.max_time else ""
    answer = f" The node last said: {facts.last_answer}." if facts.last_answer else ""
    burning = " A cancel waits for the number to be consumed." if facts.control is Control.CANCEL else ""
    doubt = "may or may not have landed" if facts.status is _S.UNKNOWN else "was sent"
    return (
        f"It {doubt} with sequence {facts.sequence} of lane {facts.lane}, bidding {facts.bid_stroops} stroops, "
        f"and waits for proof from the ledger, each ledger anew; it cannot be paid twice.{until}{answer}{burning}"
    )
