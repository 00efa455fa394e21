"""How long a story's history may get."""

from __future__ import annotations

from temporalio import workflow


def is_long(events_max: int) -> bool:
    """Whether a story begins anew at the next good moment: past its own bound, or as Temporal suggests."""
    info = workflow.info()
    return info.is_continue_as_new_suggested() or info.get_current_history_length() > events_max
