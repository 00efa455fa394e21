"""All local parts under one supervisord, a child of this process; it is spoken to over a Unix socket.

Nothing is left behind, whoever is killed: supervisord ends with this process, and every part ends with
supervisord, by the kernel's parent-death signal (Linux). Elsewhere a killed supervisord leaves its parts running,
and the next start names the port that is taken.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import xmlrpc.client
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from supervisor.xmlrpc import SupervisorTransport

_LEASH: Final = Path(__file__).with_name("leash.py")
_SOCKET_PATH_MAX: Final = 100
"""A Unix socket's path holds 107 bytes (sun_path)."""
_STOP_SECONDS: Final = 4
_START_RETRIES: Final = 3
_EXITED: Final = re.compile(r"exited: (?P<name>\S+) \((?P<how>[^;]+); (?P<expected>[a-z ]+)\)")


class SupervisorError(Exception):
    """The supervisor cannot be started or does not answer."""


@dataclass(frozen=True, slots=True)
class Program:
    """A part as the supervisor runs it. `death_signal` ends it when the supervisor is killed."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    user: str | None = None
    directory: str = "."
    stop_signal: signal.Signals = signal.SIGTERM
    death_signal: signal.Signals = signal.SIGKILL


@dataclass(frozen=True, slots=True)
class Death:
    """A part that ended without being asked to; `how` is such as `signal 9` or `exit status 1`."""

    name: str
    how: str


class Supervisor:
    """supervisord as a child process."""

    def __init__(self, directory: Path, programs: Sequence[Program]) -> None:
        """`directory` holds the configuration and the parts' logs."""
        self._directory = directory.resolve()
        self._run = self._directory / "run"
        self.logs = self._directory / "log"
        self._programs = {program.name: program for program in programs}
        self._process: subprocess.Popen[bytes] | None = None
        self._log = self.logs / "supervisord.log"
        self._log_read = 0
        self._asked_to_stop: set[str] = set()

    # start and end

    def start(self) -> None:
        """Start supervisord; parts are started one by one, by `start_program`."""
        self._run.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.logs.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._log_read = self._log.stat().st_size if self._log.exists() else 0
        self._socket = self._socket_path()
        configuration = self._run / "supervisord.conf"
        write_private(configuration, self._configuration())
        for program in self._programs.values():
            self._write_spec(program)
        # The leash again: supervisord is told to stop everything when this process is gone.
        spec = self._run / "supervisord.json"
        command = (sys.executable, "-m", "supervisor.supervisord", "-n", "-c", str(configuration))
        write_private(spec, _spec(Program("supervisord", command, death_signal=signal.SIGTERM)))
        with (self.logs / "supervisord.out").open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603 - our own command
                [sys.executable, "-I", "-S", str(_LEASH), str(spec)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for us; we stop the parts in order
            )
        deadline = time.monotonic() + 15
        while True:
            try:
                self._call("getState")
                return
            except SupervisorError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    tail = (self.logs / "supervisord.out").read_text(errors="replace")[-1500:]
                    self.kill()
                    raise SupervisorError(f"the supervisor did not start:\n{tail}") from None
                time.sleep(0.02)

    @property
    def alive(self) -> bool:
        """Whether supervisord runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """supervisord's process id."""
        if self._process is None:
            raise SupervisorError("the supervisor is not running")
        return self._process.pid

    def stop(self, first: Sequence[str] = ()) -> None:
        """Stop all parts, those of `first` before the others, then supervisord itself. Takes seconds at most."""
        if not self.alive or self._process is None:
            return
        others = [name for name in self._programs if name not in first]
        try:
            for wave in (list(first), others):
                self._stop_wave(wave)
            self._call("shutdown")
        except SupervisorError:
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(2 * _STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
        self._socket.unlink(missing_ok=True)

    def _stop_wave(self, names: Sequence[str]) -> None:
        self._asked_to_stop.update(names)
        for name in names:
            try:
                self._call("stopProcess", name, False)
            except xmlrpc.client.Fault:
                continue  # it is not running
        deadline = time.monotonic() + _STOP_SECONDS + 1
        while time.monotonic() < deadline:
            if all(state["statename"] not in {"STOPPING", "RUNNING", "STARTING"} for state in self._states(names)):
                return
            time.sleep(0.03)

    def kill(self) -> None:
        """End supervisord at once; the parts end with it."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    # parts

    def update(self, program: Program) -> None:
        """Replace what a part will be started as, the next time that it starts."""
        self._programs[program.name] = program
        self._write_spec(program)

    def start_program(self, name: str) -> None:
        """Start a part; it is restarted whenever it ends, until it is stopped."""
        self._asked_to_stop.discard(name)
        try:
            self._call("startProcess", name, False)
        except xmlrpc.client.Fault as fault:
            if "ALREADY_STARTED" not in fault.faultString:
                raise SupervisorError(f"{name} cannot be started: {fault.faultString}") from fault

    def stop_program(self, name: str) -> None:
        """Stop a part, and leave the others running. Takes seconds at most."""
        self._stop_wave([name])

    def state(self, name: str) -> str:
        """STARTING, RUNNING, BACKOFF (it ended at once and is tried again), FATAL (given up) and so on."""
        return str(self._call("getProcessInfo", name)["statename"])

    def pid_of(self, name: str) -> int:
        """The part's process id; 0 while it does not run."""
        return int(self._call("getProcessInfo", name)["pid"])

    def tail(self, name: str, lines: int = 12) -> str:
        """The end of a part's log."""
        path = self.log_of(name)
        text = path.read_text(errors="replace") if path.exists() else ""
        return "\n".join(text.splitlines()[-lines:])

    def log_of(self, name: str) -> Path:
        """Where a part's output goes."""
        return self.logs / f"{name}.log"

    def deaths(self) -> Iterator[Death]:
        """Parts that ended since the last look without being asked to."""
        if not self._log.exists():
            return
        with self._log.open("rb") as file:
            file.seek(self._log_read if self._log.stat().st_size >= self._log_read else 0)
            data = file.read()
            complete = data[: data.rfind(b"\n") + 1]
            self._log_read = file.tell() - len(data) + len(complete)
        for match in _EXITED.finditer(complete.decode(errors="replace")):
            if match["name"] not in self._asked_to_stop:
                yield Death(match["name"], _in_words(match["how"]))

    # inside

    def _states(self, names: Sequence[str]) -> list[dict[str, Any]]:
        return [state for state in self._call("getAllProcessInfo") if state["name"] in names]

    def _call(self, method: str, *arguments: Any) -> Any:
        transport = SupervisorTransport(None, None, serverurl=f"unix://{self._socket}")
        proxy = xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport)
        try:
            return getattr(proxy.supervisor, method)(*arguments)
        except xmlrpc.client.Fault:
            raise
        except (OSError, xmlrpc.client.Error, ValueError) as error:
            raise SupervisorError(f"the supervisor does not answer: {error}") from error
        finally:
            transport.close()

    def _socket_path(self) -> Path:
        path = self._run / "supervisor.sock"
        if len(os.fsencode(path)) > _SOCKET_PATH_MAX:
            digest = sha256(os.fsencode(path)).hexdigest()[:16]
            path = Path(tempfile.gettempdir()) / f"holdfast-{os.geteuid()}-{digest}.sock"
        path.unlink(missing_ok=True)
        return path

    def _write_spec(self, program: Program) -> None:
        write_private(self._run / f"{program.name}.json", _spec(program))

    def _configuration(self) -> str:
        def quoted(value: object) -> str:
            return str(value).replace("%", "%%")

        sections = [
            "[unix_http_server]",
            f"file={quoted(self._socket)}",
            "chmod=0600",
            "[rpcinterface:supervisor]",
            "supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface",
            "[supervisord]",
            "nodaemon=true",
            f"logfile={quoted(self._log)}",
            "logfile_maxbytes=5MB",
            "logfile_backups=1",
            "loglevel=info",
            f"pidfile={quoted(self._run / 'supervisord.pid')}",
            f"childlogdir={quoted(self.logs)}",
            "minfds=1024",
        ]
        for program in self._programs.values():
            leash = f'"{sys.executable}" -I -S "{_LEASH}" "{self._run / program.name}.json"'
            sections += [
                f"[program:{program.name}]",
                f"command={quoted(leash)}",
                "autostart=false",
                "autorestart=true",
                "startsecs=1",
                f"startretries={_START_RETRIES}",
                f"stopsignal={program.stop_signal.name.removeprefix('SIG')}",
                f"stopwaitsecs={_STOP_SECONDS}",
                "stopasgroup=false",
                "killasgroup=true",
                "redirect_stderr=true",
                f"stdout_logfile={quoted(self.log_of(program.name))}",
                "stdout_logfile_maxbytes=10MB",
                "stdout_logfile_backups=1",
            ]
        return "\n".join(sections) + "\n"


def _spec(program: Program) -> str:
    return json.dumps(
        {
            "command": list(program.command),
            "environment": dict(program.environment),
            "user": program.user,
            "directory": program.directory if program.user is None else "/",
            "death_signal": int(program.death_signal),
        }
    )


def _in_words(how: str) -> str:
    if (name := how.removeprefix("terminated by ")) != how:
        try:
            return f"signal {signal.Signals[name.split()[0]].value}"
        except KeyError:
            return name
    return how


def write_private(path: Path, text: str) -> None:
    """Write a file that only this user may read, whole or not at all."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    partial.replace(path)
