"""A served application and its clients: real HTTP on a free port."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import uvicorn

from api.__main__ import KEEP_ALIVE_SECONDS
from api.deps import Deps
from api.main import create_app
from tests.waiting import until


@dataclass
class Answer:
    status_code: int
    headers: dict[str, str]
    text: str

    def json(self) -> Any:
        return json.loads(self.text)


class Client:
    def __init__(self, url: str, key: str | None = None) -> None:
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        self.session = aiohttp.ClientSession(url, headers=headers)

    async def request(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        content: Any = None,
        params: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        async with self.session.request(
            method, path, json=json, data=content, params=params, headers=headers
        ) as answer:
            lower = {name.lower(): value for name, value in answer.headers.items()}
            return Answer(answer.status, lower, await answer.text(errors="replace"))

    async def get(self, path: str, **given: Any) -> Answer:
        return await self.request("GET", path, **given)

    async def post(self, path: str, **given: Any) -> Answer:
        return await self.request("POST", path, **given)

    async def put(self, path: str, **given: Any) -> Answer:
        return await self.request("PUT", path, **given)

    async def delete(self, path: str, **given: Any) -> Answer:
        return await self.request("DELETE", path, **given)


@asynccontextmanager
async def served(deps: Deps) -> AsyncIterator[str]:
    """Serve the application; gives its URL."""
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    config = uvicorn.Config(
        create_app(deps),
        log_config=None,
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=1,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
    )
    server = uvicorn.Server(config)
    # The test's own signals are left alone.
    serving = asyncio.create_task(server._serve([listening]))

    async def started() -> bool | None:
        return server.started or serving.done() or None

    await until(started)
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        await serving
        listening.close()
