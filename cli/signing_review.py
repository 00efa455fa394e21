"""What a signer makes of the requests before a person is asked: decoded, held against limits, totalled. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from adapters.stellar.signables import Expected, Signable, batch_digest, decode_entry, decode_envelope
from cli.signing_files import Asked
from domain.errors import InvalidInput, Refused
from domain.money import ONE, Amount
from domain.settlement import marker_id


@dataclass(frozen=True, slots=True)
class Reviewed:
    """A request with what its XDR says; without `signable` it is not signed, for the reason given.

    `wrong` tells a request that should not exist from one that is none of this key's business.
    """

    asked: Asked
    signable: Signable | None
    reason: str = ""
    wrong: bool = False
    name_checked: bool = False


@dataclass(frozen=True, slots=True)
class Reviewer:
    """One signer's own terms. `deployment` empty: the names that the server gives are not checked."""

    expected: Expected
    key: str | None
    deployment: str
    limits: Mapping[str, int]

    def review(self, asked: Asked, *, now: datetime) -> Reviewed:
        """Decode one request and decide whether it may be signed at all."""
        try:
            signable = self._decoded(asked)
            checked = self._check_name(asked, signable)
        except Refused as refusal:
            return Reviewed(asked, None, refusal.message, wrong=True)
        if signable.until is not None and signable.until <= now:
            return Reviewed(asked, None, f"it ended at {signable.until:%Y-%m-%d %H:%M:%S} UTC")
        if self.key is not None:
            if self.key in asked.signed_by:
                return Reviewed(asked, None, "this key has signed it already")
            if all(signer.address != self.key for signer in asked.signers):
                return Reviewed(asked, None, "it is not asked of this key")
        return Reviewed(asked, signable, name_checked=checked)

    def _decoded(self, asked: Asked) -> Signable:
        if asked.kind == "envelope":
            if asked.unsigned_xdr is None:
                raise Refused("it comes without the transaction: a hash alone is never signed")
            signable = decode_envelope(asked.unsigned_xdr, self.expected)
        else:
            if asked.preimage_xdr is None or asked.entry_xdr is None:
                raise Refused("it comes without the authorization: a hash alone is never signed")
            signable = decode_entry(asked.preimage_xdr, asked.entry_xdr, self.expected)
        if signable.hash.hex() != asked.hash:
            raise Refused(
                f"the server says that {asked.hash} is signed, and it is {signable.hash.hex()}: another network, "
                "or another transaction"
            )
        return signable

    def _check_name(self, asked: Asked, signable: Signable) -> bool:
        if not self.deployment:
            return False
        kind, _, business_id = asked.settlement_id.partition(":")
        if marker_id(self.deployment, kind, business_id) != signable.call.marker_id:
            raise Refused(
                f"it is not {asked.settlement_id} of the deployment {self.deployment}: its id is another"
            )
        return True

    def asset(self, token: str) -> str | None:
        """What a token is called here; None where it was not named."""
        return self.expected.assets.get(token)

    def beyond_limits(self, chosen: Sequence[Signable]) -> list[str]:
        """Sentences on what is above the limits; an asset without a limit may not be signed unseen at all."""
        sentences = []
        for token, units in totals(chosen).items():
            name = self.asset(token)
            limit = None if name is None else self.limits.get(name, self.limits.get(name.partition(":")[0]))
            if limit is None:
                sentences.append(f"there is no --limit for {name or token}")
            elif units > limit:
                sentences.append(f"{figure(units)} {name} together is above the limit of {figure(limit)}")
        return sentences


def limits_of(texts: Sequence[str]) -> dict[str, int]:
    """Read limits such as `USDC=1000`, in units of 10⁻⁷.

    Raises:
        Refused: one cannot be read.
    """
    found = {}
    for text in texts:
        name, _, amount = text.rpartition("=")
        try:
            found[name] = Amount.parse(amount).units
        except InvalidInput:
            name = ""
        if not name:
            raise Refused(f"{text!r} is not a limit: NAME=AMOUNT is, such as USDC=1000")
    return found


def totals(chosen: Sequence[Signable]) -> dict[str, int]:
    """What is paid of each token together, by contract id."""
    found: dict[str, int] = defaultdict(int)
    for signable in chosen:
        found[signable.call.token] += signable.call.total_units
    return dict(found)


def repeated(chosen: Sequence[Reviewed]) -> dict[str, list[str]]:
    """Who is paid by more than one of these requests, and by which."""
    by_payee: dict[str, list[str]] = defaultdict(list)
    for reviewed in chosen:
        if reviewed.signable is not None:
            for address in {payee.address for payee in reviewed.signable.call.payees}:
                by_payee[address].append(reviewed.asked.settlement_id)
    return {address: names for address, names in by_payee.items() if len(names) > 1}


def digest_of(chosen: Sequence[Signable]) -> str:
    """The digest over all that is signed."""
    return batch_digest(signable.hash for signable in chosen)


def figure(units: int) -> str:
    """An amount of an asset with seven decimals, however great, without needless zeros."""
    fraction = f"{units % ONE:07d}".rstrip("0")
    whole = f"{units // ONE:,}"
    return f"{whole}.{fraction}" if fraction else whole
