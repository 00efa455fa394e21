"""After CUSTODY_KEYS has changed, every kept secret is wrapped by the new key, and the old one is not needed."""

from __future__ import annotations

from pydantic import SecretStr
from sqlalchemy import select
from stellar_sdk import Keypair

from adapters.custody import Custody
from adapters.database.audit_tables import audit_log
from adapters.database.custody import rewrap
from adapters.database.engine import Database
from adapters.database.outbox_tables import webhook_endpoints
from adapters.database.wallets import add_wallet, sealed_key
from adapters.database.webhook_endpoints import add_endpoint

_OLD, _NEW, _LOST = b"o" * 32, b"n" * 32, b"l" * 32
_SECRET = SecretStr("a-webhook-secret-of-tests")


def _custody(current: str, **keys: bytes) -> Custody:
    return Custody(keys, current=current, tenant="test")


async def _keep(database: Database, custody: Custody, user: str) -> Keypair:
    keypair = Keypair.random()
    async with database.begin() as connection:
        await add_wallet(
            connection,
            user_id=user,
            address=keypair.public_key,
            sealed=custody.seal_wallet(keypair),
            by="test",
        )
        await add_endpoint(
            connection,
            endpoint_id=f"hook_{user}",
            url="https://example.org/",
            sealed_secret=custody.seal_webhook(f"hook_{user}", _SECRET),
            by="test",
        )
    return keypair


async def _opened(database: Database, custody: Custody, user: str) -> tuple[str, str]:
    async with database.begin() as connection:
        address, sealed = await sealed_key(connection, user)
        secret: bytes = (
            await connection.execute(
                select(webhook_endpoints.c.secret).where(webhook_endpoints.c.id == f"hook_{user}")
            )
        ).scalar_one()
    wallet = custody.open_wallet(sealed, address=address)
    return wallet.secret, custody.open_webhook(f"hook_{user}", secret).get_secret_value()


async def test_what_an_old_key_wrapped_opens_with_the_new_one_alone_afterwards(database: Database) -> None:
    keypair = await _keep(database, _custody("old", old=_OLD), "user1")
    both = _custody("new", new=_NEW, old=_OLD)
    found = await rewrap(database, both, current="new", by="cli:test")
    assert (found.wallets, found.webhooks, found.closed) == (1, 1, [])
    alone = _custody("new", new=_NEW)
    assert await _opened(database, alone, "user1") == (keypair.secret, _SECRET.get_secret_value())
    async with database.begin() as connection:
        rows = await connection.execute(
            select(audit_log.c.subject, audit_log.c.details).where(audit_log.c.action == "custody.rewrap")
        )
        audited = {row.subject: row.details for row in rows}
    moved = {"from": "old", "to": "new"}
    assert audited == {f"wallet:{keypair.public_key}": moved, "webhook:hook_user1": moved}


async def test_again_changes_nothing(database: Database) -> None:
    await _keep(database, _custody("old", old=_OLD), "user1")
    both = _custody("new", new=_NEW, old=_OLD)
    await rewrap(database, both, current="new", by="test")
    again = await rewrap(database, both, current="new", by="test")
    assert (again.wallets, again.webhooks, again.closed) == (0, 0, [])


async def test_a_row_whose_key_is_lost_is_named_and_stays_while_the_others_are_wrapped(database: Database) -> None:
    lost = _custody("lost", lost=_LOST)
    left = await _keep(database, lost, "user1")
    kept = await _keep(database, _custody("old", old=_OLD), "user2")
    found = await rewrap(database, _custody("new", new=_NEW, old=_OLD), current="new", by="test")
    assert (found.wallets, found.webhooks) == (1, 1)
    assert found.closed == [f"the wallet {left.public_key}", "the webhook endpoint hook_user1"]
    assert (await _opened(database, lost, "user1"))[0] == left.secret
    assert (await _opened(database, _custody("new", new=_NEW), "user2"))[0] == kept.secret
