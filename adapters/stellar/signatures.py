"""Signatures from outside: what was signed, whether it verifies, and whose it is. Satisfies `activities.signing`.

An XDR carries no passphrase, so an envelope that was signed for another network has the right content: only
verifying each signature against our network's own hash tells.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from collections.abc import Iterable
from typing import Final

from stellar_sdk import Keypair, Network, StrKey, TransactionEnvelope, xdr
from stellar_sdk.exceptions import BadSignatureError, SdkError

from adapters.stellar import auth_entries
from adapters.stellar.entries import account_key
from adapters.stellar.rpc import Rpc
from domain.errors import Refused
from domain.settlement import SigningMode
from domain.signing import Authority, Signature, SignatureSubmission, SigningRequest

_NETWORKS: Final = (
    Network.PUBLIC_NETWORK_PASSPHRASE,
    Network.TESTNET_NETWORK_PASSPHRASE,
    Network.FUTURENET_NETWORK_PASSPHRASE,
    Network.STANDALONE_NETWORK_PASSPHRASE,
)
_SIGNATURE_BYTES: Final = 64
_MEDIUM: Final = 2
"""The index of the medium threshold in an account's four bytes: master weight, low, medium, high."""


class OutsideSignatures:
    """Reads what signers send back, and who may sign."""

    def __init__(self, rpc: Rpc, network_passphrase: str) -> None:
        self._rpc = rpc
        self._network_passphrase = network_passphrase

    async def authority(self, account: str) -> Authority:
        """See `activities.signing.Verifier`."""
        key = account_key(account)
        found = await self._rpc.ledger_entries([key])
        entry = found.by_key.get(key.to_xdr())
        if entry is None or entry.data.account is None:
            raise Refused(f"the payer {account} is not on the ledger", code="account_missing")
        return authority_of(entry.data.account)

    def signed_hash(self, request: SigningRequest, signed_xdr: str) -> str:
        """See `activities.signing.Verifier`."""
        if request.kind is SigningMode.AUTH_ENTRY:
            entry = _entry(signed_xdr)
            return auth_entries.hash_of(auth_entries.preimage_of(entry, self._network_passphrase)).hex()
        envelope = _envelope(signed_xdr, self._network_passphrase)
        if (
            not envelope.transaction.v1
            and _as_v0(request.unsigned_xdr or "") == envelope.transaction.to_xdr_object()
        ):
            return request.hash
        return envelope.hash_hex()

    def signatures(
        self, request: SigningRequest, submission: SignatureSubmission, authority: Authority
    ) -> tuple[Signature, ...]:
        """See `activities.signing.Verifier`."""
        found: dict[str, Signature] = {}
        if submission.signed_xdr is not None:
            if self.signed_hash(request, submission.signed_xdr) != request.hash:
                raise Refused(
                    f"what was signed is not what {request.id} asks for: its hash is another",
                    code="signature_wrong_hash",
                    request_id=request.id,
                )
            if request.kind is SigningMode.AUTH_ENTRY:
                carried = self._of_entry(request, submission.signed_xdr)
            else:
                carried = self._of_envelope(request, submission.signed_xdr, authority)
            found |= {each.signer: each for each in carried}
        found |= {each.signer: each for each in submission.signatures}
        if not found:
            raise Refused("there is no signature in it", code="signature_malformed")
        for each in found.values():
            self._check(request, each, authority)
        return tuple(found.values())

    def _of_entry(self, request: SigningRequest, signed_xdr: str) -> Iterable[Signature]:
        entry = _entry(signed_xdr)
        if auth_entries.without_signatures(entry) != request.entry_xdr:
            # The preimage does not hold the address: another account's entry has the same hash.
            raise Refused("it is another account's authorization", code="signature_wrong_hash")
        try:
            carried = auth_entries.signatures_in(entry)
        except (SdkError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise Refused("its signatures are not an account's", code="signature_malformed") from error
        return [Signature(signer=signer, signature=value) for signer, value in carried]

    def _of_envelope(self, request: SigningRequest, signed_xdr: str, authority: Authority) -> Iterable[Signature]:
        """Whose each signature is: an envelope tells the last four bytes of a key only."""
        for decorated in _envelope(signed_xdr, self._network_passphrase).signatures:
            hinted = [
                key
                for key in authority.weights
                if Keypair.from_public_key(key).signature_hint() == decorated.signature_hint
            ]
            if not hinted:
                hint = decorated.signature_hint.hex()
                raise Refused(
                    f"a signature with the hint {hint} is of no key that signs for {request.payer}",
                    code="signature_unknown_signer",
                    hint=hint,
                )
            value = b64encode(decorated.signature).decode()
            verified = [key for key in hinted if _verifies(key, bytes.fromhex(request.hash), decorated.signature)]
            yield Signature(signer=(verified or hinted)[0], signature=value)

    def _check(self, request: SigningRequest, each: Signature, authority: Authority) -> None:
        if not StrKey.is_valid_ed25519_public_key(each.signer):
            raise Refused(f"{each.signer} is not a Stellar public key", code="signature_malformed")
        try:
            value = b64decode(each.signature, validate=True)
        except (NotBase64, ValueError) as error:
            raise Refused(f"the signature of {each.signer} is not base64", code="signature_malformed") from error
        if len(value) != _SIGNATURE_BYTES:
            raise Refused(f"the signature of {each.signer} is not of 64 bytes", code="signature_malformed")
        if not authority.weights.get(each.signer):
            raise Refused(
                f"{each.signer} does not sign for {request.payer}, as the ledger has it now",
                code="signature_unknown_signer",
                signer=each.signer,
            )
        if _verifies(each.signer, bytes.fromhex(request.hash), value):
            return
        for passphrase in _NETWORKS:
            if passphrase != self._network_passphrase and _verifies(
                each.signer, self._hash_on(request, passphrase), value
            ):
                raise Refused(
                    f"{each.signer} signed for the network {passphrase!r}, and this is "
                    f"{self._network_passphrase!r}",
                    code="signature_wrong_network",
                    signer=each.signer,
                    network=passphrase,
                )
        raise Refused(
            f"the signature of {each.signer} does not verify against the hash {request.hash}",
            code="signature_invalid",
            signer=each.signer,
        )

    def _hash_on(self, request: SigningRequest, passphrase: str) -> bytes:
        if request.kind is SigningMode.AUTH_ENTRY:
            return auth_entries.hash_on(request.preimage_xdr or "", passphrase)
        return TransactionEnvelope.from_xdr(request.unsigned_xdr or "", passphrase).hash()


def authority_of(account: xdr.AccountEntry) -> Authority:
    """The keys of an account and the medium threshold, which a contract call wants."""
    thresholds = account.thresholds.thresholds
    master = account.account_id.account_id.ed25519
    if master is None:
        raise AssertionError("an account without a key")
    weights = {StrKey.encode_ed25519_public_key(master.uint256): thresholds[0]}
    for signer in account.signers:
        if signer.key.ed25519 is not None:
            weights[StrKey.encode_ed25519_public_key(signer.key.ed25519.uint256)] = signer.weight.uint32
    return Authority(
        weights={key: weight for key, weight in weights.items() if weight > 0}, threshold=thresholds[_MEDIUM]
    )


def _verifies(signer: str, signed_hash: bytes, value: bytes) -> bool:
    try:
        Keypair.from_public_key(signer).verify(signed_hash, value)
    except BadSignatureError:
        return False
    return True


def _as_v0(unsigned_xdr: str) -> xdr.Transaction | xdr.TransactionV0:
    """Our transaction as the first version of the envelope has it.

    That has no room for a contract call's resources, so its own hash is another than ours. Whether ours was
    signed, and only given back in the old form, each signature tells.
    """
    ours = TransactionEnvelope.from_xdr(unsigned_xdr, Network.STANDALONE_NETWORK_PASSPHRASE).transaction
    ours.v1 = False
    return ours.to_xdr_object()


def _envelope(signed_xdr: str, network_passphrase: str) -> TransactionEnvelope:
    """An envelope of either version."""
    try:
        parsed = xdr.TransactionEnvelope.from_xdr(signed_xdr)
        if parsed.fee_bump is None:
            return TransactionEnvelope.from_xdr_object(parsed, network_passphrase)
    except Exception as error:  # the SDK raises whatever the bytes provoke
        raise Refused("it is not a transaction envelope in base64 XDR", code="signature_malformed") from error
    raise Refused(
        "it is a fee bump: only the envelope that was asked for is taken, and Holdfast bumps the fee itself",
        code="signature_fee_bump",
    )


def _entry(signed_xdr: str) -> xdr.SorobanAuthorizationEntry:
    try:
        entry = xdr.SorobanAuthorizationEntry.from_xdr(signed_xdr)
        usable = entry.credentials.address is not None
    except Exception as error:  # the SDK raises whatever the bytes provoke
        raise Refused("it is not an authorization entry in base64 XDR", code="signature_malformed") from error
    if not usable:
        raise Refused("it is not an account's authorization entry", code="signature_malformed")
    return entry
