"""Lanes: accounts that are a sequence number and nothing else, derived by SEP-5 from one secret.

A lane's secret moves no money: the payer's signature is on the operation, the fee account pays. Reserves are
sponsored by the funder, and `home_domain` carries the deployment's id, so that two deployments on one secret stop
instead of consuming each other's numbers.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

from sqlalchemy import Row, func, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection
from stellar_sdk import Keypair
from stellar_sdk.sep.mnemonic import StellarMnemonic

from adapters.database.engine import Database
from adapters.database.settlements_tables import lanes as lanes_table
from adapters.database.settlements_tables import pins
from adapters.stellar.accounts import SponsoredAccounts
from adapters.stellar.entries import account_key
from adapters.stellar.rpc import Rpc
from domain.errors import OutcomeUnknown, Refused, Unavailable

_log: Final = logging.getLogger(__name__)
_LOOK_SECONDS: Final = 1.0
_LAG_LOOKS: Final = 10
_LAG_PAUSE_SECONDS: Final = 0.5
_PER_DERIVATION: Final = b"holdfast lanes "
_all_lanes: Final = select(
    lanes_table.c.number, lanes_table.c.address, lanes_table.c.retired, lanes_table.c.settlement_id
)


def derived_mnemonic(secret: str) -> str:
    """A lanes mnemonic from another secret, for deployments that name none: 256 bits by sha256 with a prefix."""
    entropy = hashlib.sha256(_PER_DERIVATION + secret.encode()).digest()
    return StellarMnemonic("english").to_mnemonic(entropy)


class LaneKeys:
    """The lanes' key pairs: SEP-5 `m/44'/148'/n'` of the phrase in use, and of those that it replaced."""

    def __init__(self, mnemonic: str, *, lanes_max: int, previous: Sequence[str] = ()) -> None:
        self._phrases = (mnemonic, *previous)
        self._lanes_max = lanes_max
        self._derived: tuple[list[Keypair], ...] = tuple([] for _ in self._phrases)
        self._by_address: dict[str, Keypair] = {}

    def first(self, count: int) -> list[Keypair]:
        """The key pairs of lanes 0 to `count` - 1, of the phrase in use."""
        return self._derive(0, count)

    def keypair(self, address: str) -> Keypair:
        """The key pair of a lane, whichever process made it.

        Raises:
            Unavailable: no lane of our phrases has this address: a worker that has the right one will sign.
        """
        count = 0
        while address not in self._by_address:
            if count >= self._lanes_max:
                raise Unavailable(
                    f"{address} is no lane of LANES_MNEMONIC or LANES_MNEMONIC_PREVIOUS: start the workers anew "
                    "with the phrases that are in use",
                )
            # Number by number, since a lane's number is small in whichever phrase it is.
            count += 1
            for phrase in range(len(self._phrases)):
                self._derive(phrase, count)
        return self._by_address[address]

    def is_replaced(self, address: str, number: int) -> bool:
        """Whether the lane of this number is of a phrase that LANES_MNEMONIC replaced."""
        return any(
            self._derive(phrase, number + 1)[number].public_key == address
            for phrase in range(1, len(self._phrases))
        )

    def _derive(self, phrase: int, count: int) -> list[Keypair]:
        derived = self._derived[phrase]
        while len(derived) < count:
            keypair = Keypair.from_mnemonic_phrase(self._phrases[phrase], index=len(derived))
            derived.append(keypair)
            self._by_address[keypair.public_key] = keypair
        return derived[:count]


class Lanes:
    """Creates lanes on demand and keeps their rows."""

    def __init__(
        self,
        *,
        database: Database,
        rpc: Rpc,
        keys: LaneKeys,
        accounts: SponsoredAccounts,
        deployment: str,
        lanes_max: int,
    ) -> None:
        self._database = database
        self._rpc = rpc
        self._keys = keys
        self._accounts = accounts
        self._deployment = deployment
        self._lanes_max = lanes_max

    async def ensure(self, count: int) -> int:
        """Have `count` lanes (at most `lanes_max`) on the ledger and in the table; gives how many there are.

        Raises:
            Refused: a lane's account carries another deployment's id, or was made with another secret.
            Unavailable: the ledger does not answer.
        """
        count = min(count, self._lanes_max)
        keypairs = self._keys.first(count)
        async with self._database.begin() as connection:
            rows = (await connection.execute(_all_lanes)).all()
            if any(
                not row.retired and row.number < count and keypairs[row.number].public_key != row.address
                for row in rows
            ):
                await self._rotate(connection, rows)
                rows = (await connection.execute(_all_lanes)).all()
        for row in rows:
            if row.retired and row.settlement_id and not self._keys.is_replaced(row.address, row.number):
                raise Refused(
                    f"{row.settlement_id} is under way on lane {row.address}, whose phrase is not there: put it "
                    "back into LANES_MNEMONIC_PREVIOUS",
                )
        known = {row.address for row in rows if not row.retired}
        missing = [keypair for keypair in keypairs if keypair.public_key not in known]
        if missing:
            await self._accounts.create(missing, home_domain=self._deployment)
            await self._register(keypairs, missing)
        return max(len(known), count)

    async def _rotate(self, connection: AsyncConnection, rows: Sequence[Row[Any]]) -> None:
        """LANES_MNEMONIC was changed: the lanes of the phrase before are retired, all of them at once.

        Raises:
            Refused: a lane is of neither phrase.
        """
        keypairs = self._keys.first(max(row.number for row in rows) + 1)
        for row in rows:
            ours = keypairs[row.number].public_key == row.address
            if not row.retired and not ours and not self._keys.is_replaced(row.address, row.number):
                raise Refused(
                    f"lane {row.address} is not of LANES_MNEMONIC: put back the one that made it, or put that one "
                    "into LANES_MNEMONIC_PREVIOUS to have new lanes made"
                )
        # First out, then in: a number is used once at any time. Back to the phrase before is the same way.
        of_ours = lanes_table.c.address.in_([keypair.public_key for keypair in keypairs])
        await connection.execute(update(lanes_table).where(~of_ours).values(retired=True))
        await connection.execute(update(lanes_table).where(of_ours).values(retired=False))

    async def _register(self, keypairs: list[Keypair], missing: list[Keypair]) -> None:
        numbers = {keypair.public_key: number for number, keypair in enumerate(keypairs)}
        for start in range(0, len(missing), 100):
            part = missing[start : start + 100]
            found = await self._rpc.ledger_entries([account_key(keypair.public_key) for keypair in part])
            rows = []
            for keypair in part:
                entry = found.by_key.get(account_key(keypair.public_key).to_xdr())
                if entry is None or entry.data.account is None:
                    raise Unavailable(
                        f"lane {keypair.public_key} is not on the ledger yet", code="ledger_unavailable"
                    )
                domain = entry.data.account.home_domain.string32.decode()
                if domain != self._deployment:
                    raise Refused(
                        f"lane {keypair.public_key} belongs to deployment {domain!r}, not {self._deployment!r}: "
                        "two deployments must not share LANES_MNEMONIC",
                    )
                rows.append(
                    {
                        "address": keypair.public_key,
                        "number": numbers[keypair.public_key],
                        "sequence": entry.data.account.seq_num.sequence_number.int64,
                    }
                )
            async with self._database.begin() as connection:
                await connection.execute(upsert(lanes_table).values(rows).on_conflict_do_nothing())

    async def grow(self) -> bool:
        """Make more lanes when none is free and the limit admits it: half as many again. True where it did."""
        async with self._database.begin() as connection:
            total, free = (
                await connection.execute(
                    select(func.count(), func.count().filter(lanes_table.c.settlement_id.is_(None)))
                    .select_from(lanes_table)
                    .where(~lanes_table.c.retired)
                )
            ).one()
        if free or total >= self._lanes_max:
            return False
        await self.ensure(max(total + 1, total * 3 // 2))
        return True

    async def run(self, stop: asyncio.Event) -> None:
        """Grow whenever every lane is taken, until `stop`; outages are waited out."""
        while not stop.is_set():
            try:
                await self.grow()
            except (Unavailable, OutcomeUnknown) as error:
                _log.warning("no lanes were made: %s", error.message)
            except Refused as refusal:
                _log.error("no lanes can be made: %s", refusal.message)
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), _LOOK_SECONDS)

    async def ahead(self) -> str | None:
        """Whether a lane's number on the ledger is beyond what the record can explain: then time went back.

        A lane may be ahead by one where it signed for its next number. The ledger is asked first and the record
        after it: sends are written ahead, so whatever the ledger shows, the record knew before. A ledger that
        seems to be behind is looked at again, since a node may lag and other workers may go on meanwhile. Gives a
        sentence, or None.
        """
        for look in range(_LAG_LOOKS):
            if look:
                await asyncio.sleep(_LAG_PAUSE_SECONDS)
            behind = None
            async with self._database.begin() as connection:
                addresses: list[str] = list((await connection.execute(select(lanes_table.c.address))).scalars())
            for start in range(0, len(addresses), 200):
                ahead, lagging = await self._compare(addresses[start : start + 200])
                if ahead is not None:
                    return ahead
                behind = behind or lagging
            if behind is None:
                return None
        return behind

    async def _compare(self, addresses: Sequence[str]) -> tuple[str | None, str | None]:
        """A sentence on a lane that is ahead of the record, and one on a lane that is behind it."""
        found = await self._rpc.ledger_entries([account_key(address) for address in addresses])
        async with self._database.begin() as connection:
            signed = select(pins.c.lane).where(pins.c.state == "held", pins.c.lane_signed)
            rows = await connection.execute(
                select(lanes_table, lanes_table.c.address.in_(signed).label("signed")).where(
                    lanes_table.c.address.in_(addresses)
                )
            )
        behind = None
        for row in rows.all():
            entry = found.by_key.get(account_key(row.address).to_xdr())
            if entry is None or entry.data.account is None:
                behind = f"lane {row.address} is not on the ledger: it was reset, or it is another network"
                continue
            sequence = entry.data.account.seq_num.sequence_number.int64
            explained = row.sequence + (1 if row.signed else 0)
            if sequence > explained:
                return (
                    f"lane {row.address} stands at {sequence} on the ledger, and the record explains at most "
                    f"{explained}: the database is older than the ledger"
                ), None
            if sequence < row.sequence:
                behind = (
                    f"lane {row.address} stands at {sequence} on the ledger, and the record has seen "
                    f"{row.sequence}: the network was reset, or it is another network"
                )
        return None, behind
