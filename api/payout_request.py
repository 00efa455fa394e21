"""A payout's request: each field read strictly, and refused with what would be right."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from adapters.stellar.assets import ASSET_RIGHT, token_of
from api.deps import Deps
from api.fields import Body, Instant, MoneyText
from domain.address import RECIPIENT_RIGHT, recipient_of
from domain.errors import InvalidInput
from domain.money import Amount
from domain.payout_request import KEY_PATTERN, KEY_RIGHT, PAYOUT_ID_PATTERN, RESERVED_IDS, PayoutRequest
from domain.settlement import SigningMode


def _recipient(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(RECIPIENT_RIGHT)
    try:
        return recipient_of(value.strip())
    except InvalidInput as error:
        raise ValueError("; ".join(error.details.values())) from None


def _memo(value: Any) -> Any:
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if text is None or (isinstance(text, str) and text.isascii() and text.isdigit() and len(text) <= 20):
        return text
    raise ValueError("a whole number up to 18446744073709551615: contract payments carry no other memo")


def _asset(value: Any) -> str:
    try:
        token_of(value.strip(), "")
    except (AttributeError, InvalidInput):
        raise ValueError(ASSET_RIGHT) from None
    return str(value.strip())


def _some(value: Amount) -> Amount:
    if value.units == 0:
        raise ValueError("more than 0")
    return value


def _not_reserved(value: str) -> str:
    if value in RESERVED_IDS:
        raise ValueError("another id: this word is a path of its own")
    return value


Recipient = Annotated[
    str,
    BeforeValidator(_recipient),
    WithJsonSchema(
        {"type": "string", "pattern": "^[GMC][A-Z2-7]{55,68}$", "description": f"Who is paid: {RECIPIENT_RIGHT}."}
    ),
]
AssetText = Annotated[
    str,
    BeforeValidator(_asset),
    WithJsonSchema({"type": "string", "maxLength": 69, "description": ASSET_RIGHT, "examples": ["XLM"]}),
]


class CreatePayout(Body):
    """Whom to pay, how much of what, once for this idempotency key."""

    payout_id: Annotated[
        str, Field(pattern=PAYOUT_ID_PATTERN, examples=["round-1-winner-1"]), AfterValidator(_not_reserved)
    ]
    destination_account: Recipient
    amount: Annotated[MoneyText, AfterValidator(_some)]
    asset: AssetText
    idempotency_key: Annotated[str, Field(pattern=KEY_PATTERN)] | None = Field(
        default=None,
        description="Here or as the header `Idempotency-Key`; where both are sent they must agree. Kept for good.",
        examples=["round-1:winner-1:2026-02-22"],
    )
    memo: Annotated[
        str | None,
        BeforeValidator(_memo),
        WithJsonSchema(
            {
                "anyOf": [
                    {"type": "string", "pattern": "^[0-9]{1,20}$"},
                    {"type": "integer", "minimum": 0, "maximum": 2**64 - 1},
                    {"type": "null"},
                ],
                "description": "A number, with an account (G…): it is paid to the muxed account (M…).",
            }
        ),
    ] = None
    not_before: Instant | None = Field(default=None, description="Not handed over before this time.")
    ordered: bool = Field(
        default=False, description="Strictly after all earlier ordered payouts of the same payer have ended."
    )
    signing: SigningMode | None = Field(default=None, description="Without it as PAYOUT_SIGNING says.")
    signer: Literal["hot", "kms", "pkcs11", "external"] | None = Field(
        default=None, description="One of PAYOUT_SIGNERS_OFFERED; without it as PAYOUT_SIGNER says."
    )
    mode: Literal["build_only"] | None = Field(
        default=None, description="`build_only`: it ends as an unsigned envelope, whatever the settings say."
    )


def understood(deps: Deps, body: CreatePayout, header: str | None) -> PayoutRequest:
    """Put header, address, memo and asset together.

    Raises:
        InvalidInput: naming the fields.
    """
    key = body.idempotency_key or header
    if key is None:
        raise InvalidInput(
            "idempotency_key is needed",
            idempotency_key=f"here, or as the header Idempotency-Key: {KEY_RIGHT}",
        )
    if header is not None and header != key:
        raise InvalidInput(
            "two idempotency keys were sent", idempotency_key="the same as in the header Idempotency-Key"
        )
    paid_to = recipient_of(body.destination_account, body.memo, field="destination_account")
    return PayoutRequest(
        payout_id=body.payout_id,
        idempotency_key=key,
        destination=body.destination_account,
        paid_to=paid_to,
        amount_units=body.amount.units,
        asset=body.asset,
        token=token_of(body.asset, deps.payouts.network_passphrase),
        memo=body.memo,
        not_before=body.not_before,
        ordered=body.ordered,
        signing=body.signing,
        signer=body.signer,
        build_only=body.mode is not None,
    )
