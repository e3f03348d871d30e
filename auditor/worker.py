"""The inside of a worker process: reads files from a socket, hands them to the handler, answers. See `workers`.

Limits are set before the first byte is read. The handler runs in one thread with a deep stack, because parsing and
code generation recurse; limits are set anew per file, from its size.

Frames: kind, number of the file, length of the body; then the body. No pickle in either direction.
"""

from __future__ import annotations

import ast
import faulthandler
import gc
import importlib
import json
import math
import os
import re
import signal
import socket
import struct
import sys
import threading
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from auditor.source.text import Unreadable, decode

HEADER = struct.Struct(">BII")
SETUP, JOB, READY, STARTED, ANSWER, LOSS = range(1, 7)
LENGTH = struct.Struct(">I")

OUT_OF_MEMORY = 12  # exit status: the file is tried again in a fresh process, for memory may have been lost before
NO_HANDLER = 13

Handler = Callable[[str, bytes, Any], bytes]

PLACE = re.compile(r"error at (\d+):(\d+)")
PYTHON_2 = re.compile(
    rb"^[ \t]*(?:print[ \t]+[\"'\w]|exec[ \t]+[\"'\w]|raise[ \t]+\w+,|except[ \t]+[\w.]+,[ \t]*\w+:)", re.MULTILINE
)
# What LibCST's tokenizer says, where it says the same whatever the text.
FAULTS = frozenset(
    {
        "inconsistent mixing of tabs and spaces",
        "no matching outer block for dedent",
        "too many indentation levels",
        "unexpected characters after a line continuation",
        "unterminated string literal",
        "unterminated triple-quoted string literal",
        "leading zeros in decimal integer literals are not permitted; use an 0o prefix for octal integers",
        "Cannot concatenate string and bytes.",
    }
)


@dataclass(frozen=True, slots=True)
class Limits:
    """What one file may use: CPU seconds (`cpu` + `cpu_per_mb` per MB), wall time (`wall` times that), address space
    (`memory` + `memory_per_byte` per byte of source, beyond what the worker has), length of the answer, all in bytes.

    `large` is the size from which files run one at a time, each in a process of its own.
    """

    cpu: float = 10.0
    cpu_per_mb: float = 20.0
    wall: float = 10.0
    memory: int = 300 << 20
    memory_per_byte: int = 1000
    stack: int = 512 << 20
    recursion: int = 20_000
    answer: int = 256 << 20
    large: int = 1 << 20
    in_flight: int = 8
    in_flight_bytes: int = 256 << 10

    def cpu_of(self, size: int) -> float:
        return self.cpu + self.cpu_per_mb * size / (1 << 20)

    def wall_of(self, size: int) -> float:
        return self.wall * self.cpu_of(size)


def resolve(handler: str) -> Handler:
    """The function that `package.module:function` names. Raises ImportError or AttributeError."""
    module, _, name = handler.partition(":")
    function: Handler = getattr(importlib.import_module(module), name)
    return function


def serve(connection: socket.socket, handler: Handler, options: Any, limits: Limits) -> NoReturn:
    """Answers until the other side closes the connection, then ends the process."""
    _settle()
    threading.stack_size(_stack(limits.stack))
    sys.setrecursionlimit(limits.recursion)
    thread = threading.Thread(target=_answer_all, args=(connection, handler, options, limits), daemon=True)
    thread.start()
    thread.join()
    os._exit(0)


def forked(connection: socket.socket, handler: Handler, options: Any, limits: Limits) -> NoReturn:
    """What a forked child does: it leaves the parent's group, files and signal handlers behind, then serves."""
    try:
        os.setpgid(0, 0)
        signal.set_wakeup_fd(-1)
        faulthandler.disable()
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD, signal.SIGALRM):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when we end
        silent = os.open(os.devnull, os.O_RDWR)
        for standard in (0, 1, 2):
            os.dup2(silent, standard)
        kept = connection.fileno()
        os.closerange(3, kept)
        os.closerange(kept + 1, max(kept + 1, 4096))
        serve(connection, handler, options, limits)
    finally:
        os._exit(1)


def spawned() -> NoReturn:
    """What a spawned child does: `sys.argv` names its socket, the first frame its task."""
    connection = _inherited()
    _, _, body = _frame(connection)
    setup = json.loads(body)
    sys.path.extend(entry for entry in setup["path"] if entry not in sys.path)
    try:
        handler = resolve(setup["handler"])
    except (ImportError, AttributeError):
        os._exit(NO_HANDLER)
    serve(connection, handler, setup["options"], Limits(**setup["limits"]))


def _inherited() -> socket.socket:
    if sys.platform == "win32":
        return socket.fromshare(sys.stdin.buffer.read())
    return socket.socket(fileno=int(sys.argv[2]))


def _stack(wanted: int) -> int:
    """The wanted stack, or less where the address space is limited already."""
    try:
        import resource  # noqa: PLC0415 - does not exist on Windows
    except ImportError:
        return wanted
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    return wanted if soft == resource.RLIM_INFINITY else max(min(wanted, soft // 4), 1 << 20)


def _settle() -> None:
    """Limits that hold for the life of the process."""
    gc.disable()
    try:
        import resource  # noqa: PLC0415 - does not exist on Windows
    except ImportError:
        return
    for limit, most in ((resource.RLIMIT_CORE, 0), (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_NOFILE, 64)):
        _, hard = resource.getrlimit(limit)
        allowed = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(limit, (allowed, allowed))


def _limit(size: int, limits: Limits, base: int) -> None:
    """Limits for one file, counted from what the process has used so far."""
    try:
        import resource  # noqa: PLC0415 - does not exist on Windows
    except ImportError:
        return
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = math.ceil(used.ru_utime + used.ru_stime + limits.cpu_of(size))
    for limit, most in (
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_AS, base + limits.memory + limits.memory_per_byte * size),
    ):
        _, hard = resource.getrlimit(limit)
        soft = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(limit, (soft, hard))


def _address_space() -> int:
    """Bytes of address space in use; an upper estimate where the system does not tell."""
    try:
        with open("/proc/self/statm", "rb") as statm:
            return int(statm.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return 8 << 30


def _answer_all(connection: socket.socket, handler: Handler, options: Any, limits: Limits) -> None:
    base = _address_space()
    largest = 0
    connection.sendall(HEADER.pack(READY, 0, 0))
    served = 0
    while True:
        try:
            _, number, body = _frame(connection)
        except (ConnectionError, EOFError):
            return
        (length,) = LENGTH.unpack_from(body)
        path = body[LENGTH.size : LENGTH.size + length].decode("utf-8", "surrogateescape")
        data = body[LENGTH.size + length :]
        # Address space is not given back reliably: the limit never shrinks.
        largest = max(largest, len(data))
        connection.sendall(HEADER.pack(STARTED, number, 0))
        _limit(len(data), limits, base + limits.memory_per_byte * (largest - len(data)))
        try:
            answer = bytes(handler(path, data, options))
            kind = ANSWER
        except MemoryError:
            os._exit(OUT_OF_MEMORY)
        except Exception as error:  # noqa: BLE001 - the border of one file: whatever it is becomes its notice
            kind, answer = LOSS, json.dumps(word(error, path, data)).encode()
        connection.sendall(HEADER.pack(kind, number, len(answer)) + answer)
        del body, data, answer
        served += 1
        if served % 50 == 0:
            gc.collect()


def _frame(connection: socket.socket) -> tuple[int, int, bytes]:
    kind, number, length = HEADER.unpack(_exactly(connection, HEADER.size))
    return kind, number, _exactly(connection, length)


def _exactly(connection: socket.socket, length: int) -> bytes:
    buffer = bytearray(length)
    view = memoryview(buffer)
    while view:
        count = connection.recv_into(view)
        if not count:
            raise EOFError
        view = view[count:]
    del view
    return bytes(buffer)


def word(error: Exception, path: str, data: bytes) -> tuple[str, str]:
    """(reason, detail) for an exception of the handler. Reason `internal` is a fault of ours. No text of the file gets
    into the detail: it can hold secrets."""
    if isinstance(error, Unreadable):
        return error.reason, error.detail
    if isinstance(error, RecursionError):
        return "limit", "it is nested too deeply to be analysed; break up its longest expression or chain"
    kind = type(error).__name__
    frames = traceback.extract_tb(error.__traceback__, limit=-1)
    place = "/".join([*frames[-1].filename.split(os.sep)[-3:], str(frames[-1].lineno)]) if frames else "unknown place"
    inside_parser = bool(frames) and "libcst" in frames[-1].filename.split(os.sep)
    if kind in ("ParserSyntaxError", "CSTValidationError") or (inside_parser and isinstance(error, SyntaxError)):
        return _syntax(str(getattr(error, "message", error)), path, data)
    if inside_parser:
        # Raised at the edge of the stack, LibCST turns RecursionError into others.
        return "limit", f"the parser (LibCST) gave up with {kind}"
    return "internal", f"{kind} in {place}"


def _syntax(message: str, path: str, data: bytes) -> tuple[str, str]:
    """(reason, detail) for a text that the parser does not accept."""
    if _python_accepts(path, data):
        return "limit", "the parser (LibCST) does not accept it, though Python does"
    found = PLACE.search(message)
    place = f"in line {found[1]}" if found else "position unknown"
    hint = "; is this Python 2?" if PYTHON_2.search(data) else ""
    return "syntax", f"{_fault(message)}, {place}{hint}"


def _fault(message: str) -> str:
    """What is wrong, in the parser's words if these hold nothing of the text."""
    first = message.partition("\n")[0].removeprefix("tokenizer error: ").removeprefix("parser error: ")
    if first.endswith("is not a valid identifier"):
        return "a name holds a character that Python does not allow in names"
    return first if first in FAULTS else "syntax error"


def _python_accepts(path: str, data: bytes) -> bool:
    """Whether this Python compiles the text; then the fault is the parser's."""
    if path.endswith(".ipynb"):
        return False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(decode(data).text)
    except (SyntaxError, ValueError, RecursionError, Unreadable):
        return False
    return True
