"""What a failed simulation means: the contracts' numbers, and the Stellar Asset Contract's, as stable codes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from domain.errors import HoldfastError, Refused, Unavailable

_CONTRACT_ERROR: Final = re.compile(r"Error\(Contract, #(?P<number>[0-9]+)\)")
_HOST_ERROR: Final = re.compile(r"Error\((?P<kind>[A-Za-z]+), (?P<what>[A-Za-z]+)\)")

CONTRACT_ERRORS: Final[Mapping[int, tuple[str, str]]] = {
    # The Stellar Asset Contract's own numbers (soroban-env-host `ContractError`).
    6: ("account_missing", "an account is not on the ledger"),
    9: ("allowance_too_small", "the operator's allowance is too small or has ended"),
    10: ("pool_too_small", "a balance is too small"),
    11: ("refused", "the issuer has frozen a balance"),
    13: ("trustline_missing", "the recipient has no trustline for the asset"),
    # XLM makes an account that is not there yet, with what it needs to exist.
    14: ("account_missing", "the recipient's account is not on the ledger, and this is too little to make it"),
    # Ours: contracts/settlement_marker, contracts/sla_calculator and contracts/payout.
    101: ("id_reused", "the contract knows this id with other arguments"),
    102: ("id_voided", "this id was voided on the contract: it will never pay"),
    103: ("id_reused", "the id is settled already"),
    201: ("allowance_too_small", "the operator's allowance for the SLA contract is too small or has ended"),
    202: ("operator_balance_too_small", "the operator's balance is too small"),
    203: ("pool_too_small", "the pool's balance is too small"),
    204: ("account_missing", "the recipient's account is not on the ledger"),
    205: ("trustline_missing", "the recipient has no trustline for the asset"),
    206: ("refused", "a balance is frozen by the asset's issuer"),
    207: ("contract_refused", "the token refused the transfer"),
    208: ("contract_refused", "payer and recipient are the same"),
    209: ("contract_refused", "the amount is beyond what the contract can compute"),
    301: ("contract_paused", "the contract is paused"),
    303: ("contract_refused", "the contract's state is not of its code's schema: its administrator migrates it"),
    310: ("contract_refused", "a cap is not positive, or a day's is below a call's"),
    311: ("contract_refused", "the contract allows as many tokens as it keeps"),
    401: ("contract_refused", "the list of recipients is empty"),
    402: ("contract_refused", "the list of recipients is longer than the contract takes"),
    403: ("contract_refused", "an amount is not positive"),
    404: ("asset_not_allowed", "the payout contract does not allow the token"),
    405: ("payout_call_cap", "the amount is above the payout contract's cap for a call"),
    406: ("payout_day_cap", "the amount is above what the payout contract's cap leaves of the day"),
    407: ("payout_contract_short", "the payout contract holds too little of the token"),
    408: ("contract_refused", "the token refused the transfer"),
    409: ("contract_refused", "the recipient is the payout contract itself"),
}

_TRUSTLINE_FULL: Final = ("trustline_full", "the recipient's trustline cannot hold that much")
RECIPIENT_OUTCOMES: Final[Mapping[int, tuple[str, str]]] = {
    6: ("account_missing", "the recipient's account is not on the ledger"),
    # The payer's balance is checked before, so that the balance which is out of bounds is the recipient's.
    10: _TRUSTLINE_FULL,
    11: ("refused", "the issuer has frozen the recipient's balance, or not authorized it"),
    13: CONTRACT_ERRORS[13],
    14: CONTRACT_ERRORS[14],
}
"""The bytes of a distribution's outcomes that have words of their own; 0 is paid."""


def recipient_refusal(outcome: int) -> Refused | None:
    """Why a recipient of a distribution was not paid, by its byte in `outcomes`; None for 0, which is paid."""
    if not outcome:
        return None
    code, sentence = RECIPIENT_OUTCOMES.get(outcome, ("contract_refused", "the token refused the transfer"))
    return Refused(f"{sentence} (outcome {outcome})", code=code, contract_error=str(outcome))


def trustline_full() -> Refused:
    """The refusal of a recipient's trustline whose limit is too low."""
    code, sentence = _TRUSTLINE_FULL
    return Refused(f"{sentence} (contract error 10)", code=code, contract_error="10")


def explain(error: str) -> HoldfastError:
    """The outcome of a simulation that failed: Refused with a stable code, or Unavailable where it may pass."""
    found = _CONTRACT_ERROR.search(error)
    if found is not None:
        number = int(found["number"])
        code, sentence = CONTRACT_ERRORS.get(number, ("contract_refused", "the contract refused"))
        return Refused(f"{sentence} (contract error {number})", code=code, contract_error=str(number))
    host = _HOST_ERROR.search(error)
    words = (
        f"{host['kind']} {host['what']}" if host else error.splitlines()[0][:200] if error else "no reason given"
    )
    if host is not None and host["what"] == "MissingValue":
        return Refused(
            f"the contract or one of its entries is not on the ledger ({words})", code="contract_missing"
        )
    if "archived" in error.lower():
        return Unavailable(f"an entry is archived ({words})", code="entry_archived")
    return Refused(f"the simulation failed: {words}", code="contract_refused")
