"""Answers as JSON whose amounts are exact: a decimal is written digit by digit and never becomes a float."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Final

from pydantic import BaseModel, WithJsonSchema
from starlette.responses import Response

from domain.instants import instant
from domain.money import Amount

MoneyNumber = Annotated[
    Decimal,
    WithJsonSchema(
        {
            "type": "number",
            "minimum": 0,
            "description": "An exact decimal number with 2 to 7 decimals: read it as a decimal, not as a float.",
        }
    ),
]
"""An amount in an answer, as the guide shows it: `1000.00`."""

_CENTS: Final = Decimal("0.01")


def money(amount: Amount) -> Decimal:
    """An amount with at least two decimals and no more than it needs: 1000.00, 0.0000001."""
    exact = amount.decimal
    cents = exact.quantize(_CENTS)
    return cents if cents == exact else exact.normalize()


class ExactJSONResponse(Response):
    """JSON with exact decimals; models, times and enums are understood."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Write it."""
        return write_json(content).encode()


def write_json(value: Any) -> str:
    """Write one value as JSON."""
    match value:
        case BaseModel():
            # dict(value) would call a field that is named `keys`.
            text = write_json({name: getattr(value, name) for name in type(value).model_fields})
        case Decimal():
            text = f"{value:f}"
        case datetime():
            text = json.dumps(instant(value))
        case Enum():
            text = write_json(value.value)
        case Mapping():
            members = (f"{json.dumps(str(key))}:{write_json(item)}" for key, item in value.items())
            text = "{" + ",".join(members) + "}"
        case list() | tuple() | set() | frozenset():
            text = "[" + ",".join(write_json(item) for item in value) + "]"
        case _:
            text = json.dumps(value, ensure_ascii=False)
    return text
