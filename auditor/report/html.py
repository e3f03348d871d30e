"""One HTML file that needs nothing: no server, no network, no script. The script in it only filters and sorts."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Sequence

from auditor.finding import Audit, Confidence, Finding, Location, Severity
from auditor.report import places, proof
from auditor.report.card import also_seen, counts, gates, is_open, plural, risk_words, words
from auditor.report.escape import html, html_json, visible
from auditor.report.html_assets import SCRIPT, STYLE
from auditor.report.markdown_blocks import chapter_title
from auditor.report.markdown_data import CONFIDENCES, SEVERITIES
from auditor.report.options import Options

_STATES = ("new", "baselined", "suppressed")
_TOP = 10
_BAR = 480
_ROW = 26
# Frames of a proof, so that one long chain does not make the page.
_FRAMES = 12


def write(audit: Audit, options: Options) -> str:
    """The page: risk, chapters, files, the table of all findings, a card for each that is more than possible."""
    parts = [*_head(audit), *_overview(audit), *_table(audit, options), *_cards(audit, options), *_limits(audit)]
    return "\n".join([*parts, *_tail(audit)]) + "\n"


def _hash(content: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode("utf-8")).digest()).decode("ascii")


def _head(audit: Audit) -> Iterator[str]:
    policy = (
        f"default-src 'none'; style-src '{_hash(STYLE)}'; script-src '{_hash(SCRIPT)}'; img-src 'none'; "
        "base-uri 'none'; form-action 'none'"
    )
    title = f"Audit of {html(audit.project or 'the project')}"
    yield "<!DOCTYPE html>"
    yield '<html lang="en">'
    yield "<head>"
    yield '<meta charset="utf-8">'
    yield '<meta name="generator" content="auditor">'
    yield f'<meta http-equiv="Content-Security-Policy" content="{html(policy)}">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield '<meta name="referrer" content="no-referrer">'
    yield f"<title>{title}</title>"
    yield f"<style>{STYLE}</style>"
    yield "</head>"
    yield "<body>"
    yield f"<h1>{title}</h1>"


def _overview(audit: Audit) -> Iterator[str]:
    coverage = audit.coverage
    if not coverage.complete:
        yield '<p class="warning">Analysis incomplete: every count is a lower bound. See Coverage and limits.</p>'
    active = [finding for finding in audit.findings if is_open(finding)]
    yield '<div class="tiles">'
    level = html(str(audit.risk.get("level", "info")))
    yield f'<div class="tile">Risk<b class="{level}">{html(risk_words(audit))}</b></div>'
    for severity, number in counts(active).items():
        yield f'<div class="tile">{severity.word}<b class="{severity.word}">{number:,}</b></div>'
    states = " · ".join(f"{sum(f.state == state for f in audit.findings):,} {state}" for state in _STATES)
    yield f'<div class="tile">{states}<br>{plural(coverage.analysed, "file")}, {plural(coverage.lines, "line")}'
    commit = f"commit <code>{html(coverage.commit)}</code>" if coverage.commit else "no commit"
    yield f"<br>{commit}{', with uncommitted changes' if coverage.dirty else ''}</div>"
    yield "</div>"
    if active:
        yield "<h2>Chapters</h2>"
        yield from _bars(active)
        yield "<h2>Files with the most open findings</h2>"
        yield from _files(audit, active)


def _bars(active: Sequence[Finding]) -> Iterator[str]:
    """Open findings per chapter as stacked bars; the numbers stand beside them."""
    chapters: dict[str, list[Finding]] = {}
    for finding in active:
        chapters.setdefault(finding.chapter, []).append(finding)
    longest = max(map(len, chapters.values()))
    height = _ROW * len(chapters)
    yield f'<svg role="img" aria-label="open findings per chapter" width="100%" viewBox="0 0 900 {height}">'
    for row, (chapter, members) in enumerate(chapters.items()):
        y = row * _ROW
        yield f'<text x="0" y="{y + 17}">{html(chapter_title(chapter))}</text>'
        x = 150.0
        for severity, number in counts(members).items():
            size = number * _BAR / longest
            if number:
                yield f'<rect class="fill-{severity.word}" x="{x:.1f}" y="{y + 4}" width="{size:.1f}" height="18"/>'
            x += size
        told = ", ".join(f"{number} {severity.word}" for severity, number in counts(members).items() if number)
        yield f'<text x="{x + 8:.1f}" y="{y + 17}">{told}</text>'
    yield "</svg>"


def _files(audit: Audit, active: Sequence[Finding]) -> Iterator[str]:
    by_path: dict[str, list[Finding]] = {}
    for finding in active:
        by_path.setdefault(finding.path, []).append(finding)
    yield '<table><thead><tr><th>file</th><th>context</th><th class="n">open findings</th><th>gravest</th></tr></thead>'
    yield "<tbody>"
    for path, members in sorted(by_path.items(), key=lambda item: -len(item[1]))[:_TOP]:
        context = html(audit.contexts.get(path, "production"))
        gravest = _word(members[0].grade[0])
        number = f'<td class="n">{len(members):,}</td>'
        yield f"<tr><td><code>{html(path)}</code></td><td>{context}</td>{number}<td>{gravest}</td></tr>"
    yield "</tbody></table>"


def _word(severity: Severity) -> str:
    return f'<span class="word {severity.word}">{severity.word}</span>'


def _table(audit: Audit, options: Options) -> Iterator[str]:
    yield "<h2>Findings</h2>"
    if not audit.findings:
        yield f"<p>No finding in {plural(audit.coverage.analysed, 'analysed file')}.</p>"
    yield '<form id="filter" hidden>'
    for field in ("severity", "confidence", "rule", "path", "state"):
        yield f'<label>{field}<select name="{field}"><option value="">all</option></select></label>'
    yield '<label>search<input type="search" name="q" autocomplete="off"></label>'
    yield '<output id="shown"></output><span class="soft">j and k step through the cards</span>'
    yield "</form>"
    heads = "".join(f'<th data-sort="{name}">{name}</th>' for name in ("severity", "confidence", "rule", "path"))
    yield f'<table id="findings"><thead><tr>{heads}<th>what</th><th>state</th><th>id</th></tr></thead><tbody>'
    for finding in audit.findings:
        severity, confidence = finding.grade
        identity = f"<code>{html(finding.id)}</code>"
        if _has_card(finding):
            identity = f'<a href="#{html(finding.id)}">{identity}</a>'
        yield (
            f'<tr data-id="{html(finding.id)}"><td>{_word(severity)}</td><td>{confidence.word}</td>'
            f"<td>{html(finding.rule)}</td><td>{_place(audit, options, finding.path, finding.line)}</td>"
            f"<td>{html(finding.message)}</td><td>{html(finding.state)}</td><td>{identity}</td></tr>"
        )
    yield "</tbody></table>"


def _has_card(finding: Finding) -> bool:
    """Suppressed and possible findings stand in the table only."""
    return is_open(finding) and gates(finding)


def _place(audit: Audit, options: Options, path: str, line: int) -> str:
    """A place; only a permalink becomes a link, since a relative one leads nowhere from a downloaded file."""
    shown = f"<code>{html(proof.place(audit.texts, path, line))}</code>"
    address = places.target(audit, options, path, line)
    return f'<a href="{html(address)}">{shown}</a>' if address.startswith("https://") else shown


def _cards(audit: Audit, options: Options) -> Iterator[str]:
    active = [finding for finding in audit.findings if _has_card(finding)]
    if not active:
        return
    yield "<h2>Cards</h2>"
    for finding in active:
        yield from _card(audit, options, finding)


def _card(audit: Audit, options: Options, finding: Finding) -> Iterator[str]:
    severity, confidence = finding.grade
    card = words(audit, finding)
    key = html(finding.id)
    yield f'<article id="{key}" class="{severity.word}">'
    yield f"<h3>{html(card.title)}</h3>"
    facts = [f"<code>{key}</code>", _word(severity), confidence.word, f"<code>{html(finding.rule)}</code>"]
    facts += [f"CWE-{number}" for number in card.cwe]
    also = also_seen(finding)
    facts += [f"also seen by {html(also)}"] if also else []
    facts += ["in the baseline"] if finding.state == "baselined" else []
    yield f'<p class="facts">{" · ".join(facts)}</p>'
    inside = f" in <code>{html(finding.symbol)}</code>" if finding.symbol else ""
    yield f"<p><b>Where</b> {_place(audit, options, finding.path, finding.line)}{inside}</p>"
    yield f"<p><b>What</b> {html(card.what)}</p>"
    if card.why:
        yield f"<p><b>Why it matters</b> {html(card.why)}</p>"
    frames = _frames(audit, options, finding)
    if finding.proof:
        yield "<p><b>Proof</b></p>"
        if proof.is_race(finding):
            yield f"<pre>{html(chr(10).join(proof.text(finding, audit.texts)))}</pre>"
        yield "<ol>"
        for step in finding.proof:
            anchor = frames.get((step.path, step.line), ("", ""))[0]
            shown = f"<code>{html(proof.place(audit.texts, step.path, step.line))}</code>"
            place = f'<a href="#{anchor}">{shown}</a>' if anchor else shown
            yield f"<li>{place} {html(step.note)}</li>"
        yield "</ol>"
    for (path, line), (anchor, body) in frames.items():
        yield f'<p class="soft">{html(proof.place(audit.texts, path, line))}</p>'
        yield f'<pre id="{anchor}">{body}</pre>'
    if card.fix:
        yield f"<p><b>Fix</b> {html(card.fix)}</p>"
    yield "</article>"


def _frames(audit: Audit, options: Options, finding: Finding) -> dict[tuple[str, int], tuple[str, str]]:
    """For each place of the finding and its proof: the anchor and the body of its frame."""
    if not options.source:
        return {}
    spots = [finding.location]
    spots += [Location(step.path, step.line, step.column, step.line, step.column) for step in finding.proof]
    found: dict[tuple[str, int], tuple[str, str]] = {}
    for spot in spots:
        if (spot.path, spot.line) in found or len(found) == _FRAMES:
            continue
        shown = proof.frame(audit.texts, spot, context=2)
        if shown is not None:
            rows = [_frame_row(row, shown.gutter) for row in shown.lines]
            found[spot.path, spot.line] = (f"{html(finding.id)}-{len(found) + 1}", "\n".join(rows))
    return found


def _frame_row(row: proof.FrameLine, gutter: int) -> str:
    content = html(f"{'>' if row.marked else ' '} {row.number:>{gutter}} | {row.text}".rstrip())
    return f"<mark>{content}</mark>" if row.marked else content


def _limits(audit: Audit) -> Iterator[str]:
    coverage = audit.coverage
    yield "<h2>Coverage and limits</h2>"
    verdict = "The analysis is complete." if coverage.complete else "The analysis is incomplete."
    files = f"Of {plural(coverage.found, 'file')} found, {coverage.analysed:,} were analysed"
    yield f"<p>{verdict} {files}, {len(coverage.skipped):,} skipped.</p>"
    yield (
        '<table><thead><tr><th>tool</th><th>version</th><th>status</th><th class="n">expected</th>'
        '<th class="n">seen</th><th>notes</th></tr></thead><tbody>'
    )
    for run in audit.tools:
        yield (
            f"<tr><td>{html(run.name)}</td><td>{html(run.version)}</td><td>{html(run.status)}</td>"
            f'<td class="n">{run.expected:,}</td><td class="n">{run.seen:,}</td>'
            f"<td>{html('; '.join(run.notes))}</td></tr>"
        )
    yield "</tbody></table>"
    losses = [("auditor", loss) for loss in coverage.skipped]
    losses += [(run.name, loss) for run in audit.tools for loss in run.skipped]
    if losses:
        yield "<ul>"
        for tool, loss in losses:
            detail = f": {html(loss.detail)}" if loss.detail else ""
            yield f"<li>{html(tool)} did not analyse <code>{html(loss.path)}</code> ({html(loss.reason)}){detail}</li>"
        yield "</ul>"
    yield "<h2>Method</h2>"
    for name, definitions in (("Severity", SEVERITIES), ("Confidence", CONFIDENCES)):
        yield f"<h3>{name}</h3><table><tbody>"
        yield from (f"<tr><th>{html(word)}</th><td>{html(meaning)}</td></tr>" for word, meaning in definitions)
        yield "</tbody></table>"


def _tail(audit: Audit) -> Iterator[str]:
    data = {
        "severities": [severity.word for severity in sorted(Severity, reverse=True)],
        "confidences": [confidence.word for confidence in sorted(Confidence, reverse=True)],
        "findings": [
            {
                "id": finding.id,
                "severity": finding.grade[0].word,
                "confidence": finding.grade[1].word,
                "rule": visible(finding.rule),
                "path": visible(finding.path),
                "state": finding.state,
                "search": visible(
                    " ".join((finding.id, finding.rule, finding.path, finding.symbol, finding.message)).lower()
                ),
            }
            for finding in audit.findings
        ],
    }
    yield f'<script type="application/json" id="data">{html_json(data)}</script>'
    yield f"<script>{SCRIPT}</script>"
    yield "</body>"
    yield "</html>"
