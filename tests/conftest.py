"""The real parts that tests run against: PostgreSQL, Temporal, the ledger and the inbox.

Each xdist worker has its own, started when a test first asks for one. A test's database and Temporal namespace are
its own; the ledger's state is shared, so tests make their own accounts.
"""

from __future__ import annotations

import itertools
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg
import pytest
from google.protobuf.duration_pb2 import Duration
from temporalio.api.workflowservice.v1 import RegisterNamespaceRequest
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.testing import TimeSkipper, TimeSkippingConfig, WorkflowEnvironment

from adapters.database.engine import Database
from adapters.database.migrate import upgrade
from adapters.temporal.search_attributes import register_search_attributes
from localnet.clients import LocalInbox, LocalLedger
from localnet.parts import free_port, postgres
from localnet.parts import inbox as inbox_part
from localnet.parts import ledger as ledger_part
from localnet.parts import temporal as temporal_part
from localnet.process import RunningPart

LEDGER_CLOSE_MS = 100


@pytest.fixture(autouse=True)
def _no_settings_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A developer's own environment must not change what tests see."""
    from settings import Settings
    from settings.source import environment_names

    for name, field in Settings.model_fields.items():
        for variable in environment_names(name, field):
            monkeypatch.delenv(variable, raising=False)
            monkeypatch.delenv(f"{variable}_FILE", raising=False)


@pytest.fixture(scope="session")
def parts_directory() -> Iterator[Path]:
    """A directory that another system user may enter: PostgreSQL runs as one where tests run as root.

    Beside pytest's own, which every session that starts makes private again.
    """
    with TemporaryDirectory(prefix="holdfast-parts-", ignore_cleanup_errors=True) as name:
        directory = Path(name)
        directory.chmod(0o711)
        yield directory


# PostgreSQL


@pytest.fixture(scope="session")
def postgres_url(parts_directory: Path) -> Iterator[str]:
    """A cluster of one's own, without durability; the database in the URL is an empty one."""
    part = postgres(parts_directory / "postgres", free_port(), durable=False)
    with RunningPart(part, parts_directory / "postgres.log") as running:
        yield running.url


def _with_database(url: str, name: str) -> str:
    return url.rpartition("/")[0] + f"/{name}"


@pytest.fixture(scope="session")
def template_database(postgres_url: str) -> str:
    """A migrated database that is only cloned."""
    name = "holdfast_template"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    upgrade(_with_database(postgres_url, name))
    return name


_numbers = itertools.count(1)


@pytest.fixture
def database_url(postgres_url: str, template_database: str) -> Iterator[str]:
    """A fresh, migrated database."""
    name = f"test_{next(_numbers)}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template_database}")
        yield _with_database(postgres_url, name)
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A pool of connections to a fresh, migrated database."""
    pool = Database(database_url, connections_max=10)
    yield pool
    await pool.close()


# Temporal


@pytest.fixture(scope="session")
def temporal_address(parts_directory: Path) -> Iterator[str]:
    """The development server, in memory, able to skip time."""
    part = temporal_part(free_port(), time_skipping=True)
    with RunningPart(part, parts_directory / "temporal.log") as running:
        yield running.url


@pytest.fixture
async def temporal_namespace(temporal_address: str) -> str:
    """A namespace of the test's own: business ids such as OUT001 are free in it."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    client = await Client.connect(temporal_address)
    await client.workflow_service.register_namespace(
        RegisterNamespaceRequest(namespace=name, workflow_execution_retention_period=Duration(seconds=86_400))
    )
    await register_search_attributes(await Client.connect(temporal_address, namespace=name))
    return name


@pytest.fixture
async def temporal(temporal_address: str, temporal_namespace: str) -> WorkflowEnvironment:
    """A real Temporal server; `temporal.client` speaks pydantic in a namespace of the test's own."""
    client = await Client.connect(
        temporal_address, namespace=temporal_namespace, data_converter=pydantic_data_converter
    )
    return WorkflowEnvironment.from_client(client)


@pytest.fixture
def time_skipping(temporal: WorkflowEnvironment) -> TimeSkipper:
    """The same server, skipping the timers of every workflow that is started through `time_skipping.client`."""
    return TimeSkipper(temporal.client, config=TimeSkippingConfig(max_session_skip_count=100_000))


# The ledger


@dataclass
class TestLedger(LocalLedger):
    """A running ledger: its client, and the process for tests that kill it."""

    __test__ = False
    process: RunningPart

    def __init__(self, process: RunningPart) -> None:
        super().__init__(process.url)
        self.process = process

    def close(self) -> None:
        self.process.stop()


@pytest.fixture(scope="session")
def ledger_process(parts_directory: Path) -> Iterator[RunningPart]:
    part = ledger_part(free_port(), close_ms=LEDGER_CLOSE_MS)
    with RunningPart(part, parts_directory / "ledger.log") as running:
        yield running


@pytest.fixture
def ledger(ledger_process: RunningPart) -> Iterator[TestLedger]:
    """The worker's shared ledger, closing every 100 ms; faults end with the test."""
    running = TestLedger(ledger_process)
    yield running
    running.clear_faults()


@pytest.fixture
def own_ledger(tmp_path: Path) -> Iterator[TestLedger]:
    """A ledger of the test's own, for tests that stall, reset or kill it; its state is in a file."""
    part = ledger_part(free_port(), close_ms=LEDGER_CLOSE_MS, state=tmp_path / "ledger.state")
    with RunningPart(part, tmp_path / "ledger.log") as running:
        yield TestLedger(running)


# The inbox


@pytest.fixture(scope="session")
def inbox_process(parts_directory: Path) -> Iterator[RunningPart]:
    part = inbox_part(free_port(), free_port(), webhook_secret="a-webhook-secret-of-tests")
    with RunningPart(part, parts_directory / "inbox.log") as running:
        yield running


@pytest.fixture
def inbox(inbox_process: RunningPart) -> LocalInbox:
    """The worker's shared inbox, empty and well-behaved."""
    client = LocalInbox(inbox_process.url, inbox_process.part.ports["INBOX_SMTP_PORT"])
    client.clear()
    return client
