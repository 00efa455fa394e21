"""What an operator may ask of a payment or payout that is with the engine. None of it can pay twice."""

from __future__ import annotations

from enum import StrEnum


class Action(StrEnum):
    """An operator's action; each is audited."""

    HOLD = "hold"
    RESUME = "resume"
    CANCEL = "cancel"
    VERIFY = "verify"
    BUMP_FEE = "bump-fee"
