"""The outage book: what people may do with outages. Each command runs in the caller's transaction.

One request is one transaction: the caller begins it, writes its idempotency key and audit entry beside the
command, commits, and then wakes the story (`Stories.outage_changed`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.database.outage_news import event_about
from adapters.database.outage_rows import OutageDraft
from adapters.database.outages_tables import approvals, decisions, outage_numbers, outages
from adapters.database.outbox import TELLING, news_of
from domain.errors import Conflict, InvalidInput
from domain.events import EventType
from domain.instants import instant
from domain.outage import Outage, OutageStatus, check_transition
from domain.settlement import Control, SettlementOutcome, SettlementStatus
from domain.sla import Severity, minutes_to_repair
from domain.sla_payment import (
    PaymentPhase,
    check_approver,
    check_phase,
    phase_after_dispute,
)

CLOCK_SKEW_MAX: Final = timedelta(minutes=5)
"""How far ahead of our clock a reported time may be."""


_NEXT_NUMBER: Final = select(outage_numbers.next_value())
_REPORT: Final = insert(outages).add_cte(TELLING.cte("telling"))
_COLUMNS_REPORTED: Final = (
    "outage_id",
    "site_name",
    "description",
    "severity",
    "status",
    "operator_id",
    "operator_wallet",
    "noc_team_wallet",
    "wallets_named_by",
    "detected_at",
    "reported_at",
    "reported_by",
    "phase",
    "changed_at",
)


class Settlements(Protocol):
    """What the book asks of the settlement engine."""

    async def control(self, connection: AsyncConnection, settlement_id: str, control: Control) -> None:
        """Ask that a settlement be held, resumed (`NONE`) or cancelled; a Conflict where it is final."""

    async def outcome(self, settlement_id: str) -> SettlementOutcome:
        """How a settlement stands."""


class OutageBook:
    """Commands on outages. `by` is a person's id, `at` is now; all raise NotFound for an unknown id."""

    def __init__(self, settlements: Settlements) -> None:
        self._settlements = settlements

    async def report(
        self,
        connection: AsyncConnection,
        *,
        site_name: str,
        severity: Severity,
        detected_at: datetime,
        by: str,
        at: datetime,
        description: str = "",
        operator_id: str | None = None,
        operator_wallet: str | None = None,
        noc_team_wallet: str | None = None,
        wallets_named_by: str | None = None,
    ) -> Outage:
        """Write down a new outage; its id is `OUT001` and so on.

        `wallets_named_by` is who named a wallet that is not the registry's, and may not approve the payment.

        Raises:
            InvalidInput: `detected_at` has no zone or lies ahead.
        """
        _not_ahead("detected_at", detected_at, at)
        number: int = (await connection.execute(_NEXT_NUMBER)).scalar_one()
        outage = Outage(
            outage_id=f"OUT{number:03d}",
            site_name=site_name,
            description=description,
            severity=severity,
            status=OutageStatus.OPEN,
            operator_id=operator_id,
            operator_wallet=operator_wallet,
            noc_team_wallet=noc_team_wallet,
            wallets_named_by=wallets_named_by,
            detected_at=detected_at,
            reported_at=at,
            reported_by=by,
            phase=PaymentPhase.NONE,
            changed_at=at,
        )
        row = {name: getattr(outage, name) for name in _COLUMNS_REPORTED}
        news = news_of([event_about(outage, EventType.OUTAGE_REPORTED, at=at)])
        await connection.execute(_REPORT, {"number": number} | row | news)
        return outage

    async def acknowledge(self, connection: AsyncConnection, outage_id: str, *, by: str, at: datetime) -> Outage:
        """Say that somebody works on it; twice is the same answer.

        Raises:
            Conflict: `wrong_state`.
        """
        draft = await OutageDraft.lock(connection, outage_id, at=at)
        outage = draft.outage
        if outage.status is OutageStatus.ACKNOWLEDGED:
            return outage
        check_transition(outage_id, outage.status, OutageStatus.ACKNOWLEDGED)
        draft.change(
            status=OutageStatus.ACKNOWLEDGED,
            acknowledged_at=at,
            acknowledged_by=by,
        )
        draft.tell(EventType.OUTAGE_ACKNOWLEDGED)
        return await draft.write(connection)

    async def resolve(
        self,
        connection: AsyncConnection,
        outage_id: str,
        *,
        resolved_at: datetime,
        by: str,
        at: datetime,
        rca: str | None = None,
    ) -> Outage:
        """Stop the clock; the story then decides and pays. The same again is the same answer.

        Of a disputed outage it settles the dispute, and may correct the time while no payment is on its way.

        Raises:
            InvalidInput: resolved before it was detected, ahead of now, or without a zone.
            Conflict: it was resolved at another time or with another RCA, or cannot be resolved any more.
        """
        draft = await OutageDraft.lock(connection, outage_id, at=at)
        outage = draft.outage
        minutes_to_repair(outage.detected_at, resolved_at)
        _not_ahead("resolved_at", resolved_at, at)
        if outage.status is OutageStatus.RESOLVED:
            _same_resolution(outage, resolved_at, rca)
            return outage
        check_transition(outage_id, outage.status, OutageStatus.RESOLVED)
        values: dict[str, Any] = {"status": OutageStatus.RESOLVED}
        corrected = outage.resolved_at != resolved_at or (rca is not None and rca != outage.rca)
        if corrected:
            self._supersede_decision(draft)
            values |= {"resolved_at": resolved_at, "resolved_by": by}
            if rca is not None:
                values |= {"rca": rca, "rca_hash": rca_hash_of(rca)}
        if outage.phase is PaymentPhase.HELD:
            values["phase"] = phase_after_dispute(
                decided=outage.decision is not None,
                corrected=corrected,
                agreed=outage.approved_at is not None or not await _needs_approval(connection, outage_id),
            )
        elif outage.phase is PaymentPhase.SETTLING:
            await self._ask_engine(connection, outage, Control.NONE)
        draft.change(**values)
        draft.tell(EventType.OUTAGE_RESOLVED)
        return await draft.write(connection)

    def _supersede_decision(self, draft: OutageDraft) -> None:
        """Let a disputed outage be decided anew, unless a payment by the old decision may be on its way."""
        outage = draft.outage
        if outage.phase is PaymentPhase.SETTLING or outage.phase.final:
            where = "on its way" if outage.phase is PaymentPhase.SETTLING else outage.phase
            raise Conflict(
                f"the payment of {outage.outage_id} by its recorded time is {where}; it cannot be corrected",
                resolved_at=f"recorded as {_stamp(outage.resolved_at)}",
            )
        if outage.decision is not None:
            superseded = (
                update(decisions)
                .where(decisions.c.outage_id == outage.outage_id, decisions.c.superseded_at.is_(None))
                .values(superseded_at=draft.at)
            )
            draft.add(
                "superseded", superseded, decision=None, approved_by=None, approved_at=None, why_approval=None
            )

    async def _ask_engine(self, connection: AsyncConnection, outage: Outage, control: Control) -> None:
        """Hold, resume or cancel the settlement; one that just failed is left to the story, which sees the row."""
        try:
            await self._settlements.control(connection, outage.settlement_id, control)
        except Conflict:
            outcome = await self._settlements.outcome(outage.settlement_id)
            if outcome.status is SettlementStatus.CONFIRMED:
                raise

    async def dispute(
        self, connection: AsyncConnection, outage_id: str, *, by: str, at: datetime, reason: str | None = None
    ) -> Outage:
        """Hold the payment until the dispute is settled by `resolve` or `cancel`.

        A payment that is on its way is asked to stop; where it lands nevertheless, it is confirmed.
        A reason may be added later, and is not replaced by another.

        Raises:
            Conflict: `wrong_state`: it is paid or cancelled already; or disputed already, for another reason.
        """
        draft = await OutageDraft.lock(connection, outage_id, at=at)
        outage = draft.outage
        if outage.status is OutageStatus.DISPUTED:
            if reason is None or reason == outage.dispute_reason:
                return outage
            if outage.dispute_reason is not None:
                raise Conflict(f"{outage_id} is disputed already, for another reason", reason="already recorded")
            draft.change(dispute_reason=reason)
            return await draft.write(connection)
        _not_final(outage, "a dispute can no longer hold it")
        check_transition(outage_id, outage.status, OutageStatus.DISPUTED)
        values: dict[str, Any] = {"retry_at": None}
        if outage.phase is PaymentPhase.SETTLING:
            await self._ask_engine(connection, outage, Control.HOLD)
        else:
            check_phase(outage_id, outage.phase, PaymentPhase.HELD)
            values["phase"] = PaymentPhase.HELD
        draft.change(
            status=OutageStatus.DISPUTED,
            disputed_at=at,
            disputed_by=by,
            dispute_reason=reason,
            **values,
        )
        draft.tell(EventType.OUTAGE_DISPUTED)
        return await draft.write(connection)

    async def cancel(self, connection: AsyncConnection, outage_id: str, *, by: str, at: datetime) -> Outage:
        """Withdraw an outage: nothing is paid.

        While a payment is on its way this only asks for it (`cancel_requested_at`): the outage is cancelled when
        it is proved that the payment cannot land, and confirmed if it does.

        Raises:
            Conflict: `wrong_state`: it is paid already.
        """
        draft = await OutageDraft.lock(connection, outage_id, at=at)
        outage = draft.outage
        if outage.status is OutageStatus.CANCELLED:
            return outage
        _not_final(outage, "it can no longer be cancelled")
        check_transition(outage_id, outage.status, OutageStatus.CANCELLED)
        if outage.phase is PaymentPhase.SETTLING:
            await self._ask_engine(connection, outage, Control.CANCEL)
            draft.change(cancel_requested_at=at, cancelled_by=by)
            return await draft.write(connection)
        check_phase(outage_id, outage.phase, PaymentPhase.CANCELLED)
        draft.change(
            status=OutageStatus.CANCELLED,
            phase=PaymentPhase.CANCELLED,
            cancelled_at=at,
            cancelled_by=by,
        )
        draft.tell(EventType.OUTAGE_CANCELLED)
        return await draft.write(connection)

    async def approve(self, connection: AsyncConnection, outage_id: str, *, by: str, at: datetime) -> Outage:
        """Agree to a payment that waits for it; the same person again is the same answer.

        Raises:
            Forbidden: `four_eyes`: the person resolved the outage, or named a wallet for it.
            Conflict: `wrong_state`: nothing waits for approval.
        """
        draft = await OutageDraft.lock(connection, outage_id, at=at)
        outage = draft.outage
        if outage.approved_by == by:
            return outage
        if outage.phase is not PaymentPhase.AWAITING_APPROVAL:
            raise Conflict(
                f"the payment of {outage_id} is {outage.phase}; it does not wait for approval", code="wrong_state"
            )
        check_approver(outage_id, initiator=outage.resolved_by, wallets_named_by=outage.wallets_named_by, by=by)
        decision_id = select(decisions.c.decision_id).where(
            decisions.c.outage_id == outage_id, decisions.c.superseded_at.is_(None)
        )
        approval = insert(approvals).values(
            decision_id=decision_id.scalar_subquery(), approved_by=by, approved_at=at
        )
        draft.add("approval", approval, approved_by=by, approved_at=at)
        draft.change(phase=PaymentPhase.DUE)
        draft.tell(EventType.PAYMENT_APPROVED)
        return await draft.write(connection)

    async def request_retry(
        self,
        connection: AsyncConnection,
        outage_id: str,
        *,
        by: str,
        at: datetime,
        operator_wallet: str | None = None,
        noc_team_wallet: str | None = None,
    ) -> Outage:
        """Have a refused payment tried again; wallets are taken only where none is known yet.

        With a wallet it is decided anew: an approval given before does not cover whom it names.

        Raises:
            Conflict: `wrong_state`: it was not refused.
        """
        draft = await OutageDraft.lock(connection, outage_id, at=at)
        outage = draft.outage
        if outage.phase not in {PaymentPhase.REFUSED, PaymentPhase.RETRYING}:
            raise Conflict(
                f"the payment of {outage_id} is {outage.phase}; only a refused one is retried", code="wrong_state"
            )
        wallets = {
            name: wallet
            for name, wallet in (("operator_wallet", operator_wallet), ("noc_team_wallet", noc_team_wallet))
            if wallet is not None and getattr(outage, name) is None
        }
        if wallets:
            self._name_wallets(draft, wallets, by=by)
        else:
            draft.change(phase=PaymentPhase.DUE, retries=0, retry_at=None)
        draft.tell(EventType.PAYMENT_RESUMED)
        return await draft.write(connection)

    async def correct_wallets(
        self,
        connection: AsyncConnection,
        outage_id: str,
        *,
        by: str,
        at: datetime,
        operator_wallet: str | None = None,
        noc_team_wallet: str | None = None,
    ) -> tuple[Outage, Mapping[str, str | None]]:
        """Name other wallets for a payment that was refused; it is then decided anew, and tried again.

        One that is not the registry's needs the approval of another person than who named it. The same wallets
        again change nothing.

        Returns:
            The outage, and the wallets that stood there before, by field.

        Raises:
            Conflict: `wrong_state`: it was not refused, so that money may be on its way, or nothing was tried.
        """
        draft = await OutageDraft.lock(connection, outage_id, at=at)
        outage = draft.outage
        named = {"operator_wallet": operator_wallet, "noc_team_wallet": noc_team_wallet}
        wallets = {name: wallet for name, wallet in named.items() if wallet is not None}
        before = {name: getattr(outage, name) for name in wallets if wallets[name] != getattr(outage, name)}
        if not before:
            return outage, before
        if outage.phase not in {PaymentPhase.REFUSED, PaymentPhase.RETRYING}:
            raise Conflict(
                f"the payment of {outage_id} is {outage.phase}; wallets are corrected after a refusal",
                code="wrong_state",
            )
        self._name_wallets(draft, wallets, by=by)
        draft.tell(EventType.PAYMENT_RESUMED)
        return await draft.write(connection), before

    def _name_wallets(self, draft: OutageDraft, wallets: Mapping[str, str], *, by: str) -> None:
        """Let the story decide anew, now that somebody named a wallet; only where nothing is in flight."""
        check_phase(draft.outage.outage_id, draft.outage.phase, PaymentPhase.NONE)
        self._supersede_decision(draft)
        draft.change(
            phase=PaymentPhase.NONE,
            retries=0,
            retry_at=None,
            reason_code=None,
            reason=None,
            reason_details={},
            wallets_named_by=by,
            **wallets,
        )


def rca_hash_of(rca: str) -> str:
    """sha256 of an RCA text in UTF-8, as hex: what is anchored on chain."""
    return hashlib.sha256(rca.encode()).hexdigest()


async def _needs_approval(connection: AsyncConnection, outage_id: str) -> bool:
    query = select(decisions.c.needs_approval).where(
        decisions.c.outage_id == outage_id, decisions.c.superseded_at.is_(None)
    )
    return bool((await connection.execute(query)).scalar_one_or_none())


def _not_ahead(field: str, moment: datetime, at: datetime) -> None:
    if moment.tzinfo is None:
        raise InvalidInput(
            f"{field} has no time zone", **{field: "a time with a zone, such as 2026-01-16T10:00:00Z"}
        )
    if moment > at + CLOCK_SKEW_MAX:
        raise InvalidInput(f"{field} lies in the future", **{field: f"at most {instant(at)}"})


def _not_final(outage: Outage, consequence: str) -> None:
    if outage.phase is PaymentPhase.CONFIRMED:
        raise Conflict(f"{outage.outage_id} is paid ({outage.tx_hash}); {consequence}", code="wrong_state")
    if outage.phase is PaymentPhase.CANCELLED and outage.status is not OutageStatus.CANCELLED:
        raise Conflict(f"the payment of {outage.outage_id} was cancelled; {consequence}", code="wrong_state")


def _stamp(at: datetime | None) -> str:
    return "none" if at is None else instant(at)


def _same_resolution(outage: Outage, resolved_at: datetime, rca: str | None) -> None:
    differing: dict[str, str] = {}
    if outage.resolved_at != resolved_at:
        differing["resolved_at"] = f"recorded as {_stamp(outage.resolved_at)}"
    if rca is not None and outage.rca_hash != rca_hash_of(rca):
        differing["rca"] = f"recorded with sha256 {outage.rca_hash}"
    if differing:
        raise Conflict(f"{outage.outage_id} is resolved already, otherwise; dispute it to correct it", **differing)
