"""`holdfast deploy`: the contracts, and on the local network play money and everybody who has to do with it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

import aiohttp
from rich.console import Console
from stellar_sdk import Asset, Keypair, StrKey, scval
from stellar_sdk.exceptions import SdkError

from adapters.stellar.deployment import Deployment, Holding
from adapters.stellar.entries import instance_key
from adapters.stellar.payout_contract import Caps, PayoutSetup
from adapters.stellar.rpc import Rpc
from cli.local_secrets import LocalSecrets, write_contract_ids
from domain.errors import InvalidInput, Refused, Unavailable
from domain.money import Amount
from settings import Settings

WASM: Final = Path(__file__).parent.parent / "contracts" / "wasm"
SLA: Final = "sla_calculator"
PAYOUT: Final = "payout"
"""The contracts by the names of their files."""

POOL_REWARDS: Final = Amount.of(1_000_000)
POOL_USDC: Final = Amount.of(10_000)
OPERATOR_USDC: Final = Amount.of(1_000_000)
OPERATOR_ALLOWANCE: Final = Amount.of(500_000)
PAYOUT_USDC: Final = Amount.of(1_000_000)
PAYOUT_NOCIQ: Final = Amount.of(1_000_000)
PAYOUT_XLM: Final = Amount.of(9_000)
"""Play money of the local network."""

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Deployed:
    """Contract ids, and the accounts that the local network's play money belongs to (public keys by role)."""

    sla: str
    usdc: str
    nociq: str
    native: str
    """XLM's asset contract, which is the network's own."""
    payout: str
    accounts: Mapping[str, str]

    @property
    def environment(self) -> dict[str, str]:
        """The ids under the settings' names."""
        ids = {
            "SLA_CONTRACT_ID": self.sla,
            "USDC_TOKEN_ADDRESS": self.usdc,
            "NOCIQ_TOKEN_ADDRESS": self.nociq,
            "PAYOUT_CONTRACT_ID": self.payout,
        }
        return ids | ({"PAYOUT_SOURCE_ACCOUNT": self.accounts["payer"]} if "payer" in self.accounts else {})


def salt(deployment: str, contract: str) -> bytes:
    """The salt of a deployment's contract: a second run finds the same contract."""
    return sha256(f"holdfast {contract}\0{deployment}".encode()).digest()


def committed_wasm(contract: str) -> bytes:
    """A contract's code as committed.

    Raises:
        Refused: `contract_missing`: the file is not there.
    """
    path = WASM / f"{contract}.wasm"
    try:
        return path.read_bytes()
    except OSError as error:
        raise Refused(f"{path} is missing; `make contracts` builds it", code="contract_missing") from error


def caps_of(settings: Settings) -> Caps:
    """The payout contract's caps for each token, as the settings have them."""
    return Caps(per_call=settings.payout_cap_per_call, per_day=settings.payout_cap_per_day)


async def deploy_locally(settings: Settings, secrets: LocalSecrets, tell: Tell = lambda _: None) -> Deployed:
    """Have the local network ready for payments. Idempotent; seven ledgers at first, a few looks afterwards.

    Raises:
        Refused, Unavailable, OutcomeUnknown: of the step that went wrong; running it again goes on from there.
    """
    async with Rpc(settings.stellar_soroban_rpc_url) as rpc:
        return await _LocalDeployment(rpc, settings, secrets, tell).run()


class _LocalDeployment:
    def __init__(self, rpc: Rpc, settings: Settings, secrets: LocalSecrets, tell: Tell) -> None:
        self._settings = settings
        self._tell = tell
        self._deployment = Deployment(rpc, settings.stellar_network_passphrase)
        self._payouts = PayoutSetup(rpc, settings.stellar_network_passphrase)
        self._pool = secrets.keypair("stellar_pool_secret_key")
        self._fee = secrets.keypair("stellar_fee_secret_key")
        self._admin = secrets.keypair("sla_admin_secret_key")
        self._usdc_issuer = secrets.keypair("usdc_issuer_secret_key")
        self._nociq_issuer = secrets.keypair("nociq_issuer_secret_key")
        self._operator = secrets.keypair("operator_secret_key")
        self._noc_team = secrets.keypair("noc_team_secret_key")
        self._payers_own = secrets.keypair("payout_hot_signer_secret")
        self._usdc = Asset("USDC", self._usdc_issuer.public_key)
        self._nociq = Asset("NOCIQ", self._nociq_issuer.public_key)

    async def run(self) -> Deployed:
        accounts = {
            "pool": self._pool,
            "fee": self._fee,
            "admin": self._admin,
            "usdc_issuer": self._usdc_issuer,
            "nociq_issuer": self._nociq_issuer,
            "operator": self._operator,
            "noc_team": self._noc_team,
            "payer": self._payers_own,
        }
        await self._fund(list(accounts.values()))
        self._tell("tokens and balances")
        # Each has a source account of its own, so that they land in one ledger.
        usdc, nociq, native, sla_code, payout_code, _ = await asyncio.gather(
            self._deployment.token(self._usdc, self._usdc_issuer),
            self._deployment.token(self._nociq, self._nociq_issuer),
            self._deployment.token(Asset.native(), self._operator),
            self._deployment.upload(committed_wasm(SLA), self._admin),
            self._deployment.upload(committed_wasm(PAYOUT), self._fee),
            self._deployment.hold(
                self._pool,
                [
                    Holding(self._pool, self._usdc, POOL_USDC),
                    Holding(self._pool, self._nociq, POOL_REWARDS),
                    Holding(self._operator, self._usdc, OPERATOR_USDC),
                    Holding(self._noc_team, self._nociq),
                ],
                [self._usdc_issuer, self._nociq_issuer],
            ),
        )
        self._tell("the SLA and the payout contract")
        deployment = self._settings.holdfast_deployment
        terms = (self._admin.public_key, self._pool.public_key, usdc, nociq)
        sla, payout = await asyncio.gather(
            self._deployment.deploy(
                sla_code, self._admin, salt(deployment, SLA), [scval.to_address(address) for address in terms]
            ),
            self._payouts.deploy(
                payout_code,
                self._pool,
                salt(deployment, PAYOUT),
                admin=self._admin.public_key,
                executor=self._payer,
            ),
        )
        await asyncio.gather(
            self._by_admin(sla, sla_code, payout, payout_code, (usdc, nociq, native)),
            self._deployment.approve(usdc, self._operator, sla, OPERATOR_ALLOWANCE),
            self._keep_alive(sla, payout),
            self._payouts.top_up(payout, usdc, self._usdc_issuer, PAYOUT_USDC),
            self._payouts.top_up(payout, nociq, self._nociq_issuer, PAYOUT_NOCIQ),
            self._give_xlm(payout, native),
        )
        public = {role: keypair.public_key for role, keypair in accounts.items()} | {"payer": self._payer}
        return Deployed(sla, usdc, nociq, native, payout, public)

    @property
    def _payer(self) -> str:
        """Who payouts are paid by: the payout contract's executor.

        An account of its own, so that its key can be kept elsewhere while the pool's stays here.
        """
        given = self._settings.payout_source_account
        return given if given and self._settings.is_set("payout_source_account") else self._payers_own.public_key

    async def _by_admin(
        self, sla: str, sla_code: bytes, payout: str, payout_code: bytes, tokens: tuple[str, ...]
    ) -> None:
        """What the administrator's one sequence number brings one after another."""
        await self._deployment.upgrade(sla, sla_code, self._admin)
        await self._deployment.upgrade(payout, payout_code, self._admin)
        caps = dict.fromkeys(tokens, caps_of(self._settings))
        await self._payouts.configure(payout, self._admin, executor=self._payer, tokens=caps)

    async def _keep_alive(self, *contracts: str) -> None:
        for contract in contracts:
            await self._deployment.keep_alive(contract, self._fee)

    async def _give_xlm(self, payout: str, native: str) -> None:
        """Friendbot gives to new accounts only, so that each gift comes from one that is made for it."""
        url = self._settings.friendbot_url
        if url is None or not (await self._payouts.lacks(payout, native, PAYOUT_XLM)).units:
            return
        donor = Keypair.random()
        await fund(url, donor.public_key)
        await self._payouts.top_up(payout, native, donor, PAYOUT_XLM)

    async def _fund(self, keypairs: list[Keypair]) -> None:
        there = await asyncio.gather(*(self._deployment.exists(keypair.public_key) for keypair in keypairs))
        missing = [keypair for keypair, exists in zip(keypairs, there, strict=True) if not exists]
        url = self._settings.friendbot_url
        if not missing or url is None:
            return
        self._tell("accounts")
        await asyncio.gather(*(fund(url, keypair.public_key) for keypair in missing))


async def fund(friendbot_url: str, address: str) -> None:
    """Have friendbot create an account with play XLM.

    Raises:
        Unavailable: friendbot does not answer, or says no.
    """
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as session,
            session.get(friendbot_url, params={"addr": address}) as response,
        ):
            if response.status != 200:
                text = (await response.text())[:200]
                raise Unavailable(f"friendbot answered HTTP {response.status}: {text}", code="ledger_unavailable")
    except (TimeoutError, aiohttp.ClientError, OSError) as error:
        raise Unavailable(
            f"friendbot does not answer ({type(error).__name__})", code="ledger_unavailable"
        ) from error


async def deploy_contract(
    settings: Settings, *, usdc: Asset | None = None, nociq: Asset | None = None, admin: str | None = None
) -> Deployed:
    """Have the contracts on any network, deployed by the pool account, which becomes their executor.

    The payout contract's executor is PAYOUT_SOURCE_ACCOUNT. Its tokens are allowed with the caps of the settings
    where the pool is the administrator; nothing is funded.

    Args:
        settings: with STELLAR_POOL_SECRET_KEY, and the tokens' contract ids where no asset is given.
        usdc: deploys this asset's contract where it is missing, instead of USDC_TOKEN_ADDRESS.
        nociq: the same for NOCIQ_TOKEN_ADDRESS.
        admin: the contracts' administrator; the pool account without.

    Raises:
        SettingsError: the pool's key or a token is not set.
        Refused: a token is not on the ledger, or the pool account is not and no friendbot serves the network.
    """
    settings.require("stellar_pool_secret_key")
    if usdc is None:
        settings.require("usdc_token_address")
    if nociq is None:
        settings.require("nociq_token_address")
    secret = settings.stellar_pool_secret_key
    if secret is None:
        raise AssertionError("required above")
    pool = Keypair.from_secret(secret.get_secret_value())
    async with Rpc(settings.stellar_soroban_rpc_url) as rpc:
        deployment = Deployment(rpc, settings.stellar_network_passphrase)
        if not await deployment.exists(pool.public_key):
            if settings.friendbot_url is None:
                raise Refused(f"the pool account {pool.public_key} is not on the ledger", code="account_missing")
            await fund(settings.friendbot_url, pool.public_key)
        tokens: list[str] = []
        for asset, given, name in (
            (usdc, settings.usdc_token_address, "USDC_TOKEN_ADDRESS"),
            (nociq, settings.nociq_token_address, "NOCIQ_TOKEN_ADDRESS"),
        ):
            token = await deployment.token(asset, pool) if asset is not None else str(given)
            if await deployment.entry(instance_key(token)) is None:
                raise Refused(f"{name} {token} is not on the ledger", code="contract_missing")
            tokens.append(token)
        terms = (admin or pool.public_key, pool.public_key, *tokens)
        sla = await deployment.deploy(
            await deployment.upload(committed_wasm(SLA), pool),
            pool,
            salt(settings.holdfast_deployment, SLA),
            [scval.to_address(address) for address in terms],
        )
        native = await deployment.token(Asset.native(), pool)
        payouts = PayoutSetup(rpc, settings.stellar_network_passphrase)
        executor = settings.payout_source_account or pool.public_key
        payout = await payouts.deploy(
            await deployment.upload(committed_wasm(PAYOUT), pool),
            pool,
            salt(settings.holdfast_deployment, PAYOUT),
            admin=admin or pool.public_key,
            executor=executor,
        )
        if admin in {None, pool.public_key}:
            caps = dict.fromkeys((*tokens, native), caps_of(settings))
            await payouts.configure(payout, pool, executor=executor, tokens=caps)
        for contract in (sla, payout):
            await deployment.keep_alive(contract, pool)
        accounts = {"pool": pool.public_key, "admin": admin or pool.public_key}
        return Deployed(sla, tokens[0], tokens[1], native, payout, accounts)


async def deploy_command(
    settings: Settings, console: Console, errors: Console, *, usdc: str, nociq: str, admin: str
) -> int:
    """`holdfast deploy`: progress on stderr, `.env` lines on stdout."""

    def tell(what: str) -> None:
        errors.print(f"{what} …", style="dim", highlight=False)

    if settings.local:
        secrets = LocalSecrets(settings.var_dir / "secrets", settings)
        deployed = await deploy_locally(settings, secrets, tell)
        write_contract_ids(settings, deployed.environment)
    else:
        tell(f"the contracts on {settings.stellar_network}")
        deployed = await deploy_contract(
            settings, usdc=_asset("--usdc", usdc), nociq=_asset("--nociq", nociq), admin=_account(admin)
        )
    for name, value in deployed.environment.items():
        console.print(f"{name}={value}", highlight=False, soft_wrap=True)
    return 0


def _asset(option: str, text: str) -> Asset | None:
    if not text:
        return None
    code, _, issuer = text.partition(":")
    try:
        return Asset(code, issuer)
    except (SdkError, ValueError):
        raise InvalidInput(f"{option} must be CODE:ISSUER", **{option.strip("-"): "CODE:ISSUER"}) from None


def _account(text: str) -> str | None:
    if text and not StrKey.is_valid_ed25519_public_key(text):
        raise InvalidInput("--admin must be a Stellar account", admin="G and 55 more letters and digits")
    return text or None
