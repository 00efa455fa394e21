"""Misbehaviour on request: an endpoint that is down, slow, or answers and is not heard."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

KINDS: Final = {
    "webhook_503": "the endpoint answers 503 and keeps nothing",
    "webhook_delay": "the endpoint answers after `delay_ms`",
    "webhook_drop": "the endpoint keeps the message, and the connection breaks before it answers",
    "smtp_451": "the mail server refuses for now, and keeps nothing",
    "smtp_550": "the mail server refuses for good, and keeps nothing",
}


@dataclass(slots=True)
class Fault:
    """One kind of misbehaviour, for so many more requests; `name` restricts it to one hook."""

    kind: str
    count: int
    delay_ms: int = 0
    name: str = ""


class Faults:
    """The misbehaviour that is asked for at the moment."""

    def __init__(self) -> None:
        self._active: list[Fault] = []

    def ask(self, body: Any) -> Fault:
        """Take a request such as `{"kind": "webhook_503", "count": 2}`.

        Raises:
            ValueError: says what is wrong with it.
        """
        if not isinstance(body, dict) or body.get("kind") not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}")
        unknown = set(body) - {"kind", "count", "delay_ms", "name"}
        if unknown:
            raise ValueError(f"unknown: {', '.join(sorted(unknown))}")
        count, delay_ms = body.get("count", 1), body.get("delay_ms", 0)
        if not isinstance(count, int) or not isinstance(delay_ms, int) or count < 1 or not 0 <= delay_ms <= 60_000:
            raise ValueError("count must be 1 or more, and delay_ms between 0 and 60000")
        fault = Fault(body["kind"], count, delay_ms, str(body.get("name", "")))
        self._active.append(fault)
        return fault

    def take(self, kind: str, name: str = "") -> Fault | None:
        """Use up one request of a fault of this kind, where one is active."""
        for fault in self._active:
            if fault.kind == kind and fault.name in ("", name):
                fault.count -= 1
                if fault.count == 0:
                    self._active.remove(fault)
                return fault
        return None

    def clear(self) -> None:
        """Behave again."""
        self._active.clear()

    @property
    def active(self) -> list[Fault]:
        """What is still asked for."""
        return list(self._active)
