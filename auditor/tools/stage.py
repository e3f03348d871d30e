"""The stage: a private copy of exactly the texts we analysed, the only thing another tool ever sees.

Takes decoded texts by path, gives `View`s: a directory, and which staged path stands for which audited path. Holds no
configuration, no ignore file, no link, no cache of the audited tree. Layout of the directory (0700):

    lock    home/ (empty)    lists/    tree/ (ruff, bandit)    types/ (mypy)
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO

_ATTEMPTS = 8
_COOKIE = re.compile(r"[ \t\f]*#(.*?coding[:=][ \t]*([-\w.]+).*)")
_BLANK = re.compile(r"[ \t\f]*(#.*)?")
_LINE_END = re.compile(r"\r\n|\r|\n")
# `# type: ignore` and `# mypy: ...` have no switch that turns them off, so that they are defused in the text.
_MYPY_COMMENT = re.compile(r"(#[ \t]*)(type(?=:[ \t]*ignore\b)|mypy(?=:))")
# `from package.__init__ import x` makes mypy see one file under two names, and stop.
_INIT_IMPORT = re.compile(r"(?m)^([ \t]*(?:from|import)[ \t]+[.\w]*?)(\.__init__)(?=[ \t])")


@dataclass(frozen=True, slots=True)
class Notebook:
    """A notebook as Python: `source` is its code cells joined, `cells` maps the number of a cell (1-based, all cells
    counted) to its first line there, `lines[i]` is the line of the .ipynb file that stores line i + 1. Without `lines`
    reports keep the lines of `source`."""

    source: str
    cells: Mapping[int, int]
    lines: tuple[int, ...] = ()

    @classmethod
    def from_places(
        cls, source: str, places: Sequence[tuple[int, int]], lines: tuple[int, ...] = ()
    ) -> Notebook:
        """From the (cell, line in the cell) of each line of `source`."""
        cells: dict[int, int] = {}
        for number, (cell, _) in enumerate(places, 1):
            cells.setdefault(cell, number)
        return cls(source, cells, lines)

    def file_line(self, line: int) -> int:
        """The line to report for a line of `source`; the nearest one if it is outside."""
        return self.lines[min(max(line, 1), len(self.lines)) - 1] if self.lines else line


@dataclass(frozen=True, slots=True)
class Sources:
    """What is audited: decoded text by path, and the Python form of those that are notebooks."""

    texts: Mapping[str, str]
    notebooks: Mapping[str, Notebook] = field(default_factory=dict)

    def python(self, path: str) -> str:
        """The Python text of a file."""
        notebook = self.notebooks.get(path)
        return self.texts[path] if notebook is None else notebook.source

    def file_line(self, path: str, line: int) -> int:
        """The line in the audited file for a line of its Python text."""
        notebook = self.notebooks.get(path)
        return line if notebook is None else notebook.file_line(line)

    def paths(self) -> tuple[str, ...]:
        """All paths, in the order of their bytes."""
        return tuple(sorted(self.texts, key=lambda path: path.encode("utf-8", "surrogateescape")))

    def line_count(self, paths: Iterable[str]) -> int:
        return sum(self.python(path).count("\n") + 1 for path in paths)


@dataclass(frozen=True, slots=True)
class View:
    """What one tool is pointed at: the directory, and staged path -> audited path."""

    root: Path
    home: Path
    paths: Mapping[str, str]

    def audited(self, reported: str) -> str | None:
        """The audited path for a path as a tool prints it (absolute, or relative with any number of `./`)."""
        prefix = f"{self.root.as_posix()}/"
        relative = reported.replace(os.sep, "/").removeprefix(prefix)
        while relative.startswith("./"):
            relative = relative[2:]
        return self.paths.get(relative)


class StageError(Exception):
    """The stage cannot be used; the message names the path, the reason and the mend."""


class Stage:
    """The directory under its lock. A context manager; closing it frees the lock and keeps the files, which the next
    run compares instead of writing."""

    def __init__(self, root: Path, lock: IO[str]) -> None:
        self.root = root
        self._lock = lock
        for name in ("home", "lists", "tree", "types"):
            _private_directory(root / name)

    @classmethod
    def open(cls, directory: Path) -> Stage:
        """Take the stage in `directory`; if another run holds it, the first free one of `directory-2`, ... Raises
        StageError when none can be had."""
        for attempt in range(1, _ATTEMPTS + 1):
            root = directory if attempt == 1 else directory.with_name(f"{directory.name}-{attempt}")
            _private_directory(root)
            lock = _locked(root / "lock")
            if lock is not None:
                return cls(root.resolve(), lock)
        raise StageError(f"{directory}: in use by {_ATTEMPTS} other runs; wait for them or give another --cache-dir")

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._lock.close()

    @property
    def home(self) -> Path:
        return self.root / "home"

    def list_file(self, name: str, lines: Iterable[str]) -> Path:
        """A file outside the trees that a tool reads: a list of paths, a configuration of ours."""
        path = self.root / "lists" / name
        path.write_bytes("".join(f"{line}\n" for line in lines).encode())
        return path

    def tree(self, sources: Sources, *, converted: bool) -> View:
        """The tree for the per-file tools. Notebooks are raw, or with `converted` as Python files beside."""
        contents, plain, python = {}, {}, {}
        taken = {staged_path(path) for path in sources.texts}
        for path in sources.paths():
            staged = staged_path(path)
            contents[staged] = without_cookie(sources.texts[path])
            plain[staged] = path
            if path in sources.notebooks:
                staged = unused(f"{staged.removesuffix('.ipynb')}_ipynb.py", taken)
                taken.add(staged)
                contents[staged] = sources.notebooks[path].source
            python[staged] = path
        root = self.root / "tree"
        _mirror(root, contents)
        return View(root, self.home, python if converted else plain)

    def types(self, sources: Sources, staged: Mapping[str, str]) -> View:
        """The tree for mypy: exactly the files of `staged` (staged path -> audited path)."""
        root = self.root / "types"
        contents = {at: for_mypy(without_cookie(sources.python(path))) for at, path in staged.items()}
        _mirror(root, contents)
        return View(root, self.home, dict(staged))


def staged_path(path: str) -> str:
    """The path of a file on the stage: its own, with components that a tool could misread (control characters,
    undecodable bytes, outer blanks) replaced by a digest. Raises ValueError for a path that leaves the root."""
    parts = path.split("/")
    if path.startswith("/") or any(part in {"", ".", ".."} for part in parts) or "\0" in path:
        raise ValueError(f"{path!r} is not a path below the root; give posix paths relative to it")
    return "/".join(map(_safe, parts))


def _safe(part: str) -> str:
    # str.isprintable is false for surrogates, so that undecodable bytes are covered.
    if part.isprintable() and part == part.strip() and not set(part) & {"\\", ":"}:
        return part
    digest = hashlib.sha256(part.encode("utf-8", "surrogateescape")).hexdigest()[:12]
    return f"_{digest}{PurePosixPath(part).suffix if part.endswith(('.py', '.pyi', '.ipynb')) else ''}"


def unused(path: str, taken: Iterable[str]) -> str:
    """`path`, with a number before its suffix if it is taken."""
    stem, dot, suffix = path.rpartition(".")
    candidate, number = path, 2
    while candidate in taken:
        candidate = f"{stem}_{number}{dot}{suffix}"
        number += 1
    return candidate


def split_lines(text: str) -> list[str]:
    """Lines without their ends; only `\\n`, `\\r\\n` and `\\r` end a line, as for Python."""
    return _LINE_END.split(text)


def without_cookie(text: str) -> str:
    """The text with a non-UTF-8 encoding cookie overwritten by dashes: what we stage is UTF-8, and some codecs hide
    code from the tools. Lines and columns stay."""
    for match in _first_two_lines(text):
        cookie = _COOKIE.fullmatch(text, match.start(), match.end())
        if cookie:
            if cookie[2].lower().replace("_", "-") in {"utf-8", "utf8"}:
                return text
            return text[: cookie.start(1)] + "-" * len(cookie[1]) + text[cookie.end(1) :]
        if not _BLANK.fullmatch(text, match.start(), match.end()):
            break
    return text


_LINE = re.compile(r"[^\r\n]*")


def _first_two_lines(text: str) -> Iterable[re.Match[str]]:
    first = _LINE.match(text, 1 if text.startswith("\ufeff") else 0)
    if first is None:
        return
    yield first
    end = _LINE_END.match(text, first.end())
    second = _LINE.match(text, end.end()) if end else None
    if second is not None:
        yield second


def for_mypy(text: str) -> str:
    """The text with `# type: ignore` and `# mypy: ...` defused and `package.__init__` imported as `package`; lines and
    columns stay. (Inside a string this changes letters of the string, which no type depends on.)"""
    text = _MYPY_COMMENT.sub(lambda match: match[1] + "-" * len(match[2]), text)
    return _INIT_IMPORT.sub(_plain_import, text)


def _plain_import(match: re.Match[str]) -> str:
    # In `from .__init__ import x` the dot itself is the package.
    is_relative = match[1].endswith((" ", "\t", "."))
    return match[1] + ("." if is_relative else "").ljust(len(match[2]))


def _mirror(root: Path, contents: Mapping[str, str]) -> None:
    """Make the directory hold exactly these files: vanished ones go first, equal ones are not touched (mypy's cache
    looks at modification times), changed ones are replaced."""
    kept = {root / path for path in contents}
    kept_directories = {parent for path in kept for parent in path.parents}
    for directory, names, files in os.walk(root, topdown=True):
        here = Path(directory)
        for name in files:
            if here / name not in kept:
                (here / name).unlink()
        for name in list(names):
            below = here / name
            if below not in kept_directories or below.is_symlink():
                names.remove(name)
                below.unlink() if below.is_symlink() else shutil.rmtree(below)
    for parent in sorted(kept_directories - set(root.parents) - {root}):
        _private_directory(parent)
    for path, text in contents.items():
        _write(root / path, text.encode("utf-8", "replace"))


def _write(path: Path, content: bytes) -> None:
    with contextlib.suppress(FileNotFoundError):
        if not path.is_symlink() and path.read_bytes() == content:
            return
        path.unlink()
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
    with os.fdopen(os.open(path, flags, 0o600), "wb") as stream:
        stream.write(content)


def _private_directory(path: Path) -> None:
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not stat.S_ISDIR(path.lstat().st_mode):
        raise StageError(f"{path}: not a directory of its own (a link?); remove it")
    if path.stat().st_mode & 0o077:
        path.chmod(0o700)


def _locked(path: Path) -> IO[str] | None:
    """The lock file, open and locked, or None if another process holds it. The system frees it when we die."""
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
    stream = os.fdopen(os.open(path, flags, 0o600), "r+")
    try:
        if os.name == "nt":
            import msvcrt  # noqa: PLC0415 - exists on Windows only

            getattr(msvcrt, "locking")(stream.fileno(), getattr(msvcrt, "LK_NBLCK"), 1)  # noqa: B009 - no stubs here
        else:
            import fcntl  # noqa: PLC0415 - does not exist on Windows

            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        stream.close()
        return None
    return stream
