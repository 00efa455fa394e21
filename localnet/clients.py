"""Short clients of the local parts' own endpoints: faults on request, play money, and what the inbox received.

They block for a few milliseconds of loopback; tests, benchmarks and the demonstration use them.
"""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import Any


class LocalPartError(Exception):
    """A local part answered with an error; the text is the answer's."""


def _call(method: str, url: str, body: object | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(  # noqa: S310 - loopback only
        url, data=data, method=method, headers={"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
            text: bytes = response.read()
    except urllib.error.HTTPError as error:
        raise LocalPartError(f"{method} {url}: {error.code} {error.read().decode(errors='replace')}") from error
    return json.loads(text) if text.strip() else None


class LocalLedger:
    """The local ledger's friendbot, faults and clock, and a bare RPC call."""

    def __init__(self, url: str) -> None:
        self.url = url

    def rpc(self, method: str, **params: Any) -> Any:
        """Call one RPC method and give its result.

        Raises:
            LocalPartError: the answer is an error.
        """
        answer = _call("POST", self.url, {"jsonrpc": "2.0", "id": 1, "method": method, "params": params or None})
        if "error" in answer:
            raise LocalPartError(f"{method}: {answer['error']}")
        return answer["result"]

    def friendbot(self, address: str) -> Any:
        """Create an account with 10,000 XLM of play money."""
        return _call("GET", f"{self.url}/friendbot?{urllib.parse.urlencode({'addr': address})}")

    def admin(self, path: str, **params: Any) -> Any:
        """POST to `/admin/PATH`, such as `admin("ledgers/advance", count=3)`."""
        return _call("POST", f"{self.url}/admin/{path}", params)

    def fault(self, kind: str, **params: Any) -> Any:
        """Ask for misbehaviour of a kind, for `count` requests or `seconds`; `method` narrows it."""
        return self.admin("faults", kind=kind, **params)

    def clear_faults(self) -> None:
        """Behave again."""
        _call("DELETE", f"{self.url}/admin/faults")

    def faults(self) -> Any:
        """Tell which faults are active."""
        return _call("GET", f"{self.url}/admin/faults")

    def latest_ledger(self) -> int:
        """Tell the last closed ledger's sequence."""
        return int(self.rpc("getLatestLedger")["sequence"])


class LocalInbox:
    """What the local inbox received."""

    def __init__(self, url: str, smtp_port: int) -> None:
        self.url = url
        self.smtp_port = smtp_port

    def messages(self, **filters: str) -> list[dict[str, Any]]:
        """List messages, newest first; filters are `kind` (mail, webhook), `to` and `contains`."""
        query = urllib.parse.urlencode(filters)
        found: list[dict[str, Any]] = _call("GET", f"{self.url}/api/messages?{query}")["messages"]
        return found

    def wait_for(self, count: int = 1, *, timeout_seconds: float = 20, **filters: str) -> list[dict[str, Any]]:
        """Wait until at least `count` messages match.

        Raises:
            LocalPartError: they did not come in time; says what did.
        """
        deadline = time.monotonic() + timeout_seconds
        while len(found := self.messages(**filters)) < count:
            if time.monotonic() > deadline:
                there = [(message["kind"], message["to"], message["subject"]) for message in self.messages()]
                raise LocalPartError(f"{len(found)} of {count} messages came for {filters}; there are {there}")
            time.sleep(0.05)
        return found

    def clear(self) -> None:
        """Forget all messages and behave again."""
        _call("DELETE", f"{self.url}/api/messages")
        _call("DELETE", f"{self.url}/admin/faults")

    def fault(self, kind: str, *, count: int = 1, **params: Any) -> None:
        """Ask for misbehaviour: `webhook_503`, `webhook_delay` (with `delay_ms`) or `smtp_451`, `count` times."""
        _call("POST", f"{self.url}/admin/faults", {"kind": kind, "count": count, **params})
