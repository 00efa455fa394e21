"""The person of the demo who signs on the other side of the gap: `holdfast sign` as a process of its own."""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import Mapping
from typing import Any

from cli.demo_client import DemoError
from cli.local_signer import PAYER
from domain.money import Amount
from settings import PayoutSigner, Settings


class DemoSigner:
    """Signs with the HSM's key where there is one, else with the payer's seed file."""

    def __init__(self, settings: Settings, facts: Mapping[str, Any]) -> None:
        self._settings = settings
        self._facts = facts
        self._hsm = PayoutSigner.PKCS11 in facts.get("signing_keys", {})

    @property
    def kind(self) -> str:
        """What the person holds."""
        return "an HSM" if self._hsm else "a seed file"

    async def sign(self, payout_id: str, amount: Amount) -> str:
        """Have one payout signed, up to its amount; gives a sentence.

        Raises:
            DemoError: the signer says no; with what it said.
        """
        secrets = self._settings.var_dir.resolve() / "secrets"
        options = {
            "--api": self._facts["api"],
            "--network-passphrase": self._facts["network_passphrase"],
            "--contract": self._facts["contracts"]["payout"],
            "--payer": self._facts["payer"],
            "--deployment": self._facts["deployment"],
            "--only": payout_id,
            "--limit": f"XLM={amount}",
        }
        environment = {**os.environ, "HOLDFAST_API_KEY": self._facts["api_key"]}
        if self._hsm:
            from localnet.key_stores import softhsm_environment, softhsm_module  # noqa: PLC0415 - loads boto3

            environment |= softhsm_environment(self._settings.var_dir / "softhsm")
            options |= {
                "--pkcs11-module": str(softhsm_module()),
                "--token-label": self._settings.payout_pkcs11_token_label,
                "--key-label": self._settings.payout_pkcs11_key_label,
                "--pin-file": str(secrets / "payout_pkcs11_pin"),
            }
        else:
            options["--seed-file"] = str(secrets / PAYER)
        command = [sys.executable, "-m", "cli.main", "sign", "--yes"]
        command += [word for option in options.items() for word in option]
        process = await asyncio.create_subprocess_exec(*command, env=environment, stdout=PIPE, stderr=STDOUT)
        said, _ = await process.communicate()
        if process.returncode != 0:
            raise DemoError(f"`holdfast sign` ended with {process.returncode}:\n{said.decode().strip()[-800:]}")
        return f"signed with {self.kind} by `holdfast sign`, after a wait"
