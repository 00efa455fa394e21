"""What a scenario measures: samples with their spread, never a bare average."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any


def percentile(ordered: list[float], share: float) -> float:
    """Give the nearest-rank percentile of sorted samples."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured quantity. `ratio` is to the ceiling of the same run, where there is one to compare with."""

    name: str
    unit: str
    samples: int
    minimum: float
    p50: float
    p95: float
    p99: float
    maximum: float
    mean: float
    ratio: float | None = None
    ratio_of: str = ""
    note: str = ""

    @classmethod
    def of(cls, name: str, unit: str, values: Iterable[float], *, note: str = "") -> Figure:
        """Summarize samples.

        Raises:
            ValueError: there are none.
        """
        ordered = sorted(values)
        if not ordered:
            raise ValueError(f"{name} has no samples")
        return cls(
            name=name,
            unit=unit,
            samples=len(ordered),
            minimum=ordered[0],
            p50=percentile(ordered, 0.50),
            p95=percentile(ordered, 0.95),
            p99=percentile(ordered, 0.99),
            maximum=ordered[-1],
            mean=fmean(ordered),
            note=note,
        )

    def against(self, ceiling: Figure) -> Figure:
        """Give it with the ratio of its median to the ceiling's."""
        values = asdict(self) | {"ratio": self.p50 / ceiling.p50, "ratio_of": ceiling.name}
        return Figure(**values)


@dataclass(frozen=True, slots=True)
class Check:
    """An aim, and whether it was met."""

    aim: str
    met: bool
    measured: str


@dataclass(frozen=True, slots=True)
class ScenarioResult:
    """What one scenario found."""

    name: str
    what: str
    figures: tuple[Figure, ...]
    checks: tuple[Check, ...] = ()

    def figure(self, name: str) -> Figure:
        """Give one figure by name."""
        return next(figure for figure in self.figures if figure.name == name)

    def to_json(self) -> dict[str, Any]:
        """Give it as JSON values."""
        return asdict(self)
