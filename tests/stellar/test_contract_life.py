"""The contract's life: payments leave its rent alone, so somebody else pays it."""

from adapters.stellar.deployment import LIFE_LEDGERS, LIFE_LEDGERS_LEAST, Deployment
from adapters.stellar.entries import instance_key
from adapters.stellar.rpc import Rpc
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
