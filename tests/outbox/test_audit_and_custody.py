"""The audit chain names what was tampered with; a seal opens only where it belongs."""

from __future__ import annotations

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection
from stellar_sdk import Keypair

from adapters.custody import Custody
from adapters.database import audit
from adapters.database.engine import Database
from domain.errors import Refused


async def written(database: Database, count: int = 3) -> None:
    async with database.begin() as connection:
        for number in range(count):
            await audit.record(connection, actor="person:1", action=f"act.{number}", subject="outage:OUT001")
        await audit.seal(connection)


async def test_an_untouched_log_verifies_and_counts_what_is_not_sealed_yet(database: Database) -> None:
    await written(database)
    async with database.begin() as connection:
        await audit.record(connection, actor="person:1", action="later", subject="outage:OUT001")
        report = await audit.verify(connection)
    assert (report.sealed, report.unsealed, report.broken_at) == (3, 1, None)


@pytest.mark.parametrize("table", ["audit_log", "audit_seals"])
@pytest.mark.parametrize(
    "statement", ["DELETE FROM {}", "TRUNCATE {} CASCADE", "UPDATE {} SET {column} = {column}"]
)
async def test_log_and_seals_are_append_only(database: Database, table: str, statement: str) -> None:
    await written(database)
    column = "action" if table == "audit_log" else "hash"
    with pytest.raises(IntegrityError):
        async with database.begin() as connection:
            await connection.execute(text(statement.format(table, column=column)))


async def test_whoever_gets_around_the_triggers_is_named_at_the_first_broken_link(database: Database) -> None:
    await written(database)
    async with database.begin() as connection:
        await connection.execute(text("SET LOCAL session_replication_role = replica"))
        await connection.execute(text("UPDATE audit_log SET actor = 'person:2' WHERE action = 'act.1'"))
    async with database.begin() as connection:
        report = await audit.verify(connection)
    assert (report.sealed, report.broken_at) == (1, 2)
    async with database.begin() as connection:
        await connection.execute(text("SET LOCAL session_replication_role = replica"))
        await connection.execute(text("DELETE FROM audit_log WHERE action = 'act.0'"))
    async with database.begin() as connection:
        report = await audit.verify(connection)
    assert (report.broken_at, report.why) == (1, "the entry is missing")


async def many_more(database: Database, count: int) -> None:
    async with database.begin() as connection:
        entries = (
            "INSERT INTO audit_log (actor, action, subject) SELECT 'p', 'a', 's' FROM generate_series(1, :count)"
        )
        await connection.execute(text(entries), {"count": count})
        while await audit.seal(connection):
            pass


@pytest.mark.parametrize(("others", "whole"), [(5, False), (1_500, True)])
async def test_an_entry_that_commits_after_younger_ones_were_sealed_is_sealed_too(
    database: Database, others: int, whole: bool
) -> None:
    async with database.begin() as late:
        await audit.record(late, actor="person:1", action="late", subject="outage:OUT001")
        await many_more(database, others)
    async with database.begin() as connection:
        assert await audit.seal(connection, whole=whole) == 1
        report = await audit.verify(connection)
    assert (report.sealed, report.unsealed, report.broken_at) == (others + 1, 0, None)


async def test_a_look_for_what_is_not_sealed_does_not_read_the_whole_log(database: Database) -> None:
    await many_more(database, 12_000)
    async with database.engine.connect() as connection:
        autocommit = await connection.execution_options(isolation_level="AUTOCOMMIT")
        await autocommit.execute(text("VACUUM ANALYZE audit_log, audit_seals"))
    async with database.begin() as connection:
        read_before = await rows_read(connection)
        assert await audit.seal(connection) == 0
        assert await rows_read(connection) - read_before < 4_000


async def rows_read(connection: AsyncConnection) -> int:
    """Rows of log and seals that this transaction has read so far, by table or by index."""
    relations = "'audit_log'::regclass, 'audit_seals'::regclass"
    query = (
        "SELECT sum(pg_stat_get_xact_tuples_returned(oid)) FROM pg_class"
        f" WHERE oid IN ({relations}) OR oid IN (SELECT indexrelid FROM pg_index WHERE indrelid IN ({relations}))"
    )
    return int((await connection.execute(text(query))).scalar_one())


OLD, NEW = b"o" * 32, b"n" * 32


def test_a_wallets_seal_opens_for_its_account_only() -> None:
    custody = Custody({"k1": OLD}, current="k1", tenant="one")
    mine, other = Keypair.random(), Keypair.random()
    sealed = custody.seal_wallet(mine)
    assert custody.open_wallet(sealed, address=mine.public_key).secret == mine.secret
    with pytest.raises(Refused):
        custody.open_wallet(sealed, address=other.public_key)
    with pytest.raises(Refused):
        Custody({"k1": OLD}, current="k1", tenant="two").open_wallet(sealed, address=mine.public_key)
    with pytest.raises(Refused):
        custody.open(sealed, purpose="webhook", account=mine.public_key)
    changed = sealed.model_copy(update={"ciphertext": sealed.ciphertext[:-1] + b"\x00"})
    with pytest.raises(Refused):
        custody.open_wallet(changed, address=mine.public_key)


def test_a_key_of_another_account_under_this_accounts_name_is_refused() -> None:
    custody = Custody({"k1": OLD}, current="k1", tenant="one")
    mine, other = Keypair.random(), Keypair.random()
    swapped = custody.seal(other.raw_secret_key(), purpose="wallet", account=mine.public_key)
    with pytest.raises(Refused, match="another account"):
        custody.open_wallet(swapped, address=mine.public_key)


def test_rotation_rewraps_the_data_key_only() -> None:
    old = Custody({"k1": OLD}, current="k1", tenant="one")
    both = Custody({"k2": NEW, "k1": OLD}, current="k2", tenant="one")
    keypair = Keypair.random()
    sealed = old.seal_wallet(keypair)
    rewrapped = both.rewrap(sealed, purpose="wallet", account=keypair.public_key)
    assert (rewrapped.kek_id, rewrapped.ciphertext) == ("k2", sealed.ciphertext)
    only_new = Custody({"k2": NEW}, current="k2", tenant="one")
    assert only_new.open_wallet(rewrapped, address=keypair.public_key).secret == keypair.secret
    with pytest.raises(Refused, match="k1"):
        only_new.open_wallet(sealed, address=keypair.public_key)
