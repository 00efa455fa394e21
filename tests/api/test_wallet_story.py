"""A wallet from the request to the account on a real ledger, through a real Temporal."""

from __future__ import annotations

from stellar_sdk import Keypair
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import Worker

from activities.story_names import STORIES, wallet_story_id
from activities.wallet import WalletActivities
from adapters.custody import Custody
from adapters.database import wallets
from adapters.database.engine import Database
from adapters.stellar.accounts import SponsoredAccounts
from adapters.stellar.reader import LedgerReader, ReadContracts
from adapters.stellar.rpc import Rpc
from adapters.temporal.failures import TranslateFailures
from adapters.temporal.wallet_stories import WalletStories
from adapters.wallet_desk import WalletDesk
from localnet.clients import LocalLedger
from tests.settlement.world import PASSPHRASE, make_world
from workflows.wallet import WalletStory

CUSTODY = Custody({"k1": b"k" * 32}, current="k1", tenant="test")


async def test_a_wallet_is_made_on_the_ledger_once_however_often_it_is_asked_for(
    database: Database, ledger: LocalLedger, temporal_address: str, temporal_namespace: str
) -> None:
    world = await make_world(ledger)
    keypair, funder = Keypair.random(), Keypair.random()
    ledger.friendbot(funder.public_key)
    async with database.begin() as connection:
        await wallets.add_wallet(
            connection,
            user_id="user123",
            address=keypair.public_key,
            sealed=CUSTODY.seal_wallet(keypair),
            by="test",
        )
    client = await Client.connect(
        temporal_address, namespace=temporal_namespace, data_converter=pydantic_data_converter
    )
    async with Rpc(ledger.url) as rpc:
        reader = LedgerReader(
            rpc,
            network_passphrase=PASSPHRASE,
            contracts=ReadContracts(sla=world.sla, tokens={"USDC": world.usdc, "NOCIQ": world.nociq}),
        )
        accounts = SponsoredAccounts(rpc, funder, PASSPHRASE, poll_seconds=0.03)
        desk = WalletDesk(database, CUSTODY, accounts, reader)
        stories = WalletStories(client)
        async with Worker(
            client,
            task_queue=STORIES,
            workflows=[WalletStory],
            activities=[WalletActivities(desk).make_wallet],
            interceptors=[TranslateFailures()],
        ):
            await stories.wallet_requested("user123")
            await stories.wallet_requested("user123")
            handle = client.get_workflow_handle(wallet_story_id("user123"))
            first = await handle.result()
            await stories.wallet_requested("user123")
            again = await handle.result()
        assert first["status"] == again["status"] == "ready"
        assert first["tx_hash"] == again["tx_hash"]
        held = await reader.balances(keypair.public_key)
        assert {code: amount.units for code, amount in held.items()} == {"XLM": 0, "USDC": 0, "NOCIQ": 0}
        assert await reader.problems() == {}
        assert await reader.anchored_rca("OUT001") is None
        history = (await handle.fetch_history()).to_json()
        assert keypair.secret not in history
