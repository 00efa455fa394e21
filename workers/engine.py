"""The settlement engine, wired: one RPC, one follower, the lanes, the book and the walk."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from os import getpid
from typing import Final

from stellar_sdk import Keypair

from activities.settlement import SettlementActivities
from activities.signing import SigningActivities
from adapters.database.engine import Database
from adapters.database.heads import HeadBook
from adapters.database.paid_outages import PaidOutages
from adapters.database.settlements import SettlementBook
from adapters.database.signing import SigningBook
from adapters.stellar.accounts import SponsoredAccounts
from adapters.stellar.envelopes import Envelopes
from adapters.stellar.figures import Figures
from adapters.stellar.follower import Follower
from adapters.stellar.lanes import LaneKeys, Lanes
from adapters.stellar.ledger import StellarLedger
from adapters.stellar.rpc import Rpc
from adapters.stellar.signatures import OutsideSignatures
from adapters.stellar.upkeep import ContractUpkeep
from domain.errors import Refused
from domain.fees import FeePolicy
from settings import Settings
from settings.payouts import policy_of
from workers.signers import PayerKeys, payer_keys

ENVELOPE_VALIDITY: Final = timedelta(seconds=45)
"""How long an envelope may land: nine ledgers of the public network; a lost one is rebuilt within a minute."""
_LANES_AT_START: Final = 5


@dataclass(frozen=True, slots=True)
class Engine:
    """Everything that a worker runs for settlements."""

    rpc: Rpc
    accounts: SponsoredAccounts
    upkeep: Callable[[Sequence[str]], ContractUpkeep]
    """Of a contract: the fee account pays its rent."""
    book: SettlementBook
    heads: HeadBook
    lanes: Lanes
    follower: Follower
    ledger: StellarLedger
    activities: SettlementActivities
    keys: PayerKeys
    signing: SigningActivities
    requests: SigningBook

    async def start(self) -> str | None:
        """Check the history and have lanes; gives why all sending is halted, or None.

        Raises:
            Refused: another network or another deployment's lanes, or the payouts' signer is none of the payer's.
            Unavailable: the ledger or the database does not answer.
        """
        halted = await self.follower.start()
        await self.keys.check()
        if halted is None:
            await self.lanes.ensure(_LANES_AT_START)
        return halted


@asynccontextmanager
async def running_engine(settings: Settings, database: Database) -> AsyncIterator[Engine]:
    """Wire the engine; its RPC connections are closed on leaving."""
    rpc = Rpc(str(settings.stellar_soroban_rpc_url))
    try:
        engine = _wire(settings, database, rpc)
        try:
            yield engine
        finally:
            engine.keys.close()
    finally:
        await rpc.close()


def _wire(settings: Settings, database: Database, rpc: Rpc) -> Engine:
    passphrase = settings.stellar_network_passphrase
    owner = f"{socket.gethostname()}:{getpid()}"
    poll_seconds = settings.payouts_confirm_poll_ms / 1000
    patience = timedelta(seconds=poll_seconds * settings.payouts_confirm_max_polls)
    book = SettlementBook(database, owner=owner, ask_after=patience, lanes_waiting=settings.lanes_waiting)
    heads = HeadBook(database, network_passphrase=passphrase)
    fee_account = _fee_account(settings)

    def one_builder() -> AbstractAsyncContextManager[None]:
        return database.alone(f"funder {fee_account.public_key}")

    def upkeep(contracts: Sequence[str]) -> ContractUpkeep:
        return ContractUpkeep(
            rpc, contracts=contracts, payer=fee_account, network_passphrase=passphrase, one_builder=one_builder
        )

    accounts = SponsoredAccounts(rpc, fee_account, passphrase, one_builder=one_builder)
    keys = LaneKeys(
        settings.lanes_mnemonic.get_secret_value(),
        lanes_max=settings.lanes_max,
        previous=settings.lanes_phrases_previous,
    )
    lanes = Lanes(
        database=database,
        rpc=rpc,
        keys=keys,
        accounts=accounts,
        deployment=settings.holdfast_deployment,
        lanes_max=settings.lanes_max,
    )
    follower = Follower(
        rpc=rpc,
        heads=heads,
        record=book,
        lanes=lanes,
        network_passphrase=passphrase,
        poll_seconds_max=poll_seconds,
    )
    envelopes = Envelopes(network_passphrase=passphrase, lanes=keys, fee_account=fee_account)
    ledger = StellarLedger(rpc=rpc, envelopes=envelopes, heads=follower, figures=Figures(rpc, passphrase))
    payers = payer_keys(settings, ledger.authority)
    policy = policy_of(settings)
    activities = SettlementActivities(
        book=book,
        ledger=ledger,
        closes=follower,
        signers=payers.by_name,
        deferred=payers.deferred,
        signature_validity=timedelta(seconds=settings.payout_signature_validity_seconds),
        policy=policy,
        fees=FeePolicy(max_gas_stroops=settings.payouts_max_gas_stroops),
        fees_of_lists=FeePolicy(max_gas_stroops=settings.batch_max_gas_stroops),
        builds_max=settings.payouts_max_attempts,
        validity=ENVELOPE_VALIDITY,
        conclude=PaidOutages(database).conclude,
    )
    requests = SigningBook(database)
    verifier = OutsideSignatures(rpc, passphrase)
    signing = SigningActivities(book=requests, verifier=verifier, head=follower, policy=policy)
    return Engine(
        rpc, accounts, upkeep, book, heads, lanes, follower, ledger, activities, payers, signing, requests
    )


def _fee_account(settings: Settings) -> Keypair:
    seed = settings.stellar_fee_secret_key or settings.stellar_pool_secret_key
    if seed is None:
        raise Refused(
            "no account pays fees: set STELLAR_FEE_SECRET_KEY, or STELLAR_POOL_SECRET_KEY to have the pool pay"
        )
    return Keypair.from_secret(seed.get_secret_value())
