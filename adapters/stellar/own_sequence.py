"""Transactions on an account's own sequence number, one at a time: for set-up, never for payments.

Whoever submits here looks at a witness first (the account exists, the contract is there), so that doing a step
again is harmless; and the sequence number admits one of two envelopes that were built for the same step.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from stellar_sdk import Account, Keypair, SorobanDataBuilder, TransactionBuilder, TransactionEnvelope, xdr
from stellar_sdk.operation import InvokeHostFunction
from stellar_sdk.operation.operation import Operation

from adapters.stellar.contract_errors import explain
from adapters.stellar.entries import account_key, account_state
from adapters.stellar.rpc import Landed, Rpc, result_code
from domain.errors import OutcomeUnknown, Refused, Unavailable

_FEE_PER_OPERATION: Final = 1_000
"""The bid, in stroops an operation: ten times the minimum, of which the ledger takes what it needs."""
_VALID_FOR: Final = timedelta(seconds=60)
_RESOURCE_FEE_PERCENT: Final = 125
"""Of the simulated resource fee: what is not used is refunded, too little fails the transaction."""


@dataclass(frozen=True, slots=True)
class _Pin:
    """What was sent: the number that it consumes, and until which close time (Unix seconds) it can land."""

    sequence: int
    max_time: int
    hash: str
    envelope: str


class OwnSequence:
    """Lands transactions of one source account, one after another."""

    def __init__(
        self,
        rpc: Rpc,
        source: Keypair,
        passphrase: str,
        *,
        fee_per_operation_stroops: int = _FEE_PER_OPERATION,
        poll_seconds: float = 0.2,
        patience_seconds: float = 120.0,
    ) -> None:
        """`patience_seconds` bounds the wait for proof; without proof by then the outcome is unknown."""
        self._rpc = rpc
        self._source = source
        self._passphrase = passphrase
        self._fee = fee_per_operation_stroops
        self._poll_seconds = poll_seconds
        self._patience_seconds = patience_seconds

    @property
    def address(self) -> str:
        """The source account."""
        return self._source.public_key

    async def land(
        self,
        operations: Sequence[Operation],
        *,
        signers: Sequence[Keypair] = (),
        footprint: Sequence[xdr.LedgerKey] = (),
    ) -> Landed:
        """Have these operations in a closed ledger, in one transaction.

        One operation that invokes a contract is simulated first, and what it authorizes must be authorized by
        the source alone. `signers` sign beside the source. `footprint` names the entries whose life one
        `ExtendFootprintTTL` extends.

        Raises:
            Refused: `account_missing`, `failed_on_ledger` with the ledger's words, or the simulation's refusal.
            Unavailable: the ledger does not answer, or the transaction is proved expired: it never lands.
            OutcomeUnknown: there is no proof either way. Look at the witness, then do it again.
        """
        pin = await self._build(operations, signers, footprint)
        return await self._resolve(pin)

    async def _build(
        self, operations: Sequence[Operation], signers: Sequence[Keypair], footprint: Sequence[xdr.LedgerKey]
    ) -> _Pin:
        head = await self._rpc.latest_ledger()
        sequence = await self._sequence()
        if sequence is None:
            raise Refused(f"the account {self.address} is not on the ledger", code="account_missing")
        # From the later of the two clocks: a local ledger that was stopped wakes with an old close time.
        max_time = int((max(head.closed_at, datetime.now(UTC)) + _VALID_FOR).timestamp())
        builder = TransactionBuilder(Account(self.address, sequence), self._passphrase, self._fee)
        for operation in operations:
            builder.append_operation(operation)
        builder.add_time_bounds(0, max_time)
        envelope = builder.build()
        if footprint:
            envelope.transaction.soroban_data = SorobanDataBuilder().set_read_only(list(footprint)).build()  # type: ignore[no-untyped-call]
        if footprint or isinstance(operations[0], InvokeHostFunction):
            await self._prepare(envelope, operations[0])
        for signer in {keypair.public_key: keypair for keypair in (self._source, *signers)}.values():
            envelope.sign(signer)
        return _Pin(sequence + 1, max_time, envelope.hash_hex(), envelope.to_xdr())

    async def _prepare(self, envelope: TransactionEnvelope, operation: Operation) -> None:
        simulated = await self._rpc.simulate(envelope.to_xdr())
        if simulated.error is not None:
            raise explain(simulated.error)
        if simulated.restore is not None:
            raise Unavailable("an entry that it needs is archived", code="entry_archived")
        entries = [xdr.SorobanAuthorizationEntry.from_xdr(entry) for entry in simulated.authorizations]
        for entry in entries:
            if entry.credentials.type is not xdr.SorobanCredentialsType.SOROBAN_CREDENTIALS_SOURCE_ACCOUNT:
                raise Refused(
                    "the simulation asks for an authorization beyond the source account's",
                    code="unexpected_authorization",
                )
        if isinstance(operation, InvokeHostFunction):
            operation.auth = entries
        fee = simulated.resource_fee * _RESOURCE_FEE_PERCENT // 100
        data = SorobanDataBuilder.from_xdr(simulated.transaction_data).set_resource_fee(fee).build()  # type: ignore[no-untyped-call]
        envelope.transaction.soroban_data = data
        envelope.transaction.fee += fee

    async def _sequence(self) -> int | None:
        key = account_key(self.address)
        entry = (await self._rpc.ledger_entries([key])).by_key.get(key.to_xdr())
        return account_state(entry.data).sequence if entry is not None else None

    async def _resolve(self, pin: _Pin) -> Landed:
        """Send until it is queued, then look until there is proof. Only the unchanged envelope is sent again."""
        deadline = asyncio.get_running_loop().time() + self._patience_seconds
        queued = False
        maybe_sent = False
        consumed_looks = 0
        while asyncio.get_running_loop().time() < deadline:
            if not queued:
                try:
                    sent = await self._rpc.send(pin.envelope)
                except OutcomeUnknown:
                    maybe_sent = True
                else:
                    queued = sent.status in {"PENDING", "DUPLICATE"}
                    if sent.status == "ERROR" and not maybe_sent:
                        # The first and only send, and it was turned away: nothing of it is in any queue.
                        raise self._turned_away(sent.error_code or "")
                    queued = queued or sent.status == "ERROR"
            await asyncio.sleep(self._poll_seconds)
            try:
                landed = await self._rpc.transaction(pin.hash)
                if landed is not None:
                    return self._judge(landed)
                state = await self._verdict(pin)
            except Unavailable:
                continue
            if state == "expired":
                raise Unavailable(f"transaction {pin.hash} expired: it never landed and never will")
            if state == "consumed":
                # Perhaps the node looks its transactions up before it has them all: look a few times more.
                consumed_looks += 1
                if consumed_looks > 10:
                    break
        raise OutcomeUnknown(
            f"there is no proof of transaction {pin.hash} either way", tx_hash=pin.hash, source=self.address
        )

    async def _verdict(self, pin: _Pin) -> str:
        # The close time is read first: whatever lands after it closes later still.
        head = await self._rpc.latest_ledger()
        key = account_key(self.address)
        found = await self._rpc.ledger_entries([key])
        entry = found.by_key.get(key.to_xdr())
        if entry is None or found.ledger < head.sequence:
            return "wait"
        if account_state(entry.data).sequence >= pin.sequence:
            return "consumed"
        return "expired" if head.closed_at.timestamp() > pin.max_time else "wait"

    def _turned_away(self, code: str) -> Exception:
        if any(word in code for word in ("BAD_SEQ", "INSUFFICIENT_FEE", "TOO_LATE", "TOO_EARLY")):
            return Unavailable(f"the ledger did not take it ({code})", code="ledger_unavailable")
        return Refused(f"the ledger did not take it: {code}", code="failed_on_ledger", result=code)

    def _judge(self, landed: Landed) -> Landed:
        if not landed.successful:
            code = result_code(landed.result)
            raise Refused(
                f"transaction {landed.hash} failed on the ledger: {code}",
                code="failed_on_ledger",
                tx_hash=landed.hash,
                result=code,
            )
        return landed
