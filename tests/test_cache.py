"""The cache saves time or does nothing: no state of its file fails a run or brings a wrong value."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from auditor import cache as module
from auditor.cache import FILE, Cache, directory, engine_digest


def stored(folder: Path, kind: str, keys: list[str]) -> dict[str, bytes]:
    cache = Cache(str(folder))
    try:
        return cache.get_many(kind, keys)
    finally:
        cache.close()
        assert cache.warning is None, cache.warning


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def fill(folder: Path, count: int = 3) -> None:
    cache = Cache(str(folder))
    cache.put_many("file", {f"k{n}": b"v%d" % n for n in range(count)})
    cache.close()
    assert cache.warning is None, cache.warning


def test_round_trip(folder: Path) -> None:
    fill(folder, 1300)
    got = stored(folder, "file", [f"k{n}" for n in range(1400)])
    assert len(got) == 1300
    assert got["k1299"] == b"v1299"
    assert stored(folder, "run", ["k1"]) == {}
    cache = Cache(str(folder))
    cache.put("file", "k1", b"\0new")
    assert cache.get("file", "k1") == b"\0new"
    assert cache.get("file", "nothing") is None
    cache.close()


@pytest.mark.skipif(os.name == "nt", reason="modes are POSIX's")
def test_only_the_user_may_read(folder: Path) -> None:
    fill(folder)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / FILE).stat().st_mode & 0o777 == 0o600


@pytest.mark.skipif(os.name == "nt", reason="modes are POSIX's")
def test_a_folder_that_others_can_write_to_is_not_used(folder: Path) -> None:
    fill(folder)
    folder.chmod(0o777)
    cache = Cache(str(folder))
    assert cache.get_many("file", ["k1"]) == {}
    assert cache.warning is not None
    assert "0700" in cache.warning


@pytest.mark.parametrize("damage", ["text", "empty page", "truncated", "middle", "other tables", "trigger"])
def test_damage_is_a_miss_and_is_mended(folder: Path, damage: str) -> None:
    fill(folder, 2000)
    path = folder / FILE
    data = path.read_bytes()
    match damage:
        case "text":
            path.write_bytes(b"this is no database" * 100)
        case "empty page":
            path.write_bytes(b"\0" * 4096)
        case "truncated":
            path.write_bytes(data[: len(data) // 2])
        case "middle":
            path.write_bytes(data[:4096] + b"\xff" * (len(data) - 4096))
        case "other tables":
            path.unlink()
            other = sqlite3.connect(path)
            other.execute("CREATE TABLE blobs(kind, key, value, used)")
            other.close()
        case "trigger":
            other = sqlite3.connect(path)
            other.execute("CREATE TRIGGER t AFTER INSERT ON blobs BEGIN DELETE FROM blobs; END")
            other.close()
    cache = Cache(str(folder))
    got = cache.get_many("file", [f"k{n}" for n in range(2000)])
    assert all(value == b"v" + key[1:].encode() for key, value in got.items())
    cache.put("file", "k1", b"v1")
    cache.close()
    assert cache.warning is not None
    fill(folder)
    assert stored(folder, "file", ["k1"]) == {"k1": b"v1"}


def test_values_of_another_type_are_misses(folder: Path) -> None:
    fill(folder)
    other = sqlite3.connect(folder / FILE)
    other.execute("UPDATE blobs SET value = 'text' WHERE key = 'k1'")
    other.execute("UPDATE blobs SET value = 5 WHERE key = 'k2'")
    other.commit()
    other.close()
    assert stored(folder, "file", ["k0", "k1", "k2"]) == {"k0": b"v0"}


def test_a_lock_is_a_warning(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(folder)
    monkeypatch.setattr(module, "BUSY", 0.05)
    other = sqlite3.connect(folder / FILE, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    cache = Cache(str(folder))
    assert cache.get_many("file", ["k1"]) == {}
    cache.put("file", "x", b"y")
    cache.close()
    assert cache.warning is not None
    assert "locked" in cache.warning
    other.execute("ROLLBACK")
    other.close()
    assert stored(folder, "file", ["k1"]) == {"k1": b"v1"}


def test_a_file_that_cannot_be_written_is_still_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(folder)
    cache = Cache(str(folder))
    assert cache.get("file", "k1") == b"v1"
    connection = cache._connection
    assert connection is not None
    connection.execute("PRAGMA query_only = ON")
    cache.put("file", "k9", b"v9")
    cache.close()
    assert cache.warning is not None
    assert stored(folder, "file", ["k1", "k9"]) == {"k1": b"v1"}


@pytest.mark.parametrize("obstacle", ["a file", "a folder in place of the database"])
def test_no_place_is_a_warning(tmp_path: Path, obstacle: str) -> None:
    folder = tmp_path / "cache"
    if obstacle == "a file":
        folder.write_text("")
    else:
        (folder / FILE).mkdir(parents=True, mode=0o700)
    cache = Cache(str(folder))
    assert cache.get_many("file", ["a"]) == {}
    cache.put("file", "a", b"b")
    cache.close()
    assert cache.warning is not None
    assert str(folder) in cache.warning


def test_the_least_recently_used_goes_first(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    day = 20_000
    monkeypatch.setattr("auditor.cache.time.time", lambda: day * module.DAY)
    cache = Cache(str(folder), largest=400_000)
    for n in range(6):
        cache.put("file", f"k{n}", b"x" * 50_000)
    cache.close()
    day += 1
    cache = Cache(str(folder), largest=400_000)
    assert len(cache.get_many("file", ["k0", "k2"])) == 2
    cache.close()
    cache = Cache(str(folder), largest=400_000)
    cache.put_many("file", {f"new{n}": b"x" * 50_000 for n in range(4)})
    names = [f"k{n}" for n in range(6)] + [f"new{n}" for n in range(4)]
    left = set(cache.get_many("file", names))
    assert {"k0", "k2", "new0", "new1", "new2", "new3"} <= left
    assert len(left) < 8
    cache.close()
    assert cache.warning is None
    assert (folder / FILE).stat().st_size < 700_000


def test_a_run_that_reads_writes_nothing(folder: Path) -> None:
    fill(folder)
    before = (folder / FILE).read_bytes()
    assert stored(folder, "file", ["k1"]) == {"k1": b"v1"}
    assert (folder / FILE).read_bytes() == before


def test_killed_while_writing(folder: Path) -> None:
    fill(folder)
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from auditor.cache import Cache\n"
        "import os, signal\n"
        "def values():\n"
        "    for n in range(2000):\n"
        "        if n == 1500: os.kill(os.getpid(), signal.SIGKILL)\n"
        "        yield f'n{n}', b'x' * 5000\n"
        "class Lazy(dict):\n"
        "    def __len__(self): return 1\n"
        "    def items(self): return values()\n"
        "Cache(sys.argv[2]).put_many('file', Lazy())\n"
    )
    root = str(Path(module.__file__).parent.parent)
    done = subprocess.run([sys.executable, "-c", code, root, str(folder)], check=False)
    assert done.returncode != 0
    assert stored(folder, "file", ["k1", "n0"]) == {"k1": b"v1"}


def test_directory() -> None:
    assert directory({"AUDITOR_CACHE_DIR": "/x/y"}) == os.path.abspath("/x/y")
    if sys.platform.startswith("linux"):
        assert directory({"XDG_CACHE_HOME": "/x"}) == "/x/auditor"
        assert directory({"XDG_CACHE_HOME": "relative"}) == os.path.expanduser("~/.cache/auditor")


def test_engine_digest_covers_sources_and_extra_rules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert engine_digest() == engine_digest()
    rules = tmp_path / "mine"
    rules.mkdir()
    (rules / "rule.py").write_text("a = 1\n")
    first = engine_digest([str(rules)])
    assert first != engine_digest()
    (rules / "notes.txt").write_text("does not count\n")
    assert engine_digest([str(rules)]) == first
    (rules / "rule.py").write_text("a = 2\n")
    assert engine_digest([str(rules)]) != first

    copy = tmp_path / "auditor"
    shutil.copytree(Path(module.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(module, "__file__", str(copy / "cache.py"))
    before = engine_digest()
    (copy / "finding.py").write_text("changed = 1\n")
    assert engine_digest() != before
    (tmp_path / "libcst-99.0.dist-info").mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert module._libcst_version() == "99.0"
