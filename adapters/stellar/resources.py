"""Whether what a signed envelope declared still suffices, held against a simulation of now. No I/O."""

from __future__ import annotations

from base64 import b64decode
from typing import Final

from stellar_sdk import xdr

_NO_EXTENSION: Final = bytes(4)
"""How SorobanTransactionData begins that restores nothing."""


def shortfall(declared_xdr: str, needed_xdr: str, needed_fee: int) -> str | None:
    """Why a transaction with the declared SorobanTransactionData would fail now, or None where it would not.

    Both are base64 XDR; `needed_fee` is the resource fee of now, in stroops. What was declared has headroom, and
    what is needed has none.
    """
    declared, needed = (xdr.SorobanTransactionData.from_xdr(data) for data in (declared_xdr, needed_xdr))
    there, wanted = declared.resources, needed.resources
    written = {key.to_xdr() for key in there.footprint.read_write}
    touched = written | {key.to_xdr() for key in there.footprint.read_only}
    if not restored(needed) <= restored(declared):
        return "entries that it needs were archived, and the envelope does not restore them"
    if not {key.to_xdr() for key in wanted.footprint.read_write} <= written:
        return "it would write entries that the envelope does not name"
    if not {key.to_xdr() for key in wanted.footprint.read_only} <= touched:
        return "it would read entries that the envelope does not name: a contract was changed"
    figures = (
        ("instructions", there.instructions.uint32, wanted.instructions.uint32),
        ("bytes read", there.disk_read_bytes.uint32, wanted.disk_read_bytes.uint32),
        ("bytes written", there.write_bytes.uint32, wanted.write_bytes.uint32),
        ("stroops of resource fee", declared.resource_fee.int64, needed_fee),
    )
    for what, ours, now in figures:
        if now > ours:
            return f"it would take {now} {what}, and the envelope admits {ours}"
    return None


def restored_by(transaction_data: str) -> set[str]:
    """The same of base64 XDR, or of an empty text; that nothing is restored is seen without reading all of it."""
    if not transaction_data or b64decode(transaction_data[:8]).startswith(_NO_EXTENSION):
        return set()
    return restored(xdr.SorobanTransactionData.from_xdr(transaction_data))


def restored(data: xdr.SorobanTransactionData) -> set[str]:
    """The keys (base64 XDR) that a transaction restores: it names them by their places among what it writes."""
    extended = data.ext.resource_ext
    if extended is None:
        return set()
    keys = data.resources.footprint.read_write
    return {keys[place.uint32].to_xdr() for place in extended.archived_soroban_entries}
