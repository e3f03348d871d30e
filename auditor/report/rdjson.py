"""Reviewdog diagnostics. Their columns count UTF-8 bytes, ours code points: the text of the line converts them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from auditor.finding import Audit, Edit, Finding, Severity
from auditor.report import places
from auditor.report.escape import json_text, lines, visible
from auditor.report.options import Options

_SEVERITIES = {Severity.CRITICAL: "ERROR", Severity.HIGH: "ERROR", Severity.MEDIUM: "WARNING"}


def write(audit: Audit, options: Options) -> str:
    """The new findings; an edit is a suggestion only in the file of its finding, which is all the format can say."""
    fresh = (finding for finding in audit.findings if finding.state == "new")
    document = {
        "source": {"name": "auditor"} | ({"url": options.rules_url} if options.rules_url else {}),
        "diagnostics": [_diagnostic(audit, options, finding) for finding in fresh],
    }
    return json_text(document) + "\n"


def _diagnostic(audit: Audit, options: Options, finding: Finding) -> dict[str, Any]:
    address = places.rule_url(options, finding.rule)
    record: dict[str, Any] = {
        "message": visible(finding.message),
        "location": {"path": finding.path, "range": _range(audit.texts, finding)},
        "severity": _SEVERITIES.get(finding.grade[0], "INFO"),
        "code": {"value": finding.rule} | ({"url": address} if address else {}),
    }
    edits = [edit for edit in (finding.fix.edits if finding.fix else ()) if edit.path == finding.path]
    if edits:
        record["suggestions"] = [{"range": _range(audit.texts, edit), "text": edit.text} for edit in edits]
    if finding.proof:
        record["related_locations"] = [
            {
                "message": visible(step.note),
                "location": {
                    "path": step.path,
                    "range": {"start": _position(audit.texts, step.path, step.line, step.column)},
                },
            }
            for step in finding.proof
        ]
    return record


def _range(texts: Mapping[str, str], span: Finding | Edit) -> dict[str, dict[str, int]]:
    start = _position(texts, span.path, span.line, span.column)
    if (span.end_line, span.end_column) < (span.line, span.column):
        return {"start": start}
    return {"start": start, "end": _position(texts, span.path, span.end_line, span.end_column)}


def _position(texts: Mapping[str, str], path: str, line: int, column: int) -> dict[str, int]:
    """A place in bytes; without the text of the file the column stays as it is, which is right for ASCII."""
    if path in texts:
        source = lines(texts[path])
        if 1 <= line <= len(source):
            before = source[line - 1][: column - 1]
            return {"line": line, "column": len(before.encode("utf-8", "surrogatepass")) + 1}
    return {"line": line, "column": column}
