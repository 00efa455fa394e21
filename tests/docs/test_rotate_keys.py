"""The command that the page on keys gives prints the lanes' phrase that is in use, also on the local network."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from cli.local_secrets import LocalSecrets, with_local
from settings import load_settings

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "rotate-keys.md"


def test_the_phrase_in_use_is_printed(tmp_path: Path) -> None:
    settings = load_settings(var_dir=tmp_path)
    LocalSecrets(tmp_path / "secrets", settings)
    (program,) = re.findall(r"^python -c '(.*)'$", PAGE.read_text(), re.MULTILINE)
    environment = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME"}}
    printed = subprocess.run(
        [sys.executable, "-c", program],
        env=environment | {"VAR_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
        cwd=PAGE.parents[2],
    ).stdout.strip()
    assert printed == with_local(settings).lanes_mnemonic.get_secret_value()
    assert printed != settings.lanes_mnemonic.get_secret_value()
