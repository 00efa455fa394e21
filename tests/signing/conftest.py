"""Both sides of the gap: a whole Holdfast whose payer signs outside, and `holdfast sign` with its flags only."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from stellar_sdk import Keypair

from bench.house import House
from cli.local_people import APPROVER
from domain.money import Amount
from tests.api.http import Client
from tests.settlement.world import PASSPHRASE
from tests.signers.conftest import Hsm, hsm
from tests.stack.conftest import Builder, builder
from tests.waiting import until

__all__ = ["Hsm", "builder", "hsm"]


@dataclass
class Said:
    """What a command said, and how it ended."""

    status: int
    text: str

    @property
    def whole(self) -> str:
        """Without the frames and breaks of a table: an address that was folded is one word again."""
        cells = [line.strip("│┃ ").split("│")[-1].strip() for line in self.text.splitlines()]
        return "".join(cells)


@dataclass
class Gap:
    """A house whose payouts wait for somebody outside."""

    house: House
    finance: Client
    api_key: str
    directory: Path
    numbers: Iterator[int] = field(default_factory=lambda: iter(range(1, 10_000)))

    @property
    def payer(self) -> Keypair:
        return self.house.secrets.keypair("payout_hot_signer_secret")

    @property
    def asset(self) -> str:
        return f"NOCIQ:{self.house.account('nociq_issuer')}"

    def seed_file(self) -> Path:
        path = self.directory / "seed"
        path.touch(mode=0o600)
        path.write_text(self.payer.secret + "\n")
        return path

    def flags(self) -> list[str]:
        """What the signer knows by itself."""
        return [
            "--api", self.house.url,
            "--network-passphrase", PASSPHRASE,
            "--contract", self.house.deployed.payout,
            "--payer", self.payer.public_key,
            "--asset", self.asset,
            "--deployment", self.house.settings.holdfast_deployment,
        ]  # fmt: skip

    async def start(self, *arguments: str, **environment: str) -> asyncio.subprocess.Process:
        """`holdfast sign` in a process that has no setting of the server."""
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "cli.main",
            "sign",
            *arguments,
            cwd=self.directory,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(self.directory),
                "HOLDFAST_API_KEY": self.api_key,
                "COLUMNS": "100",
                **environment,
            },
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )

    async def run(self, *arguments: str, answer: str = "", **environment: str) -> Said:
        process = await self.start(*arguments, **environment)
        said, _ = await process.communicate(answer.encode())
        assert process.returncode is not None
        return Said(process.returncode, said.decode())

    async def sign(self, *more: str, answer: str = "") -> Said:
        return await self.run(*self.flags(), "--seed-file", str(self.seed_file()), *more, answer=answer)

    async def ask(self, **more: Any) -> str:
        """Ask for a payout; gives its id once it waits for a signature."""
        number = next(self.numbers)
        body = {
            "payout_id": f"round-{id(self) % 100_000}-{number}",
            "destination_account": self.house.account("noc_team"),
            "amount": "12.5",
            "asset": self.asset,
            "idempotency_key": f"key-{id(self)}-{number}",
        } | more
        answer = await self.finance.post("/api/v1/payouts", json=body)
        assert answer.status_code in {201, 202}, answer.text
        payout_id = str(body["payout_id"])
        await self.until(payout_id, "awaiting_signature")
        return payout_id

    async def payout(self, payout_id: str) -> dict[str, Any]:
        answer = await self.finance.get(f"/api/v1/payouts/{payout_id}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()["transaction"]
        return found

    async def until(self, payout_id: str, wanted: str) -> dict[str, Any]:
        async def look() -> dict[str, Any] | None:
            found = await self.payout(payout_id)
            if found["status"] == wanted:
                return found
            assert found["status"] not in {"failed", "cancelled", "confirmed"}, found
            return None

        return await until(look, seconds_max=60)

    async def request(self, payout_id: str) -> dict[str, Any]:
        answer = await self.finance.get(f"/api/v1/payouts/{payout_id}/signing-request")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def received(self) -> Amount:
        """What the recipient of all these payouts has, by the ledger itself."""
        return (await self.house.balances())["noc_team NOCIQ"]


@pytest.fixture(scope="session")
def outside_house(builder: Builder) -> House:
    house = builder()
    house.more = {"PAYOUT_SIGNER": "external", "PAYOUT_SOURCE_ACCOUNT": house.account("payer")}
    return house.start()


@pytest.fixture
async def gap(outside_house: House, tmp_path: Path) -> AsyncIterator[Gap]:
    key = outside_house.command("keys", "create", APPROVER, "--scope", "payouts:sign").splitlines()[-1].strip()
    finance = Client(outside_house.url, outside_house.keys.approver_key)
    yield Gap(outside_house, finance, key, tmp_path)
    await finance.session.close()
