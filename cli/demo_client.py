"""The HTTP API as the demo uses it: as any client sees it."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Mapping
from typing import Any, Final

import aiohttp

from settings import Settings

LOOK_SECONDS: Final = 0.25
_ANSWER_SECONDS_MAX: Final = 20


class DemoError(Exception):
    """The demo did not go as it should; the text says where."""


class NoAnswerError(DemoError):
    """There was no answer, or one that says to ask again."""


class Api:
    """The HTTP API as any client sees it."""

    def __init__(self, session: aiohttp.ClientSession, url: str, key: str) -> None:
        self._session = session
        self._url = url
        self._headers = {"Authorization": f"Bearer {key}"}

    async def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Call until there is an answer: every one of these calls may be made again without doing more.

        Raises:
            DemoError: the API says no, or does not answer for a while.
        """
        # The same key again is the same outage: a lost answer makes no second one.
        named = method == "POST" and not (body or {}).get("idempotency_key")
        key = {"Idempotency-Key": str(uuid.uuid4())} if named else {}
        deadline = time.monotonic() + _ANSWER_SECONDS_MAX
        while True:
            try:
                return await self._call(method, path, body, key)
            except NoAnswerError as error:
                if time.monotonic() > deadline:
                    raise DemoError(str(error)) from error
                await asyncio.sleep(LOOK_SECONDS)

    async def _call(
        self, method: str, path: str, body: Mapping[str, Any] | None, more: Mapping[str, str]
    ) -> dict[str, Any]:
        headers = {**self._headers, **more}
        try:
            async with self._session.request(method, self._url + path, json=body, headers=headers) as response:
                # Amounts are JSON numbers; as text they stay exact.
                answer = json.loads(await response.text(), parse_float=str)
                status = response.status
        except (TimeoutError, aiohttp.ClientError, ValueError) as error:
            raise NoAnswerError(f"{method} {path}: no answer ({type(error).__name__})") from error
        if status >= 400 or not isinstance(answer, dict):
            detail = answer.get("detail") or answer.get("title") if isinstance(answer, dict) else ""
            words = f"{method} {path} answered {status}: {detail}"
            raise NoAnswerError(words) if status in {429, 503} else DemoError(words)
        return answer


def workflow_url(settings: Settings, workflow_id: str) -> str:
    """The story's page in the Temporal Web UI."""
    workflow = workflow_id.replace(":", "%3A")
    return f"{settings.temporal_ui_url}/namespaces/{settings.temporal_namespace}/workflows/{workflow}"
