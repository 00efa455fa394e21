"""The doctor's look at the payout contract: executor, pause, and for each token caps and what is there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from adapters.stellar.deployment import Deployment
from adapters.stellar.entries import asset_of, instance_key
from adapters.stellar.payout_contract import Caps, PayoutConfig, PayoutContract, TokenState
from adapters.stellar.rpc import Rpc
from cli.deploy import PAYOUT, caps_of
from cli.doctor_contract import runs_committed_code
from cli.findings import Findings
from settings import Settings
from settings.stellar import native_contract

CHECK: Final = "payout contract"


class PayoutCheck:
    """Reads one payout contract; nothing is signed and nothing sent."""

    def __init__(self, settings: Settings, rpc: Rpc, findings: Findings, *, close_seconds: float) -> None:
        self._settings = settings
        self._rpc = rpc
        self._findings = findings
        self._deployment = Deployment(rpc, settings.stellar_network_passphrase)
        self._close_seconds = close_seconds

    async def run(self) -> None:
        """Check everything that a payout rests on.

        Raises:
            Refused, Unavailable: a look could not be taken.
        """
        contract = self._settings.payout_contract_id
        if contract is None:
            self._findings.warn(
                CHECK, "PAYOUT_CONTRACT_ID is not set: no payout is made", "`holdfast deploy` prints it."
            )
            return
        if not await runs_committed_code(
            self._rpc,
            self._deployment,
            self._findings,
            contract,
            wasm=PAYOUT,
            check=CHECK,
            words="the payout contract",
            setting="PAYOUT_CONTRACT_ID",
            close_seconds=self._close_seconds,
        ):
            return
        reader = PayoutContract(self._rpc, self._settings.stellar_network_passphrase, contract)
        config = await reader.config()
        self._powers(config)
        await self._tokens(reader, config.tokens, contract)

    def _powers(self, config: PayoutConfig) -> None:
        payer = self._settings.payout_source_account
        if config.executor == payer:
            self._findings.ok(f"{CHECK} executor", config.executor)
        else:
            self._findings.fail(
                f"{CHECK} executor",
                f"the contract says {config.executor}, the settings {payer}",
                "Have the contract's administrator call `set_executor`; or PAYOUT_SOURCE_ACCOUNT.",
            )
        if config.admin == config.executor and not self._settings.local:
            self._findings.warn(
                f"{CHECK} admin",
                f"the payer {config.admin} is the administrator too: the caps do not bind its key",
                "Have `propose_admin` and `accept_admin` give it to a key that is kept offline.",
            )
        else:
            self._findings.ok(f"{CHECK} admin", config.admin)
        if config.paused:
            self._findings.fail(f"{CHECK} paused", "it is paused", "Have the administrator call `unpause`.")
        else:
            self._findings.ok(f"{CHECK} paused", "it is in service")

    async def _tokens(self, reader: PayoutContract, allowed: Mapping[str, Caps], contract: str) -> None:
        xlm = native_contract(self._settings.stellar_network_passphrase)
        for token in self._settings.allowed_assets:
            data = await self._deployment.entry(instance_key(token))
            if data is None:
                continue  # told where the token's own setting is checked; XLM's contract may not be deployed yet
            asset = asset_of(data)
            name = "XLM" if token == xlm else asset.code if asset is not None else token
            check = f"payout {name}"
            state = await reader.token(token) if token in allowed else None
            if state is None:
                self._findings.warn(
                    check,
                    f"the contract does not allow {token}: payouts of {name} are refused",
                    "Have the administrator call `set_token`; or leave it out of ALLOWED_ASSETS.",
                )
            else:
                self._state(check, name, state, contract)

    def _state(self, check: str, name: str, state: TokenState, contract: str) -> None:
        caps, ours = state.caps, caps_of(self._settings)
        words = (
            f"{state.balance.brief} {name} there; a call may move {caps.per_call.brief}, "
            f"a day {caps.per_day.brief}, {state.moved_today.brief} moved today"
        )
        if not state.balance.units:
            self._findings.warn(check, words, f"Send {name} to {contract}, or call `fund`.")
        elif caps.per_call > ours.per_call or caps.per_day > ours.per_day:
            self._findings.warn(
                check,
                f"{words}: more than the settings' {ours.per_call.brief} and {ours.per_day.brief}",
                "Have the administrator call `set_token`; or PAYOUT_CAP_PER_CALL, PAYOUT_CAP_PER_DAY.",
            )
        elif caps.per_call < self._settings.policy_max_amount:
            self._findings.warn(
                check,
                f"{words}; POLICY_MAX_AMOUNT is {self._settings.policy_max_amount.brief}",
                "Have the administrator call `set_token` with a higher cap for a call.",
            )
        else:
            self._findings.ok(check, words)
