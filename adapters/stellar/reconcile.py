"""Reconcile: after a restore, rebuild pins and outcomes from the lanes' history and the contracts' markers.

A database that went back forgets payments; the ledger does not. The markers and the contracts' events say what was
paid, the transactions say by whom, and nothing is sent before all were read.
"""

from __future__ import annotations

import re
from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import Final

from sqlalchemy import select, text, update
from stellar_sdk import StrKey, xdr

from activities.settlement_parts import Kept, Settlement
from adapters.database.audit import record
from adapters.database.engine import Database
from adapters.database.forgotten import Forgotten, chunks_paid_otherwise, remember
from adapters.database.heads import HeadBook
from adapters.database.settlements import SettlementBook
from adapters.database.settlements_tables import lanes as lanes_table
from adapters.database.settlements_tables import pins, sends, settlements
from adapters.stellar.calls import marker_key
from adapters.stellar.entries import account_key, account_state
from adapters.stellar.ledger import inner_transaction, marker_of
from adapters.stellar.payment_audit import PAID_EVENTS, payment_of
from adapters.stellar.rpc import Landed, LedgerHead, Rpc
from domain.errors import Refused, Unavailable
from domain.settlement import Control, MarkerState, SettlementStatus

_KEYS_A_CALL: Final = 200
_OUTAGE_NUMBER: Final = re.compile(r"OUT(?P<number>[0-9]{1,12})")


@dataclass(frozen=True, slots=True)
class LostPayment:
    """A transaction of a lane of ours, or by which a contract of ours paid, that the record has no envelope of.

    It knows no lane that is younger, and whoever has a signed authorization entry may use it in a transaction of
    their own.
    """

    tx_hash: str
    ledger: int
    successful: bool
    lane: str
    sequence: int
    subject: str
    marker_id: str | None = None
    """The id (hex) under which it paid; None where it is no call of a contract of ours."""


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What was found and mended."""

    head: LedgerHead
    lanes_moved: tuple[str, ...]
    found_paid: tuple[str, ...]
    lost: tuple[LostPayment, ...]


class Reconciler:
    """Reads the ledger, mends the record, and only then lets sending begin again."""

    def __init__(
        self,
        *,
        database: Database,
        rpc: Rpc,
        book: SettlementBook,
        heads: HeadBook,
        deployment: str,
        contracts: Sequence[str],
    ) -> None:
        """`contracts` are those that pay, whose events tell what they paid."""
        self._contracts = tuple(contracts)
        self._database = database
        self._rpc = rpc
        self._book = book
        self._heads = heads
        self._deployment = deployment

    async def run(self, *, by: str) -> Reconciled:
        """Reconcile the record with the ledger.

        Raises:
            Refused: the network itself was reset; its payments are gone, so a new deployment is wanted. Or the
                node does not keep all ledgers since the record's last one.
            Unavailable: the ledger or the database does not answer.
        """
        latest = await self._rpc.latest_ledger()
        known = await self._heads.read()
        since = known[0] + 1 if known else latest.sequence
        if since > latest.sequence + 1:
            raise Refused(
                f"the ledger stands at {latest.sequence}, the record at {since - 1}: it was reset, its payments "
                "are gone. Begin anew with `holdfast reset` (local) or another HOLDFAST_DEPLOYMENT"
            )
        oldest = await self._rpc.oldest()
        if since < oldest:
            raise Refused(
                f"the record ends at ledger {since - 1}, and the node keeps only what came after ledger "
                f"{oldest - 1}: what was paid in between could be paid again. Run this with "
                "STELLAR_SOROBAN_RPC_URL set to a node that keeps more"
            )
        paid = await self._paid(since, latest.sequence)
        lost = await self._lost(since, latest.sequence, {payment.tx_hash for payment in paid})
        moved = await self._move_lanes()
        found = await self._find_paid()
        await self._withdraw_paid_otherwise(paid, lost)
        await self._skip_used_numbers(lost)
        async with self._database.begin() as connection:
            await record(
                connection,
                actor=by,
                action="reconcile",
                subject=f"ledger:{latest.sequence}",
                details={
                    "lanes_moved": list(moved),
                    "found_paid": list(found),
                    "lost": [f"{payment.subject} {payment.tx_hash}" for payment in lost],
                },
            )
        await self._heads.begin(latest, reconciled=True)
        return Reconciled(latest, moved, found, lost)

    async def _paid(self, since: int, until: int) -> tuple[Forgotten, ...]:
        """What our contracts say that they paid in ledgers `since` to `until`, whoever sent it."""
        paid: list[Forgotten] = []
        cursor: str | None = None
        while self._contracts and since <= until:
            page = await self._rpc.events(
                since if cursor is None else None, cursor=cursor, contracts=self._contracts, names=PAID_EVENTS
            )
            told = [payment_of(event) for event in page.events]
            paid += [Forgotten(payment.marker_id, payment.tx_hash, payment.ledger) for payment in told]
            if page.read_to >= until:
                break
            if page.cursor == cursor:
                raise Unavailable(
                    f"the node's events end at ledger {page.read_to}, before {until}", code="ledger_unavailable"
                )
            cursor = page.cursor
        return tuple(paid)

    async def _lost(self, since: int, until: int, paid: Set[str]) -> tuple[LostPayment, ...]:
        """Transactions that the record lacks, of ledgers `since` to `until`: of our lanes, or among `paid`."""
        async with self._database.begin() as connection:
            ours: set[str] = set((await connection.execute(select(lanes_table.c.address))).scalars())
        lost: list[LostPayment] = []
        cursor: str | None = None
        while since <= until:
            page = await self._rpc.transactions(since, cursor=cursor)
            hashes = [landed.hash for landed in page.transactions]
            async with self._database.begin() as connection:
                known: set[str] = set(
                    (
                        await connection.execute(select(sends.c.outer_hash).where(sends.c.outer_hash.in_(hashes)))
                    ).scalars()
                )
            lost += [
                found
                for landed in page.transactions
                if landed.hash not in known and (found := _of_ours(landed, ours, paid)) is not None
            ]
            if not page.transactions or not page.cursor or page.cursor == cursor:
                break
            cursor = page.cursor
        return tuple(lost)

    async def _move_lanes(self) -> tuple[str, ...]:
        """Let free lanes go on where the ledger has them, and end pins whose number is consumed."""
        async with self._database.begin() as connection:
            rows = (await connection.execute(select(lanes_table))).all()
        moved: list[str] = []
        for start in range(0, len(rows), _KEYS_A_CALL):
            part = rows[start : start + _KEYS_A_CALL]
            found = await self._rpc.ledger_entries([account_key(row.address) for row in part])
            for row in part:
                entry = found.by_key.get(account_key(row.address).to_xdr())
                if entry is None:
                    raise Refused(f"lane {row.address} is not on the ledger: the network was reset")
                sequence = account_state(entry.data).sequence
                if sequence <= row.sequence:
                    continue
                moved.append(row.address)
                async with self._database.begin() as connection:
                    held = (
                        await connection.execute(
                            select(pins)
                            .where(pins.c.lane == row.address, pins.c.state == "held")
                            .with_for_update()
                        )
                    ).one_or_none()
                    if held is not None and held.lane_signed:
                        # Its verdict says what became of it, by the very same reading; then the lane goes on here.
                        await connection.execute(
                            update(lanes_table)
                            .where(lanes_table.c.address == row.address)
                            .values(sequence=sequence)
                        )
                        continue
                    await connection.execute(
                        update(pins)
                        .where(pins.c.lane == row.address, pins.c.state == "held")
                        .values(state="returned", consumer="lost with the record")
                    )
                    if held is not None:
                        await self._book.unpin(connection, held.settlement_id)
                    await connection.execute(
                        update(lanes_table)
                        .where(lanes_table.c.address == row.address)
                        .values(sequence=sequence, settlement_id=None)
                    )
        return tuple(moved)

    async def _find_paid(self) -> tuple[str, ...]:
        """Confirm what the markers say was paid, whatever the record believes."""
        open_states = [status for status in SettlementStatus if not status.final]
        async with self._database.begin() as connection:
            rows = await connection.execute(select(settlements.c.id).where(settlements.c.status.in_(open_states)))
            waiting = [await self._book.read(connection, row.id) for row in rows.all()]
        found: list[str] = []
        for settlement in waiting:
            kept = await self._kept(settlement)
            if kept.marker is MarkerState.PAID:
                # Of a list the marker says who was paid, where the record has no envelope to find that by.
                await self._book.record_paid_before(settlement, None, kept)
                found.append(settlement.id)
        return tuple(found)

    async def _withdraw_paid_otherwise(self, paid: tuple[Forgotten, ...], lost: tuple[LostPayment, ...]) -> None:
        """Keep what was paid and forgotten, and have no chunk paid whose rows were paid under other ids."""
        async with self._database.begin() as connection:
            await remember(
                connection,
                [
                    *paid,
                    # A contract that the settings no longer name has no event here.
                    *(
                        Forgotten(payment.marker_id, payment.tx_hash, payment.ledger)
                        for payment in lost
                        if payment.successful and payment.marker_id is not None
                    ),
                ],
            )
            for settlement_id in await chunks_paid_otherwise(connection, self._deployment):
                await self._book.control(connection, settlement_id, Control.CANCEL)

    async def _kept(self, settlement: Settlement) -> Kept:
        key = marker_key(settlement.intent.invocation.contract, settlement.intent.marker_id)
        found = await self._rpc.ledger_entries([key])
        entry = found.by_key.get(key.to_xdr())
        if entry is None:
            return Kept(found.ledger, MarkerState.ABSENT)
        marker = marker_of(entry.data)
        return Kept(found.ledger, marker.state, marker.moved_units, marker.outcomes)

    async def _skip_used_numbers(self, lost: tuple[LostPayment, ...]) -> None:
        """Never give an outage the id of one that was paid and forgotten: its marker would refuse it for good."""
        numbers = [
            int(match["number"]) for payment in lost if (match := _OUTAGE_NUMBER.fullmatch(payment.subject))
        ]
        if numbers:
            async with self._database.begin() as connection:
                await connection.execute(
                    text(
                        "SELECT setval('outage_numbers', greatest(:used, (SELECT last_value FROM outage_numbers)))"
                    ),
                    {"used": max(numbers)},
                )


def _of_ours(landed: Landed, lanes: Set[str], paid: Set[str]) -> LostPayment | None:
    inner = inner_transaction(landed.envelope)
    if inner is None or inner.source_account.ed25519 is None:
        return None
    lane = StrKey.encode_ed25519_public_key(inner.source_account.ed25519.uint256)
    if lane not in lanes and landed.hash not in paid:
        return None
    return LostPayment(
        landed.hash, landed.ledger, landed.successful, lane, inner.seq_num.sequence_number.int64, *_subject(inner)
    )


def _subject(inner: xdr.Transaction) -> tuple[str, str | None]:
    """What a transaction is about, and the id that it pays under.

    That is the first symbol among a call's arguments: the outage's id; else what kind of transaction it is.
    """
    operation = inner.operations[0].body.invoke_host_function_op if inner.operations else None
    call = operation.host_function.invoke_contract if operation else None
    if call is None:
        return "no contract call", None
    symbols = [value.sym.sc_symbol.decode() for value in call.args if value.sym is not None]
    ids = [value.bytes.sc_bytes.hex() for value in call.args[:1] if value.bytes is not None]
    return symbols[0] if symbols else str(call.function_name.sc_symbol.decode()), ids[0] if ids else None
