"""The benchmark over fixed bugs, on a repository that is made here: found in the parent, gone in the fix, and nothing kept."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from auditor.cache import Cache
from benchmarks import history

BEFORE = "from rates import FEE\n\n\ndef cost(amount):\n    return amount * FEE\n"
RATES = "from decimal import Decimal\n\nFEE = Decimal({})\n"


@pytest.fixture(scope="module")
def clones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one clone of two commits: a Decimal of a float, and its mend."""
    root = tmp_path_factory.mktemp("clones")
    repo = root / "desk+bot" / "repo"
    repo.mkdir(parents=True)
    _git(repo, "init", "-q")
    (repo / "costs.py").write_text(BEFORE)
    for text in ("0.1", '"0.1"'):
        (repo / "rates.py").write_text(RATES.format(text))
        _git(repo, "add", ".")
        _git(repo, "-c", "user.name=a", "-c", "user.email=a@example.org", "commit", "-qm", f"rate {text}")
    return root


def _git(repo: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(repo), *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(str(tmp_path))


def fix(clones: Path, **changes: str) -> history.Fix:
    commit = _git(clones / "desk+bot" / "repo", "rev-parse", "HEAD")
    given = {
        "repo": "desk/bot",
        "commit": commit,
        "path": "rates.py",
        "rule": "decimal-from-float",
        "text": "Decimal(0.1)",
        "what": "a rate",
    }
    return history.Fix(**{**given, **changes})


def test_a_defect_is_found_in_the_parent_and_gone_in_the_fix(clones: Path, cache: Cache) -> None:
    verdict = history.verdict(fix(clones), clones, False, cache)
    assert verdict.word == "found, then gone"
    assert [f.line for f in verdict.before] == [3]


def test_what_is_not_found_is_missed_and_a_wrong_text_is_told(clones: Path, cache: Cache) -> None:
    assert history.verdict(fix(clones, rule="falsy-zero"), clones, False, cache).word == "missed"
    assert "not in the parent" in history.verdict(fix(clones, text="Decimal(0.2)"), clones, False, cache).word
    assert history.verdict(fix(clones, repo="desk/other"), clones, False, cache).word == "no clone"
    assert "not read" in history.verdict(fix(clones, commit="f" * 40), clones, False, cache).word


def test_imports_of_the_repository_are_read_too(clones: Path) -> None:
    repository = history.Repository(clones / "desk+bot" / "repo")
    assert sorted(history.needed(repository, "HEAD", "costs.py", False)) == ["costs.py", "rates.py"]
    assert list(history.modules("from .a import (b, c)\nimport d.e as f\n", "pkg/m.py")) == [
        "pkg.a",
        "pkg.a.b",
        "pkg.a.c",
        "d.e",
    ]


def test_the_table_tells_outcomes_and_reasons(clones: Path, cache: Cache) -> None:
    missed = history.verdict(fix(clones, rule="falsy-zero", miss="no zero here"), clones, False, cache)
    text = history.table([missed, history.verdict(fix(clones), clones, False, cache)])
    assert "why: no zero here" in text
    assert text.endswith("found, then gone: 1, missed: 1")
