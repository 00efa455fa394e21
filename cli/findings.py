"""What a check finds: ok, a warning or a failure, each with what to mend."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from domain.errors import ERROR_CODES, HoldfastError


class Level(StrEnum):
    """How bad it is: `fail` means that a payment would not go through, or not safely."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


class Finding(BaseModel):
    """One line of the checklist; `mend` is empty where all is well."""

    model_config = ConfigDict(frozen=True)

    check: str
    level: Level
    finding: str
    mend: str = ""


class Findings:
    """Collects lines; a check that cannot be made is a line too."""

    def __init__(self) -> None:
        self.lines: list[Finding] = []

    def ok(self, check: str, finding: str) -> None:
        """All is well."""
        self.lines.append(Finding(check=check, level=Level.OK, finding=finding))

    def warn(self, check: str, finding: str, mend: str) -> None:
        """It works, and will not for long or not always."""
        self.lines.append(Finding(check=check, level=Level.WARN, finding=finding, mend=mend))

    def fail(self, check: str, finding: str, mend: str) -> None:
        """A payment would not go through, or not safely."""
        self.lines.append(Finding(check=check, level=Level.FAIL, finding=finding, mend=mend))

    async def attempt(self, check: str, work: Callable[[], Awaitable[None]]) -> bool:
        """Make a check; False where it could not be made, which is a failure with the error's own remedy."""
        try:
            await work()
        except HoldfastError as error:
            self.fail(check, error.message, ERROR_CODES[error.code].remedy)
            return False
        return True

    @property
    def failed(self) -> bool:
        """Whether a line is a failure."""
        return any(line.level is Level.FAIL for line in self.lines)
