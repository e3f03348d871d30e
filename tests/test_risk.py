"""Grades by context, and the score: every figure can be computed again from the contributions."""


from __future__ import annotations

import math
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.finding import Confidence, Finding, Severity, Suppression
from auditor.triage.grade import grade
from auditor.triage.notices import PAGES, auditor_error, suppression_without_reason, unparsable_file
from auditor.triage.risk import risk

DEFAULTS = {"r": (Severity.MEDIUM, Confidence.LIKELY), "critical": (Severity.CRITICAL, Confidence.CERTAIN)}


def context(path: str) -> str:
    return path.partition("/")[0] if path.startswith(("tests/", "scripts/")) else "production"


def finding(path: str = "a.py", line: int = 1, rule: str = "r", **changes: object) -> Finding:
    return Finding(rule, path, line, 1, line, 2, "message").with_(**changes)


class TestGrade:
    def graded(self, found: Finding, *, on_path: bool = False) -> tuple[Severity, Confidence]:
        return grade([found], DEFAULTS, context=context, on_order_path=lambda _path, _line: on_path)[0].grade

    @pytest.mark.parametrize(
        ("found", "on_path", "severity"),
        [
            (finding(), False, Severity.MEDIUM),
            (finding(), True, Severity.HIGH),
            (finding("tests/a.py"), False, Severity.LOW),
            (finding("scripts/a.py"), False, Severity.LOW),
            (finding("scripts/a.py"), True, Severity.MEDIUM),
            (finding(rule="critical"), True, Severity.CRITICAL),
            (finding(severity=Severity.LOW), True, Severity.LOW),
            (finding("tests/a.py", severity=Severity.HIGH), True, Severity.MEDIUM),
            (finding("tests/a.py", severity=Severity.INFO), False, Severity.INFO),
            (finding("scripts/a.py", chapter="leakage"), False, Severity.MEDIUM),
            (finding("tests/a.py", chapter="leakage"), False, Severity.LOW),
        ],
    )
    def test_severity(self, found: Finding, on_path: bool, severity: Severity) -> None:
        assert self.graded(found, on_path=on_path) == (severity, DEFAULTS[found.rule][1])

    def test_confidence_of_the_finding_stays(self) -> None:
        assert self.graded(finding(confidence=Confidence.POSSIBLE))[1] is Confidence.POSSIBLE

    def test_override_is_final(self) -> None:
        def override(rule: str, chapter: str, path: str) -> Severity | None:
            return Severity.INFO if (rule, chapter, path) == ("r", "money", "tests/a.py") else None

        found = [finding("tests/a.py", chapter="money"), finding(chapter="money")]
        made = grade(found, DEFAULTS, context=context, on_order_path=lambda _path, _line: True, override=override)
        assert [f.severity for f in made] == [Severity.INFO, Severity.HIGH]

    def test_rule_without_default(self) -> None:
        with pytest.raises(LookupError, match="rule unheard left a grade open"):
            self.graded(finding(rule="unheard"))
        whole = finding(rule="unheard", severity=Severity.LOW, confidence=Confidence.LIKELY)
        assert self.graded(whole) == (Severity.LOW, Confidence.LIKELY)

    def test_notices_are_not_about_the_code(self) -> None:
        assert self.graded(unparsable_file("tests/a.py", "syntax")) == (Severity.MEDIUM, Confidence.CERTAIN)
        assert self.graded(unparsable_file("a.py", "syntax", live=True)) == (Severity.HIGH, Confidence.CERTAIN)


class TestNotices:
    def test_pages_are_complete(self) -> None:
        for name, page in PAGES.items():
            assert page.id == name
            assert page.chapter == "auditor"
            assert all((page.title, page.what, page.why, page.bad, page.good, page.limits, page.fix, page.since))

    def test_message_is_short_whatever_it_names(self) -> None:
        long = "x" * 5_000
        for notice in (
            auditor_error(long, "a.py", long),
            unparsable_file("a.py", "syntax", long),
            suppression_without_reason("a.py", (1, 1, 1, 2), [long] * 90, long),
        ):
            assert len(notice.message) <= 300
            assert notice.grade


def open_finding(path: str, rule: str, severity: Severity, confidence: Confidence, state: str = "new") -> Finding:
    return finding(path, 1, rule, severity=severity, confidence=confidence, state=state, id=f"AUD-{path}-{rule}")


class TestRisk:
    def test_nothing(self) -> None:
        assert risk([], context=context, complete=True) == {
            "formula": 1,
            "points": 0.0,
            "score": 0,
            "level": "low",
            "lower_bound": False,
            "contributions": [],
        }

    def test_by_hand(self) -> None:
        found = [
            open_finding("a.py", "x", Severity.HIGH, Confidence.LIKELY),
            open_finding("a.py", "x", Severity.HIGH, Confidence.POSSIBLE),
            open_finding("a.py", "x", Severity.MEDIUM, Confidence.CERTAIN),
            open_finding("tests/a.py", "x", Severity.CRITICAL, Confidence.CERTAIN),
            open_finding("scripts/a.py", "y", Severity.MEDIUM, Confidence.CERTAIN, "baselined"),
            open_finding("a.py", "z", Severity.INFO, Confidence.CERTAIN),
        ]
        made = risk(found, context=context, complete=False)
        assert made["contributions"] == [
            {"rule": "x", "path": "a.py", "n": 3, "points": 22.04},  # 15 * 0.7 * (1 + ln 3)
            {"rule": "x", "path": "tests/a.py", "n": 1, "points": 4.0},
            {"rule": "y", "path": "scripts/a.py", "n": 1, "points": 1.6},
        ]
        assert made["points"] == 27.64
        assert made["score"] == round(100 * (1 - math.exp(-0.2764))) == 24
        assert made["level"] == "medium"
        assert made["lower_bound"] is True

    def test_one_certain_critical_in_production_is_high(self) -> None:
        made = risk([open_finding("a.py", "x", Severity.CRITICAL, Confidence.CERTAIN)], context=context, complete=True)
        assert (made["points"], made["score"], made["level"]) == (40.0, 33, "high")

    def test_suppressed_with_a_reason_does_not_count(self) -> None:
        hidden = open_finding("a.py", "x", Severity.HIGH, Confidence.CERTAIN, "suppressed")

        def points(reason: str) -> float:
            entry = Suppression(("x",), "a.py", 1, reason, (hidden.id,), True)
            return float(risk([hidden], context=context, complete=True, suppressions=[entry])["points"])

        assert points("runs before the loop starts") == 0
        assert points("") == points("by design") == 15

    grades = st.tuples(
        st.sampled_from(["a.py", "b.py", "tests/a.py", "scripts/a.py"]),
        st.sampled_from(["x", "y", "z"]),
        st.sampled_from(list(Severity)),
        st.sampled_from(list(Confidence)),
    )

    @given(st.lists(grades, max_size=40), st.randoms(use_true_random=False))
    def test_contributions_add_up_in_any_order(
        self, listed: list[tuple[str, str, Severity, Confidence]], random
    ) -> None:  # type: ignore[no-untyped-def]
        found = [open_finding(*one) for one in listed]
        made = risk(found, context=context, complete=True)
        total = sum((Decimal(str(entry["points"])) for entry in made["contributions"]), Decimal(0))
        assert Decimal(str(made["points"])) == total
        assert made["score"] == round(100 * (1 - math.exp(-float(total) / 100)))
        random.shuffle(found)
        assert risk(found, context=context, complete=True) == made
        certain = [f for f in found if f.grade == (Severity.CRITICAL, Confidence.CERTAIN) and "/" not in f.path]
        assert not certain or made["level"] in ("high", "critical")
