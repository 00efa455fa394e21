"""The `holdfast` command."""

from __future__ import annotations

import os
from typing import Annotated, Literal

import typer

from cli import record_command
from cli.batch_command import batch
from cli.sign_command import sign
from cli.terminal import console, errors, fail, local_settings_or_exit, run, settings_or_exit
from domain.errors import HoldfastError
from settings import PayoutSigner

app = typer.Typer(
    name="holdfast",
    help="Money that must move exactly once, across machines that fail.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,  # locals hold secrets
)


@app.command()
def up(
    signer: Annotated[PayoutSigner | None, typer.Option(help="Who signs payouts; PAYOUT_SIGNER without.")] = None,
) -> None:
    """Start everything on this machine, and keep it running until Ctrl-C.

    PostgreSQL, Temporal with its Web UI, the ledger, the inbox, a worker and the API; what DATABASE_URL,
    TEMPORAL_ADDRESS and STELLAR_NETWORK name elsewhere is used instead. A later `up` resumes the same state.
    """
    from cli.up import run_up  # noqa: PLC0415 - commands load what they need

    run(run_up(settings_or_exit(**({"payout_signer": signer} if signer else {})), console))


@app.command()
def reset(yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False) -> None:
    """Clear all local state: database, ledger, Temporal, inbox and local keys."""
    from cli.up import reset as clear  # noqa: PLC0415
    from cli.up_state import StackError  # noqa: PLC0415

    settings = settings_or_exit()
    directory = os.path.relpath(settings.var_dir)
    if not yes:
        typer.confirm(f"Clear the local database, ledger, Temporal, inbox and keys in {directory}/?", abort=True)
    try:
        clear(settings)
    except StackError as error:
        fail(str(error))
    console.print(f"Cleared {directory}/.")


@app.command()
def deploy(
    usdc: Annotated[str, typer.Option(metavar="CODE:ISSUER", help="Have this asset's contract, too.")] = "",
    nociq: Annotated[str, typer.Option(metavar="CODE:ISSUER", help="The same for the reward token.")] = "",
    admin: Annotated[str, typer.Option(metavar="G…", help="The contract's administrator; else the pool.")] = "",
) -> None:
    """Deploy and configure the contracts on the network at hand; prints their ids as `.env` lines.

    Again changes nothing and prints the same ids. On the local network it also makes the play money.
    """
    from cli.deploy import deploy_command  # noqa: PLC0415

    run(deploy_command(settings_or_exit(), console, errors, usdc=usdc, nociq=nociq, admin=admin))


@app.command()
def demo(
    once: Annotated[bool, typer.Option("--once", help="Leave after the table; writes var/demo.json.")] = False,
) -> None:
    """Play outages, payouts with every signer, and a batch; against a running `holdfast up` where there is one."""
    from cli.demo import run_demo  # noqa: PLC0415

    run(run_demo(settings_or_exit(), console, once=once))


@app.command()
def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Check everything that a payment needs, and name what to mend. Exit status 1 where something fails."""
    from cli.doctor import run_doctor  # noqa: PLC0415

    run(run_doctor(local_settings_or_exit(), console, as_json=as_json))


@app.command()
def freeze(reason: Annotated[str, typer.Option(help="Why; it is in the audit log.")] = "") -> None:
    """Stop all sending, at once and on every worker, until `holdfast thaw`."""
    from cli import records  # noqa: PLC0415

    run(records.freeze(settings_or_exit(), console, reason))


@app.command()
def thaw(reason: Annotated[str, typer.Option(help="Why; it is in the audit log.")] = "") -> None:
    """Resume sending."""
    from cli import records  # noqa: PLC0415

    run(records.thaw(settings_or_exit(), console, reason))


@app.command()
def migrate() -> None:
    """Bring the database's schema up to date."""
    from cli import records  # noqa: PLC0415

    settings = settings_or_exit()
    try:
        raise typer.Exit(records.migrate(settings, console))
    except HoldfastError as error:
        fail(f"{error.message} ({error.code})")


app.command()(sign)
app.add_typer(batch, name="batch")
app.add_typer(record_command.keys, name="keys")
app.add_typer(record_command.people, name="people")
app.add_typer(record_command.builds, name="workers")
app.add_typer(record_command.custody, name="custody")
app.add_typer(record_command.reconciling, name="reconcile")
app.add_typer(record_command.webhooks, name="webhooks")
app.add_typer(record_command.audit, name="audit")


@app.command()
def stats(
    hours: Annotated[int, typer.Option(min=1, max=24 * 366, help="How far back.")] = 24,
    batches: Annotated[
        bool, typer.Option("--batches", help="The payments of batches, not single payouts.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """How many payouts wait, how many failed and why, how long they take, and what they cost."""
    from cli import figures  # noqa: PLC0415

    kind: Literal["payout", "chunk"] = "chunk" if batches else "payout"
    run(figures.show_stats(settings_or_exit(), console, kind=kind, hours=hours, as_json=as_json))


if __name__ == "__main__":
    app()
