"""What people see while parts start: a live table on a terminal, one line each elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text


class Progress(Protocol):
    """What people are shown."""

    def starting(self, name: str) -> None:
        """A part or a step begins."""

    def doing(self, name: str, what: str) -> None:
        """A step is at this."""

    def ready(self, name: str, seconds: float, note: str) -> None:
        """A part is ready, or a step is done."""

    def say(self, sentence: str, *, bad: bool) -> None:
        """Something happened to a part that was ready."""


class StartProgress:
    """Each part: starting, then ready in n s."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._rows: dict[str, tuple[float, str, float | None]] = {}
        self._spinners: dict[str, Spinner] = {}
        self._live: Live | None = None

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live = Live(self, console=self._console, refresh_per_second=12, transient=False)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def starting(self, name: str) -> None:
        """A part or a step begins."""
        self._rows[name] = (time.monotonic(), "starting", None)
        self._spinners[name] = Spinner("dots", style="cyan")

    def doing(self, name: str, what: str) -> None:
        """A step is at this."""
        self._rows[name] = (self._rows[name][0], what, None)

    def ready(self, name: str, seconds: float, note: str) -> None:
        """A part is ready, or a step is done."""
        self._rows[name] = (self._rows[name][0], note, seconds)
        if self._live is None:
            self._console.print(
                f"{name} ready in {seconds:.1f} s  {note}".rstrip(), highlight=False, soft_wrap=True
            )

    def say(self, sentence: str, *, bad: bool) -> None:
        """Something happened to a part that was ready."""
        self._console.print(Text(sentence, style="bold red" if bad else "yellow"), soft_wrap=True)

    def __rich__(self) -> RenderableType:
        table = Table.grid(padding=(0, 2))
        for name, (began, note, seconds) in self._rows.items():
            done = seconds is not None
            mark: RenderableType = Text("✓", style="bold green") if done else self._spinners[name]
            spent = f"{seconds if seconds is not None else time.monotonic() - began:.1f} s"
            style = "dim" if done else "cyan"
            table.add_row(mark, Text(name, style="bold"), Text(spent, justify="right"), Text(note, style=style))
        return table
