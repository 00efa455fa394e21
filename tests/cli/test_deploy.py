"""Deployment on the real ledger: again changes nothing, and what is missing is made good."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from stellar_sdk import Asset

from adapters.stellar.deployment import Deployment
from adapters.stellar.entries import account_key, account_state, trustline_key, trustline_state
from adapters.stellar.payout_contract import PayoutContract, PayoutSetup
from adapters.stellar.rpc import Rpc
from cli.deploy import (
    OPERATOR_ALLOWANCE,
    PAYOUT,
    PAYOUT_NOCIQ,
    PAYOUT_USDC,
    PAYOUT_XLM,
    POOL_REWARDS,
    SLA,
    committed_wasm,
    deploy_contract,
    deploy_locally,
)
from cli.local_secrets import LocalSecrets
from domain.errors import Refused
from domain.money import Amount
from settings import Settings, SettingsError, load_settings
from tests.conftest import TestLedger


@pytest.fixture
def settings(ledger: TestLedger, tmp_path: Path) -> Settings:
    return load_settings(None, stellar_soroban_rpc_url=ledger.url, var_dir=tmp_path)


@pytest.fixture
def secrets(settings: Settings, tmp_path: Path) -> LocalSecrets:
    return LocalSecrets(tmp_path / "secrets", settings)


@pytest.fixture
async def rpc(ledger: TestLedger) -> AsyncIterator[Rpc]:
    async with Rpc(ledger.url) as client:
        yield client


async def test_deploying_twice_gives_the_same_ids_and_sends_nothing_more(
    settings: Settings, secrets: LocalSecrets, rpc: Rpc
) -> None:
    first = await deploy_locally(settings, secrets)
    key = account_key(first.accounts["admin"])
    before = account_state((await rpc.ledger_entries([key])).by_key[key.to_xdr()].data).sequence
    second = await deploy_locally(settings, secrets)
    assert second == first
    after = account_state((await rpc.ledger_entries([key])).by_key[key.to_xdr()].data).sequence
    assert after == before


async def test_everybody_has_what_the_guides_examples_need(
    settings: Settings, secrets: LocalSecrets, rpc: Rpc
) -> None:
    deployed = await deploy_locally(settings, secrets)
    accounts = deployed.accounts
    nociq = Asset("NOCIQ", accounts["nociq_issuer"])
    pool, noc_team = trustline_key(accounts["pool"], nociq), trustline_key(accounts["noc_team"], nociq)
    found = (await rpc.ledger_entries([pool, noc_team])).by_key
    assert trustline_state(found[pool.to_xdr()].data).balance_units == POOL_REWARDS.units
    assert trustline_state(found[noc_team.to_xdr()].data).balance_units == 0
    deployment = Deployment(rpc, settings.stellar_network_passphrase)
    allowance = await deployment.allowance(deployed.usdc, accounts["operator"], deployed.sla)
    assert allowance is not None
    assert allowance.amount_units == OPERATOR_ALLOWANCE.units
    assert await deployment.greatest_live_until() - allowance.live_until < 200


async def test_the_payout_contract_is_configured_and_funded(
    settings: Settings, secrets: LocalSecrets, rpc: Rpc
) -> None:
    deployed = await deploy_locally(settings, secrets)
    reader = PayoutContract(rpc, settings.stellar_network_passphrase, deployed.payout)
    config = await reader.config()
    assert (config.admin, config.executor) == (deployed.accounts["admin"], deployed.accounts["payer"])
    assert deployed.accounts["payer"] != deployed.accounts["pool"], "its key may be kept elsewhere"
    for token, amount in (
        (deployed.usdc, PAYOUT_USDC),
        (deployed.nociq, PAYOUT_NOCIQ),
        (deployed.native, PAYOUT_XLM),
    ):
        state = await reader.token(token)
        assert state is not None
        assert state.balance == amount
        assert state.caps == config.tokens[token]
        assert (state.caps.per_call, state.moved_today) == (settings.payout_cap_per_call, Amount(0))
    assert deployed.environment["PAYOUT_CONTRACT_ID"] == deployed.payout


async def test_other_caps_and_another_payer_reach_the_contract(
    settings: Settings, secrets: LocalSecrets, rpc: Rpc
) -> None:
    first = await deploy_locally(settings, secrets)
    changed = load_settings(
        None,
        stellar_soroban_rpc_url=settings.stellar_soroban_rpc_url,
        var_dir=settings.var_dir,
        payout_cap_per_call="500",
        payout_cap_per_day="700",
        payout_source_account=first.accounts["noc_team"],
    )
    again = await deploy_locally(changed, secrets)
    assert again == replace(first, accounts={**first.accounts, "payer": first.accounts["noc_team"]})
    config = await PayoutContract(rpc, settings.stellar_network_passphrase, first.payout).config()
    assert config.executor == first.accounts["noc_team"]
    assert {(caps.per_call, caps.per_day) for caps in config.tokens.values()} == {(Amount.of(500), Amount.of(700))}


async def test_a_contract_that_still_has_half_is_not_topped_up(
    settings: Settings, secrets: LocalSecrets, rpc: Rpc
) -> None:
    deployed = await deploy_locally(settings, secrets)
    setup = PayoutSetup(rpc, settings.stellar_network_passphrase)
    issuer = secrets.keypair("usdc_issuer_secret_key")
    twice = Amount(PAYOUT_USDC.units * 2)
    assert not await setup.top_up(deployed.payout, deployed.usdc, issuer, twice)
    assert await setup.top_up(deployed.payout, deployed.usdc, issuer, Amount(twice.units + 1))
    assert not (await setup.lacks(deployed.payout, deployed.usdc, Amount(twice.units + 1))).units


@pytest.mark.parametrize("kind", ["drop_answer_after", "drop_answer_before"])
async def test_lost_answers_leave_one_contract(
    settings: Settings, secrets: LocalSecrets, ledger: TestLedger, kind: str
) -> None:
    ledger.fault(kind, method="sendTransaction", count=3)
    deployed = await deploy_locally(settings, secrets)
    ledger.clear_faults()
    assert await deploy_locally(settings, secrets) == deployed


async def test_on_another_network_the_pool_deploys_and_becomes_executor(
    settings: Settings, secrets: LocalSecrets, ledger: TestLedger, rpc: Rpc
) -> None:
    local = await deploy_locally(settings, secrets)
    elsewhere = load_settings(
        None,
        holdfast_deployment="elsewhere",
        stellar_soroban_rpc_url=ledger.url,
        stellar_pool_secret_key=secrets.keypair("stellar_pool_secret_key").secret,
        usdc_token_address=local.usdc,
        nociq_token_address=local.nociq,
    )
    deployed = await deploy_contract(elsewhere)
    assert deployed.sla != local.sla
    assert await deploy_contract(elsewhere) == deployed
    for contract, name in ((deployed.sla, SLA), (deployed.payout, PAYOUT)):
        code = await Deployment(rpc, settings.stellar_network_passphrase).wasm_hash(contract)
        assert code == sha256(committed_wasm(name)).digest()
    config = await PayoutContract(rpc, settings.stellar_network_passphrase, deployed.payout).config()
    assert config.admin == config.executor == deployed.accounts["pool"]
    assert set(config.tokens) == {local.usdc, local.nociq, local.native}
    assert not config.paused


async def test_a_token_that_is_not_there_is_named(
    settings: Settings, secrets: LocalSecrets, ledger: TestLedger
) -> None:
    local = await deploy_locally(settings, secrets)
    missing = Asset("OTHER", local.accounts["pool"]).contract_id(settings.stellar_network_passphrase)
    wrong = load_settings(
        None,
        stellar_soroban_rpc_url=ledger.url,
        stellar_pool_secret_key=secrets.keypair("stellar_pool_secret_key").secret,
        usdc_token_address=local.usdc,
        nociq_token_address=missing,
    )
    with pytest.raises(Refused, match=f"NOCIQ_TOKEN_ADDRESS {missing}"):
        await deploy_contract(wrong)


async def test_settings_that_a_deployment_needs_are_named(ledger: TestLedger) -> None:
    with pytest.raises(SettingsError, match="STELLAR_POOL_SECRET_KEY"):
        await deploy_contract(load_settings(None, stellar_soroban_rpc_url=ledger.url))
