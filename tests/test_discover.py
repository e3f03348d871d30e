"""What is found, what is left out and why; nothing outside of the root, nothing that blocks, nothing that runs."""

from __future__ import annotations

import os
import random
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from auditor.source import git
from auditor.source.discover import Discovery, SourceFile, discover, read
from auditor.source.globs import Patterns

GIT = shutil.which("git")
needs_git = pytest.mark.skipif(GIT is None, reason="git is not installed")
posix = pytest.mark.skipif(os.name == "nt", reason="needs POSIX files")


def put(root: Path, *paths: str, data: str = "x = 1\n") -> None:
    for path in paths:
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(data)


def found(discovery: Discovery) -> list[str]:
    return [file.path for file in discovery.files]


def run_git(root: Path, *arguments: str) -> None:
    assert GIT is not None
    identity = [
        "-c",
        "user.name=a",
        "-c",
        "user.email=a@b.c",
        "-c",
        "commit.gpgsign=false",
        "-c",
        "init.defaultBranch=main",
    ]
    subprocess.run([GIT, "-C", str(root), *identity, *arguments], check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    if GIT is None:
        pytest.skip("git is not installed")
    run_git(tmp_path, "init", "-q")
    return tmp_path


# ------------------------------------------------------------------------------------------------- a walk


def test_walk_takes_python_in_order_of_bytes(tmp_path: Path) -> None:
    put(tmp_path, "b.py", "a/z.py", "a.py", "a-b.py", "B.pyi", "n.ipynb", "x.txt", "é.py")
    put(tmp_path, "tool", data="#!/usr/bin/env python3\n")
    put(tmp_path, "shell", data="#!/bin/sh\n")
    got = discover(str(tmp_path))
    assert found(got) == ["B.pyi", "a-b.py", "a.py", "a/z.py", "b.py", "n.ipynb", "tool", "é.py"]
    assert not got.in_git
    assert got.skipped == ()


def test_walk_leaves_out_what_is_no_source_and_counts_it(tmp_path: Path) -> None:
    put(
        tmp_path,
        "a.py",
        "node_modules/x.py",
        "sub/node_modules/x.py",
        "__pycache__/x.py",
        "env/pyvenv.cfg",
        "env/lib/x.py",
    )
    got = discover(str(tmp_path))
    assert found(got) == ["a.py"]
    assert got.excluded == (
        ("__pycache__", "built-in", 1),
        ("folders with pyvenv.cfg", "built-in", 1),
        ("node_modules", "built-in", 2),
    )


def test_walk_reads_ignore_files(tmp_path: Path) -> None:
    put(tmp_path, "a.py", "gen/a.py", "sub/a.py", "sub/keep.py", "sub/deep/a.py", "log/a.py")
    (tmp_path / ".gitignore").write_text("gen/\n/log\nsub/*.py\n# comment\n")
    (tmp_path / "sub" / ".gitignore").write_text("!keep.py\n")
    got = discover(str(tmp_path))
    assert found(got) == ["a.py", "sub/deep/a.py", "sub/keep.py"]
    assert ("gen/", ".gitignore", 1) in got.excluded
    assert found(discover(str(tmp_path), [str(tmp_path / "sub")])) == ["sub/deep/a.py", "sub/keep.py"]


def test_exclude_counts_files_per_pattern(tmp_path: Path) -> None:
    put(tmp_path, "a.py", "old/a.py", "old/b/c.py", "old/keep.txt", "t_x.py")
    got = discover(str(tmp_path), exclude=["old/**", "t_*.py", "["])
    assert found(got) == ["a.py"]
    assert got.excluded == (("old/**", "exclude", 2), ("t_*.py", "exclude", 1))
    assert any("'['" in note for note in got.notes)
    assert found(discover(str(tmp_path), [str(tmp_path / "old/a.py")], exclude=["old/**"])) == []


def test_paths_select_and_nothing_outside_is_read(tmp_path: Path) -> None:
    root = tmp_path / "root"
    put(root, "a.py", "sub/b.py", "c.txt")
    put(tmp_path, "outside.py")
    got = discover(
        str(root), [str(root / "sub"), str(tmp_path / "outside.py"), str(root / "gone.py"), str(root / "c.txt")]
    )
    assert found(got) == ["sub/b.py"]
    assert [(loss.path, loss.reason) for loss in got.skipped] == [
        (str(tmp_path / "outside.py"), "i/o"),
        ("gone.py", "i/o"),
    ]
    assert ("no Python source", "built-in", 1) in got.excluded


def test_size_limit_is_a_loss(tmp_path: Path) -> None:
    put(tmp_path, "big.py", data="#" * 2000)
    got = discover(str(tmp_path), max_file_size=1000)
    assert found(got) == []
    assert [(loss.path, loss.reason) for loss in got.skipped] == [("big.py", "limit")]


@posix
def test_links_are_counted_and_not_followed(tmp_path: Path) -> None:
    root = tmp_path / "root"
    put(root, "a.py", "sub/b.py")
    put(tmp_path, "secret.py")
    (root / "link.py").symlink_to(tmp_path / "secret.py")
    (root / "twin.py").symlink_to(root / "a.py")
    (root / "loop").symlink_to(root)
    (root / "zero.py").symlink_to("/dev/zero")
    (root / "dangling.py").symlink_to("nowhere")
    got = discover(str(root))
    assert found(got) == ["a.py", "sub/b.py"]
    assert got.links_not_followed == 5
    assert found(discover(str(root), [str(root / "twin.py")])) == ["a.py"]
    assert [loss.reason for loss in discover(str(root), [str(root / "link.py")]).skipped] == ["i/o"]


@posix
def test_fifo_and_socket_do_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.py")
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(tmp_path / "s.py"))
        begun = time.monotonic()
        got = discover(str(tmp_path))
    assert time.monotonic() - begun < 5
    assert [(loss.path, loss.detail.split(",")[0]) for loss in got.skipped] == [
        ("pipe.py", "it is a FIFO"),
        ("s.py", "it is a socket"),
    ]


@posix
def test_hard_links_are_analysed_once(tmp_path: Path) -> None:
    put(tmp_path, "a.py")
    os.link(tmp_path / "a.py", tmp_path / "b.py")
    got = discover(str(tmp_path))
    assert found(got) == ["a.py"]
    assert got.excluded == (("second names of one file", "built-in", 1),)


@posix
def test_names_are_bytes(tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff\n\x1b[31m.py")
    (tmp_path / name).write_text("x = 1\n")
    got = discover(str(tmp_path))
    assert found(got) == [name]
    assert read(str(tmp_path), got.files[0]) == b"x = 1\n"


@posix
def test_deep_folders(tmp_path: Path) -> None:
    folder = os.open(tmp_path, os.O_RDONLY)
    for _ in range(30):  # deeper than a path may be long
        os.mkdir("d" * 200, dir_fd=folder)
        inner = os.open("d" * 200, os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = inner
    os.close(folder)
    got = discover(str(tmp_path))
    assert [loss.reason for loss in got.skipped] == ["i/o"]
    subprocess.run(["rm", "-rf", str(tmp_path / ("d" * 200))], check=True)


# ------------------------------------------------------------------------------------------------- reading


def test_read_refuses_what_changed(tmp_path: Path) -> None:
    put(tmp_path, "a.py", "b.py")
    got = discover(str(tmp_path))
    assert read(str(tmp_path), got.files[0]) == b"x = 1\n"
    os.replace(tmp_path / "b.py", tmp_path / "a.py")
    with pytest.raises(OSError, match="replaced"):
        read(str(tmp_path), got.files[0])
    with pytest.raises(FileNotFoundError):
        read(str(tmp_path), got.files[1])
    (tmp_path / "a.py").write_text("x" * 3000)
    status = os.stat(tmp_path / "a.py")
    grown = SourceFile("a.py", 5, status.st_dev, status.st_ino)
    assert len(read(str(tmp_path), grown)) == 3000
    with pytest.raises(OSError, match="grew"):
        read(str(tmp_path), grown, max_file_size=2000)


@posix
def test_read_does_not_follow_links(tmp_path: Path) -> None:
    put(tmp_path, "a.py")
    file = discover(str(tmp_path)).files[0]
    os.rename(tmp_path / "a.py", tmp_path / "c.py")
    (tmp_path / "a.py").symlink_to(tmp_path / "c.py")
    with pytest.raises(OSError, match=r"a\.py"):
        read(str(tmp_path), file)
    os.unlink(tmp_path / "a.py")
    os.mkfifo(tmp_path / "a.py")
    with pytest.raises(OSError, match="regular"):
        read(str(tmp_path), file)


# ------------------------------------------------------------------------------------------------- git


def test_tracked_files_count_even_when_ignored(repository: Path) -> None:
    put(
        repository,
        "a.py",
        "strategies/s.py",
        "strategies/untracked.py",
        "venv/x.py",
        "build/tracked.py",
        "new.py",
        "gone.py",
    )
    (repository / ".gitignore").write_text("strategies/\n")
    run_git(repository, "add", "-f", "a.py", "strategies/s.py", "build/tracked.py", "gone.py", ".gitignore")
    run_git(repository, "commit", "-q", "-m", "x")
    (repository / "gone.py").unlink()
    got = discover(str(repository))
    assert got.in_git
    assert found(got) == ["a.py", "build/tracked.py", "new.py", "strategies/s.py"]
    assert got.excluded == (("venv", "built-in", 1),)
    assert got.commit is not None
    assert len(got.commit) == 40
    assert got.dirty
    assert got.skipped == ()
    run_git(repository, "checkout", "-q", "gone.py")
    assert not discover(str(repository)).dirty
    # A folder that git ignores, named by the caller, and a part of the tree
    assert found(discover(str(repository), [str(repository / "build")])) == ["build/tracked.py"]
    assert found(discover(str(repository / "strategies"))) == ["s.py"]


def test_ignored_folder_as_root_is_walked(repository: Path) -> None:
    put(repository, "out/a.py")
    (repository / ".gitignore").write_text("out/\n")
    got = discover(str(repository / "out"))
    assert found(got) == ["a.py"]
    assert any("git ignores" in note for note in got.notes)


def test_folder_replaced_by_a_link_is_not_entered(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = tmp_path_factory.mktemp("outside")
    put(outside, "b.py")
    put(repository, "sub/b.py", "a.py")
    run_git(repository, "add", ".")
    shutil.rmtree(repository / "sub")
    (repository / "sub").symlink_to(outside)
    got = discover(str(repository))
    assert found(got) == ["a.py"]
    assert got.links_not_followed == 1


def test_nested_repositories_are_counted(repository: Path) -> None:
    put(repository, "a.py", "inner/b.py")
    run_git(repository / "inner", "init", "-q")
    got = discover(str(repository))
    assert found(got) == ["a.py"]
    assert ("submodules and nested repositories", "git", 1) in got.excluded


def test_git_runs_nothing_of_the_repository(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    marker = repository / "PWNED"
    evil = repository / "evil.sh"
    evil.write_text(f"#!/bin/sh\n: > '{marker}'\ncat\n")
    evil.chmod(0o755)
    put(repository, "a.py")
    (repository / ".gitattributes").write_text("*.py filter=evil diff=evil\n")
    run_git(repository, "add", ".")
    run_git(repository, "commit", "-q", "-m", "x")
    hooks = repository / "hooks"
    hooks.mkdir()
    for hook in ("post-index-change", "fsmonitor-watchman", "post-checkout", "reference-transaction"):
        shutil.copy(evil, hooks / hook)
    for key, value in {
        "core.fsmonitor": str(evil),
        "core.hooksPath": str(hooks),
        "core.pager": str(evil),
        "core.sshCommand": str(evil),
        "diff.external": str(evil),
        "diff.evil.textconv": str(evil),
        "filter.evil.clean": str(evil),
        "filter.evil.process": str(evil),
        "filter.evil.required": "true",
        "alias.ls-files": f"!{evil}",
        "alias.status": f"!{evil}",
    }.items():
        run_git(repository, "config", key, value)
    # The same length, so that git has to look into the file, through its filter.
    (repository / "a.py").write_text("x = 2\n")
    local = repository / "bin"
    local.mkdir()
    shutil.copy(evil, local / "git")
    monkeypatch.setenv("PATH", os.pathsep.join(["", ".", "bin", os.environ["PATH"]]))
    monkeypatch.setenv("GIT_EXTERNAL_DIFF", str(evil))
    monkeypatch.setenv("GIT_DIR", str(repository / "nowhere"))
    monkeypatch.chdir(repository)
    index = (repository / ".git" / "index").stat().st_mtime_ns
    got = discover(str(repository))
    assert found(got) == ["a.py"]
    assert got.in_git
    assert got.dirty
    assert not marker.exists()
    assert (repository / ".git" / "index").stat().st_mtime_ns == index
    monkeypatch.setenv("PATH", os.pathsep.join([str(local), os.environ["PATH"]]))
    got = discover(str(repository))
    assert not got.in_git
    assert not marker.exists()
    assert any("not run" in note for note in got.notes)


def test_worktree_setting_does_not_lead_out(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = tmp_path_factory.mktemp("outside")
    put(outside, "secret.py")
    put(repository, "a.py")
    run_git(repository, "config", "core.worktree", str(outside))
    got = discover(str(repository))
    assert "secret.py" not in [os.path.basename(path) for path in found(got)]


def test_broken_repository_is_walked(tmp_path: Path) -> None:
    put(tmp_path, "a.py", ".git/HEAD")
    got = discover(str(tmp_path))
    assert found(got) == ["a.py"]
    assert not got.in_git
    assert any("walked instead" in note for note in got.notes)


@needs_git
def test_show_reads_another_revision(repository: Path) -> None:
    put(repository, "a.py")
    run_git(repository, "add", ".")
    run_git(repository, "commit", "-q", "-m", "x")
    put(repository, "a.py", data="changed\n")
    assert git.show(str(repository), "HEAD", "a.py") == b"x = 1\n"
    for revision, path in (("HEAD", "b.py"), ("--help", "a.py"), ("nowhere", "a.py")):
        with pytest.raises(git.GitError):
            git.show(str(repository), revision, path)


# ------------------------------------------------------------------------------------------------- patterns


def test_patterns_agree_with_git(repository: Path) -> None:
    """The oracle is `git check-ignore`, over random patterns and paths."""
    chance = random.Random(7)
    pieces = [
        "a",
        "b",
        "ab",
        "*",
        "**",
        "a*",
        "*b",
        "a*b",
        "?",
        "[ab]",
        "[!a]",
        "*a*b*",
        "a?",
        "*.py",
        "\\*",
        "a**b",
        "[a-c]x",
    ]
    names = ["a", "b", "ab", "aab", "ba", "abab", "b.py", "a.py", "*", "c", "cx"]
    for _ in range(60):
        patterns = []
        for _ in range(chance.randint(1, 3)):
            text = "/".join(chance.choice(pieces) for _ in range(chance.randint(1, 4)))
            patterns.append(
                f"{chance.choice(['', '', '', '!'])}{chance.choice(['', '', '/'])}{text}{chance.choice(['', '', '/'])}"
            )
        paths = sorted({"/".join(chance.choice(names) for _ in range(chance.randint(1, 4))) for _ in range(30)})
        (repository / ".gitignore").write_text("\n".join(patterns) + "\n")
        assert GIT is not None
        answer = subprocess.run(
            [GIT, "-C", str(repository), "check-ignore", "--no-index", "-z", "--stdin"],
            input="\0".join(paths),
            capture_output=True,
            text=True,
            check=False,
        )
        expected = set(answer.stdout.split("\0")) - {""}
        mine = Patterns(patterns)
        assert {path for path in paths if mine.excluding(path) is not None} == expected, patterns


def test_patterns_do_not_backtrack() -> None:
    patterns = Patterns(["*a" * 30 + "*b", "**/a*/" * 20 + "b", "(a+)+$", "[[:nope:]]", "\\", "x" * 2000])
    assert len(patterns.refused) == 3
    begun = time.process_time()
    for path in ("a" * 250, "a/" * 120 + "c", "/".join(["ab"] * 100)):
        assert patterns.excluding(path) is None
    assert time.process_time() - begun < 1


# ------------------------------------------------------------------------------------------------- cost


def test_imports_nothing_slow() -> None:
    code = (
        "import sys; before = set(sys.modules); import auditor.source.discover, auditor.cache; "
        "print(*sorted(set(sys.modules) - before))"
    )
    root = str(Path(__file__).parent.parent)
    out = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    ).stdout.split()
    slow = {
        "dataclasses",
        "typing",
        "pathlib",
        "subprocess",
        "libcst",
        "inspect",
        "click",
        "tomllib",
        "pathspec",
        "socket",
    }
    assert slow.isdisjoint(out)
