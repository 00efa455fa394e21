"""The command line of `holdfast batch`."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.terminal import console, fail, run, settings_or_exit
from domain.batch import RowStatus

batch = typer.Typer(help="Pay many at once from a payment file.", no_args_is_help=True)

_Asset = Annotated[
    str | None,
    typer.Option(metavar="XLM|CODE:ISSUER|C…", help="What a CSV file pays; a JSON file says it itself."),
]
_Signer = Annotated[
    str | None,
    typer.Option(
        metavar="hot|kms|pkcs11|external",
        help="Who signs a CSV file's calls, of PAYOUT_SIGNERS_OFFERED; else whom PAYOUT_SIGNER names.",
    ),
]
_Signing = Annotated[
    str | None,
    typer.Option(
        metavar="envelope|auth_entry",
        help="What is signed of a CSV file's calls; else an authorization entry where somebody outside signs.",
    ),
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
def batch_check(  # noqa: PLR0917 - options, given by name
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False)],
    asset: _Asset = None,
    signer: _Signer = None,
    signing: _Signing = None,
    api: _Api = None,
    api_key_file: _ApiKeyFile = None,
) -> None:
    """Say what a file comes to and which rows are bad; nothing is recorded."""
    from cli import batch as batches  # noqa: PLC0415

    target = _batch_target(api, api_key_file)
    run(
        batches.check(target, console, batches.PaymentFile(file, asset, file.name, signer=signer, signing=signing))
    )


@batch.command("pay")
def batch_pay(  # noqa: PLR0917 - options, given by name
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False)],
    asset: _Asset = None,
    name: Annotated[
        str, typer.Option(help="The same file under another name is another batch; else the file's name.")
    ] = "",
    refuse_bad: Annotated[bool, typer.Option("--refuse-bad", help="Accept nothing if one row is bad.")] = False,
    signer: _Signer = None,
    signing: _Signing = None,
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
    wanted = batches.PaymentFile(file, asset, name or file.name, refuse_bad, signer, signing)
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
