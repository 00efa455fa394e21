"""What must never be read by anybody: seeds, keys and PINs, wherever they stand in a text."""

from __future__ import annotations

import re
from typing import Any, Final

HIDDEN: Final = "[redacted]"

_SECRETS: Final = re.compile(
    r"(?<![A-Z2-7])S[A-Z2-7]{55}(?![A-Z2-7])"  # a Stellar seed
    r"|\b(?:hf|whsec)_[A-Za-z0-9_\-+/=]{8,}"  # an API key or a webhook's secret of ours
    r"|(?<=://)[^\s/@:]*:[^\s/@]+(?=@)"  # name and password in a URL
    r"|(?i:\b(?:bearer|basic)\s+[A-Za-z0-9._~+/=\-]{8,})"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
    re.DOTALL,
)
_SECRET_NAMES: Final = re.compile(
    r"(?i)(?:^|_|-)(?:secret|seed|password|passwd|mnemonic|authorization|api_?key|private_?key)(?:$|_(?:key|value|previous))"
    r"|^(?:access_|auth_|codec_|bearer_)?token$|^x-api-key$"
)
# A settlement's pin is a lane and a sequence number; a person's is a few digits.
_PIN_NAME: Final = re.compile(r"(?i)(?:^|_)(?:pin|ussd_text)$")
_PIN: Final = re.compile(r"[0-9*#]{3,}")


def redact(text: str) -> str:
    """Hide whatever looks like a secret."""
    return _SECRETS.sub(HIDDEN, text)


def is_secret_field(name: str, value: object) -> bool:
    """Whether a field of this name holds a secret, whatever its value looks like."""
    if _SECRET_NAMES.search(name) is not None:
        return bool(value)
    return _PIN_NAME.search(name) is not None and _PIN.fullmatch(str(value)) is not None


def redact_value(value: Any) -> Any:
    """Hide secrets within a structure that is to be logged: texts, and values under telling names."""
    match value:
        case str():
            return redact(value)
        case bytes():
            return redact(value.decode("utf-8", "replace"))
        case dict():
            return {
                key: HIDDEN if isinstance(key, str) and is_secret_field(key, item) else redact_value(item)
                for key, item in value.items()
            }
        case list() | tuple() | set() | frozenset():
            return [redact_value(item) for item in value]
        case None | bool() | int() | float():
            return value
        case _:
            return redact(str(value))
