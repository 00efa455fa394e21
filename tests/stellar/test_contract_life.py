"""The contract's life: payments leave its rent alone, so somebody else pays it."""

from contextlib import AbstractAsyncContextManager, nullcontext

import pytest

from adapters.stellar.deployment import LIFE_LEDGERS, LIFE_LEDGERS_LEAST, Deployment
from adapters.stellar.entries import instance_key
from adapters.stellar.rpc import Rpc
from adapters.stellar.upkeep import ContractUpkeep
from domain.errors import Refused
from localnet.clients import LocalLedger
from tests.conftest import TestLedger
from tests.settlement.world import PASSPHRASE, make_world


async def test_a_contract_with_little_life_left_is_extended_once(own_ledger: TestLedger) -> None:
    world = await make_world(LocalLedger(own_ledger.url), keep_alive=False)
    async with Rpc(own_ledger.url) as rpc:
        deployment = Deployment(rpc, PASSPHRASE)
        assert await deployment.keep_alive(world.sla, world.issuer), "the network's least is a week"
        assert await deployment.life([instance_key(world.sla)]) >= LIFE_LEDGERS_LEAST
        assert LIFE_LEDGERS > LIFE_LEDGERS_LEAST
        assert not await deployment.keep_alive(world.sla, world.issuer)


async def test_the_night_extends_every_contract_that_it_can(own_ledger: TestLedger) -> None:
    world = await make_world(LocalLedger(own_ledger.url), keep_alive=False)

    def alone() -> AbstractAsyncContextManager[None]:
        return nullcontext()

    async with Rpc(own_ledger.url) as rpc:

        def upkeep(*contracts: str) -> ContractUpkeep:
            return ContractUpkeep(
                rpc, contracts=contracts, payer=world.issuer, network_passphrase=PASSPHRASE, one_builder=alone
            )

        with pytest.raises(Refused, match=world.usdc):
            await upkeep(world.usdc, world.payout).keep_alive()
        deployment = Deployment(rpc, PASSPHRASE)
        assert await deployment.life([instance_key(world.payout)]) >= LIFE_LEDGERS_LEAST
        assert await upkeep(world.sla, world.payout).keep_alive()
        assert not await upkeep(world.sla, world.payout).keep_alive()
