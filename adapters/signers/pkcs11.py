"""Any HSM that speaks PKCS#11: an Ed25519 key found by its label, asked to sign by CKM_EDDSA.

A session belongs to one thread at a time, so each thread of the signer's own has its own; the token's login is one
for the whole process. A token that went away takes sessions and login with it: both are made anew, once, before
anybody is told. A PIN that was refused is not tried again, since a token locks after a few.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Lock, local
from typing import Any, Final, TypeVar

import PyKCS11
from pydantic import SecretStr
from PyKCS11 import PyKCS11Error

from adapters.signers.ed25519 import KEY_BYTES, account_of, checked
from domain.errors import HoldfastError, Refused, Unavailable

_THREADS: Final = 4
_CURVES: Final = frozenset({bytes.fromhex("06032b6570"), b"\x13\x0cedwards25519"})
"""CKA_EC_PARAMS of Ed25519: the curve's OID, or its name as PKCS#11 3.0 first had it."""
_LOST: Final = frozenset(
    {
        PyKCS11.CKR_CRYPTOKI_NOT_INITIALIZED,
        PyKCS11.CKR_DEVICE_ERROR,
        PyKCS11.CKR_DEVICE_REMOVED,
        PyKCS11.CKR_FUNCTION_FAILED,
        PyKCS11.CKR_GENERAL_ERROR,
        PyKCS11.CKR_KEY_HANDLE_INVALID,
        PyKCS11.CKR_OBJECT_HANDLE_INVALID,
        PyKCS11.CKR_OPERATION_ACTIVE,
        PyKCS11.CKR_SESSION_CLOSED,
        PyKCS11.CKR_SESSION_COUNT,
        PyKCS11.CKR_SESSION_HANDLE_INVALID,
        PyKCS11.CKR_TOKEN_NOT_PRESENT,
        PyKCS11.CKR_TOKEN_NOT_RECOGNIZED,
        PyKCS11.CKR_USER_NOT_LOGGED_IN,
    }
)
"""After these a fresh session and login may do."""
_PIN_WRONG: Final = frozenset(
    {PyKCS11.CKR_PIN_INCORRECT, PyKCS11.CKR_PIN_INVALID, PyKCS11.CKR_PIN_LEN_RANGE, PyKCS11.CKR_PIN_EXPIRED}
)
_EDDSA: Final = PyKCS11.Mechanism(PyKCS11.CKM_EDDSA, None)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Desk:
    """A thread's session, logged in, and its handle of the private key."""

    session: Any
    key: Any
    generation: int


class Pkcs11Signer:
    """Signs with one key of one token."""

    def __init__(self, *, module: Path, token_label: str, key_label: str, pin: SecretStr) -> None:
        """Nothing is opened before `open` or the first signature."""
        self._module = module
        self._token_label = token_label
        self._key_label = key_label
        self._pin = pin
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="pkcs11")
        self._own = local()
        self._desks = Lock()
        """Sessions are opened and the token is logged in to one at a time; they sign side by side."""
        self._generation = 0
        self._library: Any = None
        self._account: str | None = None
        self._pin_refused: Refused | None = None

    def __repr__(self) -> str:
        return f"Pkcs11Signer({self._token_label}/{self._key_label})"

    @property
    def public_key(self) -> str:
        """The account of the key.

        Raises:
            Unavailable: the token was not asked yet.
        """
        if self._account is None:
            raise Unavailable(
                f"token {self._token_label} was not asked for its key yet", code="signer_unavailable"
            )
        return self._account

    async def open(self) -> str:
        """Log in, find the key and check its type; gives its account.

        Raises:
            Refused: the module, the token or the key is not there, the key is of another type, the PIN is wrong.
            Unavailable: the token does not work now.
        """
        return await self._in_thread(self._open)

    async def sign(self, transaction_hash: bytes) -> bytes:
        """An Ed25519 signature over the 32-byte transaction hash.

        Raises:
            Refused: as `open`.
            Unavailable: the token does not work now.
        """
        return await self._in_thread(partial(self._sign, transaction_hash))

    def close(self) -> None:
        """End the threads; the sessions end with them."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    # in a thread

    def _open(self) -> str:
        self._at_desk(lambda desk: None)
        return self.public_key

    def _sign(self, payload: bytes) -> bytes:
        signature = self._at_desk(lambda desk: bytes(desk.session.sign(desk.key, payload, _EDDSA)))
        return checked(
            signature, payload, self.public_key, mend="look at PAYOUT_PKCS11_KEY_LABEL and the module's CKM_EDDSA"
        )

    def _at_desk(self, work: Callable[[_Desk], T]) -> T:
        """Work at this thread's session; where it is lost, once more at a fresh one."""
        try:
            return work(self._desk())
        except PyKCS11Error as error:
            if error.value not in _LOST:
                raise self._translated(error) from None
            self._leave_desk()
        try:
            return work(self._desk())
        except PyKCS11Error as error:
            self._leave_desk()
            raise self._translated(error) from None

    def _leave_desk(self) -> None:
        # Every thread opens anew: the login, and with it the handles of private objects, is the token's, not ours.
        with self._desks:
            self._generation += 1

    def _desk(self) -> _Desk:
        desk: _Desk | None = getattr(self._own, "desk", None)
        if desk is None or desk.generation != self._generation:
            with self._desks:
                if desk is not None:
                    with suppress(PyKCS11Error):
                        desk.session.closeSession()
                self._own.desk = None
                desk = self._own.desk = self._take_desk()
        return desk

    def _take_desk(self) -> _Desk:
        if self._pin_refused is not None:
            raise self._pin_refused
        session = self._loaded().openSession(self._slot())
        try:
            self._log_in(session)
            private = self._one(session, PyKCS11.CKO_PRIVATE_KEY, "private")
            if self._account is None:
                self._account = account_of(self._public_key_of(session, private))
        except BaseException:
            with suppress(PyKCS11Error):
                session.closeSession()
            raise
        return _Desk(session, private, self._generation)

    def _loaded(self) -> Any:
        if self._library is None:
            if not self._module.is_file():
                raise Refused(
                    f"there is no PKCS#11 module at {self._module}: set PAYOUT_PKCS11_MODULE to the HSM's library",
                    code="signer_refused",
                )
            try:
                self._library = PyKCS11.PyKCS11Lib().load(str(self._module))
            except PyKCS11Error as error:
                raise Refused(
                    f"{self._module} is no PKCS#11 module that can be loaded ({error}): set PAYOUT_PKCS11_MODULE",
                    code="signer_refused",
                ) from None
        return self._library

    def _slot(self) -> int:
        library = self._loaded()
        labels: list[str] = []
        for slot in library.getSlotList(tokenPresent=True):
            label = str(library.getTokenInfo(slot).label).strip(" \0")
            if label == self._token_label:
                return int(slot)
            labels.append(label)
        there = ", ".join(repr(label) for label in labels if label) or "none"
        raise Refused(
            f"the HSM has no token {self._token_label!r}, there is {there}: set PAYOUT_PKCS11_TOKEN_LABEL",
            code="signer_refused",
        )

    def _log_in(self, session: Any) -> None:
        try:
            session.login(self._pin.get_secret_value())
        except PyKCS11Error as error:
            if error.value == PyKCS11.CKR_USER_ALREADY_LOGGED_IN:
                return
            if error.value in _PIN_WRONG:
                self._pin_refused = Refused(
                    f"token {self._token_label!r} does not take the PIN, and it is not tried again: set "
                    "PAYOUT_PKCS11_PIN, and start anew",
                    code="signer_refused",
                )
                raise self._pin_refused from None
            if error.value == PyKCS11.CKR_PIN_LOCKED:
                self._pin_refused = Refused(
                    f"the PIN of token {self._token_label!r} is locked: have its security officer unlock it, and "
                    "set PAYOUT_PKCS11_PIN",
                    code="signer_refused",
                )
                raise self._pin_refused from None
            raise

    def _one(self, session: Any, kind: int, word: str) -> Any:
        found = session.findObjects([(PyKCS11.CKA_CLASS, kind), (PyKCS11.CKA_LABEL, self._key_label)])
        if len(found) != 1:
            count = "no" if not found else f"{len(found)}"
            raise Refused(
                f"token {self._token_label!r} has {count} {word} keys {self._key_label!r}, and it takes one: "
                "set PAYOUT_PKCS11_KEY_LABEL",
                code="signer_refused",
            )
        return found[0]

    def _public_key_of(self, session: Any, private: Any) -> bytes:
        self._check_type(session, private)
        public = self._one(session, PyKCS11.CKO_PUBLIC_KEY, "public")
        self._check_type(session, public)
        (point,) = session.getAttributeValue(public, [PyKCS11.CKA_EC_POINT])
        key = _point(bytes(point or b""))
        if key is None:
            raise Refused(
                f"the public key {self._key_label!r} is not readable as Ed25519: set PAYOUT_PKCS11_KEY_LABEL",
                code="signer_refused",
            )
        return key

    def _check_type(self, session: Any, key: Any) -> None:
        kind, curve = session.getAttributeValue(key, [PyKCS11.CKA_KEY_TYPE, PyKCS11.CKA_EC_PARAMS])
        # Some HSMs keep the private key's parameters to themselves; the public key tells them always.
        if kind != PyKCS11.CKK_EC_EDWARDS or (curve is not None and bytes(curve) not in _CURVES):
            named = PyKCS11.CKK.get(kind, kind)
            raise Refused(
                f"the key {self._key_label!r} is a {named}, and Stellar needs an Ed25519 key (CKK_EC_EDWARDS): "
                "set PAYOUT_PKCS11_KEY_LABEL",
                code="signer_refused",
            )

    def _translated(self, error: PyKCS11Error) -> HoldfastError:
        name = str(error).partition(" ")[0]
        if error.value in _LOST:
            return Unavailable(
                f"token {self._token_label!r} does not work now ({name})", code="signer_unavailable"
            )
        return Refused(
            f"token {self._token_label!r} will not sign with {self._key_label!r} ({name}): look at "
            "PAYOUT_PKCS11_KEY_LABEL, and whether the key may sign by CKM_EDDSA",
            code="signer_refused",
        )


def _point(encoded: bytes) -> bytes | None:
    """The 32 bytes of CKA_EC_POINT: as an OCTET STRING, as a BIT STRING, or bare, by the HSM's maker."""
    for prefix in (b"\x04\x20", b"\x03\x21\x00", b""):
        if len(encoded) == len(prefix) + KEY_BYTES and encoded.startswith(prefix):
            return encoded[len(prefix) :]
    return None
