"""What operators allow the SLA contract to draw, and until when."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from adapters.stellar.entries import allowance_key, allowance_state
from adapters.stellar.rpc import Rpc
from domain.allowance import Allowance
from domain.errors import Refused
from domain.money import AMOUNT_MAX, Amount

_LEDGERS_MEASURED: Final = 100
_USUAL_CLOSE_TIME: Final = timedelta(seconds=5)


class Allowances:
    """Reads allowances of one token to one contract: temporary entries of the Stellar Asset Contract."""

    def __init__(self, rpc: Rpc, *, token: str, spender: str) -> None:
        self._rpc = rpc
        self._token = token
        self._spender = spender

    async def read(self, owner: str) -> tuple[Allowance, int]:
        """What `owner` allows, and the ledger that says so.

        Amount and last ledger stand in the entry's value. The entry may outlive them: a spent allowance is kept,
        and an ended one is gone.

        Raises:
            Unavailable: the ledger does not answer.
        """
        key = allowance_key(self._token, owner, self._spender)
        answer = await self._rpc.ledger_entries([key])
        entry = answer.by_key.get(key.to_xdr())
        state = None if entry is None else allowance_state(entry.data)
        if state is None or state.live_until < answer.ledger:
            return Allowance(Amount(0), None), answer.ledger
        return Allowance(Amount(min(state.amount_units, AMOUNT_MAX)), state.live_until), answer.ledger

    async def close_time(self, latest: int) -> timedelta:
        """How long a ledger takes, measured over the last hundred; 5 s where the node keeps too few.

        Raises:
            Unavailable: the ledger does not answer.
        """
        since = max(1, latest - _LEDGERS_MEASURED)
        try:
            first, _ = await self._rpc.ledgers(since, limit=1)
            last, _ = await self._rpc.ledgers(latest, limit=1)
        except Refused:
            return _USUAL_CLOSE_TIME
        if not first or not last or last[0].sequence <= first[0].sequence:
            return _USUAL_CLOSE_TIME
        took = last[0].closed_at - first[0].closed_at
        return took / (last[0].sequence - first[0].sequence) or _USUAL_CLOSE_TIME
