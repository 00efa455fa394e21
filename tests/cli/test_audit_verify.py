"""`holdfast audit verify`, as an operator runs it."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from sqlalchemy import text

from adapters.database import audit
from adapters.database.engine import Database
from tests.outbox.test_audit_and_custody import many_more


async def verify(database_url: str, directory: Path) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "cli.main",
        "audit",
        "verify",
        cwd=directory,
        env={"PATH": os.environ["PATH"], "HOME": str(directory), "DATABASE_URL": database_url},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode()


async def test_it_seals_also_what_committed_long_after_younger_entries_were_sealed(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    async with database.begin() as late:
        await audit.record(late, actor="person:1", action="late", subject="outage:OUT001")
        await many_more(database, 1_500)
    status, said = await verify(database_url, tmp_path)
    assert (status, "Whole: 1501 entries sealed, 0 not yet" in said) == (0, True), said


async def test_it_seals_what_is_new_and_names_the_first_broken_link(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    async with database.begin() as connection:
        for number in range(5):
            await audit.record(connection, actor="person:1", action=f"act.{number}", subject="outage:OUT001")
    status, said = await verify(database_url, tmp_path)
    assert (status, "Whole: 5 entries sealed, 0 not yet" in said) == (0, True), said
    async with database.begin() as connection:
        await connection.execute(text("SET LOCAL session_replication_role = replica"))
        for number in (4, 2):
            await connection.execute(
                text("UPDATE audit_log SET actor = 'person:2' WHERE action = :action"), {"action": f"act.{number}"}
            )
    status, said = await verify(database_url, tmp_path)
    assert (status, "Broken at audit entry 3: the entry or a seal was changed" in said) == (1, True), said
