"""SARIF 2.1.0, one run: for code scanning, editors and viewers. Proofs become code flows, races two thread flows."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from auditor.finding import Audit, Confidence, Finding, Loss, Page, Severity, Step
from auditor.report import places, proof
from auditor.report.card import external, first_sentence, words
from auditor.report.escape import json_text, lines, path_target, sarif
from auditor.report.options import Options

SCHEMA_URI = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
ROOT = "%SRCROOT%"
# What code scanning accepts; more is cut from the end, where the mildest findings stand, and a notification says so.
RESULTS = 25_000
RELATED = 1_000
STEPS = 10_000
DESCRIPTION = 1_024
TAGS = 10

LEVELS = {
    Severity.CRITICAL: "error",
    Severity.HIGH: "error",
    Severity.MEDIUM: "warning",
    Severity.LOW: "note",
    Severity.INFO: "note",
}
_PROBLEMS = {"error": "error", "warning": "warning", "note": "recommendation"}
_PRECISIONS = {Confidence.CERTAIN: "very-high", Confidence.LIKELY: "high", Confidence.POSSIBLE: "low"}
_SCORES = {Severity.CRITICAL: "9.5", Severity.HIGH: "8.0", Severity.MEDIUM: "5.5", Severity.LOW: "3.0"}


def write(audit: Audit, options: Options) -> str:
    """The SARIF log. With `open_only`, suppressed and baselined results are left out."""
    chosen = [finding for finding in audit.findings if finding.state == "new" or not options.open_only]
    shown = chosen[:RESULTS]
    rules = _Rules(audit, options, shown)
    invocation: dict[str, Any] = {
        "executionSuccessful": audit.coverage.complete,
        "toolExecutionNotifications": [*_notifications(audit), *_cut(len(chosen) - len(shown))],
    }
    if audit.argv:
        invocation["arguments"] = [sarif(word) for word in audit.argv[1:]]
    run: dict[str, Any] = {
        "tool": rules.tool(),
        "invocations": [invocation],
        "columnKind": "unicodeCodePoints",
        "originalUriBaseIds": {ROOT: {"description": {"text": "The root of the audited tree."}}},
        "results": [_result(audit, options, rules, finding) for finding in shown],
    }
    commit = audit.coverage.commit
    if options.repository.startswith("https://") and commit is not None:
        run["versionControlProvenance"] = [{"repositoryUri": options.repository, "revisionId": commit}]
    return json_text({"$schema": SCHEMA_URI, "version": "2.1.0", "runs": [run]}) + "\n"


class _Rules:
    """The descriptors of the rules that have results: ours in the driver, codes of other tools in extensions."""

    def __init__(self, audit: Audit, options: Options, findings: Iterable[Finding]) -> None:
        self._audit = audit
        self._options = options
        self._components: dict[str, dict[str, Finding]] = {"auditor": {}}
        for finding in findings:
            foreign = external(finding)
            self._components.setdefault(foreign[0] if foreign else "auditor", {}).setdefault(finding.rule, finding)
        self._places = {
            rule: (component, index)
            for component, (_, members) in enumerate(self._components.items())
            for index, rule in enumerate(members)
        }

    def tool(self) -> dict[str, Any]:
        version = self._audit.version
        driver: dict[str, Any] = {"name": "auditor", "semanticVersion": version, "rules": self._descriptors("auditor")}
        versions = {run.name: run.version for run in self._audit.tools}
        extensions = [
            {"name": name, "rules": self._descriptors(name)}
            | ({"version": versions[name]} if versions.get(name) else {})
            for name in self._components
            if name != "auditor"
        ]
        return {"driver": driver} | ({"extensions": extensions} if extensions else {})

    def reference(self, rule: str) -> dict[str, Any]:
        """The members of a result that say which rule it is of."""
        component, index = self._places[rule]
        if component == 0:
            return {"ruleId": rule, "ruleIndex": index}
        return {"ruleId": rule, "rule": {"id": rule, "index": index, "toolComponent": {"index": component - 1}}}

    def _descriptors(self, component: str) -> list[dict[str, Any]]:
        return [_descriptor(self._audit, self._options, first) for first in self._components[component].values()]


def _descriptor(audit: Audit, options: Options, first: Finding) -> dict[str, Any]:
    rule = first.rule
    page = audit.pages.get(rule)
    severity, confidence = (page.severity, page.confidence) if page is not None else first.grade
    title = page.title if page is not None else rule
    full = f"{first_sentence(page.what)} {first_sentence(page.why)}" if page is not None else title
    level = LEVELS[severity]
    tags = [first.chapter or "external"] + [f"external/cwe/cwe-{number:03d}" for number in (page.cwe if page else ())]
    properties: dict[str, Any] = {
        "tags": tags[:TAGS],
        "precision": _PRECISIONS[confidence],
        "problem.severity": _PROBLEMS[level],
    }
    if first.chapter == "security" and severity in _SCORES:
        properties["security-severity"] = _SCORES[severity]
    descriptor: dict[str, Any] = {
        "id": rule,
        "name": "".join(word.capitalize() for word in re.split(r"[^A-Za-z0-9]+", rule)),
        "shortDescription": {"text": sarif(title)},
        "fullDescription": {"text": sarif(full)[:DESCRIPTION]},
        "help": {"text": sarif(_help(page, title)), "markdown": sarif(_help(page, title))},
        "defaultConfiguration": {"level": level},
        "properties": properties,
    }
    address = places.rule_url(options, rule)
    if address is not None:
        descriptor["helpUri"] = address
    return descriptor


def _help(page: Page | None, title: str) -> str:
    if page is None:
        return f"{title}: see the documentation of the tool."
    parts = (
        ("What it finds", page.what),
        ("Why it matters", page.why),
        ("Bad", page.bad),
        ("Good", page.good),
        ("Limits", page.limits),
    )
    return "\n\n".join(f"## {head}\n\n{body.strip()}" for head, body in parts if body.strip())


def _result(audit: Audit, options: Options, rules: _Rules, finding: Finding) -> dict[str, Any]:
    severity, confidence = finding.grade
    related = finding.proof[:RELATED]
    text = sarif(finding.message)
    if related:
        text += "\n\nProof: " + "; ".join(f"[{_link_text(step)}]({n})" for n, step in enumerate(related, 1))
    result: dict[str, Any] = {
        **rules.reference(finding.rule),
        "level": LEVELS[severity],
        "message": {"text": text},
        "partialFingerprints": {"auditor/v1": finding.id},
        "properties": {
            "severity": severity.word,
            "confidence": confidence.word,
            "state": finding.state,
            "witnesses": [f"{witness.tool} {witness.code}" for witness in finding.witnesses],
            "symbol": sarif(finding.symbol),
            "title": sarif(words(audit, finding).title),
        },
    }
    if finding.path:
        region = _region(finding.line, finding.column, finding.end_line, finding.end_column)
        result["locations"] = [_location(audit.texts, finding.path, region, options.source)]
    if related:
        result["relatedLocations"] = [
            {"id": number, "message": {"text": sarif(step.note)}} | _step_place(step)
            for number, step in enumerate(related, 1)
        ]
        result["codeFlows"] = [{"threadFlows": _thread_flows(finding)}]
    if finding.state != "new":
        result["suppressions"] = [_suppression(audit, finding)]
    if finding.fix is not None and finding.fix.edits:
        result["fixes"] = [_fix(finding)]
    return result


def _link_text(step: Step) -> str:
    """The note without brackets, which would end the link; `[A]` of a race becomes `A:`."""
    note = re.sub(r"^\[([AB])\]", r"\1:", step.note)
    return sarif(re.sub(r"[\[\]()\\]", " ", note)).replace("\n", " ")


def _region(line: int, column: int, end_line: int, end_column: int) -> dict[str, int]:
    start = {"startLine": max(line, 1), "startColumn": max(column, 1)}
    if end_line > line or (end_line == line and end_column >= column):
        return start | {"endLine": end_line, "endColumn": max(end_column, 1)}
    return start


def _artifact(path: str) -> dict[str, str]:
    return {"uri": path_target(path), "uriBaseId": ROOT}


def _location(texts: Mapping[str, str], path: str, region: dict[str, int], source: bool) -> dict[str, Any]:
    physical: dict[str, Any] = {"artifactLocation": _artifact(path), "region": region}
    rows = lines(texts[path]) if source and path in texts else ()
    line = region["startLine"]
    if line <= len(rows):
        physical["contextRegion"] = {
            "startLine": line,
            "endLine": line,
            "snippet": {"text": sarif(rows[line - 1][: proof.WINDOW])},
        }
    return {"physicalLocation": physical}


def _step_place(step: Step) -> dict[str, Any]:
    region = {"startLine": max(step.line, 1), "startColumn": max(step.column, 1)}
    return {"physicalLocation": {"artifactLocation": _artifact(step.path), "region": region}}


def _thread_flows(finding: Finding) -> list[dict[str, Any]]:
    """One thread flow; of a race two, whose execution order tells the interleaving."""
    steps = list(enumerate(finding.proof[:STEPS], 1))
    if not proof.is_race(finding):
        return [{"locations": [_flow_location(step, order) for order, step in steps]}]
    tasks: dict[str, list[dict[str, Any]]] = {mark: [] for mark in proof.TASKS}
    current = proof.TASKS[0]
    for order, step in steps:
        current = next((mark for mark in proof.TASKS if step.note.startswith(mark)), current)
        tasks[current].append(_flow_location(step, order))
    return [
        {"id": f"task {mark[1]}", "message": {"text": f"task {mark[1]}"}, "locations": members}
        for mark, members in tasks.items()
        if members
    ]


def _flow_location(step: Step, order: int) -> dict[str, Any]:
    return {"location": {"message": {"text": sarif(step.note)}} | _step_place(step), "executionOrder": order}


def _suppression(audit: Audit, finding: Finding) -> dict[str, str]:
    if finding.state == "baselined":
        return {"kind": "external", "justification": "in the baseline"}
    reasons = [item.reason for item in audit.coverage.suppressions if finding.id in item.ids]
    return {"kind": "inSource"} | ({"justification": sarif(reasons[0])} if reasons else {})


def _fix(finding: Finding) -> dict[str, Any]:
    changes: dict[str, list[dict[str, Any]]] = {}
    for edit in finding.fix.edits if finding.fix is not None else ():
        region = {
            "startLine": edit.line,
            "startColumn": edit.column,
            "endLine": edit.end_line,
            "endColumn": edit.end_column,
        }
        changes.setdefault(edit.path, []).append({"deletedRegion": region, "insertedContent": {"text": edit.text}})
    title = finding.fix.title if finding.fix is not None else ""
    return {
        "description": {"text": sarif(title)},
        "artifactChanges": [
            {"artifactLocation": _artifact(path), "replacements": replacements}
            for path, replacements in changes.items()
        ],
    }


def _notifications(audit: Audit) -> list[dict[str, Any]]:
    """One per loss: files that we could not analyse, tools that did not finish, files that these could not."""
    found = [_loss("auditor", loss) for loss in audit.coverage.skipped]
    for run in audit.tools:
        if run.status not in ("complete", "off"):
            notes = "; ".join(run.notes)
            text = f"{run.name} {run.status}: saw {run.seen} of {run.expected} files{'; ' + notes if notes else ''}"
            found.append({"level": "error", "message": {"text": sarif(text)}})
        found += [_loss(run.name, loss) for loss in run.skipped]
    return found


def _loss(tool: str, loss: Loss) -> dict[str, Any]:
    detail = f": {loss.detail}" if loss.detail else ""
    return {
        "level": "error",
        "message": {"text": sarif(f"{tool} did not analyse {loss.path} ({loss.reason}){detail}")},
        "locations": [{"physicalLocation": {"artifactLocation": _artifact(loss.path)}}],
    }


def _cut(number: int) -> Sequence[dict[str, Any]]:
    if number <= 0:
        return ()
    text = f"{number} results beyond the first {RESULTS} are left out; the JSON report holds all."
    return ({"level": "warning", "message": {"text": text}},)
