"""Envelopes: the inner one on a lane's pin, the lane's signature last, and the fee bump around it. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256
from typing import Final

from stellar_sdk import (
    Account,
    Keypair,
    TransactionBuilder,
    TransactionEnvelope,
    xdr,
)
from stellar_sdk.decorated_signature import DecoratedSignature

from activities.settlement_parts import Envelope, Send, Simulation
from adapters.stellar import auth_entries
from adapters.stellar.calls import authorization, to_scval
from adapters.stellar.lanes import LaneKeys
from domain.fees import INCLUSION_MIN
from domain.settlement import Intent
from domain.signing import SigningRequest


class Envelopes:
    """Builds and signs for one network. The payer's key is never here; the lanes' and the fee account's are."""

    def __init__(self, *, network_passphrase: str, lanes: LaneKeys, fee_account: Keypair) -> None:
        self.network_passphrase: Final = network_passphrase
        self._network_id: Final = sha256(network_passphrase.encode()).digest()
        self._lanes = lanes
        self._fee_account = fee_account

    def for_simulation(self, intent: Intent, entry: str | None = None) -> str:
        """An envelope to simulate the call with: it records what is authorized, or enforces a signed `entry`.

        Any account serves as its source, and sequence numbers are not looked at; of one that asks for an entry it
        must be another than the payer, who would else authorize it as the source.
        """
        source = self._lanes.first(1)[0].public_key if intent.asks_for_entry else intent.payer
        auth = [] if entry is None else [xdr.SorobanAuthorizationEntry.from_xdr(entry)]
        return self._unsigned(intent, (source, 1), 0, None, auth).to_xdr()

    def _unsigned(
        self,
        intent: Intent,
        pin: tuple[str, int],
        max_time: int,
        simulation: Simulation | None,
        auth: list[xdr.SorobanAuthorizationEntry],
    ) -> TransactionEnvelope:
        """The contract call from a lane at a sequence; the payer is the operation's source or signs an entry."""
        source, sequence = pin
        builder = TransactionBuilder(
            Account(source, sequence - 1), self.network_passphrase, base_fee=INCLUSION_MIN
        )
        builder.add_time_bounds(0, max_time)
        builder.append_invoke_contract_function_op(
            contract_id=intent.invocation.contract,
            function_name=intent.invocation.function,
            parameters=[to_scval(argument) for argument in intent.invocation.arguments],
            auth=auth,
            source=None if intent.asks_for_entry else intent.payer,
        )
        if simulation is not None:
            data = xdr.SorobanTransactionData.from_xdr(simulation.transaction_data)
            data.resource_fee = xdr.Int64(simulation.resource_fee)
            builder.set_soroban_data(data)
        envelope = builder.build()
        if simulation is not None:
            envelope.transaction.fee = INCLUSION_MIN + simulation.resource_fee
        return envelope

    def build(
        self, intent: Intent, simulation: Simulation, lane: str, sequence: int, max_time: datetime
    ) -> Envelope:
        """See `activities.settlement_parts.Ledger`."""
        auth = [authorization(intent)]
        envelope = self._unsigned(intent, (lane, sequence), int(max_time.timestamp()), simulation, auth)
        return Envelope(envelope.to_xdr(), envelope.hash_hex())

    def assemble(self, request: SigningRequest, signatures: Mapping[str, bytes]) -> str:
        """See `activities.settlement_parts.Ledger`."""
        return auth_entries.signed(request.entry_xdr or "", signatures)

    def build_around(
        self, intent: Intent, entry: str, simulation: Simulation, pin: tuple[str, int], max_time: datetime
    ) -> Envelope:
        """See `activities.settlement_parts.Ledger`: the lane is the operation's source too."""
        signed_entry = xdr.SorobanAuthorizationEntry.from_xdr(entry)
        envelope = self._unsigned(intent, pin, int(max_time.timestamp()), simulation, [signed_entry])
        return Envelope(envelope.to_xdr(), envelope.hash_hex())

    def build_burn(self, lane: str, sequence: int, max_time: datetime) -> Envelope:
        """See `activities.settlement_parts.Ledger`: a bump to a number that is consumed anyway changes nothing."""
        builder = TransactionBuilder(Account(lane, sequence - 1), self.network_passphrase, base_fee=INCLUSION_MIN)
        builder.add_time_bounds(0, int(max_time.timestamp()))
        builder.append_bump_sequence_op(bump_to=sequence)
        envelope = builder.build()
        return Envelope(envelope.to_xdr(), envelope.hash_hex())

    def sign_last(self, envelope: str, lane: str, signatures: Mapping[str, bytes]) -> str:
        """See `activities.settlement_parts.Ledger`."""
        signed = TransactionEnvelope.from_xdr(envelope, self.network_passphrase)
        for signer, signature in signatures.items():
            payer = Keypair.from_public_key(signer)
            payer.verify(signed.hash(), signature)
            signed.signatures.append(DecoratedSignature(payer.signature_hint(), signature))
        signed.sign(self._lanes.keypair(lane))
        return signed.to_xdr()

    def bump(self, signed_envelope: str, inclusion_fee: int) -> Send:
        """See `activities.settlement_parts.Ledger`."""
        inner = xdr.TransactionEnvelope.from_xdr(signed_envelope).v1
        if inner is None:
            raise AssertionError("an inner envelope of ours is a v1 one")
        data = inner.tx.ext.soroban_data
        resource_fee = 0 if data is None else data.resource_fee.int64
        # As XDR: the SDK's wrapper copies the inner transaction, which takes four times as long for a long list.
        outer = xdr.FeeBumpTransaction(
            fee_source=self._fee_account.xdr_muxed_account(),
            fee=xdr.Int64(inclusion_fee + resource_fee),
            inner_tx=xdr.FeeBumpTransactionInnerTx(xdr.EnvelopeType.ENVELOPE_TYPE_TX, v1=inner),
            ext=xdr.FeeBumpTransactionExt(0),
        )
        payload = xdr.TransactionSignaturePayload(
            network_id=xdr.Hash(self._network_id),
            tagged_transaction=xdr.TransactionSignaturePayloadTaggedTransaction(
                xdr.EnvelopeType.ENVELOPE_TYPE_TX_FEE_BUMP, fee_bump=outer
            ),
        )
        outer_hash = sha256(payload.to_xdr_bytes()).digest()
        signature = self._fee_account.sign_decorated(outer_hash).to_xdr_object()
        envelope = xdr.TransactionEnvelope(
            xdr.EnvelopeType.ENVELOPE_TYPE_TX_FEE_BUMP,
            fee_bump=xdr.FeeBumpTransactionEnvelope(outer, [signature]),
        )
        return Send(outer_hash.hex(), envelope.to_xdr(), inclusion_fee)


def with_headroom(transaction_data: str) -> str:
    """Simulated resources with room for what other transactions change before ours is applied.

    A tenth more instructions and bytes: the simulation's own margin is 4 % (soroban-simulation
    `default_adjustment`), and a balance or allowance that another transaction creates meanwhile costs more.
    """
    data = xdr.SorobanTransactionData.from_xdr(transaction_data)
    resources = data.resources
    resources.instructions = xdr.Uint32(resources.instructions.uint32 * 11 // 10)
    resources.disk_read_bytes = xdr.Uint32(resources.disk_read_bytes.uint32 * 11 // 10)
    resources.write_bytes = xdr.Uint32(resources.write_bytes.uint32 * 11 // 10)
    return data.to_xdr()
