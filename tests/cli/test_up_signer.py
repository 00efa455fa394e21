"""`holdfast up --signer`: keys in a KMS and in an HSM of this machine, which are kept, lost, and not to be had."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from stellar_sdk import Keypair

from localnet.key_stores import kms_binary, softhsm_module
from localnet.parts import PartError
from tests.cli.up_process import Up, wait_until
from tests.signers.conftest import missing

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.fixture
def up(parts_directory: Path, request: pytest.FixtureRequest) -> Iterator[Up]:
    running = Up.beneath(parts_directory, request.node.name)
    yield running
    running.end()


@pytest.fixture
def keepers() -> None:
    """Both keepers of keys are on this machine."""
    for look in (kms_binary, softhsm_module):
        try:
            look()
        except PartError as error:
            missing(str(error))


def call(up: Up, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    facts = up.facts()
    request = urllib.request.Request(
        facts["api"] + path,
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {facts['api_key']}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=20) as response:
        answer: dict[str, Any] = json.load(response)
        return answer


def pay(up: Up, signer: str | None) -> str:
    """Pay somebody new, and give the hash."""
    recipient, payout_id = Keypair.random().public_key, f"p-{secrets.token_hex(5)}"
    with urllib.request.urlopen(f"{up.facts()['friendbot']}?addr={recipient}", timeout=20):
        pass
    body = {"payout_id": payout_id, "destination_account": recipient, "amount": "1.5", "asset": "XLM"}
    call(up, "POST", "/api/v1/payouts", body | {"idempotency_key": payout_id, "signer": signer})

    def ended() -> dict[str, Any] | None:
        why = call(up, "GET", f"/api/v1/payouts/{payout_id}/why")
        return why if why["status"] in {"confirmed", "failed"} else None

    why: dict[str, Any] = wait_until(ended, f"{payout_id} has ended")
    assert why["status"] == "confirmed", why
    return str(why["tx_hash"])


def signed_by(up: Up, tx_hash: str) -> set[str]:
    """The keys whose hints are on the inner transaction, of those that the payer has."""
    from stellar_sdk import FeeBumpTransactionEnvelope

    facts = up.facts()
    body = {"jsonrpc": "2.0", "id": 1, "method": "getTransaction", "params": {"hash": tx_hash}}
    request = urllib.request.Request(
        facts["rpc"], data=json.dumps(body).encode(), headers={"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=20) as response:
        envelope = json.load(response)["result"]["envelopeXdr"]
    bump = FeeBumpTransactionEnvelope.from_xdr(envelope, facts["network_passphrase"])
    hints = {each.signature_hint for each in bump.transaction.inner_transaction_envelope.signatures}
    keys: dict[str, str] = facts["signing_keys"]
    return {name for name, key in keys.items() if Keypair.from_public_key(key).signature_hint() in hints}


@pytest.mark.usefixtures("keepers")
def test_keys_in_a_kms_and_an_hsm_pay_are_kept_and_replaced_when_lost(up: Up) -> None:
    up.environment["PAYOUT_SIGNERS_OFFERED"] = "pkcs11,external"
    up.start("--signer", "kms")
    first = up.facts()
    assert signed_by(up, pay(up, None)) == {"kms"}
    assert signed_by(up, pay(up, "pkcs11")) == {"pkcs11"}
    doctor = up.run("doctor", "--json")
    assert doctor.returncode == 0, doctor.stdout
    checks = {line["check"]: line["level"] for line in json.loads(doctor.stdout)["checks"]}
    assert {checks[f"payout signer {name}"] for name in ("kms", "pkcs11", "external")} == {"ok"}

    worker = psutil.Process(up.pid_of("worker")).environ()
    assert "PAYOUT_PKCS11_PIN_FILE" in worker
    assert "PAYOUT_HOT_SIGNER_SECRET_FILE" not in worker, "the payer's own key is for hot signing only"

    kms = up.pid_of("kms")
    listens = [each.laddr for each in psutil.Process(kms).net_connections() if each.status == psutil.CONN_LISTEN]
    assert {(address.ip, address.port) for address in listens} == {("127.0.0.1", int(up.environment["KMS_PORT"]))}
    os.kill(kms, signal.SIGKILL)
    wait_until(lambda: "kms died (signal 9), restarted in" in up.said(), "the KMS is back")
    assert signed_by(up, pay(up, None)) == {"kms"}

    assert up.interrupt() == 0
    shutil.rmtree(up.directory / "var" / "kms")
    up.start("--signer", "kms")
    again = up.facts()
    assert again["payer"] == first["payer"]
    assert again["signing_keys"]["kms"] != first["signing_keys"]["kms"]
    assert again["signing_keys"]["pkcs11"] == first["signing_keys"]["pkcs11"]
    assert signed_by(up, pay(up, None)) == {"kms"}
    up.interrupt()
    assert up.run("reset", "--yes").returncode == 0
    assert {path.name for path in (up.directory / "var").iterdir()} <= {"up.lock"}


@pytest.mark.parametrize(
    ("signer", "hidden", "how"),
    [
        ("kms", {"HOLDFAST_KMS_BINARY": "/nonexistent"}, "make kms"),
        ("pkcs11", {"PATH": "/bin-of-nothing"}, "softhsm2"),
    ],
)
def test_what_is_not_installed_is_said_with_how_to_get_it(
    up: Up, signer: str, hidden: dict[str, str], how: str
) -> None:
    up.environment |= hidden
    done = up.run("up", "--signer", signer)
    assert done.returncode == 1
    assert how in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
