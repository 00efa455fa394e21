"""The signer reads the XDR itself: it knows whom it pays, and refuses whatever is not one payout."""

from __future__ import annotations

import base64
import re
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import pytest
from stellar_sdk import (
    Asset,
    FeeBumpTransaction,
    FeeBumpTransactionEnvelope,
    Keypair,
    MuxedAccount,
    StrKey,
    TransactionEnvelope,
    scval,
    xdr,
)
from stellar_sdk.operation import Payment

from adapters.stellar.signables import Expected, Payee, batch_digest, decode_entry, decode_envelope, known_assets
from domain.errors import Refused
from tests.signing.payouts import (
    ALICE,
    BOB,
    CONTRACT,
    LANE,
    MARKER,
    MAX_TIME,
    PASSPHRASE,
    PAYER,
    THEFT,
    TOKEN,
    USDC,
    arguments,
    by_source,
    call,
    entry,
    envelope,
    hash_of,
    invocation,
)

OTHER_NETWORK = "Test SDF Network ; September 2015"
EXPECTED = Expected(PASSPHRASE, frozenset({CONTRACT}), frozenset({PAYER.public_key}))


def test_an_envelope_says_whom_it_pays_how_much_from_where_and_until_when() -> None:
    muxed = MuxedAccount(BOB, 77).account_muxed
    assert muxed is not None
    given = envelope(arguments((ALICE, 1_005_000_000), (muxed, 1)))
    found = decode_envelope(given, EXPECTED)
    assert found.call.payees == (Payee(ALICE, 1_005_000_000), Payee(muxed, 1))
    assert (found.call.contract, found.call.token, found.call.marker_id) == (CONTRACT, TOKEN, MARKER)
    assert found.call.total_units == 1_005_000_001
    assert (found.payer, found.lane, found.sequence) == (PAYER.public_key, LANE.public_key, 42)
    assert (found.fee_max_stroops, found.until) == (90_100, datetime.fromtimestamp(MAX_TIME, UTC))
    assert found.hash == hash_of(given)


def test_the_hash_is_of_the_signers_own_network() -> None:
    elsewhere = Expected(OTHER_NETWORK, frozenset({CONTRACT}))
    assert decode_envelope(envelope(), elsewhere).hash == hash_of(envelope(), OTHER_NETWORK) != hash_of(envelope())


def test_an_authorization_says_the_same_and_its_last_ledger() -> None:
    preimage, authorization = entry(nonce=-8, until_ledger=1234)
    found = decode_entry(preimage, authorization, EXPECTED)
    assert found.call.payees == (Payee(ALICE, 1_005_000_000),)
    assert (found.payer, found.nonce, found.until_ledger) == (PAYER.public_key, -8, 1234)
    assert found.hash == sha256(base64.b64decode(preimage)).digest()


def _signed_over(change: Any) -> str:
    """A good envelope with its transaction changed by hand."""
    parsed = xdr.TransactionEnvelope.from_xdr(envelope())
    change(parsed)
    return parsed.to_xdr()


def _no_soroban_data(parsed: xdr.TransactionEnvelope) -> None:
    assert parsed.v1 is not None
    parsed.v1.tx.ext = xdr.TransactionExt(0)


def _from_a_date(parsed: xdr.TransactionEnvelope) -> None:
    assert parsed.v1 is not None
    bounds = parsed.v1.tx.cond.time_bounds
    assert bounds is not None
    bounds.min_time = xdr.TimePoint(xdr.Uint64(5))


def _two_operations(parsed: xdr.TransactionEnvelope) -> None:
    assert parsed.v1 is not None
    theft = Payment(BOB, Asset.native(), "1", source=PAYER.public_key).to_xdr_object()
    parsed.v1.tx.operations.append(theft)


def _only_a_payment(parsed: xdr.TransactionEnvelope) -> None:
    _two_operations(parsed)
    assert parsed.v1 is not None
    del parsed.v1.tx.operations[0]


def _bumped() -> str:
    inner = TransactionEnvelope.from_xdr(envelope(), PASSPHRASE)
    return FeeBumpTransactionEnvelope(FeeBumpTransaction(LANE, 10**6, inner), PASSPHRASE).to_xdr()


def _v0() -> str:
    parsed = xdr.TransactionEnvelope.from_xdr(envelope()).v1
    assert parsed is not None
    tx = parsed.tx
    lane = xdr.Uint256(LANE.raw_public_key())
    old = xdr.TransactionV0(
        lane, tx.fee, tx.seq_num, tx.cond.time_bounds, tx.memo, tx.operations, xdr.TransactionV0Ext(0)
    )
    kind = xdr.EnvelopeType.ENVELOPE_TYPE_TX_V0
    return xdr.TransactionEnvelope(kind, v0=xdr.TransactionV0Envelope(old, [])).to_xdr()


GOOD = call(arguments((ALICE, 1_005_000_000)))
ELSEWHERE = StrKey.encode_contract(bytes([8]) * 32)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        pytest.param("AAAA", "cannot be read", id="no XDR"),
        pytest.param(envelope() + "AAAA", "cannot be read|more than a transaction", id="bytes after it"),
        pytest.param(_bumped(), "FEE_BUMP", id="a fee bump"),
        pytest.param(_v0(), "TX_V0", id="a V0 envelope"),
        pytest.param(envelope(contract=ELSEWHERE), f"contract {ELSEWHERE}", id="another contract"),
        pytest.param(envelope(function="withdraw"), "calls withdraw", id="another function"),
        pytest.param(envelope(payer=BOB), f"pays as {BOB}", id="another payer"),
        pytest.param(envelope(source=PAYER.public_key), "own source", id="a source that could land at once"),
        pytest.param(envelope(payer=None), "own source", id="no payer of its own"),
        pytest.param(envelope(max_time=0), "no end", id="for ever"),
        pytest.param(envelope(max_time=None), "no end", id="without time bounds"),
        pytest.param(
            envelope(change=lambda builder: builder.set_ledger_bounds(1, 2)), "conditions", id="more conditions"
        ),
        pytest.param(envelope(change=lambda builder: builder.add_text_memo("x")), "memo", id="a memo"),
        pytest.param(_signed_over(_from_a_date), "beginning", id="not valid yet"),
        pytest.param(_signed_over(_no_soroban_data), "Soroban data", id="without resources"),
        pytest.param(_signed_over(_two_operations), "2 operations", id="two operations"),
        pytest.param(_signed_over(_only_a_payment), "PAYMENT", id="a classic payment"),
        pytest.param(envelope(auth=[]), "0 authorizations", id="without authorization"),
        pytest.param(
            envelope(auth=[by_source(invocation(GOOD)), by_source(THEFT)]), "2 authorizations", id="a second one"
        ),
        pytest.param(
            envelope(auth=[by_source(invocation(GOOD, THEFT))]),
            "further calls",
            id="a transfer beneath",
        ),
        pytest.param(envelope(auth=[by_source(THEFT)]), "another call", id="an authorization of something else"),
        pytest.param(
            envelope(auth=[xdr.SorobanAuthorizationEntry.from_xdr(entry()[1])]), "payer's own", id="by address"
        ),
        pytest.param(envelope(arguments()), "pays nobody", id="nobody"),
        pytest.param(envelope(arguments((ALICE, 0))), "above zero", id="nothing"),
        pytest.param(envelope(arguments((ALICE, 5), (BOB, -5))), "above zero", id="a negative amount"),
        pytest.param(envelope(arguments((ALICE, 5), marker="ab")), "not those of a payout", id="a short id"),
        pytest.param(envelope(arguments((ALICE, 5), token=BOB)), "not those of a payout", id="no token"),
        pytest.param(envelope([scval.to_uint32(1)]), "not those of a payout", id="other arguments"),
        pytest.param(
            envelope([*arguments((ALICE, 5)), scval.to_address(BOB)]),
            "not those of a payout",
            id="one more argument",
        ),
    ],
)
def test_what_is_not_exactly_one_payout_is_refused(given: str, words: str) -> None:
    with pytest.raises(Refused, match=words):
        decode_envelope(given, EXPECTED)


def _muxed_envelope_of_the_payer() -> str:
    parsed = xdr.TransactionEnvelope.from_xdr(envelope())
    assert parsed.v1 is not None
    parsed.v1.tx.source_account = MuxedAccount(PAYER.public_key, 5).to_xdr_object()
    return parsed.to_xdr()


def test_the_payer_under_a_muxed_name_is_still_the_payer() -> None:
    with pytest.raises(Refused, match="own source"):
        decode_envelope(_muxed_envelope_of_the_payer(), EXPECTED)


BY_SOURCE = by_source(invocation(GOOD)).to_xdr()
ELSE = invocation(call(arguments((BOB, 9))))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        pytest.param(("AAAA", entry()[1]), "cannot be read", id="no XDR"),
        pytest.param(entry(passphrase=OTHER_NETWORK), "another network", id="another network"),
        pytest.param((entry()[0], entry(ELSE)[1]), "not the same", id="shown one call, signing another"),
        pytest.param((entry(nonce=6)[0], entry()[1]), "not the same", id="another nonce"),
        pytest.param((entry(until_ledger=901)[0], entry()[1]), "not the same", id="another last ledger"),
        pytest.param(entry(invocation(GOOD, THEFT)), "further calls", id="a transfer beneath"),
        pytest.param(entry(payer=BOB), f"pays as {BOB}", id="another payer"),
        pytest.param(entry(THEFT), f"contract {TOKEN}", id="a transfer"),
        pytest.param((entry()[0], BY_SOURCE), "not an account's", id="by source account"),
    ],
)
def test_an_authorization_of_anything_else_is_refused(given: tuple[str, str], words: str) -> None:
    with pytest.raises(Refused, match=words):
        decode_entry(*given, EXPECTED)


def test_assets_are_known_by_their_computed_contract_ids() -> None:
    name = f"USDC:{USDC.issuer}"
    assert known_assets([name], PASSPHRASE) == {
        TOKEN: name,
        Asset.native().contract_id(PASSPHRASE): "XLM",
    }
    with pytest.raises(Refused, match=re.escape("'USDC' is not an asset")):
        known_assets(["USDC"], PASSPHRASE)


def test_the_digest_is_the_same_in_any_order_and_another_where_anything_differs() -> None:
    one, two, three = (Keypair.random().raw_public_key() for _ in range(3))
    assert batch_digest([one, two]) == batch_digest([two, one])
    assert len({batch_digest(given) for given in ([one], [one, two], [one, two, three], [one, one, two])}) == 4
