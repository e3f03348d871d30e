"""The risk score, formula 1: the only number that joins severity and confidence (`report.md`, section 4).

    points(group) = w_sev * w_conf * w_ctx * (1 + ln n)     group = (rule, path), n = open findings in it
    score = round(100 * (1 - exp(-points / 100)))

The weights of a group are those of its gravest member. Points of a group are rounded to two decimals, half to even,
before they are added, so the contributions add up to the total exactly.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

from auditor.finding import Confidence, Finding, Severity, Suppression
from auditor.triage.suppress import is_reason

FORMULA = 1
SEVERITY_WEIGHT = {
    Severity.CRITICAL: 40.0,
    Severity.HIGH: 15.0,
    Severity.MEDIUM: 4.0,
    Severity.LOW: 1.0,
    Severity.INFO: 0.0,
}
CONFIDENCE_WEIGHT = {Confidence.CERTAIN: 1.0, Confidence.LIKELY: 0.7, Confidence.POSSIBLE: 0.3}
CONTEXT_WEIGHT = {"production": 1.0, "scripts": 0.4, "tests": 0.1}
LEVELS = ((10, "low"), (30, "medium"), (60, "high"))  # score below the bound; critical from the last bound on


def risk(
    findings: Iterable[Finding],
    *,
    context: Callable[[str], str],
    complete: bool,
    suppressions: Iterable[Suppression] = (),
) -> dict[str, Any]:
    """Section `risk` of the report. `findings` are graded; `context` says of a path: production, scripts or tests.

    Open are `new` and `baselined` findings, and suppressed ones unless a suppression with a reason hides them.
    `contributions` holds every group that has points, largest first. With `complete` false the score is a lower bound.
    """
    accepted = {identifier for entry in suppressions if is_reason(entry.reason) for identifier in entry.ids}
    groups: defaultdict[tuple[str, str], list[Finding]] = defaultdict(list)
    for finding in findings:
        if finding.state != "suppressed" or finding.id not in accepted:
            groups[finding.rule, finding.path].append(finding)
    points = {group: _points(members, context(group[1])) for group, members in groups.items()}
    ranked = sorted((group for group in points if points[group]), key=lambda group: (-points[group], group))
    total = sum((points[group] for group in ranked), Decimal(0))
    score = round(100 * (1 - math.exp(-float(total) / 100)))
    return {
        "formula": FORMULA,
        "points": float(total),
        "score": score,
        "level": level(score),
        "lower_bound": not complete,
        "contributions": [
            {"rule": rule, "path": path, "n": len(groups[rule, path]), "points": float(points[rule, path])}
            for rule, path in ranked
        ],
    }


def level(score: int) -> str:
    """low, medium, high or critical. One certain critical finding in production has 40 points, score 33: its level is
    at least `high` by the formula, as it must be, so nothing has to be forced."""
    return next((word for bound, word in LEVELS if score < bound), "critical")


def _points(members: list[Finding], context: str) -> Decimal:
    severity, confidence = max(member.grade for member in members)
    weight = SEVERITY_WEIGHT[severity] * CONFIDENCE_WEIGHT[confidence] * CONTEXT_WEIGHT[context]
    return Decimal(weight * (1 + math.log(len(members)))).quantize(Decimal("0.01"), ROUND_HALF_EVEN)
