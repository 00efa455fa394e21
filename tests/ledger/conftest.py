"""A ledger of its own for the tests of SDKs: started from the built binary, gone with the module."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

LEDGER = Path(__file__).resolve().parents[2] / "localnet" / "ledger"
BINARY = LEDGER / "target" / "release" / "holdfast-ledger"


@pytest.fixture(scope="module")
def local_ledger_url() -> Iterator[str]:
    """Where a fresh ledger in memory is reached; it closes every 100 ms."""
    if not BINARY.exists():
        pytest.skip(f"{BINARY} is not built: cargo build --release --manifest-path {LEDGER}/Cargo.toml")
    process = subprocess.Popen(
        [str(BINARY), "--port", "0", "--close-ms", "100"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        ready = process.stdout.readline().split()
        assert ready[:1] == ["ready"], ready
        yield ready[1]
    finally:
        process.terminate()
        process.wait(timeout=10)
        process.stdout.close()
