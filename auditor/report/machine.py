"""The model itself: JSON `auditor/1`, with exactly the keys of the schema in its order, and the same by lines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from auditor.finding import Audit, Coverage, Finding, Loss, ToolRun
from auditor.report.escape import json_text
from auditor.report.options import Options

SCHEMA = "auditor/1"


def write(audit: Audit, options: Options) -> bytes:
    """The whole audit as one JSON document."""
    return (json_text(document(audit)) + "\n").encode("ascii")


def write_lines(audit: Audit, options: Options) -> bytes:
    """One finding per line, for history files."""
    return "".join(json_text(finding_record(finding), indent=None) + "\n" for finding in audit.findings).encode("ascii")


def document(audit: Audit) -> dict[str, Any]:
    """The audit as plain values."""
    return {
        "schema": SCHEMA,
        "findings": [finding_record(finding) for finding in audit.findings],
        "tools": [tool_record(run) for run in audit.tools],
        "coverage": coverage_record(audit.coverage),
        "risk": dict(audit.risk),
        "version": audit.version,
    }


def finding_record(finding: Finding) -> dict[str, Any]:
    severity, confidence = finding.grade
    fix = finding.fix
    return {
        "id": finding.id,
        "rule": finding.rule,
        "path": finding.path,
        "line": finding.line,
        "column": finding.column,
        "end_line": finding.end_line,
        "end_column": finding.end_column,
        "severity": severity.word,
        "confidence": confidence.word,
        "message": finding.message,
        "proof": [
            {"path": step.path, "line": step.line, "column": step.column, "note": step.note} for step in finding.proof
        ],
        "fix": None
        if fix is None
        else {
            "applicability": fix.applicability,
            "title": fix.title,
            "edits": [
                {
                    "path": edit.path,
                    "line": edit.line,
                    "column": edit.column,
                    "end_line": edit.end_line,
                    "end_column": edit.end_column,
                    "text": edit.text,
                }
                for edit in fix.edits
            ],
        },
        "witnesses": [{"tool": witness.tool, "code": witness.code} for witness in finding.witnesses],
        "symbol": finding.symbol,
        "chapter": finding.chapter,
        "state": finding.state,
    }


def tool_record(run: ToolRun) -> dict[str, Any]:
    return {
        "name": run.name,
        "version": run.version,
        "status": run.status,
        "argv": list(run.argv),
        "exit_code": run.exit_code,
        "expected": run.expected,
        "seen": run.seen,
        "skipped": [{"path": loss.path, "reason": loss.reason} for loss in run.skipped],
        "notes": list(run.notes),
        "refuted": [
            {"path": item.path, "line": item.line, "code": item.code, "reason": item.reason, "detail": item.detail}
            for item in run.refuted
        ],
        "metrics": plain(run.metrics),
    }


def coverage_record(coverage: Coverage) -> dict[str, Any]:
    return {
        "complete": coverage.complete,
        "root": coverage.root,
        "commit": coverage.commit,
        "dirty": coverage.dirty,
        "files": {
            "found": coverage.found,
            "analysed": coverage.analysed,
            "skipped": len(coverage.skipped),
            "excluded": sum(files for _, _, files in coverage.excluded),
        },
        "lines": coverage.lines,
        "skipped": [_loss(loss) for loss in coverage.skipped],
        "excluded": [
            {"pattern": pattern, "source": source, "files": files} for pattern, source, files in coverage.excluded
        ],
        "links_not_followed": coverage.links_not_followed,
        "calls": plain(coverage.calls),
        "awaits": plain(coverage.awaits),
        "dynamic": plain(coverage.dynamic),
        "suppressions": [
            {
                "rule": ",".join(item.rules),
                "path": item.path,
                "line": item.line,
                "reason": item.reason,
                "ids": list(item.ids),
                "used": item.used,
            }
            for item in coverage.suppressions
        ],
        "baseline": None if coverage.baseline is None else plain(coverage.baseline),
        "since": None if coverage.since is None else plain(coverage.since),
        "assumptions": list(coverage.assumptions),
    }


def _loss(loss: Loss) -> dict[str, str]:
    return {"path": loss.path, "reason": loss.reason, "detail": loss.detail}


def plain(value: Any) -> Any:
    """Free-form values as JSON values; the keys of a mapping sorted, so that equal audits give equal bytes."""
    if isinstance(value, Mapping):
        return {str(key): plain(value[key]) for key in sorted(value, key=str)}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value
