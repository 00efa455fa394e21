"""Times as text: everywhere in one form, in UTC and with a Z."""

from __future__ import annotations

from datetime import UTC, datetime


def instant(at: datetime, *, timespec: str = "auto") -> str:
    """Write a time with a zone as `2026-01-16T10:25:00Z`; `timespec` as for `datetime.isoformat`."""
    return at.astimezone(UTC).isoformat(timespec=timespec).replace("+00:00", "Z")
