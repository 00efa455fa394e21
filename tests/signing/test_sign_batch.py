"""A batch across the gap: `holdfast batch pay` on one side, `holdfast sign` on the other, also offline."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

from stellar_sdk import MuxedAccount

from domain.money import Amount
from tests.signing.conftest import Gap, Said
from tests.signing.test_sign_command import digest_in
from tests.waiting import until

_PEOPLE = 100


def people(gap: Gap, count: int = _PEOPLE) -> list[str]:
    """Muxed addresses of the one account that the test can look at."""
    return [MuxedAccount(gap.house.account("noc_team"), number).account_muxed or "" for number in range(count)]


def wages(gap: Gap, addresses: list[str], *, name: str = "wages") -> Path:
    path = gap.directory / f"{name}.csv"
    path.write_text("destination,amount\n" + "".join(f"{one},2.5\n" for one in addresses))
    return path


async def batch(gap: Gap, *arguments: str) -> Said:
    """`holdfast batch`, as finance."""
    environment = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME"}}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "cli.main",
        "batch",
        *arguments,
        env=environment
        | {"HOLDFAST_API_URL": gap.house.url, "HOLDFAST_API_KEY": gap.house.keys.approver_key, "COLUMNS": "200"},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode is not None
    return Said(process.returncode, said.decode())


async def sent(gap: Gap, file: Path, calls: int) -> str:
    """Send a batch; gives its id once all of its calls wait for a signature."""
    said = await batch(gap, "pay", str(file), "--asset", gap.asset, "--yes", "--no-follow")
    assert said.status == 0, said.text
    (batch_id,) = (word.strip(":") for word in said.text.split() if word.startswith("bat") and word.endswith(":"))

    async def asked() -> bool | None:
        answer = await gap.finance.get("/api/v1/signing-requests", params={"batch": batch_id})
        found = answer.json()["signing_requests"]
        assert {one["batch_id"] for one in found} <= {batch_id}
        return True if len(found) == calls else None

    await until(asked, seconds_max=60)
    return batch_id


async def status(gap: Gap, batch_id: str) -> dict[str, Any]:
    found: dict[str, Any] = (await gap.finance.get(f"/api/v1/batches/{batch_id}")).json()
    return found


async def completed(gap: Gap, batch_id: str) -> dict[str, Any]:
    async def look() -> dict[str, Any] | None:
        found = await status(gap, batch_id)
        return found if found["status"] == "completed" else None

    return await until(look, seconds_max=60)


async def test_a_batch_is_shown_whole_and_signed_in_one_go(gap: Gap) -> None:
    before, everybody = await gap.received(), people(gap)
    other = await gap.ask(signing="auth_entry")
    batch_id = await sent(gap, wages(gap, everybody), 3)
    found = await status(gap, batch_id)
    assert (found["awaiting_signature"], found["signing"], found["signer"]) == (3, "auth_entry", None)
    assert "3 calls wait for a signature" in found["sentence"]
    said = await gap.sign("--only", batch_id, answer="y\n")
    assert said.status == 0, said.text
    missing = [address for address in everybody if address not in said.whole]
    assert not missing, said.text
    for shown in (
        f"chunk:{batch_id}.1 (checked against its id)",
        f"Together: 250 {gap.asset}, in {_PEOPLE} payments by 3 calls.",
        gap.house.deployed.payout,
        gap.payer.public_key,
    ):
        assert shown in said.whole, said.text
    batch_view = await completed(gap, batch_id)
    assert (batch_view["counts"]["paid"], batch_view["awaiting_signature"]) == (_PEOPLE, 0)
    assert await gap.received() - before == Amount.of(250)
    assert (await gap.payout(other))["status"] == "awaiting_signature"
    await gap.finance.post(f"/api/v1/payouts/{other}/cancel")
    again = await gap.sign("--only", batch_id, answer="y\n")
    assert (again.status, "Nothing waits" in again.text) == (0, True)


async def test_a_batch_is_signed_offline(gap: Gap) -> None:
    before = await gap.received()
    batch_id = await sent(gap, wages(gap, people(gap, 60), name="offline"), 2)
    said = await gap.run(*gap.flags(), "--only", batch_id, "--offline", "export", "requests.json")
    assert said.status == 0, said.text
    given = ["--seed-file", str(gap.seed_file()), "--offline", "sign", "requests.json", "--out", "signed.json"]
    # Unseen, within a limit on all of them together.
    beyond = await gap.run(*gap.flags(), *given, "--yes", "--limit", "NOCIQ=149.9999999", HOLDFAST_API_KEY="")
    assert (beyond.status, "above the limit" in beyond.text) == (1, True)
    signed = await gap.run(*gap.flags(), *given, "--yes", "--limit", "NOCIQ=150", HOLDFAST_API_KEY="")
    assert signed.status == 0, signed.text
    assert digest_in(signed.text) == digest_in(said.text)
    assert (await status(gap, batch_id))["counts"]["paid"] == 0
    said = await gap.run("--api", gap.house.url, "--offline", "import", "signed.json")
    assert said.status == 0, said.text
    await completed(gap, batch_id)
    assert await gap.received() - before == Amount.of(150)


async def test_a_signer_that_is_not_on_offer_is_refused_before_anything_is_recorded(gap: Gap) -> None:
    file = str(wages(gap, people(gap, 1), name="hot"))
    for action in (["check"], ["pay", "--yes"]):
        said = await batch(gap, *action, file, "--asset", gap.asset, "--signer", "hot", "--signing", "envelope")
        assert said.status == 1
        assert "signer: one of PAYOUT_SIGNERS_OFFERED" in said.text
