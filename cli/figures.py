"""`holdfast stats`: how payouts stand, read from the record; it answers with every process down."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from rich.console import Console
from rich.table import Table

from adapters.database.payout_stats import PaymentKind, PayoutStats, Spread, Waiting, payout_stats
from cli.database import open_database
from domain.money import Amount
from settings import Settings


async def show_stats(settings: Settings, console: Console, *, kind: PaymentKind, hours: int, as_json: bool) -> int:
    """Read and show."""
    at = datetime.now(UTC)
    async with open_database(settings) as database, database.snapshot() as connection:
        found = await payout_stats(connection, kind=kind, since=at - timedelta(hours=hours), at=at)
    if as_json:
        console.print_json(data=found.model_dump(mode="json"))
    else:
        _show(console, found, hours)
    return 0


def _show(console: Console, found: PayoutStats, hours: int) -> None:
    what = "Payouts" if found.kind == "payout" else "Payments of batches"
    rate = "nothing ended" if found.success_rate is None else f"{100 * found.success_rate:.2f} %"
    rows = [
        ("pending (queued or submitted)", str(found.pending)),
        *((f"  {status}", str(count)) for status, count in sorted(found.by_status.items())),
        ("waiting for a signature", _waiting(found.awaiting_signature, found.at)),
        ("unknown", _waiting(found.unknown, found.at)),
        ("failed in the last hour", str(found.failed_last_hour)),
        (f"accepted in {hours} h", str(found.created)),
        ("confirmed", str(found.confirmed)),
        ("failed", str(found.failed)),
        *((f"  {reason}", str(count)) for reason, count in found.failures.items()),
        ("success rate", rate),
        ("asked for to confirmed", _seconds(found.confirmation_seconds)),
        ("sent to confirmed", _seconds(found.ledger_seconds)),
        ("fee", _fees(found.fee_stroops)),
        ("fees together", f"{Amount(found.fee_stroops_total).brief} XLM"),
    ]
    table = Table.grid(padding=(0, 2))
    for name, value in rows:
        table.add_row(name, value)
    console.print(f"{what}, {found.at:%Y-%m-%d %H:%M:%S} UTC", style="bold", highlight=False)
    console.print(table)


def _waiting(waiting: Waiting, at: datetime) -> str:
    if waiting.since is None:
        return str(waiting.count)
    return f"{waiting.count}, the oldest for {(at - waiting.since) // timedelta(seconds=1)} s"


def _seconds(spread: Spread) -> str:
    if spread.average is None:
        return "-"
    return (
        f"{spread.average:.1f} s on average; p50 {spread.p50:.1f}, p95 {spread.p95:.1f}, p99 {spread.p99:.1f}, "
        f"at most {spread.greatest:.1f}"
    )


def _fees(spread: Spread) -> str:
    if spread.average is None:
        return "-"
    return f"{spread.average:,.0f} stroops on average, at most {spread.greatest:,.0f}"
