"""Who signs for which payer: the pool's own payments and payouts, as the settings say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from activities.settlement_parts import PayerSigner
from adapters.signers.checked import AuthorityOf, CheckedSigner
from adapters.signers.hot import HotSigner
from domain.errors import Unavailable
from domain.settlement import Intent
from settings import PayoutSigner, Settings
from settings.signers import payout_signer

_log = structlog.get_logger("signers")
_PAYOUTS: Final = ("payout:", "chunk:")
"""How the ids of payouts' settlements begin: what an outage costs is paid by the pool, whose key is always hot."""


@dataclass(frozen=True, slots=True)
class PayerKeys:
    """The payers' signers."""

    by_name: Mapping[str, PayerSigner]
    """By the payer that each signs for where nobody is named, and by the names that a payout may give."""
    payouts: Sequence[CheckedSigner]
    """Who signs payouts at once."""
    external: bool
    """Whether somebody outside signs payouts that name nobody."""

    def deferred(self, intent: Intent) -> bool:
        """Whether somebody outside signs this one, and may take hours."""
        if intent.signer is not None:
            return intent.signer == PayoutSigner.EXTERNAL
        return self.external and intent.settlement_id.startswith(_PAYOUTS)

    async def check(self) -> None:
        """Check the payouts' signers. A keeper that does not answer now is asked again by the first payout.

        Raises:
            Refused: a key cannot sign for the payer; names the setting to mend.
        """
        for signer in self.payouts:
            try:
                _log.info("signer", finding=await signer.check())
            except Unavailable as error:
                _log.warning("signer not checked yet", code=error.code, reason=error.message)

    def close(self) -> None:
        """Let go of threads and sessions."""
        for signer in self.payouts:
            signer.close()


def payer_keys(settings: Settings, authority: AuthorityOf) -> PayerKeys:
    """Who signs for which payer: the pool's hot key for its own payments, whom PAYOUT_SIGNER names for payouts.

    Raises:
        SettingsError: what a signer needs is not set.
    """
    by_name: dict[str, PayerSigner] = {}
    if settings.stellar_pool_secret_key is not None:
        pool = HotSigner(settings.stellar_pool_secret_key.get_secret_value())
        by_name[pool.public_key] = pool
    payer = settings.payout_source_account
    found = {name: payout_signer(settings, name, authority) for name in settings.payout_signers}
    payouts = {name: signer for name, signer in found.items() if signer is not None}
    by_name.update({name.value: signer for name, signer in payouts.items()})
    chosen = payouts.get(settings.payout_signer)
    # The pool's own payments go by the pool's key, unless its hot key is being rotated.
    rotated = settings.payout_hot_signer_secret != settings.stellar_pool_secret_key
    if chosen is not None and payer is not None and (payer not in by_name or (chosen.hot and rotated)):
        by_name[payer] = chosen
    external = settings.payout_signer is PayoutSigner.EXTERNAL
    # Without a payout contract nothing is paid by these signers: what is wrong with them keeps no worker down.
    return PayerKeys(by_name, tuple(payouts.values()) if settings.payout_contract_id else (), external)
