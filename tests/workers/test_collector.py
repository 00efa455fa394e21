"""What the collector of a worker leaves lying: in a process of its own, since its settings are a process's."""

from __future__ import annotations

import subprocess
import sys
from textwrap import dedent

_KEPT = 500
_TOLD = 8_000
_STORIES = dedent(f"""
    import weakref
    from collections import deque
    from workers.collector import set_collector

    class Story:
        "A loop, its tasks, their contexts: some 160 objects that the collector knows of, in cycles."
        def __init__(self):
            self.parts = [[self] for _ in range(160)]

    set_collector()
    kept, alive = deque(maxlen={_KEPT}), weakref.WeakSet()
    most = 0
    for _ in range({_TOLD}):
        story = Story()
        kept.append(story)
        alive.add(story)
        most = max(most, len(alive))
    print(most)
""")


def test_stories_that_the_cache_let_go_of_do_not_pile_up() -> None:
    done = subprocess.run([sys.executable, "-c", _STORIES], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 4 * _KEPT, "what was evicted was not freed"
