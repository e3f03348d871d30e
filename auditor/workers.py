"""Untrusted files -> answers of a handler that runs in killable processes.

The parent never parses what it audits. A worker that dies (native stack overflow, limit on CPU or memory, watchdog)
takes no other file with it: those it had not begun are given to others, and the file it was at is tried once more,
alone, in a fresh process, before it gets the blame. So every file is begun at most twice, and every file gets exactly
one `Answer`.

Workers are forked where that is safe, else spawned; the parent talks to each over a socket pair in frames that it
checks. What a handler answers is opaque bytes.
"""

from __future__ import annotations

import dataclasses
import gc
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

from auditor.finding import Loss
from auditor.source.text import Unreadable
from auditor.worker import (
    ANSWER,
    HEADER,
    JOB,
    LENGTH,
    LOSS,
    NO_HANDLER,
    OUT_OF_MEMORY,
    READY,
    SETUP,
    STARTED,
    Limits,
    forked,
    resolve,
)

__all__ = ["Answer", "Limits", "Pool", "Refused", "WorkersFailed"]

STARTUP = 60.0  # seconds that a worker has until it is ready
FRESH_DEATHS = 3  # so many workers in a row that die before they read a file are no fault of a file
LONGEST_NOTICE = 4096
NO_ANSWER, NONSENSE = "gave no answer", "answered nonsense"
BOOT = "import sys; sys.path.insert(0, sys.argv[1]); from auditor.worker import spawned; spawned()"
KEPT_VARIABLES = ("SYSTEMROOT", "PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH")


class Refused(Unreadable):
    """Raised by a handler: this file cannot be analysed, for this reason (see `Unreadable`)."""


class WorkersFailed(Exception):
    """Workers do not start, whatever the file: a fault of the installation or of ours."""


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """What became of one file: the handler's bytes, or the loss; exactly one of the two is there."""

    path: str
    payload: bytes | None
    loss: Loss | None


class _Job:
    __slots__ = ("data", "number", "path", "suspect")

    def __init__(self, number: int, path: str, data: bytes) -> None:
        self.number = number
        self.path = path
        self.data = data
        self.suspect = False


class _Broken(Exception):
    """The worker said something that no worker of ours says."""


class _Worker:
    """The parent's side of one process. `jobs` are in the order in which they were sent and will be answered."""

    def __init__(self, connection: socket.socket, process: _Process) -> None:
        connection.setblocking(False)
        self.connection = connection
        self.process = process
        self.incoming = bytearray()
        self.outgoing: deque[memoryview] = deque()
        self.jobs: deque[_Job] = deque()
        self.ready = False
        self.begun: _Job | None = None
        self.answered = 0
        self.closing = False  # takes no further file
        self.since = time.monotonic()
        self.ended = ""  # why we ended it, if we did

    def room(self, limits: Limits) -> bool:
        return not self.closing and (
            len(self.jobs) < limits.in_flight and sum(len(job.data) for job in self.jobs) < limits.in_flight_bytes
        )

    def give(self, job: _Job) -> None:
        if not self.jobs:
            self.since = time.monotonic()
        self.jobs.append(job)
        path = job.path.encode("utf-8", "surrogateescape")
        head = HEADER.pack(JOB, job.number, LENGTH.size + len(path) + len(job.data)) + LENGTH.pack(len(path)) + path
        self.outgoing += (memoryview(head), memoryview(job.data))

    def deadline(self, limits: Limits) -> float:
        """When the watchdog ends this worker; infinite for one that has nothing to do."""
        if not self.ready:
            return self.since + STARTUP
        return self.since + limits.wall_of(len(self.jobs[0].data)) if self.jobs else float("inf")

    def write(self) -> None:
        while self.outgoing:
            view = self.outgoing[0]
            if view:
                try:
                    count = self.connection.send(view)
                except BlockingIOError:
                    return
                except OSError:  # it died; what it answered before is still to be read
                    self.outgoing.clear()
                    return
                if count < len(view):
                    self.outgoing[0] = view[count:]
                    continue
            self.outgoing.popleft()

    def read(self, limits: Limits) -> Iterator[Answer]:
        """Takes what has arrived. Raises EOFError at its end, OSError or _Broken."""
        try:
            chunk = self.connection.recv(1 << 20)
        except BlockingIOError:
            return
        if not chunk:
            raise EOFError
        self.incoming += chunk
        while len(self.incoming) >= HEADER.size:
            kind, number, length = HEADER.unpack_from(self.incoming)
            if length > limits.answer:
                raise _Broken
            end = HEADER.size + length
            if len(self.incoming) < end:
                return
            body = bytes(memoryview(self.incoming)[HEADER.size : end])
            del self.incoming[:end]
            answer = self._take(kind, number, body)
            if answer is not None:
                yield answer

    def _take(self, kind: int, number: int, body: bytes) -> Answer | None:
        self.since = time.monotonic()
        if kind == READY and not self.ready:
            self.ready = True
        elif kind == STARTED and self.jobs and self.begun is None and number == self.jobs[0].number:
            self.begun = self.jobs[0]
        elif kind in (ANSWER, LOSS) and self.begun is not None and number == self.begun.number:
            job = self.jobs.popleft()
            self.begun = None
            self.answered += 1
            return Answer(job.path, body, None) if kind == ANSWER else Answer(job.path, None, _loss(job.path, body))
        else:
            raise _Broken
        return None


def _loss(path: str, body: bytes) -> Loss:
    try:
        reason, detail = json.loads(body[:LONGEST_NOTICE])
    except (ValueError, TypeError, RecursionError):
        raise _Broken from None
    if not (isinstance(reason, str) and isinstance(detail, str)):
        raise _Broken
    return Loss(path, reason, detail)


class Pool:
    """Runs a handler over files in worker processes.

    `handler` is `package.module:function`, called as `handler(path, data, options) -> bytes`; `options` is JSON data.
    It may raise `Refused`; any other exception becomes a loss too, reason `internal` if neither the file nor the parser
    is to blame. Workers are started as files need them, `jobs` at most.
    """

    def __init__(self, handler: str, options: Any = None, jobs: int = 1, limits: Limits | None = None) -> None:
        self.handler = handler
        self.options = options
        self.jobs = max(jobs, 1)
        self.limits = limits if limits is not None else Limits()
        self._workers: list[_Worker] = []
        self._selector: selectors.BaseSelector | None = None
        self._fresh_deaths = 0
        # Imported once, here, so that every worker has it from its first moment.
        self._function = resolve(handler)
        self._frozen = False

    def run(self, items: Iterable[tuple[str, bytes]]) -> Iterator[Answer]:
        """One answer per item, in the order in which they get ready. Items are taken as workers have room for them; a
        list is run largest first, so that no large file begins last. Raises WorkersFailed."""
        if isinstance(items, list | tuple):
            items = sorted(items, key=lambda item: -len(item[1]))
        queue = _Queue(items, self.limits.large)
        self._selector = selectors.DefaultSelector()
        try:
            while True:
                self._distribute(queue)
                if not any(worker.jobs for worker in self._workers):
                    return
                yield from self._progress(queue)
        finally:
            self.close()

    def close(self) -> None:
        """Ends all workers at once, whatever they are doing."""
        for worker in self._workers[:]:
            self._drop(worker)
        if self._frozen:
            gc.unfreeze()  # what was alive at the fork is ordinary memory again in this process
            self._frozen = False
        if self._selector is not None:
            self._selector.close()
            self._selector = None

    # ---- giving out files

    def _distribute(self, queue: _Queue) -> None:
        """Gives files to workers that have room; starts and retires workers."""
        while queue.suspects and (worker := self._vacant(fresh=True)) is not None:
            worker.closing = True
            worker.give(queue.suspects.popleft())
        running_large = any(len(job.data) > self.limits.large for w in self._workers for job in w.jobs)
        while not queue.suspects:
            job = queue.take(allow_large=not running_large)
            if job is None:
                break
            large = len(job.data) > self.limits.large
            taker = self._vacant(fresh=True) if large else self._vacant(fresh=False)
            if taker is None:
                queue.put_back(job)
                if not large or not queue.has_small():
                    break
                running_large = True  # no place for it now; the small ones go on
                continue
            if large:
                # It runs alone, and its process ends with it: memory that it leaves behind could fail the next file.
                taker.closing = running_large = True
            taker.give(job)
        for worker in self._workers[:]:
            if worker.closing and not worker.jobs:
                self._drop(worker)
        for worker in self._workers:
            self._watch(worker)

    def _vacant(self, *, fresh: bool) -> _Worker | None:
        """A worker for the next file: one with room, the least loaded first, else a new one; None if all are busy."""
        if not fresh:
            with_room = [worker for worker in self._workers if worker.room(self.limits)]
            if with_room:
                return min(with_room, key=lambda worker: sum(len(job.data) for job in worker.jobs))
        for worker in self._workers:
            if fresh and not worker.jobs and not worker.answered and not worker.closing:
                return worker
        if len(self._workers) >= self.jobs:
            idle = next((worker for worker in self._workers if not worker.jobs), None)
            if idle is None:
                return None
            self._drop(idle)
        return self._start()

    # ---- hearing from workers

    def _progress(self, queue: _Queue) -> Iterator[Answer]:
        """Waits until something happens, and gives the answers that came."""
        assert self._selector is not None, "run() has made it"  # noqa: S101 - a fault of ours
        now = time.monotonic()
        wait = min((worker.deadline(self.limits) for worker in self._workers), default=now) - now
        for key, events in self._selector.select(max(min(wait, 3600.0), 0.0)):
            worker: _Worker = key.data
            try:
                if events & selectors.EVENT_WRITE:
                    worker.write()
                if events & selectors.EVENT_READ:
                    for answer in worker.read(self.limits):
                        self._fresh_deaths = 0
                        yield answer
            except _Broken:
                worker.ended = NONSENSE
                yield from self._bury(worker, queue)
            except (EOFError, OSError):
                # What arrived before the end counts.
                yield from self._bury(worker, queue)
        now = time.monotonic()
        for worker in self._workers[:]:
            if worker.deadline(self.limits) <= now:
                worker.ended = NO_ANSWER
                yield from self._bury(worker, queue)

    def _bury(self, worker: _Worker, queue: _Queue) -> Iterator[Answer]:
        """A worker has died, or must: decides about each of its files."""
        status = self._drop(worker, patiently=not worker.ended)
        begun, fresh = worker.begun, not worker.answered
        queue.again.extendleft(job for job in reversed(worker.jobs) if job is not begun and not job.suspect)
        queue.suspects.extend(job for job in worker.jobs if job is not begun and job.suspect)
        if begun is None:
            if fresh:
                self._fresh_deaths += 1
                if self._fresh_deaths >= FRESH_DEATHS:
                    how = "the handler cannot be imported there" if status == NO_HANDLER else _ending(status)
                    raise WorkersFailed(f"{FRESH_DEATHS} workers in a row died before they read a file: {how}")
            return
        self._fresh_deaths = 0
        if fresh:
            yield Answer(begun.path, None, Loss(begun.path, "limit", self._verdict(worker, begun, status)))
        else:
            begun.suspect = True
            queue.suspects.append(begun)

    def _verdict(self, worker: _Worker, job: _Job, status: int) -> str:
        """What ended the analysis of a file, in words."""
        size = len(job.data)
        mend = f"({size / 1024:.1f} KB); simplify, split or exclude it"
        if worker.ended == NO_ANSWER:
            return f"its analysis gave no answer within {self.limits.wall_of(size):.0f} s {mend}"
        if worker.ended:
            return f"its analysis {worker.ended} {mend}"
        if status == OUT_OF_MEMORY:
            most = self.limits.memory + self.limits.memory_per_byte * size
            return f"its analysis needs more than {most >> 20} MB of memory {mend}"
        if status == -getattr(signal, "SIGXCPU", 0):
            return f"its analysis needs more than {self.limits.cpu_of(size):.0f} s of CPU time {mend}"
        return f"its analysis was ended by {_ending(status)} {mend}"

    # ---- processes

    def _start(self) -> _Worker:
        ours, theirs = socket.socketpair()
        process: _Process
        if _may_fork():
            if not self._frozen:
                gc.freeze()
                self._frozen = True
            process = _Forked(theirs, self._function, self.options, self.limits)
            first = b""
        else:
            process = _Spawned(theirs)
            setup = {
                "handler": self.handler,
                "options": self.options,
                "limits": dataclasses.asdict(self.limits),
                "path": [entry for entry in sys.path if os.path.isabs(entry)],
            }
            body = json.dumps(setup).encode()
            first = HEADER.pack(SETUP, 0, len(body)) + body
        theirs.close()
        worker = _Worker(ours, process)
        if first:
            worker.outgoing.append(memoryview(first))
        self._workers.append(worker)
        return worker

    def _watch(self, worker: _Worker) -> None:
        assert self._selector is not None, "run() has made it"  # noqa: S101 - a fault of ours
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if worker.outgoing else 0)
        known = self._selector.get_map().get(worker.connection)
        if known is None:
            self._selector.register(worker.connection, events, worker)
        elif known.events != events:
            self._selector.modify(worker.connection, events, worker)

    def _drop(self, worker: _Worker, *, patiently: bool = False) -> int:
        """Ends a worker; gives its exit status (negative: the signal). `patiently` waits for one that is dying, to see
        its own signal and not ours."""
        self._workers.remove(worker)
        if self._selector is not None and worker.connection in self._selector.get_map():
            self._selector.unregister(worker.connection)
        worker.connection.close()
        return worker.process.end(2.0 if patiently else 0.0)


class _Queue:
    """Files that no worker has: new ones, `again` those that a dead worker had not begun, and `suspects`."""

    def __init__(self, items: Iterable[tuple[str, bytes]], large: int) -> None:
        self.items = iter(items)
        self.count = 0
        self.threshold = large
        self.again: deque[_Job] = deque()
        self.large: deque[_Job] = deque()
        self.suspects: deque[_Job] = deque()

    def take(self, *, allow_large: bool) -> _Job | None:
        """The next file, None if there is none now. Large files wait for each other, not the others for them."""
        if allow_large and self.large:
            return self.large.popleft()
        while True:
            job = self.again.popleft() if self.again else self._new()
            if job is None or allow_large or len(job.data) <= self.threshold:
                return job
            self.large.append(job)

    def put_back(self, job: _Job) -> None:
        (self.large if len(job.data) > self.threshold else self.again).appendleft(job)

    def has_small(self) -> bool:
        job = self.take(allow_large=False)
        if job is not None:
            self.again.appendleft(job)
        return job is not None

    def _new(self) -> _Job | None:
        item = next(self.items, None)
        if item is None:
            return None
        self.count += 1
        return _Job(self.count, *item)


class _Process:
    """One process that can be waited for and killed with its group."""

    def poll(self) -> int | None:
        raise NotImplementedError

    def kill(self) -> None:
        raise NotImplementedError

    def end(self, patience: float) -> int:
        """Its exit status, after killing it unless it ends by itself within `patience` seconds."""
        end = time.monotonic() + patience
        pause = 0.0005
        while (status := self.poll()) is None:
            if time.monotonic() >= end:
                self.kill()
                end = float("inf")
            time.sleep(pause)
            pause = min(pause * 2, 0.02)
        return status


class _Forked(_Process):
    def __init__(self, connection: socket.socket, function: Any, options: Any, limits: Limits) -> None:
        self.pid = os.fork()
        if self.pid == 0:
            forked(connection, function, options, limits)
        try:
            os.setpgid(self.pid, self.pid)  # the child does it too: whoever comes first
        except OSError:
            return

    def poll(self) -> int | None:
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        return os.waitstatus_to_exitcode(status) if pid else None

    def kill(self) -> None:
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except PermissionError:  # macOS says so of a group whose processes have ended
            os.kill(self.pid, signal.SIGKILL)


class _Spawned(_Process):
    def __init__(self, connection: socket.socket) -> None:
        package_parent = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
        argv = [sys.executable, "-I", "-X", "utf8", "-c", BOOT, package_parent]
        environment = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
        if sys.platform == "win32":
            self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, env=environment)  # noqa: S603 - our own argv
            assert self.process.stdin is not None, "it is a pipe"  # noqa: S101 - tells mypy
            self.process.stdin.write(connection.share(self.process.pid))
            self.process.stdin.close()
        else:
            self.process = subprocess.Popen(  # noqa: S603 - our own argv
                [*argv, str(connection.fileno())],
                pass_fds=[connection.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=environment,
                process_group=0,
            )

    def poll(self) -> int | None:
        return self.process.poll()

    def kill(self) -> None:
        if sys.platform == "win32":
            self.process.kill()
        else:
            os.killpg(self.process.pid, signal.SIGKILL)


def _may_fork() -> bool:
    """Whether a fork is safe: it exists, and this process has no second thread that could hold a lock."""
    if not hasattr(os, "fork") or threading.active_count() > 1:
        return False
    try:
        return len(os.listdir("/proc/self/task")) == 1
    except OSError:
        return True


def _ending(status: int) -> str:
    if status >= 0:
        return f"exit status {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"
