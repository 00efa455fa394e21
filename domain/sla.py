"""The SLA: what an outage costs or earns.

The table is the guide's; the contract holds its own copy and decides, this module computes the same, and a
property test holds them together. All arithmetic is on whole minutes and whole units of 10⁻⁷.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from domain.errors import InvalidInput
from domain.instants import instant
from domain.money import Amount


class Severity(StrEnum):
    """How bad an outage is; `number` is the contract's."""

    CRITICAL = "critical"
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"

    @property
    def number(self) -> int:
        """The contract's `Severity` discriminant."""
        return list(Severity).index(self)


class PaymentKind(StrEnum):
    """Which way the money goes; `number` is the contract's."""

    PENALTY = "penalty"
    REWARD = "reward"

    @property
    def number(self) -> int:
        """The contract's `PaymentKind` discriminant."""
        return list(PaymentKind).index(self)


class Rating(StrEnum):
    """How well an outage was handled."""

    EXCEPTIONAL = "exceptional"
    EXCELLENT = "excellent"
    GOOD = "good"
    VIOLATED = "violated"


@dataclass(frozen=True, slots=True)
class SlaTerms:
    """One severity's terms."""

    threshold_minutes: int
    penalty_per_minute: Amount
    base_reward: Amount


SLA_TABLE: Final[Mapping[Severity, SlaTerms]] = MappingProxyType(
    {
        Severity.CRITICAL: SlaTerms(15, Amount.of(100), Amount.of(750)),
        Severity.HIGH: SlaTerms(30, Amount.of(50), Amount.of(750)),
        Severity.MEDIUM: SlaTerms(60, Amount.of(25), Amount.of(750)),
        Severity.LOW: SlaTerms(120, Amount.of(10), Amount.of(600)),
    }
)

WARNING_PERCENTS: Final = (80, 100)
"""Of the threshold: when people are warned."""


@dataclass(frozen=True, slots=True)
class SlaDecision:
    """What the SLA says of one outage."""

    severity: Severity
    mttr_minutes: int
    threshold_minutes: int
    kind: PaymentKind
    rating: Rating
    amount: Amount

    @property
    def violated(self) -> bool:
        """Whether the threshold was passed."""
        return self.kind is PaymentKind.PENALTY


def minutes_to_repair(detected_at: datetime, resolved_at: datetime) -> int:
    """Whole minutes from detection to resolution; a started minute counts.

    Raises:
        InvalidInput: resolved before detected, or a time without a zone.
    """
    for field, moment in (("detected_at", detected_at), ("resolved_at", resolved_at)):
        if moment.tzinfo is None:
            raise InvalidInput(
                f"{field} has no time zone", **{field: "a time with a zone, such as 2026-01-16T10:00:00Z"}
            )
    if resolved_at < detected_at:
        raise InvalidInput(
            "the outage is resolved before it was detected",
            resolved_at=f"at or after detected_at ({instant(detected_at)})",
        )
    # Floor division of the negated span rounds up, exactly, in whole microseconds.
    return -((detected_at - resolved_at) // timedelta(minutes=1))


def decide(severity: Severity, mttr_minutes: int, terms: SlaTerms | None = None) -> SlaDecision:
    """Penalty above the threshold, else a reward that grows as the repair was quicker."""
    terms = terms or SLA_TABLE[severity]
    threshold = terms.threshold_minutes
    if mttr_minutes > threshold:
        kind, rating = PaymentKind.PENALTY, Rating.VIOLATED
        amount = terms.penalty_per_minute * (mttr_minutes - threshold)
    else:
        kind = PaymentKind.REWARD
        if mttr_minutes * 2 < threshold:
            rating, halves = Rating.EXCEPTIONAL, 4
        elif mttr_minutes * 4 < threshold * 3:
            rating, halves = Rating.EXCELLENT, 3
        else:
            rating, halves = Rating.GOOD, 2
        amount = Amount(terms.base_reward.units * halves // 2)
    return SlaDecision(severity, mttr_minutes, threshold, kind, rating, amount)


def warning_time(severity: Severity, detected_at: datetime, percent: int) -> datetime:
    """When `percent` of the threshold has passed since detection."""
    return detected_at + timedelta(minutes=SLA_TABLE[severity].threshold_minutes) * percent / 100
