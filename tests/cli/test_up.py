"""`holdfast up` as a person runs it: a process of its own, and the kernel's word on what is left of it."""

from __future__ import annotations

import asyncio
import base64
import os
import re
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.deploy import deploy_locally
from cli.local_secrets import LocalSecrets
from settings import load_settings
from tests.cli.up_process import Up, gone, wait_until
from tests.conftest import TestLedger

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def up(parts_directory: Path, request: pytest.FixtureRequest) -> Iterator[Up]:
    running = Up.beneath(parts_directory, request.node.name)
    yield running
    running.end()


def test_ctrl_c_stops_all_within_seconds_and_a_later_up_resumes_the_same_state(up: Up) -> None:
    up.start()
    first = up.facts()
    assert (up.directory / "var" / "up.json").stat().st_mode & 0o777 == 0o600
    second_up = up.run("up")
    assert second_up.returncode == 1
    assert "up here already" in second_up.stdout
    refused = up.run("reset", "--yes")
    assert refused.returncode == 1
    assert "stop it first" in refused.stderr
    family = up.family()
    began = time.monotonic()
    assert up.interrupt() == 0
    assert time.monotonic() - began < 12
    gone(family)
    up.start()
    again = up.facts()
    for fact in ("contracts", "accounts", "api_key", "approver_key", "database_url"):
        assert again[fact] == first[fact], fact
    up.interrupt()
    assert up.run("reset", "--yes").returncode == 0
    left = {path.name for path in (up.directory / "var").iterdir()}
    assert left <= {"up.lock"}


def test_what_was_frozen_comes_up_again_says_so_and_is_thawed(up: Up) -> None:
    up.start()
    frozen = up.run("freeze", "--reason", "an audit")
    assert frozen.returncode == 0, frozen.stderr
    assert up.interrupt() == 0
    up.start()
    wait_until(lambda: "no payment is sent: frozen since" in up.said(), "it says that it is frozen")
    assert up.run("thaw").returncode == 0


def test_a_part_that_is_killed_is_restarted_and_said_so(up: Up) -> None:
    up.start()
    ledger, postgres = up.pid_of("ledger"), up.pid_of("postgres")
    os.kill(ledger, signal.SIGKILL)
    wait_until(
        lambda: re.search(r"ledger died \(signal 9\), restarted in \d+\.\d s", up.said()), "the ledger is back"
    )
    os.kill(postgres, signal.SIGKILL)
    wait_until(lambda: re.search(r"postgres died \(signal 9\), restarted in", up.said()), "PostgreSQL is back")
    assert up.pid_of("ledger") != ledger
    assert up.pid_of("postgres") != postgres


def test_when_the_supervisor_is_killed_every_part_dies_with_it(up: Up) -> None:
    up.start()
    family = up.family()
    os.kill(up.pid_of("supervisord"), signal.SIGKILL)
    assert up.process is not None
    assert up.process.wait(15) == 1
    assert "supervisor ended" in up.said()
    gone(family)


def test_when_up_itself_is_killed_nothing_is_left(up: Up) -> None:
    up.start()
    family = up.family()
    assert up.process is not None
    up.process.kill()
    up.process.wait()
    gone(family)


def test_a_taken_port_is_named_with_its_setting(up: Up) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", int(up.environment["INBOX_SMTP_PORT"])))
        taken.listen()
        refused = up.run("up")
    assert refused.returncode == 1
    assert f"inbox needs port {up.environment['INBOX_SMTP_PORT']}" in refused.stdout
    assert "set INBOX_SMTP_PORT to another" in refused.stdout


def test_two_settings_with_one_port_are_both_named(up: Up) -> None:
    up.environment["INBOX_PORT"] = up.environment["API_PORT"]
    refused = up.run("up")
    assert refused.returncode == 1
    assert f"INBOX_PORT and API_PORT are both {up.environment['API_PORT']}" in refused.stdout


def test_on_another_network_only_what_has_no_url_is_started(up: Up, ledger: TestLedger) -> None:
    def network(var: str) -> dict[str, str]:
        """A network that somebody else runs, with a passphrase, contracts and money of its own."""
        settings = load_settings(None, stellar_soroban_rpc_url=ledger.url, var_dir=up.directory / var)
        secrets = LocalSecrets(up.directory / var, settings)
        deployed = asyncio.run(deploy_locally(settings, secrets))
        return {
            "STELLAR_NETWORK": "testnet",
            "STELLAR_NETWORK_PASSPHRASE": settings.stellar_network_passphrase,
            "STELLAR_SOROBAN_RPC_URL": ledger.url,
            "HOLDFAST_DEPLOYMENT": "elsewhere",
            "STELLAR_POOL_SECRET_KEY_FILE": str(up.directory / var / "stellar_pool_secret_key"),
            "STELLAR_FEE_SECRET_KEY_FILE": str(up.directory / var / "stellar_fee_secret_key"),
            "USDC_TOKEN_ADDRESS": deployed.usdc,
            "NOCIQ_TOKEN_ADDRESS": deployed.nociq,
        }

    up.environment |= network("theirs")
    refused = up.run("up")
    assert refused.returncode == 2
    assert "SLA_CONTRACT_ID: missing" in refused.stderr
    assert "PAYLOAD_KEYS: missing" in refused.stderr
    printed = up.run("deploy")
    assert printed.returncode == 0, printed.stderr
    assert up.run("deploy").stdout == printed.stdout
    up.environment |= dict(line.split("=", 1) for line in printed.stdout.splitlines())
    up.environment["PAYLOAD_KEYS"] = "k1:" + base64.b64encode(bytes(32)).decode()
    up.environment["PAYOUTS_LIVE_EXECUTION"] = "true"
    up.start()
    commands = [" ".join(process.cmdline()) for process in up.family()]
    assert not [command for command in commands if "holdfast-ledger" in command or "localnet.inbox" in command]
    for part in ("postgres", "temporal", "worker", "api"):
        assert up.pid_of(part)
    assert up.facts()["rpc"] == ledger.url
