"""Handlers for the tests of the workers, and what a hostile file does to each."""

from __future__ import annotations

import json
import os
import signal
import time
from typing import Any

import libcst

from auditor.source.brackets import refuse_depth
from auditor.source.text import decode
from auditor.workers import Refused


def parse(path: str, data: bytes, options: Any) -> bytes:
    """What the audit does with a file, cut down to the parse and the generation of code."""
    refuse_depth(data)
    text = decode(data)
    module = libcst.parse_module(text.text)
    exact = module.code == text.text
    return json.dumps({"path": path, "statements": len(module.body), "exact": exact, "options": options}).encode()


def obey(path: str, data: bytes, options: Any) -> bytes:
    """Does what the file says."""
    order, _, argument = data.decode().partition(" ")
    match order:
        case "signal":
            signal.raise_signal(int(argument))  # to this thread: it does not come back
        case "exit":
            os._exit(int(argument))
        case "sleep":
            time.sleep(float(argument))
        case "memory":
            return bytes(len(bytearray(int(argument))) % 7)
        case "refuse":
            raise Refused("language", argument)
        case "raise":
            raise KeyError(argument)
        case "once":  # dies the first time only, as after damage by an earlier file
            if not os.path.exists(argument):
                os.mkfifo(argument)  # RLIMIT_FSIZE forbids to write files, not to make one
                signal.raise_signal(signal.SIGSEGV)
        case "nonsense":
            descriptor = next(fd for fd in range(3, 64) if _is_socket(fd))
            os.write(descriptor, b"\xff" * 100)
            time.sleep(60)
        case "write":
            with open(argument, "wb") as target:
                target.write(b"x" * 10)
        case "print":
            print("to the terminal")
            os.write(2, b"to the terminal")
        case _:
            return f"{path}:{len(data)}:{options}".encode("utf-8", "surrogateescape")
    return b"done"


def _is_socket(descriptor: int) -> bool:
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}").startswith("socket:")
    except OSError:
        return False


def die_at_once() -> None:
    os._exit(9)


if os.environ.get("AUDITOR_TEST_DIE_ON_IMPORT"):
    die_at_once()
