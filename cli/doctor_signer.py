"""The doctor's look at who signs payouts: each signer's key, and that it is one of the payer's."""

from __future__ import annotations

from functools import partial

from adapters.stellar.rpc import Rpc
from adapters.stellar.signatures import OutsideSignatures
from cli.findings import Findings
from domain.signing import Authority
from settings import PayoutSigner, Settings, SettingsError
from settings.signers import payout_signer


class SignerCheck:
    """Asks keepers for public keys, and the ledger for the payer's signers; nothing is signed."""

    def __init__(self, settings: Settings, rpc: Rpc, findings: Findings) -> None:
        self._settings = settings
        self._findings = findings
        self._authority = OutsideSignatures(rpc, settings.stellar_network_passphrase).authority

    async def run(self) -> None:
        """A line for each signer that a payout may have; none where there are no payouts."""
        if self._settings.payout_contract_id is None:
            return
        for name in self._settings.payout_signers:
            check = f"payout signer {name}"
            await self._findings.attempt(check, partial(self._signer, name, check))

    async def _signer(self, name: PayoutSigner, check: str) -> None:
        payer = self._settings.payout_source_account
        if payer is None:
            self._findings.fail(check, "there is no payer", "Set PAYOUT_SOURCE_ACCOUNT.")
            return
        if name is PayoutSigner.EXTERNAL:
            self._outside(check, payer, await self._authority(payer))
            return
        try:
            signer = payout_signer(self._settings, name, self._authority)
        except SettingsError as error:
            missing = ", ".join(variable for variable, _ in error.problems)
            self._findings.fail(check, f"{missing} is missing", f"Set {missing}.")
            return
        if signer is None:
            self._findings.fail(check, "no secret key is set", "Set PAYOUT_HOT_SIGNER_SECRET, or its _FILE.")
            return
        try:
            self._findings.ok(check, await signer.check())
        finally:
            signer.close()

    def _outside(self, check: str, payer: str, authority: Authority) -> None:
        signers = authority.signers
        words = f"{len(signers)} may sign for {payer}, which takes a weight of {max(1, authority.threshold)}"
        if authority.suffices(signer.address for signer in signers):
            self._findings.ok(check, words)
        else:
            self._findings.fail(check, f"{words}: not even all of them are enough", "Add signers to the account.")
