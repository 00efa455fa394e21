"""Allowances end: when an operator is warned that penalties can soon no longer be drawn."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from domain.money import Amount

WARNING_DAYS: Final = (30, 7)
"""Before the end: when an operator is warned."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a contract may still draw from a wallet, through ledger `live_until`; gone ones are zero and None."""

    amount: Amount
    live_until: int | None


def time_left(allowance: Allowance, *, latest_ledger: int, close_time: timedelta) -> timedelta:
    """How long an allowance still lives where a ledger closes every `close_time`; zero where it is gone."""
    if allowance.live_until is None:
        return timedelta()
    return max(0, allowance.live_until - latest_ledger) * close_time


def warning_due(left: timedelta) -> int | None:
    """The narrowest of `WARNING_DAYS` that has been reached; None while there is time, and once it has ended.

    An allowance that ended is not warned of: the refusal of the next payment names it.
    """
    if left <= timedelta():
        return None
    reached = [days for days in WARNING_DAYS if left <= timedelta(days=days)]
    return min(reached, default=None)
