"""What the inbox received: the last messages in memory, and a file that survives a kill."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

MESSAGES_MAX: Final = 1_000
BODY_CHARACTERS_MAX: Final = 256 * 1024
"""Longer bodies are cut, and the message says so."""


@dataclass(frozen=True, slots=True)
class Message:
    """One mail or webhook. `verified` is None where nobody told us a secret or nothing is signed."""

    id: int
    kind: str
    at: str
    sender: str
    to: str
    subject: str
    headers: tuple[tuple[str, str], ...]
    text: str
    html: str = ""
    attachments: tuple[str, ...] = ()
    verified: bool | None = None
    verification: str = ""
    data: Any = field(default=None)

    @property
    def time(self) -> str:
        """The time of day in UTC, to the second."""
        return self.at[11:19]

    @property
    def preview(self) -> str:
        """The body's beginning on one line."""
        return " ".join(self.text[:400].split())[:160]

    def matches(self, *, kind: str = "", to: str = "", contains: str = "") -> bool:
        """Whether it is of this kind, and its recipients and texts contain `to` and `contains`, in any case."""
        return (
            (not kind or self.kind == kind)
            and to.lower() in self.to.lower()
            and contains.lower() in f"{self.subject}\n{self.text}\n{self.html}".lower()
        )


class Mailbox:
    """The last `MESSAGES_MAX` messages."""

    def __init__(self, state: Path | None = None) -> None:
        self._state = state
        self._messages: OrderedDict[int, Message] = OrderedDict()
        self._next_id = 1
        self._lines = 0
        if state is not None and state.exists():
            self._read(state)

    def _read(self, state: Path) -> None:
        with state.open(encoding="utf-8") as lines:
            for line in lines:
                try:
                    row = json.loads(line)
                except ValueError:
                    continue  # the last line of a process that was killed while it wrote
                row["headers"] = tuple(tuple(pair) for pair in row["headers"])
                row["attachments"] = tuple(row["attachments"])
                self._keep(Message(**row))
        self._write_all()

    def _keep(self, message: Message) -> None:
        self._messages[message.id] = message
        self._next_id = max(self._next_id, message.id + 1)
        while len(self._messages) > MESSAGES_MAX:
            self._messages.popitem(last=False)

    def add(self, *, kind: str, text: str, html: str = "", **fields: Any) -> Message:
        """Keep a message, and give it with its id and time."""
        if len(text) > BODY_CHARACTERS_MAX:
            text = text[:BODY_CHARACTERS_MAX] + "\n[cut here by the inbox]"
        message = Message(
            id=self._next_id,
            kind=kind,
            at=datetime.now(UTC).isoformat(timespec="milliseconds"),
            text=text,
            html=html[:BODY_CHARACTERS_MAX],
            **fields,
        )
        self._keep(message)
        if self._state is not None:
            # One line a message, and the file is written anew when most of it is forgotten.
            if self._lines >= 2 * MESSAGES_MAX:
                self._write_all()
            else:
                with self._state.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(asdict(message)) + "\n")
                self._lines += 1
        return message

    def _write_all(self) -> None:
        if self._state is None:
            return
        fresh = self._state.with_suffix(".new")
        with fresh.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(asdict(message)) + "\n" for message in self._messages.values())
        fresh.replace(self._state)
        self._lines = len(self._messages)

    def newest_first(self, *, kind: str = "", to: str = "", contains: str = "") -> Iterator[Message]:
        """Give the messages that match."""
        for message in reversed(self._messages.values()):
            if message.matches(kind=kind, to=to, contains=contains):
                yield message

    def get(self, message_id: int) -> Message | None:
        """Give one message."""
        return self._messages.get(message_id)

    def __len__(self) -> int:
        return len(self._messages)

    def clear(self) -> None:
        """Forget everything; ids go on."""
        self._messages.clear()
        self._write_all()
