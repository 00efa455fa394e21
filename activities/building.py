"""What is built, and what signers are asked for: the part of a settlement before anybody signs.

Policy, simulation, pin, envelope and request, in this order; all of it is committed before a signer is asked.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from math import ceil
from typing import Final

from activities.settlement_parts import Closes, Envelope, Ledger, PayerSigner, Settlement, SettlementBook
from domain.fees import FeePolicy
from domain.policy import Policy
from domain.settlement import Intent, SettlementOutcome
from domain.signing import SigningRequest

_ENTRY_LEDGERS_MAX: Final = 3_000_000
"""The network admits entries that live as long as a temporary entry may, 3,110,400 ledgers (public network)."""


def _nobody_waits(_: Intent) -> bool:
    return False


async def _nothing_follows(outcome: SettlementOutcome) -> SettlementOutcome:
    return outcome


class Building:
    """Builds settlements; see `activities.settlement.SettlementActivities`, which walks them to their end."""

    def __init__(
        self,
        *,
        book: SettlementBook,
        ledger: Ledger,
        closes: Closes,
        signers: Mapping[str, PayerSigner],
        policy: Policy,
        fees: FeePolicy,
        builds_max: int,
        validity: timedelta,
        fees_of_lists: FeePolicy | None = None,
        deferred: Callable[[Intent], bool] = _nobody_waits,
        signature_validity: timedelta = timedelta(days=1),
        conclude: Callable[[SettlementOutcome], Awaitable[SettlementOutcome]] = _nothing_follows,
    ) -> None:
        """`signers` by payer, and by name where a payout may name one.

        `builds_max` bounds a settlement's envelopes, `validity` is their life.

        `fees_of_lists` holds where one transaction pays several recipients; without it, `fees` do.
        `deferred` says whose signature comes from outside, by an answer to a request that lives for
        `signature_validity`.
        `conclude` writes down what follows from how a settlement ended; again is harmless.
        """
        self._book = book
        self._ledger = ledger
        self._closes = closes
        self._signers = signers
        self._policy = policy
        self._fees = fees
        self._fees_of_lists = fees_of_lists or fees
        self._builds_max = builds_max
        self._validity = validity
        self._deferred = deferred
        self._signature_validity = signature_validity
        self._conclude = conclude

    def _goes_on(self, intent: Intent) -> bool:
        """Whether anything is signed and sent at all."""
        return self._policy.live and not intent.build_only

    async def _build(self, settlement: Settlement, because: str = "") -> Settlement:
        """Policy, simulation, pin, envelope, request: committed before any signer is asked."""
        intent = settlement.intent
        goes_on = self._goes_on(intent)
        # What is only shown is shown as an envelope.
        shown = intent if goes_on else intent.model_copy(update={"build_only": True})
        self._policy.check(intent)
        deferred = goes_on and self._deferred(intent)
        if deferred and not shown.asks_for_entry and settlement.pin is None:
            # Asked before the ledger: thousands may wait for a lane, and look again and again.
            await self._book.check_waiting(settlement.id)
        simulation = await self._ledger.simulate(shown)
        if simulation.replayed:
            return await self._record_paid(settlement)
        self._fees_for(intent).first_bid(simulation.resource_fee, 0, restores=simulation.restores)
        if shown.asks_for_entry:
            return await self._ask_for_entry(settlement, deferred=deferred, because=because)
        ask, validity = None, self._validity
        if deferred:
            authority, expires_at = (
                await self._ledger.authority(intent.payer),
                self._until(self._signature_validity),
            )
            # The last moment to sign leaves as much time to send as any other envelope has.
            validity += self._signature_validity

            def ask(envelope: Envelope) -> SigningRequest:
                return self._ledger.ask_for_envelope(intent, envelope, authority, expires_at)

        max_time = self._until(validity)
        return await self._book.write_ahead(
            settlement,
            simulation,
            max_time=max_time,
            day_max_units=self._day_max_units,
            build=lambda lane, sequence: self._ledger.build(shown, simulation, lane, sequence, max_time),
            ask=ask,
            because=because,
            holds=goes_on,
        )

    async def _ask_for_entry(self, settlement: Settlement, *, deferred: bool, because: str) -> Settlement:
        """Ask for an authorization entry: it holds no lane, and its envelope is made when it is signed."""
        intent = settlement.intent
        validity = self._signature_validity if deferred else self._validity
        authority = await self._ledger.authority(intent.payer)
        ledgers = ceil((validity + self._validity) / timedelta(seconds=self._closes.interval_seconds))
        request = self._ledger.ask_for_entry(
            intent, authority, self._until(validity), self._closes.sequence + min(ledgers, _ENTRY_LEDGERS_MAX)
        )
        return await self._book.write_request(
            settlement, request, deferred=deferred, because=because, day_max_units=self._day_max_units
        )

    def _fees_for(self, intent: Intent) -> FeePolicy:
        return self._fees_of_lists if intent.partial else self._fees

    def _until(self, validity: timedelta) -> datetime:
        return (self._closes.closed_at + validity).replace(microsecond=0)

    @property
    def _day_max_units(self) -> int | None:
        return None if self._policy.day_max is None else self._policy.day_max.units

    async def _record_paid(self, settlement: Settlement) -> Settlement:
        """The marker is there: confirmed, by whomever it was sent."""
        proof = await self._ledger.find_marker(settlement.intent)
        kept = None if proof is not None else await self._ledger.kept(settlement.intent)
        return await self._book.record_paid_before(settlement, proof, kept)
