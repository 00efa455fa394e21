"""What is wrong is said once, clearly, with the setting to mend; what passes is Unavailable."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from pydantic import SecretStr
from PyKCS11 import CKR_DEVICE_REMOVED, PyKCS11Error, PyKCS11Lib, Session
from stellar_sdk import Keypair

from adapters.signers.kms import KmsSigner
from adapters.signers.pkcs11 import Pkcs11Signer
from domain.errors import HoldfastError, Refused, Unavailable
from localnet.key_stores import KMS_CREDENTIALS, KMS_REGION, kms, kms_client, make_kms_key
from localnet.parts import free_port
from localnet.process import RunningPart
from tests.signers.conftest import Hsm
from tests.signers.test_signers import kms_signer, pkcs11_signer

REQUEST_ID = "7a6c"


async def refused(signer: KmsSigner | Pkcs11Signer) -> Refused:
    """Signing and opening refuse alike; gives what opening says."""
    with pytest.raises(Refused) as opening:
        await signer.open()
    with pytest.raises(Refused) as signing:
        await signer.sign(bytes(32))
    assert opening.value.code == signing.value.code == "signer_refused"
    assert not opening.value.retryable
    signer.close()
    return opening.value


# KMS


@pytest.mark.parametrize("spec", ["ECC_NIST_P256", "ECC_NIST_P521", "RSA_2048"])
async def test_a_kms_key_of_another_type_is_refused(kms_process: RunningPart, spec: str) -> None:
    error = await refused(kms_signer(kms_process, make_kms_key(kms_process.url, spec=spec)))
    assert "PAYOUT_KMS_KEY_ID" in error.message
    assert spec in error.message
    assert "ECC_NIST_EDWARDS25519" in error.message


@pytest.mark.parametrize("key", ["alias/nobody", "8ed2a53c-0000-4000-8000-000000000000"])
async def test_a_kms_key_that_is_not_there_is_named(kms_process: RunningPart, key: str) -> None:
    error = await refused(kms_signer(kms_process, key))
    assert key in error.message
    assert "PAYOUT_KMS_KEY_ID" in error.message


async def test_a_disabled_kms_key_is_refused_and_signs_again_when_enabled(kms_process: RunningPart) -> None:
    key = make_kms_key(kms_process.url)
    signer = kms_signer(kms_process, key)
    await signer.open()
    kms_client(kms_process.url).disable_key(KeyId=key)
    with pytest.raises(Refused, match=r"disabled.*PAYOUT_KMS_KEY_ID") as caught:
        await signer.sign(bytes(32))
    assert "RequestId" not in caught.value.message
    assert "arn:aws" not in caught.value.message
    kms_client(kms_process.url).enable_key(KeyId=key)
    Keypair.from_public_key(signer.public_key).verify(bytes(32), await signer.sign(bytes(32)))
    signer.close()


async def test_an_alias_that_is_moved_counts_with_the_next_start_only(kms_process: RunningPart) -> None:
    """The key that was checked against the payer's signers is the one that signs."""
    first, second = make_kms_key(kms_process.url, alias="alias/moves"), make_kms_key(kms_process.url)
    signer = kms_signer(kms_process, "alias/moves")
    before = await signer.open()
    kms_client(kms_process.url).update_alias(AliasName="alias/moves", TargetKeyId=second)
    Keypair.from_public_key(before).verify(bytes(32), await signer.sign(bytes(32)))
    again = kms_signer(kms_process, "alias/moves")
    assert await again.open() != before
    assert await kms_signer(kms_process, first).open() == before
    signer.close()
    again.close()


async def test_a_kms_that_is_away_is_waited_for(tmp_path: Path) -> None:
    """Killed and started again it has its key, and the same signer signs on."""
    part = kms(free_port(), state=tmp_path / "kms")
    with RunningPart(part, tmp_path / "kms.log") as running:
        signer = kms_signer(running)
        await signer.open()
        running.kill()
        with pytest.raises(Unavailable, match="PAYOUT_KMS_ENDPOINT_URL") as caught:
            await signer.sign(bytes(32))
        assert caught.value.retryable
        running.start()
        Keypair.from_public_key(signer.public_key).verify(bytes(32), await signer.sign(bytes(32)))
        signer.close()


async def test_before_it_was_asked_a_kms_key_has_no_account() -> None:
    signer = KmsSigner("alias/x", region=KMS_REGION, endpoint_url=f"http://127.0.0.1:{free_port()}")
    with pytest.raises(Unavailable):
        _ = signer.public_key


async def test_without_credentials_the_variables_are_named(
    kms_process: RunningPart, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    error = await refused(KmsSigner("alias/x", region=KMS_REGION, endpoint_url=kms_process.url))
    assert "AWS_ACCESS_KEY_ID" in error.message


async def test_without_a_region_the_setting_is_named(
    kms_process: RunningPart, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    signer = KmsSigner("alias/x", endpoint_url=kms_process.url, credentials=KMS_CREDENTIALS)
    assert "PAYOUT_KMS_REGION" in (await refused(signer)).message


def answers(code: str, status: int) -> ClientError:
    """AWS's own words for what the emulator never says: they carry ARNs and request ids."""
    response: Any = {
        "Error": {"Code": code, "Message": f"User arn:aws:iam::1:user/x may not (Request ID: {REQUEST_ID})"},
        "ResponseMetadata": {"HTTPStatusCode": status, "RequestId": REQUEST_ID},
    }
    return ClientError(response, "Sign")


@pytest.mark.parametrize(
    ("code", "status", "kind", "names"),
    [
        ("ThrottlingException", 400, Unavailable, "ThrottlingException"),
        ("KMSInternalException", 500, Unavailable, "KMSInternalException"),
        ("DependencyTimeoutException", 503, Unavailable, "DependencyTimeoutException"),
        ("SomethingNew", 503, Unavailable, "SomethingNew"),
        ("ExpiredTokenException", 400, Unavailable, "ExpiredTokenException"),
        ("KeyUnavailableException", 500, Unavailable, "KeyUnavailableException"),
        ("DisabledException", 409, Refused, "PAYOUT_KMS_KEY_ID"),
        ("KMSInvalidStateException", 409, Refused, "PAYOUT_KMS_KEY_ID"),
        ("NotFoundException", 404, Refused, "PAYOUT_KMS_REGION"),
        ("AccessDeniedException", 400, Refused, "kms:Sign"),
        ("UnrecognizedClientException", 400, Refused, "AWS_ACCESS_KEY_ID"),
        ("InvalidKeyUsageException", 400, Refused, "SIGN_VERIFY"),
        ("SomethingElse", 400, Refused, "PAYOUT_KMS_KEY_ID"),
    ],
)
async def test_what_aws_answers_becomes_a_refusal_or_a_wait(
    monkeypatch: pytest.MonkeyPatch, code: str, status: int, kind: type[HoldfastError], names: str
) -> None:
    signer = KmsSigner("alias/payer", region=KMS_REGION, credentials=KMS_CREDENTIALS)
    monkeypatch.setattr(signer._connect(), "_make_api_call", _raises(answers(code, status)))
    with pytest.raises(kind, match=names) as caught:
        await signer.sign(bytes(32))
    assert REQUEST_ID not in str(caught.value)
    assert "arn:aws:iam" not in str(caught.value)
    # Neither is it in what a log or Temporal would show of the error's history.
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    signer.close()


def _raises(error: Exception) -> Any:
    def call(*_: object, **__: object) -> None:
        raise error

    return call


# PKCS#11


async def test_a_missing_module_names_its_setting(hsm: Hsm, tmp_path: Path) -> None:
    absent = tmp_path / "libabsent.so"
    signer = Pkcs11Signer(module=absent, token_label="t", key_label="k", pin=SecretStr(hsm.pin))
    error = await refused(signer)
    assert str(absent) in error.message
    assert "PAYOUT_PKCS11_MODULE" in error.message


async def test_a_file_that_is_no_module_names_its_setting(hsm: Hsm, tmp_path: Path) -> None:
    text = tmp_path / "libtext.so"
    text.write_text("not a library")
    signer = Pkcs11Signer(module=text, token_label="t", key_label="k", pin=SecretStr(hsm.pin))
    assert "PAYOUT_PKCS11_MODULE" in (await refused(signer)).message


async def test_a_missing_token_is_named_with_those_that_are_there(hsm: Hsm) -> None:
    error = await refused(pkcs11_signer(hsm, token_label="nowhere"))
    assert "'nowhere'" in error.message
    assert f"'{hsm.token}'" in error.message
    assert "PAYOUT_PKCS11_TOKEN_LABEL" in error.message


async def test_a_missing_key_is_named(hsm: Hsm) -> None:
    error = await refused(pkcs11_signer(hsm, key_label="nobody"))
    assert "'nobody'" in error.message
    assert "PAYOUT_PKCS11_KEY_LABEL" in error.message


async def test_a_key_of_another_type_is_refused(hsm: Hsm) -> None:
    error = await refused(pkcs11_signer(hsm, key_label="p256"))
    assert "CKK_EC" in error.message
    assert "Ed25519" in error.message
    assert "PAYOUT_PKCS11_KEY_LABEL" in error.message


WRONG_PIN = """
import asyncio, sys
from pathlib import Path
from pydantic import SecretStr
from PyKCS11 import Session
from adapters.signers.pkcs11 import Pkcs11Signer
from domain.errors import Refused

tried = 0
log_in = Session.login

def counted(session, *arguments, **named):
    global tried
    tried += 1
    return log_in(session, *arguments, **named)

Session.login = counted

async def main():
    signer = Pkcs11Signer(
        module=Path(sys.argv[1]), token_label=sys.argv[2], key_label="payer", pin=SecretStr("999999")
    )
    for _ in range(20):
        try:
            await signer.sign(bytes(32))
        except Refused as error:
            print(error.code, error.message)
    signer.close()
    print("tried", tried)

asyncio.run(main())
"""


async def test_a_wrong_pin_is_tried_once_and_never_shown(hsm: Hsm) -> None:
    """In a process of its own: the token's login is the whole process's."""
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", WRONG_PIN, str(hsm.module), hsm.other],
        capture_output=True,
        text=True,
        check=True,
    )
    said = done.stdout.splitlines()
    assert said[-1] == "tried 1"
    assert len(said) == 21
    assert "PAYOUT_PKCS11_PIN" in said[0]
    assert said[0].startswith("signer_refused")
    assert "999999" not in done.stdout + done.stderr


async def test_a_session_that_is_lost_is_opened_anew(hsm: Hsm) -> None:
    """A token that went away takes every session and the login along."""
    signer = pkcs11_signer(hsm)
    await asyncio.gather(*(signer.sign(os.urandom(32)) for _ in range(16)))
    library = PyKCS11Lib().load(str(hsm.module))
    for slot in library.getSlotList(tokenPresent=True):
        library.closeAllSessions(slot)
    hashes = [os.urandom(32) for _ in range(64)]
    signatures = await asyncio.gather(*(signer.sign(each) for each in hashes))
    for each, signature in zip(hashes, signatures, strict=True):
        Keypair.from_public_key(signer.public_key).verify(each, signature)
    signer.close()


async def test_a_logged_out_token_is_logged_in_to_again(hsm: Hsm) -> None:
    signer = pkcs11_signer(hsm)
    await signer.open()
    library = PyKCS11Lib().load(str(hsm.module))
    for slot in library.getSlotList(tokenPresent=True):
        if str(library.getTokenInfo(slot).label).strip() == hsm.token:
            session = library.openSession(slot)
            session.logout()
            session.closeSession()
    Keypair.from_public_key(signer.public_key).verify(bytes(32), await signer.sign(bytes(32)))
    signer.close()


async def test_a_token_that_stays_away_is_waited_for(hsm: Hsm, monkeypatch: pytest.MonkeyPatch) -> None:
    signer = pkcs11_signer(hsm)
    await signer.open()
    with monkeypatch.context() as patch:
        # SoftHSM cannot be pulled out; this is what a module says of an HSM that was.
        patch.setattr(Session, "sign", _raises(PyKCS11Error(CKR_DEVICE_REMOVED)))
        with pytest.raises(Unavailable, match="CKR_DEVICE_REMOVED") as caught:
            await signer.sign(bytes(32))
        assert caught.value.code == "signer_unavailable"
    Keypair.from_public_key(signer.public_key).verify(bytes(32), await signer.sign(bytes(32)))
    signer.close()
