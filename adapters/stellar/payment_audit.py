"""Reads what our contracts paid from the ledger's events, and holds it against the record, both ways.

It only reads. `reconcile` mends a record that went back in time; this says whether anything differs at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from stellar_sdk import scval, xdr

from adapters.database.engine import Database
from adapters.database.recorded_payments import confirmed_payments, payments_by_marker
from adapters.stellar.calls import map_fields, marker_key
from adapters.stellar.ledger import marker_of
from adapters.stellar.rpc import ContractEvent, EventPage, Rpc
from domain.errors import Refused, Unavailable
from domain.reconciliation import (
    Difference,
    LedgerPayment,
    Reconciliation,
    RecordedPayment,
    compare_paid,
    compare_unseen,
    under_way,
)
from domain.settlement import MarkerState

PAID_EVENTS: Final = ("distributed", "penalty_drawn", "reward_paid")
"""The events by which `payout` and `sla_calculator` tell of a payment; each has the id as its second topic."""
_KEYS_A_CALL: Final = 200
_ROWS_A_PAGE: Final = 1_000
_OLDEST_LOOKS: Final = 5


class PaymentAudit:
    """Compares the payments of some contracts with the record."""

    def __init__(self, *, database: Database, rpc: Rpc, contracts: Sequence[str]) -> None:
        """At least one contract, and at most five: so many the RPC filters by at once."""
        if not contracts:
            raise Refused("no contract to reconcile: set SLA_CONTRACT_ID or PAYOUT_CONTRACT_ID")
        self._database = database
        self._rpc = rpc
        self._contracts = tuple(contracts)

    async def compare(
        self, *, everything: bool = False, beat: Callable[[], None] = lambda: None
    ) -> Reconciliation:
        """Compare all that the RPC keeps; `everything` also asks for the marker of each older payment.

        `beat` is called as it comes along.

        Raises:
            Unavailable: the ledger or the database does not answer.
        """
        latest = await self._rpc.latest_ledger()
        seen: dict[str, LedgerPayment] = {}
        differences: list[Difference] = []
        count = waiting = 0
        first, page = await self._first_page(latest.sequence)
        while True:
            paid = [payment_of(event) for event in page.events if event.ledger <= latest.sequence]
            async with self._database.begin() as connection:
                known = await payments_by_marker(connection, [payment.marker_id for payment in paid])
            for payment in paid:
                record = known.get(payment.marker_id)
                difference = compare_paid(payment, record, seen.get(payment.marker_id))
                if difference is not None:
                    differences.append(difference)
                elif record is not None and under_way(record):
                    waiting += 1
                seen.setdefault(payment.marker_id, payment)
            count += len(paid)
            beat()
            if page.read_to >= latest.sequence:
                break
            cursor = page.cursor
            page = await self._events(cursor=cursor)
            if page.cursor == cursor:
                raise Unavailable(
                    f"the node's events end at ledger {page.read_to}, before {latest.sequence}",
                    code="ledger_unavailable",
                )
        recorded, by_marker, lacking = await self._unseen(
            seen.keys(), first=None if everything else first, last=latest.sequence, beat=beat
        )
        heads, _ = await self._rpc.ledgers(first, limit=1)
        return Reconciliation(
            contracts=self._contracts,
            first_ledger=first,
            first_closed_at=heads[0].closed_at if heads else latest.closed_at,
            last_ledger=latest.sequence,
            last_closed_at=latest.closed_at,
            on_ledger=count,
            in_record=recorded,
            by_marker=by_marker,
            under_way=waiting,
            differences=(*differences, *lacking),
        )

    async def _first_page(self, latest: int) -> tuple[int, EventPage]:
        """The oldest ledger that the node keeps, and the events from there on."""
        for _ in range(_OLDEST_LOOKS):
            oldest = max(1, await self._rpc.oldest())
            try:
                return oldest, await self._events(start=oldest)
            except Refused as refusal:
                # The oldest ledger goes as each new one closes.
                if oldest >= latest:
                    raise Unavailable(refusal.message, code="ledger_unavailable") from refusal
        raise Unavailable("the node's oldest ledger cannot be read", code="ledger_unavailable")

    async def _events(self, *, start: int | None = None, cursor: str | None = None) -> EventPage:
        return await self._rpc.events(start, cursor=cursor, contracts=self._contracts, names=PAID_EVENTS)

    async def _unseen(
        self, seen: Iterable[str], *, first: int | None, last: int, beat: Callable[[], None]
    ) -> tuple[int, int, list[Difference]]:
        """Confirmed settlements, those of them found by marker alone, and those that the ledger does not have."""
        markers = frozenset(seen)
        differences: list[Difference] = []
        recorded = by_marker = 0
        after = ""
        while True:
            async with self._database.begin() as connection:
                page = await confirmed_payments(
                    connection, first_ledger=first, last_ledger=last, after=after, limit=_ROWS_A_PAGE
                )
            recorded += len(page)
            unseen = [payment for payment in page if payment.marker_id not in markers]
            for start in range(0, len(unseen), _KEYS_A_CALL):
                part = unseen[start : start + _KEYS_A_CALL]
                markers_of = await self._markers(part)
                found = [compare_unseen(payment, *markers_of[payment.marker_id]) for payment in part]
                by_marker += found.count(None)
                differences += [difference for difference in found if difference is not None]
                beat()
            if len(page) < _ROWS_A_PAGE:
                return recorded, by_marker, differences
            after = page[-1].settlement_id

    async def _markers(self, payments: Sequence[RecordedPayment]) -> dict[str, tuple[MarkerState, int | None]]:
        keys = {
            payment.marker_id: marker_key(payment.contract, payment.marker_id).to_xdr() for payment in payments
        }
        found = (await self._rpc.ledger_entries(list(keys.values()))).by_key
        return {
            marker_id: _told(found[key].data) if key in found else (MarkerState.ABSENT, None)
            for marker_id, key in keys.items()
        }


def _told(data: xdr.LedgerEntryData) -> tuple[MarkerState, int | None]:
    marker = marker_of(data)
    return marker.state, marker.moved_units


def payment_of(event: ContractEvent) -> LedgerPayment:
    """Read the event of a payment.

    Raises:
        Refused: it is none of `PAID_EVENTS`, in the form that our contracts give them.
    """
    fields = map_fields(event.value)
    token = fields.get("token")
    try:
        kind = scval.from_symbol(event.topics[0])
        if kind not in PAID_EVENTS:
            raise ValueError(kind)
        # The payout contract has the token among the topics, the SLA contract among the fields.
        token = event.topics[2] if token is None else token
        return LedgerPayment(
            marker_id=scval.from_bytes(event.topics[1]).hex(),
            contract=event.contract,
            token=scval.from_address(token).address,
            amount_units=scval.from_int128(fields["amount"]),
            tx_hash=event.tx_hash,
            ledger=event.ledger,
            closed_at=event.closed_at,
        )
    except (KeyError, IndexError, ValueError) as error:
        raise Refused(
            f"the event of transaction {event.tx_hash} is no payment of a contract of ours",
            code="contract_refused",
        ) from error
