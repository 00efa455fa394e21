"""`holdfast sign` across the gap: a real API and worker on one side, a process with flags only on the other."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal

import pytest
from stellar_sdk import Keypair

from domain.money import Amount
from tests.settlement.world import PASSPHRASE
from tests.signing.conftest import Gap, Hsm


def digest_in(text: str) -> str:
    found = re.search(r"Digest of all of them: ([0-9a-f ]{71})", text)
    assert found is not None, text
    return found[1]


@pytest.mark.parametrize("signing", ["envelope", "auth_entry"])
async def test_what_waits_is_shown_whole_signed_and_paid_once(gap: Gap, signing: str) -> None:
    before = await gap.received()
    payout_id = await gap.ask(signing=signing)
    said = await gap.sign(answer="y\n")
    assert said.status == 0, said.text
    for shown in (
        payout_id,
        "checked against its id",
        f"12.5 {gap.asset}",
        gap.house.account("noc_team"),
        gap.house.deployed.payout,
        gap.payer.public_key,
        "Standalone Network",
    ):
        assert shown in said.whole, said.text
    found = await gap.until(payout_id, "confirmed")
    assert found["tx_hash"]
    assert await gap.received() - before == Amount.parse("12.5")
    again = await gap.sign("--only", payout_id, answer="y\n")
    assert (again.status, "Nothing waits" in again.text) == (0, True)
    assert await gap.received() - before == Amount.parse("12.5")


async def test_no_signs_nothing_and_each_signs_what_was_agreed_to(gap: Gap) -> None:
    first, second = await gap.ask(), await gap.ask()
    only = ["--only", first, "--only", second]
    said = await gap.sign(*only, answer="n\n")
    assert (said.status, "Nothing was signed" in said.text) == (1, True)
    assert f"More than once in this list: {gap.house.account('noc_team')}" in said.text
    assert "Together: 25 NOCIQ" in said.text
    said = await gap.sign(*only, answer="e\nn\ny\n")
    assert said.status == 0, said.text
    await gap.until(second, "confirmed")
    assert (await gap.payout(first))["status"] == "awaiting_signature"
    await gap.finance.post(f"/api/v1/payouts/{first}/cancel")


async def test_unseen_only_within_limits(gap: Gap) -> None:
    payout_id = await gap.ask()
    only = ["--only", payout_id, "--yes"]
    said = await gap.sign(*only)
    assert (said.status, "--limit" in said.text) == (1, True)
    said = await gap.sign(*only, "--limit", "NOCIQ=12.4999999")
    assert said.status == 1
    assert "12.5 NOCIQ" in said.text
    assert "above the limit of 12.4999999" in said.text
    said = await gap.sign(*only, "--limit", "XLM=1000")
    assert (said.status, "there is no --limit for NOCIQ" in said.text) == (1, True)
    assert (await gap.payout(payout_id))["status"] == "awaiting_signature"
    said = await gap.sign(*only, "--limit", "NOCIQ=12.5")
    assert said.status == 0, said.text
    await gap.until(payout_id, "confirmed")


async def test_another_contract_payer_or_network_than_the_signers_own_is_refused(gap: Gap) -> None:
    payout_id = await gap.ask()
    for flag, other, words in (
        ("--contract", gap.house.deployed.sla, "none that is signed for"),
        ("--payer", Keypair.random().public_key, "none that is signed for"),
        ("--network-passphrase", "Test SDF Network ; September 2015", "another network"),
        ("--deployment", "another", "its id is another"),
    ):
        flags = gap.flags()
        flags[flags.index(flag) + 1] = other
        said = await gap.run(*flags, "--seed-file", str(gap.seed_file()), "--only", payout_id, answer="y\n")
        assert said.status == 1, said.text
        assert words in said.text
        assert "Nothing waits for this signature" in said.text
    assert (await gap.payout(payout_id))["status"] == "awaiting_signature"
    await gap.finance.post(f"/api/v1/payouts/{payout_id}/cancel")


async def test_offline_the_key_never_meets_the_network(gap: Gap) -> None:
    payout_id = await gap.ask(signing="auth_entry")
    said = await gap.run(*gap.flags(), "--only", payout_id, "--offline", "export", "requests.json")
    assert said.status == 0, said.text
    exported = digest_in(said.text)
    # No API there, and no API key.
    nowhere = ["http://127.0.0.1:9" if flag == gap.house.url else flag for flag in gap.flags()]
    given = ["--seed-file", str(gap.seed_file()), "--offline", "sign", "requests.json", "--out", "signed.json"]
    said = await gap.run(*nowhere, *given, answer="y\n", HOLDFAST_API_KEY="")
    assert said.status == 0, said.text
    assert digest_in(said.text) == exported
    assert gap.house.account("noc_team") in said.whole
    file = json.loads((gap.directory / "signed.json").read_text())
    assert (file["format"], file["version"], file["digest"]) == (
        "holdfast-signatures",
        1,
        exported.replace(" ", ""),
    )
    assert gap.payer.secret not in (gap.directory / "signed.json").read_text()
    assert (await gap.payout(payout_id))["status"] == "awaiting_signature"
    said = await gap.run("--api", gap.house.url, "--offline", "import", "signed.json")
    assert said.status == 0, said.text
    await gap.until(payout_id, "confirmed")
    # The files are not written over, and the same signatures again change nothing.
    said = await gap.run(*nowhere, *given, answer="y\n")
    assert (said.status, "nothing is overwritten" in said.text) == (1, True)
    said = await gap.run("--api", gap.house.url, "--offline", "import", "signed.json")
    assert "weight" in said.text or "waits for no signature" in said.text, said.text


async def test_a_requests_file_that_was_changed_on_its_way_shows_what_it_became(gap: Gap) -> None:
    payout_id = await gap.ask()
    await gap.run(*gap.flags(), "--only", payout_id, "--offline", "export", "requests.json")
    path = gap.directory / "requests.json"
    file = json.loads(path.read_text())
    file["requests"][0]["hash"] = "ab" * 32
    path.write_text(json.dumps(file))
    given = ["--seed-file", str(gap.seed_file()), "--offline", "sign", "requests.json", "--out", "signed.json"]
    said = await gap.run(*gap.flags(), *given, answer="y\n")
    assert (said.status, "REFUSED" in said.text) == (1, True)
    assert not (gap.directory / "signed.json").exists()
    file["version"] = 2
    path.write_text(json.dumps(file))
    said = await gap.run(*gap.flags(), *given, answer="y\n")
    assert (said.status, "version" in said.text) == (1, True)
    await gap.finance.post(f"/api/v1/payouts/{payout_id}/cancel")


async def test_ctrl_c_leaves_without_signing(gap: Gap) -> None:
    payout_id = await gap.ask()
    process = await gap.start(*gap.flags(), "--seed-file", str(gap.seed_file()), "--only", payout_id)
    assert process.stdout is not None
    said = b""
    while b"Sign it?" not in said:
        part = await asyncio.wait_for(process.stdout.read(4096), 60)
        assert part, said.decode()
        said += part
    process.send_signal(signal.SIGINT)
    rest, _ = await asyncio.wait_for(process.communicate(), 30)
    assert (process.returncode, b"nothing more was signed or sent" in rest) == (130, True), rest.decode()
    assert b"Traceback" not in rest
    assert (await gap.payout(payout_id))["status"] == "awaiting_signature"
    assert (await gap.request(payout_id))["signed_by"] == []
    await gap.finance.post(f"/api/v1/payouts/{payout_id}/cancel")


async def test_a_seed_that_others_may_read_is_not_used_and_never_shown(gap: Gap) -> None:
    path = gap.seed_file()
    path.chmod(0o644)
    said = await gap.run(*gap.flags(), "--seed-file", str(path), answer="y\n")
    assert (said.status, "chmod 600" in said.text) == (1, True)
    path.chmod(0o600)
    path.write_text(gap.payer.secret[:-1])
    said = await gap.run(*gap.flags(), "--seed-file", str(path), answer="y\n")
    assert said.status == 1
    assert gap.payer.secret[:20] not in said.text


async def test_a_key_of_nobodys_is_told_so(gap: Gap) -> None:
    payout_id = await gap.ask()
    path = gap.seed_file()
    path.write_text(Keypair.random().secret)
    said = await gap.run(*gap.flags(), "--seed-file", str(path), "--only", payout_id, answer="y\n")
    assert (said.status, "it is not asked of this key" in said.text) == (0, True), said.text
    await gap.finance.post(f"/api/v1/payouts/{payout_id}/cancel")


async def test_an_hsm_signs_as_well_and_its_pin_is_asked_for_or_read_from_a_file(gap: Gap, hsm: Hsm) -> None:
    """The token's key signs beside the payer's own, whose account has both."""
    from stellar_sdk.operation import SetOptions
    from stellar_sdk.signer import Signer

    from adapters.stellar.own_sequence import OwnSequence
    from adapters.stellar.rpc import Rpc
    from cli.signing_keys import hsm_key

    key = await hsm_key(hsm.module, hsm.token, "payer", pin_file=None, ask_pin=lambda: hsm.pin)
    async with Rpc(gap.house.outside.rpc_url) as rpc:
        source = OwnSequence(rpc, gap.payer, PASSPHRASE, poll_seconds=0.03)
        await source.land([SetOptions(signer=Signer.ed25519_public_key(key.public_key, 1))])
    payout_id = await gap.ask()
    pin = gap.directory / "pin"
    pin.touch(mode=0o600)
    pin.write_text(hsm.pin)
    token = ["--pkcs11-module", str(hsm.module), "--token-label", hsm.token, "--key-label", "payer"]
    environment = {name: value for name, value in os.environ.items() if name == "SOFTHSM2_CONF"}
    said = await gap.run(
        *gap.flags(), *token, "--pin-file", str(pin), "--only", payout_id, answer="y\n", **environment
    )
    assert said.status == 0, said.text
    assert key.public_key in said.text
    assert hsm.pin not in said.text
    await gap.until(payout_id, "confirmed")
