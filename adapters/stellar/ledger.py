"""Stellar, as a settlement needs it: satisfies `activities.settlement_parts.Ledger`."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from stellar_sdk import Address, scval, xdr
from xdrlib3 import Unpacker

from activities.settlement_parts import Attempt, Kept, Proof, Send, Settlement, Simulation, Stale
from adapters.stellar import auth_entries
from adapters.stellar.calls import authorization, map_fields, marker_key, to_invoke_args
from adapters.stellar.contract_errors import explain, recipient_refusal
from adapters.stellar.entries import account_key
from adapters.stellar.envelopes import Envelopes, with_headroom
from adapters.stellar.footprint import promote_balances
from adapters.stellar.limits import read_limits
from adapters.stellar.requests import Requests
from adapters.stellar.resources import restored_by, shortfall
from adapters.stellar.rpc import Landed, Rpc, Simulated, code_of
from adapters.stellar.signatures import OutsideSignatures
from domain.errors import HoldfastError, Refused, Unavailable
from domain.settlement import Intent, MarkerState, Witness

_RESOURCE_FEE_PERCENT: Final = 115
"""Of the simulated resource fee: it covers the tenth of `with_headroom`, and rent beside the 15 % which simulating
adds to what is refundable. Too little fails the transaction; too much keeps a payment with its report, which pays
rent for two entries, from fitting under PAYOUTS_MAX_GAS_STROOPS."""
_META_VERSION: Final = 4
"""Of TransactionMeta, since protocol 23."""

Figures = Callable[[Intent, HoldfastError], Awaitable[HoldfastError]]
"""Adds the figures to a refusal: what is needed and what is there."""


@dataclass(frozen=True, slots=True)
class Marker:
    """What the contract keeps of an id; of a list of recipients also what moved, and a byte each."""

    state: MarkerState
    ledger: int | None
    moved_units: int | None = None
    outcomes: bytes = b""


class Heads(Protocol):
    """What the follower knows of closed ledgers."""

    @property
    def sequence(self) -> int:
        """The newest ledger that was seen."""

    async def closed_at_of(self, sequence: int) -> datetime:
        """When a ledger closed."""

    async def inclusion_fee_p90(self) -> int:
        """What nine of ten recent Soroban transactions paid for inclusion, stroops an operation."""


class StellarLedger:
    """One network through one RPC address."""

    def __init__(self, *, rpc: Rpc, envelopes: Envelopes, heads: Heads, figures: Figures) -> None:
        """`heads` is the follower, which knows the newest ledger and each ledger's close time."""
        self._rpc = rpc
        self._envelopes = envelopes
        self._heads = heads
        self._figures = figures
        requests = Requests(envelopes.network_passphrase)
        self.ask_for_envelope = requests.ask_for_envelope
        self.ask_for_entry = requests.ask_for_entry
        self.authority = OutsideSignatures(rpc, envelopes.network_passphrase).authority
        self.assemble = envelopes.assemble
        self.build = envelopes.build
        self.build_around = envelopes.build_around
        self.build_burn = envelopes.build_burn
        self.sign_last = envelopes.sign_last
        self.bump = envelopes.bump

    async def simulate(self, intent: Intent) -> Simulation:
        """See `activities.settlement_parts.Ledger`."""
        simulated = await self._rpc.simulate(self._envelopes.for_simulation(intent))
        if simulated.error is not None:
            self._check_is_not_behind(simulated.ledger)
            raise await self._figures(intent, explain(simulated.error))
        replayed = _check_result(intent, simulated)
        if not replayed:
            _check_authorizations(intent, simulated)
        return await self._as_simulation(intent, simulated, replayed=replayed)

    def _check_is_not_behind(self, ledger: int) -> None:
        """A no is definite only where it is as young as what we have seen.

        Raises:
            Unavailable: another node behind the same address, or a network that began anew.
        """
        seen = self._heads.sequence
        if ledger < seen:
            raise Unavailable(
                f"the node is at ledger {ledger}, and ledger {seen} was seen", code="ledger_unavailable"
            )

    async def _as_simulation(self, intent: Intent, simulated: Simulated, *, replayed: bool) -> Simulation:
        if replayed:
            await self._check_marker(intent)
        data, more = simulated.transaction_data, 0
        if intent.partial and not replayed:
            promoted = promote_balances(data, (await read_limits(self._rpc)).write_fees)
            data, more = promoted.transaction_data, promoted.extra_fee
        return Simulation(
            ledger=simulated.ledger,
            transaction_data=with_headroom(data),
            resource_fee=(simulated.resource_fee + more) * _RESOURCE_FEE_PERCENT // 100,
            replayed=replayed,
            restores=len(restored_by(data)),
        )

    async def look_again(self, intent: Intent, attempt: Attempt) -> Stale | None:
        """See `activities.settlement_parts.Ledger`: the envelope itself is simulated, and enforced."""
        simulated = await self._rpc.simulate(attempt.envelope)
        if simulated.error is not None:
            return await self._stale_or_refused(intent, simulated.error)
        if _check_result(intent, simulated):
            await self._check_marker(intent)
            return Stale("it was paid meanwhile")
        declared = declared_resources(attempt.envelope)
        missing = shortfall(declared, simulated.transaction_data, simulated.resource_fee)
        return None if missing is None else Stale(missing)

    async def enforce(self, intent: Intent, entry: str) -> Simulation | Stale:
        """See `activities.settlement_parts.Ledger`."""
        simulated = await self._rpc.simulate(self._envelopes.for_simulation(intent, entry))
        if simulated.error is not None:
            return await self._stale_or_refused(intent, simulated.error)
        return await self._as_simulation(intent, simulated, replayed=_check_result(intent, simulated))

    async def _stale_or_refused(self, intent: Intent, error: str) -> Stale:
        """What was signed would fail. Unless the payment itself would too, another signature mends it.

        Raises:
            Refused: it would, with the reason and the figures.
        """
        await self.simulate(intent)
        return Stale(f"the ledger would not take it any more: {explain(error).message}")

    async def _check_marker(self, intent: Intent) -> None:
        """A replay is believed only beside the marker itself: on it a payment is recorded as made."""
        key = marker_key(intent.invocation.contract, intent.marker_id)
        entry = (await self._rpc.ledger_entries([key])).by_key.get(key.to_xdr())
        if entry is None or marker_of(entry.data).state is not MarkerState.PAID:
            raise Unavailable("the simulation tells of a payment without its marker", code="ledger_unavailable")

    async def send(self, send: Send) -> str:
        """See `activities.settlement_parts.Ledger`."""
        sent = await self._rpc.send(send.envelope)
        return f"{sent.status} {sent.error_code}" if sent.error_code else sent.status

    async def witness(self, settlement: Settlement) -> Witness:
        """See `activities.settlement_parts.Ledger`."""
        if settlement.pin is None:
            raise AssertionError(f"{settlement.id} has no pin")
        lane = account_key(settlement.pin.lane)
        marker = marker_key(settlement.intent.invocation.contract, settlement.intent.marker_id)
        found = await self._rpc.ledger_entries([lane, marker])
        self._check_is_not_behind(found.ledger)
        entry = found.by_key.get(lane.to_xdr())
        account = entry.data.account if entry else None
        kept = found.by_key.get(marker.to_xdr())
        return Witness(
            ledger=found.ledger,
            closed_at=await self._heads.closed_at_of(found.ledger),
            lane_sequence=account.seq_num.sequence_number.int64 if account else None,
            marker=marker_of(kept.data).state if kept else MarkerState.ABSENT,
        )

    async def find(self, hashes: tuple[str, ...]) -> Proof | None:
        """See `activities.settlement_parts.Ledger`."""
        for transaction_hash in hashes:
            landed = await self._rpc.transaction(transaction_hash)
            if landed is not None and (proof := proof_of(landed)).consumed:
                return proof
        return None

    async def find_marker(self, intent: Intent) -> Proof | None:
        """See `activities.settlement_parts.Ledger`."""
        key = marker_key(intent.invocation.contract, intent.marker_id)
        entry = (await self._rpc.ledger_entries([key])).by_key.get(key.to_xdr())
        written = marker_of(entry.data).ledger if entry else None
        if written is None:
            return None
        cursor: str | None = None
        while True:
            try:
                page = await self._rpc.transactions(written, cursor=cursor)
            except Refused:
                return None  # beyond the node's retention: the marker itself is proof enough
            for landed in page.transactions:
                if landed.ledger > written:
                    return None
                if landed.successful and _calls(landed.envelope, intent):
                    return proof_of(landed)
            if not page.transactions or not page.cursor:
                return None
            cursor = page.cursor

    async def kept(self, intent: Intent) -> Kept:
        """See `activities.settlement_parts.Ledger`."""
        key = marker_key(intent.invocation.contract, intent.marker_id)
        found = await self._rpc.ledger_entries([key])
        self._check_is_not_behind(found.ledger)
        entry = found.by_key.get(key.to_xdr())
        if entry is None:
            return Kept(found.ledger, MarkerState.ABSENT)
        marker = marker_of(entry.data)
        return Kept(found.ledger, marker.state, marker.moved_units, marker.outcomes)

    async def inclusion_fee_p90(self) -> int:
        """See `activities.settlement_parts.Ledger`; read once a ledger."""
        return await self._heads.inclusion_fee_p90()


def _check_authorizations(intent: Intent, simulated: Simulated) -> None:
    asked = simulated.authorizations
    if intent.asks_for_entry:
        exactly_ours = len(asked) == 1 and auth_entries.is_ours(asked[0], intent)
    else:
        exactly_ours = asked == (authorization(intent).to_xdr(),)
    if not exactly_ours:
        raise Refused(
            f"the simulation asks for {len(simulated.authorizations)} authorizations that are not exactly ours: "
            "nothing is signed",
            code="unexpected_authorization",
        )


def _check_result(intent: Intent, simulated: Simulated) -> bool:
    """Hold the contract's decision against the intent; gives whether it is a replay.

    Raises:
        Refused: `decision_differs`.
    """
    if not simulated.result:
        raise Unavailable("the simulation answered without the contract's result", code="ledger_unavailable")
    fields = map_fields(xdr.SCVal.from_xdr(simulated.result))
    expected = {
        "amount": _admitted(intent, fields),
        "token": intent.asset,
        "from": intent.source,
        "to": intent.destination,
    }
    for name, ours in expected.items():
        if name not in fields:
            continue
        native = scval.to_native(fields[name])
        theirs = native.address if isinstance(native, Address) else native
        if theirs != ours:
            raise Refused(
                f"the contract decides {name} {theirs!s}, the SLA table {ours}",
                code="decision_differs",
                **{f"contract_{name}": str(theirs), name: str(ours)},
            )
    replayed = fields.get("replayed")
    return replayed is not None and bool(scval.from_bool(replayed))


def _admitted(intent: Intent, fields: dict[str, xdr.SCVal]) -> int:
    """The amount that is held against the intent's: of a list the part that can be paid, if anybody can be.

    Raises:
        Refused: `nothing_payable`, with each recipient's reason.
    """
    if not intent.partial or "amount" not in fields or "outcomes" not in fields:
        return intent.amount_units
    amount, outcomes = scval.from_int128(fields["amount"]), scval.from_bytes(fields["outcomes"])
    if all(outcomes):
        reasons = {
            f"recipient_{number}": refusal.message
            for number, outcome in enumerate(outcomes)
            if (refusal := recipient_refusal(outcome)) is not None
        }
        raise Refused(
            f"not one of the {len(outcomes)} recipients can be paid: {', '.join(sorted(set(reasons.values())))}",
            code="nothing_payable",
            outcomes=",".join(str(outcome) for outcome in outcomes),
        )
    return amount if 0 < amount <= intent.amount_units else intent.amount_units


def declared_resources(envelope: str) -> str:
    """The SorobanTransactionData of an envelope of ours (base64 XDR)."""
    inner = inner_transaction(envelope)
    if inner is None or inner.ext.soroban_data is None:
        raise AssertionError("an envelope of ours without resources")
    return inner.ext.soroban_data.to_xdr()


def marker_of(data: xdr.LedgerEntryData) -> Marker:
    """Read a marker's entry."""
    if data.contract_data is None:
        raise AssertionError("a marker's key gave another kind of entry")
    fields = map_fields(data.contract_data.val)
    if scval.from_bool(fields["voided"]):
        return Marker(MarkerState.VOID, None)
    amount, outcomes = _settled(fields.get("outcome"))
    return Marker(MarkerState.PAID, scval.from_uint32(fields["ledger"]), amount, outcomes)


def _settled(outcome: xdr.SCVal | None) -> tuple[int | None, bytes]:
    """The payout contract's `Settled` in a marker: a byte a recipient, and what moved; nothing of another's."""
    parts = outcome.vec.sc_vec if outcome is not None and outcome.vec is not None else []
    outcomes = next((scval.from_bytes(part) for part in parts if part.bytes is not None), b"")
    amount = next((scval.from_int128(part) for part in parts if part.i128 is not None), None)
    return (amount, outcomes) if outcomes else (None, b"")


def proof_of(landed: Landed, *, burn: bool | None = None) -> Proof:
    """What the ledger recorded, as a proof."""
    result = xdr.TransactionResult.from_xdr(landed.result)
    if burn is None:
        burn = not _is_soroban(landed.envelope)
    amount, outcomes = _moved(landed) if landed.successful and not burn else (None, b"")
    return Proof(
        tx_hash=landed.hash,
        successful=landed.successful,
        burn=burn,
        ledger=landed.ledger,
        closed_at=landed.created_at,
        fee_charged=result.fee_charged.int64,
        result=code_of(result),
        moved_units=amount,
        outcomes=outcomes,
    )


def _moved(landed: Landed) -> tuple[int | None, bytes]:
    """The amount, and a byte a recipient, in what the contract returned."""
    returned = _returned(landed.meta) if landed.meta else None
    if returned is None:
        return None, b""
    fields = map_fields(returned)
    amount, outcomes = fields.get("amount"), fields.get("outcomes")
    return (
        None if amount is None else scval.from_int128(amount),
        b"" if outcomes is None else scval.from_bytes(outcomes),
    )


def _returned(meta: str) -> xdr.SCVal | None:
    """What the contract returned, by a TransactionMeta (base64 XDR), which is read no further than there.

    Half of it is behind: the events, which diagnostics tell once more.
    """
    unpacker = Unpacker(b64decode(meta))
    if unpacker.unpack_int() != _META_VERSION:
        return None
    xdr.ExtensionPoint.unpack(unpacker)
    xdr.LedgerEntryChanges.unpack(unpacker)
    for _ in range(unpacker.unpack_uint()):
        xdr.OperationMetaV2.unpack(unpacker)
    xdr.LedgerEntryChanges.unpack(unpacker)
    return xdr.SorobanTransactionMetaV2.unpack(unpacker).return_value if unpacker.unpack_bool() else None


def inner_transaction(envelope: str) -> xdr.Transaction | None:
    """The transaction in an envelope, or the one inside a fee bump (base64 XDR)."""
    parsed = xdr.TransactionEnvelope.from_xdr(envelope)
    if parsed.fee_bump is not None and parsed.fee_bump.tx.inner_tx.v1 is not None:
        return parsed.fee_bump.tx.inner_tx.v1.tx
    return parsed.v1.tx if parsed.v1 is not None else None


def _is_soroban(envelope: str) -> bool:
    inner = inner_transaction(envelope)
    return inner is not None and inner.operations[0].body.invoke_host_function_op is not None


def _calls(envelope: str, intent: Intent) -> bool:
    """Whether an envelope makes the intent's very call: anybody may name its id in a call of another kind."""
    inner = inner_transaction(envelope)
    operation = inner.operations[0].body.invoke_host_function_op if inner and inner.operations else None
    call = operation.host_function.invoke_contract if operation else None
    return call is not None and call.to_xdr() == to_invoke_args(intent.invocation).to_xdr()
