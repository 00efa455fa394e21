"""Signing by somebody else, now or days later: what is asked for, what comes back, and when it is enough.

A request is written ahead of being shown. Only signatures are taken from what comes back: they are attached to
what we stored, and what came back is never sent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Final, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from domain.settlement import Intent, Invocation, SigningMode

SIGNATURES_MAX: Final = 20
"""A transaction and an authorization entry carry at most so many (stellar-core, soroban-env-host)."""


class SigningStatus(StrEnum):
    """Where a request stands."""

    WAITING = "waiting"
    SIGNED = "signed"
    SUPERSEDED = "superseded"
    CANCELLED = "cancelled"
    EXPIRED = "expired"

    @property
    def live(self) -> bool:
        """Whether its signatures count."""
        return self in {SigningStatus.WAITING, SigningStatus.SIGNED}


class Signer(BaseModel):
    """A key (`G…`) that signs for the payer, and its weight, as the ledger had it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    address: str
    weight: int


class Signature(BaseModel):
    """A signature by a key (`G…`): base64 of 64 bytes, over the request's hash."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    signer: str
    signature: str


class SigningRequest(BaseModel):
    """What a signer is asked for: all of it, never only a hash.

    Of kind `envelope` the signer signs `unsigned_xdr` (a transaction envelope), of kind `auth_entry` the hash of
    `preimage_xdr`, for the entry `entry_xdr`; all base64. `hash` (hex) is what is signed in either case.
    `expires_at` is compared with the ledger's close time; of an entry `expires_ledger` is the last ledger in which
    it is valid.
    """

    id: str
    settlement_id: str
    kind: SigningMode
    payer: str
    hash: str
    unsigned_xdr: str | None = None
    preimage_xdr: str | None = None
    entry_xdr: str | None = None
    network_passphrase: str
    invocation: Invocation
    signers: tuple[Signer, ...]
    threshold: int
    signed_by: tuple[str, ...] = ()
    expires_at: datetime
    expires_ledger: int | None = None
    status: SigningStatus = SigningStatus.WAITING
    superseded_by: str | None = None
    reason: str | None = None
    """Why it ended, where it ended unsigned."""
    words: str
    sep7_uri: str | None = None
    created_at: datetime


class SignatureSubmission(BaseModel):
    """What comes back: the signed XDR (an envelope, or an authorization entry), detached signatures, or both.

    `by` is who sent it, for the audit log.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    request_id: str | None = None
    signed_xdr: str | None = Field(default=None, max_length=200_000)
    signatures: tuple[Signature, ...] = Field(default=(), max_length=SIGNATURES_MAX)
    by: str

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.signed_xdr is None and not self.signatures:
            raise ValueError("signed_xdr or signatures: one of them is needed")
        return self


class SignatureReceipt(BaseModel):
    """What became of a submission. `already`: its signatures were there before, or not needed any more."""

    settlement_id: str
    request_id: str
    accepted: tuple[str, ...]
    weight: int
    threshold: int
    complete: bool
    already: bool = False


class Authority(BaseModel):
    """Who signs for an account: keys by weight, and the medium threshold, as the ledger has them."""

    model_config = ConfigDict(frozen=True)

    weights: Mapping[str, int]
    threshold: int

    @property
    def signers(self) -> tuple[Signer, ...]:
        """Heaviest first."""
        ordered = sorted(self.weights.items(), key=lambda pair: (-pair[1], pair[0]))
        return tuple(Signer(address=address, weight=weight) for address, weight in ordered)

    def weight_of(self, signed_by: Iterable[str]) -> int:
        """What these keys weigh together; a key that is no signer weighs nothing."""
        return sum(self.weights.get(address, 0) for address in set(signed_by))

    def suffices(self, signed_by: Iterable[str]) -> bool:
        """Whether these keys meet the threshold. Even a threshold of 0 wants one signature."""
        return self.weight_of(signed_by) >= max(1, self.threshold)

    def minimal(self, signed_by: Iterable[str]) -> tuple[str, ...] | None:
        """The smallest set of these keys that meets the threshold, heaviest first; None where all do not.

        One signature more than is needed fails the transaction (txBAD_AUTH_EXTRA).
        """
        there = set(signed_by) & self.weights.keys()
        if not self.suffices(there):
            return None
        chosen: list[str] = []
        for address in sorted(there, key=lambda key: (-self.weights[key], key)):
            if self.suffices(chosen):
                break
            chosen.append(address)
        return tuple(chosen)


def words(intent: Intent, expires_at: datetime) -> str:
    """The payment in words: how much, of what, from where, to whom, until when."""
    through = "" if intent.source == intent.invocation.contract else f" by contract {intent.invocation.contract}"
    upto = "at most " if intent.partial else ""
    return (
        f"Pay {upto}{intent.amount.brief} of {intent.asset} from {intent.source} to {intent.destination}{through}"
        f", authorized by {intent.payer}, for {intent.settlement_id}"
        f"{f' ({intent.summary})' if intent.summary else ''}; valid until {expires_at:%Y-%m-%d %H:%M:%S} UTC."
    )
