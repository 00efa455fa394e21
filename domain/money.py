"""Money: an amount of one asset, exact.

Stellar counts every asset in units of 10⁻⁷ (a *stroop* for XLM); trustline balances are 64-bit signed
integers and contract amounts 128-bit. Amounts come in as strings, and never pass through a float.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, Self

from domain.errors import InvalidInput

DECIMALS: Final = 7
ONE: Final = 10**DECIMALS
AMOUNT_MAX: Final = 2**63 - 1
"""The greatest balance of a trustline, in units of 10⁻⁷."""

_PLAIN = re.compile(r"(?P<whole>[0-9]{1,40})(?:\.(?P<fraction>[0-9]+))?", re.ASCII)


@dataclass(frozen=True, slots=True, order=True)
class Amount:
    """A non-negative amount in units of 10⁻⁷ of its asset."""

    units: int

    def __post_init__(self) -> None:
        if not 0 <= self.units <= AMOUNT_MAX:
            raise InvalidInput(
                f"an amount is between 0 and {AMOUNT_MAX // ONE}, not {self.units}e-7", amount="out of range"
            )

    @classmethod
    def parse(cls, text: str, *, field: str = "amount") -> Self:
        """Read a plain decimal string such as `"1000"` or `"0.0000001"`.

        Raises:
            InvalidInput: signs, exponents, NaN, more than 7 decimals, or beyond 64 bits.
        """
        match = _PLAIN.fullmatch(text)
        if match is None:
            raise InvalidInput(
                f"{field} must be a plain positive decimal number in a string",
                **{field: 'a decimal string such as "100.5"'},
            )
        fraction = match["fraction"] or ""
        if len(fraction) > DECIMALS:
            raise InvalidInput(
                f"{field} has {len(fraction)} decimals; Stellar has 7", **{field: "at most 7 decimals"}
            )
        units = int(match["whole"]) * ONE + int(fraction.ljust(DECIMALS, "0") or "0")
        if units > AMOUNT_MAX:
            raise InvalidInput(
                f"{field} is beyond what a Stellar balance can hold",
                **{field: f"at most {AMOUNT_MAX // ONE}.{AMOUNT_MAX % ONE:07d}"},
            )
        return cls(units)

    @classmethod
    def of(cls, whole: int) -> Self:
        """Make an amount of whole units of the asset: `Amount.of(750)` is 750.0000000."""
        return cls(whole * ONE)

    @property
    def decimal(self) -> Decimal:
        """The exact decimal value."""
        return Decimal(self.units) / ONE

    def __str__(self) -> str:
        return f"{self.units // ONE}.{self.units % ONE:07d}"

    @property
    def brief(self) -> str:
        """For people: without trailing zeros, with thousands marked: `1,000` or `0.5`."""
        fraction = f"{self.units % ONE:07d}".rstrip("0")
        whole = f"{self.units // ONE:,}"
        return f"{whole}.{fraction}" if fraction else whole

    def __add__(self, other: Amount) -> Amount:
        return Amount(self.units + other.units)

    def __sub__(self, other: Amount) -> Amount:
        return Amount(self.units - other.units)

    def __mul__(self, factor: int) -> Amount:
        return Amount(self.units * factor)
