"""Where payers' keys live, on this machine: a KMS in an environment of its own, and a token of SoftHSM.

The KMS is MiniStack, which does Ed25519 as AWS does; `make kms` installs it, since it needs an older botocore than
ours. SoftHSM comes with the system's packages. Both keep their keys below the state directory.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import boto3
import PyKCS11
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from localnet.parts import Part, PartError, answer_of, free_port
from localnet.process import RunningPart

KMS_ENVIRONMENT: Final = Path(__file__).parents[1] / "var" / "kms-env"
"""Where `make kms` installs it."""
KMS_KEY: Final = "alias/holdfast-payer"
"""The payer's key, made with the state."""
KMS_REGION: Final = "us-east-1"
KMS_CREDENTIALS: Final = ("local", "local")
"""It takes any; these are nobody's."""

SOFTHSM_HOW: Final = "install SoftHSM: apt-get install softhsm2, brew install softhsm, dnf install softhsm"
_SOFTHSM_MODULES: Final = (
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib64/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
    "/opt/homebrew/lib/softhsm/libsofthsm2.so",
)
ED25519: Final = bytes.fromhex("06032b6570")
"""CKA_EC_PARAMS of Ed25519: its OID."""


# AWS KMS


def kms_binary() -> Path:
    """Where MiniStack's command is: what `HOLDFAST_KMS_BINARY` names, else in its environment.

    Raises:
        PartError: it is not installed.
    """
    binary = Path(os.environ.get("HOLDFAST_KMS_BINARY") or KMS_ENVIRONMENT / "bin" / "ministack")
    if not binary.exists():
        raise PartError("the local KMS is not installed: `make kms` installs it")
    return binary


def kms(port: int, *, state: Path) -> Part:
    """The local KMS, with one Ed25519 key, `KMS_KEY`; on loopback, and with no other service of AWS.

    Args:
        port: of the loopback address.
        state: a directory. It is written when the process ends as it is told to, and the key is made before the
            first start, so a killed one has its key again.
    """
    state = state.resolve()
    part = _kms(port, state)
    return Part(
        part.name,
        part.command,
        part.ports,
        part.ready,
        prepare=lambda: _make_key(state),
        environment=part.environment,
        url=part.url,
    )


def _kms(port: int, state: Path) -> Part:
    url = f"http://127.0.0.1:{port}"

    def ready() -> bool:
        answer = answer_of(f"{url}/_ministack/ready")
        try:
            return answer is not None and json.loads(answer)["status"] == "completed"
        except (ValueError, KeyError, TypeError):
            return False

    environment = {
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "SERVICES": "kms",
        "IOT_MTLS_ENABLED": "0",  # or it opens a broker on every address
        "SFTP_ENABLED": "0",
        "PERSIST_STATE": "1",
        "STATE_DIR": str(state),
        "TMPDIR": str(state),
        "MINISTACK_REGION": KMS_REGION,
        "LOG_LEVEL": "WARNING",
    }
    return Part("kms", (str(kms_binary()),), {"KMS_PORT": port}, ready, environment=environment, url=url)


def _make_key(state: Path) -> None:
    if (state / "kms.json").exists():
        return
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    state.chmod(0o700)
    with RunningPart(_kms(free_port(), state), state / "first-start.log") as running:
        make_kms_key(running.url, alias=KMS_KEY)
    if not (state / "kms.json").exists():
        raise PartError(f"the local KMS did not keep its key in {state}")


def kms_client(url: str) -> Any:
    """boto3's client of the local KMS, as its administrator."""
    access, secret = KMS_CREDENTIALS
    return boto3.session.Session(aws_access_key_id=access, aws_secret_access_key=secret).client(
        "kms",
        region_name=KMS_REGION,
        endpoint_url=url,
        config=Config(connect_timeout=5, read_timeout=10, retries={"total_max_attempts": 1}),
    )


def make_kms_key(url: str, *, alias: str = "", spec: str = "ECC_NIST_EDWARDS25519") -> str:
    """Make a signing key in the local KMS, and give its id.

    Raises:
        PartError: it refused.
    """
    client = kms_client(url)
    try:
        key_id = str(client.create_key(KeySpec=spec, KeyUsage="SIGN_VERIFY")["KeyMetadata"]["KeyId"])
        if alias:
            client.create_alias(AliasName=alias, TargetKeyId=key_id)
    except (BotoCoreError, ClientError) as error:
        raise PartError(f"the local KMS makes no key: {error}") from error
    return key_id


# SoftHSM


def softhsm_module() -> Path:
    """SoftHSM's PKCS#11 library.

    Raises:
        PartError: it is not installed; says how it is.
    """
    found = next((Path(path) for path in _SOFTHSM_MODULES if Path(path).exists()), None)
    if found is None or shutil.which("softhsm2-util") is None:
        raise PartError(f"SoftHSM is not on this machine: {SOFTHSM_HOW}")
    return found


def softhsm_environment(state: Path) -> dict[str, str]:
    """What a process needs in its environment to find the tokens in `state`."""
    return {"SOFTHSM2_CONF": str(state.resolve() / "softhsm2.conf")}


def make_softhsm_token(state: Path, *, label: str, pin: str, key_label: str | None = None) -> None:
    """Have a token with an Ed25519 key pair in `state`. Again changes nothing.

    Raises:
        PartError: SoftHSM is not installed, or refuses.
    """
    module = softhsm_module()
    tokens = state.resolve() / "tokens"
    tokens.mkdir(parents=True, exist_ok=True, mode=0o700)
    state.chmod(0o700)
    configuration = state / "softhsm2.conf"
    if not configuration.exists():
        configuration.write_text(
            f"directories.tokendir = {tokens}\nobjectstore.backend = file\nlog.level = ERROR\n"
        )
    environment = softhsm_environment(state)
    if label not in _token_labels(environment):
        _softhsm_util(environment, "--init-token", "--free", "--label", label, "--so-pin", pin, "--pin", pin)
    if key_label is not None:
        _in_softhsm(module, environment, label=label, pin=pin, key_label=key_label)


def _softhsm_util(environment: Mapping[str, str], *arguments: str) -> str:
    # Its PINs are arguments, which others here can read for a moment: this token guards play money only.
    done = subprocess.run(  # noqa: S603
        [shutil.which("softhsm2-util") or "softhsm2-util", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise PartError(f"SoftHSM refuses {arguments[0]}: {done.stderr.strip()[-300:]}")
    return done.stdout


def _token_labels(environment: Mapping[str, str]) -> set[str]:
    lines = _softhsm_util(environment, "--show-slots").splitlines()
    return {line.partition(":")[2].strip() for line in lines if line.strip().startswith("Label:")}


def _in_softhsm(module: Path, environment: Mapping[str, str], *, label: str, pin: str, key_label: str) -> None:
    # In a process of its own: SoftHSM reads where its tokens are once, when its library is loaded.
    request = json.dumps({"module": str(module), "label": label, "pin": pin, "key_label": key_label})
    done = subprocess.run(
        [sys.executable, "-m", "localnet.key_stores"],
        input=request,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise PartError(f"SoftHSM makes no key: {done.stderr.strip()[-300:]}")


def make_pkcs11_key(module: Path, *, label: str, pin: str, key_label: str, curve: bytes = ED25519) -> None:
    """Have a key pair on a token, in this process. Again changes nothing; gives Ed25519 unless told otherwise."""
    library = PyKCS11.PyKCS11Lib().load(str(module))
    slot = next(
        slot
        for slot in library.getSlotList(tokenPresent=True)
        if str(library.getTokenInfo(slot).label).strip(" \0") == label
    )
    session = library.openSession(slot, PyKCS11.CKF_RW_SESSION)
    try:
        session.login(pin)
        if session.findObjects([(PyKCS11.CKA_CLASS, PyKCS11.CKO_PRIVATE_KEY), (PyKCS11.CKA_LABEL, key_label)]):
            return
        edwards = curve == ED25519
        common = [
            (PyKCS11.CKA_KEY_TYPE, PyKCS11.CKK_EC_EDWARDS if edwards else PyKCS11.CKK_EC),
            (PyKCS11.CKA_TOKEN, PyKCS11.CK_TRUE),
            (PyKCS11.CKA_LABEL, key_label),
            (PyKCS11.CKA_ID, key_label.encode()),
        ]
        public = [
            (PyKCS11.CKA_CLASS, PyKCS11.CKO_PUBLIC_KEY),
            (PyKCS11.CKA_VERIFY, PyKCS11.CK_TRUE),
            (PyKCS11.CKA_EC_PARAMS, curve),
        ]
        private = [
            (PyKCS11.CKA_CLASS, PyKCS11.CKO_PRIVATE_KEY),
            (PyKCS11.CKA_PRIVATE, PyKCS11.CK_TRUE),
            (PyKCS11.CKA_SENSITIVE, PyKCS11.CK_TRUE),
            (PyKCS11.CKA_EXTRACTABLE, PyKCS11.CK_FALSE),
            (PyKCS11.CKA_SIGN, PyKCS11.CK_TRUE),
        ]
        generate = PyKCS11.CKM_EC_EDWARDS_KEY_PAIR_GEN if edwards else PyKCS11.CKM_EC_KEY_PAIR_GEN
        session.generateKeyPair([*common, *public], [*common, *private], PyKCS11.Mechanism(generate, None))
    finally:
        session.closeSession()


def main() -> None:
    """Make the key that standard input asks for: the PIN is in it, and a command line can be read by all."""
    request = json.load(sys.stdin)
    make_pkcs11_key(
        Path(request["module"]), label=request["label"], pin=request["pin"], key_label=request["key_label"]
    )


if __name__ == "__main__":
    main()
