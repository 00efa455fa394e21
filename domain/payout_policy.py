"""The policy of payouts as a record: a version says what held, and each payout keeps what that version decided."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from domain.errors import Refused
from domain.money import Amount
from domain.policy import Policy
from domain.settlement import Intent

Stage = Literal["accepted", "handed_over"]


def needs_four_eyes(units: int, *, above: Amount | None) -> bool:
    """Whether another person has to agree to so many units of 1e-7, of a payout or of a batch in all.

    `above` is the limit; None: nobody has to. A batch's total may be beyond what one amount can hold.
    """
    return above is not None and units > above.units


class PolicyDecision(BaseModel):
    """What a version of the policy said of a payout, and when. `stage` is `accepted` or `handed_over`."""

    model_config = ConfigDict(frozen=True)

    version: int
    stage: Stage
    decided_at: datetime
    allowed: bool
    needs_approval: bool = False
    why: str | None = None
    code: str | None = None
    details: dict[str, str] = {}
    """Of a refusal, its figures."""


@dataclass(frozen=True, slots=True)
class PayoutPolicy:
    """The engine's policy, and the amount above which another person has to agree (None: never)."""

    policy: Policy
    four_eyes_above: Amount | None = None

    @property
    def terms(self) -> dict[str, Any]:
        """All that it says, as JSON: amounts as decimal strings, lists sorted."""
        policy = self.policy
        amounts = {"amount_max": policy.amount_max, "day_max": policy.day_max, "four_eyes": self.four_eyes_above}
        return {name: None if amount is None else str(amount) for name, amount in amounts.items()} | {
            "live": policy.live,
            "assets": sorted(policy.assets),
            "contracts": sorted(policy.contracts),
            "blocked": sorted(policy.blocked),
        }

    @property
    def digest(self) -> str:
        """sha256 of the terms: the same terms are the same version."""
        return hashlib.sha256(json.dumps(self.terms, sort_keys=True).encode()).hexdigest()

    def decide(self, intent: Intent, *, version: int, stage: Stage, at: datetime) -> PolicyDecision:
        """Say whether an intent is allowed, and whether another person has to agree first.

        The day's limit is not looked at here: it is reserved in the transaction that takes a lane.
        """
        why = None
        above = self.four_eyes_above
        if above is not None and needs_four_eyes(intent.amount.units, above=above):
            why = f"{intent.amount.brief} is above the four-eyes limit of {above.brief}"
        decision = PolicyDecision(
            version=version, stage=stage, decided_at=at, allowed=True, needs_approval=why is not None, why=why
        )
        try:
            self.policy.check(intent)
        except Refused as refusal:
            refused = {"why": refusal.message, "code": refusal.code, "details": refusal.details}
            return decision.model_copy(update={"allowed": False, "needs_approval": False, **refused})
        return decision
