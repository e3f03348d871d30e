"""The command line as a user or a build meets it: exit status, which stream says what, files, and every command."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from checkout import ROOT, Run

from auditor import __version__, loader
from auditor.config import load
from auditor.doctor import report
from auditor.scaffold import ScaffoldError, scaffold

BLOCKING = "import time\n\n\nasync def submit(client, order):\n    time.sleep(0.5)\n    await client.send(order)\n"
CLEAN = "async def submit(client, order):\n    await client.send(order)\n"
BROKEN = "def submit(client:\n    return client\n"
RULE = "blocking-call-in-async"
FINDING_KEYS = [
    "id", "rule", "path", "line", "column", "end_line", "end_column", "severity", "confidence", "message", "proof", "fix",
    "witnesses", "symbol", "chapter", "state",
]  # fmt: skip


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project of its own: an empty table makes it the root, and nothing above it matters."""
    return write(tmp_path / "project", {"pyproject.toml": "[tool.auditor]\n"})


def write(folder: Path, texts: Mapping[str, str]) -> Path:
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    return folder


def report_of(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    report = json.loads(done.stdout)
    assert isinstance(report, dict)
    return report


def scan(auditor: Run, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return auditor("scan", ".", "--tools", "none", *options, cwd=folder)


# --- exit status and streams ----------------------------------------------------------------------------------------


def test_0_is_clean(auditor: Run, project: Path) -> None:
    done = scan(auditor, write(project, {"bot.py": CLEAN}))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "exit 0: nothing at or above high:likely"


def test_1_is_a_finding_at_the_gate(auditor: Run, project: Path) -> None:
    done = scan(auditor, write(project, {"bot.py": BLOCKING}))
    assert (done.returncode, done.stderr) == (1, "")
    first, *_, last = done.stdout.splitlines()
    assert re.fullmatch(r"bot\.py:5:5: high \[blocking-call-in-async\] submit\(\) blocks the event loop.*", first)
    assert last == "exit 1: 1 finding at or above high:likely (--gate)"


@pytest.mark.parametrize("options", [("--gate", "critical"), ("--gate", "never"), ("--exit-zero",), ("--ignore", RULE)])
def test_1_becomes_0_on_demand(auditor: Run, project: Path, options: tuple[str, ...]) -> None:
    done = scan(auditor, write(project, {"bot.py": BLOCKING}), *options)
    assert (done.returncode, done.stderr) == (0, "")
    assert ("bot.py:5:5" in done.stdout) == ("--ignore" not in options)


def test_3_is_an_audit_that_lost_a_file_and_still_says_what_it_found(auditor: Run, project: Path) -> None:
    done = scan(auditor, write(project, {"bot.py": BLOCKING, "broken.py": BROKEN}))
    assert done.returncode == 3
    assert "bot.py:5:5: high" in done.stdout
    assert "broken.py:1:1: medium [unparsable-file]" in done.stdout
    last = done.stdout.splitlines()[-1]
    assert last.startswith("exit 3: incomplete: ")
    assert "1 finding at or above high:likely" in last


def test_3_is_taken_back_on_the_command_line_only(auditor: Run, project: Path) -> None:
    write(project, {"bot.py": BLOCKING, "broken.py": BROKEN})
    assert scan(auditor, project, "--allow-partial").returncode == 1
    assert scan(auditor, project, "--allow-partial", "--exit-zero").returncode == 0
    assert scan(auditor, project, "--exit-zero").returncode == 3
    write(project, {"pyproject.toml": "[tool.auditor]\nallow-partial = true\n"})
    assert scan(auditor, project).returncode == 2


def test_a_path_that_is_not_there_is_a_loss(auditor: Run, project: Path) -> None:
    done = auditor("scan", "missing.py", "--tools", "none", cwd=project)
    assert done.returncode == 3
    assert "missing.py" in done.stdout


MISTAKES = {
    "key": ({"pyproject.toml": '[tool.auditor]\ngat = "high"\n'}, (), "did you mean `gate`?"),
    "type": ({"pyproject.toml": '[tool.auditor]\nexclude = "x"\n'}, (), "must be a list of strings, not a string"),
    "option of a rule": (
        {"pyproject.toml": "[tool.auditor.rules.blocking-call-in-async]\nlo = true\n"}, (), "did you mean `low`?",
    ),
    "rule": ({}, ("--select", "blocking-call-in-asinc"), "did you mean `blocking-call-in-async`?"),
    "gate": ({}, ("--gate", "hihg"), "did you mean `high`?"),
    "tool": ({}, ("--tools", "ruf"), "unknown tool `ruf`"),
    "format": ({}, ("--output", "pdf=audit.pdf"), "write FORMAT=PATH with one of full, concise"),
    "baseline": ({}, ("--baseline", "none.jsonl"), "auditor baseline create"),
    "rules": ({}, ("--rules", "nowhere"), "there is no such folder"),
    "source": ({}, ("--output", "json=bot.py"), "choose another name"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_2_names_the_mistake_and_the_mend_on_stderr(auditor: Run, project: Path, mistake: str) -> None:
    files, options, words = MISTAKES[mistake]
    done = scan(auditor, write(project, {"bot.py": BLOCKING, **files}), *options)
    assert done.returncode == 2
    assert words in done.stderr
    assert done.stderr.startswith("auditor: ")
    assert "Traceback" not in done.stderr
    assert (project / "bot.py").read_text() == BLOCKING


def test_2_is_a_rule_that_raises_and_the_others_go_on(auditor: Run, project: Path) -> None:
    (made,) = [path for path in scaffold("local/raises-here", project / "own") if path.parent.name == "local"][1:]
    made.write_text(made.read_text().replace("for function in", "raise RuntimeError('boom')\n        for function in"))
    done = scan(auditor, write(project, {"bot.py": BLOCKING}), "--rules", "own")
    assert done.returncode == 2
    assert "[auditor-error] rule raises-here" in done.stdout
    assert "bot.py:5:5: high" in done.stdout


def test_2_is_a_failure_that_nobody_foresaw() -> None:
    program = (
        "import sys, auditor.pipeline, auditor.__main__ as door; auditor.pipeline.run = lambda request: 1 / 0; "
        "sys.argv = ['auditor', 'scan', '--isolated', '--no-cache']; door.main()"
    )
    done = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "ZeroDivisionError" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("auditor: internal error")


# --- what is written ------------------------------------------------------------------------------------------------


def test_json_has_the_keys_of_the_schema_in_their_order(auditor: Run, project: Path) -> None:
    done = scan(auditor, write(project, {"bot.py": BLOCKING}), "--format", "json")
    report = report_of(done)
    assert list(report) == ["schema", "findings", "tools", "coverage", "risk", "version"]
    assert (report["schema"], report["version"]) == ("auditor/1", __version__)
    (finding,) = report["findings"]
    assert list(finding) == FINDING_KEYS
    assert re.fullmatch(r"AUD-[0-9a-f]{12}", finding["id"])
    assert [list(step) for step in finding["proof"]] == [["path", "line", "column", "note"]]
    assert [tool["name"] for tool in report["tools"]] == ["auditor", "ruff", "bandit", "mypy"]
    assert str(project) not in done.stdout


def test_two_runs_give_the_same_bytes(auditor: Run, project: Path) -> None:
    write(project, {"bot.py": BLOCKING, "also.py": BLOCKING})
    texts = [scan(auditor, project, "--format", "json", *how).stdout for how in ((), (), ("--no-cache", "--jobs", "1"))]
    assert len(set(texts)) == 1
    assert len(json.loads(texts[0])["findings"]) == len(("also.py", "bot.py"))


def test_reports_are_written_beside_what_is_shown(auditor: Run, project: Path) -> None:
    write(project, {"bot.py": BLOCKING})
    outputs = ("--output", "markdown=out/audit.md", "--output", "sarif=out/audit.sarif", "--output", "json=out/audit.json")
    done = scan(auditor, project, *outputs)
    assert done.returncode == 1
    assert done.stdout.startswith("bot.py:5:5: high")
    assert (project / "out" / "audit.md").read_text("utf-8").startswith("---\nschema:")
    sarif = json.loads((project / "out" / "audit.sarif").read_bytes())
    assert [result["ruleId"] for result in sarif["runs"][0]["results"]] == [RULE]
    (finding,) = json.loads((project / "out" / "audit.json").read_bytes())["findings"]
    assert finding["rule"] == RULE
    assert sorted(path.name for path in (project / "out").iterdir()) == ["audit.json", "audit.md", "audit.sarif"]


def test_check_reports_what_touches_the_files(auditor: Run, project: Path) -> None:
    """One file is passed, all are analysed: a finding whose proof leads through it counts, another file's own does not."""
    chain = "import waiting\n\n\nasync def submit(order):\n    waiting.pause()\n"
    write(project, {"bot.py": chain, "waiting.py": "import time\n\n\ndef pause():\n    time.sleep(1)\n", "other.py": BLOCKING})
    done = auditor("check", "waiting.py", "--tools", "none", cwd=project)
    assert done.returncode == 1
    assert [line.partition(":")[0] for line in done.stdout.splitlines() if "[" in line] == ["bot.py"]
    assert auditor("check", "nothing.py", "--tools", "none", cwd=write(project, {"nothing.py": "X = 1\n"})).returncode == 0


def test_a_finding_is_suppressed_with_a_reason(auditor: Run, project: Path) -> None:
    comment = f"  # auditor: ignore[{RULE}] -- a script that serves nobody else"
    done = scan(auditor, write(project, {"bot.py": BLOCKING.replace("0.5)", f"0.5){comment}")}), "--format", "json")
    report = report_of(done)
    assert done.returncode == 0
    assert [(f["rule"], f["state"]) for f in report["findings"]] == [(RULE, "suppressed")]
    (entry,) = report["coverage"]["suppressions"]
    assert entry["reason"] == "a script that serves nobody else"
    assert entry["ids"] == [report["findings"][0]["id"]]


def test_a_suppression_without_a_reason_is_a_finding(auditor: Run, project: Path) -> None:
    texts = {"bot.py": BLOCKING.replace("0.5)", f"0.5)  # auditor: ignore[{RULE}]")}
    found = {f["rule"]: f["state"] for f in report_of(scan(auditor, write(project, texts), "--format", "json"))["findings"]}
    assert found["suppression-without-reason"] == "new"


@pytest.mark.parametrize(
    ("comment", "notice"),
    [(f"ignore[{RULE}] -- nothing blocks here", "unused-suppression"), ("ignore[blocking] -- wrong id", "unknown-suppression")],
)
def test_a_suppression_that_does_nothing_is_a_finding(auditor: Run, project: Path, comment: str, notice: str) -> None:
    texts = {"bot.py": CLEAN.replace("(order)\n", f"(order)  # auditor: {comment}\n")}
    found = report_of(scan(auditor, write(project, texts), "--format", "json"))["findings"]
    assert [f["rule"] for f in found] == [notice]


# --- the other commands ---------------------------------------------------------------------------------------------


def test_rules_lists_every_rule(auditor: Run) -> None:
    rows = json.loads(auditor("rules", "--json").stdout)
    assert [row["id"] for row in rows] == list(loader.load().rules)
    listed = auditor("rules").stdout.splitlines()
    assert [line.split()[0] for line in listed] == [row["id"] for row in rows]


def test_explain_prints_the_page(auditor: Run) -> None:
    page = loader.load().pages[RULE]
    text = auditor("explain", RULE).stdout
    assert text.startswith(f"# {page.title}\n")
    for section in (page.what, page.why, page.bad, page.good, page.limits):
        assert section in text
    assert auditor("explain", "unused-suppression").returncode == 0


def test_explain_knows_what_was_meant(auditor: Run) -> None:
    done = auditor("explain", "bare-exept")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "auditor: unknown rule `bare-exept`; did you mean `bare-except`?\n"


def test_doctor_names_versions_configuration_and_the_cache(auditor: Run, project: Path) -> None:
    write(project, {"pyproject.toml": '[tool.auditor]\ngate = "low"\nexclude = ["old/**"]\n', "bot.py": BLOCKING})
    done = auditor("doctor", cwd=project)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"auditor {__version__}" in done.stdout
    for tool in ("ruff", "bandit", "mypy"):
        assert re.search(rf"^  {tool} \d+\.\d+", done.stdout, re.MULTILINE)
    assert '  gate = "low:likely"  (pyproject.toml)\n' in done.stdout
    assert "  baseline = none  (default)\n" in done.stdout
    assert "Cache\n" in done.stdout
    assert RULE in done.stdout


FATES = {
    "bot.py": "analysed as bot.py, context production",
    "tests/test_bot.py": "analysed as tests/test_bot.py, context tests",
    "old/bot.py": "left out by `old/**`",
    "broken.py": "not analysed (syntax)",
    "missing.py": "not analysed (i/o): No such file or directory",
    "notes.txt": "not analysed: left out by",
    ".": "5 files below it would be analysed",
}


@pytest.mark.parametrize("name", FATES)
def test_doctor_says_why_a_file_is_analysed_or_not(project: Path, name: str) -> None:
    table = '[tool.auditor]\nexclude = ["old/**"]\n'
    sources = {"bot.py": CLEAN, "tests/test_bot.py": CLEAN, "broken.py": BROKEN, "a.py": CLEAN, "b.py": CLEAN}
    write(project, {"pyproject.toml": table, "old/bot.py": CLEAN, "notes.txt": "x\n", **sources})
    before = sorted(project.rglob("*"))
    lines = report(load([project]), str(project / name), str(project / "cache"))
    assert FATES[name] in "\n".join(lines[lines.index(f"File {project / name}") :])
    assert sorted(project.rglob("*")) == before


# --- a new rule -----------------------------------------------------------------------------------------------------


def test_a_new_rule_works_from_the_first_minute(auditor: Run, project: Path) -> None:
    """The file and its case are written; the case holds exactly: each `expect` is found and no `trap`."""
    done = auditor("new-rule", "shutdown/ends-at-once", "--rules", "own", cwd=project)
    assert (done.returncode, done.stderr) == (0, "")
    rule, case = project / "own/shutdown/ends_at_once.py", project / "own/cases/shutdown/ends_at_once.py"
    assert done.stdout == f"wrote {case.relative_to(project)}\nwrote {rule.relative_to(project)}\n"
    assert "class EndsAtOnce(Rule):" in rule.read_text()
    (project / "case.py").write_text(case.read_text())
    found = report_of(scan(auditor, project, "--rules", "own", "--select", "ends-at-once", "--format", "json"))["findings"]
    marked = [n for n, line in enumerate(case.read_text().splitlines(), 1) if "# expect:" in line]
    assert [f["line"] for f in found if f["path"] == "case.py"] == marked
    assert marked


def test_a_new_rule_of_the_checkout_has_its_case_where_the_tests_look(tmp_path: Path) -> None:
    write(tmp_path, {"rules/__init__.py": "", "rules/errors/__init__.py": '"""Errors."""\n', "auditor/__init__.py": ""})
    made = [path.relative_to(tmp_path).as_posix() for path in scaffold("errors/lost-error", tmp_path / "rules")]
    assert made == ["fixtures/cases/errors/lost_error.py", "rules/errors/lost_error.py"]
    made = [path.relative_to(tmp_path).as_posix() for path in scaffold("shutdown/ends-at-once", tmp_path / "rules")]
    assert made == [
        "fixtures/cases/shutdown/ends_at_once.py", "rules/shutdown/__init__.py", "rules/shutdown/ends_at_once.py",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("ends-at-once", "is not CHAPTER/ID"),
        ("a/b/c", "is not CHAPTER/ID"),
        ("async/ends", "it becomes a package"),
        ("Errors/ends", "it becomes a package"),
        ("../ends", "it becomes a package"),
        ("errors/Ends_At_Once", "an id is kebab-case"),
        ("errors/../x", "is not CHAPTER/ID"),
        ("errors/class", "an id is kebab-case"),
    ],
)
def test_a_name_that_does_not_fit_writes_nothing(name: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(ScaffoldError, match=re.escape(reason)):
        scaffold(name, tmp_path / "own")
    assert list(tmp_path.iterdir()) == []


def test_a_rule_that_exists_is_not_written_over(auditor: Run, project: Path) -> None:
    first, _ = sorted(scaffold("errors/lost-error", project / "own"))
    before = first.read_bytes()
    done = auditor("new-rule", "errors/lost-error", "--rules", "own", cwd=project)
    assert done.returncode == 2
    assert "exists already" in done.stderr
    assert auditor("new-rule", "money/lost-error", "--rules", "own", cwd=project).returncode == 2
    assert first.read_bytes() == before
    assert not (project / "own" / "money").exists()


# --- start-up -------------------------------------------------------------------------------------------------------


def test_the_version_is_answered_before_anything_is_imported(auditor: Run) -> None:
    done = auditor("--version", python=("-X", "importtime"))
    assert done.stdout == f"auditor {__version__}\n"
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "auditor" in imported
    heavy = {"click", "libcst", "rich", "dataclasses", "typing", "json", "auditor.cli", "auditor.finding"}
    assert imported & heavy == set()


def test_help_names_every_command(auditor: Run) -> None:
    done = auditor("--help", cwd=ROOT)
    assert done.returncode == 0
    for command in ("scan", "check", "explain", "rules", "doctor", "baseline", "new-rule"):
        assert re.search(rf"^  {command} ", done.stdout, re.MULTILINE)
