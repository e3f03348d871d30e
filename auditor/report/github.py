"""Annotations of GitHub Actions: workflow commands on stdout, as many as GitHub shows."""

from __future__ import annotations

from collections.abc import Sequence

from auditor.finding import Audit, Finding, Severity
from auditor.report.card import gates, words
from auditor.report.escape import command_data, command_property
from auditor.report.options import Options

# Of each kind a step shows this many.
SHOWN = 10
_KINDS = {Severity.CRITICAL: "error", Severity.HIGH: "error", Severity.MEDIUM: "warning"}


def write(audit: Audit, options: Options) -> str:
    """The gravest new findings, one command per line, then a notice about the rest, which holds the `possible` ones."""
    fresh = [finding for finding in audit.findings if finding.state == "new"]
    shown: list[tuple[str, Finding]] = []
    for kind in ("error", "warning", "notice"):
        members = [finding for finding in fresh if gates(finding) and _kind(finding) == kind]
        # One notice is kept for the last line.
        shown += [(kind, finding) for finding in members[: SHOWN - (kind == "notice")]]
    rows = [_command(audit, kind, finding) for kind, finding in shown]
    if not audit.coverage.complete:
        rows.insert(0, "::warning title=auditor::analysis incomplete, see the summary of the run")
        rows = _without_last_warning(rows)
    rest = len(fresh) - len([row for row in rows if "file=" in row])
    if rest:
        rows.append(f"::notice title=auditor::{rest} more, see report")
    return "".join(row + "\n" for row in rows)


def _without_last_warning(rows: Sequence[str]) -> list[str]:
    """The notice about an incomplete analysis takes the place of the mildest warning."""
    warnings = [number for number, row in enumerate(rows) if row.startswith("::warning")]
    return [row for number, row in enumerate(rows) if len(warnings) <= SHOWN or number != warnings[-1]]


def _kind(finding: Finding) -> str:
    return _KINDS.get(finding.grade[0], "notice")


def _command(audit: Audit, kind: str, finding: Finding) -> str:
    properties = {
        "file": command_property(finding.path),
        "line": str(finding.line),
        "endLine": str(max(finding.end_line, finding.line)),
        "col": str(finding.column),
        "endColumn": str(max(finding.end_column, finding.column)),
        "title": command_property(words(audit, finding).title),
    }
    if finding.end_line > finding.line:  # columns are allowed on one line only
        del properties["col"], properties["endColumn"]
    listed = ",".join(f"{key}={value}" for key, value in properties.items())
    return f"::{kind} {listed}::{command_data(f'{finding.message} [{finding.rule}] {finding.id}')}"
