"""What a suppression hides, what it does not, and what is said about it."""


from __future__ import annotations

import ast
import time
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.finding import Finding, Severity, Step
from auditor.source.comments import comments
from auditor.triage.suppress import MAX_DIRECTIVES, Policy, Statement, Suppressed, is_reason, suppress

KNOWN = frozenset({"blocking-call-in-async", "float-money", "god-class"})
POLICY = Policy(KNOWN)
WHY = "-- runs before the loop starts"


def statements_of(source: str) -> list[Statement]:
    """The spans, by Python's own parser."""
    made = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.stmt):
            body = getattr(node, "body", None)
            first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", ()))])
            end = node.end_lineno or node.lineno
            header = end if body is None else max(node.lineno, body[0].lineno - 1)
            made.append(Statement(first, header, end, isinstance(node, ast.FunctionDef | ast.ClassDef)))
    return made


def finding(line: int, rule: str = "float-money", path: str = "a.py", steps: Sequence[tuple[str, int]] = ()) -> Finding:
    proof = tuple(Step(p, at, 1, "note", "") for p, at in steps)
    return Finding(rule, path, line, 1, line, 2, "m", proof=proof, id=f"AUD-{path}-{line}-{rule}")


def run(sources: str | dict[str, str], findings: Sequence[Finding], policy: Policy = POLICY) -> Suppressed:
    texts = {"a.py": sources} if isinstance(sources, str) else sources
    read = {path: comments(text) for path, text in texts.items()}
    return suppress(findings, read, lambda path: statements_of(texts[path]), policy)


def hidden(sources: str | dict[str, str], findings: Sequence[Finding], policy: Policy = POLICY) -> list[int]:
    return [f.line for f in run(sources, findings, policy).findings if f.state == "suppressed"]


SOURCE = """\
# auditor: ignore[float-money] -- whole dollars
x = 1
y = 2  # auditor: ignore[float-money] -- whole dollars
z = f(
    3,
    4,
)  # auditor: ignore[float-money] -- whole dollars


@dec
# auditor: ignore[float-money] -- whole dollars
def g(
    a,
):
    b = 1
    return b
"""


class TestScope:
    def test_lines(self) -> None:
        lines = [finding(line) for line in range(1, 17)]
        assert hidden(SOURCE, lines) == [2, 3, 4, 5, 6, 7, 10, 11, 12, 13, 14]

    def test_only_its_rules(self) -> None:
        source = f"x = 1  # auditor: ignore[float-money, god-class] {WHY}\n"
        made = run(source, [finding(1), finding(1, "god-class"), finding(1, "blocking-call-in-async")])
        assert [f.state for f in made.findings] == ["suppressed", "suppressed", "new"]
        assert made.notices == ()
        (entry,) = made.suppressions
        assert entry.rules == ("float-money", "god-class")
        assert (entry.path, entry.line, entry.reason, entry.used) == ("a.py", 1, "runs before the loop starts", True)
        assert entry.ids == ("AUD-a.py-1-float-money", "AUD-a.py-1-god-class")

    def test_scope(self) -> None:
        source = (
            f"class A:  # auditor: ignore-scope[float-money] {WHY}\n    def f(self):\n        return 1\n\n\n"
            f"# auditor: ignore-scope[float-money] {WHY}\n@dec\ndef g():\n    x = 1\n\n\ny = 1\n"
        )
        assert hidden(source, [finding(line) for line in range(1, 13)]) == [1, 2, 3, 7, 8, 9]

    def test_scope_needs_one(self) -> None:
        made = run(f"x = 1  # auditor: ignore-scope[float-money] {WHY}\n", [finding(1)])
        assert made.findings[0].state == "new"
        assert [n.rule for n in made.notices] == ["unknown-suppression"]
        assert "`def` or `class`" in made.notices[0].message

    def test_inside_another_statement_the_next_one_is_not_meant(self) -> None:
        source = f"x = f(\n    # auditor: ignore-scope[float-money] {WHY}\n    1,\n)\n\n\ndef g():\n    y = 1\n"
        assert hidden(source, [finding(line) for line in range(1, 9)]) == []

    def test_file(self) -> None:
        source = f"#!/usr/bin/env python\n# auditor: ignore-file[float-money] {WHY}\nx = 1\ny = 2\n"
        assert hidden(source, [finding(1), finding(4), finding(99)]) == [1, 4, 99]

    def test_file_only_at_the_top(self) -> None:
        for source in (
            f"x = 1\n# auditor: ignore-file[float-money] {WHY}\ny = 2\n",
            f"x = 1  # auditor: ignore-file[float-money] {WHY}\n",
        ):
            made = run(source, [finding(1)])
            assert made.findings[0].state == "new"
            assert "before any statement" in made.notices[0].message

    def test_inside_a_string_it_is_text(self) -> None:
        made = run(f'x = """\n# auditor: ignore[float-money] {WHY}\n"""\n', [finding(1), finding(2)])
        assert (made.suppressions, made.notices) == ((), ())

    def test_other_tools_in_the_comment(self) -> None:
        source = f"x = 1  # type: ignore[x]  # auditor: ignore[float-money] {WHY}  # noqa: E501\n"
        made = run(source, [finding(1)])
        assert made.suppressions[0].reason == "runs before the loop starts"
        assert made.findings[0].state == "suppressed"

    def test_one_line_compound_and_semicolons(self) -> None:
        source = (
            f"if a: x = 1  # auditor: ignore[float-money] {WHY}\nb = 1; c = 2  # auditor: ignore[float-money] {WHY}\n"
        )
        assert hidden(source, [finding(1), finding(2)]) == [1, 2]

    def test_last_comment_of_a_file(self) -> None:
        made = run(f"x = 1\n# auditor: ignore[float-money] {WHY}\n", [finding(1)])
        assert made.findings[0].state == "new"
        assert [n.rule for n in made.notices] == ["unused-suppression"]


class TestVia:
    sources = {
        "a.py": "async def f():\n    g()\n",
        "b.py": f"def g():\n    sleep(1)  # auditor: ignore[blocking-call-in-async, via] {WHY}\n",
    }
    found = finding(2, "blocking-call-in-async", steps=[("a.py", 2), ("b.py", 2)])

    def test_any_step(self) -> None:
        made = run(self.sources, [self.found, finding(2, "float-money", steps=[("b.py", 2)])])
        assert [f.state for f in made.findings] == ["suppressed", "new"]
        assert made.suppressions[0].used
        assert made.notices == ()

    def test_without_via_only_the_primary_location(self) -> None:
        sources = {path: text.replace(", via", "") for path, text in self.sources.items()}
        made = run(sources, [self.found])
        assert made.findings[0].state == "new"
        assert [n.rule for n in made.notices] == ["unused-suppression"]

    def test_via_alone_names_no_rule(self) -> None:
        made = run("x = 1  # auditor: ignore[via] -- whole dollars\n", [finding(1)])
        assert made.findings[0].state == "new"

    def test_a_roll_up_needs_all_of_its_sites(self) -> None:
        policy = Policy(KNOWN, roll_up=lambda f: f.rule == "god-class")
        mark = f"  # auditor: ignore[god-class] {WHY}\n"
        found = finding(1, "god-class", steps=[("a.py", 1), ("a.py", 2)])
        partly = run("x = 1" + mark + "y = 2\n", [found], policy)
        assert partly.findings[0].state == "new"
        assert partly.notices == ()
        assert hidden("x = 1" + mark + "y = 2" + mark, [found], policy) == [1]
        whole = finding(3, "god-class", steps=[("a.py", 1), ("a.py", 2)])
        assert hidden("x = 1\ny = 2\nz = 3" + mark, [whole], policy) == [3]


class TestNotices:
    @pytest.mark.parametrize(
        ("comment", "said"),
        [
            ("# auditor: ignore -- whole dollars", "`ignore` names no rule; write `ignore[rule-id] -- reason`"),
            ("# auditor: ignore[] -- whole dollars", "`ignore` names no rule"),
            ("# auditor: ignore this", "`ignore` names no rule"),
            ("# auditor: ignore[float-money -- whole dollars", "`ignore[` is not closed"),
            (
                "# auditor: ignore[float-mony] -- whole dollars",
                "unknown rule `float-mony`; did you mean `float-money`?",
            ),
            ("# auditor: ignore[all] -- whole dollars", "unknown rule `all`"),
            ("# auditor: ignore[*] -- whole dollars", "unknown rule `*`"),
            ("# auditor: ignore[money] -- whole dollars", "unknown rule `money`"),
            ("# auditor: ignore[unparsable-file] -- x is fine", "`unparsable-file` is a notice about the audit itself"),
            (
                "# auditor: ingore[float-money] -- whole dollars",
                "unknown form `ingore`; write `ignore[rule-id] -- reason`",
            ),
            ("# auditor: ignore-line[float-money] -- whole dollars", "unknown form `ignore-line`; write `ignore-file["),
            ("# auditor: ignored", "unknown form `ignored`"),
        ],
    )
    def test_not_understood_suppresses_nothing(self, comment: str, said: str) -> None:
        made = run(f"x = 1  {comment}\n", [finding(1)])
        assert made.findings[0].state == "new"
        assert made.suppressions == ()
        (notice,) = made.notices
        assert (notice.rule, notice.chapter, notice.severity) == ("unknown-suppression", "auditor", Severity.LOW)
        assert notice.message.startswith(said)
        assert (notice.line, notice.column) == (1, 8)

    def test_the_known_ids_beside_an_unknown_one_hold(self) -> None:
        made = run(f"x = 1  # auditor: ignore[float-mony, float-money] {WHY}\n", [finding(1)])
        assert made.findings[0].state == "suppressed"
        assert [n.rule for n in made.notices] == ["unknown-suppression"]

    @pytest.mark.parametrize(
        "comment", ["# auditor: please look here", "# the auditor said so", "# auditors: ignore[x]"]
    )
    def test_prose(self, comment: str) -> None:
        made = run(f"x = 1  {comment}\n", [finding(1)])
        assert (made.suppressions, made.notices) == ((), ())

    @pytest.mark.parametrize(
        "tail", ["", "--", "-- todo", "-- by design", "-- False positive.", "-- WONTFIX", "because x", "-- ..."]
    )
    def test_without_reason(self, tail: str) -> None:
        made = run(f"x = 1  # auditor: ignore[float-money] {tail}\n", [finding(1)])
        assert made.findings[0].state == "suppressed"
        assert [n.rule for n in made.notices] == ["suppression-without-reason"]
        quiet = run(
            f"x = 1  # auditor: ignore[float-money] {tail}\n", [finding(1)], Policy(KNOWN, require_reasons=False)
        )
        assert quiet.notices == ()

    def test_unused_only_if_the_rule_ran_on_complete_data(self) -> None:
        source = f"x = 1  # auditor: ignore[float-money, god-class] {WHY}\n"
        (notice,) = run(source, []).notices
        assert "float-money, god-class hides no finding" in notice.message
        (notice,) = run(source, [finding(1)]).notices
        assert "of god-class hides" in notice.message
        assert run(source, [], Policy(KNOWN, complete=lambda _rule: False)).notices == ()

    def test_renamed_and_external_ids(self) -> None:
        policy = Policy(KNOWN, renamed={"decimal-float": "float-money"})
        source = f"x = 1  # auditor: ignore[decimal-float, ruff/B006] {WHY}\n"
        assert hidden(source, [finding(1), finding(1, "ruff/B006")], policy) == [1, 1]

    def test_states_of_others_stay(self) -> None:
        made = run(f"x = 1  # auditor: ignore[float-money] {WHY}\n", [finding(1).with_(state="baselined")])
        assert made.findings[0].state == "baselined"
        assert made.notices == ()

    def test_secrets_in_reasons_are_redacted(self) -> None:
        made = run("x = 1  # auditor: ignore[float-money] -- see https://me:hunter2@wiki/x\n", [finding(1)])
        assert "hunter2" not in made.suppressions[0].reason

    def test_caps(self) -> None:
        source = f"x = 1  # auditor: ignore[god-clas] {WHY}\n" * 300
        assert len(run(source, []).notices) == 200
        many = run(
            f"x = 1  # auditor: ignore[god-class] {WHY}\n" * (MAX_DIRECTIVES + 5),
            [finding(MAX_DIRECTIVES + 2, "god-class")],
        )
        assert len(many.suppressions) == MAX_DIRECTIVES
        assert many.findings[0].state == "new"
        assert any(n.rule == "unknown-suppression" for n in many.notices)


@pytest.mark.parametrize(
    "text", ["whole dollars", "TODO: venue sends integers", "数量は整数", "see #12: the venue rounds"]
)
def test_reasons(text: str) -> None:
    assert is_reason(text)


@pytest.mark.parametrize(
    "text", ["", " ", "...", "todo", "TODO: fix later", "by design!", "n/a", "not a bug", "ok", "won't fix"]
)
def test_words_that_are_no_reason(text: str) -> None:
    assert not is_reason(text)


@given(st.text(alphabet="auditor:ignre[]-, #\tx\u202e", max_size=80))
def test_any_comment_is_survived_and_only_exact_ids_hide(tail: str) -> None:
    made = run("x = 1  # auditor: " + tail.replace("\n", " ") + "\n", [finding(1)])
    assert made.findings[0].state == "new"


@pytest.mark.parametrize("unit", ["# auditor: ", "#", " # ", "[", "]", "ignore[", "-- ", "a,"])
def test_linear(unit: str) -> None:
    begin = time.process_time()
    run("x = 1  # auditor: ignore[" + unit * 50_000 + "\n", [finding(1)])
    assert time.process_time() - begin < 2
