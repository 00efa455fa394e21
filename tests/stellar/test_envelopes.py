"""Envelopes that are put together as XDR are, to the byte, those of the SDK."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from stellar_sdk import (
    Account,
    FeeBumpTransaction,
    FeeBumpTransactionEnvelope,
    Keypair,
    TransactionBuilder,
    TransactionEnvelope,
    xdr,
)
from stellar_sdk.decorated_signature import DecoratedSignature
from stellar_sdk.exceptions import BadSignatureError
from stellar_sdk.sep.mnemonic import StellarMnemonic

from activities.settlement_parts import Simulation
from adapters.stellar.calls import authorization, to_scval
from adapters.stellar.entries import contract_data_key
from adapters.stellar.envelopes import Envelopes, with_headroom
from adapters.stellar.lanes import LaneKeys
from domain.settlement import Argument, Intent, Invocation, SigningMode

_PASSPHRASE = "Standalone Network ; February 2017"
_TOKEN = "CDMLFMKMMD7MWZP3FKUBZPVHTUEDLSX4BYGYKH4GCESXYHS3IHQ4EIG4"


_UNTIL = datetime(2030, 1, 1, tzinfo=UTC)
_LANES = LaneKeys(StellarMnemonic("english").generate(256), lanes_max=3)
_LANE = _LANES.first(1)[0].public_key
_FEE_ACCOUNT, _PAYER = Keypair.random(), Keypair.random()
_ENVELOPES = Envelopes(network_passphrase=_PASSPHRASE, lanes=_LANES, fee_account=_FEE_ACCOUNT)


def _data(archived: int = 0) -> xdr.SorobanTransactionData:
    key = contract_data_key(_TOKEN, to_scval(Argument(type="symbol", value="Pool")))
    resources = xdr.SorobanResources(
        xdr.LedgerFootprint([key], [key, key]), xdr.Uint32(1_000_003), xdr.Uint32(777), xdr.Uint32(0)
    )
    ext = xdr.SorobanTransactionDataExt(0)
    if archived:
        places = [xdr.Uint32(place) for place in range(archived)]
        ext = xdr.SorobanTransactionDataExt(1, resource_ext=xdr.SorobanResourcesExtV0(places))
    return xdr.SorobanTransactionData(ext, resources, xdr.Int64(4))


def _simulation(archived: int = 0) -> Simulation:
    return Simulation(ledger=1, transaction_data=_data(archived).to_xdr(), resource_fee=5_000, replayed=False)


def _intent(signing: SigningMode = SigningMode.ENVELOPE) -> Intent:
    address = Argument(type="address", value=_PAYER.public_key)
    amount = Argument(type="i128", value="-170141183460469231731687303715884105728")
    transfer = Invocation(contract=_TOKEN, function="transfer", arguments=(address, amount))
    optional = Argument(type="option", items=(Argument(type="bytes", value="ab" * 3),))
    several = Argument(type="vec", items=(Argument(type="string", value="é"), Argument(type="bool", value="true")))
    return Intent(
        settlement_id="payout:1",
        marker_id="ab" * 32,
        invocation=Invocation(
            contract=_TOKEN,
            function="pay_several",
            arguments=(address, optional, several, Argument(type="u64", value="7")),
            calls=(transfer, transfer),
        ),
        payer=_PAYER.public_key,
        amount_units=1,
        asset=_TOKEN,
        source=_TOKEN,
        destination=_PAYER.public_key,
        signing=signing,
    )


def _of_the_sdk(
    intent: Intent, source: str, sequence: int, max_time: int, simulation: Simulation | None, auth: bool
) -> TransactionEnvelope:
    builder = TransactionBuilder(Account(source, sequence - 1), _PASSPHRASE, base_fee=100)
    builder.add_time_bounds(0, max_time)
    builder.append_invoke_contract_function_op(
        contract_id=intent.invocation.contract,
        function_name=intent.invocation.function,
        parameters=[to_scval(argument) for argument in intent.invocation.arguments],
        auth=[authorization(intent)] if auth else [],
        source=None if intent.asks_for_entry else intent.payer,
    )
    if simulation is not None:
        data = xdr.SorobanTransactionData.from_xdr(simulation.transaction_data)
        data.resource_fee = xdr.Int64(simulation.resource_fee)
        builder.set_soroban_data(data)
    envelope = builder.build()
    if simulation is not None:
        envelope.transaction.fee = 100 + simulation.resource_fee
    return envelope


@pytest.mark.parametrize("archived", [0, 2])
def test_an_envelope_and_its_signatures_are_the_sdk_s_to_the_byte(archived: int) -> None:
    intent, simulation, other = _intent(), _simulation(archived), Keypair.random()
    built = _ENVELOPES.build(intent, simulation, _LANE, 2**40 + 7, _UNTIL)
    theirs = _of_the_sdk(intent, _LANE, 2**40 + 7, int(_UNTIL.timestamp()), simulation, auth=True)
    assert (built.xdr, built.hash) == (theirs.to_xdr(), theirs.hash_hex())
    signatures = {each.public_key: each.sign(theirs.hash()) for each in (_PAYER, other)}
    for each in (_PAYER, other):
        hint = each.signature_hint()
        theirs.signatures.append(DecoratedSignature(hint, signatures[each.public_key]))
    theirs.sign(_LANES.keypair(_LANE))
    assert _ENVELOPES.sign_last(built.xdr, _LANE, signatures) == theirs.to_xdr()


def test_an_envelope_around_a_signed_entry_and_one_to_simulate_are_the_sdk_s_to_the_byte() -> None:
    intent, simulation = _intent(SigningMode.AUTH_ENTRY), _simulation()
    entry = authorization(intent).to_xdr()
    built = _ENVELOPES.build_around(intent, entry, simulation, (_LANE, 7), _UNTIL)
    theirs = _of_the_sdk(intent, _LANE, 7, int(_UNTIL.timestamp()), simulation, auth=True)
    assert (built.xdr, built.hash) == (theirs.to_xdr(), theirs.hash_hex())
    simulated = _of_the_sdk(intent, _LANE, 1, 0, None, auth=False)
    assert _ENVELOPES.for_simulation(intent) == simulated.to_xdr()
    paid_by_source = _of_the_sdk(_intent(), _PAYER.public_key, 1, 0, None, auth=False)
    assert _ENVELOPES.for_simulation(_intent()) == paid_by_source.to_xdr()


def test_a_no_op_is_the_sdk_s_to_the_byte() -> None:
    builder = TransactionBuilder(Account(_LANE, 6), _PASSPHRASE, base_fee=100)
    theirs = builder.add_time_bounds(0, int(_UNTIL.timestamp())).append_bump_sequence_op(bump_to=7).build()
    burn = _ENVELOPES.build_burn(_LANE, 7, _UNTIL)
    assert (burn.xdr, burn.hash) == (theirs.to_xdr(), theirs.hash_hex())


def test_another_s_signature_is_not_attached() -> None:
    built = _ENVELOPES.build(_intent(), _simulation(), _LANE, 7, _UNTIL)
    forged = Keypair.random().sign(bytes.fromhex(built.hash))
    with pytest.raises(BadSignatureError):
        _ENVELOPES.sign_last(built.xdr, _LANE, {_PAYER.public_key: forged})


@pytest.mark.parametrize("archived", [0, 2])
def test_headroom_is_a_tenth_of_instructions_and_bytes_and_nothing_else(archived: int) -> None:
    data = _data(archived)
    roomy = with_headroom(data.to_xdr())
    data.resources.instructions = xdr.Uint32(1_100_003)
    data.resources.disk_read_bytes = xdr.Uint32(854)
    assert roomy == data.to_xdr()


def test_a_fee_bump_is_the_sdk_s_to_the_byte() -> None:
    built = _ENVELOPES.build(_intent(), _simulation(), _LANE, 7, _UNTIL)
    signatures = {_PAYER.public_key: _PAYER.sign(bytes.fromhex(built.hash))}
    payment = _ENVELOPES.sign_last(built.xdr, _LANE, signatures)
    burn = _ENVELOPES.sign_last(_ENVELOPES.build_burn(_LANE, 7, _UNTIL).xdr, _LANE, {})
    for signed, resource_fee in ((payment, 5_000), (burn, 0)):
        ours = _ENVELOPES.bump(signed, 2_000)
        inner = TransactionEnvelope.from_xdr(signed, _PASSPHRASE)
        theirs = FeeBumpTransactionEnvelope(
            FeeBumpTransaction(_FEE_ACCOUNT, 2_000 + resource_fee, inner), _PASSPHRASE
        )
        theirs.sign(_FEE_ACCOUNT)
        assert (ours.envelope, ours.outer_hash) == (theirs.to_xdr(), theirs.hash_hex())
