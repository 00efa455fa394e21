"""Real keepers of keys: a running KMS, and tokens of SoftHSM."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from localnet.key_stores import (
    kms,
    kms_binary,
    make_pkcs11_key,
    make_softhsm_token,
    softhsm_environment,
    softhsm_module,
)
from localnet.parts import PartError, free_port
from localnet.process import RunningPart


def missing(how: str) -> None:
    """A part is not here: skip and say how to get it; in CI it has to be here."""
    if os.environ.get("CI") == "true":
        pytest.fail(how)
    pytest.skip(how)


@pytest.fixture(scope="session")
def kms_process(parts_directory: Path) -> Iterator[RunningPart]:
    try:
        kms_binary()
    except PartError as error:
        missing(str(error))
    with RunningPart(kms(free_port(), state=parts_directory / "kms"), parts_directory / "kms.log") as running:
        yield running


P256 = bytes.fromhex("06082a8648ce3d030107")


@dataclass(frozen=True)
class Hsm:
    """Two tokens of one SoftHSM: one with keys, and one to be taken away or locked."""

    module: Path
    state: Path
    pin: str = "271828"
    token: str = "tests"
    other: str = "tests-other"


@pytest.fixture(scope="session")
def hsm(parts_directory: Path) -> Hsm:
    try:
        module = softhsm_module()
    except PartError as error:
        missing(str(error))
    found = Hsm(module, parts_directory / "softhsm")
    for label in (found.token, found.other):
        make_softhsm_token(found.state, label=label, pin=found.pin, key_label="payer")
    # For this process: read once, when the library is loaded.
    os.environ.update(softhsm_environment(found.state))
    make_pkcs11_key(module, label=found.token, pin=found.pin, key_label="next-payer")
    make_pkcs11_key(module, label=found.token, pin=found.pin, key_label="p256", curve=P256)
    return found
