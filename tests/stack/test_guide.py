"""The guide's own examples, played from outside against real processes and read back from the ledger."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator

import pytest

from adapters.stellar.rpc import Rpc
from bench.house import House, moved
from tests.stack.conftest import Builder, Doors, Front

CRITICAL = """
curl -X POST http://localhost:8000/api/v1/outages \\
  -H "Content-Type: application/json" \\
  -d '{
    "site_name": "Test Site",
    "severity": "critical",
    "detected_at": "2026-01-16T10:00:00Z"
  }'
"""
RESOLVED = """
curl -X PUT http://localhost:8000/api/v1/outages/OUT001 \\
  -H "Content-Type: application/json" \\
  -d '{
    "status": "resolved",
    "resolved_at": "2026-01-16T10:25:00Z"
  }'
"""
STATUS = "curl http://localhost:8000/api/v1/sla/status/OUT001"

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="the guide's examples are curl's")


@pytest.fixture(scope="module")
def guide_house(builder: Builder) -> Iterator[House]:
    """A house that has seen no outage: the first is OUT001."""
    house = builder().start()
    yield house
    house.stop()


@pytest.fixture
async def guide(guide_house: House, doors: Doors) -> Front:
    return doors(guide_house)


def shell(house: House, command: str) -> str:
    """Run it as a person would who reads the guide, against this house's port."""
    command = command.strip().replace("localhost:8000", f"localhost:{house.api_port}")
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True, timeout=30)
    return done.stdout


@pytest.fixture
async def paid(guide: Front) -> Front:
    """The guide's outage, reported and resolved by its commands as they are written, once for all tests here."""
    if (await guide.guest.get("/api/v1/outages/OUT001")).status_code == 404:
        before = await guide.balances()
        assert json.loads(shell(guide.house, CRITICAL))["id"] == "OUT001"
        assert json.loads(shell(guide.house, RESOLVED))["status"] == "resolved"
        await guide.until_payment("OUT001", "confirmed")
        assert moved(before, await guide.balances()) == {"operator USDC": -1000, "pool USDC": 1000}
    return guide


async def test_the_guides_commands_as_written_end_in_a_penalty_of_1000_usdc_on_the_ledger(paid: Front) -> None:
    status = json.loads(shell(paid.house, STATUS))
    async with Rpc(paid.house.outside.rpc_url) as rpc:
        landed = await rpc.transaction(status["contract_tx_hash"])
    assert landed is not None
    assert landed.successful
    assert landed.ledger == status["ledger"]


async def test_the_sla_status_has_the_guides_fields_and_values(paid: Front) -> None:
    text = shell(paid.house, STATUS)
    status = json.loads(text)
    assert list(status)[:5] == [
        "status",
        "mttr_minutes",
        "threshold_minutes",
        "penalty_amount",
        "contract_tx_hash",
    ]
    expected = {"status": "violated", "mttr_minutes": 25, "threshold_minutes": 15, "penalty_amount": 1000.00}
    assert expected.items() <= status.items()
    assert '"penalty_amount":1000.00,' in text, "an amount is exact, with the guide's two decimals"
    assert len(status["contract_tx_hash"]) == 64


async def test_the_history_shows_the_payment_as_the_guide_does(paid: Front) -> None:
    status = await paid.sla("OUT001")
    answer = await paid.guest.get("/api/v1/payments/history", params={"type": "penalty"})
    (payment,) = answer.json()["transactions"]
    assert list(payment)[:6] == ["tx_hash", "type", "amount", "asset", "status", "timestamp"]
    expected = {
        "tx_hash": status["contract_tx_hash"],
        "type": "penalty",
        "amount": 1000.00,
        "asset": "USDC",
        "status": "confirmed",
        "timestamp": status["confirmed_at"],
    }
    assert expected.items() <= payment.items()
    assert payment["timestamp"].endswith("Z")


async def test_the_guides_reward_example_pays_1500_nociq_to_the_noc_team(guide: Front) -> None:
    before = await guide.balances()
    outage = await guide.resolved("high", 10)
    status = await guide.until_payment(outage, "confirmed")
    assert (status["status"], status["type"], status["rating"]) == ("met", "reward", "exceptional")
    assert (status["reward_amount"], status["penalty_amount"]) == (1500.0, 0.0)
    assert moved(before, await guide.balances()) == {"pool NOCIQ": -1500, "noc_team NOCIQ": 1500}


async def test_the_guides_process_sla_call_on_a_paid_outage_says_that_it_is_paid_and_pays_nothing(
    paid: Front,
) -> None:
    before = await paid.balances()
    answer = await paid.approver.post("/api/v1/payments/process-sla", json={"outage_id": "OUT001"})
    assert (answer.status_code, answer.json()["payment_status"]) == (200, "confirmed")
    assert moved(before, await paid.balances()) == {}


async def test_a_balance_is_the_guides_flat_object_of_what_the_ledger_holds(paid: Front) -> None:
    operator = paid.house.account("operator")
    answer = await paid.guest.get(f"/api/v1/wallets/{operator}/balance")
    found = answer.json()
    assert list(found) == ["XLM", "USDC", "NOCIQ"]
    held = (await paid.balances())["operator USDC"]
    assert f'"USDC":{held.decimal:.2f},' in answer.text
    assert found["NOCIQ"] == 0.0
    assert found["XLM"] > 0
