"""GitLab code quality: a JSON array. GitLab compares branches itself, so baselined findings are in it."""

from __future__ import annotations

from auditor.finding import Audit, Severity
from auditor.report.card import is_open
from auditor.report.escape import json_text, visible
from auditor.report.options import Options

_SEVERITIES = {
    Severity.CRITICAL: "blocker",
    Severity.HIGH: "critical",
    Severity.MEDIUM: "major",
    Severity.LOW: "minor",
    Severity.INFO: "info",
}


def write(audit: Audit, options: Options) -> str:
    """The open findings. The fingerprint is our id, which counts equal findings apart."""
    records = [
        {
            "description": visible(finding.message),
            "check_name": finding.rule,
            "fingerprint": finding.id,
            "severity": _SEVERITIES[finding.grade[0]],
            "location": {
                "path": finding.path,
                "lines": {"begin": finding.line, "end": max(finding.end_line, finding.line)},
            },
        }
        for finding in audit.findings
        if is_open(finding)
    ]
    return json_text(records) + "\n"
