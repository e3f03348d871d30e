"""Finished reports -> stdout or files. A file is replaced as a whole or not at all, and never one that is not ours."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from auditor.source.git import GitError, listing


class OutputError(Exception):
    """A report that could not be written; names the path, the reason and the mend."""


def write(path: str, text: str | bytes) -> bytes:
    """Write a report; "-" is stdout. Gives the bytes written. Raises OutputError."""
    data = text.encode("utf-8", "backslashreplace") if isinstance(text, str) else text
    if path == "-":
        data = data if data.endswith(b"\n") or not data else data + b"\n"
        _stdout(data)
        return data
    target = Path(path)
    if target.suffix in (".py", ".pyi", ".toml", ".ipynb") or _is_foreign(target):
        raise OutputError(f"--output {path}: that is a file of the project, not a report of ours; choose another name")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=".auditor-", dir=target.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(temporary, 0o644)
            os.replace(temporary, target)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as error:
        raise OutputError(f"--output {path}: {error.strerror or error}; choose a folder that can be written") from error
    return data


def _stdout(data: bytes) -> None:
    try:
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except BrokenPipeError:  # the reader has gone; what it wanted it has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        raise OutputError(f"stdout: {error.strerror or error}") from error


def _is_foreign(target: Path) -> bool:
    """Whether git tracks the file and it does not begin like a report of ours."""
    if not target.exists():
        return False
    head = target.read_bytes()[:400] if target.is_file() else b"?"
    ours = (b"auditor", b"<?xml", b"sarif", b"schema:", b"::")
    if any(mark in head for mark in ours) or not head.strip():
        return False
    try:
        found = listing(str(target.parent.resolve()))
    except GitError:
        return False
    return target.name in found.tracked
