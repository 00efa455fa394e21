"""Envelopes: the inner one on a lane's pin, the lane's signature last, and the fee bump around it. No I/O."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from hashlib import sha256
from struct import pack, pack_into, unpack_from
from typing import Final

from stellar_sdk import Keypair, StrKey, xdr

from activities.settlement_parts import Envelope, Send, Simulation
from adapters.stellar import auth_entries
from adapters.stellar.calls import authorization, to_invoke_args
from adapters.stellar.lanes import LaneKeys
from domain.fees import INCLUSION_MIN
from domain.settlement import Intent
from domain.signing import SigningRequest

# What is framed by hand: the SDK's objects take forty times as long, and a payment is built, signed and bumped in
# turn. A TransactionEnvelope is its type, the transaction, and the count of signatures with the signatures.
_TX: Final = pack(">i", xdr.EnvelopeType.ENVELOPE_TYPE_TX)
_TX_FEE_BUMP: Final = pack(">i", xdr.EnvelopeType.ENVELOPE_TYPE_TX_FEE_BUMP)
_NO_SIGNATURES: Final = pack(">i", 0)
_NO_EXTENSION: Final = pack(">i", 0)
_SOROBAN_DATA: Final = pack(">i", 1)
_ED25519: Final = pack(">i", xdr.CryptoKeyType.KEY_TYPE_ED25519)
_RESOURCE_FEE_BYTES: Final = 8
"""At the end of SorobanTransactionData: int64 stroops."""
_RESOURCES: Final = ">III"
"""Before it: instructions, bytes read from disk, bytes written."""
_RESOURCES_BYTES: Final = 12


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
        return self._unsigned(intent, (source, 1), 0, None, auth).xdr

    def _unsigned(
        self,
        intent: Intent,
        pin: tuple[str, int],
        max_time: int,
        simulation: Simulation | None,
        auth: list[xdr.SorobanAuthorizationEntry],
    ) -> Envelope:
        """The contract call from a lane at a sequence; the payer is the operation's source or signs an entry."""
        call = xdr.InvokeHostFunctionOp(
            host_function=xdr.HostFunction(
                xdr.HostFunctionType.HOST_FUNCTION_TYPE_INVOKE_CONTRACT,
                invoke_contract=to_invoke_args(intent.invocation),
            ),
            auth=auth,
        )
        operation = xdr.Operation(
            source_account=None if intent.asks_for_entry else _account(intent.payer),
            body=xdr.OperationBody(xdr.OperationType.INVOKE_HOST_FUNCTION, invoke_host_function_op=call),
        )
        return self._framed(operation, pin, max_time, simulation)

    def _framed(
        self, operation: xdr.Operation, pin: tuple[str, int], max_time: int, simulation: Simulation | None
    ) -> Envelope:
        """A transaction of one operation, unsigned; it bids the least."""
        source, sequence = pin
        transaction = xdr.Transaction(
            source_account=_account(source),
            fee=xdr.Uint32(INCLUSION_MIN + (0 if simulation is None else simulation.resource_fee)),
            seq_num=xdr.SequenceNumber(xdr.Int64(sequence)),
            cond=xdr.Preconditions(
                xdr.PreconditionType.PRECOND_TIME,
                time_bounds=xdr.TimeBounds(xdr.TimePoint(xdr.Uint64(0)), xdr.TimePoint(xdr.Uint64(max_time))),
            ),
            memo=xdr.Memo(xdr.MemoType.MEMO_NONE),
            operations=[operation],
            ext=xdr.TransactionExt(0),
        )
        body = transaction.to_xdr_bytes()
        if simulation is not None:
            resources = b64decode(simulation.transaction_data)[:-_RESOURCE_FEE_BYTES]
            data = _SOROBAN_DATA + resources + pack(">q", simulation.resource_fee)
            body = body[: -len(_NO_EXTENSION)] + data
        unsigned = _TX + body
        return Envelope(b64encode(unsigned + _NO_SIGNATURES).decode(), self._hash(unsigned).hex())

    def _hash(self, tagged: bytes) -> bytes:
        """What is signed of a transaction, which is given behind its type."""
        return sha256(self._network_id + tagged).digest()

    def build(
        self, intent: Intent, simulation: Simulation, lane: str, sequence: int, max_time: datetime
    ) -> Envelope:
        """See `activities.settlement_parts.Ledger`."""
        auth = [authorization(intent)]
        return self._unsigned(intent, (lane, sequence), int(max_time.timestamp()), simulation, auth)

    def assemble(self, request: SigningRequest, signatures: Mapping[str, bytes]) -> str:
        """See `activities.settlement_parts.Ledger`."""
        return auth_entries.signed(request.entry_xdr or "", signatures)

    def build_around(
        self, intent: Intent, entry: str, simulation: Simulation, pin: tuple[str, int], max_time: datetime
    ) -> Envelope:
        """See `activities.settlement_parts.Ledger`: the lane is the operation's source too."""
        signed_entry = xdr.SorobanAuthorizationEntry.from_xdr(entry)
        return self._unsigned(intent, pin, int(max_time.timestamp()), simulation, [signed_entry])

    def build_burn(self, lane: str, sequence: int, max_time: datetime) -> Envelope:
        """See `activities.settlement_parts.Ledger`: a bump to a number that is consumed anyway changes nothing."""
        bump = xdr.BumpSequenceOp(xdr.SequenceNumber(xdr.Int64(sequence)))
        operation = xdr.Operation(
            source_account=None,
            body=xdr.OperationBody(xdr.OperationType.BUMP_SEQUENCE, bump_sequence_op=bump),
        )
        return self._framed(operation, (lane, sequence), int(max_time.timestamp()), None)

    def sign_last(self, envelope: str, lane: str, signatures: Mapping[str, bytes]) -> str:
        """See `activities.settlement_parts.Ledger`."""
        whole = b64decode(envelope)
        unsigned = whole[: -len(_NO_SIGNATURES)]
        if not whole.startswith(_TX) or not whole.endswith(_NO_SIGNATURES):
            raise AssertionError("what is signed last is an inner envelope that nobody has signed")
        signed_hash = self._hash(unsigned)
        decorated = []
        for signer, signature in signatures.items():
            payer = Keypair.from_public_key(signer)
            payer.verify(signed_hash, signature)
            decorated.append(_decorated(payer, signature))
        keys = self._lanes.keypair(lane)
        decorated.append(_decorated(keys, keys.sign(signed_hash)))
        return b64encode(unsigned + pack(">I", len(decorated)) + b"".join(decorated)).decode()

    def bump(self, signed_envelope: str, inclusion_fee: int) -> Send:
        """See `activities.settlement_parts.Ledger`."""
        inner = b64decode(signed_envelope)
        if not inner.startswith(_TX + _ED25519):
            raise AssertionError("an inner envelope of ours is a v1 one from a lane")
        # Behind the source: the least bid and the resource fee, as `_framed` put them.
        (fee,) = unpack_from(">I", inner, len(_TX + _ED25519) + 32)
        resource_fee = fee - INCLUSION_MIN
        payer = _ED25519 + self._fee_account.raw_public_key()
        # The inner transaction stands in it as it stands alone, with its type and signatures.
        unsigned = _TX_FEE_BUMP + payer + pack(">q", inclusion_fee + resource_fee) + inner + _NO_EXTENSION
        outer_hash = self._hash(unsigned)
        signature = _decorated(self._fee_account, self._fee_account.sign(outer_hash))
        envelope = unsigned + pack(">I", 1) + signature
        return Send(outer_hash.hex(), b64encode(envelope).decode(), inclusion_fee)


@lru_cache(maxsize=4096)
def _account(address: str) -> xdr.MuxedAccount:
    key = xdr.Uint256(StrKey.decode_ed25519_public_key(address))
    return xdr.MuxedAccount(xdr.CryptoKeyType.KEY_TYPE_ED25519, ed25519=key)


def _decorated(signer: Keypair, signature: bytes) -> bytes:
    """A DecoratedSignature: four bytes that hint at the key, and the signature behind its length."""
    return signer.signature_hint() + pack(">I", len(signature)) + signature


def with_headroom(transaction_data: str) -> str:
    """Simulated resources with room for what other transactions change before ours is applied.

    A tenth more instructions and bytes: the simulation's own margin is 4 % (soroban-simulation
    `default_adjustment`), and a balance or allowance that another transaction creates meanwhile costs more.
    """
    data = bytearray(b64decode(transaction_data))
    at = len(data) - _RESOURCE_FEE_BYTES - _RESOURCES_BYTES
    pack_into(_RESOURCES, data, at, *(amount * 11 // 10 for amount in unpack_from(_RESOURCES, data, at)))
    return b64encode(data).decode()
