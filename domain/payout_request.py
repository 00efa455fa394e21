"""What somebody asks of a payout, and what makes two requests the same one. Pure."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

from domain.errors import Conflict
from domain.money import Amount
from domain.settlement import SigningMode

PAYOUT_ID_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9._:\-]{0,119}$"
"""What a payout may be called: it is part of the settlement's id and of the workflow's."""
PAYOUT_ID_RIGHT: Final = "1 to 120 letters, digits and . _ : -, of which the first is a letter or a digit"
"""The same for people."""
KEY_PATTERN: Final = r"^[\x21-\x7e]{1,200}$"
"""An idempotency key, of a payout or of any other command."""
KEY_RIGHT: Final = "1 to 200 printable ASCII characters of your own, without spaces"
"""The same for people."""
RESERVED_IDS: Final = frozenset({"stats", "signatures", "signing-requests"})
"""Words that stand in a payout's place in paths."""


class PayoutRequest(BaseModel):
    """What somebody asked for, as it was understood: what a repeated request is held against.

    `asset` is the text as it was sent, `token` the contract that it means; `destination` the address as it was
    sent, `paid_to` the one that is paid: the muxed account where a memo was given.
    """

    model_config = ConfigDict(frozen=True)

    payout_id: str = Field(pattern=PAYOUT_ID_PATTERN)
    idempotency_key: str = Field(pattern=KEY_PATTERN)
    destination: str
    paid_to: str
    amount_units: int = Field(gt=0)
    asset: str
    token: str
    memo: str | None = None
    not_before: datetime | None = None
    ordered: bool = False
    signing: SigningMode | None = None
    signer: str | None = None
    """Which of the signers on offer; None: the one that PAYOUT_SIGNER names."""
    build_only: bool = False

    @property
    def amount(self) -> Amount:
        """What is paid."""
        return Amount(self.amount_units)

    def compared(self) -> dict[str, Any]:
        """By the request's own field names, what makes two requests the same: the asset by what it means."""
        return {
            "payout_id": self.payout_id,
            "idempotency_key": self.idempotency_key,
            "destination_account": self.destination,
            "amount": str(self.amount),
            "asset": self.token,
            "memo": self.memo,
            "not_before": None if self.not_before is None else self.not_before.timestamp(),
            "ordered": self.ordered,
            "signing": self.signing,
            "signer": self.signer,
            "mode": "build_only" if self.build_only else None,
        }

    def shown(self) -> dict[str, str]:
        """The same fields as text for people."""
        texts = {name: "none" if value is None else str(value) for name, value in self.compared().items()}
        if self.not_before is not None:
            texts["not_before"] = self.not_before.isoformat()
        return texts | {"asset": self.asset, "ordered": str(self.ordered).lower()}

    @property
    def fingerprint(self) -> str:
        """sha256 over what makes two requests the same."""
        return hashlib.sha256(json.dumps(self.compared(), sort_keys=True).encode()).hexdigest()


def check_same(there: PayoutRequest, asked: PayoutRequest) -> None:
    """Let a repeated request pass only if it asks for what the first one asked for.

    Raises:
        Conflict: `idempotency_conflict`, naming each field that differs and what is recorded.
    """
    if there.fingerprint == asked.fingerprint:
        return
    recorded, told, sent = there.compared(), there.shown(), asked.compared()
    differing = {name: f"recorded as {told[name]}" for name in recorded if recorded[name] != sent[name]}
    what = "payout_id" if "idempotency_key" in differing else "idempotency_key"
    raise Conflict(
        f"this {what} was used with another payload; {', '.join(differing)} differ",
        code="idempotency_conflict",
        **differing,
    )
