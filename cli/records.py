"""Commands on the record: people, keys, freeze and thaw, the audit log, migrations, reconciling."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from getpass import getuser

from rich.console import Console
from rich.table import Table

from adapters.custody import Custody
from adapters.database import people as people_book
from adapters.database import switches
from adapters.database.audit import seal, verify
from adapters.database.custody import rewrap
from adapters.database.heads import HeadBook
from adapters.database.migrate import pending, upgrade
from adapters.database.settlements import SettlementBook
from adapters.stellar.reconcile import Reconciler
from adapters.stellar.rpc import Rpc
from cli.database import open_database
from domain.errors import NotFound
from domain.people import Role, Scope
from settings import Settings


def actor() -> str:
    """Who works at this terminal, for the audit log."""
    try:
        return f"cli:{getuser()}"
    except OSError:
        return "cli"


async def freeze(settings: Settings, console: Console, reason: str) -> int:
    """Stop all sending."""
    async with open_database(settings) as database, database.begin() as connection:
        changed = await switches.freeze(connection, by=actor(), reason=reason, at=datetime.now(UTC))
        standing = await switches.frozen(connection)
    if standing is None:
        raise AssertionError("frozen, and not frozen, in one transaction")
    since = standing.since.strftime("%Y-%m-%d %H:%M:%S UTC")
    word = "Frozen" if changed else "Already frozen"
    console.print(
        f"{word} since {since} by {standing.by}: {standing.reason or 'no reason given'}", highlight=False
    )
    console.print("What was sent before is still followed to its end. `holdfast thaw` resumes.", style="dim")
    return 0


async def thaw(settings: Settings, console: Console, reason: str) -> int:
    """Let sending go on."""
    async with open_database(settings) as database, database.begin() as connection:
        changed = await switches.thaw(connection, by=actor(), reason=reason, at=datetime.now(UTC))
    console.print("Thawed: sending goes on." if changed else "Nothing was frozen.")
    return 0


async def make_key(
    settings: Settings, console: Console, *, person: str, label: str, scopes: Sequence[Scope], days: int | None
) -> int:
    """Make an API key; its text is printed once."""
    expires_at = datetime.now(UTC) + timedelta(days=days) if days is not None else None
    async with open_database(settings) as database, database.begin() as connection:
        found = await people_book.find_person(connection, person)
        if found is None:
            raise NotFound(f"there is nobody named {person!r}; `holdfast people add` first")
        key, secret = await people_book.make_key(
            connection,
            person_id=found.id,
            by=actor(),
            label=label,
            scopes=scopes or None,
            expires_at=expires_at,
        )
    console.print(f"{key.id} for {found.name}: {', '.join(key.scopes)}", highlight=False, soft_wrap=True)
    console.print("Keep it now; it is not shown again:")
    # Alone on stdout's last line, so that a script can take it.
    console.print(secret.get_secret_value(), highlight=False, soft_wrap=True)
    return 0


async def list_keys(settings: Settings, console: Console) -> int:
    """Show all keys, without their secrets."""
    async with open_database(settings) as database, database.begin() as connection:
        names = {person.id: person.name for person in await people_book.list_people(connection)}
        keys = await people_book.list_keys(connection)
    table = Table("id", "begins", "person", "label", "last used", "standing")
    table.columns[0].no_wrap = True  # it is what `keys revoke` takes
    for column in table.columns[1:]:
        column.overflow = "fold"
    now = datetime.now(UTC)
    may: list[str] = []
    for key in keys:
        standing = "valid"
        if key.revoked_at is not None:
            standing = f"revoked {_day(key.revoked_at)}"
        elif key.expires_at is not None:
            standing = f"{'expired' if key.expires_at <= now else 'valid until'} {_day(key.expires_at)}"
        scopes = "all" if set(key.scopes) == set(Scope) else ", ".join(key.scopes)
        used = _day(key.last_used_at) if key.last_used_at else "never"
        table.add_row(key.id, f"{key.prefix}…", names.get(key.person_id, "disabled"), key.label, used, standing)
        may.append(f"{key.id} may {scopes}")
    console.print(table)
    # Beneath and not in a column: what a key may do is never cut off at a narrow terminal's edge.
    for line in may:
        console.print(line, highlight=False, soft_wrap=True)
    return 0


async def revoke_key(settings: Settings, console: Console, key_id: str) -> int:
    """End a key."""
    async with open_database(settings) as database, database.begin() as connection:
        key = await people_book.revoke_key(connection, key_id, by=actor(), at=datetime.now(UTC))
    console.print(f"{key.id} is revoked.", highlight=False)
    return 0


async def add_person(
    settings: Settings, console: Console, *, name: str, roles: Sequence[Role], email: str | None
) -> int:
    """Add a named person."""
    async with open_database(settings) as database, database.begin() as connection:
        person = await people_book.add_person(connection, name=name, roles=roles, by=actor(), email=email)
    console.print(f"{person.id} {person.name}: {', '.join(person.roles)}", highlight=False)
    return 0


async def list_people(settings: Settings, console: Console) -> int:
    """Show everybody."""
    async with open_database(settings) as database, database.begin() as connection:
        everybody = await people_book.list_people(connection)
    table = Table("id", "name", "e-mail", "roles")
    for person in everybody:
        table.add_row(person.id, person.name, person.email or "", ", ".join(person.roles))
    console.print(table)
    return 0


async def rewrap_custody(settings: Settings, console: Console) -> int:
    """Wrap again, by the first key of CUSTODY_KEYS, what another key of it has wrapped."""
    ring = settings.custody_keys
    if ring is None:
        console.print("CUSTODY_KEYS is not set: nothing is kept under it.", style="bold red")
        return 1
    custody = Custody(ring.keys, current=ring.current, tenant=settings.holdfast_deployment)
    async with open_database(settings) as database:
        found = await rewrap(database, custody, current=ring.current, by=actor())
    for name, count in (("wallet keys", found.wallets), ("webhook secrets", found.webhooks)):
        console.print(f"{count} {name} are wrapped by {ring.current!r} now.", highlight=False)
    for account in found.closed:
        console.print(f"{account} does not open with these keys, and stays as it is", style="bold red")
    if found.closed:
        return 1
    others = [key_id for key_id in ring.keys if key_id != ring.current]
    if others:
        console.print(f"Nothing needs {', '.join(others)} any more: take it off CUSTODY_KEYS.", highlight=False)
    return 0


async def verify_audit(settings: Settings, console: Console) -> int:
    """Seal what is new, then walk the chain of the whole audit log."""
    async with open_database(settings) as database:
        async with database.begin() as connection:
            while await seal(connection, whole=True):
                pass
        async with database.begin() as connection:
            report = await verify(connection)
    if report.broken_at is not None:
        console.print(f"Broken at audit entry {report.broken_at}: {report.why}", style="bold red", highlight=False)
        return 1
    console.print(f"Whole: {report.sealed} entries sealed, {report.unsealed} not yet.", highlight=False)
    return 0


def migrate(settings: Settings, console: Console) -> int:
    """Bring the database's schema up to date."""
    url = settings.database_url.get_secret_value()
    missing = pending(url)
    upgrade(url)
    console.print(f"Applied {', '.join(missing)}." if missing else "The schema is up to date.", highlight=False)
    return 0


async def reconcile(settings: Settings, console: Console) -> int:
    """Rebuild pins and outcomes from the ledger after a restore; sending begins again."""
    async with open_database(settings) as database, Rpc(settings.stellar_soroban_rpc_url) as rpc:
        found = await Reconciler(
            database=database,
            rpc=rpc,
            book=SettlementBook(database, owner=actor()),
            heads=HeadBook(database, network_passphrase=settings.stellar_network_passphrase),
            deployment=settings.holdfast_deployment,
            contracts=settings.paying_contracts,
        ).run(by=actor())
    console.print(f"Reconciled with ledger {found.head.sequence}.", highlight=False)
    for lane in found.lanes_moved:
        console.print(f"  lane {lane} goes on where the ledger has it", highlight=False)
    for settlement in found.found_paid:
        console.print(f"  {settlement} was paid already: its marker says so", highlight=False)
    for payment in found.lost:
        word = "landed" if payment.successful else "failed"
        console.print(
            f"  {payment.subject}: transaction {payment.tx_hash} {word} in ledger {payment.ledger}, "
            "and the record does not know it",
            style="yellow",
            highlight=False,
            soft_wrap=True,
        )
    console.print("Sending begins again.", style="green")
    return 0


def _day(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M")
