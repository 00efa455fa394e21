"""The doctor names what to mend, and changes nothing."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import update
from stellar_sdk import Keypair, scval, xdr

from adapters.database.engine import Database
from adapters.database.heads import HeadBook
from adapters.database.registry import Operator
from adapters.database.settlements_tables import ledger_head
from adapters.stellar.deployment import invocation
from adapters.stellar.own_sequence import OwnSequence
from adapters.stellar.rpc import LedgerHead, Rpc
from cli.deploy import PAYOUT_NOCIQ, Deployed, deploy_locally
from cli.doctor import examine
from cli.doctor_ledger import LedgerCheck
from cli.findings import Finding, Findings, Level
from cli.local_secrets import LocalSecrets, with_local, write_contract_ids
from domain.money import Amount
from settings import Settings, load_settings
from tests.conftest import TestLedger


@pytest.fixture
def ledger(own_ledger: TestLedger) -> TestLedger:
    """Hours pass on the shared one, and a doctor looks at its clock."""
    return own_ledger


@pytest.fixture
def bare(ledger: TestLedger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("VAR_DIR", str(tmp_path))
    monkeypatch.setenv("STELLAR_SOROBAN_RPC_URL", ledger.url)
    return load_settings(None)


@pytest.fixture
def secrets(bare: Settings, tmp_path: Path) -> LocalSecrets:
    return LocalSecrets(tmp_path / "secrets", bare)


@pytest.fixture
async def rpc(ledger: TestLedger) -> AsyncIterator[Rpc]:
    async with Rpc(ledger.url) as client:
        yield client


async def _deployed(bare: Settings, secrets: LocalSecrets) -> tuple[Settings, Deployed]:
    deployed = await deploy_locally(bare, secrets)
    write_contract_ids(bare, deployed.environment)
    return with_local(bare), deployed


async def _look(settings: Settings, rpc: Rpc, operators: list[Operator] | None = None) -> dict[str, Finding]:
    findings = Findings()
    check = LedgerCheck(settings, rpc, findings)
    await check.run()
    await check.operators(operators or [])
    return {line.check: line for line in findings.lines}


async def test_after_a_deployment_nothing_on_the_ledger_is_to_mend(
    bare: Settings, secrets: LocalSecrets, rpc: Rpc
) -> None:
    settings, deployed = await _deployed(bare, secrets)
    operator = Operator(id="acme", name="Acme", wallet=deployed.accounts["operator"])
    lines = await _look(settings, rpc, [operator])
    # Ten ledgers a second use up in days what lasts half a year on the public network.
    allowance = lines.pop("operator acme allowance")
    assert allowance.level is Level.WARN
    assert "500,000 through ledger" in allowance.finding
    assert {line.level for line in lines.values()} == {Level.OK}, lines


async def test_a_ledger_whose_clock_is_not_ours_is_named_with_its_remedy(
    bare: Settings, ledger: TestLedger, rpc: Rpc
) -> None:
    ledger.admin("ledgers/advance", count=1, seconds_each=3_600)
    clock = (await _look(with_local(bare), rpc))["clock"]
    assert clock.level is Level.FAIL
    assert "NTP" in clock.mend


async def test_before_a_deployment_each_missing_thing_is_named_with_its_remedy(
    bare: Settings, secrets: LocalSecrets, rpc: Rpc
) -> None:
    lines = await _look(with_local(bare), rpc)
    assert lines["pool account"].level is Level.FAIL
    assert "Create it" in lines["pool account"].mend
    assert "holdfast deploy" in lines["USDC_TOKEN_ADDRESS"].mend
    assert lines["contract"].finding == "SLA_CONTRACT_ID is not set"


async def test_another_networks_passphrase_is_a_failure(bare: Settings, rpc: Rpc) -> None:
    wrong = load_settings(None, stellar_network_passphrase="Another Network ; 2020")
    lines = await _look(wrong, rpc)
    assert lines["network"].level is Level.FAIL
    assert "STELLAR_NETWORK_PASSPHRASE" in lines["network"].mend


async def test_a_contract_with_another_executor_is_a_failure(
    bare: Settings, secrets: LocalSecrets, rpc: Rpc
) -> None:
    settings, deployed = await _deployed(bare, secrets)
    admin = secrets.keypair("sla_admin_secret_key")
    call = invocation(deployed.sla, "set_executor", scval.to_address(deployed.accounts["noc_team"]))
    await OwnSequence(rpc, admin, settings.stellar_network_passphrase).land([call])
    lines = await _look(settings, rpc)
    assert lines["contract executor"].level is Level.FAIL
    assert "set_executor" in lines["contract executor"].mend


async def test_a_token_in_the_place_of_the_sla_contract_is_named(
    bare: Settings, secrets: LocalSecrets, rpc: Rpc
) -> None:
    settings, deployed = await _deployed(bare, secrets)
    lines = await _look(settings.model_copy(update={"sla_contract_id": deployed.usdc}), rpc)
    assert "is not the SLA contract" in lines["contract code"].finding
    assert "SLA_CONTRACT_ID" in lines["contract code"].mend
    assert "contract" not in lines


async def test_a_paused_contract_and_an_allowance_that_was_taken_back_are_failures(
    bare: Settings, secrets: LocalSecrets, rpc: Rpc
) -> None:
    settings, deployed = await _deployed(bare, secrets)
    passphrase = settings.stellar_network_passphrase
    await OwnSequence(rpc, secrets.keypair("sla_admin_secret_key"), passphrase).land(
        [invocation(deployed.sla, "pause")]
    )
    operator = secrets.keypair("operator_secret_key")
    ledger = (await rpc.latest_ledger()).sequence
    nothing = invocation(
        deployed.usdc,
        "approve",
        scval.to_address(operator.public_key),
        scval.to_address(deployed.sla),
        scval.to_int128(0),
        scval.to_uint32(ledger + 50),
    )
    await OwnSequence(rpc, operator, passphrase).land([nothing])
    lines = await _look(settings, rpc, [Operator(id="acme", name="Acme", wallet=operator.public_key)])
    assert lines["contract paused"].level is Level.FAIL
    assert lines["operator acme allowance"].level is Level.FAIL
    assert "approve" in lines["operator acme allowance"].mend


async def test_services_that_do_not_answer_are_named_with_their_settings(
    bare: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://postgres@127.0.0.1:1/holdfast")
    monkeypatch.setenv("TEMPORAL_ADDRESS", "127.0.0.1:1")
    monkeypatch.setenv("SMTP_PORT", "1")
    findings = await examine(load_settings(None))
    lines = {line.check: line for line in findings.lines}
    assert lines["database"].mend == "Check DATABASE_URL."
    assert "TEMPORAL_ADDRESS" in lines["temporal"].mend
    assert "SMTP_HOST" in lines["mail"].mend
    assert findings.failed


async def _administer(
    settings: Settings, secrets: LocalSecrets, rpc: Rpc, contract: str, function: str, *arguments: xdr.SCVal
) -> None:
    admin = secrets.keypair("sla_admin_secret_key")
    call = invocation(contract, function, *arguments)
    await OwnSequence(rpc, admin, settings.stellar_network_passphrase).land([call])


async def test_a_payout_contract_out_of_service_is_a_failure(
    bare: Settings, secrets: LocalSecrets, rpc: Rpc
) -> None:
    settings, deployed = await _deployed(bare, secrets)
    await _administer(settings, secrets, rpc, deployed.payout, "pause")
    other = scval.to_address(deployed.accounts["noc_team"])
    await _administer(settings, secrets, rpc, deployed.payout, "set_executor", other)
    lines = await _look(settings, rpc)
    assert lines["payout contract paused"].level is Level.FAIL
    assert "unpause" in lines["payout contract paused"].mend
    assert lines["payout contract executor"].level is Level.FAIL
    assert "set_executor" in lines["payout contract executor"].mend
    assert lines["contract executor"].level is Level.OK


async def test_what_a_payout_of_each_token_rests_on_is_told(
    bare: Settings, secrets: LocalSecrets, rpc: Rpc
) -> None:
    settings, deployed = await _deployed(bare, secrets)
    lines = await _look(settings, rpc)
    assert "9,000 XLM there; a call may move 1,000,000" in lines["payout XLM"].finding
    await _administer(settings, secrets, rpc, deployed.payout, "remove_token", scval.to_address(deployed.native))
    await _administer(
        settings,
        secrets,
        rpc,
        deployed.payout,
        "withdraw",
        scval.to_address(deployed.nociq),
        scval.to_address(deployed.accounts["pool"]),
        scval.to_int128(PAYOUT_NOCIQ.units),
    )
    lower = settings.model_copy(update={"payout_cap_per_day": Amount.of(10), "payout_cap_per_call": Amount.of(10)})
    lines = await _look(lower, rpc)
    assert lines["payout XLM"].level is Level.WARN
    assert "does not allow" in lines["payout XLM"].finding
    assert lines["payout NOCIQ"].level is Level.WARN
    assert "fund" in lines["payout NOCIQ"].mend
    assert lines["payout USDC"].level is Level.WARN
    assert "more than the settings' 10 and 10" in lines["payout USDC"].finding


async def test_without_a_payout_contract_the_doctor_says_so(
    bare: Settings, secrets: LocalSecrets, rpc: Rpc
) -> None:
    settings, _ = await _deployed(bare, secrets)
    lines = await _look(settings.model_copy(update={"payout_contract_id": None}), rpc)
    assert lines["payout contract"].level is Level.WARN
    assert "PAYOUT_CONTRACT_ID" in lines["payout contract"].finding


async def _examined(bare: Settings, database_url: str) -> dict[str, Finding]:
    settings = bare.model_copy(update={"database_url": SecretStr(database_url), "smtp_host": ""})
    return {line.check: line for line in (await examine(settings)).lines}


async def test_a_worker_that_does_not_run_is_told_and_one_that_follows_is_seen(
    bare: Settings, database: Database, database_url: str
) -> None:
    never = (await _examined(bare, database_url))["worker"]
    assert (never.level, never.finding) == (Level.WARN, "none has followed the ledger yet")
    assert "python -m workers" in never.mend
    head = LedgerHead(sequence=7, hash="a" * 64, previous_hash="b" * 64, closed_at=datetime.now(UTC), protocol=23)
    await HeadBook(database, network_passphrase=bare.stellar_network_passphrase).begin(head)
    assert (await _examined(bare, database_url))["worker"].level is Level.OK
    async with database.begin() as connection:
        long_ago = datetime.now(UTC) - timedelta(minutes=2)
        await connection.execute(update(ledger_head).values(closed_at=long_ago))
    gone = (await _examined(bare, database_url))["worker"]
    assert (gone.level, gone.finding.startswith("none runs")) == (Level.WARN, True)


async def test_lanes_that_derive_from_the_pools_key_are_warned_of_off_the_local_network(
    bare: Settings, ledger: TestLedger, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "LANES_MNEMONIC" not in (await _examined(bare, database_url))["lanes"].mend
    away = {
        "stellar_network": "testnet",
        "stellar_soroban_rpc_url": ledger.url,
        "stellar_pool_secret_key": SecretStr(Keypair.random().secret),
        "payload_keys": f"k1:{base64.b64encode(b'p' * 32).decode()}",
        "custody_keys": f"k1:{base64.b64encode(b'c' * 32).decode()}",
    }
    elsewhere = load_settings(None, **away)
    lines = (await examine(elsewhere.model_copy(update={"database_url": SecretStr(database_url)}))).lines
    warned = [line for line in lines if line.check == "lanes" and "LANES_MNEMONIC" in line.mend]
    assert [line.level for line in warned] == [Level.WARN]
    monkeypatch.setenv("LANES_MNEMONIC", elsewhere.lanes_mnemonic.get_secret_value())
    explicit = load_settings(None, **away).model_copy(update={"database_url": SecretStr(database_url)})
    assert not [line for line in (await examine(explicit)).lines if "LANES_MNEMONIC" in line.mend]
