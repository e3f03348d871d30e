"""Generated over all rules, and never edited to add one: the page, its examples, its case, and the process border."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from functools import cache

import pytest
from checkout import ROOT

from auditor import config, engine, expect, loader
from auditor.facts.collect import Collected, read
from auditor.finding import Finding, Page
from auditor.fix.edits import applied
from auditor.project.models import Models
from auditor.rule import Rule, example
from auditor.source.text import LineStarts
from auditor.workers import Pool

CASES = ROOT / "fixtures" / "cases"
RULES = loader.load()
EXAMPLE = "example.py"
TOOLS = frozenset({"ruff", "bandit", "mypy"})
RELATIONS = frozenset({"merge", "super", "judge", "near"})
LONGEST_MESSAGE = 300

each = pytest.mark.parametrize("rule", RULES.rules.values(), ids=RULES.rules)


def only(rule: type[Rule]) -> loader.Rules:
    """The loaded rules without all others."""
    return dataclasses.replace(RULES, rules={rule.id: rule})


def page_of(rule: type[Rule]) -> Page:
    return RULES.pages[rule.id]


def found_in(rule: type[Rule], text: str) -> tuple[Finding, ...]:
    """The findings of the rule in one text, which nothing executes."""
    return _found_in(rule.id, text)


@cache
def _found_in(name: str, text: str) -> tuple[Finding, ...]:
    analysis = engine.in_process({EXAMPLE: text}, only(RULES.rules[name]))
    assert analysis.errors == []
    return tuple(finding for finding in analysis.findings if finding.rule == name)


# --- the page -------------------------------------------------------------------------------------------------------


@each
def test_the_page_is_complete_and_stands_under_the_name_of_the_rule(rule: type[Rule]) -> None:
    page = page_of(rule)
    assert rule.__module__ == f"auditor.rules.{page.chapter}.{rule.id.replace('-', '_')}"
    assert rule.__name__ == "".join(word.capitalize() for word in rule.id.split("-"))
    assert "\n" not in page.title
    assert not page.title.endswith(".")
    for text in (page.what, page.why, page.bad, page.good, page.limits):
        assert text.strip()
    assert page.fix.strip(), "declare `fix`, or open the section Good with the sentence that says what to do"
    assert RULES.chapters[page.chapter].strip(), f"the chapter {page.chapter} has no introduction"


@each
def test_the_declarations_name_things_that_exist(rule: type[Rule]) -> None:
    assert re.fullmatch(r"\d+\.\d+", rule.since)
    assert set(rule.implies) <= set(RULES.rules)
    known = Models().load(RULES.models)
    for name in rule.models:
        assert name in {path.stem for path in RULES.models}
        assert known.model(name)
    assert all(isinstance(number, int) and number > 0 for number in rule.cwe)
    for tool, codes in rule.counterparts.items():
        assert tool in TOOLS
        assert codes
        assert set(codes.values()) <= RELATIONS


# --- Bad, Good and the fix between them -----------------------------------------------------------------------------


@each
def test_bad_is_found(rule: type[Rule]) -> None:
    findings = found_in(rule, example(page_of(rule).bad))
    assert findings, "the rule does not find its own example"


@each
def test_good_is_silent(rule: type[Rule]) -> None:
    assert [f"{f.line}: {f.message}" for f in found_in(rule, example(page_of(rule).good))] == []


@each
def test_a_finding_says_where_what_and_why(rule: type[Rule]) -> None:
    text = example(page_of(rule).bad)
    lines = LineStarts(text)
    for finding in found_in(rule, text):
        start = lines.offset(finding.line, finding.column)
        assert start < lines.offset(finding.end_line, finding.end_column)
        assert 0 < len(finding.message) <= LONGEST_MESSAGE
        assert "\n" not in finding.message
        for step in finding.proof:
            assert step.path == EXAMPLE
            lines.offset(step.line, step.column)
            assert step.note.strip()
        if not rule.local():
            assert finding.proof, "a finding about the project shows its proof"
        if finding.fix is not None:
            assert finding.fix.title.strip()
            assert finding.fix.applicability in ("safe", "display")


@each
def test_the_fix_turns_bad_into_good(rule: type[Rule]) -> None:
    page = page_of(rule)
    fixes = [finding.fix for finding in found_in(rule, example(page.bad)) if finding.fix and finding.fix.edits]
    if not fixes:
        assert "safe" not in {f.fix.applicability for f in found_in(rule, example(page.bad)) if f.fix}
        return
    mended = applied(example(page.bad), [edit for fix in fixes for edit in fix.edits])
    assert mended == example(page.good)


# --- the case -------------------------------------------------------------------------------------------------------


def case_of(rule: type[Rule]) -> tuple[dict[str, str], config.Config]:
    """The files of the rule's case, a project of its own, with the configuration that it brings."""
    stem = rule.id.replace("-", "_")
    folder, file = CASES / rule.chapter() / stem, CASES / rule.chapter() / f"{stem}.py"
    assert folder.is_dir() != file.is_file(), f"the case of {rule.id} is either {file} or the folder {folder}"
    root = folder if folder.is_dir() else file.parent
    files = sorted(folder.rglob("*.py")) if folder.is_dir() else [file]
    texts = {path.relative_to(root).as_posix(): path.read_text("utf-8") for path in files}
    own = (folder / "pyproject.toml").is_file()
    return texts, config.load([root], isolated=not own)


@each
def test_the_case_holds_exactly(rule: type[Rule]) -> None:
    texts, settings = case_of(rule)
    marks = [mark for mark in expect.read(texts) if rule.id in mark.rules]
    kinds = {mark.kind for mark in marks}
    assert {"expect", "trap"} <= kinds, "a case has at least one `expect` and one `trap`"
    options = {rule.id: settings.options(rule.id, rule.options)}
    analysis = engine.in_process(texts, only(rule), options)
    assert analysis.errors == []
    found = [f for f in analysis.findings if rule.in_tests or settings.context(f.path) != "tests"]
    assert expect.compare(found, marks, [rule.id]) == []


def test_every_case_is_that_of_a_rule() -> None:
    """What is left behind by a rule that was renamed would be read by nobody."""
    named = {f"{rule.chapter()}/{rule.id.replace('-', '_')}" for rule in RULES.rules.values()}
    there = {path.relative_to(CASES).with_suffix("").as_posix() for path in CASES.glob("*/*") if path.name != "__pycache__"}
    assert sorted(there - named) == []


# --- the process border ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def from_a_worker() -> Mapping[str, Collected]:
    """Every Bad example as a worker collects it: the rules of the worker are made there, from their ids."""
    files = [(f"{name}.py", example(page.bad).encode()) for name, page in RULES.pages.items()]
    options = {"folders": [], "options": {name: dict(rule.options) for name, rule in RULES.rules.items()}}
    collected: dict[str, Collected] = {}
    for answer in Pool("auditor.loader:handle", options, 1).run(files):
        assert answer.payload is not None, answer.loss
        collected[answer.path.removesuffix(".py")] = read(EXAMPLE, answer.payload)
    return collected


@each
def test_a_rule_finds_the_same_across_a_process_border(rule: type[Rule], from_a_worker: Mapping[str, Collected]) -> None:
    collected = from_a_worker[rule.id]
    assert collected.errors == ()
    settings = engine.Settings(only(rule))
    project = engine.link({EXAMPLE: collected.program}, settings)
    judged, errors = engine.judge(project, loader.make(only(rule), {}))
    assert errors == []
    found = [*(finding for finding in collected.findings if finding.rule == rule.id), *judged]
    assert tuple(found) == found_in(rule, example(page_of(rule).bad))
