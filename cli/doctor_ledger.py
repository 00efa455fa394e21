"""The doctor's look at the ledger: network, clock, accounts, trustlines, balances, allowances and contracts."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from stellar_sdk import Account, Address, Asset, Keypair, TransactionBuilder, scval, xdr

from adapters.database.registry import Operator
from adapters.stellar.calls import map_fields
from adapters.stellar.contract_errors import explain
from adapters.stellar.deployment import Deployment
from adapters.stellar.entries import (
    account_key,
    account_state,
    asset_of,
    instance_key,
    trustline_key,
    trustline_state,
)
from adapters.stellar.rpc import Rpc
from cli.deploy import SLA
from cli.doctor_contract import days, runs_committed_code
from cli.doctor_payout import PayoutCheck
from cli.findings import Findings
from domain.errors import Refused
from domain.money import Amount
from domain.sla import SLA_TABLE, Severity
from settings import Settings

_SKEW_WARN: Final = timedelta(seconds=15)
_SKEW_FAIL: Final = timedelta(seconds=60)
_XLM_WARN: Final = Amount.of(10)
_LANE_RESERVE_XLM: Final = 1
"""Two base reserves, which the fee account sponsors for each lane."""
_BANDS: Final[Mapping[str, int]] = {
    "exceptional_below_percent": 50,
    "exceptional_reward_percent": 200,
    "excellent_below_percent": 75,
    "excellent_reward_percent": 150,
    "good_reward_percent": 100,
}
"""The guide's multipliers, as the contract writes them."""


class LedgerCheck:
    """Reads one network; nothing is signed and nothing sent."""

    def __init__(self, settings: Settings, rpc: Rpc, findings: Findings) -> None:
        self._settings = settings
        self._rpc = rpc
        self._findings = findings
        self._deployment = Deployment(rpc, settings.stellar_network_passphrase)
        self._assets: dict[str, Asset | None] = {}
        self._ledger = 0
        self._close_seconds = settings.ledger_close_ms / 1000 if settings.starts_ledger else 5.0

    async def run(self) -> None:
        """Check everything that does not need the registry."""
        if not await self._findings.attempt("network", self._network):
            return
        await self._findings.attempt("clock", self._clock)
        await self._findings.attempt("accounts", self._accounts)
        await self._findings.attempt("tokens", self._tokens)
        await self._findings.attempt("contract", self._contract)
        payouts = PayoutCheck(self._settings, self._rpc, self._findings, close_seconds=self._close_seconds)
        await self._findings.attempt("payout contract", payouts.run)

    async def _network(self) -> None:
        passphrase = await self._rpc.network()
        ours = self._settings.stellar_network_passphrase
        if passphrase == ours:
            self._findings.ok("network", f"{self._settings.stellar_soroban_rpc_url}: {passphrase}")
        else:
            self._findings.fail(
                "network",
                f"the RPC speaks for {passphrase!r}, the settings for {ours!r}",
                "Make STELLAR_NETWORK, STELLAR_NETWORK_PASSPHRASE and STELLAR_SOROBAN_RPC_URL agree.",
            )

    async def _clock(self) -> None:
        head = await self._rpc.latest_ledger()
        self._ledger = head.sequence
        self._close_seconds = await self._rpc.close_seconds(head) or self._close_seconds
        behind = datetime.now(UTC) - head.closed_at
        words = f"ledger {head.sequence} closed {behind.total_seconds():.0f} s ago by the local clock"
        mend = "Set the clock by NTP; or the ledger is stalled: look at STELLAR_SOROBAN_RPC_URL."
        if abs(behind) > _SKEW_FAIL:
            self._findings.fail("clock", words, mend)
        elif abs(behind) > _SKEW_WARN:
            self._findings.warn("clock", words, mend)
        else:
            self._findings.ok("clock", words)

    async def _accounts(self) -> None:
        pool = self._settings.stellar_pool_public_key
        if self._settings.stellar_pool_secret_key is None:
            self._findings.fail(
                "pool key", "no key signs for the pool", "Set STELLAR_POOL_SECRET_KEY, or its _FILE."
            )
        else:
            self._findings.ok("pool key", f"signs for {pool}")
        if pool is not None:
            await self._account("pool account", pool, Amount.of(1))
        fee = self._settings.stellar_fee_secret_key
        if fee is not None:
            payer = Keypair.from_secret(fee.get_secret_value()).public_key
            if payer == pool:
                self._findings.warn(
                    "fee account",
                    "the pool pays the fees itself",
                    "Set STELLAR_FEE_SECRET_KEY to an account of its own, so that the pool's key only pays.",
                )
            reserve = Amount.of(self._settings.lanes_max * _LANE_RESERVE_XLM)
            await self._account("fee account", payer, reserve + _XLM_WARN)

    async def _account(self, check: str, address: str, wanted: Amount) -> None:
        data = await self._deployment.entry(account_key(address))
        if data is None:
            self._findings.fail(check, f"{address} is not on the ledger", "Create it with some XLM.")
            return
        spendable = Amount(account_state(data).spendable_units)
        words = f"{address} may spend {spendable.brief} XLM"
        if spendable.units < Amount.of(1).units // 10:
            self._findings.fail(check, words, f"Send it XLM: {wanted.brief} or more serve fees and lanes.")
        elif spendable < wanted:
            self._findings.warn(check, words, f"Send it XLM: {wanted.brief} or more serve fees and lanes.")
        else:
            self._findings.ok(check, words)

    async def _tokens(self) -> None:
        pool = self._settings.stellar_pool_public_key
        reward = max(terms.base_reward.units for terms in SLA_TABLE.values()) * 2
        for name, token, least in (
            ("USDC_TOKEN_ADDRESS", self._settings.usdc_token_address, Amount(0)),
            ("NOCIQ_TOKEN_ADDRESS", self._settings.nociq_token_address, Amount(reward)),
        ):
            if token is None:
                self._findings.fail(
                    name, "not set", "Set it to the token's contract id; `holdfast deploy` prints it."
                )
                continue
            data = await self._deployment.entry(instance_key(token))
            if data is None:
                self._findings.fail(
                    name, f"{token} is not on the ledger", "Deploy the asset's contract, or mend the id."
                )
                continue
            asset = self._assets[name] = asset_of(data)
            self._findings.ok(name, f"{token}" + (f" of {asset.code}:{asset.issuer}" if asset else ""))
            if asset is not None and pool is not None:
                await self._holding(f"pool {asset.code}", pool, asset, least)

    async def _holding(self, check: str, address: str, asset: Asset, least: Amount) -> None:
        """A trustline with at least `least`, and room for what comes in."""
        data = await self._deployment.entry(trustline_key(address, asset))
        if data is None:
            self._findings.fail(
                check,
                f"{address} has no trustline for {asset.code}",
                f"Set a trustline for {asset.code}:{asset.issuer}.",
            )
            return
        line = trustline_state(data)
        balance = Amount(line.balance_units)
        words = f"{balance.brief} {asset.code}"
        if not line.authorized:
            self._findings.fail(check, f"{words}, and the trustline is not authorized", "Ask the asset's issuer.")
        elif balance < least:
            self._findings.fail(
                check, f"{words}; the greatest single one is {least.brief}", f"Send {asset.code} to {address}."
            )
        elif line.limit_units - line.balance_units < self._settings.policy_max_amount.units and not least.units:
            self._findings.warn(
                check, f"{words}, with a limit of {Amount(line.limit_units).brief}", "Raise the trustline's limit."
            )
        else:
            self._findings.ok(check, words)

    # the SLA contract

    async def _contract(self) -> None:
        contract = self._settings.sla_contract_id
        if contract is None:
            self._findings.fail("contract", "SLA_CONTRACT_ID is not set", "`holdfast deploy` prints it.")
            return
        if not await runs_committed_code(
            self._rpc,
            self._deployment,
            self._findings,
            contract,
            wasm=SLA,
            check="contract",
            words="the SLA contract",
            setting="SLA_CONTRACT_ID",
            close_seconds=self._close_seconds,
        ):
            return
        config = await self._config(contract)
        self._config_agrees(config)
        self._terms_agree(config)

    def _time(self, ledgers: int) -> timedelta:
        return timedelta(seconds=ledgers * self._close_seconds)

    async def _config(self, contract: str) -> Mapping[str, xdr.SCVal]:
        reader = self._settings.stellar_pool_public_key
        if reader is None:
            raise Refused("no account reads it: set STELLAR_POOL_SECRET_KEY", code="account_missing")
        builder = TransactionBuilder(Account(reader, 0), self._settings.stellar_network_passphrase)
        builder.add_time_bounds(0, 0)
        builder.append_invoke_contract_function_op(contract, "get_config", [])
        simulated = await self._rpc.simulate(builder.build().to_xdr())
        if simulated.error is not None:
            raise explain(simulated.error)
        return map_fields(xdr.SCVal.from_xdr(simulated.result))

    def _config_agrees(self, config: Mapping[str, xdr.SCVal]) -> None:
        for field, ours, setting in (
            ("executor", self._settings.stellar_pool_public_key, "STELLAR_POOL_SECRET_KEY"),
            ("usdc_token", self._settings.usdc_token_address, "USDC_TOKEN_ADDRESS"),
            ("reward_token", self._settings.nociq_token_address, "NOCIQ_TOKEN_ADDRESS"),
        ):
            theirs = Address.from_xdr_sc_val(config[field]).address
            check = f"contract {field.replace('_', ' ')}"
            if theirs == ours:
                self._findings.ok(check, theirs)
            else:
                mend = (
                    "Have the contract's administrator call `set_executor`" if field == "executor" else "Mend it"
                )
                self._findings.fail(
                    check, f"the contract says {theirs}, the settings {ours}", f"{mend}; or {setting}."
                )
        admin = Address.from_xdr_sc_val(config["admin"]).address
        if admin == self._settings.stellar_pool_public_key and not self._settings.local:
            self._findings.warn(
                "contract admin",
                f"the pool account {admin} is the administrator too",
                "Have `propose_admin` and `accept_admin` give it to a key that is kept offline.",
            )
        else:
            self._findings.ok("contract admin", admin)
        if scval.from_bool(config["paused"]):
            self._findings.fail("contract paused", "it is paused", "Have the administrator call `unpause`.")
        else:
            self._findings.ok("contract paused", "it is in service")

    def _terms_agree(self, config: Mapping[str, xdr.SCVal]) -> None:
        differs = []
        for severity in Severity:
            fields = map_fields(config[severity.value])
            ours = SLA_TABLE[severity]
            if (
                scval.from_uint32(fields["threshold_minutes"]) != ours.threshold_minutes
                or scval.from_int128(fields["penalty_per_minute"]) != ours.penalty_per_minute.units
                or scval.from_int128(fields["base_reward"]) != ours.base_reward.units
            ):
                differs.append(severity.value)
        bands = map_fields(config["bands"])
        differs += [name for name, percent in _BANDS.items() if scval.from_uint32(bands[name]) != percent]
        if differs:
            self._findings.fail(
                "contract terms",
                f"they are not those of the SLA table: {', '.join(differs)}",
                "Have the administrator call `update_config` or `update_bands`; payments are refused until then.",
            )
        else:
            self._findings.ok("contract terms", "the SLA table's, of all severities")

    # operators

    async def operators(self, operators: list[Operator]) -> None:
        """Check each operator's wallet: balance, and the allowance's amount and end."""
        token, contract = self._settings.usdc_token_address, self._settings.sla_contract_id
        asset = self._assets.get("USDC_TOKEN_ADDRESS")
        if token is None or contract is None or not self._ledger:
            return
        for operator in operators:
            check = f"operator {operator.id}"
            if operator.wallet is None:
                self._findings.warn(check, "has no wallet", "Set one, or give operator_wallet with each outage.")
                continue
            if asset is not None and operator.wallet.startswith("G"):
                await self._holding(f"{check} {asset.code}", operator.wallet, asset, Amount(0))
            await self._allowance(check, operator.wallet, token, contract)

    async def _allowance(self, check: str, wallet: str, token: str, contract: str) -> None:
        allowance = await self._deployment.allowance(token, wallet, contract)
        check = f"{check} allowance"
        mend = f"The operator calls `approve` on {token} for {contract}, to a later ledger."
        if allowance is None or not allowance.amount_units:
            self._findings.fail(check, "there is none, or it has ended", mend)
            return
        left = self._time(allowance.live_until - self._ledger)
        amount = Amount(min(allowance.amount_units, 2**63 - 1))
        words = f"{amount.brief} through ledger {allowance.live_until}, about {days(left)}"
        if amount < self._settings.max_auto_payment_amount:
            self._findings.warn(check, f"{words}; below MAX_AUTO_PAYMENT_AMOUNT", mend)
        elif left < timedelta(days=30):
            self._findings.warn(check, words, mend)
        else:
            self._findings.ok(check, words)
