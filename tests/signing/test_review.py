"""What a signer makes of a request: never more than its XDR says, and never by its hash alone."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from adapters.stellar.signables import Expected, known_assets
from cli.signing_client import printable
from cli.signing_files import Asked
from cli.signing_review import Reviewer, limits_of, repeated
from domain.errors import Refused
from domain.settlement import marker_id
from tests.signing.payouts import (
    ALICE,
    BOB,
    CONTRACT,
    MAX_TIME,
    PASSPHRASE,
    PAYER,
    TOKEN,
    USDC,
    arguments,
    entry,
    envelope,
    hash_of,
)

NOW = datetime(2026, 1, 16, tzinfo=UTC)
NAME = f"USDC:{USDC.issuer}"
EXPECTED = Expected(PASSPHRASE, frozenset({CONTRACT}), assets=known_assets([NAME], PASSPHRASE))


def reviewer(**more: Any) -> Reviewer:
    return Reviewer(**({"expected": EXPECTED, "key": PAYER.public_key, "deployment": "", "limits": {}} | more))


def asked(unsigned: str | None = None, **more: Any) -> Asked:
    unsigned = unsigned or envelope()
    given = {
        "id": "sr_1",
        "settlement_id": "payout:round-1",
        "kind": "envelope",
        "hash": hash_of(unsigned).hex(),
        "unsigned_xdr": unsigned,
        "signers": [{"address": PAYER.public_key, "weight": 1}],
        "threshold": 1,
        "expires_at": NOW,
        "words": "Pay 1 XLM to somebody nice",
    }
    return Asked.model_validate(given | more)


def test_the_servers_words_are_not_even_kept() -> None:
    assert "words" not in Asked.model_fields
    reviewed = reviewer().review(asked(), now=NOW)
    assert reviewed.signable is not None
    assert [payee.address for payee in reviewed.signable.call.payees] == [ALICE]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"hash": "ab" * 32}, "another network, or another transaction"),
        ({"unsigned_xdr": None}, "a hash alone is never signed"),
        ({"kind": "auth_entry"}, "a hash alone is never signed"),
        ({"kind": "auth_entry", "preimage_xdr": entry()[0]}, "a hash alone is never signed"),
    ],
)
def test_a_request_that_does_not_show_what_is_signed_is_refused(more: dict[str, Any], words: str) -> None:
    reviewed = reviewer().review(asked(**more), now=NOW)
    assert (reviewed.signable, reviewed.wrong) == (None, True)
    assert words in reviewed.reason


def test_a_transaction_swapped_for_another_is_shown_as_what_it_is() -> None:
    """A server that lies consistently, hash and all: the recipient on the screen is the one that would be paid."""
    theft = envelope(arguments((BOB, 999)))
    reviewed = reviewer().review(asked(theft), now=NOW)
    assert reviewed.signable is not None
    assert [(payee.address, payee.units) for payee in reviewed.signable.call.payees] == [(BOB, 999)]


def test_with_the_deployment_a_name_is_checked_against_the_id_that_pays_once() -> None:
    marker = marker_id("production", "payout", "round-1")
    good = asked(envelope(arguments((ALICE, 5), marker=marker)))
    assert reviewer(deployment="production").review(good, now=NOW).name_checked
    for other in (
        good.model_copy(update={"settlement_id": "payout:round-2"}),
        asked(envelope(arguments((ALICE, 5), marker="cd" * 32))),
    ):
        assert reviewer(deployment="production").review(other, now=NOW).wrong


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"signed_by": [PAYER.public_key]}, "signed it already"),
        ({"signers": [{"address": BOB, "weight": 1}]}, "not asked of this key"),
    ],
)
def test_what_is_none_of_this_keys_business_is_left_out_and_not_called_wrong(
    more: dict[str, Any], words: str
) -> None:
    reviewed = reviewer().review(asked(**more), now=NOW)
    assert (reviewed.signable, reviewed.wrong, words in reviewed.reason) == (None, False, True)


def test_what_has_ended_is_left_out() -> None:
    late = datetime.fromtimestamp(MAX_TIME, UTC)
    assert "it ended" in reviewer().review(asked(), now=late).reason


def test_limits_hold_for_all_together_and_an_asset_without_one_is_not_signed_unseen() -> None:
    chosen = [reviewer().review(asked(envelope(arguments((ALICE, 60)))), now=NOW).signable for _ in range(2)]
    signables = [one for one in chosen if one is not None]
    assert reviewer(limits=limits_of(["USDC=0.0000120"])).beyond_limits(signables) == []
    assert reviewer(limits=limits_of([f"{NAME}=0.000012"])).beyond_limits(signables) == []
    (above,) = reviewer(limits=limits_of(["USDC=0.0000119"])).beyond_limits(signables)
    assert "above the limit" in above
    (none,) = reviewer(limits=limits_of(["XLM=5"])).beyond_limits(signables)
    assert "no --limit" in none
    unnamed = Expected(PASSPHRASE, frozenset({CONTRACT}), assets=known_assets([], PASSPHRASE))
    (unknown,) = reviewer(expected=unnamed, limits=limits_of(["USDC=5"])).beyond_limits(signables)
    assert TOKEN in unknown
    with pytest.raises(Refused, match="NAME=AMOUNT"):
        limits_of(["USDC"])


def test_whoever_is_paid_by_two_requests_is_pointed_out() -> None:
    both = [reviewer().review(asked(settlement_id=f"payout:{name}"), now=NOW) for name in ("a", "b")]
    other = reviewer().review(asked(envelope(arguments((BOB, 5)))), now=NOW)
    assert repeated([*both, other]) == {ALICE: ["payout:a", "payout:b"]}


def test_names_that_would_steer_a_terminal_are_not_taken_and_words_are_cleaned() -> None:
    with pytest.raises(ValueError, match="settlement_id"):
        asked(settlement_id="payout:\x1b[2Jsafe")
    assert printable("no\x1b[2J\nway") == "no [2J way"
