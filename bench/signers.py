"""Signatures a second of each signer, beside the SDK's own key pair in the same process and run."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from pydantic import SecretStr
from stellar_sdk import Keypair

from activities.settlement_parts import PayerSigner
from adapters.signers.hot import HotSigner
from adapters.signers.kms import KmsSigner
from adapters.signers.pkcs11 import Pkcs11Signer
from bench.figures import Figure, ScenarioResult
from localnet.key_stores import (
    KMS_CREDENTIALS,
    KMS_KEY,
    KMS_REGION,
    kms,
    make_softhsm_token,
    softhsm_environment,
    softhsm_module,
)
from localnet.parts import PartError, free_port
from localnet.process import RunningPart

_ROUNDS: Final = 5
_AT_ONCE: Final = 64
_SECONDS: Final = 1.0
_PIN: Final = "271828"


async def measure(_ceiling: ScenarioResult) -> ScenarioResult:
    """Each signer in turn, and the key pair again in every round, so that a busy machine slows all alike."""
    keypair = Keypair.random()
    plain: list[float] = []
    rates: dict[str, list[float]] = {}
    absent: list[str] = []
    with TemporaryDirectory(prefix="holdfast-signers-") as name:
        async with _signers(Path(name), absent) as signers:
            for _ in range(_ROUNDS):
                plain.append(_plain_rate(keypair.sign))
                for title, signer in signers.items():
                    rates.setdefault(title, []).append(await _rate(signer))
    ceiling = Figure.of("stellar_sdk Keypair", "signatures/s", plain, note="one thread, nothing checked")
    figures = [ceiling] + [
        Figure.of(title, "signatures/s", samples, note=f"{_AT_ONCE} at once").against(ceiling)
        for title, samples in rates.items()
    ]
    what = (
        f"{_ROUNDS} rounds of {_SECONDS:.0f} s each, 32-byte hashes; KMS and PKCS#11 check each signature. KMS "
        "is MiniStack on this machine (AWS allows about 1,000 a second), the HSM is SoftHSM."
    )
    return ScenarioResult("Signers", " ".join([what, *absent]), tuple(figures))


@asynccontextmanager
async def _signers(directory: Path, absent: list[str]) -> AsyncIterator[dict[str, PayerSigner]]:
    signers: dict[str, PayerSigner] = {"hot": HotSigner(Keypair.random().secret)}
    running: RunningPart | None = None
    try:
        try:
            running = RunningPart(kms(free_port(), state=directory / "kms"), directory / "kms.log").start()
            signers["kms"] = KmsSigner(
                KMS_KEY, region=KMS_REGION, endpoint_url=running.url, credentials=KMS_CREDENTIALS
            )
        except PartError as error:
            absent.append(f"Not measured: kms ({error}).")
        try:
            module = softhsm_module()
            make_softhsm_token(directory / "softhsm", label="bench", pin=_PIN, key_label="payer")
            os.environ.update(softhsm_environment(directory / "softhsm"))
            signers["pkcs11"] = Pkcs11Signer(
                module=module, token_label="bench", key_label="payer", pin=SecretStr(_PIN)
            )
        except PartError as error:
            absent.append(f"Not measured: pkcs11 ({error}).")
        for signer in signers.values():
            await signer.sign(bytes(32))  # opened, and connected
        yield signers
    finally:
        if running is not None:
            running.stop()


def _plain_rate(sign: Callable[[bytes], bytes]) -> float:
    count, began = 0, time.perf_counter()
    while time.perf_counter() - began < _SECONDS:
        sign(count.to_bytes(32, "big"))
        count += 1
    return count / (time.perf_counter() - began)


async def _rate(signer: PayerSigner) -> float:
    count, began = 0, time.perf_counter()

    async def sign() -> None:
        nonlocal count
        while time.perf_counter() - began < _SECONDS:
            await signer.sign(count.to_bytes(32, "big"))
            count += 1

    await asyncio.gather(*(sign() for _ in range(_AT_ONCE)))
    return count / (time.perf_counter() - began)
