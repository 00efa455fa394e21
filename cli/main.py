"""The `holdfast` command."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Coroutine
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import typer
from rich.console import Console

from domain.batch import RowStatus
from domain.errors import HoldfastError
from domain.people import Role, Scope
from settings import PayoutSigner, Settings, SettingsError, load_settings

app = typer.Typer(
    name="holdfast",
    help="Money that must move exactly once, across machines that fail.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,  # locals hold secrets
)
console = Console()
errors = Console(stderr=True)


class OfflineStep(StrEnum):
    """The steps of `holdfast sign --offline`."""

    EXPORT = "export"
    SIGN = "sign"
    IMPORT = "import"


def fail(message: str, status: int = 1) -> NoReturn:
    """Say what is wrong and end."""
    errors.print(message, style="bold red", highlight=False, markup=False, soft_wrap=True)
    raise typer.Exit(status)


def settings_or_exit(**values: Any) -> Settings:
    """Read the settings, with `values` above them; wrong ones end the command with their names."""
    try:
        return load_settings(**values)
    except SettingsError as error:
        fail(str(error), 2)


def local_settings_or_exit() -> Settings:
    """Read the settings as the local worker sees them: with the secrets and ids that `holdfast up` made."""
    from cli.local_secrets import with_local  # noqa: PLC0415

    settings = settings_or_exit()
    try:
        return with_local(settings)
    except SettingsError as error:
        fail(str(error), 2)


def run(work: Coroutine[Any, Any, int]) -> NoReturn:
    """Run to the end and leave with its status."""
    try:
        status = asyncio.run(work)
    except SettingsError as error:
        fail(str(error), 2)
    except HoldfastError as error:
        fail(f"{error.message} ({error.code})")
    sys.stdout.flush()
    sys.stderr.flush()
    raise typer.Exit(status)


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


keys = typer.Typer(help="API keys.", no_args_is_help=True)
app.add_typer(keys, name="keys")


@keys.command("create")
def keys_create(
    person: Annotated[str, typer.Argument(help="Whose: a name of `holdfast people list`.")],
    label: Annotated[str, typer.Option(help="What it is for.")] = "",
    scope: Annotated[list[Scope] | None, typer.Option(help="Only this; may be repeated. All without.")] = None,
    days: Annotated[int | None, typer.Option(min=1, help="How long it is valid. Without end without.")] = None,
) -> None:
    """Make a key for a person; its text is printed once, as the last line."""
    from cli import records  # noqa: PLC0415

    run(records.make_key(settings_or_exit(), console, person=person, label=label, scopes=scope or (), days=days))


@keys.command("list")
def keys_list() -> None:
    """Show all keys, without their secrets."""
    from cli import records  # noqa: PLC0415

    run(records.list_keys(settings_or_exit(), console))


@keys.command("revoke")
def keys_revoke(key_id: Annotated[str, typer.Argument(help="Such as key:0123456789ab.")]) -> None:
    """End a key at once."""
    from cli import records  # noqa: PLC0415

    run(records.revoke_key(settings_or_exit(), console, key_id))


people = typer.Typer(help="The people behind the keys; four eyes needs two.", no_args_is_help=True)
app.add_typer(people, name="people")


@people.command("add")
def people_add(
    name: Annotated[str, typer.Argument(help="The person's name.")],
    role: Annotated[list[Role], typer.Option(help="What the person is here for; may be repeated.")],
    email: Annotated[str | None, typer.Option(help="Where approvals are asked for.")] = None,
) -> None:
    """Add a named person."""
    from cli import records  # noqa: PLC0415

    run(records.add_person(settings_or_exit(), console, name=name, roles=role, email=email))


@people.command("list")
def people_list() -> None:
    """Show everybody."""
    from cli import records  # noqa: PLC0415

    run(records.list_people(settings_or_exit(), console))


builds = typer.Typer(help="The builds of the workers (HOLDFAST_BUILD_ID).", no_args_is_help=True)
app.add_typer(builds, name="workers")
_Build = Annotated[str, typer.Argument(metavar="BUILD", help="What HOLDFAST_BUILD_ID named.")]


@builds.command("drain")
def workers_drain(
    build: Annotated[str | None, typer.Argument(metavar="[BUILD]", help="Only this; all without.")] = None,
) -> None:
    """Say when an old build may go; with BUILD the exit status is 0 where it may, and 1 where not yet."""
    from cli import builds as deployments  # noqa: PLC0415

    run(deployments.drain(settings_or_exit(), console, build))


@builds.command("promote")
def workers_promote(build: _Build) -> None:
    """Make a build current: stories go over to it by replay, and the one before drains."""
    from cli import builds as deployments  # noqa: PLC0415

    run(deployments.promote(settings_or_exit(), console, build))


custody = typer.Typer(help="The secrets that Holdfast keeps.", no_args_is_help=True)
app.add_typer(custody, name="custody")


@custody.command("rewrap")
def custody_rewrap() -> None:
    """Wrap all kept secrets by the first key of CUSTODY_KEYS, so that older keys can be taken off."""
    from cli import records  # noqa: PLC0415

    run(records.rewrap_custody(local_settings_or_exit(), console))


reconciling = typer.Typer(help="Hold the record against the ledger.", invoke_without_command=True)
app.add_typer(reconciling, name="reconcile")


@reconciling.callback()
def reconcile(context: typer.Context) -> None:
    """Mend the record after a restore: read what the ledger has paid, then let sending begin again."""
    from cli import records  # noqa: PLC0415

    if context.invoked_subcommand is None:
        run(records.reconcile(local_settings_or_exit(), console))


@reconciling.command("payments")
def reconcile_payments(
    everything: Annotated[
        bool, typer.Option("--all", help="Also ask for the marker of each payment older than the RPC's events.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List each payment that ledger or record has and the other lacks; exit status 1 where there is one.

    It reads the contracts' events for as long as the RPC keeps them, and changes nothing. A worker does the same
    every night, and tells people where they differ.
    """
    from cli import reconciling as payments  # noqa: PLC0415

    run(payments.reconcile_payments(local_settings_or_exit(), console, everything=everything, as_json=as_json))


@app.command()
def sign(  # noqa: PLR0917 - options, given by name
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="With --offline: the file to write or to read.")
    ] = None,
    offline: Annotated[
        OfflineStep | None,
        typer.Option(help="export what waits to FILE; sign FILE without any network; import signatures."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Of --offline sign: where signatures are written.")] = None,
    api: Annotated[
        str, typer.Option(envvar="HOLDFAST_API_URL", help="Where the API answers.")
    ] = "http://127.0.0.1:8000",
    api_key_file: Annotated[
        Path | None, typer.Option(help="Holds an API key with the scope payouts:sign; else HOLDFAST_API_KEY.")
    ] = None,
    network_passphrase: Annotated[
        str, typer.Option(envvar="STELLAR_NETWORK_PASSPHRASE", help="Of the network that is signed for.")
    ] = "",
    contract: Annotated[
        list[str] | None,
        typer.Option(envvar="PAYOUT_CONTRACT_ID", metavar="C…", help="The payout contract that is signed for."),
    ] = None,
    function: Annotated[
        str, typer.Option(envvar="PAYOUT_METHOD_NAME", help="Of the contract.")
    ] = "distribute_winnings",
    payer: Annotated[
        list[str] | None,
        typer.Option(envvar="PAYOUT_SOURCE_ACCOUNT", metavar="G…", help="Only as this payer; else as any."),
    ] = None,
    asset: Annotated[
        list[str] | None,
        typer.Option(metavar="CODE:ISSUER", help="Call this asset by its name; XLM is known. May be repeated."),
    ] = None,
    deployment: Annotated[
        str, typer.Option(envvar="HOLDFAST_DEPLOYMENT", help="Check the names of payments against their ids.")
    ] = "",
    only: Annotated[
        list[str] | None, typer.Option(metavar="PAYOUT", help="Only this payout; may be repeated.")
    ] = None,
    seed_file: Annotated[
        Path | None, typer.Option(help="Sign with the seed (S…) in this file, which only you may read.")
    ] = None,
    pkcs11_module: Annotated[
        Path | None, typer.Option(envvar="PAYOUT_PKCS11_MODULE", help="Sign with an HSM: its PKCS#11 library.")
    ] = None,
    token: Annotated[
        str, typer.Option("--token-label", envvar="PAYOUT_PKCS11_TOKEN_LABEL", help="The HSM's token.")
    ] = "holdfast",  # noqa: S107 - a label
    key_label: Annotated[
        str, typer.Option(envvar="PAYOUT_PKCS11_KEY_LABEL", help="The Ed25519 key pair on it.")
    ] = "payer",
    pin_file: Annotated[Path | None, typer.Option(help="Holds the token's PIN; else it is asked for.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask; needs --limit.")] = False,
    limit: Annotated[
        list[str] | None,
        typer.Option(metavar="ASSET=AMOUNT", help="With --yes: sign at most so much of an asset in all."),
    ] = None,
) -> None:
    """Sign payouts that wait for a signature, on the other side of the gap: shown first, in words, from the XDR.

    It reads no setting of the server, and needs neither its database nor its secrets: only the API's address and a
    key of it, the network and contract that are signed for, and a seed file or an HSM.
    """
    from cli.sign import Desk, Offline, SignOptions  # noqa: PLC0415

    try:
        api_key = os.environ.get("HOLDFAST_API_KEY") if api_key_file is None else api_key_file.read_text().strip()
    except OSError as error:
        fail(f"{api_key_file} cannot be read: {type(error).__name__}")
    options = SignOptions(
        api=api,
        api_key=api_key or None,
        network_passphrase=network_passphrase,
        contracts=tuple(contract or ()),
        payers=tuple(payer or ()),
        functions=(function,),
        assets=tuple(asset or ()),
        deployment=deployment,
        only=tuple(only or ()),
        limits=tuple(limit or ()),
        yes=yes,
        seed_file=seed_file,
        pkcs11_module=None if seed_file is not None else pkcs11_module,
        token_label=token,
        key_label=key_label,
        pin_file=pin_file,
        offline=None if offline is None else Offline(offline.value),
        file=file,
        out=out,
    )

    def ask(question: str) -> str:
        hidden = question == "PIN"
        # asyncio would take the first Ctrl-C for itself, and the question would go on waiting.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            default = None if hidden else "n"
            answer: str = typer.prompt(question, hide_input=hidden, default=default, show_default=False)
        finally:
            signal.signal(signal.SIGINT, before)
        return answer

    try:
        run(Desk(options, console, ask).run())
    except (KeyboardInterrupt, typer.Abort):
        errors.print("\nLeft: nothing more was signed or sent.", style="yellow")
        raise typer.Exit(130) from None


batch = typer.Typer(help="Pay many at once from a payment file.", no_args_is_help=True)
app.add_typer(batch, name="batch")

_Asset = Annotated[
    str | None,
    typer.Option(metavar="XLM|CODE:ISSUER|C…", help="What a CSV file pays; a JSON file says it itself."),
]
_BatchId = Annotated[str, typer.Argument(metavar="ID", help="Such as bat0123456789abcdef.")]
_Api = Annotated[str | None, typer.Option(envvar="HOLDFAST_API_URL", help="Where the API answers; else API_URL.")]
_ApiKeyFile = Annotated[
    Path | None, typer.Option(help="Holds an API key; else HOLDFAST_API_KEY, else the one of `holdfast up`.")
]


def _batch_target(api: str | None, api_key_file: Path | None) -> Any:
    from cli.batch import Target  # noqa: PLC0415
    from cli.up_state import StackError, read_facts  # noqa: PLC0415

    settings = settings_or_exit()
    try:
        key = os.environ.get("HOLDFAST_API_KEY") if api_key_file is None else api_key_file.read_text().strip()
    except OSError as error:
        fail(f"{api_key_file} cannot be read: {type(error).__name__}")
    if key is None and api is None and settings.local:
        try:
            facts = read_facts(settings)
        except StackError as error:
            fail(str(error))
        return Target(str(facts["api"]), str(facts["api_key"]))
    return Target(api or str(settings.api_url), key)


@batch.command("check")
def batch_check(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False)],
    asset: _Asset = None,
    api: _Api = None,
    api_key_file: _ApiKeyFile = None,
) -> None:
    """Say what a file comes to and which rows are bad; nothing is recorded."""
    from cli import batch as batches  # noqa: PLC0415

    target = _batch_target(api, api_key_file)
    run(batches.check(target, console, batches.PaymentFile(file, asset, file.name)))


@batch.command("pay")
def batch_pay(  # noqa: PLR0917 - options, given by name
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False)],
    asset: _Asset = None,
    name: Annotated[
        str, typer.Option(help="The same file under another name is another batch; else the file's name.")
    ] = "",
    refuse_bad: Annotated[bool, typer.Option("--refuse-bad", help="Accept nothing if one row is bad.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    follow: Annotated[bool, typer.Option("--follow/--no-follow", help="Show how far it is.")] = True,
    api: _Api = None,
    api_key_file: _ApiKeyFile = None,
) -> None:
    """Check a payment file, ask, and pay it. Ctrl-C leaves it running; the same file again joins its batch."""
    from cli import batch as batches  # noqa: PLC0415

    def agree(question: str) -> bool:
        if not sys.stdin.isatty():
            fail("nobody to ask: say --yes to pay it", 2)
        # asyncio would take the first Ctrl-C for itself, and the question would go on waiting.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            return typer.confirm(question)
        finally:
            signal.signal(signal.SIGINT, before)

    target = _batch_target(api, api_key_file)
    wanted = batches.PaymentFile(file, asset, name or file.name, refuse_bad)
    run(batches.pay(target, console, wanted, agree=None if yes else agree, follow=follow))


@batch.command("watch")
def batch_watch(batch_id: _BatchId, api: _Api = None, api_key_file: _ApiKeyFile = None) -> None:
    """Join a batch that is under way. Ctrl-C leaves it running."""
    from cli import batch as batches  # noqa: PLC0415

    run(batches.watch(_batch_target(api, api_key_file), console, batch_id))


@batch.command("report")
def batch_report(
    batch_id: _BatchId,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="A file; else standard output.")] = None,
    status: Annotated[RowStatus | None, typer.Option(help="Only rows that stand so.")] = None,
    api: _Api = None,
    api_key_file: _ApiKeyFile = None,
) -> None:
    """Write what became of each row, as CSV."""
    from cli import batch as batches  # noqa: PLC0415

    run(batches.report(_batch_target(api, api_key_file), console, batch_id, out=out, status=status))


@batch.command("list")
def batch_list(api: _Api = None, api_key_file: _ApiKeyFile = None) -> None:
    """Show the newest batches."""
    from cli import batch as batches  # noqa: PLC0415

    run(batches.list_batches(_batch_target(api, api_key_file), console))


def _batch_action(action: str, about: str) -> None:
    @batch.command(action, help=about)
    def command(batch_id: _BatchId, api: _Api = None, api_key_file: _ApiKeyFile = None) -> None:
        from cli import batch as batches  # noqa: PLC0415

        run(batches.act(_batch_target(api, api_key_file), console, batch_id, action))


for _action, _about in (
    ("pause", "Send nothing more; what was sent is followed to its end."),
    ("resume", "Go on after a pause, or once the reason of a stop is mended."),
    ("cancel", "Withdraw what is unsent; what was sent is followed to its end."),
    ("retry", "Pay the failed rows of a completed batch again: each is proved not paid."),
):
    _batch_action(_action, _about)


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


webhooks = typer.Typer(help="Outgoing webhooks.", no_args_is_help=True)
app.add_typer(webhooks, name="webhooks")


@webhooks.command("list")
def webhooks_list() -> None:
    """Show all endpoints, without their secrets."""
    from cli import webhooks as hooks  # noqa: PLC0415

    run(hooks.list_webhooks(settings_or_exit(), console))


@webhooks.command("replay")
def webhooks_replay(
    endpoint: Annotated[str, typer.Argument(help="Such as hook_0123456789ab; see `holdfast webhooks list`.")],
    since: Annotated[
        str, typer.Option(help="All since then: 2026-01-16T10:00:00Z, or how long ago, such as 90m, 12h or 3d.")
    ] = "",
    delivery: Annotated[int | None, typer.Option(min=1, help="Only this delivery.")] = None,
    event: Annotated[
        list[str] | None, typer.Option(help="With --since: only such as payout.confirmed; may be repeated.")
    ] = None,
) -> None:
    """Send again what an endpoint missed. Deliveries keep their ids, so that a receiver knows what it has seen."""
    from cli import webhooks as hooks  # noqa: PLC0415

    run(
        hooks.replay_webhook(
            settings_or_exit(), console, endpoint, since=since, delivery=delivery, names=event or ()
        )
    )


audit = typer.Typer(help="The audit log.", no_args_is_help=True)
app.add_typer(audit, name="audit")


@audit.command("verify")
def audit_verify() -> None:
    """Walk the chain of the whole log; exit status 1 where a link is broken."""
    from cli import records  # noqa: PLC0415

    run(records.verify_audit(settings_or_exit(), console))


if __name__ == "__main__":
    app()
