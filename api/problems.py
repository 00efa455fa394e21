"""Problem details (RFC 9457) for every error, each with a stable code; nothing that was sent is echoed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response

from domain.errors import ERROR_CODES, HoldfastError, InvalidInput
from domain.payout_request import KEY_PATTERN, KEY_RIGHT, PAYOUT_ID_PATTERN, PAYOUT_ID_RIGHT
from settings.redaction import redact

_log = structlog.get_logger("api")

MEDIA_TYPE: Final = "application/problem+json"
_RIGHT: Final = {KEY_PATTERN: KEY_RIGHT, PAYOUT_ID_PATTERN: PAYOUT_ID_RIGHT}
"""What a pattern says, for people."""
_BY_STATUS: Final = {
    400: "malformed_request",
    401: "unauthenticated",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    409: "conflict",
    413: "body_too_large",
    415: "malformed_request",
    422: "invalid_input",
    429: "rate_limited",
    503: "unavailable",
}


class FieldError(BaseModel):
    """One field that is not right."""

    field: str = Field(description="A JSON pointer into the body (`/resolved_at`), or the parameter's name.")
    location: str = Field(default="body", description="body, query, path or header")
    message: str = Field(description="What is not right, or what would be.")


class Problem(BaseModel):
    """An error, as RFC 9457 describes it."""

    type: str = Field(description="A URI that names the code.")
    title: str
    status: int
    detail: str
    code: str = Field(description="Stable; listed in docs/errors.md.")
    remedy: str = Field(description="What can be done about it.")
    instance: str = Field(description="The request's id, to be named in a report.")
    errors: list[FieldError] = Field(default_factory=list)
    details: dict[str, str] = Field(default_factory=dict, description="Figures that a program can read.")


def problem(
    request: Request,
    code: str,
    detail: str,
    *,
    status: int | None = None,
    errors: Sequence[FieldError] = (),
    details: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Make the answer for one code."""
    row = ERROR_CODES[code]
    body = Problem(
        type=f"urn:holdfast:error:{code}",
        title=row.title,
        status=status or row.status,
        detail=detail,
        code=code,
        remedy=row.remedy,
        instance=f"urn:holdfast:request:{getattr(request.state, 'request_id', 'none')}",
        errors=list(errors),
        details=dict(details or {}),
    )
    # Whatever slipped into a message or a field's name: a secret never leaves.
    text = redact(json.dumps(body.model_dump(), ensure_ascii=False))
    return Response(text, status_code=body.status, media_type=MEDIA_TYPE, headers=dict(headers or {}))


def of_error(request: Request, error: HoldfastError) -> Response:
    """Answer one of ours."""
    row = ERROR_CODES[error.code]
    named = (row.status in {409, 422} and isinstance(error, InvalidInput)) or row.code.endswith("conflict")
    headers = {"Retry-After": error.details.get("retry_after_seconds", "1")} if row.status in {429, 503} else {}
    if error.code == "unauthenticated":
        headers = {"WWW-Authenticate": "Bearer"}
    return problem(
        request,
        error.code,
        error.message,
        errors=[FieldError(field=f"/{name}", message=right) for name, right in error.details.items()]
        if named
        else (),
        details=None if named else error.details,
        headers=headers,
    )


def _field_error(entry: Mapping[str, Any]) -> FieldError:
    location, *path = [str(part) for part in entry["loc"]] or ["body"]
    pointer = "/" + "/".join(part.replace("~", "~0").replace("/", "~1") for part in path)
    message = str(entry["msg"]).removeprefix("Value error, ").removeprefix("Assertion failed, ")
    match entry["type"]:
        case "extra_forbidden":
            message = "there is no such field"
        case "missing":
            message = "it is needed"
        case "timezone_aware":
            message = "a time with a zone, such as 2026-01-16T10:00:00Z"
        case "string_pattern_mismatch":
            message = _RIGHT.get(entry["ctx"]["pattern"], message)
    return FieldError(
        field=pointer if location == "body" else ".".join(path) or location,
        location=location,
        message=message,
    )


def install(app: FastAPI) -> None:
    """Answer every error of this application as a problem."""

    async def ours(request: Request, error: Exception) -> Response:
        assert isinstance(error, HoldfastError)  # noqa: S101 - by registration
        if ERROR_CODES[error.code].status >= 500:
            _log.warning("not answered", code=error.code, reason=error.message)
        return of_error(request, error)

    async def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)  # noqa: S101 - by registration
        entries = error.errors()
        if any(entry["type"] == "json_invalid" for entry in entries):
            return problem(request, "malformed_request", "the body is not JSON")
        errors = [_field_error(entry) for entry in entries]
        names = ", ".join(dict.fromkeys(found.field for found in errors))
        return problem(request, "invalid_input", f"not right: {names}", errors=errors)

    async def of_http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101 - by registration
        code = _BY_STATUS.get(error.status_code, "internal")
        detail = {
            404: "there is nothing at this path",
            405: "the path has no such method",
            400: "the request cannot be read",
        }.get(error.status_code, ERROR_CODES[code].title)
        return problem(request, code, detail, status=error.status_code, headers=error.headers)

    async def mistake(request: Request, error: Exception) -> Response:
        _log.error("a mistake", exc_info=error)
        return problem(request, "internal", "this was not foreseen; nothing about it is known to the caller")

    app.add_exception_handler(HoldfastError, ours)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, of_http)
    app.add_exception_handler(Exception, mistake)


def may_answer(*codes: str) -> dict[int | str, dict[str, Any]]:
    """Describe, for OpenAPI, the problems that a route answers beside the ones every route may."""
    every = ("unauthenticated", "forbidden", "rate_limited", "invalid_input", "unavailable", "internal")
    answers: dict[int | str, dict[str, Any]] = {}
    for code in (*every, *codes):
        row = ERROR_CODES[code]
        text = answers.get(row.status, {}).get("description", "")
        answers[row.status] = {
            "description": f"{text}; `{code}`: {row.title}" if text else f"`{code}`: {row.title}",
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
    return answers
