"""The findings: cards for critical and high, short cards for medium, tables for the rest."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

from auditor.finding import Audit, Finding, Severity
from auditor.report import places, proof
from auditor.report.card import Cause, Words, also_seen, causes, gates, is_open, plural, words
from auditor.report.escape import cell, cell_code, cell_prose, code, fence, mermaid, prose, text
from auditor.report.markdown_blocks import chapter_title, folded, ids, table
from auditor.report.markdown_head import chapter_introduction
from auditor.report.options import Options

_LANGUAGES = {".py": "python", ".pyi": "python", ".ipynb": "json", ".toml": "toml"}
_MERMAID_NODES = 12
_IDS_IN_ROW = 6


def cards(audit: Audit, options: Options) -> Iterator[str]:
    """The sections Critical, High and Medium; one card per root cause, by chapter."""
    active = [finding for finding in audit.findings if is_open(finding) and gates(finding)]
    left = options.max_findings
    introduced: set[str] = set()
    for severity in (Severity.CRITICAL, Severity.HIGH, Severity.MEDIUM):
        groups = causes(finding for finding in active if finding.grade[0] is severity)
        yield f"## {severity.word.capitalize()}"
        yield ""
        if not groups:
            yield f"No open {severity.word} finding."
            yield ""
            continue
        shown = groups if left is None else groups[:left]
        numbers = {id(cause): number for number, cause in enumerate(shown, 1)}
        by_chapter: dict[str, list[Cause]] = {}
        for cause in shown:
            by_chapter.setdefault(cause.first.chapter, []).append(cause)
        for chapter, members in by_chapter.items():
            yield f"### {severity.word.capitalize()}: {text(chapter_title(chapter))}"
            yield ""
            introduction = chapter_introduction(audit, chapter)
            if introduction and chapter not in introduced:
                introduced.add(chapter)
                yield introduction
                yield ""
            for cause in members:
                name = f"{severity.name[0]}{numbers[id(cause)]}"
                write = _medium if severity is Severity.MEDIUM else _card
                yield from write(audit, options, cause, name)
        if len(shown) < len(groups):
            hidden = plural(len(groups) - len(shown), f"{severity.word} card")
            option = f"`--max-findings {options.max_findings}`"
            yield f"**{hidden} left out ({option}); the action plan lists every finding.**"
            yield ""
        left = None if left is None else left - len(shown)


def _card(audit: Audit, options: Options, cause: Cause, name: str) -> Iterator[str]:
    finding = cause.first
    card = words(audit, finding)
    yield from _heading(options, finding, card, name)
    yield _where(audit, options, finding)
    yield f"**What** {prose(card.what)}  "
    if card.why:
        yield f"**Why it matters** {prose(card.why)}"
    yield ""
    if finding.proof:
        yield "**Proof**"
        yield ""
        yield from fence(proof.text(finding, audit.texts), "text")
        yield ""
        if options.mermaid:
            yield from _flowchart(audit, finding)
    yield from _frames(audit, options, finding)
    if card.fix:
        yield f"**Fix** {prose(card.fix)}  "
    yield f"**Verify** {code('auditor scan --select ' + shlex.join([finding.rule, finding.path]))}"
    yield ""
    yield from _others(audit, options, cause)


def _medium(audit: Audit, options: Options, cause: Cause, name: str) -> Iterator[str]:
    """The shorter card: where, what, proof, fix."""
    finding = cause.first
    card = words(audit, finding)
    yield from _heading(options, finding, card, name)
    yield _where(audit, options, finding)
    yield f"**What** {prose(card.what)}  "
    if card.fix:
        yield f"**Fix** {prose(card.fix)}"
    yield ""
    if finding.proof:
        yield from fence(proof.text(finding, audit.texts), "text")
        yield ""
    else:
        yield from _frames(audit, options, finding)
    yield from _others(audit, options, cause)


def _heading(options: Options, finding: Finding, card: Words, name: str) -> Iterator[str]:
    severity, confidence = finding.grade
    facts = [code(finding.id), severity.word, confidence.word, places.rule(options, finding.rule)]
    facts += [f"CWE-{number}" for number in card.cwe]
    also = also_seen(finding)
    if also:
        facts.append(f"also seen by {text(also)}")
    if finding.state == "baselined":
        facts.append("in the baseline")
    yield f"#### {name}. {prose(card.title)}"
    yield ""
    yield " · ".join(facts)
    yield ""


def _where(audit: Audit, options: Options, finding: Finding) -> str:
    inside = f" in {code(finding.symbol)}" if finding.symbol else ""
    return f"**Where** {places.markdown(audit, options, finding.path, finding.line)}{inside}  "


def _frames(audit: Audit, options: Options, finding: Finding) -> Iterator[str]:
    shown = proof.frame(audit.texts, finding.location) if options.source else None
    if shown is None:
        return
    suffix = finding.path[finding.path.rfind(".") :] if "." in finding.path else ""
    yield from fence(proof.frame_text(shown, carets=False), _LANGUAGES.get(suffix, "text"))
    yield ""


def _flowchart(audit: Audit, finding: Finding) -> Iterator[str]:
    steps = finding.proof[:_MERMAID_NODES]
    body = ["flowchart TD"]
    for number, step in enumerate(steps):
        label = f"{proof.place(audit.texts, step.path, step.line)} {step.note}"
        body.append(f"  n{number}[{mermaid(label)}]")
    body += [f"  n{number} --> n{number + 1}" for number in range(len(steps) - 1)]
    yield from fence(body, "mermaid")
    yield ""


def _others(audit: Audit, options: Options, cause: Cause) -> Iterator[str]:
    """The other sites of the root cause, folded."""
    if not cause.others:
        return
    rows = [
        [
            code(finding.id),
            places.markdown(audit, options, finding.path, finding.line),
            cell_code(finding.symbol) if finding.symbol else "-",
            cell_prose(finding.message) + (" (in the baseline)" if finding.state == "baselined" else ""),
        ]
        for finding in cause.others
    ]
    title = f"{len(rows):,} other {'place' if len(rows) == 1 else 'places'}"
    yield from folded(title, table(["id", "where", "in", "what"], rows))


def tables(audit: Audit, options: Options) -> Iterator[str]:
    """Low and info by rule and file; all possible ones in one table."""
    active = [finding for finding in audit.findings if is_open(finding)]
    minor = [f for f in active if gates(f) and f.grade[0] <= Severity.LOW]
    yield "## Low and info"
    yield ""
    if minor:
        yield from _by_rule_and_file(audit, options, minor)
    else:
        yield "No open finding of severity low or info."
        yield ""
    doubtful = [finding for finding in active if not gates(finding)]
    yield "## Possible"
    yield ""
    if doubtful:
        yield "Two or more steps of these rest on names or conventions. They do not gate; a reader has to judge them."
        yield ""
        yield from _by_rule_and_file(audit, options, doubtful)
    else:
        yield "No open finding of confidence possible."
        yield ""


def _by_rule_and_file(audit: Audit, options: Options, findings: Sequence[Finding]) -> Iterator[str]:
    groups: dict[tuple[object, ...], list[Finding]] = {}
    for finding in findings:
        groups.setdefault((finding.grade[0], finding.rule, finding.path), []).append(finding)
    rows = []
    for members in groups.values():
        first = members[0]
        card = words(audit, first)
        title = cell(card.title) if first.rule in audit.pages else cell_prose(first.message)
        rows.append(
            [
                first.grade[0].word,
                places.rule(options, first.rule),
                title,
                places.markdown(audit, options, first.path, first.line),
                f"{len(members):,}",
                ids(members, _IDS_IN_ROW),
            ]
        )
    yield from table(["severity", "rule", "what", "first place", "n", "ids"], rows, (4,))
