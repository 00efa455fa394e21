"""The one client for Stellar RPC (JSON-RPC over HTTP), and the one place where its answers become outcomes.

Reading calls end as `Unavailable` when the node does not answer. `send` alone may have had an effect, so a lost
answer there is `OutcomeUnknown`. Nothing here retries: the caller knows what a second try would mean.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final, Self

import aiohttp
from stellar_sdk import scval, xdr

from domain.errors import OutcomeUnknown, Refused, Unavailable

_LEDGER_KEYS_MAX: Final = 200
"""`getLedgerEntries` takes at most so many keys (stellar-rpc)."""
_PAGE_MAX: Final = 200
"""`getTransactions` and `getLedgers` answer at most so many rows a page (stellar-rpc)."""
_EVENTS_MAX: Final = 10_000
"""`getEvents` answers at most so many (stellar-rpc)."""
_LEDGERS_MEASURED: Final = 20
"""Enough to even out a slow close, and far within any node's retention."""
_INVALID_REQUEST_CODES: Final = frozenset({-32600, -32601, -32602})


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One entry as `getLedgerEntries` gives it; `live_until` is None for entries without a TTL."""

    key: str
    data: xdr.LedgerEntryData
    modified_at: int
    live_until: int | None


@dataclass(frozen=True, slots=True)
class LedgerEntries:
    """One ledger's truth about some keys. Absent keys are absent from `by_key` (base64 key → entry)."""

    ledger: int
    by_key: Mapping[str, LedgerEntry]


@dataclass(frozen=True, slots=True)
class LedgerHead:
    """A closed ledger."""

    sequence: int
    hash: str
    previous_hash: str
    closed_at: datetime
    protocol: int


@dataclass(frozen=True, slots=True)
class Simulated:
    """What a simulation answered. `error` is set where the call would fail; the rest is then empty."""

    ledger: int
    error: str | None
    transaction_data: str
    resource_fee: int
    authorizations: tuple[str, ...]
    result: str
    events: tuple[str, ...]
    restore: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Sent:
    """The answer to `sendTransaction`: PENDING, DUPLICATE, TRY_AGAIN_LATER or ERROR. None of them is proof."""

    status: str
    hash: str
    ledger: int
    error_result: str | None
    error_code: str | None


@dataclass(frozen=True, slots=True)
class Landed:
    """A transaction that is in a closed ledger. `hash` is the outer hash where it is a fee bump."""

    hash: str
    successful: bool
    ledger: int
    created_at: datetime
    envelope: str
    result: str
    meta: str | None


@dataclass(frozen=True, slots=True)
class TransactionPage:
    """Transactions of closed ledgers in order, and how far the node has come."""

    transactions: tuple[Landed, ...]
    latest_ledger: int
    cursor: str


@dataclass(frozen=True, slots=True)
class ContractEvent:
    """An event of a contract, in a transaction that succeeded."""

    contract: str
    topics: tuple[xdr.SCVal, ...]
    value: xdr.SCVal
    ledger: int
    closed_at: datetime
    tx_hash: str


@dataclass(frozen=True, slots=True)
class EventPage:
    """Events in order, and the last ledger that was read for them to its end."""

    events: tuple[ContractEvent, ...]
    read_to: int
    cursor: str


@dataclass(frozen=True, slots=True)
class FeeStats:
    """Inclusion fees of recent Soroban transactions, in stroops an operation."""

    minimum: int
    p50: int
    p90: int
    maximum: int


def _instant(value: str | int) -> datetime:
    return datetime.fromtimestamp(int(value), UTC)


class Rpc:
    """A Stellar RPC endpoint.

    One instance a process; use it as an async context manager or call `close`.
    """

    def __init__(
        self, url: str, *, timeout_seconds: float = 10.0, headers: Mapping[str, str] | None = None
    ) -> None:
        self.url = url
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds, connect=3.0)
        self._headers = dict(headers or {})
        self._session: aiohttp.ClientSession | None = None
        self._id = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def call(self, method: str, params: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Make one JSON-RPC call.

        Raises:
            Unavailable: no answer, an HTTP error, or an internal error of the node.
            Refused: the node says that the request is not right.
        """
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=self._timeout, headers=self._headers, connector=aiohttp.TCPConnector(limit=100)
            )
        self._id += 1
        body = {"jsonrpc": "2.0", "id": self._id, "method": method, "params": params or {}}
        try:
            async with self._session.post(self.url, json=body) as response:
                text = await response.text()
                if response.status != 200:
                    raise Unavailable(
                        f"{method}: the RPC answered HTTP {response.status}", code="ledger_unavailable"
                    )
            answer = json.loads(text)
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
            raise Unavailable(
                f"{method}: no answer ({type(error).__name__})", code="ledger_unavailable"
            ) from error
        if not isinstance(answer, dict) or answer.get("id") != body["id"]:
            # Another's answer, from a cache or a balancer on the way, would be taken for proof.
            raise Unavailable(f"{method}: not the JSON-RPC answer to this question", code="ledger_unavailable")
        if (failure := answer.get("error")) is not None:
            message = f"{method}: {failure.get('message')}"
            if failure.get("code") in _INVALID_REQUEST_CODES:
                raise Refused(message)
            raise Unavailable(message, code="ledger_unavailable")
        result = answer.get("result")
        if not isinstance(result, dict):
            raise Unavailable(f"{method}: an answer without a result", code="ledger_unavailable")
        return result

    async def network(self) -> str:
        """The network's passphrase."""
        return str((await self.call("getNetwork"))["passphrase"])

    async def healthy(self) -> bool:
        """Whether the node says that it is."""
        return (await self.call("getHealth")).get("status") == "healthy"

    async def newest(self) -> int:
        """The newest closed ledger's number: the cheapest question there is."""
        return int((await self.call("getHealth"))["latestLedger"])

    async def oldest(self) -> int:
        """The oldest ledger that the node still has."""
        return int((await self.call("getHealth"))["oldestLedger"])

    async def latest_ledger(self) -> LedgerHead:
        """The newest closed ledger."""
        answer = await self.call("getLatestLedger")
        header = xdr.LedgerHeader.from_xdr(answer["headerXdr"]) if answer.get("headerXdr") else None
        return LedgerHead(
            sequence=int(answer["sequence"]),
            hash=str(answer["id"]),
            previous_hash=header.previous_ledger_hash.hash.hex() if header else "",
            closed_at=_instant(answer["closeTime"]),
            protocol=int(answer["protocolVersion"]),
        )

    async def ledgers(self, start: int, *, limit: int = 20) -> tuple[tuple[LedgerHead, ...], int]:
        """Closed ledgers from `start`, oldest first, and the newest one's sequence.

        Raises:
            Refused: `start` is not in the node's range (not closed yet, or beyond its retention).
        """
        answer = await self.call(
            "getLedgers", {"startLedger": start, "pagination": {"limit": min(limit, _PAGE_MAX)}}
        )
        heads = []
        for row in answer["ledgers"]:
            header = xdr.LedgerHeaderHistoryEntry.from_xdr(row["headerXdr"]).header
            heads.append(
                LedgerHead(
                    sequence=int(row["sequence"]),
                    hash=str(row["hash"]),
                    previous_hash=header.previous_ledger_hash.hash.hex(),
                    closed_at=_instant(row["ledgerCloseTime"]),
                    protocol=header.ledger_version.uint32,
                )
            )
        return tuple(heads), int(answer["latestLedger"])

    async def close_seconds(self, newest: LedgerHead) -> float | None:
        """How long a ledger took of late, at least 0.05 s; None where there are too few to say.

        Raises:
            Refused: the node keeps no twenty ledgers.
        """
        # The first ledger was made, and not closed at its time.
        first = min(newest.sequence, max(2, newest.sequence - _LEDGERS_MEASURED))
        heads, _ = await self.ledgers(first, limit=_LEDGERS_MEASURED)
        if len(heads) < 2:
            return None
        passed = (heads[-1].closed_at - heads[0].closed_at).total_seconds()
        return max(0.05, passed / (len(heads) - 1))

    async def ledger_entries(self, keys: Sequence[xdr.LedgerKey | str]) -> LedgerEntries:
        """Entries by key, all of one ledger. Archived entries are there; expired temporary ones are not."""
        if not 0 < len(keys) <= _LEDGER_KEYS_MAX:
            raise ValueError(f"between 1 and {_LEDGER_KEYS_MAX} keys, not {len(keys)}")
        encoded = [key if isinstance(key, str) else key.to_xdr() for key in keys]
        answer = await self.call("getLedgerEntries", {"keys": encoded})
        found = {
            row["key"]: LedgerEntry(
                key=row["key"],
                data=xdr.LedgerEntryData.from_xdr(row["xdr"]),
                modified_at=int(row["lastModifiedLedgerSeq"]),
                live_until=row.get("liveUntilLedgerSeq"),
            )
            for row in answer.get("entries") or ()
        }
        return LedgerEntries(ledger=int(answer["latestLedger"]), by_key=found)

    async def simulate(self, envelope: str) -> Simulated:
        """Simulate one unsigned envelope (base64 XDR). A call that would fail is an answer, not an exception."""
        answer = await self.call("simulateTransaction", {"transaction": envelope})
        results = answer.get("results") or [{}]
        return Simulated(
            ledger=int(answer["latestLedger"]),
            error=answer.get("error"),
            transaction_data=answer.get("transactionData") or "",
            resource_fee=int(answer.get("minResourceFee") or 0),
            authorizations=tuple(results[0].get("auth") or ()),
            result=results[0].get("xdr") or "",
            events=tuple(answer.get("events") or ()),
            restore=answer.get("restorePreamble"),
        )

    async def send(self, envelope: str) -> Sent:
        """Send one signed envelope (base64 XDR).

        Raises:
            OutcomeUnknown: no answer: it may be in the queue.
        """
        try:
            answer = await self.call("sendTransaction", {"transaction": envelope})
        except Unavailable as error:
            raise OutcomeUnknown(f"the send got no answer: {error.message}") from error
        result = answer.get("errorResultXdr")
        return Sent(
            status=str(answer["status"]),
            hash=str(answer["hash"]),
            ledger=int(answer["latestLedger"]),
            error_result=result,
            error_code=result_code(result) if result else None,
        )

    async def transaction(self, transaction_hash: str) -> Landed | None:
        """A landed transaction by its outer or inner hash. None proves nothing: a node may lag or forget."""
        answer = await self.call("getTransaction", {"hash": transaction_hash})
        if answer["status"] == "NOT_FOUND":
            return None
        landed = _landed(answer, str(answer.get("txHash") or transaction_hash))
        if landed.hash != transaction_hash:
            raise Unavailable(
                f"getTransaction: asked for {transaction_hash}, told of {landed.hash}", code="ledger_unavailable"
            )
        return landed

    async def transactions(
        self, start: int, *, cursor: str | None = None, limit: int = _PAGE_MAX
    ) -> TransactionPage:
        """Transactions of closed ledgers from `start` on, or from `cursor` on where one is given."""
        pagination: dict[str, Any] = {"limit": min(limit, _PAGE_MAX)}
        params: dict[str, Any] = {"pagination": pagination}
        if cursor is not None:
            pagination["cursor"] = cursor
        else:
            params["startLedger"] = start
        answer = await self.call("getTransactions", params)
        rows = tuple(_landed(row, str(row["txHash"])) for row in answer["transactions"])
        return TransactionPage(rows, int(answer["latestLedger"]), str(answer.get("cursor") or ""))

    async def events(
        self, start: int | None, *, cursor: str | None = None, contracts: Sequence[str], names: Sequence[str]
    ) -> EventPage:
        """Events of these contracts, of three topics of which the first is one of the symbols `names`.

        They are read from `start`, or from `cursor` on. One answer reads as far as 10,000 events or ledgers: go on
        from its cursor.

        Raises:
            Refused: `start` is not in the node's range.
        """
        pagination: dict[str, Any] = {"limit": _EVENTS_MAX}
        topics = [[scval.to_symbol(name).to_xdr(), "*", "*"] for name in names]
        filters = [{"type": "contract", "contractIds": list(contracts), "topics": topics}]
        params: dict[str, Any] = {"pagination": pagination, "filters": filters}
        if cursor is not None:
            pagination["cursor"] = cursor
        else:
            params["startLedger"] = start
        answer = await self.call("getEvents", params)
        found = tuple(_event(row) for row in answer["events"] if row.get("inSuccessfulContractCall", True))
        end = str(answer["cursor"])
        full = len(answer["events"]) >= _EVENTS_MAX
        # A cursor is a ledger's number in its upper half, and a place in that ledger (SEP-35).
        reached = int(end.partition("-")[0]) >> 32
        return EventPage(found, reached - 1 if full else min(reached, int(answer["latestLedger"])), end)

    async def fee_stats(self) -> FeeStats:
        """Inclusion fees that recent Soroban transactions paid."""
        stats = (await self.call("getFeeStats"))["sorobanInclusionFee"]
        return FeeStats(int(stats["min"]), int(stats["p50"]), int(stats["p90"]), int(stats["max"]))


def _landed(row: Mapping[str, Any], transaction_hash: str) -> Landed:
    return Landed(
        hash=transaction_hash,
        successful=row["status"] == "SUCCESS",
        ledger=int(row["ledger"]),
        created_at=_instant(row["createdAt"]),
        envelope=row["envelopeXdr"],
        result=row["resultXdr"],
        meta=row.get("resultMetaXdr"),
    )


def _event(row: Mapping[str, Any]) -> ContractEvent:
    return ContractEvent(
        contract=str(row["contractId"]),
        topics=tuple(xdr.SCVal.from_xdr(topic) for topic in row["topic"]),
        value=xdr.SCVal.from_xdr(row["value"]),
        ledger=int(row["ledger"]),
        closed_at=datetime.fromisoformat(row["ledgerClosedAt"]),
        tx_hash=str(row["txHash"]),
    )


def result_code(result_xdr: str) -> str:
    """The ledger's own word for a result (base64 XDR); see `code_of`."""
    return code_of(xdr.TransactionResult.from_xdr(result_xdr))


def code_of(transaction: xdr.TransactionResult) -> str:
    """The inner transaction's code, then the operation's, as stellar-core names them.

    Such as `txFAILED invokeHostFunctionTRAPPED`, `txBAD_SEQ`.
    """
    result = transaction.result
    code = result.code.name
    operations = result.results
    if result.inner_result_pair is not None:
        inner = result.inner_result_pair.result.result
        code, operations = inner.code.name, inner.results
    words = [code]
    for operation in operations or ():
        if operation.tr is None:
            words.append(operation.code.name)
            continue
        detail = next(
            (value for name, value in vars(operation.tr).items() if name != "type" and value is not None), None
        )
        if detail is not None:
            words.append(detail.code.name)
    return " ".join(words)
