"""`holdfast batch`: what people see, and that leaving it leaves the batch alone."""

from __future__ import annotations

import asyncio
import csv
import io
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from datetime import UTC, datetime
from pathlib import Path

import pytest

from adapters.database.batch_story import BatchDesk, BatchRules
from domain.address import AddressKind, encode
from tests.api.conftest import TERMS, Front, front
from tests.waiting import until

__all__ = ["front"]

PEOPLE = [encode(AddressKind.ACCOUNT, bytes([number + 1]) * 32) for number in range(6)]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "wages.csv"
    path.write_text("destination,amount\n" + "".join(f"{one},1.5\n" for one in PEOPLE) + "nobody,1\n")
    return path


async def started(front: Front, *arguments: str) -> Process:
    environment = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME"}}
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "cli.main",
        "batch",
        *arguments,
        env=environment | {"HOLDFAST_API_URL": front.url, "HOLDFAST_API_KEY": front.admin_key, "COLUMNS": "200"},
        stdin=PIPE,
        stdout=PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )


async def said(front: Front, *arguments: str, status: int = 0) -> str:
    process = await started(front, *arguments)
    text, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == status, text.decode()
    return text.decode()


async def batches(front: Front) -> list[str]:
    return [batch["id"] for batch in (await front.viewer.get("/api/v1/batches")).json()["batches"]]


async def test_a_check_names_the_bad_rows_and_records_nothing(front: Front, file: Path) -> None:
    text = await said(front, "check", str(file), "--asset", "XLM", status=1)
    assert "6 of 7 rows can be paid: 9.00 XLM in 1 contract calls" in text
    assert "1 bad rows are never paid" in text
    assert "destination" in text
    assert await batches(front) == []


async def test_nothing_is_sent_without_a_yes(front: Front, file: Path) -> None:
    assert "say --yes" in await said(front, "pay", str(file), "--asset", "XLM", status=2)
    assert await batches(front) == []


async def test_the_same_file_again_joins_the_same_batch_and_another_name_is_another(
    front: Front, file: Path
) -> None:
    for _ in range(2):
        await said(front, "pay", str(file), "--asset", "XLM", "--yes", "--no-follow")
    assert len(await batches(front)) == 1
    await said(front, "pay", str(file), "--asset", "XLM", "--yes", "--no-follow", "--name", "December")
    assert len(await batches(front)) == 2
    assert "December" in await said(front, "list")


async def test_whoever_joins_again_is_not_asked_to_pay_again(front: Front, file: Path) -> None:
    await said(front, "pay", str(file), "--asset", "XLM", "--yes", "--no-follow")
    again = await said(front, "pay", str(file), "--asset", "XLM", "--no-follow")
    (batch_id,) = await batches(front)
    assert "sent before" in again
    assert batch_id in again
    assert "say --yes" in await said(front, "pay", str(file), "--asset", "XLM", "--name", "December", status=2)


async def test_ctrl_c_leaves_it_running_and_says_how_to_join_again(front: Front, file: Path) -> None:
    process = await started(front, "pay", str(file), "--asset", "XLM", "--yes")
    assert process.stdout is not None
    seen = b""
    while b"rows paid" not in seen:
        seen += await asyncio.wait_for(process.stdout.readline(), 30)
    process.send_signal(signal.SIGINT)
    rest, _ = await asyncio.wait_for(process.communicate(), 30)
    (batch_id,) = await batches(front)
    assert process.returncode == 130, "whether every row is paid is not known"
    assert f"holdfast batch watch {batch_id}" in rest.decode()
    assert (await front.viewer.get(f"/api/v1/batches/{batch_id}")).json()["status"] == "running"


async def test_a_watch_ends_with_the_batch_and_the_report_has_every_row(
    front: Front, file: Path, tmp_path: Path
) -> None:
    await said(front, "pay", str(file), "--asset", "XLM", "--yes", "--no-follow")
    (batch_id,) = await batches(front)
    watching = await started(front, "watch", batch_id)
    await said(front, "cancel", batch_id)
    desk = BatchDesk(front.deps.database, front.deps.book, BatchRules(TERMS, window=4))
    await desk.take_stock(batch_id, datetime.now(UTC))
    text, _ = await asyncio.wait_for(watching.communicate(), 30)
    assert watching.returncode == 1, "not every row is paid"
    assert "cancelled: 0 rows paid" in text.decode()
    out = tmp_path / "report.csv"
    await said(front, "report", batch_id, "--out", str(out))
    rows = list(csv.DictReader(io.StringIO(out.read_text())))
    assert [row["status"] for row in rows] == ["cancelled"] * 6 + ["bad"]
    assert (await said(front, "report", batch_id, "--status", "bad")).count("\n") == 2


async def test_a_paused_batch_ends_the_watch_with_what_to_do(front: Front, file: Path) -> None:
    await said(front, "pay", str(file), "--asset", "XLM", "--yes", "--no-follow")
    (batch_id,) = await batches(front)
    await said(front, "pause", batch_id)
    assert f"holdfast batch resume {batch_id}" in await said(front, "watch", batch_id, status=1)
    await said(front, "resume", batch_id)
    assert await until(lambda: _status(front, batch_id, "running"))


async def _status(front: Front, batch_id: str, wanted: str) -> bool | None:
    found = (await front.viewer.get(f"/api/v1/batches/{batch_id}")).json()["status"]
    return True if found == wanted else None


async def test_what_the_api_refuses_is_said_with_its_reasons(front: Front, file: Path) -> None:
    text = await said(front, "pay", str(file), "--asset", "XLM", "--yes", "--refuse-bad", status=1)
    assert "line 8: destination" in text
    assert await batches(front) == []
