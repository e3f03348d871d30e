"""Reading a commit into memory, and which lines changed between two trees."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auditor.finding import Finding, Step
from auditor.source import commit
from auditor.source.git import GitError
from auditor.triage.changes import Changes, Place, changed_lines
from auditor.triage.suppress import Statement

TEXTS = st.lists(st.sampled_from(["a\n", "b\n", "c\n", "\n"]), max_size=12)


def git(folder: Path, *words: str) -> str:
    identity = ["-c", "user.name=Desk", "-c", "user.email=desk@example.org", "-c", "commit.gpgsign=false"]
    return subprocess.run(["git", *identity, *words], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


class TestCommit:
    @pytest.fixture
    def repository(self, tmp_path: Path) -> Path:
        git(tmp_path, "init", "-q", "-b", "main")
        files = {"a.py": b"x = 1\n", "empty.py": b"", "no end.py": b"x = 1", "inner/\xc3\xa4.py": b"\xff\x00\n\n", "twin.py": b"x = 1\n"}
        for name, data in files.items():
            path = tmp_path / name.encode("latin-1").decode("utf-8")
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)
        (tmp_path / "link.py").symlink_to("a.py")
        git(tmp_path, "add", "-A")
        git(tmp_path, "commit", "-q", "-m", "Start")
        return tmp_path

    def test_files_and_contents(self, repository: Path) -> None:
        name = commit.commit_of(str(repository), "main")
        assert name == git(repository, "rev-parse", "HEAD")
        files = commit.tree(str(repository), name)
        contents = commit.blobs(str(repository), files)
        assert {file.path: (file.mode, contents[file.blob]) for file in files} == {
            "a.py": ("100644", b"x = 1\n"),
            "empty.py": ("100644", b""),
            "inner/\u00e4.py": ("100644", b"\xff\x00\n\n"),
            "link.py": ("120000", b"a.py"),
            "no end.py": ("100644", b"x = 1"),
            "twin.py": ("100644", b"x = 1\n"),
        }
        assert [file.path for file in commit.tree(str(repository / "inner"), name)] == ["\u00e4.py"]

    def test_many_contents_in_several_batches(self, repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(commit, "LARGEST_ANSWER", 200)
        files = commit.tree(str(repository), "HEAD")
        assert commit.blobs(str(repository), files).keys() == {file.blob for file in files}

    def test_missing_object_is_an_error(self, repository: Path) -> None:
        with pytest.raises(GitError, match="missing"):
            commit.blobs(str(repository), [commit.TreeFile("gone.py", "100644", "0" * 40, 1)])

    @pytest.mark.parametrize("revision", ["", "-h", "--all", "main\n", "nowhere", "main:a.py", "a b"])
    def test_what_is_no_commit(self, repository: Path, revision: str) -> None:
        assert commit.commit_of(str(repository), revision) is None

    def test_renames_and_history(self, repository: Path) -> None:
        first = git(repository, "rev-parse", "HEAD")
        (repository / "inner" / "\u00e4.py").rename(repository / "inner" / "b.py")
        git(repository, "add", "-A")
        git(repository, "commit", "-q", "-m", "Rename")
        assert commit.renames(str(repository), first, "HEAD") == {"inner/\u00e4.py": "inner/b.py"}
        assert commit.renames(str(repository / "inner"), first, "HEAD") == {"\u00e4.py": "b.py"}
        assert commit.merge_base(str(repository), first, "HEAD") == first
        assert not commit.is_shallow(str(repository))


class TestChangedLines:
    @settings(deadline=None)
    @given(TEXTS, TEXTS)
    def test_what_is_left_without_the_changed_lines_is_in_the_old_text(self, old: list[str], new: list[str]) -> None:
        pairs = list(changed_lines(old, new))
        assert all(1 <= line <= max(len(new), 1) for line, _ in pairs)
        written = {line for line, is_written in pairs if is_written}
        rest = iter(old)
        assert all(line in rest for number, line in enumerate(new, 1) if number not in written)
        assert bool(pairs) == (old != new)

    def test_very_long_texts_are_compared_by_their_lines(self) -> None:
        old = [f"x{i} = 1\n" for i in range(3000)]
        new = ["first = 1\n", *old[1:-1][::-1], "last = 1\n"]
        assert list(changed_lines(old, new)) == [(1, True), (3000, True)]


class TestBehind:
    OLD = "import a\n\n\ndef f():\n    x = 1\n    y = 2\n    return x\n\n\nclass C:\n    k = 1\n\n    def m(self):\n        return self.k\n"
    STATEMENTS = (
        Statement(1, 1, 1), Statement(4, 4, 7, True), Statement(5, 5, 5), Statement(6, 6, 6), Statement(7, 7, 7),
        Statement(10, 10, 14, True), Statement(11, 11, 11), Statement(13, 13, 14, True), Statement(14, 14, 14),
    )  # fmt: skip

    def behind(self, edit: tuple[str, str], *proof: int) -> tuple[Place, int, bool] | None:
        new = self.OLD.replace(*edit)
        assert len(new.splitlines()) == len(self.OLD.splitlines())
        before, now = {"b.py": self.OLD, "a.py": "f()\n"}, {"b.py": new, "a.py": "f()\n"}
        changes = Changes(before, now, {}, lambda path: self.STATEMENTS if path == "b.py" else ())
        steps = tuple(Step("b.py", line, 1, "runs") for line in proof)
        return changes.behind(Finding("r", "a.py", 1, 1, 1, 4, "m", proof=(Step("a.py", 1, 1, "calls"), *steps)))

    def test_step_that_changed(self) -> None:
        assert self.behind(("return x", "return y"), 5, 7) == (Place("b.py", 7), 2, True)

    def test_line_of_the_same_function(self) -> None:
        assert self.behind(("y = 2", "y = 3"), 7) == (Place("b.py", 6), 1, False)

    def test_line_of_the_class(self) -> None:
        assert self.behind(("k = 1", "k = 2"), 14) == (Place("b.py", 11), 1, False)

    def test_line_at_the_top_of_the_file(self) -> None:
        assert self.behind(("import a", "import b"), 7) == (Place("b.py", 1), 1, False)

    def test_another_function_is_not_blamed(self) -> None:
        assert self.behind(("k = 1", "k = 2"), 7) is None

    def test_own_statement(self) -> None:
        finding = Finding("r", "a.py", 1, 1, 1, 4, "m")
        assert Changes({"a.py": "g()\n"}, {"a.py": "f()\n"}, {}, lambda path: ()).behind(finding) is None

    def test_renamed_file_is_compared_with_its_old_text(self) -> None:
        changes = Changes({"old.py": "f()\n"}, {"a.py": "f()\n"}, {"old.py": "a.py"}, lambda path: ())
        assert changes.lines("a.py") == (frozenset(), frozenset())
        assert changes.lines("new.py") == (frozenset(), frozenset())
        assert changes.columns(Place("a.py", 1)) == (1, 4)
