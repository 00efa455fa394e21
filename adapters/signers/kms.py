"""AWS KMS: an Ed25519 key that never leaves it, asked to sign the 32-byte hash as it is.

`ED25519_SHA_512` with `MessageType=RAW` is pure Ed25519, which Stellar verifies; DIGEST would be Ed25519ph, which
it does not. boto3 blocks, so it runs in threads of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Lock
from typing import Any, Final, NoReturn, TypeVar

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    NoCredentialsError,
    NoRegionError,
    ParamValidationError,
    PartialCredentialsError,
    ProfileNotFound,
)

from adapters.signers.ed25519 import account_of, checked, key_of_spki
from domain.errors import Refused, Unavailable

_KEY_SPEC: Final = "ECC_NIST_EDWARDS25519"
_ALGORITHM: Final = "ED25519_SHA_512"
_CONNECT_SECONDS: Final = 2
_READ_SECONDS: Final = 5
_THREADS: Final = 32
"""At 10 to 30 ms a call these reach the account's quota of about 1,000 signatures a second."""

_PASSING: Final = frozenset(
    {
        "DependencyTimeoutException",
        "ExpiredTokenException",  # the credentials are fetched anew
        "InternalFailure",
        "KMSInternalException",
        "KeyUnavailableException",
        "LimitExceededException",
        "RequestLimitExceeded",
        "RequestTimeout",
        "ServiceUnavailable",
        "ThrottledException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)
_DISABLED: Final = frozenset({"DisabledException", "KMSInvalidStateException"})
_CREDENTIALS: Final = frozenset(
    {
        "IncompleteSignature",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
_HTTP_ERROR: Final = 500
T = TypeVar("T")


class KmsSigner:
    """Signs with one key of AWS KMS."""

    def __init__(
        self, key_id: str, *, region: str = "", endpoint_url: str = "", credentials: tuple[str, str] | None = None
    ) -> None:
        """`credentials` (access key id, secret) are for a local KMS; without, AWS's own ways to find them count.

        Nothing is asked before `open` or the first signature.
        """
        self._key_id = key_id
        self._region = region
        self._endpoint_url = endpoint_url
        self._credentials = credentials
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="kms")
        self._opening = Lock()
        self._client: Any = None
        self._opened: tuple[str, str] | None = None
        """The key's ARN and its account: an alias that is moved meanwhile counts with the next start only."""

    def __repr__(self) -> str:
        return f"KmsSigner({self._key_id})"

    @property
    def public_key(self) -> str:
        """The account of the key.

        Raises:
            Unavailable: KMS was not asked yet.
        """
        if self._opened is None:
            raise Unavailable(f"KMS was not asked for key {self._key_id} yet", code="signer_unavailable")
        return self._opened[1]

    async def open(self) -> str:
        """Ask for the public key once, and check its type; gives its account.

        Raises:
            Refused: there is no such key, it is disabled or of another type, or AWS does not let us.
            Unavailable: KMS does not answer.
        """
        return (await self._in_thread(self._open))[1]

    async def sign(self, transaction_hash: bytes) -> bytes:
        """An Ed25519 signature over the 32-byte transaction hash.

        Raises:
            Refused: the key is disabled or gone, or AWS does not let us; names the setting.
            Unavailable: KMS does not answer, or throttles.
        """
        return await self._in_thread(partial(self._sign, transaction_hash))

    def close(self) -> None:
        """End the threads; a call under way is left to its time-out."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    # in a thread

    def _open(self) -> tuple[str, str]:
        with self._opening:
            if self._opened is None:
                answer = self._ask("get_public_key", KeyId=self._key_id)
                key = key_of_spki(answer["PublicKey"])
                usage, spec = answer.get("KeyUsage"), answer.get("KeySpec")
                if key is None or usage != "SIGN_VERIFY" or spec != _KEY_SPEC:
                    raise Refused(
                        f"the key {self._key_id} is for {usage} with {spec}, and Stellar needs SIGN_VERIFY with "
                        f"{_KEY_SPEC}: set PAYOUT_KMS_KEY_ID to such a key",
                        code="signer_refused",
                    )
                self._opened = answer["KeyId"], account_of(key)
            return self._opened

    def _sign(self, payload: bytes) -> bytes:
        arn, account = self._opened or self._open()
        answer = self._ask("sign", KeyId=arn, Message=payload, MessageType="RAW", SigningAlgorithm=_ALGORITHM)
        return checked(
            bytes(answer["Signature"]),
            payload,
            account,
            mend="look at PAYOUT_KMS_KEY_ID and PAYOUT_KMS_ENDPOINT_URL",
        )

    def _ask(self, operation: str, **arguments: Any) -> dict[str, Any]:
        try:
            client = self._client or self._connect()
            answer: dict[str, Any] = getattr(client, operation)(**arguments)
        except ClientError as error:
            self._translate(error)
        except (NoCredentialsError, PartialCredentialsError, ProfileNotFound):
            raise Refused(
                "there are no AWS credentials for KMS: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or "
                "AWS_PROFILE, or give this machine a role",
                code="signer_refused",
            ) from None
        except (NoRegionError, ParamValidationError, ValueError):
            raise Refused(
                "KMS cannot be asked with these settings: set PAYOUT_KMS_KEY_ID, PAYOUT_KMS_REGION and "
                "PAYOUT_KMS_ENDPOINT_URL right",
                code="signer_refused",
            ) from None
        except BotoCoreError as error:
            raise Unavailable(
                f"KMS does not answer ({type(error).__name__}): see PAYOUT_KMS_ENDPOINT_URL and PAYOUT_KMS_REGION",
                code="signer_unavailable",
            ) from None
        return answer

    def _connect(self) -> Any:
        access, secret = self._credentials or (None, None)
        # A session of our own: boto3's default one is not made for threads. Temporal and the walk try again, so
        # botocore's own retries would only hide how long KMS takes.
        self._client = boto3.session.Session(aws_access_key_id=access, aws_secret_access_key=secret).client(
            "kms",
            region_name=self._region or None,
            endpoint_url=self._endpoint_url or None,
            config=Config(
                connect_timeout=_CONNECT_SECONDS,
                read_timeout=_READ_SECONDS,
                max_pool_connections=_THREADS,
                retries={"total_max_attempts": 2, "mode": "standard"},
            ),
        )
        return self._client

    def _translate(self, error: ClientError) -> NoReturn:
        """By the error's code alone: AWS's messages carry ARNs and request ids."""
        code = str(error.response.get("Error", {}).get("Code", "unknown"))
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        if code in _PASSING or status >= _HTTP_ERROR:
            raise Unavailable(f"KMS does not sign now ({code})", code="signer_unavailable") from None
        if code in _DISABLED:
            words = (
                f"the key {self._key_id} is disabled or about to be deleted: enable it, or set PAYOUT_KMS_KEY_ID"
            )
            words += " to another signer of the payer"
        elif code == "NotFoundException":
            words = f"KMS has no key {self._key_id}: set PAYOUT_KMS_KEY_ID and PAYOUT_KMS_REGION to where it is"
        elif code in {"AccessDeniedException", "AccessDenied"}:
            words = f"AWS does not let us use the key {self._key_id}: allow kms:GetPublicKey and kms:Sign on it"
        elif code in _CREDENTIALS:
            words = "KMS does not accept these AWS credentials: look at AWS_ACCESS_KEY_ID, the profile or the role"
        elif code in {"InvalidKeyUsageException", "UnsupportedOperationException", "ValidationException"}:
            words = f"the key {self._key_id} cannot sign for Stellar ({code}): set PAYOUT_KMS_KEY_ID to a key of "
            words += f"{_KEY_SPEC} for SIGN_VERIFY"
        else:
            words = f"KMS refused ({code}): look at PAYOUT_KMS_KEY_ID and the key's policy"
        raise Refused(words, code="signer_refused") from None
