"""One defect, one finding, several witnesses."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auditor.finding import Confidence, Finding, Refuted, Severity, Step, ToolRun, Witness
from auditor.tools.report import Report
from auditor.triage.merge import CONFIRMED, EXTERNAL, Counterpart, Judge, Merged, Verdict, families_of, merge, refuted

FAMILIES = {
    ("ruff", "ASYNC251"): (Counterpart("blocking-call-in-async", "super"),),
    ("ruff", "E722"): (Counterpart("bare-except"), Counterpart("swallowed-cancellation", "super")),
    ("ruff", "S301"): (Counterpart("unsafe-deserialization"),),
    ("bandit", "B301"): (Counterpart("unsafe-deserialization"),),
    ("ruff", "S608"): (Counterpart("sql-injection", "judge"),),
    ("bandit", "B608"): (Counterpart("sql-injection", "judge"),),
    ("ruff", "RUF006"): (Counterpart("dangling-task"),),
    ("mypy", "unused-awaitable"): (Counterpart("dangling-task"),),
}


def report(code: str, line: int = 1, *, waived: str | None = None, **changes: Any) -> Report:
    plain = Report("ruff", code, "a.py", line, 1, line, None, "m", suppressed_by=waived)
    return replace(plain, **changes)


def finding(rule: str, line: int = 1, **changes: Any) -> Finding:
    plain = Finding(rule, "a.py", line, 1, line, 2, "ours", "", Severity.HIGH, Confidence.POSSIBLE)
    return plain.with_(**changes)


def step(line: int, path: str = "a.py", column: int = 1) -> Step:
    return Step(path, line, column, "calls")


def lines_alone(path: str, line: int) -> tuple[int, int]:
    return line, line


def in_tens(path: str, line: int) -> tuple[int, int]:
    """Statements of ten lines: 1-10, 11-20, ..."""
    first = (line - 1) // 10 * 10 + 1
    return first, first + 9


def codes(item: Finding) -> list[str]:
    return [f"{each.tool}/{each.code}" for each in item.witnesses]


def rules(merged: Merged) -> list[str]:
    return [each.rule for each in merged.external]


def test_a_report_on_the_statement_of_our_finding_becomes_its_witness() -> None:
    merged = merge([finding("unsafe-deserialization", 3)], [report("S301", 5)], FAMILIES, in_tens)
    (only,) = merged.findings
    assert codes(only) == ["auditor/unsafe-deserialization", "ruff/S301"]
    assert only.confidence is Confidence.LIKELY
    assert only.severity is Severity.HIGH, "agreement never raises the severity"
    assert merged.external == ()


def test_a_finding_without_reports_is_its_own_witness() -> None:
    (only,) = merge([finding("bare-except")], [], FAMILIES, lines_alone).findings
    assert only.witnesses == (Witness("auditor", "bare-except"),)
    assert only.confidence is Confidence.POSSIBLE


def test_another_statement_another_file_or_another_family_is_another_defect() -> None:
    ours = [finding("bare-except", 3)]
    told = [report("E722", 4), report("E722", 3, path="b.py"), report("S301", 3)]
    merged = merge(ours, told, FAMILIES, lines_alone)
    assert codes(merged.findings[0]) == ["auditor/bare-except"]
    assert len(merged.external) == 3


def test_a_step_of_the_proof_on_the_statement_is_enough() -> None:
    ours = finding("blocking-call-in-async", 3, proof=(step(3), step(40, "retry.py")))
    merged = merge([ours], [report("ASYNC251", 40, path="retry.py")], FAMILIES, lines_alone)
    assert codes(merged.findings[0]) == ["auditor/blocking-call-in-async", "ruff/ASYNC251"]


@pytest.mark.parametrize(
    ("near", "far"),
    [
        (finding("unsafe-deserialization", 5), finding("unsafe-deserialization", 4)),
        (finding("unsafe-deserialization", 5, column=9), finding("unsafe-deserialization", 5, column=2)),
        (
            finding("unsafe-deserialization", 90, proof=(step(5, column=9),)),
            finding("unsafe-deserialization", 80, proof=(step(80), step(5, column=9))),
        ),
    ],
)
def test_the_nearest_finding_gets_the_report(near: Finding, far: Finding) -> None:
    for ours in ([near, far], [far, near]):
        merged = merge(ours, [report("S301", 5, column=9)], FAMILIES, in_tens)
        with_witness = [each for each in merged.findings if len(each.witnesses) > 1]
        assert [(each.line, each.column) for each in with_witness] == [(near.line, near.column)]


def test_one_code_is_one_witness_however_often_it_stands_on_the_statement() -> None:
    merged = merge([finding("bare-except", 1)], [report("E722", 1), report("E722", 2)], FAMILIES, in_tens)
    assert codes(merged.findings[0]) == ["auditor/bare-except", "ruff/E722"]
    assert merged.external == ()


def test_agreement_is_one_step_for_any_number_of_witnesses() -> None:
    told = [report("RUF006"), report("unused-awaitable", tool="mypy")]
    (only,) = merge([finding("dangling-task")], told, FAMILIES, lines_alone).findings
    assert only.confidence is Confidence.LIKELY
    (sure,) = merge(
        [finding("dangling-task", confidence=Confidence.CERTAIN)], told, FAMILIES, lines_alone
    ).findings
    assert sure.confidence is Confidence.CERTAIN


def test_a_waived_report_witnesses_without_agreeing() -> None:
    (only,) = merge(
        [finding("bare-except")], [report("E722", waived="# noqa")], FAMILIES, lines_alone
    ).findings
    assert codes(only) == ["auditor/bare-except", "ruff/E722"]
    assert only.confidence is Confidence.POSSIBLE
    assert only.state == "new", "a waiver for another tool hides nothing of ours"


def test_a_finding_with_the_default_of_its_rule_is_raised_from_there() -> None:
    ours, told = [finding("bare-except", confidence=None)], [report("E722")]
    defaults = {"bare-except": Confidence.POSSIBLE}
    assert merge(ours, told, FAMILIES, lines_alone, confidences=defaults).findings[0].confidence is Confidence.LIKELY
    assert merge(ours, told, FAMILIES, lines_alone).findings[0].confidence is None


def test_what_only_others_see_is_an_external_finding() -> None:
    (only,) = merge([], [report("B006", 7, message="mutable default")], FAMILIES, lines_alone).external
    assert (only.rule, only.chapter, only.line, only.message) == ("ruff/B006", EXTERNAL, 7, "mutable default")
    assert only.grade == (Severity.MEDIUM, Confidence.LIKELY)
    assert codes(only) == ["ruff/B006"]


def test_one_external_defect_is_one_finding_with_the_best_message() -> None:
    told = [
        report("F821", 4, message="Undefined name"),
        report("name-defined", 4, tool="mypy", message="Name is not defined"),
    ]
    (only,) = merge([], told, FAMILIES, lines_alone).external
    assert (only.rule, only.message) == ("mypy/name-defined", "Name is not defined")
    assert codes(only) == ["mypy/name-defined", "ruff/F821"]
    assert only.confidence is Confidence.CERTAIN, "two independent tools agree"


def test_ruff_and_bandit_are_one_voice() -> None:
    told = [report("S301"), report("B301", tool="bandit")]
    (only,) = merge([], told, FAMILIES, lines_alone).external
    assert only.rule == "ruff/S301"
    assert codes(only) == ["bandit/B301", "ruff/S301"]
    assert only.confidence is Confidence.LIKELY


def test_severity_is_from_the_table_not_from_the_tool() -> None:
    loud = Report("bandit", "B324", "a.py", 1, 1, None, None, "weak", "HIGH/HIGH", None, None)
    (only,) = merge([], [loud], FAMILIES, lines_alone).external
    assert only.grade == (Severity.LOW, Confidence.POSSIBLE)


def test_a_waived_external_finding_is_listed_as_suppressed() -> None:
    (only,) = merge([], [report("B006", waived="# noqa: B006")], FAMILIES, lines_alone).external
    assert only.state == "suppressed"
    told = [report("S301", waived="# noqa"), report("B301", tool="bandit")]
    (half,) = merge([], told, FAMILIES, lines_alone).external
    assert half.state == "new", "one tool was not told to be silent"


def test_families_come_from_what_rules_declare() -> None:
    declared = {
        "b-rule": {"ruff": {"E722": "super", "BLE001": "near"}, "mypy": {"misc": "merge"}},
        "a-rule": {"ruff": {"E722": "merge"}},
    }
    assert families_of(declared) == {
        ("mypy", "misc"): (Counterpart("b-rule"),),
        ("ruff", "E722"): (Counterpart("a-rule"), Counterpart("b-rule", "super")),
    }


# --- judgements -------------------------------------------------------------------------------------------------


def judge_of(answers: Mapping[str, Verdict]) -> Judge:
    return lambda rule, told: answers.get(rule)


def test_a_refuted_report_is_an_entry_of_the_appendix_not_a_finding() -> None:
    told = [report("S608", 4), report("B608", 4, tool="bandit")]
    judge = judge_of({"sql-injection": refuted("constant-fragments", "both parts are literals")})
    merged = merge([], told, FAMILIES, lines_alone, judge)
    row = Refuted("a.py", 4, "S608", "constant-fragments", "both parts are literals")
    assert merged.external == ()
    assert merged.refuted["ruff"] == (row,)
    assert merged.refuted["bandit"][0].code == "B608"
    assert merged.of(ToolRun("ruff", "1", "complete")).refuted == (row,)
    assert merged.of(ToolRun("mypy", "1", "complete")).refuted == ()


@pytest.mark.parametrize(
    ("verdict", "confidence"), [(None, Confidence.POSSIBLE), (CONFIRMED, Confidence.LIKELY)]
)
def test_relation_judge_without_an_answer_is_only_possible(
    verdict: Verdict | None, confidence: Confidence
) -> None:
    judge = judge_of({} if verdict is None else {"sql-injection": verdict})
    (only,) = merge([], [report("S608")], FAMILIES, lines_alone, judge).external
    assert only.confidence is confidence


def test_a_matched_report_is_not_judged() -> None:
    asked: list[str] = []

    def judge(rule: str, told: Report) -> Verdict | None:
        asked.append(told.code)
        return refuted("re-raised")

    merged = merge([finding("bare-except", 1)], [report("E722", 1), report("E722", 2)], FAMILIES, lines_alone, judge)
    assert set(asked) == {"E722"}
    assert len(merged.findings[0].witnesses) == 2
    assert [row.line for row in merged.refuted["ruff"]] == [2]


def test_one_confirmation_outweighs_a_refutation() -> None:
    judge = judge_of({"bare-except": refuted("handled"), "swallowed-cancellation": CONFIRMED})
    merged = merge([], [report("E722")], FAMILIES, lines_alone, judge)
    assert rules(merged) == ["ruff/E722"]
    assert merged.refuted == {}


def test_a_refutation_names_its_reason() -> None:
    with pytest.raises(ValueError, match="reason code"):
        refuted("")


def test_a_broad_handler_alone_is_no_finding_unless_our_rule_says_so() -> None:
    families = families_of({"broad-except": {"ruff": {"BLE001": "judge"}}})
    ours, told = [finding("broad-except", 1)], [report("BLE001", 1), report("BLE001", 2)]
    merged = merge(ours, told, families, lines_alone)
    assert codes(merged.findings[0]) == ["auditor/broad-except", "ruff/BLE001"]
    assert merged.external == ()
    assert rules(merge([], told, families, lines_alone, judge_of({"broad-except": CONFIRMED}))) == ["ruff/BLE001"] * 2


# --- roll-ups ---------------------------------------------------------------------------------------------------


def test_naive_times_are_one_finding_per_file() -> None:
    told = [report("DTZ005", 9), report("DTZ003", 4), report("DTZ005", 2, path="b.py")]
    first, second = merge([], told, FAMILIES, lines_alone).external
    assert (first.rule, first.path, first.line) == ("ruff/DTZ", "a.py", 4)
    assert [(each.line, each.name) for each in first.proof] == [(4, "DTZ003"), (9, "DTZ005")]
    assert first.message.endswith("(2 places)")
    assert codes(first) == ["ruff/DTZ003", "ruff/DTZ005"]
    assert (second.path, second.message.endswith("(1 place)")) == ("b.py", True)


def test_one_missing_attribute_of_one_class_is_one_finding() -> None:
    lacks = '"Connection" has no attribute "__enter__"'
    told = [report("attr-defined", n, tool="mypy", path=f"{n}.py", message=lacks) for n in range(1, 24)]
    told.append(report("attr-defined", 1, tool="mypy", path="z.py", message='"Connection" has no attribute "x"'))
    rolled, single = merge([], told, FAMILIES, lines_alone).external
    assert (rolled.rule, len(rolled.proof)) == ("mypy/attr-defined", 23)
    assert (single.path, single.proof) == ("z.py", ())


def test_waived_sites_are_rolled_up_apart() -> None:
    told = [report("DTZ005", 1), report("DTZ005", 2), report("DTZ005", 3, waived="# noqa")]
    states = {each.state: len(each.proof) for each in merge([], told, FAMILIES, lines_alone).external}
    assert states == {"new": 2, "suppressed": 1}


def test_a_comparison_that_cannot_be_equal_counts_in_production_only() -> None:
    told = [report("comparison-overlap", 1, tool="mypy", path=path) for path in ("bot.py", "tests/test_bot.py")]
    merged = merge([], told, FAMILIES, lines_alone, in_production=lambda path: not path.startswith("tests/"))
    assert [each.path for each in merged.external] == ["bot.py"]


# --- properties -------------------------------------------------------------------------------------------------

_REPORTS = st.lists(
    st.builds(
        report,
        st.sampled_from(["E722", "S301", "S608", "DTZ005", "B006", "ASYNC251", "F821"]),
        st.integers(1, 12),
        path=st.sampled_from(["a.py", "b.py"]),
        column=st.sampled_from([None, 1, 5]),
        waived=st.sampled_from([None, "# noqa"]),
    ),
    max_size=12,
)
_FINDINGS = st.lists(
    st.builds(
        finding,
        st.sampled_from(["bare-except", "unsafe-deserialization", "blocking-call-in-async", "sql-injection"]),
        st.integers(1, 12),
        path=st.sampled_from(["a.py", "b.py"]),
        proof=st.lists(st.builds(step, st.integers(1, 12)), max_size=2).map(tuple),
    ),
    max_size=6,
)


def _refute_odd_lines(rule: str, told: Report) -> Verdict | None:
    return refuted("handled") if told.line % 2 else None


@settings(max_examples=150, deadline=None)
@given(_FINDINGS, _REPORTS, st.randoms(use_true_random=False))
def test_the_order_of_the_inputs_does_not_matter(ours: list[Finding], told: list[Report], random: Random) -> None:
    expected = merge(ours, told, FAMILIES, in_tens, _refute_odd_lines)
    random.shuffle(ours)
    random.shuffle(told)
    assert merge(ours, told, FAMILIES, in_tens, _refute_odd_lines) == expected


@settings(max_examples=150, deadline=None)
@given(_FINDINGS, _REPORTS)
def test_no_report_is_lost(ours: list[Finding], told: list[Report]) -> None:
    merged = merge(ours, told, FAMILIES, in_tens, _refute_odd_lines)
    witnessed = {each for item in (*merged.findings, *merged.external) for each in item.witnesses}
    appendix = {Witness(tool, row.code) for tool, rows in merged.refuted.items() for row in rows}
    assert {Witness(each.tool, each.code) for each in told} <= witnessed | appendix
    assert len(merged.findings) == len(ours)
    for item in merged.external:
        assert item.grade
    for first, second in itertools.pairwise(merged.external):
        assert (first.path, first.line) <= (second.path, second.line)
