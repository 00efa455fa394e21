"""Where settings come from beside the environment: files that hold a secret, and names that are misspelt."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, get_args

from dotenv import dotenv_values
from pydantic import AliasChoices, SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from settings.fields import Keyring


def environment_names(name: str, field: FieldInfo) -> tuple[str, ...]:
    """Every environment variable that sets a field, the preferred one first."""
    if isinstance(field.validation_alias, AliasChoices):
        return tuple(str(choice) for choice in field.validation_alias.choices)
    return (name.upper(),)


def is_secret(field: FieldInfo) -> bool:
    """Whether a field's value must never be shown."""
    kinds = {field.annotation, *get_args(field.annotation)}
    inner = {argument for kind in kinds for argument in get_args(kind)}
    return bool({SecretStr, Keyring} & (kinds | inner))


def environment(env_file: Path | None) -> dict[str, str]:
    """The variables at hand: those of the process over those of the file. Empty ones count as absent."""
    values: dict[str, str | None] = {}
    if env_file is not None and env_file.is_file():
        values.update(dotenv_values(env_file))
    values.update(os.environ)
    return {name: value for name, value in values.items() if value}


class SecretFiles(PydanticBaseSettingsSource):
    """Read `NAME` from the file that `NAME_FILE` points to, as container platforms hand out secrets."""

    def __init__(self, settings_class: type[BaseSettings], values: Mapping[str, str]) -> None:
        super().__init__(settings_class)
        self._values = values

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """The secret, the name that it is validated under, and that it is not JSON."""
        for name in environment_names(field_name, field):
            path = self._values.get(f"{name}_FILE")
            if path and is_secret(field):
                return Path(path).read_text(encoding="utf-8").strip(), field_name, False
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        """All secrets that come from files."""
        found: dict[str, Any] = {}
        for field_name, field in self.settings_cls.model_fields.items():
            value, key, _ = self.get_field_value(field, field_name)
            if value is not None:
                found[key] = value
        return found


def secret_file_problems(fields: Mapping[str, FieldInfo], values: Mapping[str, str]) -> list[tuple[str, str]]:
    """Files that cannot be read, and secrets that are given twice: (variable, what would be right)."""
    problems = []
    for field_name, field in fields.items():
        if not is_secret(field):
            continue
        for name in environment_names(field_name, field):
            path = values.get(f"{name}_FILE")
            if not path:
                continue
            if name in values:
                problems.append((name, f"set {name} or {name}_FILE, not both"))
            elif not os.access(path, os.R_OK) or not Path(path).is_file():
                problems.append((f"{name}_FILE", f"the path of a file that can be read; {path!r} is not one"))
    return problems


_OUR_PREFIXES: Final = ("HOLDFAST_", "PAYOUT_", "PAYOUTS_", "STELLAR_")
_READ_ELSEWHERE: Final = frozenset(
    {"HOLDFAST_API_URL", "HOLDFAST_API_KEY", "HOLDFAST_LEDGER_BINARY", "HOLDFAST_KMS_BINARY", "HOLDFAST_VERSION"}
)


def _known(fields: Mapping[str, FieldInfo]) -> frozenset[str]:
    known = {name for field_name, field in fields.items() for name in environment_names(field_name, field)}
    return frozenset(known | {f"{name}_FILE" for name in known})


def unknown_names(fields: Mapping[str, FieldInfo], names: Iterable[str]) -> list[tuple[str, str | None]]:
    """Variables that look like settings and are none, each with the setting's name that comes nearest."""
    known = _known(fields)
    return [
        (name, next(iter(difflib.get_close_matches(name.upper(), known, n=1, cutoff=0.6)), None))
        for name in sorted(names)
        if name.upper().startswith(_OUR_PREFIXES) and name.upper() not in known | _READ_ELSEWHERE
    ]


def misspelt(fields: Mapping[str, FieldInfo], names: Iterable[str]) -> list[tuple[str, str]]:
    """Variables that are nearly a setting's name: a limit that is misspelt must not silently be off.

    Temporal's own client reads further `TEMPORAL_` names, and the front end's begin with `VITE_`.
    """
    known = _known(fields)
    problems = []
    for name in sorted(names):
        if name.upper() in known or name.upper().startswith(("VITE_", "TEMPORAL_")):
            continue
        near = difflib.get_close_matches(name.upper(), known, n=1, cutoff=0.92)
        if near:
            problems.append((name, f"no setting has this name; did you mean {near[0]}?"))
    return problems
