"""Outages are confirmed with their payments: those of one ledger together, by the walks that saw them paid."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from adapters.database.engine import Database
from adapters.database.gathered import Gathered
from adapters.database.outage_rows import StoryDraft
from adapters.database.outage_story import Payment, confirm
from domain.settlement import SettlementOutcome, SettlementStatus
from domain.sla_payment import PaymentPhase, settlement_id


class PaidOutages:
    """Writes down which outages are paid."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._paid: Gathered[Payment, str] = Gathered(self._confirm)

    async def conclude(self, outcome: SettlementOutcome) -> SettlementOutcome:
        """Confirm the outage that a confirmed settlement pays for; again changes nothing.

        Whatever else a settlement came to is left to the story.

        Returns:
            The outcome; with `record_status`, where the outage is confirmed.

        Raises:
            Unavailable: the database does not answer.
        """
        payment = Payment.of(outcome)
        if outcome.status is not SettlementStatus.CONFIRMED or outcome.settlement_id != settlement_id(
            payment.outage_id
        ):
            return outcome
        return outcome.model_copy(update={"record_status": await self._paid.ask(payment)})

    async def _confirm(self, payments: Sequence[Payment]) -> dict[Payment, str]:
        async with self._database.begin() as connection:
            drafts = await StoryDraft.lock_some(
                connection, [payment.outage_id for payment in payments], at=datetime.now(UTC)
            )
            confirmed = {}
            for payment in payments:
                draft = drafts.get(payment.outage_id)
                if draft is not None and draft.outage.phase is PaymentPhase.SETTLING:
                    confirm(draft, payment)
                    await draft.write(connection)
                if draft is not None and draft.outage.phase is PaymentPhase.CONFIRMED:
                    confirmed[payment] = draft.outage.status.value
            return confirmed
