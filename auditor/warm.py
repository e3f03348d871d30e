"""Nothing changed: the finished output of the last run with these words, replayed.

This is the warm path: no click, no dataclasses, no LibCST. A record is found by the command line and what surrounds it,
and holds only if every file of configuration, every audited file and the commit are what they were.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys

from auditor.cache import Cache, directory, engine_digest
from auditor.source.discover import discover, read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

RUNS = "runs"
COMMANDS = ("scan", "check")
NEVER = ("--output", "--no-cache", "--timings", "--previous", "--rules", "--config", "--since", "--help", "-h")
TOOLS = ("ruff-", "bandit-", "mypy-", "click-", "rich-")


def answer(argv: Sequence[str]) -> int | None:
    """Print the remembered output and give its status; None if there is none that holds."""
    if not _may(argv):
        return None
    cache = Cache(_folder(argv))
    try:
        stored = cache.get(RUNS, _key(argv))
        if stored is None:
            return None
        try:
            record = json.loads(stored)
            if (
                _surroundings(record["root"], record["files"], record["paths"], record["exclude"], record["limit"])
                != record["state"]
            ):
                return None
            text, status = record["stdout"].encode("utf-8", "surrogateescape"), int(record["status"])
        except (ValueError, KeyError, TypeError, OSError):
            return None  # a damaged record is a miss
    finally:
        cache.close()
    sys.stdout.flush()
    try:
        sys.stdout.buffer.write(text)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return status


def remember(argv: Sequence[str], record: dict[str, object], stdout: bytes, status: int) -> None:
    """Keep a finished run. `record` has root, files (of configuration), paths, exclude, limit, and extends (refused)."""
    if not _may(argv) or record.pop("extends"):
        return
    state = _surroundings(record["root"], record["files"], record["paths"], record["exclude"], record["limit"])  # type: ignore[arg-type]  # as documented
    whole = {**record, "state": state, "stdout": stdout.decode("utf-8", "surrogateescape"), "status": status}
    cache = Cache(_folder(argv))
    cache.put(RUNS, _key(argv), json.dumps(whole).encode("ascii"))
    cache.close()


def _may(argv: Sequence[str]) -> bool:
    return bool(argv) and argv[0] in COMMANDS and not any(word.startswith(NEVER) for word in argv)


def _folder(argv: Sequence[str]) -> str:
    for rank, word in enumerate(argv):
        if word == "--cache-dir" and rank + 1 < len(argv):
            return argv[rank + 1]
        if word.startswith("--cache-dir="):
            return word.partition("=")[2]
    return directory()


def _key(argv: Sequence[str]) -> str:
    """The command, where it runs, how it may print, and every program that takes part."""
    names = ("NO_COLOR", "FORCE_COLOR", "TERM", "PYTHONIOENCODING", "LC_ALL", "LANG")
    parts = [
        *argv, os.getcwd(), str(sys.stdout.isatty()), str(sys.stdout.encoding), engine_digest(), *_versions(),
        *(os.environ.get(name, "") for name in names),
    ]  # fmt: skip
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogateescape")).hexdigest()


def _versions() -> list[str]:
    """Names of the `.dist-info` folders of the tools."""
    found: list[str] = []
    for entry in sys.path:
        try:
            found.extend(
                n for n in os.listdir(entry or ".") if n.endswith(".dist-info") and n.lower().startswith(TOOLS)
            )
        except OSError:
            continue
    return sorted(found)


def _surroundings(root: str, files: Sequence[str], paths: Sequence[str], exclude: Sequence[str], limit: int) -> str:
    """Digest of the configuration files, of all audited files, and of what discovery tells besides."""
    digest = hashlib.sha256()
    for file in files:
        try:
            with open(file, "rb") as handle:
                digest.update(hashlib.sha256(handle.read()).digest())
        except OSError:
            digest.update(b"-")
    found = discover(root, paths, exclude, limit)
    told = (
        found.commit,
        found.dirty,
        found.excluded,
        found.links_not_followed,
        found.notes,
        [str(x) for x in found.skipped],
    )
    digest.update(repr(told).encode("utf-8", "surrogateescape"))
    for source in found.files:
        digest.update(source.path.encode("utf-8", "surrogateescape") + b"\0")
        digest.update(hashlib.sha256(read(root, source, limit)).digest())
    return digest.hexdigest()
