"""Whether a part of `holdfast up` is ready, asked over HTTP."""

from __future__ import annotations

import json
import urllib.error
import urllib.request


def for_a_person(api: str) -> list[str] | None:
    """What only a person can lift of what stands against payments; None while the API or a part it needs is away.

    A freeze, or a database that was restored, must not keep everything from starting: `holdfast thaw` and
    `holdfast reconcile` need it up.
    """
    try:
        with urllib.request.urlopen(f"{api}/ready", timeout=5):  # noqa: S310 - our own loopback URL
            return []
    except urllib.error.HTTPError as error:
        try:
            checks: dict[str, str] = json.loads(error.read())["checks"]
        except (OSError, ValueError, KeyError):
            return None
    except OSError:
        return None
    wrong = {name: words for name, words in checks.items() if words != "ok"}
    return list(wrong.values()) if wrong and wrong.keys() <= {"history", "sending"} else None


def answers(url: str) -> bool:
    """Whether a URL answers 200."""
    try:
        with urllib.request.urlopen(url, timeout=5) as response:  # noqa: S310 - our own loopback URL
            return bool(response.status == 200)
    except (OSError, urllib.error.URLError):
        return False
