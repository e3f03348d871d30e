"""Results by content: one sqlite file in the user's cache folder, `(kind, key) -> bytes`.

The cache can only save time. Whatever is wrong with the file (damaged, locked, read-only, full, of another owner) is a
miss, and one warning in `warning`. Values are plain bytes; never unpickle one.

The answer from the cache passes here: nothing is imported that costs time (no dataclasses, typing, pathlib).
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import stat
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

FILE = "auditor.sqlite3"
LARGEST = 256 << 20  # bytes of the file; beyond it the least recently used results go
KEPT = 0.8  # share of it that is left then
DAY = 86_400
BUSY = 5.0  # seconds to wait for another run that writes
BATCH = 500  # keys per query
SCHEMA = "CREATE TABLE blobs(kind TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL, used INTEGER NOT NULL, "
SCHEMA += "PRIMARY KEY(kind, key))"


def directory(environment: Mapping[str, str] | None = None) -> str:
    """The cache folder: AUDITOR_CACHE_DIR, else the platform's place for caches of a user."""
    env = os.environ if environment is None else environment
    if env.get("AUDITOR_CACHE_DIR"):
        return os.path.abspath(env["AUDITOR_CACHE_DIR"])
    home = os.path.expanduser("~")
    if sys.platform == "win32":
        return os.path.join(env.get("LOCALAPPDATA") or os.path.join(home, "AppData", "Local"), "auditor", "Cache")
    if sys.platform == "darwin":
        return os.path.join(home, "Library", "Caches", "auditor")
    base = env.get("XDG_CACHE_HOME", "")
    return os.path.join(base if os.path.isabs(base) else os.path.join(home, ".cache"), "auditor")


class Cache:
    """One run's view of the cache. `warning` is None, or what went wrong first; after that all is a miss.

    Reads take part in the pruning only by day: a run that reads today what was read today writes nothing.
    """

    def __init__(self, folder: str, largest: int = LARGEST) -> None:
        self.folder = folder
        self.path = os.path.join(folder, FILE)
        self.largest = largest
        self.warning: str | None = None
        self._today = int(time.time()) // DAY
        self._stale: set[tuple[str, str]] = set()
        self._connection: sqlite3.Connection | None = None
        self._opened = False

    def get(self, kind: str, key: str) -> bytes | None:
        """One value, None if it is not there."""
        return self.get_many(kind, (key,)).get(key)

    def get_many(self, kind: str, keys: Iterable[str]) -> dict[str, bytes]:
        """The values that are there."""
        found: dict[str, bytes] = {}
        connection = self._open()
        if connection is None:
            return found
        wanted = list(keys)
        try:
            for begin in range(0, len(wanted), BATCH):
                batch = wanted[begin : begin + BATCH]
                marks = ",".join("?" * len(batch))
                query = f"SELECT key, value, used FROM blobs WHERE kind = ? AND key IN ({marks})"  # noqa: S608 - only ?
                for key, value, used in connection.execute(query, (kind, *batch)):
                    if isinstance(key, str) and isinstance(value, bytes):
                        found[key] = value
                        if used != self._today:
                            self._stale.add((kind, key))
        except sqlite3.Error as error:
            self._fail(error)
            return {}
        return found

    def put(self, kind: str, key: str, value: bytes) -> None:
        self.put_many(kind, {key: value})

    def put_many(self, kind: str, values: Mapping[str, bytes]) -> None:
        """Stores all values, or none, in one transaction; then prunes."""
        connection = self._open()
        if connection is None or not values:
            return
        rows = ((kind, key, value, self._today) for key, value in values.items())
        try:
            with connection:
                connection.execute("BEGIN IMMEDIATE")
                connection.executemany("INSERT OR REPLACE INTO blobs VALUES (?, ?, ?, ?)", rows)
                self._mark_used(connection)
                self._prune(connection)
        except sqlite3.Error as error:
            self._fail(error)

    def close(self) -> None:
        """Notes what was read today for the first time, and closes the file."""
        connection = self._connection
        if connection is not None:
            try:
                if self._stale:
                    with connection:
                        connection.execute("BEGIN IMMEDIATE")
                        self._mark_used(connection)
            except sqlite3.Error as error:
                self._fail(error)
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._opened = True

    def _open(self) -> sqlite3.Connection | None:
        if self._opened:
            return self._connection
        self._opened = True
        try:
            os.makedirs(self.folder, mode=0o700, exist_ok=True)
            self._refuse_shared()
            self._connection = _connect(self.path)
        except sqlite3.OperationalError as error:  # locked, read-only, full: the file itself is as it should be
            self._fail(error)
        except (sqlite3.DatabaseError, _OtherTable) as error:
            self._start_anew(error)
        except OSError as error:
            self._warn(f"{error.strerror or error}")
        return self._connection

    def _refuse_shared(self) -> None:
        """Others could plant results where they can write."""
        status = os.stat(self.folder)
        if hasattr(os, "getuid") and (status.st_uid != os.getuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)):
            raise PermissionError(0, "the folder belongs to another user or others can write to it; make it 0700")

    def _start_anew(self, error: Exception) -> None:
        """A file that is damaged, or not ours, is replaced by an empty one."""
        self._warn(f"{error}; it was started anew")
        try:
            for suffix in ("", "-journal", "-wal", "-shm"):
                if os.path.lexists(self.path + suffix):
                    os.unlink(self.path + suffix)
            self._connection = _connect(self.path)
        except (sqlite3.Error, OSError, _OtherTable):
            self._connection = None  # the warning stands

    def _fail(self, error: sqlite3.Error) -> None:
        """From here on all is a miss. A file that is damaged goes, so that the next run does not meet it again."""
        self._warn(str(error))
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if not isinstance(error, sqlite3.OperationalError) and isinstance(error, sqlite3.DatabaseError):
            try:
                os.unlink(self.path)
            except OSError:
                return  # the warning stands

    def _warn(self, reason: str) -> None:
        if self.warning is None:
            self.warning = f"the cache in {self.folder} was not used: {reason}"

    def _mark_used(self, connection: sqlite3.Connection) -> None:
        rows = [(self._today, kind, key) for kind, key in sorted(self._stale)]
        connection.executemany("UPDATE blobs SET used = ? WHERE kind = ? AND key = ?", rows)
        self._stale.clear()

    def _prune(self, connection: sqlite3.Connection) -> None:
        """Deletes what was used least recently, down to a share of the size allowed. Freed pages are used again."""
        size = _size(connection)
        if size <= self.largest:
            return
        surplus = size - int(self.largest * KEPT)
        gone = []
        for row, length in connection.execute("SELECT rowid, length(value) FROM blobs ORDER BY used, rowid"):
            gone.append((row,))
            surplus -= length
            if surplus <= 0:
                break
        connection.executemany("DELETE FROM blobs WHERE rowid = ?", gone)


class _OtherTable(Exception):
    """The file is a database, with other tables than ours."""

    def __str__(self) -> str:
        return "it has other tables than this version's"


def _connect(path: str) -> sqlite3.Connection:
    """Opens the file and makes the table if there is none. Raises sqlite3.Error or _OtherTable."""
    connection = sqlite3.connect(path, timeout=BUSY, isolation_level=None)
    try:
        _prepare(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection, path: str) -> None:
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA synchronous = NORMAL")
    schema = connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    if not schema:
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(SCHEMA.replace("CREATE TABLE", "CREATE TABLE IF NOT EXISTS"))
        os.chmod(path, 0o600)
    elif schema != [(SCHEMA,)]:
        raise _OtherTable


def _size(connection: sqlite3.Connection) -> int:
    """Bytes of the pages in use."""
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    (free,) = connection.execute("PRAGMA freelist_count").fetchone()
    (page,) = connection.execute("PRAGMA page_size").fetchone()
    return int((pages - free) * page)


def engine_digest(extra: Iterable[str] = ()) -> str:
    """Digest of everything that decides what the engine makes of a file: our sources and rules (and the folders
    `extra`, for rules of the user), the Python version and LibCST's. Part of every key."""
    here = os.path.dirname(os.path.abspath(__file__))
    rules = os.path.join(os.path.dirname(here), "rules")
    in_checkout = os.path.isfile(os.path.join(os.path.dirname(here), "pyproject.toml"))
    digest = hashlib.sha256()
    digest.update(f"{sys.implementation.cache_tag} libcst {_libcst_version()}\n".encode())
    for folder in (here, *((rules,) if in_checkout and os.path.isdir(rules) else ()), *extra):
        for name, path in _sources(folder):
            with open(path, "rb") as source:
                content = source.read()
            head = f"{name}\0{len(content)}\n"
            digest.update(head.encode("utf-8", "surrogateescape"))
            digest.update(content)
    return digest.hexdigest()


def _sources(folder: str) -> list[tuple[str, str]]:
    """(name relative to the folder, path) of its Python and TOML files, sorted."""
    found = []
    stack = [""]
    while stack:
        inner = stack.pop()
        with os.scandir(os.path.join(folder, inner)) as entries:
            for entry in entries:
                name = f"{inner}/{entry.name}" if inner else entry.name
                if entry.is_dir():
                    if entry.name != "__pycache__":
                        stack.append(name)
                elif name.endswith((".py", ".toml")):
                    found.append((name, entry.path))
    return sorted(found)


def _libcst_version() -> str:
    """From the name of its `.dist-info` folder: importing LibCST costs more than a whole run from the cache."""
    for entry in sys.path:
        try:
            names = [
                n for n in os.listdir(entry or ".") if n.lower().startswith("libcst-") and n.endswith(".dist-info")
            ]
        except OSError:
            continue
        if names:
            return min(names)[len("libcst-") : -len(".dist-info")]
    return "unknown"
