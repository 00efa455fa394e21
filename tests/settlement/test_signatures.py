"""What comes back from a signer is looked at from every side; what is not right changes nothing."""

from __future__ import annotations

from base64 import b64encode

import pytest
from stellar_sdk import (
    Asset,
    FeeBumpTransaction,
    FeeBumpTransactionEnvelope,
    Keypair,
    TransactionEnvelope,
    xdr,
)

from adapters.stellar import auth_entries
from domain.errors import Refused
from domain.money import Amount
from domain.settlement import SettlementStatus, SigningMode
from domain.signing import Signature, SignatureSubmission, SigningRequest
from localnet.clients import LocalLedger
from tests.settlement.conftest import Bench, until_final
from tests.settlement.payouts import (
    PRICE,
    Payouts,
    detached,
    other_networks,
    refused_code,
    sign,
    signed_by,
)
from tests.settlement.world import PASSPHRASE

BOTH = pytest.mark.parametrize("signing", list(SigningMode))


@pytest.fixture
async def payouts(bench: Bench, ledger: LocalLedger) -> Payouts:
    return await Payouts.make(bench, ledger)


def xdr_of(request: SigningRequest, signed_xdr: str) -> SignatureSubmission:
    return SignatureSubmission(request_id=request.id, signed_xdr=signed_xdr, by="signer")


@BOTH
@pytest.mark.parametrize("network", other_networks())
async def test_what_was_signed_for_another_network_is_named_so(
    payouts: Payouts, signing: SigningMode, network: str
) -> None:
    """Its content is right to the byte: an XDR carries no passphrase."""
    async with payouts.engine() as engine:
        request = await payouts.asked(engine, payouts.intent(signing=signing))
        signed = sign(request, payouts.payer, network=network)
        if signing is SigningMode.ENVELOPE:
            assert TransactionEnvelope.from_xdr(signed, PASSPHRASE).hash_hex() == request.hash
        with pytest.raises(Refused) as refusal:
            await engine.signing.accept(request.settlement_id, xdr_of(request, signed))
    assert refusal.value.code == "signature_wrong_network"
    assert refusal.value.details["network"] == network


@BOTH
async def test_a_stranger_and_a_key_that_was_taken_away_are_unknown_signers(
    payouts: Payouts, signing: SigningMode
) -> None:
    alice, stranger = Keypair.random(), Keypair.random()
    await payouts.set_signers((alice, 1))
    async with payouts.engine() as engine:
        request = await payouts.asked(engine, payouts.intent(signing=signing))
        assert alice.public_key in {signer.address for signer in request.signers}
        await payouts.set_signers((alice, 0))
        for who in (stranger, alice):
            assert await refused_code(engine, request, signed_by(request, who)) == "signature_unknown_signer"
            alone = SignatureSubmission(signatures=detached(request, who), by="signer")
            assert await refused_code(engine, request, alone) == "signature_unknown_signer"
        # One that is not right spoils the rest: nobody is to guess which part was meant.
        both = signed_by(request, payouts.payer, stranger)
        assert await refused_code(engine, request, both) == "signature_unknown_signer"


@BOTH
async def test_a_key_that_was_added_while_it_waited_may_sign(payouts: Payouts, signing: SigningMode) -> None:
    before, alice = await payouts.paid_units(), Keypair.random()
    async with payouts.engine() as engine:
        request = await payouts.asked(engine, payouts.intent(signing=signing))
        await payouts.set_signers((alice, 1))
        receipt = await engine.signing.accept(request.settlement_id, signed_by(request, alice))
        assert receipt.complete
        assert (await until_final(engine, request.settlement_id)).status is SettlementStatus.CONFIRMED
    assert await payouts.paid_units() - before == PRICE


@BOTH
async def test_a_signature_that_does_not_verify_is_refused(payouts: Payouts, signing: SigningMode) -> None:
    async with payouts.engine() as engine:
        request = await payouts.asked(engine, payouts.intent(signing=signing))
        wrong = b64encode(payouts.payer.sign(b"another message")).decode()
        given = SignatureSubmission(
            signatures=(Signature(signer=payouts.payer.public_key, signature=wrong),), by="signer"
        )
        assert await refused_code(engine, request, given) == "signature_invalid"


@BOTH
async def test_what_cannot_be_read_or_is_another_thing_is_malformed(
    payouts: Payouts, signing: SigningMode
) -> None:
    async with payouts.engine() as engine:
        request = await payouts.asked(engine, payouts.intent(signing=signing))
        envelope = await payouts.asked(engine)
        entry = await payouts.asked(engine, payouts.intent(signing=SigningMode.AUTH_ENTRY))
        other_kind = entry if signing is SigningMode.ENVELOPE else envelope
        for text in ("", "AAAA", "not base64!", sign(other_kind, payouts.payer)):
            assert await refused_code(engine, request, xdr_of(request, text)) == "signature_malformed"
        unsigned = xdr_of(request, sign(request))
        assert await refused_code(engine, request, unsigned) == "signature_malformed"
        for signature in ("AAAA", "no base64", b64encode(bytes(65)).decode()):
            signatures = (Signature(signer=payouts.payer.public_key, signature=signature),)
            given = SignatureSubmission(signatures=signatures, by="signer")
            assert await refused_code(engine, request, given) == "signature_malformed"


async def test_an_envelope_that_pays_somebody_else_has_another_hash(payouts: Payouts) -> None:
    async with payouts.engine() as engine:
        request = await payouts.asked(engine)
        other = await payouts.asked(
            engine, payouts.intent((payouts.bench.world.operator.public_key, Amount.of(1)))
        )
        given = xdr_of(request, sign(other, payouts.payer))
        assert await refused_code(engine, request, given) == "signature_wrong_hash"


async def test_an_entry_of_another_account_has_the_same_hash_and_is_refused(payouts: Payouts) -> None:
    """The preimage does not name the account, so the whole entry is compared."""
    async with payouts.engine() as engine:
        request = await payouts.asked(engine, payouts.intent(signing=SigningMode.AUTH_ENTRY))
        entry = xdr.SorobanAuthorizationEntry.from_xdr(sign(request, payouts.payer))
        assert entry.credentials.address is not None
        other = auth_entries.new_entry(
            payouts.intent().model_copy(update={"payer": payouts.bench.world.pool.public_key}), 1
        )
        assert other.credentials.address is not None
        entry.credentials.address.address = other.credentials.address.address
        given = xdr_of(request, entry.to_xdr())
        assert engine.signing._verifier.signed_hash(request, entry.to_xdr()) == request.hash
        assert await refused_code(engine, request, given) == "signature_wrong_hash"


async def test_a_fee_bump_wrapped_around_it_is_refused(payouts: Payouts) -> None:
    async with payouts.engine() as engine:
        request = await payouts.asked(engine)
        inner = TransactionEnvelope.from_xdr(sign(request, payouts.payer), PASSPHRASE)
        wrapped = FeeBumpTransactionEnvelope(
            FeeBumpTransaction(payouts.payer, inner.transaction.fee * 2, inner), PASSPHRASE
        )
        wrapped.sign(payouts.payer)
        given = xdr_of(request, wrapped.to_xdr())
        assert await refused_code(engine, request, given) == "signature_fee_bump"


async def test_a_v0_envelope_is_taken_where_ours_was_signed_and_not_what_is_left_in_it(payouts: Payouts) -> None:
    """The first version has no room for a contract call's resources: what is signed as V0 can never land."""
    before = await payouts.paid_units()
    async with payouts.engine() as engine:
        request = await payouts.asked(engine)
        parsed = TransactionEnvelope.from_xdr(request.unsigned_xdr or "", PASSPHRASE)
        ours = payouts.payer.sign_decorated(parsed.hash())
        parsed.transaction.v1 = False
        parsed.sign(payouts.payer)
        own_hash = parsed.to_xdr()
        assert xdr.TransactionEnvelope.from_xdr(own_hash).v0 is not None
        assert await refused_code(engine, request, xdr_of(request, own_hash)) == "signature_invalid"
        parsed.signatures = [ours]
        old = parsed.to_xdr()
        parsed.transaction.fee += 1
        assert await refused_code(engine, request, xdr_of(request, parsed.to_xdr())) == "signature_wrong_hash"
        assert (await engine.signing.accept(request.settlement_id, xdr_of(request, old))).complete
        assert (await until_final(engine, request.settlement_id)).status is SettlementStatus.CONFIRMED
    assert await payouts.paid_units() - before == PRICE


async def test_what_is_blocked_meanwhile_takes_no_signature(payouts: Payouts) -> None:
    """Policy holds at the request and again when it is signed."""
    async with payouts.engine() as engine:
        request = await payouts.asked(engine)
    async with payouts.engine(destination_blocklist=payouts.bench.world.noc_team.public_key) as engine:
        assert await refused_code(engine, request, signed_by(request, payouts.payer)) == "destination_blocked"


async def test_what_is_blocked_after_it_was_signed_is_refused_and_not_sent(payouts: Payouts) -> None:
    before = await payouts.paid_units()
    async with payouts.engine() as engine:
        request = await payouts.asked(engine)
        await engine.signing.accept(request.settlement_id, signed_by(request, payouts.payer))
    async with payouts.engine(destination_blocklist=payouts.bench.world.noc_team.public_key) as engine:
        outcome = await until_final(engine, request.settlement_id)
    assert (outcome.status, outcome.reason_code) == (SettlementStatus.FAILED, "destination_blocked")
    assert await payouts.paid_units() == before


async def test_asset_codes_of_the_world_are_what_the_requests_name(payouts: Payouts) -> None:
    async with payouts.engine() as engine:
        request = await payouts.asked(engine)
    usdc = Asset("USDC", payouts.bench.world.issuer.public_key).contract_id(PASSPHRASE)
    for part in ("25", usdc, payouts.bench.world.noc_team.public_key, payouts.contract, payouts.payer.public_key):
        assert part in request.words
    assert f"{request.expires_at:%Y-%m-%d %H:%M:%S} UTC" in request.words
