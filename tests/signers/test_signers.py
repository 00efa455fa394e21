"""One acceptance for every signer that answers at once, each with its real keeper of keys."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import pytest
from pydantic import SecretStr
from stellar_sdk import Account, Keypair, Network, TransactionBuilder, TransactionEnvelope
from stellar_sdk.decorated_signature import DecoratedSignature

from activities.settlement_parts import PayerSigner
from adapters.signers.hot import HotSigner
from adapters.signers.kms import KmsSigner
from adapters.signers.pkcs11 import Pkcs11Signer
from adapters.stellar.rpc import Rpc
from localnet.key_stores import KMS_CREDENTIALS, KMS_KEY, KMS_REGION
from localnet.process import RunningPart
from tests.conftest import TestLedger
from tests.signers.conftest import Hsm
from tests.waiting import until

PASSPHRASE = Network.STANDALONE_NETWORK_PASSPHRASE


def kms_signer(process: RunningPart, key: str = KMS_KEY) -> KmsSigner:
    return KmsSigner(key, region=KMS_REGION, endpoint_url=process.url, credentials=KMS_CREDENTIALS)


def pkcs11_signer(hsm: Hsm, **changes: str) -> Pkcs11Signer:
    given = {"token_label": hsm.token, "key_label": "payer", "pin": hsm.pin} | changes
    return Pkcs11Signer(
        module=hsm.module,
        token_label=given["token_label"],
        key_label=given["key_label"],
        pin=SecretStr(given["pin"]),
    )


@dataclass
class Subject:
    """A signer, and a way to have another one with the same key."""

    signer: HotSigner | KmsSigner | Pkcs11Signer
    again: Callable[[], HotSigner | KmsSigner | Pkcs11Signer]


@pytest.fixture(params=["hot", "kms", "pkcs11"])
async def subject(request: pytest.FixtureRequest) -> AsyncIterator[Subject]:
    make: Callable[[], HotSigner | KmsSigner | Pkcs11Signer]
    match request.param:
        case "hot":
            seed = Keypair.random().secret
            make = lambda: HotSigner(seed)  # noqa: E731
        case "kms":
            process = request.getfixturevalue("kms_process")
            make = lambda: kms_signer(process)  # noqa: E731
        case _:
            hsm = request.getfixturevalue("hsm")
            make = lambda: pkcs11_signer(hsm)  # noqa: E731
    signer = make()
    await signer.open()
    yield Subject(signer, make)
    signer.close()


def payment(source: str, sequence: int) -> TransactionEnvelope:
    builder = TransactionBuilder(Account(source, sequence), PASSPHRASE, base_fee=100)
    builder.add_time_bounds(0, 0)
    builder.append_create_account_op(Keypair.random().public_key, "10")
    return builder.build()


async def test_a_signature_verifies_under_the_payers_key(subject: Subject) -> None:
    signer: PayerSigner = subject.signer
    envelope = payment(signer.public_key, 1)
    signature = await signer.sign(envelope.hash())
    assert len(signature) == 64
    Keypair.from_public_key(signer.public_key).verify(envelope.hash(), signature)


async def test_the_ledger_takes_the_signature(subject: Subject, ledger: TestLedger) -> None:
    signer = subject.signer
    ledger.friendbot(signer.public_key)
    async with Rpc(ledger.url) as rpc:
        envelope = payment(signer.public_key, await _sequence(rpc, signer.public_key))
        signature = await signer.sign(envelope.hash())
        hint = Keypair.from_public_key(signer.public_key).signature_hint()
        envelope.signatures.append(DecoratedSignature(hint, signature))
        await rpc.send(envelope.to_xdr())
        landed = await until(lambda: rpc.transaction(envelope.hash_hex()))
        assert landed.successful


async def test_sixty_four_signatures_at_once_are_all_right(subject: Subject) -> None:
    signer = subject.signer
    hashes = [os.urandom(32) for _ in range(64)]
    signatures = await asyncio.gather(*(signer.sign(each) for each in hashes))
    key = Keypair.from_public_key(signer.public_key)
    for each, signature in zip(hashes, signatures, strict=True):
        key.verify(each, signature)


async def test_signers_of_one_key_sign_beside_each_other(subject: Subject) -> None:
    """As two workers' tests, or an old and a new signer while settings change, in one process."""
    other = subject.again()
    hashes = [os.urandom(32) for _ in range(40)]
    signatures = await asyncio.gather(
        *((subject.signer if number % 2 else other).sign(each) for number, each in enumerate(hashes))
    )
    assert other.public_key == subject.signer.public_key
    for each, signature in zip(hashes, signatures, strict=True):
        Keypair.from_public_key(other.public_key).verify(each, signature)
    other.close()
    # The other one's end takes nothing from this one.
    Keypair.from_public_key(other.public_key).verify(hashes[0], await subject.signer.sign(hashes[0]))


async def test_the_first_signature_opens_by_itself(subject: Subject) -> None:
    fresh = subject.again()
    signature = await fresh.sign(bytes(32))
    Keypair.from_public_key(fresh.public_key).verify(bytes(32), signature)
    fresh.close()


async def test_a_signer_shows_no_secret_of_itself(subject: Subject, hsm: Hsm) -> None:
    shown = f"{subject.signer!r} {subject.signer}"
    assert hsm.pin not in shown
    assert not any(word.startswith("S") and len(word) == 56 for word in shown.replace("(", " ").split())


async def _sequence(rpc: Rpc, address: str) -> int:
    from adapters.stellar.entries import account_key

    found = await rpc.ledger_entries([key := account_key(address)])
    account = found.by_key[key.to_xdr()].data.account
    assert account is not None
    sequence: int = account.seq_num.sequence_number.int64
    return sequence
