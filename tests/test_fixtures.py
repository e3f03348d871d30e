"""The two engines as fixtures: one has no finding of any tool, the other has exactly its marks, and both run."""

from __future__ import annotations

import difflib
import io
import os
import re
import shutil
import subprocess
import sys
import tokenize
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import pytest
from demonstrations import DEMONSTRATIONS
from demonstrations.twins import CLEAN, FLAWED

from auditor import config, engine, expect, loader, pipeline
from auditor.coverage import Statements
from auditor.engine import Analysis
from auditor.finding import Finding
from auditor.pipeline import Outcome, Request
from auditor.triage.implied import without_implied

NAMED = re.compile(r"# demonstration: (\w+)")
WAIVERS = re.compile(r"#\s*(noqa|nosec|type:\s*ignore|pragma|auditor:|ruff:|mypy:|pylint:)")
TOO_LONG_FOR_A_CATALOGUE = 200


def texts(root: Path) -> dict[str, str]:
    return {path.relative_to(root).as_posix(): path.read_text(encoding="utf-8") for path in sorted(root.rglob("*.py"))}


def comments(text: str) -> list[str]:
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return [token.string for token in tokens if token.type == tokenize.COMMENT]


def told(findings: Iterable[Finding]) -> list[str]:
    return [f"{finding.path}:{finding.line}: {finding.rule}: {finding.message}" for finding in findings]


def marked(*kinds: str) -> Iterator[tuple[expect.Mark, str]]:
    """The marks of these kinds in the flawed engine, each with every rule that it names."""
    for mark in expect.read(texts(FLAWED)):
        if mark.kind in kinds:
            yield from ((mark, rule) for rule in mark.rules)


@cache
def rules() -> loader.Rules:
    return loader.load()


@cache
def analysed(root: Path) -> Analysis:
    return engine.in_process(texts(root), rules())


def piped(root: Path, folder: Path) -> Outcome:
    """The whole audit, with the other tools, of a copy that is in no repository."""
    copy = folder / root.name
    shutil.copytree(root, copy, ignore=shutil.ignore_patterns("__pycache__", ".*_cache"))
    return pipeline.run(Request(config=config.load([copy]), cache=None, jobs=1))


def test_both_twins_have_the_same_files() -> None:
    assert list(texts(CLEAN)) == list(texts(FLAWED))
    assert (CLEAN / "pyproject.toml").read_text("utf-8") == (FLAWED / "pyproject.toml").read_text("utf-8")


def test_clean_has_no_finding_of_ours() -> None:
    analysis = analysed(CLEAN)
    assert not analysis.errors and not analysis.losses
    assert told(analysis.findings) == []


def test_clean_has_no_finding_of_any_tool(tmp_path: Path) -> None:
    outcome = piped(CLEAN, tmp_path)
    assert [(run.name, run.status) for run in outcome.audit.tools if run.status != "complete"] == []
    assert {run.name for run in outcome.audit.tools} == {"auditor", "ruff", "bandit", "mypy"}
    assert told(outcome.audit.findings) == []
    assert outcome.status == 0, outcome.reason


@pytest.mark.parametrize("root", [CLEAN, FLAWED], ids=lambda root: root.name)
def test_nothing_is_waived(root: Path) -> None:
    waivers = {path: [line for line in comments(text) if WAIVERS.search(line)] for path, text in texts(root).items()}
    assert {path: lines for path, lines in waivers.items() if lines} == {}
    if root is CLEAN:
        assert expect.read(texts(root)) == []


def test_flawed_has_exactly_its_marks() -> None:
    analysis, marks = analysed(FLAWED), expect.read(texts(FLAWED))
    assert not analysis.errors and not analysis.losses
    implies = {name: rule.implies for name, rule in rules().rules.items()}
    sure = {name: rule.confidence for name, rule in rules().rules.items()}
    found = without_implied(analysis.findings, implies, Statements(analysis).header_at, sure)
    assert expect.compare(found, marks, rules().rules) == []


def test_flawed_has_exactly_its_marks_in_a_whole_audit(tmp_path: Path) -> None:
    """Merged with what the other tools say, ours stay one for each mark."""
    outcome = piped(FLAWED, tmp_path)
    assert [(run.name, run.status) for run in outcome.audit.tools if run.status != "complete"] == []
    ours = [finding for finding in outcome.audit.findings if finding.rule in rules().rules]
    assert expect.compare(ours, expect.read(texts(FLAWED)), rules().rules) == []
    assert outcome.status == 1, outcome.reason


def test_every_expectation_names_a_rule() -> None:
    """What is expected can be found: a rule that is not loaded would be compared with nothing."""
    assert {rule for _mark, rule in marked("expect")} <= set(rules().rules)


def test_todo_of_a_rule_that_was_built_since_says_what_it_needs() -> None:
    stale = [
        f"{mark.path}:{mark.line}: {rule}"
        for mark, rule in marked("todo")
        if rule in rules().rules and "not built" in mark.note
    ]
    assert stale == [], "these rules exist now: expect them, or say why they miss the fault"


def test_every_fault_has_a_demonstration_and_every_demonstration_a_fault() -> None:
    faults = {(mark.path, rule) for mark, rule in marked("expect", "todo")}
    shown = {fault for demonstration in DEMONSTRATIONS for fault in demonstration.faults}
    assert faults - shown == set(), "marked and not shown"
    assert shown - faults == set(), "shown and not marked"


def test_disasters_name_their_demonstration() -> None:
    names = {name for text in texts(FLAWED).values() for name in NAMED.findall(text)}
    assert names <= {demonstration.name for demonstration in DEMONSTRATIONS}
    disasters = {
        "chased_order_fills_twice",
        "stop_loss_never_fires",
        "drawdown_limit_fails_open",
        "backtest_trades_on_its_labels",
        "lock_is_taken_twice",
        "token_reaches_the_log",
    }
    assert disasters <= names


def test_difference_of_the_twins_is_the_catalogue() -> None:
    """Small enough to read, and no file differs without saying what for."""
    clean, flawed = texts(CLEAN), texts(FLAWED)
    silent, length = [], 0
    for path, text in clean.items():
        changed = [line for line in difflib.ndiff(text.splitlines(), flawed[path].splitlines()) if line[:1] in "+-"]
        length += len(changed)
        if changed and not any(re.search(r"# (expect|todo|demonstration): ", line) for line in changed):
            silent.append(path)
    assert silent == []
    assert 0 < length < TOO_LONG_FOR_A_CATALOGUE


@pytest.mark.parametrize(("root", "statuses"), [(CLEAN, {0}), (FLAWED, {0, 1})], ids=["clean", "flawed"])
def test_both_twins_run(root: Path, statuses: set[int]) -> None:
    command = [sys.executable, "-m", "trading", "--seed", "1", "--bars", "500"]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode in statuses, done.stderr
    assert done.stdout.startswith("bars 500 ") and "final equity" in done.stdout
    assert done.stdout.splitlines()[-1] == ("reconciled" if done.returncode == 0 else "NOT RECONCILED")
