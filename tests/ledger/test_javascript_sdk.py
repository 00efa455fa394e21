"""The JavaScript SDK's own clients drive the ledger unmodified."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
FIXTURES = HERE.parent.parent / "localnet" / "ledger" / "tests" / "fixtures"


@pytest.fixture(scope="module")
def javascript() -> Path:
    """The folder of the JavaScript tests with its dependencies installed."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node and npm are not installed")
    folder = HERE / "js"
    if not (folder / "node_modules" / "@stellar" / "stellar-sdk").is_dir():
        subprocess.run(["npm", "ci"], cwd=folder, check=True, capture_output=True, timeout=170)
    return folder


def test_the_javascript_sdk_deploys_pays_and_bumps_fees(local_ledger_url: str, javascript: Path) -> None:
    """Every JavaScript case passes; the output names those that do not."""
    outcome = subprocess.run(
        ["node", "--test"],
        check=False,
        cwd=javascript,
        env={**os.environ, "LEDGER_URL": local_ledger_url, "LEDGER_FIXTURES": str(FIXTURES)},
        capture_output=True,
        text=True,
        timeout=170,
    )
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
