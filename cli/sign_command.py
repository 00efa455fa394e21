"""The command line of `holdfast sign`."""

from __future__ import annotations

import os
import signal
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from cli.terminal import console, errors, fail, run


class OfflineStep(StrEnum):
    """The steps of `holdfast sign --offline`."""

    EXPORT = "export"
    SIGN = "sign"
    IMPORT = "import"


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
        list[str] | None,
        typer.Option(metavar="PAYOUT|BATCH", help="Only this payout, or this batch; may be repeated."),
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
    """Sign what waits for a signature, on the other side of the gap: shown first, in words, from the XDR.

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
