"""`holdfast doctor`: the checklist before a deployment, and the first look when something does not work."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime
from typing import Final

import aiosmtplib
from rich.console import Console
from rich.table import Table
from rich.text import Text
from sqlalchemy import func, select
from stellar_sdk import Keypair
from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client
from temporalio.service import RPCError

from adapters.database import registry, switches
from adapters.database.engine import Database
from adapters.database.heads import followed_to, halted_reason
from adapters.database.migrate import pending
from adapters.database.settlements_tables import lanes as lanes_table
from adapters.stellar.accounts import SponsoredAccounts
from adapters.stellar.lanes import LaneKeys, Lanes
from adapters.stellar.rpc import Rpc
from adapters.temporal.search_attributes import SEARCH_ATTRIBUTES
from cli.database import open_database
from cli.doctor_ledger import LedgerCheck
from cli.doctor_signer import SignerCheck
from cli.findings import Findings, Level
from domain.errors import Unavailable
from settings import Settings
from settings.temporal import connect_options

_STYLES: Final = {Level.OK: "green", Level.WARN: "yellow", Level.FAIL: "bold red"}
_TIMEOUT_SECONDS: Final = 5


async def examine(settings: Settings) -> Findings:
    """Check everything that a payment needs; nothing is changed."""
    findings = Findings()
    for note in settings.notes:
        findings.warn("settings", note, "Set it as you mean it, or leave it so.")
    async with open_database(settings) as database:
        async with Rpc(settings.stellar_soroban_rpc_url) as rpc:
            ledger = LedgerCheck(settings, rpc, findings)
            await ledger.run()
            await SignerCheck(settings, rpc, findings).run()
            if await findings.attempt("database", lambda: _database(settings, findings)):
                await findings.attempt("sending", lambda: _sending(database, findings))
                await findings.attempt("worker", lambda: _worker(settings, database, findings))
                await findings.attempt("operators", lambda: _operators(database, ledger, findings))
                await findings.attempt("lanes", lambda: _lanes(settings, database, rpc, findings))
        await findings.attempt("temporal", lambda: _temporal(settings, findings))
        await _mail(settings, findings)
    return findings


async def _database(settings: Settings, findings: Findings) -> None:
    missing = await asyncio.to_thread(pending, settings.database_url.get_secret_value())
    if missing:
        findings.fail("database", f"the schema lacks {', '.join(missing)}", "`holdfast migrate`.")
        raise Unavailable("the schema is not up to date", code="database_unavailable")
    findings.ok("database", "reachable, and its schema is up to date")


async def _sending(database: Database, findings: Findings) -> None:
    async with database.begin() as connection:
        frozen = await switches.frozen(connection)
        halted = await halted_reason(connection)
    if halted is not None:
        findings.fail("sending", f"halted: {halted}", "`holdfast reconcile`.")
    elif frozen is not None:
        reason = frozen.reason or "no reason given"
        findings.warn("sending", f"frozen by {frozen.by}: {reason}", "`holdfast thaw` when it is safe.")
    else:
        findings.ok("sending", "neither frozen nor halted")


async def _worker(settings: Settings, database: Database, findings: Findings) -> None:
    """Whether a worker follows the ledger, as the record tells it; a halted record stays where it is."""
    async with database.begin() as connection:
        followed = await followed_to(connection)
        halted = await halted_reason(connection)
    start = "Start one: `holdfast up` on this machine, `python -m workers` elsewhere."
    if halted is not None:
        findings.warn("worker", "not seen: the record is halted", "`holdfast reconcile`, then look again.")
    elif followed is None:
        findings.warn("worker", "none has followed the ledger yet", start)
    elif (behind := (datetime.now(UTC) - followed).total_seconds()) > settings.followed_seconds_max:
        findings.warn("worker", f"none runs: the last ledger that was followed closed {behind:.0f} s ago", start)
    else:
        findings.ok("worker", f"runs: it followed the ledger that closed {max(0.0, behind):.0f} s ago")


async def _operators(database: Database, ledger: LedgerCheck, findings: Findings) -> None:
    async with database.begin() as connection:
        operators = list(await registry.list_operators(connection, limit=1000))
    if not operators:
        findings.warn("operators", "none is registered", "Register operators and sites through the API.")
    await ledger.operators(operators)


async def _lanes(settings: Settings, database: Database, rpc: Rpc, findings: Findings) -> None:
    seed = settings.stellar_fee_secret_key
    if seed is None:
        findings.fail("lanes", "no account sponsors them", "Set STELLAR_FEE_SECRET_KEY.")
        return
    if not settings.local and not settings.is_set("lanes_mnemonic"):
        findings.warn(
            "lanes",
            "their keys derive from STELLAR_POOL_SECRET_KEY: with another pool key they would be other lanes",
            "Set LANES_MNEMONIC before the pool's key is changed: docs/how-to/rotate-keys.md.",
        )
    async with database.begin() as connection:
        held = lanes_table.c.retired & lanes_table.c.settlement_id.is_not(None)
        counts = select(func.count().filter(~lanes_table.c.retired), func.count().filter(held))
        count, under_way = (await connection.execute(counts.select_from(lanes_table))).one()
    if not count:
        findings.warn("lanes", "none yet", "The first worker makes them when it starts.")
        return
    funder = Keypair.from_secret(seed.get_secret_value())
    ahead = await Lanes(
        database=database,
        rpc=rpc,
        keys=LaneKeys(
            settings.lanes_mnemonic.get_secret_value(),
            lanes_max=settings.lanes_max,
            previous=settings.lanes_phrases_previous,
        ),
        accounts=SponsoredAccounts(rpc, funder, settings.stellar_network_passphrase),
        deployment=settings.holdfast_deployment,
        lanes_max=settings.lanes_max,
    ).ahead()
    if ahead is not None:
        findings.fail("lanes", ahead, "`holdfast reconcile`.")
    else:
        findings.ok("lanes", f"{count} of at most {settings.lanes_max}, in step with the ledger")
    if under_way:
        words = f"{under_way} payments are under way on lanes of the phrases before: keep LANES_MNEMONIC_PREVIOUS"
        findings.ok("lanes before", words)
    elif settings.lanes_phrases_previous:
        findings.ok("lanes before", "nothing is under way on them: LANES_MNEMONIC_PREVIOUS may go")


async def _temporal(settings: Settings, findings: Findings) -> None:
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            client = await Client.connect(**connect_options(settings))
            await client.workflow_service.describe_namespace(
                DescribeNamespaceRequest(namespace=settings.temporal_namespace)
            )
            found = await client.operator_service.list_search_attributes(
                ListSearchAttributesRequest(namespace=settings.temporal_namespace)
            )
    except (TimeoutError, RuntimeError, RPCError) as error:
        words = error.status.name if isinstance(error, RPCError) else "no answer"
        mend = "Check TEMPORAL_ADDRESS, TEMPORAL_NAMESPACE and TLS."
        namespace = f"{settings.temporal_address}, namespace {settings.temporal_namespace}"
        findings.fail("temporal", f"{namespace}: {words}", mend)
        return
    missing = [name for name in SEARCH_ATTRIBUTES if name not in found.custom_attributes]
    where = f"{settings.temporal_address}, namespace {settings.temporal_namespace}"
    if missing:
        mend = "The worker adds them when it starts; on Temporal Cloud add them to the namespace."
        findings.warn("temporal", f"{where}: search attributes missing: {', '.join(missing)}", mend)
    else:
        findings.ok("temporal", where)


async def _mail(settings: Settings, findings: Findings) -> None:
    if not settings.smtp_host:
        findings.warn("mail", "no mail server: nobody is told by mail", "Set SMTP_HOST.")
        return
    where = f"{settings.smtp_host}:{settings.smtp_port}"
    client = aiosmtplib.SMTP(
        hostname=settings.smtp_host,
        port=settings.smtp_port,
        timeout=_TIMEOUT_SECONDS,
        start_tls=settings.smtp_starttls,
    )
    try:
        await client.connect()
        if settings.smtp_username and settings.smtp_password is not None:
            await client.login(settings.smtp_username, settings.smtp_password.get_secret_value())
        await client.quit()
    except (aiosmtplib.SMTPException, OSError) as error:
        mend = "Check SMTP_HOST, SMTP_PORT, SMTP_STARTTLS, SMTP_USERNAME and SMTP_PASSWORD."
        findings.warn("mail", f"{where}: {type(error).__name__}", mend)
    else:
        findings.ok("mail", where)


async def run_doctor(settings: Settings, console: Console, *, as_json: bool) -> int:
    """Show the checklist; 1 where a line fails."""
    findings = await examine(settings)
    if as_json:
        lines = [line.model_dump(mode="json") for line in findings.lines]
        console.print_json(data={"ok": not findings.failed, "checks": lines})
        return 1 if findings.failed else 0
    table = Table.grid(padding=(0, 2))
    for _ in range(3):
        table.add_column(overflow="fold")
    for line in findings.lines:
        table.add_row(
            Text(line.level.value, style=_STYLES[line.level]), Text(line.check, style="bold"), line.finding
        )
        if line.mend:
            table.add_row("", "", Text(f"→ {line.mend}", style=_STYLES[line.level]))
    console.print(table)
    count = Counter(line.level for line in findings.lines)
    console.print(f"{count[Level.OK]} ok, {count[Level.WARN]} to look at, {count[Level.FAIL]} to mend.")
    return 1 if findings.failed else 0
