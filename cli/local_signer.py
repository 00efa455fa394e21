"""The payer of the local network, and whoever signs for it: made, and made one of the payer's signers.

The payer is an account of its own and stays the same; its signers change with PAYOUT_SIGNER, so that payouts which
are under way go on when `holdfast up` begins with another one.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import SecretStr
from stellar_sdk import Keypair, Signer
from stellar_sdk.operation import SetOptions

from adapters.stellar.own_sequence import OwnSequence
from adapters.stellar.rpc import Rpc
from adapters.stellar.signatures import OutsideSignatures
from cli.local_secrets import LocalSecrets, write_signer
from cli.up_state import StackError
from domain.errors import OutcomeUnknown, Refused, Unavailable
from localnet import parts as outside
from settings import PayoutSigner, Settings
from settings.signers import payout_signer

PAYER: Final = "payout_hot_signer_secret"
"""The local secret that holds the payer's own key."""
_PIN: Final = "payout_pkcs11_pin"
_TRIES: Final = 3

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class LocalSigner:
    """What `holdfast up` does for the signers of payouts."""

    settings: Settings
    secrets: LocalSecrets

    @property
    def payer(self) -> str:
        """The account that payouts are paid by."""
        given = self.settings.payout_source_account
        if given is not None and self.settings.is_set("payout_source_account"):
            return given
        return self.secrets.keypair(PAYER).public_key

    def part(self) -> outside.Part | None:
        """The KMS to be started beside the others, where it signs.

        Raises:
            StackError: it is not installed.
        """
        if not self.settings.starts_kms:
            return None
        from localnet.key_stores import kms  # noqa: PLC0415 - boto3 takes its time, and only this needs it

        try:
            return kms(self.settings.kms_port, state=self._state / "kms")
        except outside.PartError as error:
            raise StackError(str(error)) from None

    def environment(self) -> Mapping[str, str]:
        """What worker and API need beside what is set already; no secret.

        Raises:
            StackError: SoftHSM is not installed; says how it is.
        """
        given = {
            "PAYOUT_SIGNER": str(self.settings.payout_signer),
            "PAYOUT_SIGNERS_OFFERED": ",".join(self.settings.payout_signers_offered),
            "PAYOUT_SOURCE_ACCOUNT": self.payer,
        }
        if PayoutSigner.PKCS11 in self.settings.payout_signers and self._softhsm:
            from localnet.key_stores import softhsm_environment, softhsm_module  # noqa: PLC0415

            try:
                given["PAYOUT_PKCS11_MODULE"] = str(softhsm_module())
            except outside.PartError as error:
                raise StackError(str(error)) from None
            given |= softhsm_environment(self._state / "softhsm")
        return given

    def withheld(self) -> tuple[str, ...]:
        """Variables that worker and API do not get: secrets of signers that are not asked for."""
        of_signers = ((PayoutSigner.HOT, PAYER), (PayoutSigner.PKCS11, _PIN))
        return tuple(
            f"{name.upper()}_FILE" for signer, name in of_signers if signer not in self.settings.payout_signers
        )

    async def prepare(self, tell: Tell) -> dict[str, str]:
        """Have each signer's key, and have it among the payer's signers; gives their accounts by signer.

        Raises:
            StackError: SoftHSM is not installed, or refuses.
            SettingsError, Refused, Unavailable, OutcomeUnknown: of the step that went wrong.
        """
        environment = self.environment()
        if "SOFTHSM2_CONF" in environment:
            tell("the token of SoftHSM")
            await asyncio.to_thread(self._make_token)
            # For this process: read once, when the library is loaded.
            os.environ["SOFTHSM2_CONF"] = environment["SOFTHSM2_CONF"]
        write_signer(self.settings, environment)
        async with Rpc(self.settings.stellar_soroban_rpc_url) as rpc:
            authority = OutsideSignatures(rpc, self.settings.stellar_network_passphrase).authority
            settings = self._complete(environment)
            keys: dict[str, str] = {}
            for name in self.settings.payout_signers:
                signer = payout_signer(settings, name, authority)
                if signer is None:
                    keys[name] = self.payer  # whoever signs outside: this key does at any rate
                    continue
                try:
                    keys[name] = await signer.open()
                    if not self.settings.is_set("payout_source_account"):
                        tell(f"{name} among the payer's signers")
                        await self._add(rpc, keys[name])
                    await signer.check()
                finally:
                    signer.close()
        return keys

    # inside

    @property
    def _state(self) -> Path:
        return self.settings.var_dir.resolve()

    @property
    def _softhsm(self) -> bool:
        """Whether the HSM is ours to set up."""
        return not self.settings.is_set("payout_pkcs11_module")

    def _make_token(self) -> None:
        from localnet.key_stores import make_softhsm_token  # noqa: PLC0415

        try:
            make_softhsm_token(
                self._state / "softhsm",
                label=self.settings.payout_pkcs11_token_label,
                pin=self.secrets.word(_PIN),
                key_label=self.settings.payout_pkcs11_key_label,
            )
        except outside.PartError as error:
            raise StackError(str(error)) from None

    def _complete(self, environment: Mapping[str, str]) -> Settings:
        """The settings as worker and API get them."""
        changes: dict[str, object] = {"payout_source_account": self.payer}
        if "PAYOUT_PKCS11_MODULE" in environment:
            changes["payout_pkcs11_module"] = Path(environment["PAYOUT_PKCS11_MODULE"])
        for name in (PAYER, _PIN):
            if not self.settings.is_set(name):
                changes[name] = SecretStr(self.secrets.word(name))
        return self.settings.model_copy(update=changes)

    async def _add(self, rpc: Rpc, key: str) -> None:
        """Have the key among the payer's signers, with weight 1, on the word of the payer's own key."""
        payer: Keypair = self.secrets.keypair(PAYER)
        outside_signatures = OutsideSignatures(rpc, self.settings.stellar_network_passphrase)
        source = OwnSequence(rpc, payer, self.settings.stellar_network_passphrase)
        for tried in range(1, _TRIES + 1):
            if (await outside_signatures.authority(payer.public_key)).weight_of([key]):
                return
            try:
                await source.land([SetOptions(signer=Signer.ed25519_public_key(key, 1))])
            except (Refused, Unavailable, OutcomeUnknown):
                if tried == _TRIES:
                    raise


def available_signers(settings: Settings) -> dict[PayoutSigner, str]:
    """Each signer that there is, and why it cannot be set up on this machine; empty where it can."""
    from localnet.key_stores import kms_binary, softhsm_module  # noqa: PLC0415

    def why_not(look: Callable[[], object]) -> str:
        try:
            look()
        except outside.PartError as error:
            return str(error)
        return ""

    given = {PayoutSigner.HOT: "", PayoutSigner.EXTERNAL: ""}
    given[PayoutSigner.KMS] = "" if settings.is_set("payout_kms_endpoint_url") else why_not(kms_binary)
    given[PayoutSigner.PKCS11] = "" if settings.is_set("payout_pkcs11_module") else why_not(softhsm_module)
    return given
