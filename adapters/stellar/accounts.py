"""Accounts whose reserve somebody else pays: created, given trustlines, and never created twice.

The witness of this set-up is the ledger itself: an account or trustline that exists is left out, so a lost answer
costs a look and nothing more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Final

from stellar_sdk import Asset, Keypair
from stellar_sdk.operation import (
    BeginSponsoringFutureReserves,
    ChangeTrust,
    CreateAccount,
    EndSponsoringFutureReserves,
    SetOptions,
)
from stellar_sdk.operation.operation import Operation

from adapters.stellar.entries import account_key, trustline_key
from adapters.stellar.own_sequence import OwnSequence
from adapters.stellar.rpc import Rpc
from domain.errors import OutcomeUnknown, Refused, Unavailable

_OPERATIONS_MAX: Final = 100
_SIGNATURES_MAX: Final = 20
_KEYS_MAX: Final = 200
_FAILURES_MAX: Final = 3
"""In a row, for one transaction; a success begins the count again."""

OneBuilder = Callable[[], AbstractAsyncContextManager[Any]]
"""Lets one builder at a time use the funder's sequence number, over all processes."""


@dataclass(frozen=True, slots=True)
class Created:
    """What was made by this call; what existed already is not in it."""

    accounts: tuple[str, ...]
    trustlines: int
    transactions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Missing:
    """What one account lacks."""

    keypair: Keypair
    account: bool
    trustlines: tuple[Asset, ...]
    home_domain: str | None

    def operations(self, funder: str) -> list[Operation]:
        address = self.keypair.public_key
        made: list[Operation] = [BeginSponsoringFutureReserves(sponsored_id=address, source=funder)]
        if self.account:
            made.append(CreateAccount(destination=address, starting_balance="0", source=funder))
            if self.home_domain is not None:
                made.append(SetOptions(home_domain=self.home_domain, source=address))
        made += [ChangeTrust(asset=asset, source=address) for asset in self.trustlines]
        made.append(EndSponsoringFutureReserves(source=address))
        return made


class SponsoredAccounts:
    """Creates accounts without XLM of their own: the funder sponsors their reserves and pays the fee."""

    def __init__(
        self,
        rpc: Rpc | str,
        funder: Keypair,
        network_passphrase: str,
        *,
        one_builder: OneBuilder = nullcontext,
        fee_per_operation_stroops: int = 1_000,
        poll_seconds: float = 0.2,
        patience_seconds: float = 120.0,
    ) -> None:
        """`one_builder` gives a lock over all processes that share the funder, such as an advisory lock."""
        self._rpc = Rpc(rpc) if isinstance(rpc, str) else rpc
        self._funder = funder
        self._one_builder = one_builder
        self._source = OwnSequence(
            self._rpc,
            funder,
            network_passphrase,
            fee_per_operation_stroops=fee_per_operation_stroops,
            poll_seconds=poll_seconds,
            patience_seconds=patience_seconds,
        )

    async def create(
        self, new: Sequence[Keypair], *, trustlines: Sequence[Asset] = (), home_domain: str | None = None
    ) -> Created:
        """Have these accounts with these trustlines on the ledger.

        `home_domain` (at most 32 bytes) is set on accounts that are created, not on those that exist. Order and
        duplicates of `new` do not matter. As many accounts go into one transaction as 100 operations and 20
        signatures admit.

        Raises:
            Refused: the funder is not on the ledger, lacks XLM for the reserves, or the ledger failed it.
            Unavailable: the ledger does not answer; nothing is in flight.
            OutcomeUnknown: there is no proof in time; calling it again finds out, and makes nothing twice.
        """
        wanted = list({keypair.public_key: keypair for keypair in new}.values())
        lines = tuple(asset for asset in dict.fromkeys(trustlines) if not asset.is_native())
        if not wanted:
            return Created((), 0, ())
        accounts: list[str] = []
        trustlines_made = 0
        transactions: list[str] = []
        async with self._one_builder():
            failures = 0
            while missing := await self._missing(wanted, lines, home_domain):
                part = self._first(missing)
                operations = [operation for one in part for operation in one.operations(self._funder.public_key)]
                try:
                    landed = await self._source.land(operations, signers=[one.keypair for one in part])
                except (OutcomeUnknown, Unavailable):
                    failures += 1
                    if failures >= _FAILURES_MAX:
                        raise
                    continue  # the next look at the witness says what became of it
                except Refused as error:
                    failures += 1
                    self._raise_if_definite(error, len(part), failures)
                    continue
                failures = 0
                accounts += [one.keypair.public_key for one in part if one.account]
                trustlines_made += sum(len(one.trustlines) for one in part)
                transactions.append(landed.hash)
        return Created(tuple(accounts), trustlines_made, tuple(transactions))

    def _raise_if_definite(self, error: Refused, accounts: int, failures: int) -> None:
        """Let pass what the next look may explain: another may have created one of the accounts meanwhile."""
        if "LOW_RESERVE" in error.details.get("result", ""):
            raise Refused(
                f"the funder {self._funder.public_key} has too little XLM for the reserves of {accounts} accounts",
                code="failed_on_ledger",
                **error.details,
            ) from error
        if error.code != "failed_on_ledger" or failures >= _FAILURES_MAX:
            raise error

    async def _missing(
        self, wanted: Sequence[Keypair], lines: Sequence[Asset], home_domain: str | None
    ) -> list[_Missing]:
        keys = {
            keypair.public_key: (
                account_key(keypair.public_key).to_xdr(),
                {asset: trustline_key(keypair.public_key, asset).to_xdr() for asset in lines},
            )
            for keypair in wanted
        }
        flat = [key for account, trusts in keys.values() for key in (account, *trusts.values())]
        there: set[str] = set()
        for start in range(0, len(flat), _KEYS_MAX):
            there |= (await self._rpc.ledger_entries(flat[start : start + _KEYS_MAX])).by_key.keys()
        missing = []
        for keypair in wanted:
            account, trusts = keys[keypair.public_key]
            lacking = tuple(asset for asset, key in trusts.items() if key not in there)
            if account not in there or lacking:
                missing.append(_Missing(keypair, account not in there, lacking, home_domain))
        return missing

    def _first(self, missing: Sequence[_Missing]) -> list[_Missing]:
        """As many as one transaction holds, and at least one."""
        part: list[_Missing] = []
        operations = 0
        for one in missing:
            count = len(one.operations(self._funder.public_key))
            if count > _OPERATIONS_MAX:
                raise Refused(f"{len(one.trustlines)} trustlines do not fit into one transaction")
            # The funder signs too.
            if operations + count > _OPERATIONS_MAX or len(part) + 2 > _SIGNATURES_MAX:
                break
            part.append(one)
            operations += count
        return part
