"""The writers: exact shapes, valid documents, hostile text that stays text, and every finding where it must stand."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import sys
import unicodedata
import xml.etree.ElementTree as ET
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from report_sample import AUDIT, CLEAN, HOSTILE, HOSTILE_PATH
from test_escape import TEXT, tokens

from auditor.finding import Audit, Finding, Fix, Location, Step
from auditor.report import FORMATS, cells, proof, render
from auditor.report.card import causes, first_sentence
from auditor.report.escape import visible
from auditor.report.terminal import summary_block

DATA = Path(__file__).parent / "data"
OPEN = [finding for finding in AUDIT.findings if finding.state != "suppressed"]
NEW = [finding for finding in AUDIT.findings if finding.state == "new"]


def text_of(audit: Audit, format: str, **options: Any) -> str:
    rendered = render(audit, format, **options)
    return rendered if isinstance(rendered, str) else rendered.decode("ascii")


# --- all formats ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("audit", [AUDIT, CLEAN], ids=["hostile", "clean"])
def test_a_writer_is_pure_and_writes_clean_utf8(format: str, audit: Audit) -> None:
    first = text_of(audit, format, reason="exit 0")
    assert first == text_of(audit, format, reason="exit 0")
    first.encode("utf-8")
    hidden = [c for c in first if c not in "\n\t" and unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp")]
    assert hidden == []
    assert not re.search("[\u202a-\u202e\u2066-\u2069\u200b-\u200f\ufeff]", first)
    assert not first or first.endswith("\n")


@pytest.mark.parametrize("format", FORMATS)
def test_no_format_hands_a_runner_a_command_of_the_tree(format: str) -> None:
    for row in text_of(AUDIT, format, reason=HOSTILE).splitlines():
        assert not re.search(r"##(vso)?\[", row)
        if format != "github":
            # `::: ` of a frame is none: its command would be named `:`.
            assert not re.match(r"\s*::(?!: )", row)


def test_an_unknown_format_or_option_is_named() -> None:
    with pytest.raises(ValueError, match="no output format `pdf`; there are full, concise"):
        render(AUDIT, "pdf")
    with pytest.raises(TypeError, match="colour"):
        render(AUDIT, "full", colour=True)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(TEXT)
def test_any_text_in_every_field(raw: str) -> None:
    finding = replace(
        AUDIT.findings[1],
        path=raw or "x",
        message=raw,
        symbol=raw,
        proof=(Step(raw or "x", 1, 1, raw), Step("b.py", 2, 1, f"[A] {raw}")),
        fix=Fix("display", raw),
        state="new",
    )
    texts = {raw or "x": raw, "b.py": raw}
    audit = replace(CLEAN, findings=(finding,), project=raw, argv=("auditor", raw), texts=texts)
    for format in FORMATS:
        text_of(audit, format).encode("utf-8")
    assert forbidden(text_of(audit, "markdown")) == []
    ET.fromstring(text_of(audit, "junit"))
    validate(json.loads(text_of(audit, "sarif")))
    assert len(text_of(audit, "concise").splitlines()) == 1


# --- JSON -----------------------------------------------------------------------------------------------------------

KEYS = {
    "": ["schema", "findings", "tools", "coverage", "risk", "version"],
    "finding": [
        "id",
        "rule",
        "path",
        "line",
        "column",
        "end_line",
        "end_column",
        "severity",
        "confidence",
        "message",
        "proof",
        "fix",
        "witnesses",
        "symbol",
        "chapter",
        "state",
    ],
    "step": ["path", "line", "column", "note"],
    "fix": ["applicability", "title", "edits"],
    "edit": ["path", "line", "column", "end_line", "end_column", "text"],
    "witness": ["tool", "code"],
    "tool": [
        "name",
        "version",
        "status",
        "argv",
        "exit_code",
        "expected",
        "seen",
        "skipped",
        "notes",
        "refuted",
        "metrics",
    ],
    "coverage": [
        "complete",
        "root",
        "commit",
        "dirty",
        "files",
        "lines",
        "skipped",
        "excluded",
        "links_not_followed",
        "calls",
        "awaits",
        "dynamic",
        "suppressions",
        "baseline",
        "since",
        "assumptions",
    ],
    "files": ["found", "analysed", "skipped", "excluded"],
    "suppression": ["rule", "path", "line", "reason", "ids", "used"],
}


def test_json_has_exactly_the_keys_of_the_schema_in_order() -> None:
    rendered = render(AUDIT, "json")
    assert isinstance(rendered, bytes)
    assert rendered.isascii()
    document = json.loads(rendered)
    assert list(document) == KEYS[""]
    assert document["schema"] == "auditor/1"
    assert [finding["id"] for finding in document["findings"]] == [finding.id for finding in AUDIT.findings]
    for finding in document["findings"]:
        assert list(finding) == KEYS["finding"]
        for step in finding["proof"]:
            assert list(step) == KEYS["step"]
        for witness in finding["witnesses"]:
            assert list(witness) == KEYS["witness"]
        if finding["fix"] is not None:
            assert list(finding["fix"]) == KEYS["fix"]
            assert [list(edit) for edit in finding["fix"]["edits"]] == [KEYS["edit"]]
    for run in document["tools"]:
        assert list(run) == KEYS["tool"]
    assert list(document["tools"][1]["metrics"]) == ["a", "z"]
    assert list(document["coverage"]) == KEYS["coverage"]
    assert list(document["coverage"]["files"]) == KEYS["files"]
    assert document["coverage"]["files"] == {"found": 6, "analysed": 5, "skipped": 1, "excluded": 12}
    assert [list(item) for item in document["coverage"]["suppressions"]] == [KEYS["suppression"]] * 2
    assert document["risk"] == AUDIT.risk


def test_json_keeps_lone_surrogates_and_hostile_text_as_they_are() -> None:
    finding = next(f for f in json.loads(render(AUDIT, "json"))["findings"] if f["rule"] == "decimal-from-float")
    assert finding["message"] == HOSTILE
    assert finding["path"] == HOSTILE_PATH
    assert (finding["severity"], finding["confidence"]) == ("high", "certain")


def test_jsonl_is_one_finding_per_line() -> None:
    rows = [json.loads(row) for row in text_of(AUDIT, "jsonl").splitlines()]
    assert rows == json.loads(render(AUDIT, "json"))["findings"]


# --- terminal -------------------------------------------------------------------------------------------------------

EXPECTED_CARD = """\
high[blocking-call-in-async]: submit() blocks the event loop: it reaches time.sleep through 2 calls  certain
  --> bot/executor.py:9:13  in Executor.submit
  |
9 |             self._retry(order)
  |             ^^^^^^^^^^^^^^^^^^ While it sleeps no order, cancel or stop is processed on this loop.
  |
 ::: bot/retry.py:5
  |     time.sleep(5)  # <U+001B>[31m ::error::x ## [error]y ``` <b>   _retry() calls time.sleep: blocks
  = fix: await asyncio.sleep in an async _retry
  = AUD-000000000001 · auditor explain blocking-call-in-async · also ruff ASYNC251
"""


def test_full_shows_frame_proof_and_fix() -> None:
    assert EXPECTED_CARD in text_of(AUDIT, "full")


def test_full_shows_new_findings_only_and_folds_possible_ones() -> None:
    rendered = text_of(AUDIT, "full")
    for finding in AUDIT.findings:
        assert (finding.id in rendered) == (finding.state == "new" and finding.rule != "no-rate-limit")
    assert "possible (1), not part of the gate:\n  bot/retry.py:5:5: medium [no-rate-limit]" in rendered


def test_full_without_source_shows_no_line_of_the_tree() -> None:
    assert "time.sleep(5)" not in text_of(AUDIT, "full", source=False)


def test_concise_is_what_the_problem_matcher_reads() -> None:
    matcher = re.compile(r"^(.+?):(\d+):(\d+): (critical|high|medium|low|info) \[([a-z0-9/A-Z-]+)\] (.+)$")
    rows = [matcher.match(row) for row in text_of(AUDIT, "concise").splitlines()]
    assert [(int(row[2]), row[5]) for row in rows if row] == [(f.line, f.rule) for f in NEW]
    assert len(rows) == len(NEW)


def test_grouped_names_each_file_once() -> None:
    rows = text_of(AUDIT, "grouped").splitlines()
    assert [row for row in rows if row == "bot/executor.py"] == ["bot/executor.py"]
    assert sum(row.startswith("  ") for row in rows) == len(NEW)


def test_colour_changes_no_character() -> None:
    plain = text_of(AUDIT, "full", reason="exit 3: incomplete")
    coloured = text_of(AUDIT, "full", reason="exit 3: incomplete", color=True)
    assert "\x1b[1;31mhigh" in coloured
    stripped = re.sub("\x1b\\[[0-9;]*m", "", coloured)
    assert "\x1b" not in stripped
    assert [row.rstrip() for row in stripped.splitlines()] == plain.splitlines()


def test_ascii_frames() -> None:
    assert text_of(AUDIT, "full", ascii=True).isascii()


def test_the_plain_path_does_not_load_rich() -> None:
    program = (
        "import sys; sys.path[:0] = ['tests', '.']\n"
        "from report_sample import AUDIT\nfrom auditor.report import render\n"
        "for name in ('full', 'concise', 'grouped', 'json', 'markdown'): render(AUDIT, name, reason='exit 0')\n"
        "print([name for name in sys.modules if name.split('.')[0] in ('rich', 'click', 'libcst')])"
    )
    root = Path(__file__).parent.parent
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_summary_block_is_ten_lines_at_most_and_ends_with_the_reason() -> None:
    runs = tuple(replace(AUDIT.tools[2], name=f"tool{n}") for n in range(9))
    block = summary_block(replace(AUDIT, tools=runs), "exit 3: incomplete: mypy failed").splitlines()
    assert len(block) == 10
    assert block[-1] == "exit 3: incomplete: mypy failed"
    assert block[-2] == "risk at least HIGH (59)"
    assert block[:3] == [
        "9 findings: 1 critical, 3 high, 2 medium, 3 low",
        "7 new, 1 baselined, 1 suppressed",
        "analysed 5 of 6 files, 1,402 lines; analysis incomplete",
    ]
    assert summary_block(CLEAN, "exit 0").splitlines() == [
        "0 findings",
        "0 new, 0 baselined, 0 suppressed",
        "analysed 3 of 3 files, 120 lines",
        "risk LOW (0)",
        "exit 0",
    ]


# --- proofs ---------------------------------------------------------------------------------------------------------


def test_a_chain_is_aligned() -> None:
    finding = next(f for f in AUDIT.findings if f.id == "AUD-000000000001")
    assert proof.text(finding, {}) == (
        "bot/executor.py:9   coroutine submit() calls _retry()",
        "bot/retry.py:5      _retry() calls time.sleep: blocks",
    )


def test_a_race_has_two_columns_in_time_order() -> None:
    finding = next(f for f in AUDIT.findings if f.rule == "await-atomicity")
    rows = [row.split("|") for row in proof.text(finding, AUDIT.texts)]
    assert [cell.strip() for cell in rows[0]] == ["task A", "task B"]
    assert {len(row) for row in rows} == {2}
    right = [row[1].strip() for row in rows[1:]]
    assert right[2:4] == ["bot/executor.py:6  reads self.balance", "bot/executor.py:11  writes self.balance"]
    assert [row[0].strip() == "" for row in rows[1:]][:5] == [False, False, True, True, False]


def frame_of(text: str, line: int, column: int, end_column: int) -> list[str]:
    shown = proof.frame({"a.py": text}, Location("a.py", line, column, line, end_column))
    assert shown is not None
    return list(proof.frame_text(shown))


def test_a_frame_marks_its_span() -> None:
    assert frame_of("one\ntwo()\nthree\n", 2, 1, 6) == ["  1 | one", "> 2 | two()", "    | ^^^^^", "  3 | three"]


@pytest.mark.parametrize(
    ("source", "column", "end", "carets"),
    [
        ("\tcall()", 2, 8, "        ^^^^^^"),
        ("x = '价格' + y", 12, 13, "                 ^"),
        ("a\u202eb", 3, 4, "             ^"),
        ("", 1, 1, "    ^"),
        ("ab", 40, 50, "      ^"),
    ],
)
def test_carets_stand_below_what_is_seen(source: str, column: int, end: int, carets: str) -> None:
    assert frame_of(source, 1, column, end)[1].removeprefix("    | ") == carets[4:]


def test_lines_are_those_of_an_editor() -> None:
    assert frame_of("a = '\u2028\x0c'\r\nb()\rc()\n", 2, 1, 4)[1] == "> 2 | b()"


def test_a_long_line_is_cut_around_the_span() -> None:
    rows = frame_of("x" * 5000 + "HERE" + "y" * 5000, 1, 5001, 5005)
    start = rows[1].index("^")
    assert rows[0][start : start + 4] == "HERE"
    assert rows[1].count("^") == 4
    assert len(rows[0]) < proof.WINDOW + 20


def test_there_is_no_frame_without_the_line() -> None:
    assert proof.frame({}, Location("a.py", 1)) is None
    assert proof.frame({"a.py": "x"}, Location("a.py", 7)) is None


NOTEBOOK = json.dumps(
    {
        "cells": [
            {"cell_type": "markdown", "metadata": {"source": "x"}, "source": ["# t\n"]},
            {"cell_type": "code", "source": ["import os\n", "x = 1\n"], "outputs": [{"text": ["source"]}]},
            {"source": ["y()"], "cell_type": "code"},
        ],
        "metadata": {},
    },
    indent=1,
)


def test_places_in_notebooks_are_told_by_cell() -> None:
    rows = NOTEBOOK.split("\n")
    numbers = {name: next(n for n, row in enumerate(rows, 1) if name in row) for name in ("import os", "x = 1", "y()")}
    assert [cells.place(NOTEBOOK, numbers[name]) for name in numbers] == [(2, 1), (2, 2), (3, 1)]
    assert cells.place(NOTEBOOK, 1) is None
    assert cells.place("not json", 1) is None
    assert proof.place({"n.ipynb": NOTEBOOK}, "n.ipynb", numbers["x = 1"]) == "n.ipynb:cell 2:2"


# --- Markdown -------------------------------------------------------------------------------------------------------

OUR_LINK = re.compile(r"#[a-z-]+|[A-Za-z0-9_.~%/-]*#L\d+")
FOLDS = re.compile(r"\A(?:</?details>|<summary>[a-z0-9, ]+</summary>|\s)*\Z", re.IGNORECASE)


def forbidden(markdown: str) -> list[str]:
    """Every HTML node but our folds, every image, every link that does not lead into the tree or the document."""
    front, body = markdown.removeprefix("---\n").split("\n---\n", 1)
    assert front
    found = []
    for token in tokens(body):
        if token.type in ("html_block", "html_inline") and not FOLDS.match(token.content):
            found.append(token.content)
        elif token.type == "image":
            found.append(str(token.attrs["src"]))
        elif token.type == "link_open" and not OUR_LINK.fullmatch(str(token.attrs["href"])):
            found.append(str(token.attrs["href"]))
    return found


def section(markdown: str, title: str) -> str:
    match = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", markdown, re.MULTILINE | re.DOTALL)
    assert match is not None, title
    return match[1]


def test_markdown_has_no_html_image_or_foreign_link() -> None:
    for audit in (AUDIT, CLEAN):
        assert forbidden(text_of(audit, "markdown")) == []


def test_front_matter_is_json_scalars() -> None:
    front = text_of(AUDIT, "markdown").removeprefix("---\n").split("\n---\n", 1)[0]
    read: dict[str, Any] = {}
    parent = ""
    for row in front.splitlines():
        key, value = re.fullmatch(r'( *(?:"[^"]*"|[a-z_]+)):(?: (.*))?', row).groups()  # type: ignore[union-attr]
        if value is None:
            parent = key
        else:
            read[f"{parent}.{json.loads(key)}" if key.startswith(" ") else key] = json.loads(value)
    assert read["schema"] == "auditor/1"
    assert read["project"] == HOSTILE
    assert read["counts.critical"] == 1
    assert read["risk.lower_bound"] is True
    assert read["tools.mypy"] == "2.4.1 (failed)"
    assert read["previous"] is None


def test_sections_stand_in_order() -> None:
    titles = re.findall(r"^## (.+)$", text_of(AUDIT, "markdown"), re.MULTILINE)
    assert titles == [
        "Executive summary",
        "Critical",
        "High",
        "Medium",
        "Low and info",
        "Possible",
        "Action plan",
        "Commands to reproduce",
        "Metrics",
        "Coverage and limits",
        "Refuted reports",
        "Suppressed and baselined",
        "Method",
    ]
    assert titles == re.findall(r"^## (.+)$", text_of(CLEAN, "markdown"), re.MULTILINE)


def test_links_inside_the_document_lead_to_its_headings() -> None:
    rendered = text_of(AUDIT, "markdown")
    slugs = {title.lower().replace(" ", "-") for title in re.findall(r"^#+ (.+)$", rendered, re.MULTILINE)}
    assert set(re.findall(r"\]\(#([a-z-]+)\)", rendered)) <= slugs


def test_the_action_plan_holds_every_open_finding_once() -> None:
    listed = re.findall(r"AUD-[0-9a-f]{12}", section(text_of(AUDIT, "markdown"), "Action plan"))
    assert sorted(listed) == sorted(finding.id for finding in OPEN)


def test_the_action_plan_goes_by_severity_effort_and_chapter() -> None:
    plan = section(text_of(AUDIT, "markdown"), "Action plan")
    stages = [re.findall(r"AUD-0*(\d+)", part) for part in plan.split("### ")[1:]]
    assert [sorted(stage) for stage in stages] == [["1", "2", "3"], ["4", "5"], ["6", "7", "8"]]


def test_an_incomplete_analysis_is_the_first_thing_said() -> None:
    body = text_of(AUDIT, "markdown").split("\n---\n", 1)[1]
    assert body.strip().splitlines()[2].startswith("**Analysis incomplete: 1 file not analysed, auditor partial, mypy")
    assert "at least HIGH (59)" in body
    assert "Nothing is called clean" in body
    assert "incomplete" not in text_of(CLEAN, "markdown")


def test_a_clean_report_says_what_was_looked_at() -> None:
    rendered = text_of(CLEAN, "markdown")
    assert "No finding is open in 3 analysed files." in rendered
    for rule in CLEAN.pages:
        assert f"`{rule}`" in section(rendered, "Executive summary")


def test_each_sentence_of_the_summary_has_ids() -> None:
    summary = section(text_of(AUDIT, "markdown"), "Executive summary")
    rows = [row for row in summary.splitlines() if row.startswith("- ")]
    assert len(rows) > 4
    assert all(re.search(r"`AUD-[0-9a-f]{12}`( and \d+ more)?\.$", row) for row in rows)


def test_one_root_cause_is_one_card() -> None:
    rendered = text_of(AUDIT, "markdown")
    cards = re.findall(r"^#### ([A-Z]\d+)\. (.+)$", rendered, re.MULTILINE)
    assert [name for name, _ in cards] == ["C1", "H1", "H2", "M1"]
    assert "<summary>1 other place</summary>" in section(rendered, "High")


def test_a_truncated_report_says_so_and_keeps_the_plan() -> None:
    rendered = text_of(AUDIT, "markdown", max_findings=1)
    assert len(re.findall(r"^#### ", rendered, re.MULTILINE)) == 1
    assert "**2 high cards left out (`--max-findings 1`); the action plan lists every finding.**" in rendered
    assert len(re.findall(r"AUD-[0-9a-f]{12}", section(rendered, "Action plan"))) == len(OPEN)


def test_the_risk_table_adds_up() -> None:
    rows = re.findall(r"\| *([^|]*) *\| (\d+) \| ([\d.]+) \|$", section(text_of(AUDIT, "markdown"), "Method"), re.M)
    *parts, total = [round(float(points), 2) for _, _, points in rows]
    assert len(parts) == 11
    assert round(sum(parts), 2) == total == AUDIT.risk["points"]


def test_permalinks_only_of_a_clean_commit() -> None:
    url = "https://github.com/o/r"
    commit = AUDIT.coverage.commit
    assert f"({url}/blob/{commit}/bot/config.py#L3)" in text_of(AUDIT, "markdown", repository=url)
    gitlab = text_of(AUDIT, "markdown", repository="https://gitlab.com/o/r")
    assert f"(https://gitlab.com/o/r/-/blob/{commit}/bot/config.py#L3)" in gitlab
    dirty = replace(AUDIT, coverage=replace(AUDIT.coverage, dirty=True))
    assert url not in text_of(dirty, "markdown", repository=url)
    assert url not in text_of(AUDIT, "markdown", repository=url, link_style="relative")


def test_what_changed_since_the_last_audit() -> None:
    previous = json.loads(render(AUDIT, "json"))
    gone = {**previous["findings"][0], "id": "AUD-00000000dead", "message": "an `old` one"}
    previous["findings"] = [*previous["findings"][1:], gone]
    since = section(text_of(AUDIT, "markdown", previous=previous), "Since the last audit")
    assert f"- New: `{AUDIT.findings[0].id}`." in since
    assert "- Fixed: `AUD-00000000dead` an `old` one." in since
    assert f"- Still open: {len(OPEN) - 1}." in since


def test_mermaid_stands_beside_the_text() -> None:
    rendered = text_of(AUDIT, "markdown", mermaid=True)
    assert "```mermaid\nflowchart TD\n  n0[" in rendered
    assert "bot/retry.py:5      _retry() calls time.sleep: blocks" in rendered


def test_columns_without_data_are_left_out() -> None:
    metrics = section(text_of(AUDIT, "markdown"), "Metrics")
    assert "| directory | lines | findings | coroutines | findings per 1,000 lines |" in metrics
    assert "| `bot` | 1,200 | 6 | 3 | 5.0 |" in metrics


def test_first_sentences() -> None:
    assert first_sentence("One, e.g. this. Two.") == "One, e.g. this."
    assert first_sentence("A price of 1.5\nis fine.\n\nNext.") == "A price of 1.5 is fine."
    assert first_sentence("") == ""


def test_causes_keep_order_and_lose_nothing() -> None:
    grouped = causes(AUDIT.findings)
    assert sorted(f.id for cause in grouped for f in cause.findings) == sorted(f.id for f in AUDIT.findings)
    order = [f.id for f in AUDIT.findings]
    assert [cause.first.id for cause in grouped] == sorted((c.first.id for c in grouped), key=order.index)


# --- SARIF ----------------------------------------------------------------------------------------------------------


def validate(log: dict[str, Any]) -> None:
    schema = json.loads((DATA / "sarif-schema-2.1.0.json").read_text("utf-8"))
    kind = jsonschema.validators.validator_for(schema)
    kind.check_schema(schema)
    errors = [f"{list(e.path)}: {e.message}" for e in kind(schema, format_checker=kind.FORMAT_CHECKER).iter_errors(log)]
    assert errors == []


def sarif_run(audit: Audit = AUDIT, **options: Any) -> dict[str, Any]:
    log = json.loads(text_of(audit, "sarif", **options))
    validate(log)
    run: dict[str, Any] = log["runs"][0]
    return run


@pytest.mark.parametrize("options", [{}, {"repository": "https://github.com/o/r", "rules_url": "https://a.example/r"}])
def test_sarif_is_valid(options: dict[str, str]) -> None:
    for audit in (AUDIT, CLEAN):
        sarif_run(audit, **options)


def test_sarif_results_refer_to_their_rules() -> None:
    run = sarif_run()
    assert len(run["results"]) == len(AUDIT.findings)
    for result, finding in zip(run["results"], AUDIT.findings, strict=True):
        if "rule" in result:
            component = run["tool"]["extensions"][result["rule"]["toolComponent"]["index"]]
            assert component["name"] == "ruff"
            assert component["rules"][result["rule"]["index"]]["id"] == finding.rule
        else:
            assert run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == finding.rule
        assert result["partialFingerprints"] == {"auditor/v1": finding.id}


def test_sarif_races_are_two_thread_flows() -> None:
    result = sarif_run()["results"][0]
    flows = result["codeFlows"][0]["threadFlows"]
    assert [flow["id"] for flow in flows] == ["task A", "task B"]
    assert [[step["executionOrder"] for step in flow["locations"]] for flow in flows] == [[1, 2, 5], [3, 4]]
    assert "[A: reads self.balance](1)" in result["message"]["text"]


def test_sarif_grades_security_rules_only() -> None:
    rules = {rule["id"]: rule["properties"] for rule in sarif_run()["tool"]["driver"]["rules"]}
    assert {key: value.get("security-severity") for key, value in rules.items() if "security-severity" in value} == {
        "hardcoded-secret": "5.5"
    }
    assert "external/cwe/cwe-362" in rules["await-atomicity"]["tags"]


def test_sarif_says_what_was_lost_and_what_is_silenced() -> None:
    run = sarif_run()
    assert run["invocations"][0]["executionSuccessful"] is False
    texts = [item["message"]["text"] for item in run["invocations"][0]["toolExecutionNotifications"]]
    assert [text.split(":")[0] for text in texts] == [
        "auditor did not analyse bot/broken.py (syntax)",
        "auditor partial",
        "mypy failed",
    ]
    silenced = {r["ruleId"]: r["suppressions"] for r in run["results"] if "suppressions" in r}
    assert silenced == {
        "blocking-call-in-async": [{"kind": "external", "justification": "in the baseline"}],
        "hardcoded-secret": [{"kind": "inSource", "justification": "a fake key | of the test"}],
    }
    assert len(sarif_run(open_only=True)["results"]) == len(NEW)


def test_sarif_over_the_limit_keeps_the_gravest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("auditor.report.sarif.RESULTS", 2)
    run = sarif_run()
    assert [r["partialFingerprints"]["auditor/v1"] for r in run["results"]] == [f.id for f in AUDIT.findings[:2]]
    assert run["invocations"][0]["toolExecutionNotifications"][-1]["message"]["text"].startswith("7 results beyond")


def test_sarif_without_source_has_no_snippet() -> None:
    assert "self._retry(order)" in text_of(AUDIT, "sarif")
    assert "self._retry(order)" not in text_of(AUDIT, "sarif", source=False)


# --- builds and reviews ---------------------------------------------------------------------------------------------

COMMAND = re.compile(r"::(error|warning|notice) [a-zA-Z]+=[^,:]*(,[a-zA-Z]+=[^,:]*)*::[^\r\n]*")


def test_github_lines_are_our_commands() -> None:
    rows = text_of(AUDIT, "github").split("\n")
    assert rows.pop() == ""
    assert all(COMMAND.fullmatch(row) for row in rows)
    assert rows[-1] == "::notice title=auditor::1 more, see report"
    hostile = next(row for row in rows if "decimal-from-float" in row)
    assert "%0A%3A%3Aerror%3A%3A" in hostile
    assert "%0A::error file=x::pwned%0A## [error]pwned" in hostile


def test_github_shows_ten_of_a_kind() -> None:
    many = tuple(replace(f, id=f"AUD-{n:012x}", state="new") for f in AUDIT.findings for n in range(30))
    rows = text_of(replace(AUDIT, findings=many), "github").splitlines()
    kinds = [row.split(" ")[0] for row in rows]
    assert {kind: kinds.count(kind) for kind in kinds} == {"::error": 10, "::warning": 10, "::notice": 10}
    assert rows[-1] == f"::notice title=auditor::{len(many) - 28} more, see report"


def test_gitlab_holds_open_findings_with_distinct_fingerprints() -> None:
    records = json.loads(text_of(AUDIT, "gitlab"))
    assert [record["fingerprint"] for record in records] == [finding.id for finding in OPEN]
    assert records[0] == {
        "description": AUDIT.findings[0].message,
        "check_name": "await-atomicity",
        "fingerprint": "AUD-000000000003",
        "severity": "blocker",
        "location": {"path": "bot/executor.py", "lines": {"begin": 11, "end": 11}},
    }


def test_junit_parses_and_counts() -> None:
    root = ET.fromstring(text_of(AUDIT, "junit"))
    suites = {suite.get("name"): suite for suite in root}
    for suite in root:
        for tag, attribute in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
            assert len(suite.findall(f"testcase/{tag}")) == int(suite.get(attribute, "-1"))
        assert len(suite.findall("testcase")) == int(suite.get("tests", "-1"))
    assert len(root.findall("testsuite/testcase/failure")) == len(NEW)
    assert len(suites["auditor.coverage"].findall("testcase/error")) == 1
    passed = [case.get("name") for case in suites["auditor.resources"]]
    assert passed == ["unbounded-queue"]
    clean = ET.fromstring(text_of(CLEAN, "junit"))
    assert len(clean.findall("testsuite/testcase")) == len(CLEAN.pages) + 1
    assert not [case for suite in clean for case in suite if len(case)]


def test_rdjson_columns_are_bytes() -> None:
    finding = replace(NEW[1], path="a.py", line=1, column=8, end_line=1, end_column=11, fix=None, proof=())
    audit = replace(AUDIT, findings=(finding,), texts={"a.py": "x='价格'+abc\n"})
    diagnostic = json.loads(text_of(audit, "rdjson"))["diagnostics"][0]
    assert diagnostic["location"]["range"] == {"start": {"line": 1, "column": 12}, "end": {"line": 1, "column": 15}}
    document = json.loads(text_of(AUDIT, "rdjson"))
    assert [item["code"]["value"] for item in document["diagnostics"]] == [finding.rule for finding in NEW]
    assert document["diagnostics"][1]["suggestions"][0]["text"] == "await "


def test_the_step_summary_fits_a_comment() -> None:
    rendered = text_of(AUDIT, "summary", reason="exit 3: incomplete")
    assert rendered.startswith("<!-- auditor:report -->\n**Analysis incomplete.** **Risk at least HIGH (59)**")
    assert rendered.endswith("exit 3: incomplete\n")
    page = tokens(rendered)
    html = [token.content for token in page if token.type in ("html_block", "html_inline")]
    assert [part.strip().splitlines()[0] for part in html] == ["<!-- auditor:report -->"]
    many: tuple[Finding, ...] = tuple(replace(f, message=HOSTILE * 20) for f in NEW) * 20
    long = text_of(replace(AUDIT, findings=many), "summary")
    assert len(long) <= 65_536
    assert re.search(r"^\d+ more stand in the report\.$", long, re.MULTILINE)


# --- HTML -----------------------------------------------------------------------------------------------------------


class Page(HTMLParser):
    """Elements with their attributes in order, and a check that each end tag closes the element that is open."""

    EMPTY = frozenset({"meta", "br", "input", "rect"})

    def __init__(self, source: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: dict[str, str] = {}
        self._open: list[str] = []
        self.feed(source)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.EMPTY:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text[self._open[-1] if self._open else ""] = data


ELEMENTS = (
    {"html", "head", "meta", "title", "style", "script", "body", "h1", "h2", "h3", "p", "div", "b", "br", "span", "a"}
    | {"table", "thead", "tbody", "tr", "th", "td", "ol", "ul", "li", "code", "pre", "mark", "article"}
    | {"svg", "text", "rect", "form", "label", "select", "option", "input", "output"}
)


def test_html_has_only_our_elements_and_no_foreign_address() -> None:
    for audit in (AUDIT, CLEAN):
        page = Page(text_of(audit, "html", repository="https://github.com/o/r"))
        assert {tag for tag, _ in page.elements} <= ELEMENTS
        names = {name for _, attributes in page.elements for name in attributes}
        assert not [name for name in names if name.startswith("on") or name in ("style", "src", "action")]
        ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
        assert len(ids) == len(set(ids))
        for _, attributes in page.elements:
            href = attributes.get("href")
            if href is not None:
                assert href.startswith("https://github.com/o/r/blob/") or href.removeprefix("#") in ids


def test_html_allows_its_own_style_and_script_only() -> None:
    rendered = text_of(AUDIT, "html")
    page = Page(rendered)
    policy = next(a["content"] for tag, a in page.elements if tag == "meta" and "http-equiv" in a)
    assert policy is not None
    for name in ("style", "script"):
        content = re.findall(f"<{name}>(.*?)</{name}>", rendered, re.DOTALL)
        assert len(content) == 1
        digest = base64.b64encode(hashlib.sha256(content[0].encode()).digest()).decode()
        assert f"{name}-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'; ")
    assert "innerHTML" not in rendered


def test_html_holds_every_finding_in_its_table_and_its_data() -> None:
    rendered = text_of(AUDIT, "html")
    page = Page(rendered)
    rows = [attributes["data-id"] for tag, attributes in page.elements if tag == "tr" and "data-id" in attributes]
    assert rows == [finding.id for finding in AUDIT.findings]
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', rendered, re.DOTALL)
    assert data is not None
    records = json.loads(data[1])["findings"]
    assert [record["id"] for record in records] == rows
    assert records[3]["path"] == visible(HOSTILE_PATH)
    articles = [attributes["id"] for tag, attributes in page.elements if tag == "article"]
    assert articles == [finding.id for finding in OPEN if finding.rule != "no-rate-limit"]


def test_html_stays_small() -> None:
    many = tuple(replace(NEW[1], id=f"AUD-{n:012x}") for n in range(200))
    rendered = text_of(replace(AUDIT, findings=many), "html")
    assert len(rendered) < 300_000 + 3_000 * len(many)


def test_html_without_source_shows_no_line_of_the_tree() -> None:
    assert "time.sleep(5)" in text_of(AUDIT, "html")
    assert "time.sleep(5)" not in text_of(AUDIT, "html", source=False)
