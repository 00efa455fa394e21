"""Deployment on the real ledger: again changes nothing, and what is missing is made good."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from stellar_sdk import Asset

from adapters.stellar.deployment import Deployment
from adapters.stellar.entries import account_key, account_state, trustline_key, trustline_state
from adapters.stellar.rpc import Rpc
from cli.deploy import OPERATOR_ALLOWANCE, POOL_REWARDS, committed_wasm, deploy_contract, deploy_locally
from cli.local_secrets import LocalSecrets
from domain.errors import Refused
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
    from hashlib import sha256

    code = await Deployment(rpc, settings.stellar_network_passphrase).wasm_hash(deployed.sla)
    assert code == sha256(committed_wasm()).digest()


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
