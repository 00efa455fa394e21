"""`holdfast reconcile payments`, as an operator runs it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

from domain.money import Amount
from tests.reconcile.conftest import Payouts


async def run(payouts: Payouts, database_url: str, directory: Path, *arguments: str) -> tuple[int, str]:
    """The command in a process of its own."""
    bench = payouts.bench
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "cli.main",
        *arguments,
        cwd=directory,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(directory),
            "HOLDFAST_DEPLOYMENT": bench.deployment,
            "STELLAR_NETWORK": "local",
            "STELLAR_SOROBAN_RPC_URL": bench.world.url,
            "DATABASE_URL": database_url,
            "PAYOUT_CONTRACT_ID": payouts.contract,
            "COLUMNS": "60",
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode()


async def test_it_says_the_same_with_0_and_names_what_differs_with_1(
    payouts: Payouts, database_url: str, tmp_path: Path
) -> None:
    async with payouts.bench.engine() as engine:
        await payouts.pay(engine, "same-1", Amount.of(10))
    status, said = await run(payouts, database_url, tmp_path, "reconcile", "payments")
    assert status == 0, said
    assert "1 payments on the ledger, 1 in the record" in said
    assert "Ledger and record say the same" in said
    paid = payouts.intent("unknown-1", Amount.of(25))
    landed = await payouts.pay_by_hand(paid)
    status, said = await run(payouts, database_url, tmp_path, "reconcile", "payments")
    assert status == 1, said
    whole = "".join(line.strip("│ \n").split("│")[-1].strip() for line in said.splitlines())
    assert paid.marker_id in whole
    assert landed.hash in whole
    assert "25.0000000" in said
    status, said = await run(payouts, database_url, tmp_path, "reconcile", "payments", "--all", "--json")
    found = json.loads(said)
    assert (status, found["same"], found["on_ledger"]) == (1, False, 2)
    assert found["differences"][0]["marker_id"] == paid.marker_id
