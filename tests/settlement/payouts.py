"""Payouts whose payer somebody outside signs for: an account and a payout contract of the test's own."""

from __future__ import annotations

import secrets
from base64 import b64encode
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from stellar_sdk import (
    Asset,
    FeeBumpTransaction,
    FeeBumpTransactionEnvelope,
    Keypair,
    Network,
    TransactionEnvelope,
    scval,
)
from stellar_sdk import Signer as LedgerSigner
from stellar_sdk.operation import ChangeTrust, SetOptions

from adapters.stellar import auth_entries
from adapters.stellar.own_sequence import OwnSequence
from adapters.stellar.rpc import Rpc
from domain.errors import Refused
from domain.money import Amount
from domain.settlement import (
    Argument,
    Intent,
    Invocation,
    SettlementStatus,
    SigningMode,
    marker_id,
)
from domain.signing import Signature, SignatureSubmission, SigningRequest
from localnet.clients import LocalLedger
from tests.settlement.conftest import Bench
from tests.settlement.world import PASSPHRASE
from workers.engine import Engine

PRICE = Amount.of(25)
FUNDS = Amount.of(10_000)


@dataclass
class Payouts:
    """One payer, its contract, and the engine that pays by it."""

    bench: Bench
    payer: Keypair
    contract: str
    deployment: str

    @classmethod
    async def make(cls, bench: Bench, ledger: LocalLedger, *, usdc: Amount = FUNDS) -> Payouts:
        payer = Keypair.random()
        ledger.friendbot(payer.public_key)
        contract = await bench.world.new_payout(usdc=usdc)
        await bench.world.call_payout("set_executor", scval.to_address(payer.public_key), contract=contract)
        return cls(bench, payer, contract, bench.deployment)

    def given(self, **changes: object) -> dict[str, object]:
        """The settings that make its payer's signature come from outside."""
        return {
            "payout_signer": "external",
            "payout_source_account": self.payer.public_key,
            "payout_contract_id": self.contract,
            "usdc_token_address": self.bench.world.usdc,
        } | changes

    @asynccontextmanager
    async def engine(self, **changes: object) -> AsyncIterator[Engine]:
        async with self.bench.engine(**self.given(**changes)) as engine:
            yield engine

    def intent(
        self,
        *recipients: tuple[str, Amount],
        payout_id: str | None = None,
        signing: SigningMode = SigningMode.ENVELOPE,
        build_only: bool = False,
        kind: str = "payout",
    ) -> Intent:
        world = self.bench.world
        recipients = recipients or ((world.noc_team.public_key, PRICE),)
        payout_id = payout_id or f"p-{secrets.token_hex(6)}"
        marker = marker_id(self.deployment, kind, payout_id)
        pairs = tuple(
            Argument(
                type="vec",
                items=(Argument(type="address", value=to), Argument(type="i128", value=str(amount.units))),
            )
            for to, amount in recipients
        )
        total = Amount(sum(amount.units for _, amount in recipients))
        return Intent(
            settlement_id=f"{kind}:{payout_id}",
            marker_id=marker,
            invocation=Invocation(
                contract=self.contract,
                function="distribute_winnings",
                arguments=(
                    Argument(type="bytes", value=marker),
                    Argument(type="address", value=world.usdc),
                    Argument(type="vec", items=pairs),
                ),
            ),
            payer=self.payer.public_key,
            amount_units=total.units,
            asset=world.usdc,
            source=self.contract,
            destination=recipients[0][0] if len(recipients) == 1 else f"{len(recipients)} recipients",
            signing=signing,
            build_only=build_only,
            partial=len(recipients) > 1,
        )

    async def asked(self, engine: Engine, intent: Intent | None = None) -> SigningRequest:
        """Walk until the signature is awaited."""
        settlement_id = await self.bench.accept(engine, intent or self.intent())
        return await ask_again(engine, settlement_id)

    async def paid_units(self) -> Amount:
        """What the recipient of `intent()` holds."""
        return await self.bench.world.balance(self.bench.world.usdc, self.bench.world.noc_team)

    async def set_signers(
        self, *signers: tuple[Keypair, int], master: int | None = None, medium: int | None = None
    ) -> None:
        """Change who signs for the payer, each with its weight; 0 takes it away. The master key must still do."""
        async with Rpc(self.bench.world.url) as rpc:
            source = OwnSequence(rpc, self.payer, PASSPHRASE, poll_seconds=0.03)
            await source.land(
                [
                    *(
                        SetOptions(signer=LedgerSigner.ed25519_public_key(keypair.public_key, weight))
                        for keypair, weight in signers
                    ),
                    SetOptions(master_weight=master, med_threshold=medium, high_threshold=medium),
                ]
            )


async def ask_again(engine: Engine, settlement_id: str) -> SigningRequest:
    """Walk, and give what is asked for now."""
    outcome = await engine.activities.walk(settlement_id)
    assert outcome.status is SettlementStatus.AWAITING_SIGNATURE, outcome
    request = await engine.requests.request_of(settlement_id)
    assert outcome.expires_at == request.expires_at
    return request


def sign(request: SigningRequest, *keypairs: Keypair, network: str = PASSPHRASE) -> str:
    """The signed XDR, as a wallet that is set to `network` makes it."""
    if request.kind is SigningMode.ENVELOPE:
        envelope = TransactionEnvelope.from_xdr(request.unsigned_xdr or "", network)
        for keypair in keypairs:
            envelope.signatures.append(keypair.sign_decorated(envelope.hash()))
        return envelope.to_xdr()
    signed_hash = auth_entries.hash_on(request.preimage_xdr or "", network)
    return auth_entries.signed(
        request.entry_xdr or "", {keypair.public_key: keypair.sign(signed_hash) for keypair in keypairs}
    )


def detached(request: SigningRequest, *keypairs: Keypair) -> tuple[Signature, ...]:
    """Signatures over the request's hash, and nothing else."""
    return tuple(
        Signature(
            signer=keypair.public_key, signature=b64encode(keypair.sign(bytes.fromhex(request.hash))).decode()
        )
        for keypair in keypairs
    )


def signed_by(request: SigningRequest, *keypairs: Keypair) -> SignatureSubmission:
    return SignatureSubmission(request_id=request.id, signed_xdr=sign(request, *keypairs), by="signer")


async def refused_code(engine: Engine, request: SigningRequest, submission: SignatureSubmission) -> str:
    """The code with which a submission is refused; it must change nothing."""
    before = await engine.requests.request_of(request.settlement_id)
    try:
        receipt = await engine.signing.accept(request.settlement_id, submission)
    except Refused as refusal:
        assert await engine.requests.request_of(request.settlement_id) == before
        return refusal.code
    raise AssertionError(f"it was accepted: {receipt}")


async def lands(ledger: LocalLedger, envelope: str) -> bool:
    """Submit an envelope to the ledger itself, with its fee paid by a stranger: whether it lands."""
    stranger = Keypair.random()
    ledger.friendbot(stranger.public_key)
    inner = TransactionEnvelope.from_xdr(envelope, PASSPHRASE)
    outer = FeeBumpTransactionEnvelope(
        FeeBumpTransaction(stranger, inner.transaction.fee + 10_000, inner), PASSPHRASE
    )
    outer.sign(stranger)
    async with Rpc(ledger.url) as rpc:
        await rpc.send(outer.to_xdr())
        first = await rpc.newest()
        while await rpc.newest() < first + 2:
            ledger.admin("ledgers/close")
        return await rpc.transaction(outer.hash_hex()) is not None


async def trust(engine_url: str, keypair: Keypair, asset: Asset, *, limit: str | None = None) -> None:
    """Set a trustline, or take it away with the limit 0."""
    async with Rpc(engine_url) as rpc:
        source = OwnSequence(rpc, keypair, PASSPHRASE, poll_seconds=0.03)
        await source.land([ChangeTrust(asset, limit)])


def other_networks() -> Sequence[str]:
    return (Network.PUBLIC_NETWORK_PASSPHRASE, Network.TESTNET_NETWORK_PASSPHRASE)
