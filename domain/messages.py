"""Mails in plain text: who, what, amounts, and where to look. Pure, so that each can be read in a test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from domain.errors import InvalidInput
from domain.events import Event, EventType
from domain.instants import instant
from domain.money import Amount


@dataclass(frozen=True, slots=True)
class Message:
    """A mail without its address."""

    subject: str
    body: str


_T = EventType
_HEADLINES: Final[Mapping[EventType, str]] = MappingProxyType(
    {
        _T.OUTAGE_REPORTED: "{name} was reported",
        _T.OUTAGE_ACKNOWLEDGED: "somebody works on {name}",
        _T.OUTAGE_WARNING: "{name} has used {percent} % of its SLA threshold",
        _T.OUTAGE_RESOLVED: "{name} is resolved",
        _T.OUTAGE_DECIDED: "{name}: {kind} of {amount}",
        _T.OUTAGE_DISPUTED: "{name} is disputed; its payment is held",
        _T.OUTAGE_CANCELLED: "{name} was cancelled; nothing is paid",
        _T.PAYMENT_AWAITING_APPROVAL: "the {kind} of {amount} for {name} waits for approval",
        _T.PAYMENT_APPROVED: "the {kind} of {amount} for {name} was approved",
        _T.PAYMENT_HELD: "the payment for {name} is held",
        _T.PAYMENT_RESUMED: "the payment for {name} goes on",
        _T.PAYMENT_REFUSED: "the {kind} of {amount} for {name} was refused and waits for a person",
        _T.PAYMENT_RETRYING: "the {kind} of {amount} for {name} is tried again",
        _T.PAYMENT_SUBMITTED: "the {kind} of {amount} for {name} is on its way",
        _T.PAYMENT_CONFIRMED: "the {kind} of {amount} for {name} is paid",
        _T.PAYMENT_FAILED: "the {kind} of {amount} for {name} failed",
        _T.PAYMENT_UNKNOWN: "it is not known yet whether the {kind} of {amount} for {name} was paid",
        _T.PAYMENT_CANCELLED: "the payment for {name} was cancelled; nothing was paid",
        _T.PAYOUT_CREATED: "the payout {name} of {amount} was accepted",
        _T.PAYOUT_AWAITING_APPROVAL: "the payout {name} of {amount} waits for approval",
        _T.PAYOUT_APPROVED: "the payout {name} of {amount} was approved",
        _T.PAYOUT_BUILT: "the payout {name} is built; nothing is sent",
        _T.PAYOUT_QUEUED: "the payout {name} is signed",
        _T.PAYOUT_SUBMITTED: "the payout {name} of {amount} is on its way",
        _T.PAYOUT_UNKNOWN: "it is not known yet whether the payout {name} of {amount} was paid",
        _T.PAYOUT_CONFIRMED: "the payout {name} of {amount} is paid",
        _T.PAYOUT_RETRYING: "the payout {name} of {amount} is tried again",
        _T.PAYOUT_FAILED: "the payout {name} of {amount} failed; nothing was paid",
        _T.PAYOUT_HELD: "the payout {name} is held",
        _T.PAYOUT_RESUMED: "the payout {name} goes on",
        _T.PAYOUT_CANCELLED: "the payout {name} was cancelled; nothing was paid",
        _T.BATCH_ACCEPTED: "the batch {name} was accepted",
        _T.BATCH_AWAITING_APPROVAL: "the batch {name} waits for approval",
        _T.BATCH_APPROVED: "the batch {name} was approved",
        _T.BATCH_PAUSED: "the batch {name} is paused",
        _T.BATCH_RESUMED: "the batch {name} goes on",
        _T.BATCH_STOPPED: "the batch {name} has stopped and waits for a person",
        _T.BATCH_COMPLETED: "the batch {name} is completed: {paid} paid, {failed} failed, {bad} bad",
        _T.BATCH_CANCELLED: "the batch {name} was cancelled: {paid} had been paid",
        _T.ALLOWANCE_ENDING: "the allowance of {name} ends in {days} days",
        _T.RECONCILIATION_DIFFERS: "the ledger and the record differ in {count} payments",
        _T.WALLET_READY: "a wallet is ready",
        _T.WALLET_FAILED: "a wallet could not be made",
        _T.SYSTEM_FROZEN: "all sending is frozen",
        _T.SYSTEM_THAWED: "sending goes on",
        _T.SYSTEM_HALTED: "all sending is stopped: the ledger or the database went back in time",
        _T.WEBHOOK_TEST: "a test",
    }
)
_ASKS: Final[Mapping[EventType, str]] = MappingProxyType(
    {
        _T.PAYMENT_AWAITING_APPROVAL: "Another person than the one who resolved it approves it:"
        " POST /api/v1/payments/process-sla with this outage_id.",
        _T.PAYMENT_REFUSED: "Mend what the reason names, then POST /api/v1/payments/{name}/retry.",
        _T.PAYMENT_FAILED: "Nothing was paid. Look at GET /api/v1/payments/{name}/why before a retry.",
        _T.PAYMENT_UNKNOWN: "Do not pay it by another way: it is looked up until there is proof.",
        _T.PAYOUT_AWAITING_APPROVAL: "Another person than the one who asked for it approves it:"
        " POST /api/v1/payouts/{name}/approve.",
        _T.PAYOUT_FAILED: "Mend what the reason names, then POST /api/v1/payouts/{name}/retry.",
        _T.PAYOUT_UNKNOWN: "Do not pay it by another way: it is looked up until there is proof.",
        _T.BATCH_AWAITING_APPROVAL: "Another person than the one who sent it approves it:"
        " POST /api/v1/batches/{name}/approve.",
        _T.BATCH_STOPPED: "Mend what the reason names, then POST /api/v1/batches/{name}/resume.",
        _T.ALLOWANCE_ENDING: "The operator approves again until a later ledger.",
        _T.RECONCILIATION_DIFFERS: "`holdfast reconcile payments` lists them all. Pay none of them again.",
        _T.SYSTEM_FROZEN: "`holdfast thaw` when it is safe.",
        _T.SYSTEM_HALTED: "`holdfast reconcile`.",
    }
)
_LABELS: Final = (
    ("site_name", "Site"),
    ("severity", "Severity"),
    ("kind", "Kind"),
    ("mttr_minutes", "Minutes to repair"),
    ("threshold_minutes", "Threshold (minutes)"),
    ("source", "From"),
    ("destination", "To"),
    ("reason", "Reason"),
    ("reason_code", "Code"),
    ("by", "By"),
    ("tx_hash", "Transaction"),
    ("ledger", "Ledger"),
)


class _Words(dict[str, str]):
    def __missing__(self, key: str) -> str:
        return {"kind": "payment", "amount": "an amount"}.get(key, "?")


def compose(event: Event, *, explorer_url: str, api_url: str) -> Message:
    """Write the mail about an event; links lead to the explorer and the API."""
    name = event.subject.partition(":")[2]
    words = _Words({key: str(value) for key, value in event.data.items() if value is not None}, name=name)
    kind = event.data.get("kind") or event.data.get("type")
    if kind:
        words["kind"] = str(kind)
    amount = _amount(event.data)
    if amount:
        words["amount"] = amount
    headline = _HEADLINES[event.type].format_map(words)
    site = event.site_name or event.data.get("site_name")
    facts = {**event.data, "site_name": site, "kind": kind}
    lines = [f"{headline[0].upper()}{headline[1:]}.", ""]
    lines += [f"{label}: {facts[key]}" for key, label in _LABELS if facts.get(key) is not None]
    if amount:
        lines.append(f"Amount: {amount}")
    lines.append(f"Time: {instant(event.at)}")
    if event.type in _ASKS:
        lines += ["", _ASKS[event.type].format_map(words)]
    lines.append("")
    if event.data.get("tx_hash"):
        lines.append(f"On the ledger: {explorer_url.rstrip('/')}/tx/{event.data['tx_hash']}")
    if event.subject.startswith("outage:"):
        lines.append(f"The record: {api_url.rstrip('/')}/api/v1/outages/{name}")
    if event.subject.startswith("batch:"):
        lines.append(f"The record: {api_url.rstrip('/')}/api/v1/batches/{name}")
    if event.subject.startswith("payout:"):
        lines.append(f"The record: {api_url.rstrip('/')}/api/v1/payouts/{name}")
    # A line break in a subject would begin another header.
    return Message(subject=f"Holdfast: {' '.join(headline.split())}", body="\n".join(lines).strip() + "\n")


def _amount(data: Mapping[str, Any]) -> str | None:
    value = data.get("amount")
    if value is None:
        return None
    try:
        figure = Amount.parse(str(value)).brief
    except InvalidInput:
        figure = str(value)
    return f"{figure} {data.get('asset', '')}".strip()
