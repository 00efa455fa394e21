"""What a transaction restores is named by its resources' extension."""

from __future__ import annotations

from stellar_sdk import xdr

from adapters.stellar.entries import code_key
from adapters.stellar.resources import restored_by


def data(*places: int) -> str:
    """SorobanTransactionData (base64 XDR) that writes two entries and restores those at these places."""
    archived = xdr.SorobanResourcesExtV0([xdr.Uint32(place) for place in places])
    keys = [code_key(bytes([number]) * 32) for number in range(2)]
    return xdr.SorobanTransactionData(
        ext=xdr.SorobanTransactionDataExt(1, archived) if places else xdr.SorobanTransactionDataExt(0),
        resources=xdr.SorobanResources(
            footprint=xdr.LedgerFootprint(read_only=[], read_write=keys),
            instructions=xdr.Uint32(1),
            disk_read_bytes=xdr.Uint32(1),
            write_bytes=xdr.Uint32(1),
        ),
        resource_fee=xdr.Int64(1),
    ).to_xdr()


def test_what_is_restored_is_named_by_key_and_nothing_where_there_is_no_extension() -> None:
    assert restored_by("") == restored_by(data()) == set()
    assert restored_by(data(1)) == {code_key(b"\x01" * 32).to_xdr()}
    assert len(restored_by(data(0, 1))) == 2
