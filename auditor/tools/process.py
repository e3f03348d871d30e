"""Commands of other tools as child processes: started, limited, ended, never trusted.

Takes a `Command`, gives a `Finished`. An adapter is a *protocol*: a generator that yields batches of commands and is
sent their outcomes, so that it holds no process and can be fed recorded outcomes. `Driver` runs a protocol without
threads: `poll` advances it as far as it goes without waiting, `wait` to its end. (The engine forks workers while the
tools run, and a process with threads must not fork.)
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Generic, TypeVar

OUTPUT_CAP = 64 << 20
"""Bytes of stdout or stderr after which a tool is ended."""

_POSIX = os.name == "posix"
_PAUSE_S = 0.005


@dataclass(frozen=True, slots=True)
class Command:
    """One invocation. `cwd` is the stage, `home` an empty private directory, `limit_s` seconds of wall time.
    `writes_files` lifts the cap on file sizes for a tool that keeps a cache of its own."""

    argv: tuple[str, ...]
    cwd: Path
    home: Path
    limit_s: float
    environment: Mapping[str, str] = field(default_factory=dict)
    writes_files: bool = False


@dataclass(frozen=True, slots=True)
class Finished:
    """How a command ended: `how` is `exit`, `signal`, `timeout`, `flood` or `absent` (it could not be started)."""

    how: str
    exit_code: int | None
    stdout: bytes = b""
    stderr: bytes = b""

    @property
    def exited(self) -> bool:
        return self.how == "exit"

    @property
    def words(self) -> str:
        """The ending in words, for a note."""
        match self.how:
            case "exit":
                return f"exit status {self.exit_code}"
            case "signal":
                return f"ended by {_signal_name(-(self.exit_code or 0))}"
            case "timeout":
                return "stopped at its time limit"
            case "flood":
                return f"stopped after {OUTPUT_CAP >> 20} MiB of output"
            case _:
                return "could not be started"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


Batch = tuple[Command, ...]
Result = TypeVar("Result")
Protocol = Generator[Batch, tuple[Finished, ...], Result]


def environment(home: Path, extra: Mapping[str, str]) -> dict[str, str]:
    """The allow-list. Nothing named RUFF_*, MYPY*, PYTHON* comes through except what the adapter itself sets."""
    path = [entry for entry in os.environ.get("PATH", "").split(os.pathsep) if os.path.isabs(entry)]
    allowed = {
        "PATH": os.pathsep.join(path),
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home),
        "XDG_CACHE_HOME": str(home),
        "LC_ALL": "C.UTF-8",
        "NO_COLOR": "1",
        "PYTHONHASHSEED": "0",
    }
    if os.name == "nt":
        allowed |= {"USERPROFILE": str(home), "APPDATA": str(home)}
        allowed |= {name: os.environ[name] for name in ("SYSTEMROOT",) if name in os.environ}
    return {**allowed, **extra}


class Child:
    """A running command. Its output goes to unnamed files, so that it never waits for us to read."""

    def __init__(self, command: Command) -> None:
        self._command = command
        self._stdout: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the child; see `_close`
        self._stderr: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - the same
        self._started = time.monotonic()
        self._finished: Finished | None = None
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self._process = subprocess.Popen(  # noqa: S603 - a list, absolute program, environment from an allow-list
                _limited(command),
                cwd=command.cwd,
                env=environment(command.home, command.environment),
                stdin=subprocess.DEVNULL,
                stdout=self._stdout,
                stderr=self._stderr,
                start_new_session=_POSIX,
            )
        except OSError as error:
            self._finished = Finished("absent", None, b"", str(error.strerror).encode())
            self._close()
        else:
            _limit(self._process.pid, command)

    def poll(self) -> Finished | None:
        """The outcome, or None while it runs inside its limits."""
        if self._finished is None and self._process is not None:
            code = self._process.poll()
            if code is not None:
                self._end("exit" if code >= 0 else "signal")
            elif time.monotonic() - self._started > self._command.limit_s:
                self._end("timeout")
            elif self._flooded():
                self._end("flood")
        return self._finished

    def kill(self) -> None:
        """End it with its whole process group, whatever it does."""
        if self._finished is None:
            self._end("timeout")

    def _flooded(self) -> bool:
        return any(os.fstat(stream.fileno()).st_size >= OUTPUT_CAP for stream in (self._stdout, self._stderr))

    def _end(self, how: str) -> None:
        if self._process is None:
            return
        if _POSIX:
            # Also after a plain exit: a grandchild must not outlive the run.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
        elif how in {"timeout", "flood"}:
            self._process.kill()
        code = self._process.wait()
        how = "flood" if self._flooded() else how
        self._finished = Finished(how, code, _content(self._stdout), _content(self._stderr))
        self._close()

    def _close(self) -> None:
        self._stdout.close()
        self._stderr.close()


def _content(stream: IO[bytes]) -> bytes:
    stream.seek(0)
    return stream.read(OUTPUT_CAP)


def _cpu_seconds(command: Command) -> int:
    # A tool with threads spends several CPU seconds in one second.
    return int(command.limit_s * (os.cpu_count() or 1)) + 1


_LAUNCH = (
    "import os, resource, sys; n = int(sys.argv[1]); "
    "resource.setrlimit(resource.RLIMIT_CPU, (n, n + 5)); resource.setrlimit(resource.RLIMIT_CORE, (0, 0)); "
    "os.execv(sys.argv[2], sys.argv[2:])"
)


def _limited(command: Command) -> list[str]:
    """The argv, through a launcher where limits cannot be set from outside. (A `preexec_fn` would run Python between
    fork and exec.)"""
    if sys.platform == "linux" or not _POSIX:
        return list(command.argv)
    return [sys.executable, "-I", "-S", "-c", _LAUNCH, str(_cpu_seconds(command)), *command.argv]


def _limit(pid: int, command: Command) -> None:
    if sys.platform == "linux":
        import resource  # noqa: PLC0415 - does not exist on every platform

        seconds = _cpu_seconds(command)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            resource.prlimit(pid, resource.RLIMIT_CPU, (seconds, seconds + 5))
            resource.prlimit(pid, resource.RLIMIT_CORE, (0, 0))
            if not command.writes_files:
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (OUTPUT_CAP, OUTPUT_CAP))


class Driver(Generic[Result]):
    """Runs one protocol, at most `jobs` of its commands at a time."""

    def __init__(self, protocol: Protocol[Result], jobs: int = 1) -> None:
        self._protocol = protocol
        self._jobs = jobs
        self._batch: Batch = ()
        self._children: list[Child] = []
        self._result: list[Result] = []
        self._advance(None)
        self.poll()

    @property
    def done(self) -> bool:
        return bool(self._result)

    def poll(self) -> bool:
        """Advance without waiting; true once the protocol has given its result."""
        while not self.done:
            outcomes = [child.poll() for child in self._children]
            running = sum(outcome is None for outcome in outcomes)
            while running < self._jobs and len(self._children) < len(self._batch):
                self._children.append(Child(self._batch[len(self._children)]))
                running += 1
            finished = tuple(outcome for outcome in outcomes if outcome is not None)
            if len(finished) < len(self._batch):
                return False
            self._advance(finished)
        return True

    def wait(self) -> Result:
        """The result of the protocol. Every command is under a time limit, so that this ends."""
        while not self.poll():
            time.sleep(_PAUSE_S)
        return self._result[0]

    def wait_past_first(self, seconds: float) -> None:
        """Advance until the first batch is answered, at most so long."""
        until = time.monotonic() + seconds
        first = self._batch
        while self._batch is first and not self.poll() and time.monotonic() < until:
            time.sleep(_PAUSE_S)

    def close(self) -> None:
        """End every child that still runs."""
        for child in self._children:
            child.kill()
        self._protocol.close()

    def _advance(self, outcomes: tuple[Finished, ...] | None) -> None:
        try:
            self._batch = next(self._protocol) if outcomes is None else self._protocol.send(outcomes)
            self._children = []
        except StopIteration as stop:
            self._result.append(stop.value)
            self._batch, self._children = (), []


def run(command: Command) -> Finished:
    """Run one command to its end."""
    child = Child(command)
    while (finished := child.poll()) is None:
        time.sleep(_PAUSE_S)
    return finished


def replay(protocol: Protocol[Result], recorded: Sequence[Finished]) -> tuple[Result, list[Command]]:
    """Feed a protocol recorded outcomes in order, without any process. Raises ValueError if it asks for more commands
    than were recorded, or for fewer."""
    asked: list[Command] = []
    left = list(recorded)
    try:
        batch = next(protocol)
        while True:
            asked += batch
            if len(batch) > len(left):
                raise ValueError(f"command {len(asked)} was not recorded: {' '.join(asked[-1].argv[:6])} ...")
            outcomes, left = left[: len(batch)], left[len(batch) :]
            batch = protocol.send(tuple(outcomes))
    except StopIteration as stop:
        if left:
            raise ValueError(f"{len(left)} recorded outcomes were not asked for") from None
        result: Result = stop.value
        return result, asked
