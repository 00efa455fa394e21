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
    # Ours: contracts/settlement_marker and contracts/sla_calculator.
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
    301: ("contract_paused", "the SLA contract is paused"),
}


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
