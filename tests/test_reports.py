"""The reports of the bundled fixtures are what is in `reports/`, byte for byte: what a visitor reads cannot go stale.

`pytest tests/test_reports.py --update` runs the installed tools once, keeps what they said in `tests/recorded/`, and
rewrites `reports/`. Without the flag no tool runs: their recorded words are replayed, so that another version of ruff or
mypy changes no golden file. The audit runs on a copy outside of git, since a commit is no part of a golden file.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from checkout import ROOT

from auditor import config, expect, loader, pipeline, tools
from auditor.finding import Loss, Refuted, ToolRun
from auditor.pipeline import Outcome, Request
from auditor.report import render
from auditor.report.files import write
from auditor.source.discover import discover
from auditor.tools.report import Report, decode, encode

EXAMPLE = ROOT / "fixtures" / "example"
REPORTS = ROOT / "reports"
RECORDED = Path(__file__).with_name("recorded")
SCHEMA = Path(__file__).with_name("data") / "sarif-schema-2.1.0.json"
FORMATS = {"md": "markdown", "json": "json", "sarif": "sarif", "html": "html"}
SAMPLES = {"example": ("md", "json", "sarif", "html"), "flawed": ("md", "sarif"), "clean": ("md",)}
GOLDEN = [(name, suffix) for name, suffixes in SAMPLES.items() for suffix in suffixes]
SHOWN = ("bare-except", "blocking-call-in-async", "negative-shift-feature")


class Replay:
    """What `tools.start` gives, with the recorded words of the tools for it."""

    def __init__(self, name: str) -> None:
        self.root = ROOT / "fixtures" / name
        self.recorded = json.loads((RECORDED / f"{name}.json").read_text("utf-8"))

    def start_mypy(self, parsable: Iterable[str]) -> None:
        assert sorted(parsable) == sorted(path.relative_to(self.root).as_posix() for path in self.root.rglob("*.py"))

    def collect(self) -> list[tuple[ToolRun, tuple[Report, ...]]]:
        return [(run_of(entry["run"]), decode(entry["reports"])) for entry in self.recorded]

    def close(self) -> None:
        """Nothing runs."""


def run_of(value: dict[str, Any]) -> ToolRun:
    """The inverse of `asdict`."""
    lists = {"argv": tuple(value["argv"]), "notes": tuple(value["notes"])}
    lost = tuple(Loss(**loss) for loss in value["skipped"])
    return ToolRun(**{**value, **lists, "skipped": lost, "refuted": tuple(Refuted(**each) for each in value["refuted"])})


def record(folder: Path) -> None:
    """Run the installed tools over a copy of a sample, and keep what they said."""
    found = discover(str(folder))
    texts = {file.path: (folder / file.path).read_text("utf-8") for file in found.files}
    with tools.start(folder.parent / "stage", texts) as handle:
        results = handle.collect()
    assert [run.status for run, _ in results] == ["complete"] * len(results)
    kept = [{"run": asdict(run), "reports": encode(reports)} for run, reports in results]
    (RECORDED / f"{folder.name}.json").write_text(json.dumps(kept, indent=1) + "\n", "utf-8")


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Callable[[str], Outcome]:
    """The audit of a sample, run once."""

    @cache
    def audited(name: str) -> Outcome:
        folder = tmp_path_factory.mktemp("outside") / name
        shutil.copytree(ROOT / "fixtures" / name, folder, ignore=shutil.ignore_patterns("__pycache__", ".*"))
        if request.config.getoption("--update"):
            record(folder)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(tools, "start", lambda *_: Replay(name))
            argv = ("auditor", "scan", f"fixtures/{name}")
            return pipeline.run(Request(config.load([folder]), cache=None, jobs=1, argv=argv))

    return audited


def test_the_example_shows_what_the_readme_promises(outcomes: Callable[[str], Outcome]) -> None:
    outcome = outcomes("example")
    assert outcome.status == 1
    found = {finding.rule: finding for finding in outcome.audit.findings}
    assert set(SHOWN) <= set(found)
    chain = found["blocking-call-in-async"]
    assert {step.path for step in chain.proof} == {"bot.py", "exchange.py"}
    assert len({step.path for rule in SHOWN for step in found[rule].proof}) == len(list(EXAMPLE.glob("*.py")))


def test_the_example_stays_small() -> None:
    lines = [line for path in EXAMPLE.glob("*.py") for line in path.read_text("utf-8").splitlines()]
    assert len(lines) <= 100
    assert expect.read({"example": "\n".join(lines)}) == [], "marks would show in the reports"


@pytest.mark.parametrize(("name", "suffix"), GOLDEN)
def test_a_report_is_what_the_golden_file_holds(
    name: str, suffix: str, outcomes: Callable[[str], Outcome], request: pytest.FixtureRequest
) -> None:
    outcome = outcomes(name)
    rendered = render(outcome.audit, FORMATS[suffix], reason=outcome.reason)
    made = rendered.encode("utf-8") if isinstance(rendered, str) else rendered
    golden = REPORTS / f"{name}.{suffix}"
    if request.config.getoption("--update"):
        write(str(golden), made)
    mend = "read the difference, and refresh with `pytest tests/test_reports.py --update`"
    assert made.decode("utf-8").splitlines() == golden.read_text("utf-8").splitlines(), mend
    assert made == golden.read_bytes(), mend


def test_the_golden_files_are_those_that_are_compared() -> None:
    assert {path.name for path in REPORTS.iterdir()} == {f"{name}.{suffix}" for name, suffix in GOLDEN}


def test_no_golden_file_knows_the_machine() -> None:
    for path in REPORTS.iterdir():
        text = path.read_text("utf-8")
        for word in (str(ROOT), "/tmp/", "/home/", "/root/", "pytest-of"):
            assert word not in text, f"{path.name} holds {word}"


@pytest.mark.parametrize("name", [name for name, suffix in GOLDEN if suffix == "sarif"])
def test_the_sarif_is_valid(name: str) -> None:
    document = json.loads((REPORTS / f"{name}.sarif").read_bytes())
    schema = json.loads(SCHEMA.read_bytes())
    validator = jsonschema.validators.validator_for(schema)
    validator.check_schema(schema)
    assert [error.message for error in validator(schema).iter_errors(document)] == []


def test_the_json_names_every_rule_by_an_id_that_can_be_explained() -> None:
    findings = json.loads((REPORTS / "example.json").read_bytes())["findings"]
    known = loader.load().rules
    assert findings
    assert all(finding["rule"] in known or "/" in finding["rule"] for finding in findings)
