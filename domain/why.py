"""Why: in one sentence, what a settlement waits for, since when, and what an operator may safely do."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from pydantic import BaseModel

from domain.instants import instant
from domain.settlement import Control, Ending, SettlementStatus
from domain.signing import Signer

_S = SettlementStatus
_SAFE_BEFORE_SENDING: Final = ("hold", "cancel")
_SAFE_IN_FLIGHT: Final = ("verify", "bump-fee", "hold", "cancel")
_SIGNERS_NAMED: Final = 5


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
    signers: tuple[Signer, ...] = ()
    threshold: int = 0
    signed_by: tuple[str, ...] = ()
    expires_at: datetime | None = None
    """When the request for signatures ends, by ledger close time."""
    expires_ledger: int | None = None
    """The last ledger in which the authorization entry that is asked for can be used; None: it is an envelope."""
    waits_for: str | None = None
    """Why it is not built yet."""
    ending: Ending | None = None
    build_only: bool = False
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
    if facts.stopped is not None and facts.ending is None:
        return f"Nothing is sent now: {facts.stopped}.", ("thaw",)
    if facts.control is Control.HOLD and facts.ending is None:
        return _say_held(facts), ("resume", "cancel")
    if facts.needs_person is not None:
        return f"A person should look: {facts.needs_person}.", _SAFE_IN_FLIGHT
    if facts.status.in_flight:
        return _say_in_flight(facts), _SAFE_IN_FLIGHT
    return _say_unsent(facts)


def _say_held(facts: SettlementFacts) -> str:
    if not facts.status.in_flight:
        return "An operator holds it; nothing was sent."
    return f"An operator holds it, so it is not sent again; what was sent may still land.{_can_land(facts)}"


def _say_final(facts: SettlementFacts) -> tuple[str, tuple[str, ...]]:
    if facts.status is _S.CONFIRMED:
        return f"It was paid: {facts.tx_hash or facts.reason} (ledger {facts.ledger}).", ()
    if facts.status is _S.CANCELLED:
        return f"It was cancelled and can never be paid: {facts.reason}.", ()
    return f"It was not paid: {facts.reason}. A retry pays at most once.", ("retry",)


def _say_unsent(facts: SettlementFacts) -> tuple[str, tuple[str, ...]]:
    if facts.ending is not None:
        return _say_ending(facts.ending), ("verify",)
    if facts.control is Control.CANCEL:
        return "It is about to be cancelled: nothing was sent.", ()
    if facts.status is _S.AWAITING_SIGNATURE:
        return _say_awaiting(facts), _SAFE_BEFORE_SENDING
    worker = "a worker is at it" if facts.owner_alive else "it waits for a worker"
    if facts.build_only and facts.status is _S.BUILT:
        return "It is built, and only built: nothing of it is signed or sent.", ("cancel",)
    if facts.waits_for is not None:
        stands = f"not built yet: {facts.waits_for}"
    elif facts.status is _S.ACCEPTED:
        stands = f"accepted and not built yet: {worker}"
    elif facts.status is _S.QUEUED:
        stands = f"signed and not sent yet: {worker}"
    else:
        stands = f"built (try {facts.builds}) and not sent yet: {worker}"
    return f"It is {stands}.", _SAFE_BEFORE_SENDING


def _say_awaiting(facts: SettlementFacts) -> str:
    weights = {signer.address: signer.weight for signer in facts.signers}
    there = sum(weights.get(address, 0) for address in set(facts.signed_by))
    missing = [signer for signer in facts.signers if signer.address not in facts.signed_by]
    named = ", ".join(f"{signer.address} ({signer.weight})" for signer in missing[:_SIGNERS_NAMED])
    more = f" and {len(missing) - _SIGNERS_NAMED} more" if len(missing) > _SIGNERS_NAMED else ""
    until = f" until {facts.expires_at:%Y-%m-%d %H:%M:%S} UTC" if facts.expires_at else ""
    if facts.expires_ledger is None:
        safe = "The lane has not signed, so nothing of ours can land."
    else:
        safe = (
            "No lane is held, and nothing of ours can land; yet whoever gets all its signatures could use them, "
            f"once, until ledger {facts.expires_ledger}."
        )
    return (
        f"It waits for signatures, by weight {there} of {max(1, facts.threshold)} there, of {named}{more}{until}; "
        f"then it is asked for anew. {safe}"
    )


def _say_ending(ending: Ending) -> str:
    return (
        f"It will be {ending.status}: {ending.reason}. Whoever has its authorization signed could use it until "
        f"ledger {ending.after}, so it is {ending.status} for good only then; if somebody does, it is confirmed."
    )


def _say_in_flight(facts: SettlementFacts) -> str:
    answer = f" The node last said: {facts.last_answer}." if facts.last_answer else ""
    asked = {
        Control.CANCEL: " A cancel waits for the number to be consumed.",
        Control.BUMP: " A higher bid goes out with the next ledger.",
    }.get(facts.control, "")
    doubt = "may or may not have landed" if facts.status is _S.UNKNOWN else "was sent"
    return (
        f"It {doubt} with sequence {facts.sequence} of lane {facts.lane}, bidding {facts.bid_stroops} stroops, "
        "and waits for proof from the ledger, each ledger anew; it cannot be paid twice."
        f"{_can_land(facts)}{answer}{asked}"
    )


def _can_land(facts: SettlementFacts) -> str:
    return f" It can land until {instant(facts.max_time, timespec='seconds')}." if facts.max_time else ""
