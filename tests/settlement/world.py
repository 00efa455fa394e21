"""A deployment to test against: tokens, contract, a pool, an operator with an allowance, a NOC team."""

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
from adapters.stellar.rpc import Rpc
from domain.money import Amount
from domain.sla import Severity
from localnet.clients import LocalLedger

PASSPHRASE = "Standalone Network ; February 2017"
WASM = Path(__file__).parents[2] / "contracts" / "wasm" / "sla_calculator.wasm"
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


async def make_world(ledger: LocalLedger, *, keep_alive: bool = True) -> World:
    issuer, pool, operator, noc_team = (Keypair.random() for _ in range(4))
    for keypair in (issuer, pool, operator, noc_team):
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
        world = World(
            url=ledger.url,
            issuer=issuer,
            pool=pool,
            operator=operator,
            noc_team=noc_team,
            usdc=usdc.contract_id(PASSPHRASE),
            nociq=nociq.contract_id(PASSPHRASE),
            sla=deployed_contract_id(pool.public_key, salt, PASSPHRASE),
        )
        constructor = [
            scval.to_address(address) for address in (pool.public_key, pool.public_key, world.usdc, world.nociq)
        ]
        await by_pool.land([_deploy(pool, salt, hashlib.sha256(wasm).digest(), constructor)])
        await world.approve(Amount.of(500_000))
        if keep_alive:
            await Deployment(rpc, PASSPHRASE).keep_alive(world.sla, issuer)
    return world
