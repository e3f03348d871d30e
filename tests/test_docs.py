"""What the documents tell a reader to type, and what they point to, is what there is."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from checkout import ROOT, Run

from auditor import __version__, expect, loader
from auditor.cli import cli

README, CONTRIBUTING, CHANGELOG = ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"
DOCUMENTS = (README, CONTRIBUTING, CHANGELOG)
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PINNED = re.compile(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")


def blocks(document: Path, language: str) -> list[str]:
    return [body for name, body in FENCE.findall(document.read_text("utf-8")) if name == language]


def setup_commands() -> list[str]:
    """The two commands of the README that set something up, each on a line of its own."""
    commands = [block.strip() for block in blocks(README, "sh")]
    assert len(commands) == 2
    assert not any("\n" in command for command in commands)
    return commands


# --- the two commands -----------------------------------------------------------------------------------------------


def test_ci_runs_the_second_command_of_the_readme_and_nothing_after_it() -> None:
    script = (ROOT / ".ci" / "run").read_text("utf-8")
    lines = [line for line in script.splitlines() if line.strip() and not line.startswith(("#", "export "))]
    assert lines == ["set -eu", 'cd "$(dirname "${BASH_SOURCE[0]}")/.."', setup_commands()[1]]
    assert script.startswith("#!/usr/bin/env bash\n")
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    assert subprocess.run(["bash", "-n", ROOT / ".ci" / "run"], check=False).returncode == 0


def test_both_commands_make_the_environment_that_they_use() -> None:
    for command in setup_commands():
        first, *others = [shlex.split(part) for part in command.split("&&")]
        assert first == ["python3", "-m", "venv", ".venv"]
        assert {Path(words[0]).parent.as_posix() for words in others} == {".venv/bin"}
    assert "/.venv/" in [f"/{line.strip('/')}/" for line in (ROOT / ".gitignore").read_text().splitlines()]


def test_the_first_command_shows_its_findings(auditor: Run) -> None:
    """Its last part, by the environment that is there; the tools are left out, for they change nothing that is promised."""
    last = shlex.split(setup_commands()[0].split("&&")[-1])
    assert Path(last[0]).name == "auditor"
    done = auditor(*last[1:], "--tools", "none", "--format", "concise")
    assert done.returncode == 1
    for rule in ("bare-except", "blocking-call-in-async", "negative-shift-feature"):
        assert f"[{rule}]" in done.stdout
    shown = set(done.stdout.splitlines()) | set((ROOT / "reports" / "example.md").read_text("utf-8").splitlines())
    quoted = [line for block in blocks(README, "text") for line in block.splitlines()]
    assert len(quoted) > 3
    assert [line for line in quoted if line not in shown] == [], "the README quotes the reports of the example"


def test_the_second_command_installs_what_the_tests_import() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    names = {re.split(r"[\[<>=~! ]", entry)[0].lower() for entry in declared}
    assert names >= {"pytest", "hypothesis", "jsonschema", "markdown-it-py", "pyyaml", "build", "hatchling", "click"}


# --- every command that is quoted -----------------------------------------------------------------------------------


def quoted_commands() -> Iterator[tuple[str, str]]:
    for document in DOCUMENTS:
        text = document.read_text("utf-8")
        lines = [line for block in blocks(document, "sh") for part in block.split("&&") for line in part.splitlines()]
        lines += re.findall(r"`(auditor [^`]+)`", text)
        for line in lines:
            words = line.strip().removeprefix(".venv/bin/")
            if words.startswith("auditor "):
                yield document.name, words
    for hook in yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text()):
        yield ".pre-commit-hooks.yaml", hook["entry"]


@pytest.mark.parametrize(("document", "line"), sorted(set(quoted_commands())))
def test_a_quoted_command_is_understood(document: str, line: str) -> None:
    """Parsed as the command line would, up to where it would run; `[FILE]` is optional and left out."""
    words = [word for word in shlex.split(line) if not re.fullmatch(r"\[[A-Z]+\]", word)]
    group: click.Command = cli
    while isinstance(group, click.Group) and len(words) > 1:
        name, words = words[1], words[1:]
        found = group.commands.get(name)
        assert found is not None, f"{document}: no command `{name}`"
        group = found
    if len(words) == 1:
        return  # the name of a command, not a call of it
    with group.make_context("auditor", words[1:]) as context:
        named = [*(context.params.get("select") or ()), context.params.get("rule")]
        new_in_the_text = "process-ends-at-once"
        assert {name for name in named if name} <= {*loader.load().rules, new_in_the_text}


def test_the_change_log_begins_with_this_version() -> None:
    first = re.search(r"^## (\d+\.\d+\.\d+)", CHANGELOG.read_text("utf-8"), re.MULTILINE)
    assert first is not None
    assert first.group(1) == __version__


def test_the_readme_is_one_screen() -> None:
    assert len(README.read_text("utf-8").splitlines()) <= 90


# --- what they point to ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_what_a_document_points_to_is_there(document: Path) -> None:
    text = document.read_text("utf-8")
    named = re.findall(r"\]\(([^)#:]+)\)", text)
    named += re.findall(r"`((?:auditor|rules|fixtures|tests|reports|benchmarks)/(?!\d)[\w./]*)`", text)
    made_in_the_text = "process_ends_at_once"
    assert named or document == CHANGELOG
    assert [path for path in named if made_in_the_text not in path and not (ROOT / path).exists()] == []


def test_the_marks_that_are_shown_are_marks() -> None:
    (example,) = blocks(CONTRIBUTING, "python")
    assert [mark.kind for mark in expect.read({"case.py": example})] == ["expect", "trap", "todo"]


def test_the_configuration_that_is_shown_is_read(auditor: Run, tmp_path: Path) -> None:
    (table,) = blocks(README, "toml")
    (tmp_path / "pyproject.toml").write_text(table)
    done = auditor("doctor", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    for key in ("exclude", "gate", "baseline", "paths.scripts"):
        assert re.search(rf"^  {key} = .*\(pyproject.toml\)$", done.stdout, re.MULTILINE)


# --- hooks and the action -------------------------------------------------------------------------------------------


def test_the_hooks_run_over_what_the_auditor_reads() -> None:
    hooks = {hook["id"]: hook for hook in yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())}
    shown = yaml.safe_load(next(block for block in blocks(README, "yaml") if block.startswith("# .pre-commit")))
    assert {hook["id"] for hook in shown["repos"][0]["hooks"]} <= set(hooks)
    for hook in hooks.values():
        assert hook["require_serial"] is True, "parallel batches would each analyse the whole project"
        assert set(hook["types_or"]) >= {"python", "pyi", "jupyter"}
    assert hooks["auditor-full"]["pass_filenames"] is False


def action() -> dict[str, Any]:
    loaded = yaml.safe_load((ROOT / "action.yml").read_text("utf-8"))
    assert isinstance(loaded, dict)
    return loaded


def test_no_text_of_a_caller_becomes_a_script() -> None:
    steps = action()["runs"]["steps"]
    scripts = [step["run"] for step in steps if "run" in step]
    assert scripts
    for script in scripts:
        assert "${{" not in script
        assert subprocess.run(["bash", "-n"], input=script, text=True, check=False).returncode == 0
    assert all(step["shell"] == "bash" for step in steps if "run" in step)


def test_actions_of_others_are_pinned_to_a_commit() -> None:
    for document in (README, ROOT / "action.yml"):
        used = re.findall(r"uses: (.+)$", document.read_text("utf-8"), re.MULTILINE)
        foreign = [line for line in used if not line.startswith("OWNER-OF-THIS-REPOSITORY/")]
        assert foreign
        assert [line for line in foreign if not PINNED.fullmatch(line)] == []


@pytest.mark.parametrize("only_new", ["true", "false"])
def test_the_scan_of_the_action_is_a_command_of_ours(only_new: str, tmp_path: Path) -> None:
    """Its script runs with an `auditor` that notes its arguments, and these are parsed."""
    (scan,) = [step for step in action()["runs"]["steps"] if step.get("id") == "scan"]
    assert set(scan["env"]) == {"PATHS", "GATE", "ONLY_NEW", "ARGS", "BASE"}
    fake = tmp_path / "auditor" / "venv" / "bin" / "auditor"
    fake.parent.mkdir(parents=True)
    fake.write_text('#!/usr/bin/env bash\nprintf "%s\\0" "$@" > "$RUNNER_TEMP/arguments"\nexit 3\n')
    fake.chmod(0o755)
    given = {"PATHS": "bot tests", "GATE": "high", "ONLY_NEW": only_new, "ARGS": "--jobs 2", "BASE": "abc123"}
    files = {"GITHUB_OUTPUT": str(tmp_path / "output"), "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md")}
    environment = {**os.environ, **given, **files, "RUNNER_TEMP": str(tmp_path)}
    done = subprocess.run(["bash", "-eo", "pipefail", "-c", scan["run"]], env=environment, check=False)
    assert done.returncode == 0, "the status is kept for the last step"
    assert "status=3" in (tmp_path / "output").read_text().splitlines()
    words = (tmp_path / "arguments").read_text().split("\0")[:-1]
    assert words[0] == "scan"
    with cli.commands["scan"].make_context("scan", words[1:]) as context:
        assert context.params["paths"] == ("bot", "tests")
        assert context.params["jobs"] == 2
        assert context.params["since"] == ("abc123" if only_new == "true" else None)
        assert {output.partition("=")[0] for output in context.params["outputs"]} == {
            "json", "sarif", "markdown", "summary", "github",
        }  # fmt: skip


def test_the_count_of_the_action_counts_new_findings(tmp_path: Path) -> None:
    (count,) = [step for step in action()["runs"]["steps"] if step.get("id") == "count"]
    program = re.search(r"count='(.+)'", count["run"])
    assert program is not None
    report = tmp_path / "audit.json"
    report.write_text(json.dumps({"findings": [{"state": "new"}, {"state": "baselined"}, {"state": "new"}]}))
    done = subprocess.run(["python3", "-I", "-c", program.group(1), report], capture_output=True, text=True, check=False)
    assert done.stdout == "2\n"
