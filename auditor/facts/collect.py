"""The work on one file, done in a worker: bytes -> facts and the findings of the rules that look at single files.

The answer is one record: a JSON head (findings, encoding, losses of rules) and the blob of facts. It holds neither the
path nor the time, so that it can be kept by content.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from auditor.facts.codec import Corrupt, Program, encode
from auditor.facts.lower import lower
from auditor.facts.model import Directive
from auditor.finding import Confidence, Edit, Finding, Fix, Severity, Step
from auditor.rule import Rule
from auditor.source.brackets import refuse_depth
from auditor.source.comments import comments, mentions
from auditor.source.module import SourceModule
from auditor.source.notebook import convert
from auditor.source.text import decode

MAX_FINDINGS = 200  # of one rule in one file


@dataclass(frozen=True, slots=True)
class Collected:
    """What is known of one file. `errors` are (rule, exception) of rules that raised; `hidden` grades its encoding."""

    program: Program
    findings: tuple[Finding, ...]
    errors: tuple[tuple[str, str], ...]
    hidden: str


def text_of(path: str, data: bytes) -> tuple[str, str]:
    """The text that is analysed, and the grade of its encoding. Raises Unreadable."""
    if path.endswith(".ipynb"):
        return convert(data).text, ""
    decoded = decode(data)
    return decoded.text, decoded.hidden


def collect(path: str, data: bytes, rules: Sequence[Rule]) -> bytes:
    """The record of one file. Raises Unreadable, and what LibCST raises on text that it refuses."""
    text, hidden = text_of(path, data)
    refuse_depth(data)
    module = SourceModule.parse(path, text)
    facts, programs = lower(module)
    if mentions(data, (b"auditor:",)):
        directives = [
            Directive(c.line, c.column, c.text, c.alone_on_line) for c in comments(text) if "auditor:" in c.text
        ]
        facts = facts._replace(comments=tuple(directives))
    found: list[dict[str, Any]] = []
    errors: list[tuple[str, str]] = []
    for rule in rules:
        if not rule.local():
            continue
        try:
            findings = list(rule.check_module(module))
        except Exception as error:  # noqa: BLE001 - a rule that raises is reported as such; the others go on
            errors.append((rule.id, f"{type(error).__name__}: {str(error)[:200]}"))
            continue
        found.extend(plain(finding) for finding in findings[:MAX_FINDINGS])
    head = json.dumps({"findings": found, "errors": errors, "hidden": hidden}, separators=(",", ":")).encode("ascii")
    return len(head).to_bytes(4, "little") + head + encode(facts, programs)


def read(path: str, record: bytes) -> Collected:
    """The inverse of `collect`, for a file that now stands at `path`. Raises Corrupt."""
    try:
        size = int.from_bytes(record[:4], "little")
        head = json.loads(record[4 : 4 + size])
        findings = tuple(finding(value, path) for value in head["findings"])
        errors = tuple((str(rule), str(what)) for rule, what in head["errors"])
        hidden = str(head["hidden"])
    except (ValueError, TypeError, KeyError) as error:
        raise Corrupt(f"unreadable record of a file: {error}") from error
    return Collected(Program(record[4 + size :]), findings, errors, hidden)


def plain(found: Finding) -> dict[str, Any]:
    """A finding of one file as JSON values, without its path."""
    fix = None
    if found.fix is not None:
        edits = [[e.line, e.column, e.end_line, e.end_column, e.text] for e in found.fix.edits]
        fix = [found.fix.applicability, found.fix.title, edits]
    return {
        "rule": found.rule,
        "at": [found.line, found.column, found.end_line, found.end_column],
        "message": found.message,
        "symbol": found.symbol,
        "severity": None if found.severity is None else int(found.severity),
        "confidence": None if found.confidence is None else int(found.confidence),
        "proof": [[s.line, s.column, s.note, s.name] for s in found.proof],
        "fix": fix,
    }


def finding(value: Mapping[str, Any], path: str) -> Finding:
    """The inverse of `plain`."""
    line, column, end_line, end_column = value["at"]
    fix = None
    if value["fix"] is not None:
        applicability, title, edits = value["fix"]
        fix = Fix(applicability, title, tuple(Edit(path, *edit) for edit in edits))
    return Finding(
        rule=value["rule"], path=path, line=line, column=column, end_line=end_line, end_column=end_column,
        message=value["message"], symbol=value["symbol"],
        severity=None if value["severity"] is None else Severity(value["severity"]),
        confidence=None if value["confidence"] is None else Confidence(value["confidence"]),
        proof=tuple(Step(path, *step) for step in value["proof"]), fix=fix,
    )  # fmt: skip
