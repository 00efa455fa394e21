"""Policy: what may be paid at all. Checked before signing and again before sending."""

from __future__ import annotations

from dataclasses import dataclass, field

from domain.address import account_of
from domain.errors import Refused
from domain.money import Amount
from domain.settlement import Intent


@dataclass(frozen=True, slots=True)
class Policy:
    """Limits that hold for every settlement; None or empty means: no such limit.

    `assets` and `contracts` are allow-lists, `blocked` lists destinations that are never paid. The day's limit is
    kept by the database, where what is reserved counts.
    """

    live: bool
    amount_max: Amount | None = None
    day_max: Amount | None = None
    assets: frozenset[str] = field(default_factory=frozenset)
    contracts: frozenset[str] = field(default_factory=frozenset)
    blocked: frozenset[str] = field(default_factory=frozenset)

    def check(self, intent: Intent) -> None:
        """Let an intent pass, or say which rule it breaks.

        Raises:
            Refused: `policy_amount`, `asset_not_allowed`, `destination_blocked` or `refused`, with both figures.
        """
        if self.amount_max is not None and intent.amount > self.amount_max:
            raise Refused(
                f"{intent.amount.brief} {intent.asset} is above the greatest amount for one payment, "
                f"{self.amount_max.brief}",
                code="policy_amount",
                amount=str(intent.amount),
                amount_max=str(self.amount_max),
            )
        if self.assets and intent.asset not in self.assets:
            raise Refused(f"the asset {intent.asset} is not allowed", code="asset_not_allowed", asset=intent.asset)
        for party in (intent.destination, intent.source):
            if party in self.blocked or _beneath(party) in self.blocked:
                raise Refused(f"{party} is on the blocklist", code="destination_blocked", destination=party)
        if self.contracts and intent.invocation.contract not in self.contracts:
            raise Refused(f"the contract {intent.invocation.contract} is not allowed")


def _beneath(party: str) -> str:
    """The account of a muxed one, which is as blocked as that; `N recipients` is no address and stays."""
    try:
        return account_of(party)
    except ValueError:
        return party
