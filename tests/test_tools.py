"""The adapters of ruff, bandit and mypy, on recorded outcomes; the stage; and one live run over a hostile tree."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tool_scenarios import SCENARIOS, VERSIONS, Scenario, protocol_of, recording

from auditor import tools
from auditor.finding import ToolRun
from auditor.tools import process
from auditor.tools.config import TOOLS, ToolConfig, selections
from auditor.tools.installed import Installed, find, version_numbers
from auditor.tools.modules import module_name, plan
from auditor.tools.mypy_records import is_kept, quoted_column
from auditor.tools.process import Command, Finished, environment, replay
from auditor.tools.report import Report, ToolResult, decode, encode
from auditor.tools.ruff import read_capabilities
from auditor.tools.same import same
from auditor.tools.stage import Notebook, Sources, Stage, StageError, for_mypy, staged_path, without_cookie
from auditor.tools.waivers import Waivers, blanket_waivers
from auditor.triage.secrets import literals_of, redact, redact_quoted


class Memory:
    """A cache that counts its hits."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}
        self.hits = 0

    def get(self, key: str) -> bytes | None:
        self.hits += key in self.values
        return self.values.get(key)

    def put(self, key: str, value: bytes) -> None:
        self.values[key] = value


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with Stage.open(tmp_path / "stage") as opened:
        yield opened


def recorded(name: str, tool: str, stage: Stage, config: ToolConfig | None = None) -> ToolResult:
    protocol = protocol_of(VERSIONS[tool], SCENARIOS[name], stage, config)
    return replay(protocol, recording(name, tool, stage))[0]


def outcome(stdout: object = b"", code: int | None = 0, stderr: str = "", how: str = "exit") -> Finished:
    out = stdout if isinstance(stdout, bytes) else json.dumps(stdout).encode()
    return Finished(how, code, out, stderr.encode())


def seen(run: ToolRun) -> tuple[str, int, int]:
    return run.status, run.expected, run.seen


def lost(run: ToolRun) -> dict[str, str]:
    return {loss.path: loss.reason for loss in run.skipped}


def found(result: ToolResult) -> set[tuple[str, int, str]]:
    return {(report.path, report.line, report.code) for report in result.reports}


# --- recorded runs ----------------------------------------------------------------------------------------------


def test_ruff_reports_with_places_and_counts_the_metrics(stage: Stage) -> None:
    result = recorded("defects", "ruff", stage)
    assert seen(result.run) == ("complete", 1, 1)
    assert [(r.line, r.column, r.code) for r in result.reports] == [
        (9, 25, "S105"), (11, 25, "B006"), (13, 20, "S301"), (14, 9, "E722"), (18, 29, "S324"), (27, 9, "S602"),
    ]  # fmt: skip
    assert result.run.metrics["counts"] == {"T201": 1}
    assert "--isolated" in result.run.argv and "--ignore-noqa" in result.run.argv
    assert not any("/opt" in word or str(stage.root) in word for word in result.run.argv)


def test_bandit_columns_are_code_points_and_its_quoted_find_is_redacted(stage: Stage) -> None:
    result = recorded("defects", "bandit", stage)
    assert seen(result.run) == ("complete", 1, 1)
    weak = next(r for r in result.reports if r.code == "B324")
    assert (weak.line, weak.column, weak.end_line, weak.end_column) == (18, 29, 18, 46)
    password = next(r for r in result.reports if r.code == "B105")
    assert password.message == "Possible hardcoded password: <redacted secret: 11 characters>"


def test_mypy_column_beside_non_ascii_text_is_that_of_the_quoted_name(stage: Stage) -> None:
    result = recorded("defects", "mypy", stage)
    flushed = next(r for r in result.reports if "flsh" in r.message)
    assert (flushed.line, flushed.column, flushed.end_column) == (22, 27, None)
    entered = [r for r in result.reports if r.line == 23]
    assert [r.message for r in entered] == ['"Ledger" has no attribute "__enter__"'], "the exit half is merged"


@pytest.mark.parametrize(
    ("tool", "code", "waiver"),
    [
        ("ruff", "E722", "# noqa: E722"),
        ("bandit", "B324", "# nosec"),
        ("bandit", "B602", "# nosec B602"),
        ("ruff", "S602", None),
        ("mypy", "attr-defined", "# type: ignore[attr-defined]"),
    ],
)
def test_waivers_are_reported_not_obeyed(stage: Stage, tool: str, code: str, waiver: str | None) -> None:
    waivers = {r.suppressed_by for r in recorded("defects", tool, stage).reports if r.code == code}
    assert waiver in waivers


def test_an_unparsable_file_leaves_the_rest_checked_by_all_tools(stage: Stage) -> None:
    for tool in TOOLS:
        result = recorded("syntax", tool, stage)
        assert seen(result.run) == ("partial", 3, 1), tool
        assert lost(result.run) == {"bad.py": "syntax", "worse.py": "syntax"}, tool
    assert ("user.py", 3, "attr-defined") in found(result)


def test_mypy_gives_up_after_four_repairs(stage: Stage) -> None:
    result = recorded("late_syntax", "mypy", stage)
    assert seen(result.run) == ("failed", 8, 0)
    assert result.reports == ()
    assert "mypy is still blocked after 4 repairs" in result.run.notes


def test_what_ruff_could_not_parse_spares_mypy_the_repairs(stage: Stage) -> None:
    scenario = SCENARIOS["late_syntax"]
    refused = recorded("late_syntax", "ruff", stage).run.skipped
    no_syntax = [loss.path for loss in refused if loss.reason == "syntax"]
    protocol = protocol_of(VERSIONS["mypy"], scenario, stage, no_syntax=no_syntax)
    blocked = recording("late_syntax", "mypy", stage)[0]
    result, asked = replay(protocol, [blocked, mypy_error("new.py", 2)])
    assert len(asked) == 2
    assert seen(result.run) == ("partial", 8, 1)


def test_layouts_that_block_mypy_are_checked_but_for_the_shadow(stage: Stage) -> None:
    result = recorded("layout", "mypy", stage)
    assert seen(result.run) == ("partial", 14, 13)
    assert lost(result.run) == {"typing.py": "shadows-stdlib"}
    checked = {report.path for report in result.reports if report.code == "attr-defined"}
    assert checked == {
        "utils.py", "tool/utils.py", "my-bot/run.py", "a-b/job.py", "c-d/job.py", "core.py", "core/__init__.py",
        "x-y/queue.py", "bot/main.py", "script",
    }  # fmt: skip
    assert not any(r.path == "bot/main.py" and r.line == 3 for r in result.reports), "queue is the library's"


@pytest.mark.parametrize("tool", TOOLS)
def test_hostile_names_come_back_as_they_were(stage: Stage, tool: str) -> None:
    result = recorded("names", tool, stage)
    assert seen(result.run) == ("complete", 8, 8)
    assert {report.path for report in result.reports} == set(SCENARIOS["names"].texts)


@pytest.mark.parametrize(("tool", "code"), [("ruff", "S102"), ("bandit", "B102")])
def test_encodings_hide_nothing(stage: Stage, tool: str, code: str) -> None:
    result = recorded("encodings", tool, stage)
    assert {("latin.py", 2, code), ("seven.py", 4, code), ("bom.py", 1, code), ("crlf.py", 2, code)} <= found(result)
    assert ("feed.py", 2, code) in found(result), "U+2028 ends no line"
    assert lost(result.run) == {"nul.py": "syntax"}
    assert all(loss.detail.isprintable() for loss in result.run.skipped)


def test_notebooks_are_seen_by_all_tools_at_the_line_of_the_file(stage: Stage) -> None:
    lines = SCENARIOS["notebook"].texts["research/idea.ipynb"].split("\n")
    places = {"ruff": "exec(", "bandit": "exec(", "mypy": "value.nothing"}
    for tool, text in places.items():
        result = recorded("notebook", tool, stage)
        assert seen(result.run) == ("complete", 1, 1)
        assert [text in lines[report.line - 1] for report in result.reports] == [True], tool


def test_a_notebook_without_lines_is_reported_by_those_of_its_source() -> None:
    notebook = Notebook.from_places("a\nb\nc\n", [(2, 1), (5, 1), (5, 2)])
    assert notebook.cells == {2: 1, 5: 2}
    assert [notebook.file_line(line) for line in (1, 3)] == [1, 3]


# --- outcomes made by hand ----------------------------------------------------------------------------------------

THREE = Scenario({"a.py": "import os\n", "b.py": "x = 1\n", "c.py": "y = 2\n"})
RULES = outcome([{"code": code, "status": {"Stable": {}}} for code in selections()["ruff"].codes])
USAGE = outcome(b"--target-version <V> [possible values: py39, py310, py314]")


def ruff_record(path: str, code: str | None, message: str = "m") -> dict[str, object]:
    place = {"row": 1, "column": 1}
    return {"code": code, "filename": path, "message": message, "location": place, "end_location": place}


def mypy_error(path: str, line: int, message: str = '"int" has no attribute "nothing"', code: str = "attr-defined",
               exit_code: int = 1) -> Finished:  # fmt: skip
    record: dict[str, object] = {"file": path, "line": line, "column": 0, "message": message, "hint": None}
    return outcome({**record, "code": code or None, "severity": "error"}, exit_code)


def by_hand(tool: str, outcomes: list[Finished], stage: Stage, scenario: Scenario = THREE) -> tuple[ToolResult, int]:
    protocol = protocol_of(VERSIONS[tool], scenario, stage)
    result, asked = replay(protocol, [RULES, USAGE, *outcomes] if tool == "ruff" else outcomes)
    return result, len(asked)


def bandit_output(*seen_files: str, errors: dict[str, str] | None = None) -> Finished:
    metrics: dict[str, object] = {f"././{name}": {"loc": 1} for name in [*seen_files, *(errors or {})]}
    metrics["_totals"] = {}
    told = [{"filename": f"././{name}", "reason": reason} for name, reason in (errors or {}).items()]
    return outcome({"errors": told, "metrics": metrics, "results": []})


def test_ruff_exit_zero_with_a_file_not_linted_is_partial(stage: Stage) -> None:
    result, _ = by_hand("ruff", [outcome([], stderr="warning: Failed to lint b.py: No such file")], stage)
    assert seen(result.run) == ("partial", 3, 2)
    assert lost(result.run) == {"b.py": "i/o"}


def test_ruff_is_read_leniently(stage: Stage) -> None:
    records = [
        {**ruff_record("a.py", "B006"), "unheard_of": 1},
        ruff_record("b.py", "E902", "cannot read"),
        ruff_record("c.py", None, "panicked at crates/x.rs"),
        ruff_record("elsewhere.py", "B006"),
    ]
    result, _ = by_hand("ruff", [outcome(records)], stage)
    assert found(result) == {("a.py", 1, "B006")}
    assert lost(result.run) == {"b.py": "i/o", "c.py": "tool-crash"}
    assert result.run.notes == ("a result for a file that was not sent was dropped",)


def test_ruff_that_refuses_the_command_has_failed(stage: Stage) -> None:
    result, _ = by_hand("ruff", [outcome(b"", 2, "error: ~/.x\x1b[31m " + "b" * 500)], stage)
    assert seen(result.run) == ("failed", 3, 0)
    assert "exit status 2" in result.run.notes
    assert all(note.isprintable() and len(note) <= 200 for note in result.run.notes)


def test_a_file_that_kills_the_tool_is_found_by_halving(stage: Stage) -> None:
    aborted = outcome(b"", 134)
    clean = outcome([])
    result, asked = by_hand("ruff", [aborted, clean, aborted, aborted, clean], stage)
    assert asked == 7
    assert lost(result.run) == {"b.py": "tool-crash"}
    assert seen(result.run) == ("partial", 3, 2)


def test_a_tool_that_always_crashes_is_given_up_soon(stage: Stage) -> None:
    many = Scenario({f"m{number:03}.py": "" for number in range(300)})
    protocol = protocol_of(VERSIONS["bandit"], many, stage)
    batch, asked = next(protocol), 0
    with pytest.raises(StopIteration) as ended:
        while True:
            asked += len(batch)
            batch = protocol.send(tuple(outcome(b"", -11, how="signal") for _ in batch))
    assert asked < 20
    assert ended.value.value.run.status == "failed"


def test_a_tool_that_prints_garbage_for_every_file_has_failed(stage: Stage) -> None:
    garbage = outcome(b"Segmentation fault, core dumped", 0)
    for tool in ("ruff", "bandit"):
        result, _ = by_hand(tool, [garbage] * 5, stage)
        assert seen(result.run) == ("failed", 3, 0), tool


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("how", ["timeout", "absent"])
def test_a_tool_that_did_not_finish_has_no_results(stage: Stage, tool: str, how: str) -> None:
    result, _ = by_hand(tool, [outcome(b"[]", None, how=how)], stage)
    assert seen(result.run) == ("missing" if how == "absent" else "failed", 3, 0)


@pytest.mark.parametrize(("how", "code"), [("signal", -9), ("flood", -25)])
def test_a_mypy_that_was_ended_has_failed(stage: Stage, how: str, code: int) -> None:
    result, _ = by_hand("mypy", [outcome(b"", code, how=how)], stage)
    assert result.run.status == "failed"


def test_a_tool_that_cannot_be_imported_is_missing(stage: Stage) -> None:
    absent = outcome(b"", 1, "/opt/python/bin/python: No module named mypy")
    result, _ = by_hand("mypy", [absent], stage)
    assert result.run.status == "missing"


def test_bandit_exits_zero_with_every_file_lost(stage: Stage) -> None:
    reason = "syntax error while parsing AST from file"
    result, _ = by_hand("bandit", [bandit_output(errors=dict.fromkeys(THREE.texts, reason))], stage)
    assert seen(result.run) == ("partial", 3, 0)


def test_a_file_that_bandit_does_not_mention_is_lost(stage: Stage) -> None:
    result, _ = by_hand("bandit", [bandit_output("a.py", "b.py")], stage)
    excludes = result.run.argv.index("-x")
    assert result.run.argv[excludes + 1] == "", "by default bandit leaves out whatever has .git in its path"
    assert lost(result.run) == {"c.py": "not-read"}


def test_ids_that_bandit_does_not_know_are_left_out_with_a_note(stage: Stage) -> None:
    refused = outcome(b"", 2, "ValueError: Unknown test found in profile: B615")
    result, asked = by_hand("bandit", [refused, bandit_output(*THREE.texts)], stage)
    assert (seen(result.run), asked) == (("complete", 3, 3), 2)
    assert result.run.notes == ("not known to this bandit: B615",)
    assert "B615" not in " ".join(result.run.argv)


@pytest.mark.parametrize(
    ("blocked", "path", "reason"),
    [
        (mypy_error("b.py", 1, "Unexpected EOF", "syntax", 2), "b.py", "syntax"),
        (mypy_error("b.py", -1, 'This file shadows library module "b"', "", 2), "b.py", "shadows-stdlib"),
        (mypy_error("b.py", -1, "Source file found twice under different module names", "", 2), "b.py",
         "duplicate-module"),
        (outcome(b"", 2, "b.py:7: error: INTERNAL ERROR -- Please try mypy master\nTraceback"), "b.py", "tool-crash"),
    ],
)  # fmt: skip
def test_what_blocks_mypy_is_taken_off_the_stage(stage: Stage, blocked: Finished, path: str, reason: str) -> None:
    result, asked = by_hand("mypy", [blocked, mypy_error("a.py", 1)], stage)
    assert (seen(result.run), asked) == (("partial", 3, 2), 2)
    assert lost(result.run) == {path: reason}
    assert not (stage.root / "types" / path).exists()


@pytest.mark.parametrize("told", ["stdout", "stderr"])
def test_a_second_module_of_one_name_gets_a_run_of_its_own(stage: Stage, told: str) -> None:
    blocked = (
        mypy_error("b.py", -1, 'Duplicate module named "b" (also at "x/b.py")', "", 2)
        if told == "stdout"
        else outcome(b"", 2, 'b.py: error: Duplicate module named "b" (also at "x/b.py")')
    )
    result, asked = by_hand("mypy", [blocked, mypy_error("a.py", 1), mypy_error("b.py", 1)], stage)
    assert (seen(result.run), asked) == (("complete", 3, 3), 3)
    assert {report.path for report in result.reports} == {"a.py", "b.py"}


def test_a_package_whose_directory_mypy_refuses_loses_its_init_only(stage: Stage) -> None:
    scenario = Scenario({"bot/__init__.py": "", "bot/m.py": "x = 1\n"})
    refused = outcome(b"", 2, "bot contains __init__.py but is not a valid Python package name")
    result, _ = by_hand("mypy", [refused, outcome(b"", 0)], stage, scenario)
    assert lost(result.run) == {"bot/__init__.py": "package-name"}


@pytest.mark.parametrize("code", [1, 2])
def test_a_traceback_of_mypy_is_no_clean_result(stage: Stage, code: int) -> None:
    result, _ = by_hand("mypy", [outcome(b"", code, "Traceback (most recent call last):\n  File x")], stage)
    assert seen(result.run) == ("failed", 3, 0)


def test_notes_hold_no_secret_and_no_path_of_the_machine(stage: Stage) -> None:
    told = f"{stage.root}/types/a.py: bad token ghp_{'a1B2' * 9}\n" + "line\n" * 50
    result, _ = by_hand("mypy", [outcome(b"", 3, told)], stage)
    text = "\n".join(result.run.notes)
    assert "<stage>/types/a.py" in text and "ghp_" in text
    assert "a1B2" not in text and str(stage.root) not in text
    assert len(result.run.notes) <= 20


# --- caching ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tool", ["ruff", "bandit"])
def test_a_cached_result_is_the_result(stage: Stage, tool: str) -> None:
    memory = Memory()
    config = ToolConfig(cache=memory)
    cold = recorded("defects", tool, stage, config)
    outcomes = recording("defects", tool, stage)[:2] if tool == "ruff" else []
    protocol = protocol_of(VERSIONS[tool], SCENARIOS["defects"], stage, config)
    warm, _ = replay(protocol, outcomes)
    assert warm == cold
    assert memory.hits == 1


def test_the_cache_holds_no_secret(stage: Stage) -> None:
    memory = Memory()
    for tool in ("ruff", "bandit"):
        recorded("defects", tool, stage, ToolConfig(cache=memory))
    assert not any(b"hunter22" in value for value in memory.values.values())


@pytest.mark.parametrize("junk", [b"", b"{", b"[]", b'{"reports": [1], "lost": [], "counts": {}}', b"[" * 100_000])
def test_a_malformed_cache_is_a_miss(stage: Stage, junk: bytes) -> None:
    memory = Memory()
    config = ToolConfig(cache=memory)
    cold = recorded("defects", "ruff", stage, config)
    memory.values = dict.fromkeys(memory.values, junk)
    assert recorded("defects", "ruff", stage, config) == cold


def test_a_crash_is_not_cached(stage: Stage) -> None:
    memory = Memory()
    protocol = protocol_of(VERSIONS["ruff"], THREE, stage, ToolConfig(cache=memory))
    replay(protocol, [RULES, USAGE, outcome(b"", 134), outcome([]), outcome(b"", -11, how="signal"), outcome([]),
                      outcome(b"", -11, how="signal")])  # fmt: skip
    assert memory.values == {}


def test_reports_survive_the_codec_and_forged_ones_do_not() -> None:
    report = Report("ruff", "B006", "a.py", 1, None, 2, 3, "m", "error", "# noqa", None)
    assert decode(json.loads(json.dumps(encode([report])))) == (report,)
    for name, value in (("line", "1"), ("line", True), ("line", -1), ("path", 3), ("column", 1.5), ("url", [])):
        with pytest.raises(ValueError, match="cached report"):
            decode([{**encode([report])[0], name: value}])


# --- the stage ----------------------------------------------------------------------------------------------------


def test_the_stage_is_private_and_writes_only_what_changed(tmp_path: Path) -> None:
    with Stage.open(tmp_path / "stage") as stage:
        view = stage.tree(Sources({"a.py": "x = 1\n", "pkg/b.py": "y\n", "old/c.py": ""}), converted=False)
        kept = view.root / "a.py"
        os.utime(kept, (1, 1))
        stage.tree(Sources({"a.py": "x = 1\n", "pkg/b.py": "z\n", "old": "print()\n"}), converted=False)
        assert kept.stat().st_mtime == 1
        assert (view.root / "pkg" / "b.py").read_text() == "z\n"
        assert (view.root / "old").is_file(), "a file where a directory was"
        for directory in (stage.root, stage.home, view.root, view.root / "pkg"):
            assert stat.S_IMODE(directory.stat().st_mode) == 0o700


def test_no_tool_sees_a_cookie_and_mypy_no_waiver(stage: Stage) -> None:
    text = "# coding: utf-7\nx = 1  # type: ignore\n# mypy: ignore-errors\n"
    sources = Sources({"a.py": text})
    defused = "# ----: ignore\n# ----: ignore-errors\n"
    assert (stage.tree(sources, converted=True).root / "a.py").read_text() == "#" + "-" * 14 + text[15:]
    assert (stage.types(sources, {"a.py": "a.py"}).root / "a.py").read_text() == "#" + "-" * 14 + "\nx = 1  " + defused


def test_planted_links_are_replaced_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside.py"
    outside.write_text("precious")
    with Stage.open(tmp_path / "stage") as stage:
        tree = stage.root / "tree"
        (tree / "a.py").symlink_to(outside)
        (tree / "pkg").symlink_to(tmp_path)
        stage.tree(Sources({"a.py": "x = 1\n", "pkg/outside.py": "y = 2\n"}), converted=False)
        assert outside.read_text() == "precious"
        assert (tree / "pkg" / "outside.py").read_text() == "y = 2\n"


def test_a_second_run_gets_a_stage_of_its_own(tmp_path: Path) -> None:
    with Stage.open(tmp_path / "stage") as first, Stage.open(tmp_path / "stage") as second:
        assert first.root != second.root
    with Stage.open(tmp_path / "stage") as third:
        assert third.root == first.root


def test_a_link_in_place_of_the_stage_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "stage").symlink_to(tmp_path / "real")
    with pytest.raises(StageError, match="remove it"):
        Stage.open(tmp_path / "stage")


@pytest.mark.parametrize("path", ["../a.py", "/etc/passwd", "a/../../b.py", "a//b.py", "a\0.py", "./a.py", ""])
def test_a_path_that_leaves_the_root_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="not a path below the root"):
        staged_path(path)


@pytest.mark.parametrize(
    ("text", "line", "expected"),
    [
        ("# -*- coding: latin-1 -*-\nx\n", 0, "#" + "-" * 24),
        ("#!/x\n# coding=utf-7\nx\n", 1, "#" + "-" * 13),
        ("\ufeff# coding: cp1252\n", 0, "\ufeff#" + "-" * 15),
        ("# coding: utf-8\n", 0, "# coding: utf-8"),
        ("x = 1\n# coding: latin-1\n", 1, "# coding: latin-1"),
        ("\n\n# coding: latin-1\n", 2, "# coding: latin-1"),
    ],
)
def test_a_cookie_is_overwritten_in_place(text: str, line: int, expected: str) -> None:
    changed = without_cookie(text)
    assert changed.split("\n")[line] == expected
    assert len(changed) == len(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x  # type: ignore[a]", "x  # ----: ignore[a]"),
        ("# mypy: ignore-errors", "# ----: ignore-errors"),
        ("x = []  # type: list[int]", "x = []  # type: list[int]"),
        ("from a.__init__ import b", "from a          import b"),
        ("from .__init__ import b", "from .         import b"),
        ("from ..__init__ import b", "from ..         import b"),
        ("from __init__ import b", "from __init__ import b"),
    ],
)
def test_text_for_mypy_keeps_its_columns(text: str, expected: str) -> None:
    assert for_mypy(text) == expected
    assert len(expected) == len(text)


def test_module_names_follow_mypy() -> None:
    staged = {"p/__init__.py", "p/q/m.py", "n/m.py", "a-b/p2/m.py", "a-b/r/__init__.py", "a-b/r/m.py", "src/k/m.py"}
    names = {at: module_name(at, staged, ("src",)) for at in staged}
    assert names == {
        "p/__init__.py": ("p", ""),
        "p/q/m.py": ("p.q.m", ""),
        "n/m.py": ("n.m", ""),
        "a-b/p2/m.py": ("m", "a-b/p2"),
        "a-b/r/__init__.py": ("r", "a-b"),
        "a-b/r/m.py": ("r.m", "a-b"),
        "src/k/m.py": ("k.m", "src"),
    }


def test_no_two_files_of_one_run_share_a_module_name() -> None:
    paths = ["x y/m.py", "x-y/m.py", "x_y.py", "k.py", "k.pyi", "k/__init__.py", "m.py", "1/__init__.py", "1/z.py"]
    made = plan(paths)
    assert sorted(made.staged.values()) == sorted(paths)
    assert made.skipped == ()
    for run in made.runs:
        names = [module_name(at, made.staged, made.bases)[0] for at in run]
        assert len(names) == len(set(names))
    assert "k/__init__.py" in made.runs[0], "a package hides a module of its name"


def test_the_plan_is_the_same_for_any_order() -> None:
    paths = list(SCENARIOS["layout"].texts)
    assert plan(paths) == plan(paths[::-1])


# --- processes ----------------------------------------------------------------------------------------------------


def command(tmp_path: Path, script: str, limit_s: float = 20.0) -> Command:
    return Command((sys.executable, "-I", "-c", script), tmp_path, tmp_path, limit_s)


def test_a_child_gets_nothing_of_our_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RUFF_CONFIG", "MYPYPATH", "PYTHONPATH", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("PATH", f"relative{os.pathsep}{os.pathsep}/usr/bin")
    finished = process.run(command(tmp_path, "import os, json; print(json.dumps(dict(os.environ)))"))
    assert json.loads(finished.stdout) | {"LC_CTYPE": ""} == environment(tmp_path, {}) | {"LC_CTYPE": ""}
    assert json.loads(finished.stdout)["PATH"] == "/usr/bin"


def test_a_timeout_ends_the_whole_group(tmp_path: Path) -> None:
    script = (
        "import subprocess, sys, time; "
        "print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']).pid, flush=True); time.sleep(60)"
    )
    finished = process.run(command(tmp_path, script, limit_s=1.0))
    assert finished.how == "timeout"
    grandchild = int(finished.stdout)
    for _ in range(200):
        if not _runs(grandchild):
            return
        time.sleep(0.01)
    pytest.fail("a grandchild outlived the run")


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_a_flood_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "OUTPUT_CAP", 1 << 16)
    finished = process.run(command(tmp_path, "while True: print('x' * 4096)"))
    assert finished.how == "flood"
    assert len(finished.stdout) <= 1 << 16


def test_a_killed_child_and_an_absent_one_are_told_apart(tmp_path: Path) -> None:
    killed = process.run(command(tmp_path, "import os; os.kill(os.getpid(), 9)"))
    assert (killed.how, killed.words) == ("signal", "ended by SIGKILL")
    absent = process.run(Command((str(tmp_path / "nothing"),), tmp_path, tmp_path, 1.0))
    assert absent.how == "absent"


def test_a_child_reads_no_input_and_spends_no_more_cpu_than_allowed(tmp_path: Path) -> None:
    script = "import resource, sys; print(repr(sys.stdin.read()), resource.getrlimit(resource.RLIMIT_CPU)[0] > 0)"
    assert process.run(command(tmp_path, script)).stdout == b"'' True\n"


# --- waivers, secrets, data -----------------------------------------------------------------------------------------


def test_free_text_never_widens_a_waiver() -> None:
    source = (
        "a = 1  # noqa: E501 because BLE001 is fine\n"
        "b = 1  # noqa: it is short\n"
        "c = '# noqa'\n"
        "d = 1  # NoQA:E722,S110\n"
        "e = 1  # nosec: B105 is a placeholder\n"
        "f = 1  # nosec: it is known\n"
        "g = 1  # type: ignore[attr-defined, misc]  # reason\n"
    )
    waivers = Waivers(source)
    assert waivers.of_ruff("E501", [1]) == "# noqa: E501"
    assert waivers.of_ruff("BLE001", [1]) is None
    assert waivers.of_ruff("E501", [2]) is None
    assert waivers.of_ruff("E501", [3]) is None
    assert waivers.of_ruff("S110", [4]) == "# noqa: S110"
    assert waivers.of_bandit(("B105", "hardcoded_password_string"), [5]) == "# nosec B105"
    assert waivers.of_bandit(("B608", "hardcoded_sql_expressions"), [5]) is None
    assert waivers.of_bandit(("B608", "hardcoded_sql_expressions"), [6]) == "# nosec"
    assert waivers.of_mypy("misc", [7]) == "# type: ignore[misc]"
    assert waivers.of_mypy("operator", [7]) is None
    assert blanket_waivers({"b.py": "x  # noqa\n", "a.py": source, "c.py": ""}) == (
        ("a.py", 6, "# nosec"),
        ("b.py", 1, "# noqa"),
    )


def test_waivers_of_a_whole_file() -> None:
    assert Waivers("# ruff: noqa\nx = 1\n").of_ruff("F821", [2]) == "# ruff: noqa"
    assert Waivers("# ruff: noqa: F821\nx = 1\n").of_ruff("E722", [2]) is None
    assert Waivers("# type: ignore\nx = 1\n").of_mypy("misc", [2]) == "# type: ignore"
    assert Waivers("x = 1\n# type: ignore\n").of_mypy("misc", [1]) is None
    assert Waivers("x = 1\n# mypy: ignore-errors\n").of_mypy("misc", [1]) == "# mypy: ignore-errors"
    assert Waivers('# mypy: disable-error-code="misc"\n').of_mypy("attr-defined", [1]) is None
    assert Waivers("x = (  # noqa\n").of_ruff("E722", [1]) == "# noqa", "also where the tokenizer gives up later"


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("key AKIAIOSFODNN7EXAMPLE in code", "IOSFODNN7EXAMPLE"),
        ("postgres://bot:s3cr3t-pw@db/x", "s3cr3t-pw"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIEow\n-----END RSA PRIVATE KEY-----", "MIIEow"),
        ("-----BEGIN PRIVATE KEY-----\nMIIEow", "MIIEow"),
        ("'0x" + "4f3edf983ac636a65a842ce7c78d9aa7" * 2 + "'", "4f3edf983ac636"),
        ("token=Zm9vYmFyMTIzNDU2Nzg5MEFCQ0RFRkdISUpLTE1OT1A=", "Zm9vYmFy"),
    ],
)
def test_key_shaped_text_is_redacted(text: str, hidden: str) -> None:
    shown = redact(text)
    assert hidden not in shown
    assert "<redacted" in shown


def test_ordinary_messages_are_left_alone() -> None:
    for text in (
        'Module "freqtrade.exchange.exchange_utils_timeframe" has no attribute "timeframe_to_prev_date"',
        'Incompatible types in assignment (expression has type "dict[str, list[Decimal]]", variable has type "int")',
        "Possible SQL injection vector through string-based query construction",
        "AbstractExchangePrivateWebsocketConnectionFactory",
    ):
        assert redact(text) == text


def test_a_literal_of_the_source_is_redacted_wherever_it_is_quoted() -> None:
    source = "API_KEY = 'tulip-7'\npassword: str = \"password\"\nconf['secret'] = 'lily-of'\n"
    assert literals_of(source) == {"tulip-7", "lily-of"}
    shown = redact("Literal['tulip-7'] and Literal['lily-of'] of password", literals_of(source))
    assert "tulip" not in shown and "lily" not in shown
    assert shown.endswith("of password")
    assert redact_quoted("Possible hardcoded password: 'secret'") == (
        "Possible hardcoded password: <redacted secret: 6 characters>"
    )


@pytest.mark.parametrize(
    ("code", "message", "kept"),
    [
        ("attr-defined", '"Ledger" has no attribute "flsh"', True),
        ("attr-defined", '"None" has no attribute "x"', False),
        ("attr-defined", '"Sequence[str]" has no attribute "append"', False),
        ("attr-defined", '"Callable[[int], str]" has no attribute "call_count"', False),
        ("attr-defined", 'Module "bot.main" has no attribute "x"', True),
        ("attr-defined", 'Module "os" has no attribute "startfile"', False),
        ("operator", 'Unsupported operand types for + ("int" and "str")', True),
        ("operator", 'Unsupported operand types for + ("int" and "None")', False),
        ("operator", 'Unsupported left operand type for + ("object")', False),
        ("arg-type", 'Argument 1 to "f" has incompatible type "Decimal"; expected "float"', True),
        ("arg-type", 'Argument 1 to "f" has incompatible type "str"; expected "int"', False),
        ("misc", 'Incompatible types in "await" (actual type "int", expected type "Awaitable[Any]")', True),
        ("misc", "Cannot assign to final name", False),
    ],
)
def test_which_records_of_mypy_are_definite(code: str, message: str, kept: bool) -> None:
    assert is_kept(code, message, {"bot.main"}) is kept


def test_the_attribute_is_looked_for_before_its_receiver() -> None:
    assert quoted_column('"é" and "Ledger" has no attribute "x"', "Ledger") == 1
    assert quoted_column('"Ledger" has no attribute "x"', "éé = Ledger(); x") == 16
    assert quoted_column('Name "y" is not defined', "z = 1") is None


def test_every_selected_code_has_a_severity_and_no_other_has() -> None:
    for tool, selection in selections().items():
        rated = {code for of, code in same().severities if of == tool}
        assert rated == set(selection.report), tool
        assert len(selection.report) == len(set(selection.report))
    table = same()
    for tool, code in {*table.families, *table.possible, *table.rollups, *table.production_only, *table.witness_only}:
        assert code in selections()[tool].report, (tool, code)


def test_every_selected_code_is_known_to_the_installed_tool(tmp_path: Path) -> None:
    ruff = find("ruff")
    assert ruff is not None
    answers = [
        process.run(Command((*ruff.start, *words), tmp_path, tmp_path, 20.0))
        for words in (("rule", "--all", "--output-format", "json"), ("check", "--isolated", "--help"))
    ]
    capabilities = read_capabilities(answers)
    assert capabilities is not None
    assert selections()["ruff"].known(capabilities.codes)[1] == ()
    assert re.fullmatch(r"py3\d+", capabilities.target)
    bandit = find("bandit")
    assert bandit is not None
    usage = process.run(Command((*bandit.start, "--help"), tmp_path, tmp_path, 20.0)).stdout.decode()
    assert set(selections()["bandit"].report) <= set(re.findall(r"\t(B\d{3})\t", usage))


def test_a_code_that_ruff_does_not_know_is_left_out_with_a_note(stage: Stage) -> None:
    fewer = outcome([{"code": code, "status": {"Stable": {}}} for code in selections()["ruff"].codes if code != "B006"])
    protocol = protocol_of(VERSIONS["ruff"], THREE, stage)
    result, asked = replay(protocol, [fewer, USAGE, outcome([])])
    assert result.run.notes == ("not known to this ruff: B006",)
    assert "py314" in asked[-1].argv


def test_versions() -> None:
    assert version_numbers("1.11.0rc1") == (1, 11, 0)
    assert Installed("mypy", "1.10.1", ()).too_old
    assert not Installed("ruff", "0.17.5", ()).too_old


# --- all together -------------------------------------------------------------------------------------------------


def test_tools_that_are_not_selected_are_off_and_absent_ones_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tools, "find", lambda name, python: Installed(name, "0.0.1", ()) if name == "ruff" else None)
    with tools.start(tmp_path / "stage", {"a.py": ""}, ToolConfig(tools=("ruff", "mypy"))) as handle:
        runs = {run.name: run for run, _ in handle.collect()}
    assert {name: run.status for name, run in runs.items()} == {"ruff": "missing", "bandit": "off", "mypy": "missing"}
    assert runs["ruff"].notes == ("ruff 0.0.1 is older than 0.9; upgrade it",)
    assert "install" in runs["mypy"].notes[0]


def test_an_unknown_tool_is_an_error_that_names_the_choice() -> None:
    with pytest.raises(ValueError, match="unknown tool 'pylint'; choose among ruff, bandit, mypy"):
        ToolConfig(tools=("pylint",))


def test_live_over_a_hostile_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    marker = tmp_path / "executed"
    target = tmp_path / "target"
    target.mkdir()
    attack = f"open({str(marker)!r}, 'w').close()\n"
    planted = {
        "pyproject.toml": (
            "[tool.mypy]\nplugins = ['evil.py']\n[tool.ruff]\nexclude = ['*']\nrequired-version = '==0.1'\n"
        ),
        ".bandit": "[bandit]\nskips = B102,B301\n",
        "setup.cfg": "[mypy]\nignore_errors = True\n",
        "ruff.toml": "extend = '/etc/passwd'\n",
        "evil.py": attack,
        "sitecustomize.py": attack,
    }
    for name, text in planted.items():
        (target / name).write_text(text)
    os.mkfifo(target / "pipe.py")
    monkeypatch.chdir(target)
    monkeypatch.setenv("PYTHONPATH", "")
    texts = {
        "evil.py": attack,
        "sitecustomize.py": attack,
        "mypy.py": attack,
        "bandit.py": attack,
        "typing.py": attack,
        "broken.py": "def broken(:\n",
        "bot/__init__.py": "",
        "bot/main.py": (
            "import pickle\n\n"
            "def load(data):\n"
            "    exec(data)  # nosec\n"
            "    return pickle.loads(data).x + (1).nothing\n"
        ),
    }
    memory = Memory()
    results = []
    for _ in range(2):
        config = ToolConfig(cache=memory, mypy_cache=tmp_path / "mypy-cache")
        with tools.start(tmp_path / "stage", texts, config) as handle:
            handle.start_mypy(set(texts) - {"broken.py"})
            results.append(handle.collect())
    assert results[0] == results[1], "a warm cache changes nothing"
    runs = {run.name: run for run, _ in results[0]}
    reports = {(r.tool, r.path, r.line, r.code): r for _, told in results[0] for r in told}
    assert not marker.exists()
    assert {name: seen(run) for name, run in runs.items()} == {
        "ruff": ("partial", 8, 7),
        "bandit": ("partial", 8, 7),
        "mypy": ("partial", 8, 6),
    }
    assert lost(runs["mypy"]) == {"broken.py": "syntax", "typing.py": "shadows-stdlib"}
    assert {
        ("ruff", "bot/main.py", 4, "S102"),
        ("bandit", "bot/main.py", 4, "B102"),
        ("bandit", "bot/main.py", 5, "B301"),
        ("mypy", "bot/main.py", 5, "attr-defined"),
    } <= set(reports)
    assert reports["bandit", "bot/main.py", 4, "B102"].suppressed_by == "# nosec"
    for run in runs.values():
        assert str(tmp_path) not in repr(run) and sys.executable not in repr(run)


def test_importing_the_tools_starts_none_of_them() -> None:
    code = "import auditor.tools, sys; print(sorted({'ruff', 'bandit', 'mypy', 'libcst'} & set(sys.modules)))"
    root = Path(tools.__file__).parents[2]
    shown = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    assert shown.stdout.strip() == "[]"
