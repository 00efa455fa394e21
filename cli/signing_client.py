"""The API as a signer uses it: what waits, and signatures in return."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

import aiohttp

from cli.signing_files import Asked, Signed, asked_of
from domain.errors import HoldfastError, Refused, Unavailable

_PAGE: Final = 200
_POST_AT_ONCE: Final = 100
_SECONDS_MAX: Final = 60


@dataclass(frozen=True, slots=True)
class Posted:
    """What became of one signature."""

    settlement_id: str
    accepted: bool
    complete: bool
    words: str


class SigningClient:
    """Use it as an async context manager. The API key goes into a header and nowhere else."""

    def __init__(self, url: str, key: str | None) -> None:
        self._url = url.rstrip("/")
        self._headers = {} if key is None else {"Authorization": f"Bearer {key}"}

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_SECONDS_MAX))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def waiting(self) -> tuple[Asked, ...]:
        """All that waits for a signature, oldest first.

        Raises:
            Refused: the server says no.
            Unavailable: it does not answer.
        """
        found: list[Asked] = []
        cursor: str | None = None
        while True:
            params = {"limit": str(_PAGE)} | ({} if cursor is None else {"cursor": cursor})
            answer = await self._call("GET", "/api/v1/signing-requests", params=params)
            found += asked_of(answer.get("signing_requests") or ())
            cursor = answer.get("next")
            if not cursor:
                return tuple(found)

    async def post(self, signed: Sequence[Signed]) -> list[Posted]:
        """Hand signatures over; the same ones again change nothing.

        Raises:
            Refused: the server says no to all of them.
            Unavailable: it does not answer; whether it took them is seen by doing it again.
        """
        done: list[Posted] = []
        for start in range(0, len(signed), _POST_AT_ONCE):
            part = signed[start : start + _POST_AT_ONCE]
            submissions = [
                {
                    "settlement_id": one.settlement_id,
                    "request_id": one.request_id,
                    "signatures": [{"signer": one.signer, "signature": one.signature}],
                }
                for one in part
            ]
            answer = await self._call("POST", "/api/v1/signatures", body={"submissions": submissions})
            done += [_posted(row) for row in answer.get("results") or ()]
        return done

    async def _call(
        self, method: str, path: str, *, params: dict[str, str] | None = None, body: Any = None
    ) -> dict[str, Any]:
        try:
            async with self._session.request(
                method, self._url + path, params=params, json=body, headers=self._headers
            ) as response:
                text = await response.text()
                status = response.status
            answer = json.loads(text)
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
            raise Unavailable(f"{self._url} gave no answer to {method} {path} ({type(error).__name__})") from None
        if status >= 400 or not isinstance(answer, dict):
            detail = answer.get("detail") if isinstance(answer, dict) else None
            raise _refusal(status, f"{self._url} answered {status}: {printable(str(detail or 'no reason given'))}")
        return answer


def _refusal(status: int, words: str) -> HoldfastError:
    return Unavailable(words) if status in {429, 502, 503, 504} else Refused(words)


def _posted(row: dict[str, Any]) -> Posted:
    receipt, problem = row.get("receipt"), row.get("problem")
    name = printable(str(row.get("settlement_id")))
    if isinstance(receipt, dict):
        weight = f"weight {receipt.get('weight')} of {receipt.get('threshold')}"
        complete = bool(receipt.get("complete"))
        already = "there before, " if receipt.get("already") else ""
        words = f"{already}{weight}: {'it is sent' if complete else 'it waits for more signatures'}"
        return Posted(name, True, complete, printable(words))
    detail = problem.get("detail") if isinstance(problem, dict) else None
    code = problem.get("code") if isinstance(problem, dict) else None
    return Posted(name, False, False, printable(f"{detail or 'no reason given'} ({code})"))


def printable(text: str) -> str:
    """A server's words without what would steer a terminal."""
    return "".join(character if character.isprintable() else " " for character in text)[:500]
