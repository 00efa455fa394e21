"""The payer's key is rotated with payouts under way; and a key that is none of the payer's stops the start."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from stellar_sdk import Keypair, Signer
from stellar_sdk.operation import SetOptions

from adapters.stellar.own_sequence import OwnSequence
from adapters.stellar.rpc import Rpc
from cli.doctor_signer import SignerCheck
from cli.findings import Findings
from domain.errors import Refused
from domain.settlement import SettlementStatus, SigningMode
from localnet.key_stores import KMS_KEY, KMS_REGION, make_kms_key
from localnet.parts import free_port
from localnet.process import RunningPart
from tests.conftest import TestLedger
from tests.settlement.conftest import Bench, until_final
from tests.settlement.payouts import PRICE, Payouts
from tests.settlement.world import PASSPHRASE
from tests.signers.conftest import Hsm, hsm, kms_process
from tests.signers.test_signers import kms_signer, pkcs11_signer
from workers.engine import Engine

__all__ = ["hsm", "kms_process"]
"""Fixtures."""


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> None:
    """A KMS under an address of its own asks for credentials as AWS does."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "tests")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "tests")


@pytest.fixture
async def payouts(bench: Bench, ledger: TestLedger) -> Payouts:
    return await Payouts.make(bench, ledger)


async def set_signer(payouts: Payouts, key: str, weight: int, **thresholds: int) -> None:
    async with Rpc(payouts.bench.world.url) as rpc:
        source = OwnSequence(rpc, payouts.payer, PASSPHRASE, poll_seconds=0.03)
        await source.land([SetOptions(signer=Signer.ed25519_public_key(key, weight), **thresholds)])


def by_kms(process: RunningPart, key: str = KMS_KEY) -> dict[str, object]:
    return {
        "payout_signer": "kms",
        "payout_kms_key_id": key,
        "payout_kms_region": KMS_REGION,
        "payout_kms_endpoint_url": process.url,
    }


def by_hsm(hsm: Hsm, **changes: object) -> dict[str, object]:
    return {
        "payout_signer": "pkcs11",
        "payout_pkcs11_module": str(hsm.module),
        "payout_pkcs11_token_label": hsm.token,
        "payout_pkcs11_key_label": "payer",
        "payout_pkcs11_pin": hsm.pin,
    } | changes


@asynccontextmanager
async def engine_of(payouts: Payouts, changes: dict[str, object]) -> AsyncIterator[Engine]:
    async with payouts.engine(**changes) as engine:
        yield engine


async def under_way(payouts: Payouts, engine: Engine) -> tuple[str, str]:
    """One that is built and not signed, and one that payer and lane have signed, before its first byte is sent."""
    built = await payouts.bench.accept(engine, payouts.intent())
    await engine.activities._build(await engine.book.load(built))
    signed = await payouts.bench.accept(engine, payouts.intent())
    await engine.activities._sign_and_write(await engine.activities._build(await engine.book.load(signed)))
    return built, signed


@pytest.mark.usefixtures("aws")
async def test_the_payers_key_is_rotated_with_payouts_under_way(
    payouts: Payouts, kms_process: RunningPart, hsm: Hsm
) -> None:
    """The way that docs/how-to/rotate-keys.md describes, from a KMS to an HSM."""
    world = payouts.bench.world
    before = await world.balance(world.usdc, world.noc_team)
    old, new = kms_signer(kms_process), pkcs11_signer(hsm)
    await set_signer(payouts, await old.open(), 1)
    async with engine_of(payouts, by_kms(kms_process)) as engine:
        ids = list(await under_way(payouts, engine))

    await set_signer(payouts, await new.open(), 1)
    async with engine_of(payouts, by_hsm(hsm)) as engine:
        for settlement_id in ids:
            assert (await until_final(engine, settlement_id)).status is SettlementStatus.CONFIRMED
        await set_signer(payouts, old.public_key, 0)
        ids.append(await payouts.bench.accept(engine, payouts.intent()))
        assert (await until_final(engine, ids[-1])).status is SettlementStatus.CONFIRMED

    # Whoever goes back to the old key is told, and not by a payment that fails.
    with pytest.raises(Refused, match="PAYOUT_KMS_KEY_ID") as caught:
        async with engine_of(payouts, by_kms(kms_process)):
            pass
    assert payouts.payer.public_key in caught.value.message
    assert old.public_key in caught.value.message
    paid = await world.balance(world.usdc, world.noc_team) - before
    assert paid.units == len(ids) * PRICE.units
    old.close()
    new.close()


@pytest.mark.usefixtures("aws")
@pytest.mark.parametrize("signing", [SigningMode.ENVELOPE, SigningMode.AUTH_ENTRY])
@pytest.mark.parametrize("kept", ["kms", "pkcs11", "hot"])
async def test_each_signer_pays_by_envelope_and_by_entry(
    payouts: Payouts, kms_process: RunningPart, hsm: Hsm, kept: str, signing: SigningMode
) -> None:
    key = Keypair.random()
    given = {
        "kms": lambda: by_kms(kms_process),
        "pkcs11": lambda: by_hsm(hsm),
        "hot": lambda: {"payout_signer": "hot", "payout_hot_signer_secret": key.secret},
    }[kept]()
    opened = {"kms": lambda: kms_signer(kms_process), "pkcs11": lambda: pkcs11_signer(hsm)}
    await set_signer(payouts, await opened[kept]().open() if kept in opened else key.public_key, 1)
    async with engine_of(payouts, given) as engine:
        settlement_id = await payouts.bench.accept(engine, payouts.intent(signing=signing))
        assert (await until_final(engine, settlement_id)).status is SettlementStatus.CONFIRMED


@pytest.mark.usefixtures("aws")
@pytest.mark.parametrize("kept", ["kms", "pkcs11", "hot"])
async def test_a_key_that_is_none_of_the_payers_stops_the_start(
    payouts: Payouts, kms_process: RunningPart, hsm: Hsm, kept: str
) -> None:
    given, setting = {
        "kms": (by_kms(kms_process), "PAYOUT_KMS_KEY_ID"),
        "pkcs11": (by_hsm(hsm), "PAYOUT_PKCS11_KEY_LABEL"),
        "hot": (
            {"payout_signer": "hot", "payout_hot_signer_secret": Keypair.random().secret},
            "PAYOUT_HOT_SIGNER_SECRET",
        ),
    }[kept]
    with pytest.raises(Refused, match=setting) as caught:
        async with engine_of(payouts, given):
            pass
    assert f"PAYOUT_SOURCE_ACCOUNT {payouts.payer.public_key}" in caught.value.message
    assert await doctor(payouts, given) == [f"fail payout signer {kept}"]


async def test_a_key_that_weighs_too_little_stops_the_start(payouts: Payouts, hsm: Hsm) -> None:
    signer = pkcs11_signer(hsm)
    await set_signer(payouts, await signer.open(), 1, low_threshold=1, med_threshold=2, master_weight=2)
    with pytest.raises(Refused, match="weighs 1") as caught:
        async with engine_of(payouts, by_hsm(hsm)):
            pass
    assert "PAYOUT_SIGNER=external" in caught.value.message
    signer.close()


@pytest.mark.usefixtures("aws")
async def test_a_keeper_that_is_away_keeps_no_worker_down(payouts: Payouts, hsm: Hsm) -> None:
    """The pool's payments go on, and payouts as soon as it is back."""
    signer = pkcs11_signer(hsm)
    await set_signer(payouts, await signer.open(), 1)
    away = by_hsm(hsm) | {
        "payout_signers_offered": ("kms",),
        "payout_kms_region": KMS_REGION,
        "payout_kms_endpoint_url": f"http://127.0.0.1:{free_port()}",
    }
    async with engine_of(payouts, away) as engine:
        settlement_id = await payouts.bench.accept(engine, payouts.intent())
        assert (await until_final(engine, settlement_id)).status is SettlementStatus.CONFIRMED
    signer.close()


@pytest.mark.usefixtures("aws")
async def test_the_doctor_names_what_to_mend(payouts: Payouts, kms_process: RunningPart, hsm: Hsm) -> None:
    signer = kms_signer(kms_process)
    await set_signer(payouts, await signer.open(), 1)
    assert await doctor(payouts, by_kms(kms_process)) == ["ok payout signer kms"]
    assert await doctor(payouts, by_kms(kms_process, "alias/nobody")) == ["fail payout signer kms"]
    p256 = make_kms_key(kms_process.url, spec="ECC_NIST_P256")
    assert await doctor(payouts, by_kms(kms_process, p256)) == ["fail payout signer kms"]
    assert await doctor(payouts, by_hsm(hsm, payout_pkcs11_key_label="nobody")) == ["fail payout signer pkcs11"]
    assert await doctor(payouts, by_hsm(hsm, payout_pkcs11_pin=None)) == ["fail payout signer pkcs11"]
    assert await doctor(payouts, {"payout_signer": "external"}) == ["ok payout signer external"]
    signer.close()


async def doctor(payouts: Payouts, given: dict[str, object]) -> list[str]:
    common: dict[str, object] = {
        "payout_source_account": payouts.payer.public_key,
        "payout_contract_id": payouts.contract,
    }
    findings = Findings()
    async with Rpc(payouts.bench.world.url) as rpc:
        await SignerCheck(payouts.bench.settings(**(common | given)), rpc, findings).run()
    for line in findings.lines:
        assert line.mend or line.level == "ok"
    return [f"{line.level} {line.check}" for line in findings.lines]
