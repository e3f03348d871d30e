"""Both grades of every finding: rule default, then the context of the place (`report.md`, section 2).

Takes findings as rules and merge left them, gives them with `severity` and `confidence` set. The chapter must be set.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from auditor.finding import Confidence, Finding, Severity

Defaults = Mapping[str, tuple[Severity, Confidence]]


def _no_override(_rule: str, _chapter: str, _path: str) -> Severity | None:
    return None


def grade(
    findings: Iterable[Finding],
    defaults: Defaults,
    *,
    context: Callable[[str], str],
    on_order_path: Callable[[str, int], bool],
    override: Callable[[str, str, str], Severity | None] = _no_override,
) -> tuple[Finding, ...]:
    """The findings, graded, in the same order.

    `defaults` maps a rule id to its grades. `context` says of a path: production, scripts or tests. `on_order_path`
    says of a statement whether it is on an order, position, balance or risk path. `override` is the severity that the
    configuration sets for (rule, chapter, path); it is final. Raises LookupError for a rule without default that left
    a grade open: a finding without a grade must not reach a report.
    """
    graded = []
    for finding in findings:
        severity = override(finding.rule, finding.chapter, finding.path)
        if severity is None:
            severity = _severity(finding, defaults, context(finding.path), on_order_path)
        confidence = _default(finding, defaults)[1] if finding.confidence is None else finding.confidence
        graded.append(finding.with_(severity=severity, confidence=confidence))
    return tuple(graded)


def _severity(
    finding: Finding, defaults: Defaults, context: str, on_order_path: Callable[[str, int], bool]
) -> Severity:
    """At most one step each way. A rule that set the severity itself has already looked at the order path."""
    severity = finding.severity
    if severity is None:
        severity = _default(finding, defaults)[0].step(int(on_order_path(finding.path, finding.line)))
    # Research code is where leakage happens: there it costs what it costs in production. And a notice is about the
    # audit, not about the code that it names.
    research = finding.chapter == "leakage" and context == "scripts"
    exempt = context == "production" or research or finding.chapter == "auditor"
    return severity if exempt else severity.step(-1)


def _default(finding: Finding, defaults: Defaults) -> tuple[Severity, Confidence]:
    if finding.rule not in defaults:
        message = f"rule {finding.rule} left a grade open and has no default; declare severity and confidence on it"
        raise LookupError(message)
    return defaults[finding.rule]
