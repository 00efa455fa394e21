"""Fee bumps that are put together as XDR are, to the byte, those of the SDK."""

from __future__ import annotations

from datetime import UTC, datetime

from stellar_sdk import FeeBumpTransaction, FeeBumpTransactionEnvelope, Keypair, TransactionEnvelope, xdr
from stellar_sdk.sep.mnemonic import StellarMnemonic

from activities.settlement_parts import Simulation
from adapters.stellar.envelopes import Envelopes
from adapters.stellar.lanes import LaneKeys
from domain.settlement import Argument, Intent, Invocation

_PASSPHRASE = "Standalone Network ; February 2017"
_TOKEN = "CDMLFMKMMD7MWZP3FKUBZPVHTUEDLSX4BYGYKH4GCESXYHS3IHQ4EIG4"


def _simulation() -> Simulation:
    resources = xdr.SorobanResources(xdr.LedgerFootprint([], []), xdr.Uint32(1), xdr.Uint32(2), xdr.Uint32(3))
    data = xdr.SorobanTransactionData(xdr.SorobanTransactionDataExt(0), resources, xdr.Int64(4))
    return Simulation(ledger=1, transaction_data=data.to_xdr(), resource_fee=5_000, replayed=False)


def test_a_fee_bump_is_the_sdk_s_to_the_byte() -> None:
    fee_account, payer = Keypair.random(), Keypair.random()
    lanes = LaneKeys(StellarMnemonic("english").generate(256), lanes_max=3)
    lane = lanes.first(1)[0].public_key
    envelopes = Envelopes(network_passphrase=_PASSPHRASE, lanes=lanes, fee_account=fee_account)
    call = Invocation(
        contract=_TOKEN, function="pay", arguments=(Argument(type="address", value=payer.public_key),)
    )
    intent = Intent(
        settlement_id="payout:1",
        marker_id="ab" * 32,
        invocation=call,
        payer=payer.public_key,
        amount_units=1,
        asset=_TOKEN,
        source=_TOKEN,
        destination=payer.public_key,
    )
    until = datetime(2030, 1, 1, tzinfo=UTC)
    built = envelopes.build(intent, _simulation(), lane, 7, until)
    payment = envelopes.sign_last(built.xdr, lane, {payer.public_key: payer.sign(bytes.fromhex(built.hash))})
    burn = envelopes.sign_last(envelopes.build_burn(lane, 7, until).xdr, lane, {})
    for signed, resource_fee in ((payment, 5_000), (burn, 0)):
        ours = envelopes.bump(signed, 2_000)
        inner = TransactionEnvelope.from_xdr(signed, _PASSPHRASE)
        theirs = FeeBumpTransactionEnvelope(
            FeeBumpTransaction(fee_account, 2_000 + resource_fee, inner), _PASSPHRASE
        )
        theirs.sign(fee_account)
        assert (ours.envelope, ours.outer_hash) == (theirs.to_xdr(), theirs.hash_hex())
