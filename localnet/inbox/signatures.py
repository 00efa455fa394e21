"""Whether a webhook's signature is right, by the two common schemes.

`t=TIME,v1=HEX` signs `TIME.BODY`; Standard Webhooks' `v1,BASE64` signs `ID.TIME.BODY`. Both are HMAC-SHA256.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Mapping
from typing import Final

AGE_SECONDS_MAX: Final = 300
"""An older timestamp may be a replay."""


def verify(headers: Mapping[str, str], body: bytes, secret: str) -> tuple[bool | None, str]:
    """Judge a webhook: (right or wrong, why); None where it carries no signature that we know."""
    lower = {name.lower(): value for name, value in headers.items()}
    for name, value in lower.items():
        if not name.endswith("-signature"):
            continue
        if "t=" in value and "v1=" in value:
            return _timestamped(name, value, body, secret)
        if value.startswith("v1,"):
            return _standard(lower, name.removesuffix("-signature"), value, body, secret)
    return None, "it carries no signature"


def _is_fresh(timestamp: str) -> bool:
    try:
        return abs(time.time() - int(timestamp)) <= AGE_SECONDS_MAX
    except ValueError:
        return False


def _timestamped(name: str, value: str, body: bytes, secret: str) -> tuple[bool, str]:
    pairs = [part.strip().partition("=") for part in value.split(",")]
    timestamp = next((item for key, _, item in pairs if key == "t"), "")
    expected = hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    # Several v1 entries are there while a secret is being changed.
    if not any(key == "v1" and hmac.compare_digest(item, expected) for key, _, item in pairs):
        return False, f"{name} does not sign this body with our secret"
    if not _is_fresh(timestamp):
        return False, f"{name} is right, and its timestamp is too far from now"
    return True, f"{name} is right"


def _standard(headers: Mapping[str, str], prefix: str, value: str, body: bytes, secret: str) -> tuple[bool, str]:
    key = secret.encode()
    if secret.startswith("whsec_"):
        try:
            key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
        except binascii.Error:
            return False, "our secret is not base64 after whsec_"
    message_id, timestamp = headers.get(f"{prefix}-id", ""), headers.get(f"{prefix}-timestamp", "")
    signed = f"{message_id}.{timestamp}.".encode() + body
    expected = "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    if not any(hmac.compare_digest(candidate, expected) for candidate in value.split()):
        return False, f"{prefix}-signature does not sign this body with our secret"
    if not _is_fresh(timestamp):
        return False, f"{prefix}-signature is right, and its timestamp is too far from now"
    return True, f"{prefix}-signature is right"
