"""The footprint of a call that pays many: what a recipient may still change before it is applied."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from stellar_sdk import xdr

_TRUSTLINE_BYTES: Final = 140
"""At least what a trustline or an account without extras takes (stellar-core: 116 and 144)."""
_BALANCES: Final = frozenset({xdr.LedgerEntryType.TRUSTLINE, xdr.LedgerEntryType.ACCOUNT})


@dataclass(frozen=True, slots=True)
class WriteFees:
    """What the network charges for a written entry, in stroops: for the entry, and for each 1,024 bytes."""

    entry: int
    kilobyte: int


@dataclass(frozen=True, slots=True)
class Promoted:
    """`transaction_data` (base64 XDR) whose recipients' balances may be written, and the fee that this adds."""

    transaction_data: str
    extra_fee: int


def promote_balances(transaction_data: str, fees: WriteFees) -> Promoted:
    """Let every trustline and account of a footprint be written.

    A recipient without a trustline, or with a frozen one, is only read in the simulation: it is reported and not
    paid. If it has one by the time the call is applied, the token writes it, and an entry that may only be read
    would then fail the whole call with everybody else's payment.
    """
    data = xdr.SorobanTransactionData.from_xdr(transaction_data)
    footprint = data.resources.footprint
    balances = [key for key in footprint.read_only if key.type in _BALANCES]
    if not balances:
        return Promoted(transaction_data, 0)
    footprint.read_only = [key for key in footprint.read_only if key.type not in _BALANCES]
    footprint.read_write = [*footprint.read_write, *balances]
    more = len(balances) * _TRUSTLINE_BYTES
    resources = data.resources
    resources.disk_read_bytes = xdr.Uint32(resources.disk_read_bytes.uint32 + more)
    resources.write_bytes = xdr.Uint32(resources.write_bytes.uint32 + more)
    # Reading from disk is charged too, and at less than writing: the write's price covers both with room to spare.
    extra = len(balances) * fees.entry + 3 * (more * fees.kilobyte // 1024 + 1)
    return Promoted(data.to_xdr(), extra)
