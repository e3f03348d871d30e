"""JUnit XML: one suite per chapter, one case per finding, and one passing case per rule that ran and found nothing."""

from __future__ import annotations

from auditor.finding import Audit, Finding
from auditor.report import proof
from auditor.report.card import words
from auditor.report.escape import xml
from auditor.report.options import Options


def write(audit: Audit, options: Options) -> str:
    """New findings are failures, baselined and suppressed ones skipped cases, an incomplete analysis is an error."""
    suites: dict[str, list[str]] = {}
    for finding in audit.findings:
        suites.setdefault(finding.chapter or "external", []).append(_case(audit, finding))
    found = {finding.rule for finding in audit.findings}
    for page in audit.pages.values():
        if page.id not in found:
            passed = _attributes(name=page.id, classname=page.chapter)
            suites.setdefault(page.chapter, []).append(f"    <testcase {passed}/>")
    suites["coverage"] = [_coverage(audit)]
    body = [row for name in sorted(suites) for row in _suite(name, suites[name])]
    return "\n".join(['<?xml version="1.0" encoding="UTF-8"?>', "<testsuites>", *body, "</testsuites>"]) + "\n"


def _suite(name: str, cases: list[str]) -> list[str]:
    def holding(tag: str) -> str:
        return str(sum(f"<{tag} " in case for case in cases))

    attributes = _attributes(
        name=f"auditor.{name}",
        tests=str(len(cases)),
        failures=holding("failure"),
        errors=holding("error"),
        skipped=holding("skipped"),
    )
    return [f"  <testsuite {attributes}>", *cases, "  </testsuite>"]


def _case(audit: Audit, finding: Finding) -> str:
    attributes = _attributes(
        name=f"{finding.rule} {proof.place(audit.texts, finding.path, finding.line)} {finding.id}",
        classname=finding.chapter or "external",
        file=finding.path,
        line=str(finding.line),
    )
    if finding.state != "new":
        return f"    <testcase {attributes}><skipped {_attributes(message=finding.state)}/></testcase>"
    severity, confidence = finding.grade
    card = words(audit, finding)
    told = [f"{severity.word}, {confidence.word}", card.why, *proof.text(finding, audit.texts)]
    told += [f"Fix: {card.fix}"] if card.fix else []
    failure = _attributes(message=finding.message, type=finding.rule)
    text = xml("\n".join(row for row in told if row))
    return f"    <testcase {attributes}><failure {failure}>{text}</failure></testcase>"


def _coverage(audit: Audit) -> str:
    attributes = _attributes(name="analysis is complete", classname="coverage")
    if audit.coverage.complete:
        return f"    <testcase {attributes}/>"
    lossy = [f"{run.name} {run.status}" for run in audit.tools if run.status not in ("complete", "off")]
    told = [*lossy, *(f"{loss.path}: {loss.reason}" for loss in audit.coverage.skipped)]
    error = _attributes(message="analysis incomplete", type="incomplete")
    text = xml("\n".join(told))
    return f"    <testcase {attributes}><error {error}>{text}</error></testcase>"


def _attributes(**values: str) -> str:
    return " ".join(f'{name}="{xml(value)}"' for name, value in values.items())
