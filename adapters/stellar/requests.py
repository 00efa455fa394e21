"""Requests for signatures: all that a signer has to see, made from what we built. No I/O."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlencode

from stellar_sdk import Network

from activities.settlement_parts import Envelope
from adapters.stellar import auth_entries
from domain.settlement import Intent, SigningMode
from domain.signing import Authority, SigningRequest, words

_ID_BYTES: Final = 12


class Requests:
    """Requests on one network."""

    def __init__(self, network_passphrase: str) -> None:
        self._network_passphrase = network_passphrase

    def ask_for_envelope(
        self, intent: Intent, envelope: Envelope, authority: Authority, expires_at: datetime
    ) -> SigningRequest:
        """See `activities.settlement_parts.Ledger`."""
        return SigningRequest(
            id=_new_id(),
            settlement_id=intent.settlement_id,
            kind=SigningMode.ENVELOPE,
            payer=intent.payer,
            hash=envelope.hash,
            unsigned_xdr=envelope.xdr,
            network_passphrase=self._network_passphrase,
            invocation=intent.invocation,
            signers=authority.signers,
            threshold=authority.threshold,
            expires_at=expires_at,
            words=words(intent, expires_at),
            sep7_uri=self._uri(envelope.xdr),
            created_at=datetime.now(UTC),
        )

    def ask_for_entry(
        self, intent: Intent, authority: Authority, expires_at: datetime, expires_ledger: int
    ) -> SigningRequest:
        """See `activities.settlement_parts.Ledger`."""
        entry = auth_entries.new_entry(intent, expires_ledger)
        preimage = auth_entries.preimage_of(entry, self._network_passphrase)
        return SigningRequest(
            id=_new_id(),
            settlement_id=intent.settlement_id,
            kind=SigningMode.AUTH_ENTRY,
            payer=intent.payer,
            hash=auth_entries.hash_of(preimage).hex(),
            preimage_xdr=preimage.to_xdr(),
            entry_xdr=entry.to_xdr(),
            network_passphrase=self._network_passphrase,
            invocation=intent.invocation,
            signers=authority.signers,
            threshold=authority.threshold,
            expires_at=expires_at,
            expires_ledger=expires_ledger,
            words=words(intent, expires_at),
            created_at=datetime.now(UTC),
        )

    def _uri(self, unsigned_xdr: str) -> str:
        """A SEP-7 URI. Without `replace`, and with our sequence number: a wallet cannot alter the transaction."""
        fields = {"xdr": unsigned_xdr}
        if self._network_passphrase != Network.PUBLIC_NETWORK_PASSPHRASE:
            fields["network_passphrase"] = self._network_passphrase
        return f"web+stellar:tx?{urlencode(fields)}"


def _new_id() -> str:
    return f"sr_{secrets.token_hex(_ID_BYTES)}"
