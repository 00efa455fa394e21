"""`holdfast reconcile payments`: what the ledger paid beside what the record says."""

from __future__ import annotations

from datetime import datetime

from rich.console import Console
from rich.table import Table

from adapters.stellar.payment_audit import PaymentAudit
from adapters.stellar.rpc import Rpc
from cli.database import open_database
from domain.reconciliation import Difference, Reconciliation, units
from settings import Settings


async def reconcile_payments(settings: Settings, console: Console, *, everything: bool, as_json: bool) -> int:
    """Compare and show; 1 where they differ."""
    async with open_database(settings) as database, Rpc(settings.stellar_soroban_rpc_url) as rpc:
        audit = PaymentAudit(database=database, rpc=rpc, contracts=settings.paying_contracts)
        found = await audit.compare(everything=everything)
    if as_json:
        console.print_json(data={"same": found.same, **found.model_dump(mode="json")})
    else:
        _show(console, found, everything=everything)
    return 0 if found.same else 1


def _show(console: Console, found: Reconciliation, *, everything: bool) -> None:
    console.print(
        f"Ledgers {found.first_ledger} ({_time(found.first_closed_at)}) to {found.last_ledger} "
        f"({_time(found.last_closed_at)}): all whose events the RPC keeps.",
        highlight=False,
        soft_wrap=True,
    )
    older = "all older ones" if everything else "of older ones nothing is known here; --all asks for their markers"
    console.print(
        f"{found.on_ledger} payments on the ledger, {found.in_record} in the record; "
        f"{found.by_marker} known by their markers alone ({older}); {found.under_way} under way.",
        highlight=False,
        soft_wrap=True,
    )
    if found.same:
        console.print("Ledger and record say the same.", style="green")
        return
    for difference in found.differences:
        console.print(_row(difference))
    count = len(found.differences)
    console.print(f"{count} difference{'' if count == 1 else 's'}. Pay none of these again.", style="bold red")


def _row(difference: Difference) -> Table:
    """One difference; addresses and hashes are folded and never cut."""
    table = Table(show_header=False, title_justify="left", title=difference.kind.value.replace("_", " "))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    facts = {
        "what": difference.sentence,
        "settlement": difference.settlement_id,
        "marker": difference.marker_id,
        "on the ledger": None if difference.ledger_units is None else units(difference.ledger_units),
        "in the record": None if difference.record_units is None else units(difference.record_units),
        "token": difference.token,
        "contract": difference.contract,
        "transaction": difference.tx_hash,
        "ledger": difference.ledger,
    }
    for name, value in facts.items():
        if value is not None:
            table.add_row(name, str(value))
    return table


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC")
