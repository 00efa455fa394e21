"""What a settlement may pay for its transaction, in stroops.

A Soroban transaction pays a resource fee and an inclusion fee; the network admits a replacement in its queue only
at ten times the inclusion bid (stellar-core `TransactionQueue`), so the ladder climbs tenfold.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from domain.errors import Refused

INCLUSION_MIN: Final = 100
"""The network's base fee an operation; a fee bump counts one operation more than its inner transaction."""
_OPERATIONS: Final = 2
REPLACEMENT_FACTOR: Final = 10


@dataclass(frozen=True, slots=True)
class FeePolicy:
    """`max_gas_stroops` caps resource fee and inclusion fee together; `burn_max_stroops` caps a burn."""

    max_gas_stroops: int
    burn_max_stroops: int = 10_000_000

    def first_bid(self, resource_fee: int, recent_p90: int, *, restores: int = 0) -> int:
        """The first inclusion bid: what nine of ten recent transactions paid, within the cap.

        `restores` counts archived entries whose restoring the resource fee pays too.

        Raises:
            Refused: `exceeds_max_gas`: not even the least bid fits under the cap.
        """
        least = INCLUSION_MIN * _OPERATIONS
        if resource_fee + least > self.max_gas_stroops:
            restoring = f"; it restores {restores} archived entries, which is most of it" if restores else ""
            raise Refused(
                f"the transaction exceeds max gas: resource fee {resource_fee} and inclusion fee {least} stroops "
                f"against {self.max_gas_stroops}{restoring}",
                code="exceeds_max_gas",
                **({"restores": str(restores)} if restores else {}),
                resource_fee_stroops=str(resource_fee),
                inclusion_fee_stroops=str(least),
                max_gas_stroops=str(self.max_gas_stroops),
            )
        return min(max(least, recent_p90 * _OPERATIONS), self.max_gas_stroops - resource_fee)

    def next_bid(self, resource_fee: int, bid: int, *, burn: bool = False) -> int | None:
        """The next step of the ladder, or None where the cap does not admit a replacement."""
        cap = (self.burn_max_stroops if burn else self.max_gas_stroops) - resource_fee
        higher = bid * REPLACEMENT_FACTOR
        return higher if higher <= cap else None
