"""A deployment to test against: tokens, contracts, a pool, an operator with an allowance, a NOC team."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from stellar_sdk import Asset, Keypair, scval, xdr
from stellar_sdk.operation import ChangeTrust, InvokeHostFunction, Payment

from adapters.stellar.deployment import Deployment
from adapters.stellar.entries import contract_address, deployed_contract_id
from adapters.stellar.figures import Figures
from adapters.stellar.own_sequence import OwnSequence
from adapters.stellar.rpc import Landed, Rpc
from domain.money import Amount
from domain.sla import Severity
from localnet.clients import LocalLedger

PASSPHRASE = "Standalone Network ; February 2017"
WASM = Path(__file__).parents[2] / "contracts" / "wasm" / "sla_calculator.wasm"
PAYOUT_WASM = WASM.with_name("payout.wasm")
PAYOUT_CAP_PER_CALL = Amount.of(1_000_000)
PAYOUT_CAP_PER_DAY = Amount.of(100_000_000)
PAYOUT_USDC = Amount.of(1_000_000)
PAYOUT_XLM = Amount.of(9_000)
ALLOWANCE_LEDGERS = 100_000


@dataclass(frozen=True)
class World:
    url: str
    issuer: Keypair
    pool: Keypair
    operator: Keypair
    noc_team: Keypair
    usdc: str
    nociq: str
    sla: str
    native: str
    """The asset contract of XLM."""
    payout: str
    """The payout contract: the pool is its administrator and executor; USDC and XLM are allowed and there."""

    async def balance(self, token: str, account: Keypair | str) -> Amount:
        address = account if isinstance(account, str) else account.public_key
        async with Rpc(self.url) as rpc:
            return await Figures(rpc, PASSPHRASE).balance(token, address, reader=self.pool.public_key)

    async def approve(self, amount: Amount, *, ledgers: int = ALLOWANCE_LEDGERS) -> None:
        async with Rpc(self.url) as rpc:
            latest = await rpc.newest()
            arguments = [
                scval.to_address(self.operator.public_key),
                scval.to_address(self.sla),
                scval.to_int128(amount.units),
                scval.to_uint32(latest + ledgers if amount.units else 0),
            ]
            await _source(rpc, self.operator).land([_call(self.usdc, "approve", arguments)])

    async def set_terms(self, severity: Severity, threshold: int, penalty: Amount, reward: Amount) -> None:
        """As the contract's administrator, which is the pool here."""
        async with Rpc(self.url) as rpc:
            arguments = [
                scval.to_uint32(severity.number),
                scval.to_uint32(threshold),
                scval.to_int128(penalty.units),
                scval.to_int128(reward.units),
            ]
            await _source(rpc, self.pool).land([_call(self.sla, "update_config", arguments)])

    async def call_payout(
        self, function: str, *arguments: xdr.SCVal, by: Keypair | None = None, contract: str | None = None
    ) -> Landed:
        """Call a payout contract in a transaction of `by`'s own, the pool's unless told otherwise."""
        async with Rpc(self.url) as rpc:
            return await _source(rpc, by or self.pool).land(
                [_call(contract or self.payout, function, list(arguments))]
            )

    async def new_payout(self, *, usdc: Amount = PAYOUT_USDC, per_call: Amount = PAYOUT_CAP_PER_CALL) -> str:
        """A payout contract of the test's own, to pause or to empty: USDC alone is allowed and there."""
        async with Rpc(self.url) as rpc:
            contract = await _new_payout(rpc, self.pool)
            await _allow(rpc, self.pool, contract, self.usdc, per_call)
            if usdc.units:
                await _fund(rpc, self.issuer, contract, self.usdc, usdc)  # who never runs out
        return contract


def _source(rpc: Rpc, keypair: Keypair) -> OwnSequence:
    return OwnSequence(rpc, keypair, PASSPHRASE, poll_seconds=0.03)


def _call(contract: str, function: str, arguments: list[xdr.SCVal]) -> InvokeHostFunction:
    return _invoke(
        xdr.HostFunction(
            xdr.HostFunctionType.HOST_FUNCTION_TYPE_INVOKE_CONTRACT,
            invoke_contract=xdr.InvokeContractArgs(
                contract_address(contract), xdr.SCSymbol(function.encode()), arguments
            ),
        )
    )


def _invoke(function: xdr.HostFunction) -> InvokeHostFunction:
    return InvokeHostFunction(host_function=function, auth=[])


def _sac(asset: Asset) -> InvokeHostFunction:
    preimage = xdr.ContractIDPreimage(
        xdr.ContractIDPreimageType.CONTRACT_ID_PREIMAGE_FROM_ASSET, from_asset=asset.to_xdr_object()
    )
    executable = xdr.ContractExecutable(xdr.ContractExecutableType.CONTRACT_EXECUTABLE_STELLAR_ASSET)
    return _invoke(
        xdr.HostFunction(
            xdr.HostFunctionType.HOST_FUNCTION_TYPE_CREATE_CONTRACT,
            create_contract=xdr.CreateContractArgs(preimage, executable),
        )
    )


def _deploy(admin: Keypair, salt: bytes, wasm_hash: bytes, arguments: list[xdr.SCVal]) -> InvokeHostFunction:
    preimage = xdr.ContractIDPreimage(
        xdr.ContractIDPreimageType.CONTRACT_ID_PREIMAGE_FROM_ADDRESS,
        from_address=xdr.ContractIDPreimageFromAddress(contract_address(admin.public_key), xdr.Uint256(salt)),
    )
    executable = xdr.ContractExecutable(
        xdr.ContractExecutableType.CONTRACT_EXECUTABLE_WASM, wasm_hash=xdr.Hash(wasm_hash)
    )
    return _invoke(
        xdr.HostFunction(
            xdr.HostFunctionType.HOST_FUNCTION_TYPE_CREATE_CONTRACT_V2,
            create_contract_v2=xdr.CreateContractArgsV2(preimage, executable, arguments),
        )
    )


async def upload(world: World, wasm: bytes) -> bytes:
    """Upload code, and give its hash."""
    function = xdr.HostFunction(xdr.HostFunctionType.HOST_FUNCTION_TYPE_UPLOAD_CONTRACT_WASM, wasm=wasm)
    async with Rpc(world.url) as rpc:
        await _source(rpc, world.pool).land([_invoke(function)])
    return hashlib.sha256(wasm).digest()


async def _new_payout(rpc: Rpc, admin: Keypair) -> str:
    wasm = PAYOUT_WASM.read_bytes()
    upload = xdr.HostFunction(xdr.HostFunctionType.HOST_FUNCTION_TYPE_UPLOAD_CONTRACT_WASM, wasm=wasm)
    by_admin = _source(rpc, admin)
    await by_admin.land([_invoke(upload)])
    salt = os.urandom(32)
    constructor = [scval.to_address(admin.public_key)] * 2
    await by_admin.land([_deploy(admin, salt, hashlib.sha256(wasm).digest(), constructor)])
    return deployed_contract_id(admin.public_key, salt, PASSPHRASE)


async def _allow(rpc: Rpc, admin: Keypair, contract: str, token: str, per_call: Amount) -> None:
    arguments = [
        scval.to_address(token),
        scval.to_int128(per_call.units),
        scval.to_int128(PAYOUT_CAP_PER_DAY.units),
    ]
    await _source(rpc, admin).land([_call(contract, "set_token", arguments)])


async def _fund(rpc: Rpc, funder: Keypair, contract: str, token: str, amount: Amount) -> None:
    arguments = [scval.to_address(funder.public_key), scval.to_address(token), scval.to_int128(amount.units)]
    await _source(rpc, funder).land([_call(contract, "fund", arguments)])


async def make_world(ledger: LocalLedger, *, keep_alive: bool = True) -> World:
    issuer, pool, operator, noc_team, donor = (Keypair.random() for _ in range(5))
    for keypair in (issuer, pool, operator, noc_team, donor):
        ledger.friendbot(keypair.public_key)
    usdc, nociq = Asset("USDC", issuer.public_key), Asset("NOCIQ", issuer.public_key)
    everyone = [pool, operator, noc_team]
    wasm = WASM.read_bytes()
    upload = xdr.HostFunction(xdr.HostFunctionType.HOST_FUNCTION_TYPE_UPLOAD_CONTRACT_WASM, wasm=wasm)
    salt = os.urandom(32)
    async with Rpc(ledger.url) as rpc:
        by_issuer = _source(rpc, issuer)
        trust = [
            ChangeTrust(asset=asset, source=keypair.public_key) for keypair in everyone for asset in (usdc, nociq)
        ]
        fund = [
            Payment(destination=keypair.public_key, asset=asset, amount="1000000", source=issuer.public_key)
            for keypair, asset in ((pool, usdc), (pool, nociq), (operator, usdc))
        ]
        await by_issuer.land([*trust, *fund], signers=everyone)
        await by_issuer.land([_sac(usdc)])
        await by_issuer.land([_sac(nociq)])
        by_pool = _source(rpc, pool)
        await by_pool.land([_invoke(upload)])
        native = await Deployment(rpc, PASSPHRASE).token(Asset.native(), issuer)
        world = World(
            url=ledger.url,
            issuer=issuer,
            pool=pool,
            operator=operator,
            noc_team=noc_team,
            usdc=usdc.contract_id(PASSPHRASE),
            nociq=nociq.contract_id(PASSPHRASE),
            sla=deployed_contract_id(pool.public_key, salt, PASSPHRASE),
            native=native,
            payout=await _new_payout(rpc, pool),
        )
        constructor = [
            scval.to_address(address) for address in (pool.public_key, pool.public_key, world.usdc, world.nociq)
        ]
        await by_pool.land([_deploy(pool, salt, hashlib.sha256(wasm).digest(), constructor)])
        await world.approve(Amount.of(500_000))
        for token, funder, amount in ((world.usdc, issuer, PAYOUT_USDC), (native, donor, PAYOUT_XLM)):
            await _allow(rpc, pool, world.payout, token, PAYOUT_CAP_PER_CALL)
            await _fund(rpc, funder, world.payout, token, amount)
        if keep_alive:
            for contract in (world.sla, world.payout):
                await Deployment(rpc, PASSPHRASE).keep_alive(contract, issuer)
    return world
