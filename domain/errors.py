"""The whole error tree, and the one table of stable codes.

Every call to the outside ends in one of three ways, and the way says what may be done next:

* `Refused`: a definite no. Nothing moved and the same call will not do better: compensate or ask a person.
* `Unavailable`: it did not happen. The same call may be made again.
* `OutcomeUnknown`: it may have happened. Look it up by its reference; never retry under another reference,
  never refund, never fail it.

`InvalidInput`, `Conflict`, `NotFound` and `Forbidden` are refusals of our own front, before anything starts.
Retryability is a property of the error, so no caller keeps a list of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, Final


@dataclass(frozen=True, slots=True)
class ErrorCode:
    """One stable code: what it means, its HTTP status, and what a person can do about it."""

    code: str
    status: int
    title: str
    remedy: str


def _table(*rows: ErrorCode) -> Mapping[str, ErrorCode]:
    table = {row.code: row for row in rows}
    if len(table) != len(rows):
        raise AssertionError("an error code is listed twice")
    return MappingProxyType(table)


ERROR_CODES: Final[Mapping[str, ErrorCode]] = _table(
    # the front: what was asked is not right
    ErrorCode("invalid_input", 422, "The request is not right", "Mend the fields that `errors` names."),
    ErrorCode("malformed_request", 400, "The request cannot be read", "Send valid JSON in UTF-8."),
    ErrorCode("body_too_large", 413, "The request body is too large", "Send at most the size that is named."),
    ErrorCode("unauthenticated", 401, "No valid API key", "Send `Authorization: Bearer KEY` or `X-API-Key`."),
    ErrorCode("forbidden", 403, "This key may not do that", "Use a key with the scope that is named."),
    ErrorCode("not_found", 404, "There is no such thing", "Check the id."),
    ErrorCode("method_not_allowed", 405, "The path has no such method", "See `/docs`."),
    ErrorCode("rate_limited", 429, "Too many requests", "Wait as long as `Retry-After` says."),
    ErrorCode("conflict", 409, "It contradicts what is recorded", "Read the record; `errors` names the fields."),
    ErrorCode(
        "idempotency_conflict",
        409,
        "This idempotency key was used for something else",
        "Use a new key, or send the first payload again.",
    ),
    ErrorCode(
        "bad_rows",
        422,
        "The batch has bad rows",
        "Mend the rows that `errors` names, or send it with on_bad_rows=skip to pay the others.",
    ),
    ErrorCode("wrong_state", 409, "Its state does not allow that", "Read its status first."),
    ErrorCode("four_eyes", 403, "The person who began it may not approve it", "Ask another person."),
    ErrorCode("not_ready", 503, "Holdfast is not ready to move money", "See `/ready` and `holdfast doctor`."),
    ErrorCode("internal", 500, "Holdfast made a mistake", "Report it with the `instance` that is named."),
    # refusals: a definite no from policy, contract or ledger
    ErrorCode("refused", 422, "Refused", "See `detail`."),
    ErrorCode("frozen", 409, "All sending is frozen", "`holdfast thaw` when it is safe."),
    ErrorCode("live_execution_off", 409, "Live execution is off", "Set PAYOUTS_LIVE_EXECUTION=true."),
    ErrorCode(
        "exceeds_max_gas",
        422,
        "The fees exceed max gas",
        "Raise PAYOUTS_MAX_GAS_STROOPS, or wait for lower fees.",
    ),
    ErrorCode("policy_amount", 422, "Above the greatest amount for one payment", "Have the limit raised."),
    ErrorCode("policy_day", 422, "Above the day's limit", "Wait for tomorrow, or have the limit raised."),
    ErrorCode("destination_blocked", 422, "The destination is blocked", "Use another destination."),
    ErrorCode("asset_not_allowed", 422, "The asset is not allowed", "Allow it, or use another."),
    ErrorCode(
        "unexpected_authorization",
        422,
        "The simulation asked for an authorization that is not ours",
        "Do not sign. The contract or the RPC is not what it should be.",
    ),
    ErrorCode(
        "decision_differs",
        422,
        "The contract decides otherwise than the table",
        "Compare `holdfast doctor`'s table with the contract's `get_config`.",
    ),
    ErrorCode(
        "allowance_too_small",
        422,
        "The operator's allowance is too small",
        "The operator approves the named amount for the SLA contract; then retry the payment.",
    ),
    ErrorCode(
        "allowance_ended",
        422,
        "The operator's allowance has ended",
        "The operator approves again until a later ledger; then retry the payment.",
    ),
    ErrorCode("operator_balance_too_small", 422, "The operator's balance is too small", "Fund it; then retry."),
    ErrorCode("pool_too_small", 422, "The pool is too small", "Fund the pool account; then retry the payment."),
    ErrorCode("wallet_missing", 422, "A wallet of the payment is not known", "Name the wallet; then retry."),
    ErrorCode(
        "trustline_missing",
        422,
        "The recipient has no trustline for the asset",
        "The recipient sets the trustline; then retry the payment.",
    ),
    ErrorCode(
        "trustline_full",
        422,
        "The recipient's trustline is full",
        "The recipient raises the trustline's limit; then retry the payment.",
    ),
    ErrorCode(
        "payout_contract_short",
        422,
        "The payout contract holds too little",
        "Fund the payout contract; then retry the payment.",
    ),
    ErrorCode(
        "payout_call_cap",
        422,
        "Above the payout contract's cap for a call",
        "Pay less at once, or have its administrator call `set_token`.",
    ),
    ErrorCode(
        "payout_day_cap",
        422,
        "Above the payout contract's cap for the day",
        "Wait for tomorrow (UTC), or have its administrator call `set_token`.",
    ),
    ErrorCode("id_reused", 409, "The settlement id was used with other arguments", "Ask a person: see `why`."),
    ErrorCode("id_voided", 409, "The settlement id was voided", "It will never pay. Begin another."),
    ErrorCode("contract_paused", 409, "The contract is paused", "Unpause it; then retry."),
    ErrorCode("contract_refused", 422, "The contract refused", "See the contract's error number."),
    ErrorCode("contract_missing", 422, "There is no such contract", "Check the contract id; `holdfast deploy`."),
    ErrorCode("account_missing", 422, "There is no such account on the ledger", "Create and fund it."),
    ErrorCode("failed_on_ledger", 422, "The ledger recorded it as failed", "See the ledger's reason."),
    ErrorCode(
        "attempts_exhausted", 422, "It was tried as often as is allowed", "See the last reason; then retry."
    ),
    ErrorCode("cancelled", 409, "It was cancelled", "Begin another."),
    ErrorCode("expired", 409, "Its time ran out before it was sent", "Begin another."),
    ErrorCode(
        "nothing_payable", 422, "Not one recipient can be paid", "See each recipient's code; mend it, then retry."
    ),
    # what comes back from a signer
    ErrorCode(
        "signer_refused", 422, "The payer's signer will not sign", "Mend the setting that is named; then retry."
    ),
    ErrorCode("signature_refused", 422, "The signature is not acceptable", "See `detail`."),
    ErrorCode(
        "signature_malformed", 422, "It cannot be read as what was asked for", "Send the signed XDR itself."
    ),
    ErrorCode(
        "signature_fee_bump",
        422,
        "A fee bump is wrapped around it",
        "Sign the envelope as it was given: Holdfast makes the fee bump.",
    ),
    ErrorCode(
        "signature_wrong_hash",
        422,
        "Something else than what was asked for was signed",
        "Fetch the request again, and sign it unchanged.",
    ),
    ErrorCode(
        "signature_wrong_network",
        422,
        "It was signed for another network",
        "Sign with the network passphrase that the request names.",
    ),
    ErrorCode("signature_invalid", 422, "A signature does not verify", "Sign the request's hash again."),
    ErrorCode(
        "signature_unknown_signer",
        422,
        "A signature is of nobody who signs for the payer",
        "Sign with one of the request's signers; an account's signers may have changed meanwhile.",
    ),
    ErrorCode(
        "signature_superseded",
        409,
        "The request was superseded",
        "Fetch the settlement's request again, and sign that one. What was signed can never land by itself.",
    ),
    ErrorCode("signature_expired", 409, "The request has expired", "A fresh one follows: sign that one."),
    ErrorCode("signature_not_awaited", 409, "No signature is awaited", "Read the settlement's status first."),
    # it did not happen
    ErrorCode("unavailable", 503, "It did not happen", "It is tried again by itself."),
    ErrorCode("ledger_unavailable", 503, "The ledger's RPC does not answer", "Check STELLAR_SOROBAN_RPC_URL."),
    ErrorCode("database_unavailable", 503, "The database does not answer", "Check DATABASE_URL."),
    ErrorCode("temporal_unavailable", 503, "Temporal does not answer", "Check TEMPORAL_ADDRESS."),
    ErrorCode(
        "signer_unavailable", 503, "The payer's signer does not answer", "Check `PAYOUT_SIGNER`'s settings."
    ),
    ErrorCode("no_lane_free", 503, "Every lane is busy", "Wait for a ledger, or raise LANES_MAX."),
    ErrorCode(
        "busy_source", 503, "The source has a transaction in the queue", "It is sent after the next ledger."
    ),
    ErrorCode("entry_archived", 503, "A ledger entry is archived", "It is restored with the next try."),
    ErrorCode("history_changed", 503, "The ledger or the database went back in time", "`holdfast reconcile`."),
    # it may have happened
    ErrorCode(
        "outcome_unknown",
        409,
        "It is not known whether it happened",
        "Nothing to do: it is looked up until there is proof. See `why`.",
    ),
)


class HoldfastError(Exception):
    """The root: a code of `ERROR_CODES`, a sentence, and figures that a program can read."""

    default_code: ClassVar[str] = "internal"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, /, *, code: str | None = None, **details: str) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.details = details
        if self.code not in ERROR_CODES:
            raise AssertionError(f"{self.code!r} is not in ERROR_CODES")

    def __reduce__(self) -> tuple[object, ...]:
        """Survive pickling with code and details."""
        return (_rebuild, (type(self), self.message, self.code, self.details))


def _rebuild(kind: type[HoldfastError], message: str, code: str, details: dict[str, str]) -> HoldfastError:
    return kind(message, code=code, **details)


class Refused(HoldfastError):
    """A definite no: nothing moved and the same call will not do better."""

    default_code = "refused"


class Unavailable(HoldfastError):
    """It did not happen; the same call may be made again."""

    default_code = "unavailable"
    retryable = True


class OutcomeUnknown(HoldfastError):
    """It may have happened: look it up by its reference."""

    default_code = "outcome_unknown"
    retryable = True


class InvalidInput(Refused):
    """What was asked is not right; `details` maps each field to what would be."""

    default_code = "invalid_input"


class Conflict(Refused):
    """It contradicts what is recorded."""

    default_code = "conflict"


class NotFound(Refused):
    """There is no such thing."""

    default_code = "not_found"


class Forbidden(Refused):
    """The caller may not do that."""

    default_code = "forbidden"


OUTCOMES: Final[Mapping[str, type[HoldfastError]]] = MappingProxyType(
    {
        kind.__name__: kind
        for kind in (Refused, Unavailable, OutcomeUnknown, InvalidInput, Conflict, NotFound, Forbidden)
    }
)
"""Name to class, for the one translation to and from Temporal failures."""
