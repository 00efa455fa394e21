"""`holdfast sign`: the reference signer, for the other side of the gap.

It needs the API's address and a key of it, and knows by its own flags which contract and network it signs for.
What it shows is what it read from the XDR; what the server says of a request is only its name.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text
from stellar_sdk import Keypair
from stellar_sdk.exceptions import BadSignatureError

from adapters.stellar.signables import Expected, Signable, batch_digest, known_assets
from cli.signing_client import Posted, SigningClient
from cli.signing_files import Asked, RequestsFile, SignaturesFile, Signed, read_file, write_file
from cli.signing_keys import Key, hsm_key, seed_key, signature_by
from cli.signing_review import Reviewed, Reviewer, digest_of, figure, limits_of, repeated, totals
from domain.errors import HoldfastError, Refused

_PRESENT: Final = "%Y-%m-%d %H:%M:%S UTC"
_KINDS: Final = {"envelope": "a transaction,", "auth_entry": "an authorization,"}


class Offline(StrEnum):
    """The three steps where the key's machine has no network."""

    EXPORT = "export"
    SIGN = "sign"
    IMPORT = "import"


@dataclass(frozen=True, slots=True)
class SignOptions:
    """What the command was told."""

    api: str
    api_key: str | None
    network_passphrase: str
    contracts: tuple[str, ...]
    payers: tuple[str, ...]
    functions: tuple[str, ...]
    assets: tuple[str, ...]
    deployment: str
    only: tuple[str, ...]
    limits: tuple[str, ...]
    yes: bool
    seed_file: Path | None
    pkcs11_module: Path | None
    token_label: str
    key_label: str
    pin_file: Path | None
    offline: Offline | None
    file: Path | None
    out: Path | None

    def check(self) -> None:
        """Refuse what cannot be meant.

        Raises:
            Refused: naming the flag.
        """
        if self.offline is Offline.IMPORT:
            if self.file is None:
                raise Refused("--offline import needs the FILE of signatures")
            return
        if not self.network_passphrase:
            raise Refused("--network-passphrase is needed: an envelope does not say which network it is for")
        if not self.contracts:
            raise Refused("--contract is needed: the payout contract that is signed for")
        if self.offline is not None and self.file is None:
            raise Refused(f"--offline {self.offline} needs a FILE")
        if self.offline is Offline.SIGN and self.out is None:
            raise Refused("--offline sign needs --out, the file that the signatures are written to")
        if self.offline is not Offline.EXPORT and (self.seed_file is None) == (self.pkcs11_module is None):
            raise Refused("name the key: --seed-file, or --pkcs11-module, and not both")
        if self.yes and not self.limits:
            raise Refused("--yes signs unseen, so it needs a --limit for each asset, such as --limit USDC=1000")


class Desk:
    """One run of the command."""

    def __init__(self, options: SignOptions, console: Console, ask: Callable[[str], str]) -> None:
        """`ask` puts a question to the person and gives the answer."""
        self._options = options
        self._console = console
        self._ask = ask

    async def run(self) -> int:
        """Do it; 0 where all went well, 1 where something was refused.

        Raises:
            Refused: a flag, a file, the key or the server.
            Unavailable: the key or the server does not answer.
        """
        options = self._options
        options.check()
        match options.offline:
            case Offline.EXPORT:
                return await self._export()
            case Offline.SIGN:
                assert options.file is not None and options.out is not None  # noqa: S101 PT018 - by check()
                requests = read_file(options.file, RequestsFile)
                self._say(f"{len(requests.requests)} requests, exported {requests.made_at:{_PRESENT}}.")
                self._say(f"Digest of the file: {grouped(requests.digest)}")
                signed, status = await self._sign(requests.requests)
                if signed:
                    write_file(options.out, _signatures(signed))
                    self._say(f"{len(signed)} signatures written to {options.out}.")
                return status
            case Offline.IMPORT:
                assert options.file is not None  # noqa: S101 - by check()
                return await self._post(read_file(options.file, SignaturesFile).signatures)
            case None:
                async with self._client() as client:
                    requests_now = await client.waiting()
                signed, status = await self._sign(requests_now)
                return max(status, await self._post(signed)) if signed else status

    def _client(self) -> SigningClient:
        return SigningClient(self._options.api, self._options.api_key)

    async def _export(self) -> int:
        options = self._options
        async with self._client() as client:
            waiting = self._chosen(await client.waiting())
        reviewer = self._reviewer(None)
        reviewed = [reviewer.review(asked, now=datetime.now(UTC)) for asked in waiting]
        good = [one.signable for one in reviewed if one.signable is not None]
        self._show(reviewed, reviewer)
        assert options.file is not None  # noqa: S101 - by check()
        file = RequestsFile(made_at=datetime.now(UTC), digest=digest_of(good), requests=_asked(reviewed))
        write_file(options.file, file)
        self._say(f"{len(good)} requests written to {options.file}; --offline sign shows the same digest.")
        return 1 if any(one.wrong for one in reviewed) else 0

    async def _sign(self, waiting: Sequence[Asked]) -> tuple[list[Signed], int]:
        """Show, ask, and sign what was agreed to."""
        key = await self._key()
        self._say(f"Signing with {key.public_key}.")
        reviewer = self._reviewer(key)
        chosen = self._chosen(waiting)
        reviewed = [reviewer.review(asked, now=datetime.now(UTC)) for asked in chosen]
        self._show(reviewed, reviewer)
        status = 1 if any(one.wrong for one in reviewed) else 0
        agreed = self._agreed([one for one in reviewed if one.signable is not None], reviewer)
        if agreed is None:
            return [], 1
        signed = []
        for one in agreed:
            assert one.signable is not None  # noqa: S101 - chosen so
            try:
                signature = await signature_by(key, one.signable.hash)
            except HoldfastError as error:
                self._say(f"{one.asked.settlement_id}: not signed: {error.message}", style="bold red")
                status = 1
                continue
            signed.append(
                Signed(
                    settlement_id=one.asked.settlement_id,
                    request_id=one.asked.id,
                    hash=one.signable.hash.hex(),
                    signer=key.public_key,
                    signature=b64encode(signature).decode(),
                )
            )
        return signed, status

    async def _post(self, signed: Sequence[Signed]) -> int:
        for one in signed:
            # A file may have been mended by hand on its way: what does not verify is not sent.
            if not _verifies(one):
                raise Refused(f"the signature for {one.settlement_id} does not verify: nothing was sent")
        async with self._client() as client:
            posted = await client.post(signed)
        for answer in posted:
            self._say_posted(answer)
        refused = len(signed) - sum(answer.accepted for answer in posted)
        return 1 if refused else 0

    async def _key(self) -> Key:
        options = self._options
        if options.seed_file is not None:
            return seed_key(options.seed_file)
        assert options.pkcs11_module is not None  # noqa: S101 - by check()
        return await hsm_key(
            options.pkcs11_module,
            options.token_label,
            options.key_label,
            pin_file=options.pin_file,
            ask_pin=lambda: self._ask("PIN"),
        )

    def _reviewer(self, key: Key | None) -> Reviewer:
        options = self._options
        expected = Expected(
            network_passphrase=options.network_passphrase,
            contracts=frozenset(options.contracts),
            payers=frozenset(options.payers),
            functions=frozenset(options.functions),
            assets=known_assets(options.assets, options.network_passphrase),
        )
        public_key = None if key is None else key.public_key
        return Reviewer(expected, public_key, options.deployment, limits_of(options.limits))

    def _chosen(self, waiting: Sequence[Asked]) -> list[Asked]:
        only = self._options.only
        if not only:
            return list(waiting)
        return [one for one in waiting if _names(one.settlement_id) & set(only)]

    def _agreed(self, choice: Sequence[Reviewed], reviewer: Reviewer) -> Sequence[Reviewed] | None:
        """What the person, or the limits in the person's place, agree to; None where they say no."""
        if not choice:
            return []
        if self._options.yes:
            beyond = reviewer.beyond_limits([one.signable for one in choice if one.signable is not None])
            for sentence in beyond:
                self._say(f"Not signed: {sentence}.", style="bold red")
            return None if beyond else choice
        answer = self._ask(f"Sign {'it' if len(choice) == 1 else f'all {len(choice)}'}? [y]es, [e]ach, [n]o")
        match answer.strip().lower():
            case "y" | "yes":
                return choice
            case "e" | "each":
                return [
                    one
                    for one in choice
                    if self._ask(f"Sign {one.asked.settlement_id}? [y/n]").strip().lower() in {"y", "yes"}
                ]
            case _:
                self._say("Nothing was signed.")
                return None

    # what the person sees

    def _show(self, reviewed: Sequence[Reviewed], reviewer: Reviewer) -> None:
        good = [one for one in reviewed if one.signable is not None]
        for number, one in enumerate(good, start=1):
            self._console.print(_card(one, reviewer, f"{number}/{len(good)}"))
        for one in reviewed:
            if one.signable is None:
                style = "bold red" if one.wrong else "dim"
                word = "REFUSED" if one.wrong else "left out"
                self._say(f"{word}: {one.asked.settlement_id}: {one.reason}", style=style)
        for address, names in repeated(good).items():
            self._say(f"More than once in this list: {address}, by {', '.join(names)}", style="yellow")
        if not good:
            self._say("Nothing waits for this signature.")
            return
        signables = [one.signable for one in good if one.signable is not None]
        sums = ", ".join(_amount(units, token, reviewer) for token, units in totals(signables).items())
        payments = sum(len(signable.call.payees) for signable in signables)
        calls = "" if payments == len(good) else f" by {len(good)} call{'' if len(good) == 1 else 's'}"
        self._say(f"Together: {sums}, in {payments} payment{'' if payments == 1 else 's'}{calls}.", style="bold")
        self._say(f"Digest of all of them: {grouped(digest_of(signables))}", style="bold")

    def _say_posted(self, answer: Posted) -> None:
        style = "green" if answer.accepted else "bold red"
        word = "" if answer.accepted else "not accepted: "
        self._say(f"{answer.settlement_id}: {word}{answer.words}", style=style)

    def _say(self, sentence: str, *, style: str = "") -> None:
        self._console.print(Text(sentence, style=style), soft_wrap=True)


def _names(settlement_id: str) -> set[str]:
    """What `--only` may call it: its id, with or without its kind; of a call, its batch, too."""
    kind, _, name = settlement_id.partition(":")
    return {settlement_id, name} | ({name.partition(".")[0]} if kind == "chunk" else set())


def _card(one: Reviewed, reviewer: Reviewer, number: str) -> Table:
    """One request, whole: an address that is cut is an address that was not looked at."""
    signable = one.signable
    assert signable is not None  # noqa: S101 - only these are shown
    table = Table(show_header=False, title=f"{number}", title_justify="left", padding=(0, 1))
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")
    named = "checked against its id" if one.name_checked else "as the server calls it"
    rows = [("payment", f"{one.asked.settlement_id} ({named})")]
    for payee in signable.call.payees:
        rows.append(("pays", _amount(payee.units, signable.call.token, reviewer)))
        rows.append(("to", payee.address))
    if len(signable.call.payees) > 1:
        rows.append(("in all", _amount(signable.call.total_units, signable.call.token, reviewer)))
    rows += [
        ("token", signable.call.token),
        ("from", f"{signable.call.contract} (contract), by {signable.call.function}"),
        ("payer", signable.payer),
        ("until", _until(signable)),
        ("network", signable.network_passphrase),
        ("id", signable.call.marker_id),
        ("signs", f"{_KINDS[signable.kind]} {grouped(signable.hash.hex())}"),
    ]
    if signable.lane is not None:
        rows.append(("lane", f"{signable.lane}, number {signable.sequence}; it signs last"))
    if signable.fee_max_stroops is not None:
        rows.append(("fee", f"at most {figure(signable.fee_max_stroops)} XLM, and not from the payer"))
    for name, value in rows:
        table.add_row(name, Text(value))
    return table


def _until(signable: Signable) -> str:
    if signable.until is not None:
        return f"{signable.until:{_PRESENT}}, by the ledger's clock"
    return f"ledger {signable.until_ledger}"


def _amount(units: int, token: str, reviewer: Reviewer) -> str:
    name = reviewer.asset(token)
    if name is None:
        return f"{units} smallest units of the token {token}, which no --asset names"
    return f"{figure(units)} {name}"


def grouped(digits: str) -> str:
    """Digits that two people can read to each other."""
    return " ".join(digits[start : start + 8] for start in range(0, len(digits), 8))


def _asked(reviewed: Sequence[Reviewed]) -> tuple[Asked, ...]:
    return tuple(one.asked for one in reviewed if one.signable is not None)


def _signatures(signed: Sequence[Signed]) -> SignaturesFile:
    digest = batch_digest(bytes.fromhex(one.hash) for one in signed)
    return SignaturesFile(made_at=datetime.now(UTC), digest=digest, signatures=tuple(signed))


def _verifies(one: Signed) -> bool:
    try:
        Keypair.from_public_key(one.signer).verify(bytes.fromhex(one.hash), b64decode(one.signature))
    except (BadSignatureError, ValueError):
        return False
    return True
