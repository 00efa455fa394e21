"""A payout contract of the test's own, on the real ledger, beside a record of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import text
from stellar_sdk import scval

from adapters.database.settlements import SettlementBook
from adapters.stellar.payment_audit import PaymentAudit
from adapters.stellar.rpc import Landed, Rpc
from domain.money import Amount
from domain.settlement import Argument, Intent, Invocation, marker_id
from tests.settlement.conftest import Bench, bench, until_final, world
from workers.engine import Engine

__all__ = ["bench", "world"]


@dataclass
class Payouts:
    """One payout contract, paid by the engine or behind its back."""

    bench: Bench
    contract: str
    rpc: Rpc

    @property
    def audit(self) -> PaymentAudit:
        return self.audit_of(self.contract)

    def audit_of(self, *contracts: str) -> PaymentAudit:
        return PaymentAudit(database=self.bench.database, rpc=self.rpc, contracts=contracts)

    def intent(self, payout_id: str, amount: Amount, *, contract: str | None = None) -> Intent:
        contract = contract or self.contract
        world = self.bench.world
        marker = marker_id(self.bench.deployment, "payout", payout_id)
        payee = Argument(
            type="vec",
            items=(
                Argument(type="address", value=world.noc_team.public_key),
                Argument(type="i128", value=str(amount.units)),
            ),
        )
        return Intent(
            settlement_id=f"payout:{payout_id}",
            marker_id=marker,
            invocation=Invocation(
                contract=contract,
                function="distribute_winnings",
                arguments=(
                    Argument(type="bytes", value=marker),
                    Argument(type="address", value=world.usdc),
                    Argument(type="vec", items=(payee,)),
                ),
            ),
            payer=world.pool.public_key,
            amount_units=amount.units,
            asset=world.usdc,
            source=contract,
            destination=world.noc_team.public_key,
        )

    async def pay(self, engine: Engine, payout_id: str, amount: Amount) -> None:
        """As Holdfast does."""
        settlement_id = await self.bench.accept(engine, self.intent(payout_id, amount))
        outcome = await until_final(engine, settlement_id)
        assert outcome.status == "confirmed", outcome

    async def pay_by_hand(self, intent: Intent, *, contract: str | None = None) -> Landed:
        """As whoever has the executor's key can, without Holdfast."""
        payee = scval.to_vec(
            [
                scval.to_address(self.bench.world.noc_team.public_key),
                scval.to_int128(intent.amount_units),
            ]
        )
        arguments = [
            scval.to_bytes(bytes.fromhex(intent.marker_id)),
            scval.to_address(intent.asset),
            scval.to_vec([payee]),
        ]
        return await self.bench.world.call_payout(
            "distribute_winnings", *arguments, contract=contract or self.contract
        )

    async def record(self, intent: Intent) -> None:
        """Accept it, so that the record knows it."""
        async with self.bench.database.begin() as connection:
            await SettlementBook(self.bench.database).accept(connection, intent)

    async def say_paid(self, intent: Intent) -> None:
        """Have the record say that it was paid, whatever the ledger says."""
        await self.record(intent)
        book = SettlementBook(self.bench.database)
        await book.record_paid_before(await book.load(intent.settlement_id), None)

    async def tamper(self, statement: str, **values: Any) -> None:
        async with self.bench.database.begin() as connection:
            await connection.execute(text(statement), values)


@pytest.fixture
async def payouts(bench: Bench) -> AsyncIterator[Payouts]:
    contract = await bench.world.new_payout(usdc=Amount.of(1_000))
    async with Rpc(bench.world.url) as rpc:
        yield Payouts(bench, contract, rpc)
