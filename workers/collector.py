"""Python's collector of cyclic garbage, set for a worker: seldom, and then everything.

A story that has ended, or that the SDK's cache let go of, is a web of cycles (loop, tasks, coroutines, contexts),
some 40 KB that only the collector frees. By then it has waited for a ledger or a person, so it is among the oldest
objects, which Python by default looks at last: after so many other looks that 15,000 stories could lie about.
"""

from __future__ import annotations

import gc
from typing import Final

_ALLOCATIONS: Final = 50_000
"""Objects made beyond those freed, between two looks: those of some 150 payouts."""


def set_collector() -> None:
    """Set it for this process, once everything is imported.

    What was imported stays, and is never looked at: a collector that looks at it every 700 objects takes a tenth
    of the worker. Of the rest, every third look is at all of it, so that no more lies about than what some 500
    payouts leave (20 MB).
    """
    gc.freeze()
    gc.set_threshold(_ALLOCATIONS, 0, 0)
