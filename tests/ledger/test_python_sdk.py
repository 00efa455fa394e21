"""The Python SDK's own clients drive the ledger unmodified."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from stellar_sdk import (
    Asset,
    FeeBumpTransactionEnvelope,
    Keypair,
    TransactionBuilder,
    TransactionEnvelope,
    scval,
)
from stellar_sdk import xdr as stellar_xdr
from stellar_sdk.auth import authorize_entry
from stellar_sdk.client.aiohttp_client import AiohttpClient
from stellar_sdk.contract import ContractClientAsync
from stellar_sdk.exceptions import PrepareTransactionException
from stellar_sdk.soroban_rpc import GetTransactionResponse, GetTransactionStatus, SendTransactionStatus
from stellar_sdk.soroban_server_async import SorobanServerAsync

PASSPHRASE = "Standalone Network ; February 2017"
FIXTURES = Path(__file__).resolve().parents[2] / "localnet" / "ledger" / "tests" / "fixtures"


class Ledger:
    """A client of the ledger with the few steps that every case takes."""

    def __init__(self, url: str, server: SorobanServerAsync) -> None:
        self.url = url
        self.server = server

    async def funded(self) -> Keypair:
        key = Keypair.random()
        status, _ = await self.friendbot(key)
        assert status == 200
        return key

    async def friendbot(self, key: Keypair) -> tuple[int, dict[str, Any]]:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{self.url}/friendbot", params={"addr": key.public_key}) as answer,
        ):
            return answer.status, await answer.json()

    async def builder(self, source: Keypair) -> TransactionBuilder:
        account = await self.server.load_account(source.public_key)
        return TransactionBuilder(account, PASSPHRASE, base_fee=100).set_timeout(60)

    async def send(self, envelope: TransactionEnvelope | FeeBumpTransactionEnvelope) -> GetTransactionResponse:
        sent = await self.server.send_transaction(envelope)
        assert sent.status is SendTransactionStatus.PENDING, sent.error_result_xdr
        for _ in range(100):
            found = await self.server.get_transaction(sent.hash)
            if found.status is not GetTransactionStatus.NOT_FOUND:
                assert found.status is GetTransactionStatus.SUCCESS, found.result_xdr
                return found
            await asyncio.sleep(0.05)
        raise AssertionError(f"{sent.hash} did not land")

    async def run(
        self, source: Keypair, builder: TransactionBuilder, *, prepare: bool = False
    ) -> GetTransactionResponse:
        envelope = builder.build()
        if prepare:
            envelope = await self.server.prepare_transaction(envelope)
        envelope.sign(source)
        return await self.send(envelope)


@pytest.fixture
async def ledger(local_ledger_url: str) -> AsyncIterator[Ledger]:
    async with SorobanServerAsync(local_ledger_url, AiohttpClient()) as server:
        yield Ledger(local_ledger_url, server)


@asynccontextmanager
async def contract_client(ledger: Ledger, contract_id: str) -> AsyncIterator[ContractClientAsync]:
    """The SDK's contract client, closed after use."""
    client = ContractClientAsync(contract_id, ledger.url, PASSPHRASE, AiohttpClient())
    try:
        yield client
    finally:
        await client.server.close()


async def token_with_holders(ledger: Ledger) -> tuple[str, Asset, Keypair, Keypair]:
    """An asset's contract, a payer who holds 100 and a payee who trusts it."""
    issuer, payer, payee = await asyncio.gather(ledger.funded(), ledger.funded(), ledger.funded())
    asset = Asset("USDC", issuer.public_key)
    for holder in (payer, payee):
        await ledger.run(holder, (await ledger.builder(holder)).append_change_trust_op(asset))
    await ledger.run(issuer, (await ledger.builder(issuer)).append_payment_op(payer.public_key, asset, "100"))
    create = (await ledger.builder(issuer)).append_create_stellar_asset_contract_from_asset_op(asset)
    await ledger.run(issuer, create, prepare=True)
    return asset.contract_id(PASSPHRASE), asset, payer, payee


async def test_every_read_method_parses_into_the_sdks_models(ledger: Ledger) -> None:
    await ledger.funded()
    assert (await ledger.server.get_health()).status == "healthy"
    assert (await ledger.server.get_network()).passphrase == PASSPHRASE
    assert (await ledger.server.get_version_info()).protocol_version == 28
    assert (await ledger.server.get_fee_stats()).inclusion_fee.max >= 100
    latest = await ledger.server.get_latest_ledger()
    stellar_xdr.LedgerHeader.from_xdr(latest.header_xdr)
    stellar_xdr.LedgerCloseMeta.from_xdr(latest.metadata_xdr)
    assert (await ledger.server.get_transactions(start_ledger=2)).transactions
    assert (await ledger.server.get_events(start_ledger=2)).events


async def test_ledgers_are_contiguous_by_their_hashes(ledger: Ledger) -> None:
    await ledger.funded()
    page = await ledger.server.get_ledgers(start_ledger=1)
    before: bytes | None = None
    for info in page.ledgers:
        entry = stellar_xdr.LedgerHeaderHistoryEntry.from_xdr(info.header_xdr)
        stellar_xdr.LedgerCloseMeta.from_xdr(info.metadata_xdr)
        assert before is None or entry.header.previous_ledger_hash.hash == before
        before = entry.hash.hash


async def test_friendbot_gives_once(ledger: Ledger) -> None:
    key = await ledger.funded()
    status, answer = await ledger.friendbot(key)
    assert status == 400
    assert "already funded" in answer["detail"]


async def test_a_contract_is_deployed_with_its_constructor_and_called(ledger: Ledger) -> None:
    owner = await ledger.funded()
    wasm = (FIXTURES / "contract_with_constructor.wasm").read_bytes()
    wasm_id = await ContractClientAsync.upload_contract_wasm(wasm, owner.public_key, owner, ledger.server)
    contract_id = await ContractClientAsync.create_contract(
        wasm_id, owner.public_key, owner, ledger.server, constructor_args=[scval.to_uint32(5), scval.to_int64(7)]
    )
    async with contract_client(ledger, contract_id) as client:
        key = scval.to_vec([scval.to_symbol("Persistent"), scval.to_uint32(5)])
        assembled: Any = await client.invoke("get_data", [key], source=owner.public_key)
        assert scval.to_native(assembled.result()) == 7


async def test_the_assembled_transaction_signs_submits_and_returns(ledger: Ledger) -> None:
    token, _, payer, payee = await token_with_holders(ledger)
    async with contract_client(ledger, token) as client:
        arguments = [scval.to_address(payer.public_key), scval.to_address(payee.public_key), scval.to_int128(30)]
        assembled: Any = await client.invoke("transfer", arguments, source=payer.public_key, signer=payer)
        await assembled.sign_and_submit()
        balance: Any = await client.invoke(
            "balance", [scval.to_address(payee.public_key)], source=payer.public_key
        )
        assert scval.to_native(balance.result()) == 30


@pytest.mark.parametrize("upgraded", [False, True])
async def test_a_payer_signs_the_authorization_and_a_lane_the_envelope(ledger: Ledger, upgraded: bool) -> None:
    token, _, payer, payee = await token_with_holders(ledger)
    lane = await ledger.funded()
    arguments = [scval.to_address(payer.public_key), scval.to_address(payee.public_key), scval.to_int128(30)]
    built = (await ledger.builder(lane)).append_invoke_contract_function_op(token, "transfer", arguments).build()
    simulated = await ledger.server.simulate_transaction(built, use_upgraded_auth=upgraded)
    assert simulated.results
    assert simulated.results[0].auth
    latest = (await ledger.server.get_latest_ledger()).sequence
    signed = [authorize_entry(entry, payer, latest + 100, PASSPHRASE) for entry in simulated.results[0].auth]
    builder = await ledger.builder(lane)
    builder.append_invoke_contract_function_op(token, "transfer", arguments, auth=signed)
    await ledger.run(lane, builder, prepare=True)
    async with contract_client(ledger, token) as client:
        balance: Any = await client.invoke(
            "balance", [scval.to_address(payee.public_key)], source=payer.public_key
        )
        assert scval.to_native(balance.result()) == 30


async def test_a_fee_bump_pays_from_its_own_account_and_is_found_by_both_hashes(ledger: Ledger) -> None:
    token, _, payer, payee = await token_with_holders(ledger)
    fee_account = await ledger.funded()
    arguments = [scval.to_address(payer.public_key), scval.to_address(payee.public_key), scval.to_int128(30)]
    builder = (await ledger.builder(payer)).append_invoke_contract_function_op(token, "transfer", arguments)
    inner = await ledger.server.prepare_transaction(builder.build())
    inner.sign(payer)
    bump = TransactionBuilder.build_fee_bump_transaction(fee_account, 200, inner, PASSPHRASE)
    bump.sign(fee_account)
    found = await ledger.send(bump)
    assert found.fee_bump
    by_inner = await ledger.server.get_transaction(inner.hash_hex())
    assert by_inner.status is GetTransactionStatus.SUCCESS
    assert by_inner.ledger == found.ledger


async def test_a_missing_trustline_is_contract_error_13(ledger: Ledger) -> None:
    token, _, payer, _ = await token_with_holders(ledger)
    stranger = await ledger.funded()
    arguments = [scval.to_address(payer.public_key), scval.to_address(stranger.public_key), scval.to_int128(1)]
    builder = (await ledger.builder(payer)).append_invoke_contract_function_op(token, "transfer", arguments)
    with pytest.raises(PrepareTransactionException) as refused:
        await ledger.server.prepare_transaction(builder.build())
    assert "Error(Contract, #13)" in str(refused.value.simulate_transaction_response.error)


async def test_a_landed_envelope_sent_again_is_an_error_with_bad_seq(ledger: Ledger) -> None:
    payer, payee = await ledger.funded(), await ledger.funded()
    builder = (await ledger.builder(payer)).append_payment_op(payee.public_key, Asset.native(), "1")
    envelope = builder.build()
    envelope.sign(payer)
    await ledger.send(envelope)
    again = await ledger.server.send_transaction(envelope)
    assert again.status is SendTransactionStatus.ERROR
    assert again.error_result_xdr is not None
    result = stellar_xdr.TransactionResult.from_xdr(again.error_result_xdr)
    assert result.result.code is stellar_xdr.TransactionResultCode.txBAD_SEQ
