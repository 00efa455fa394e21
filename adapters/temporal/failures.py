"""The one translation between our errors and Temporal's failures."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from temporalio.exceptions import ApplicationError, ApplicationErrorCategory
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from domain.errors import ERROR_CODES, OUTCOMES, HoldfastError


def to_failure(error: HoldfastError) -> ApplicationError:
    """Carry an error over: its class by `type`, code and figures in the details, retryability as it says itself.

    What is tried again by itself is expected, so it is no error in logs and metrics. `retry_after_seconds` among
    an error's details sets when.
    """
    wait = error.details.get("retry_after_seconds")
    return ApplicationError(
        error.message,
        {"code": error.code, "details": error.details},
        type=type(error).__name__,
        non_retryable=not error.retryable,
        next_retry_delay=timedelta(seconds=float(wait)) if wait else None,
        category=ApplicationErrorCategory.BENIGN if error.retryable else ApplicationErrorCategory.UNSPECIFIED,
    )


def from_failure(failure: ApplicationError) -> HoldfastError:
    """Give our error back; one that is not ours is an internal mistake."""
    kind = OUTCOMES.get(failure.type or "", HoldfastError)
    said = failure.details[0] if failure.details else None
    code = said.get("code") if isinstance(said, dict) else None
    details = said.get("details", {}) if isinstance(said, dict) else {}
    return kind(failure.message, code=code if code in ERROR_CODES else None, **details)


class TranslateFailures(Interceptor):
    """Every activity's HoldfastError leaves the worker as a failure that keeps its meaning."""

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002 - the SDK's name
        """Wrap an activity."""
        return _Translate(next)


class _Translate(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002 - the SDK's name
        try:
            return await self.next.execute_activity(input)
        except HoldfastError as error:
            raise to_failure(error) from error
