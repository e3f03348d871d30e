"""Paths -> the files to analyse, in order, and everything that was left out, with the reason.

In a git work tree: what git tracks, and what it would offer to add. Elsewhere: a walk with the rules of `.gitignore`.
Links are not followed, and only regular files are opened, so that no FIFO, device or link can block the run or lead out
of the root. Names are `os.fsdecode`d, with slashes, relative to the root; the order is that of their bytes.

The answer from the cache passes here: nothing is imported that costs time (no dataclasses, typing, pathlib).
"""

from __future__ import annotations

import errno
import os
import re
import stat

from auditor.source import git
from auditor.source.globs import Patterns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from auditor.finding import Loss

LARGEST = 8 << 20
SUFFIXES = (".py", ".pyi", ".ipynb")
SHEBANG = re.compile(rb"#!.*\bpython[\d.]*\b")

# Folders without code of the project, by name; where git tracks files in them, these are analysed all the same.
BUILT_IN = (
    ".eggs",
    ".git",
    ".hg",
    ".mypy_cache",
    ".nox",
    ".pytest_cache",
    ".ruff_cache",
    ".svn",
    ".tox",
    ".venv",
    "__pycache__",
    "__pypackages__",
    "build",
    "dist",
    "node_modules",
    "site-packages",
    "venv",
)
BUILT_IN_SOURCE = "built-in"
VENV = "folders with pyvenv.cfg"


class SourceFile:
    """A regular file below the root: `path` relative, with slashes; `size` in bytes when it was listed."""

    __slots__ = ("device", "inode", "path", "size")

    def __init__(self, path: str, size: int, device: int, inode: int) -> None:
        self.path = path
        self.size = size
        self.device = device
        self.inode = inode

    def __repr__(self) -> str:
        return f"SourceFile({self.path!r}, {self.size})"


class Discovery:
    """What was found.

    `files` are in order of their bytes. `skipped` are losses: files that belong to the audit and cannot be read.
    `excluded` are (pattern, where it comes from, how many): the number counts files, for whole folders of the built-in
    list and of ignore files the folders, which are not entered. `notes` are sentences for the reader of the coverage.
    """

    __slots__ = ("commit", "dirty", "excluded", "files", "in_git", "links_not_followed", "notes", "skipped")

    def __init__(self) -> None:
        self.files: tuple[SourceFile, ...] = ()
        self.skipped: tuple[Loss, ...] = ()
        self.excluded: tuple[tuple[str, str, int], ...] = ()
        self.links_not_followed = 0
        self.in_git = False
        self.commit: str | None = None
        self.dirty = False
        self.notes: tuple[str, ...] = ()


def discover(
    root: str, paths: Sequence[str] = (), exclude: Sequence[str] = (), max_file_size: int = LARGEST
) -> Discovery:
    """The files at or below `paths` (default: the root), which are absolute or relative to the working directory.

    `root` is resolved once; nothing outside of it is read. A path that does not exist or lies outside of the root is a
    loss. `exclude` are patterns as in `.gitignore`, relative to the root, and also hold for files named in `paths`.
    """
    return _Search(os.path.realpath(root), exclude, max_file_size).run(paths)


def read(root: str, file: SourceFile, max_file_size: int = LARGEST) -> bytes:
    """The bytes of a file that was discovered. Raises OSError if it has gone, became another file or no regular one, or
    has grown beyond the limit; `strerror` words the reason."""
    descriptor = _open(_join(os.path.realpath(root), file.path))
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "it is no longer a regular file", file.path)
        if (found.st_dev, found.st_ino) != (file.device, file.inode):
            raise OSError(errno.ESTALE, "it was replaced while the audit ran; run it again", file.path)
        chunks = []
        size = 0
        while chunk := os.read(descriptor, max(found.st_size - size, 0) + 1):
            chunks.append(chunk)
            size += len(chunk)
            if size > max_file_size:
                raise OSError(errno.EFBIG, f"it grew beyond {_megabytes(max_file_size)} while the audit ran", file.path)
    finally:
        os.close(descriptor)
    return b"".join(chunks)


def _open(path: str) -> int:
    """Opens without following a link at the end, and without waiting for the other end of a FIFO."""
    flags = os.O_RDONLY
    for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY", "O_NOCTTY"):
        flags |= getattr(os, name, 0)
    return os.open(path, flags)


def _join(root: str, path: str) -> str:
    return os.path.join(root, *path.split("/")) if path else root


def _megabytes(size: int) -> str:
    return f"{size / (1 << 20):.1f} MB"


class _Search:
    """One discovery. Paths are relative to the root and have slashes; the root itself is ''."""

    def __init__(self, root: str, exclude: Sequence[str], limit: int) -> None:
        self.root = root
        self.limit = limit
        self.exclude = Patterns(exclude)
        self.found: dict[str, os.stat_result] = {}
        self.losses: dict[str, tuple[str, str]] = {}
        self.left_out: dict[tuple[str, str], int] = {}
        self.links: set[str] = set()
        self.plain_folders: dict[str, bool] = {"": True}
        self.notes = [f"the exclude pattern {text!r} is not valid and was not used" for text in self.exclude.refused]

    def run(self, paths: Sequence[str]) -> Discovery:
        out = Discovery()
        starts = self._starts(paths) if paths else [""]
        listing = self._listing(out)
        for start in starts:
            self._start(start, listing)
        if listing is not None:
            out.in_git = True
            out.commit = listing.commit
            out.dirty = listing.dirty
        files = self._files()
        out.files = tuple(files)
        out.links_not_followed = len(self.links)
        out.excluded = tuple((pattern, source, count) for (pattern, source), count in sorted(self.left_out.items()))
        out.notes = tuple(self.notes)
        if self.losses:
            from auditor.finding import Loss  # noqa: PLC0415 - brings dataclasses, which a clean run does not need

            ordered = sorted(self.losses.items(), key=lambda item: os.fsencode(item[0]))
            out.skipped = tuple(Loss(path, reason, detail) for path, (reason, detail) in ordered)
        return out

    def _starts(self, paths: Sequence[str]) -> list[str]:
        """The paths of the caller, relative to the root; those outside become losses."""
        starts = []
        for path in paths:
            real = os.path.realpath(path)
            if real == self.root:
                starts.append("")
            elif real.startswith(os.path.join(self.root, "")):
                starts.append(os.path.relpath(real, self.root).replace(os.sep, "/"))
            else:
                self.losses[path] = ("i/o", "it lies outside of the audited root, or is a link that leads there")
        return starts

    def _listing(self, out: Discovery) -> git.Listing | None:
        if not git.inside_work_tree(self.root):
            return None
        try:
            listing = git.listing(self.root)
        except git.GitError as error:
            self.notes.append(f"{error}; the folder was walked instead, with its .gitignore files")
            return None
        if not listing.tracked and not listing.untracked:
            self.notes.append("git ignores the whole folder; it was walked instead")
            return None
        return listing

    def _start(self, start: str, listing: git.Listing | None) -> None:
        try:
            status = os.lstat(_join(self.root, start))
        except OSError as error:
            self._lose(start or ".", error)
            return
        if not stat.S_ISDIR(status.st_mode):
            self._consider(start, named=True)
        elif listing is None or not self._from_git(start, listing):
            self._walk(start)

    # ---- in a git work tree

    def _from_git(self, start: str, listing: git.Listing) -> bool:
        """Takes the files of the listing at or below `start`; False if git knows of none there (an ignored folder that
        the caller named is walked)."""
        prefix = f"{start}/" if start else ""
        known = False
        for path in listing.tracked:
            if path.startswith(prefix):
                known = True
                self._consider(path)
        venvs = {path[: -len("pyvenv.cfg")] for path in listing.untracked if path.endswith("/pyvenv.cfg")}
        folders: set[tuple[str, str]] = set()
        for path in listing.untracked:
            if not path.startswith(prefix):
                continue
            known = True
            hidden = _built_in(path, venvs)
            if hidden is None:
                self._consider(path)
            elif hidden not in folders:
                folders.add(hidden)
                self._leave_out(hidden[0], BUILT_IN_SOURCE)
        return known

    # ---- elsewhere

    def _walk(self, start: str) -> None:
        stack: list[tuple[str, tuple[tuple[str, Patterns], ...]]] = [(start, self._ignores_above(start))]
        while stack:
            folder, ignores = stack.pop()
            try:
                with os.scandir(_join(self.root, folder)) as entries:
                    names = {entry.name: entry.is_dir(follow_symlinks=False) for entry in entries}
            except OSError as error:
                self._lose(folder or ".", error)
                continue
            if "pyvenv.cfg" in names and folder:
                self._leave_out(VENV, BUILT_IN_SOURCE)
                continue
            if ".gitignore" in names:
                ignores = self._with_ignores(folder, ignores)
            for name, is_directory in names.items():
                path = f"{folder}/{name}" if folder else name
                if is_directory and name in BUILT_IN:
                    self._leave_out(name, BUILT_IN_SOURCE)
                elif (pattern := _ignoring(path, ignores, is_directory)) is not None:
                    if is_directory or name.endswith(SUFFIXES):
                        self._leave_out(pattern, ".gitignore")
                elif is_directory:
                    self.plain_folders[path] = True
                    stack.append((path, ignores))
                else:
                    self._consider(path)

    def _ignores_above(self, folder: str) -> tuple[tuple[str, Patterns], ...]:
        """The ignore files that hold in a folder, from the root down to its parent."""
        ignores: tuple[tuple[str, Patterns], ...] = ()
        parts = folder.split("/") if folder else []
        for depth in range(len(parts)):
            ignores = self._with_ignores("/".join(parts[:depth]), ignores)
        return ignores

    def _with_ignores(self, folder: str, ignores: tuple[tuple[str, Patterns], ...]) -> tuple[tuple[str, Patterns], ...]:
        path = f"{folder}/.gitignore" if folder else ".gitignore"
        try:
            status = os.lstat(_join(self.root, path))
            if not stat.S_ISREG(status.st_mode) or status.st_size > 1 << 20:
                return ignores
            data = read(self.root, SourceFile(path, status.st_size, status.st_dev, status.st_ino), 1 << 20)
        except FileNotFoundError:
            return ignores
        except OSError as error:
            self.notes.append(f"{path} cannot be read ({error.strerror}) and was not used")
            return ignores
        patterns = Patterns(os.fsdecode(data).split("\n"))
        self.notes += [f"{path}: the pattern {text!r} is not valid and was not used" for text in patterns.refused]
        return (*ignores, (f"{folder}/" if folder else "", patterns))

    # ---- one file

    def _consider(self, path: str, *, named: bool = False) -> None:
        """Looks at one path; `named` says that the caller gave it."""
        name = path.rpartition("/")[2]
        candidate = name.endswith(SUFFIXES)
        if not (candidate or named or "." not in name):
            return
        if path.startswith("/") or ".." in path.split("/") or path in self.found:
            return
        if not self._reached_without_links(path.rpartition("/")[0]):
            return
        full = _join(self.root, path)
        try:
            status = os.lstat(full)
            if stat.S_ISLNK(status.st_mode):
                if candidate or stat.S_ISDIR(_target_mode(full)):
                    self.links.add(path)
            elif stat.S_ISDIR(status.st_mode):
                self._leave_out("submodules and nested repositories", "git")
            elif candidate or (stat.S_ISREG(status.st_mode) and _has_shebang(full)):
                self._admit(path, status)
            elif named:
                self._leave_out("no Python source", BUILT_IN_SOURCE)
        except FileNotFoundError:
            if named:
                self.losses[path] = ("i/o", "no such file")
            # else git tracks it, and it was deleted in the work tree
        except OSError as error:
            if candidate or named:
                self._lose(path, error)

    def _admit(self, path: str, status: os.stat_result) -> None:
        """Takes a Python file if it is not excluded, regular and not too large."""
        if (index := self.exclude.excluding(path)) is not None:
            self._leave_out(self.exclude.texts[index], "exclude")
        elif not stat.S_ISREG(status.st_mode):
            self.losses[path] = ("i/o", f"it is a {_kind(status.st_mode)}, not a regular file")
        elif status.st_size > self.limit:
            size, limit = _megabytes(status.st_size), _megabytes(self.limit)
            self.losses[path] = ("limit", f"{size}, the limit is {limit}; raise max-file-size or exclude the file")
        else:
            self.found[path] = status

    def _reached_without_links(self, folder: str) -> bool:
        """Whether no folder on the way from the root is a link (or something else that is no folder); counts links."""
        known = self.plain_folders.get(folder)
        if known is None:
            known = self._reached_without_links(folder.rpartition("/")[0])
            if known:
                try:
                    mode = os.lstat(_join(self.root, folder)).st_mode
                    known = stat.S_ISDIR(mode)
                    if stat.S_ISLNK(mode):
                        self.links.add(folder)
                except OSError:
                    known = True  # the file itself will say what is wrong
            self.plain_folders[folder] = known
        return known

    def _files(self) -> Iterable[SourceFile]:
        """The files in order of their bytes, each content once: of several names of one file the first one."""
        seen: set[tuple[int, int]] = set()
        for path in sorted(self.found, key=os.fsencode):
            status = self.found[path]
            identity = (status.st_dev, status.st_ino)
            if status.st_ino and identity in seen:
                self._leave_out("second names of one file", BUILT_IN_SOURCE)
                continue
            seen.add(identity)
            yield SourceFile(path, status.st_size, *identity)

    def _leave_out(self, pattern: str, source: str) -> None:
        key = (pattern, source)
        self.left_out[key] = self.left_out.get(key, 0) + 1

    def _lose(self, path: str, error: OSError) -> None:
        self.losses[path] = ("i/o", error.strerror or type(error).__name__)


def _built_in(path: str, venvs: set[str]) -> tuple[str, str] | None:
    """(what to call it, the folder) of the outermost folder on the way to an untracked file that is left out."""
    end = path.find("/")
    while end != -1:
        folder = path[: end + 1]
        if folder in venvs:
            return VENV, folder
        name = folder[:-1].rpartition("/")[2]
        if name in BUILT_IN:
            return name, folder
        end = path.find("/", end + 1)
    return None


def _ignoring(path: str, ignores: Sequence[tuple[str, Patterns]], is_directory: bool) -> str | None:
    """The ignore pattern that leaves the path out; the innermost ignore file with an opinion decides."""
    for prefix, patterns in reversed(ignores):
        index = patterns.deciding(path[len(prefix) :], is_directory=is_directory)
        if index is not None:
            return patterns.texts[index].strip() if patterns.ignores(index) else None
    return None


def _target_mode(path: str) -> int:
    try:
        return os.stat(path).st_mode
    except OSError:
        return 0


def _has_shebang(path: str) -> bool:
    """Whether the first line of a file without suffix names Python."""
    descriptor = _open(path)
    try:
        return stat.S_ISREG(os.fstat(descriptor).st_mode) and SHEBANG.match(os.read(descriptor, 128)) is not None
    finally:
        os.close(descriptor)


def _kind(mode: int) -> str:
    for test, word in (
        (stat.S_ISFIFO, "FIFO"),
        (stat.S_ISSOCK, "socket"),
        (stat.S_ISCHR, "character device"),
        (stat.S_ISBLK, "block device"),
    ):
        if test(mode):
            return word
    return "special file"
