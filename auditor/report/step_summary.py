"""A short Markdown page for the summary of a build step and for one sticky comment on a pull request."""

from __future__ import annotations

from collections.abc import Iterator

from auditor.finding import Audit, Finding
from auditor.report import places
from auditor.report.card import counts, gates, plural, risk_words
from auditor.report.escape import cell_prose, code, prose, text
from auditor.report.markdown_blocks import table
from auditor.report.options import Options

# A job finds its own comment by this line, to update it.
MARKER = "<!-- auditor:report -->"
# A comment holds this many characters; the summary of a step holds more.
LIMIT = 65_536
_ROWS = 100


def write(audit: Audit, options: Options) -> str:
    """Strip, table of new findings, coverage line; as many rows as fit into a comment."""
    fresh = [finding for finding in audit.findings if finding.state == "new"]
    rows = min(_ROWS, len(fresh))
    page = "\n".join(_page(audit, options, fresh, rows)) + "\n"
    while len(page) > LIMIT and rows:
        rows //= 2
        page = "\n".join(_page(audit, options, fresh, rows)) + "\n"
    return page


def _page(audit: Audit, options: Options, fresh: list[Finding], rows: int) -> Iterator[str]:
    yield MARKER
    incomplete = "" if audit.coverage.complete else "**Analysis incomplete.** "
    yield f"{incomplete}**Risk {text(risk_words(audit))}**"
    yield ""
    shown = ", ".join(f"{number:,} {severity.word}" for severity, number in counts(fresh).items() if number)
    others = [f"{sum(f.state == state for f in audit.findings):,} {state}" for state in ("baselined", "suppressed")]
    yield f"{plural(len(fresh), 'new finding')}{f' ({shown})' if shown else ''}; {', '.join(others)}."
    yield ""
    if rows:
        yield from table(
            ["severity", "what", "where", "id"],
            [
                [
                    finding.grade[0].word + ("" if gates(finding) else ", possible"),
                    f"{cell_prose(finding.message)} ({code(finding.rule)})",
                    places.markdown(audit, options, finding.path, finding.line),
                    code(finding.id),
                ]
                for finding in fresh[:rows]
            ],
        )
    if rows < len(fresh):
        yield f"{len(fresh) - rows:,} more stand in the report."
        yield ""
    seen = audit.coverage
    lossy = [f"{run.name} {run.status}" for run in audit.tools if run.status not in ("complete", "off")]
    losses = f"; {text(', '.join(lossy))}" if lossy else ""
    yield f"Analysed {seen.analysed:,} of {plural(seen.found, 'file')}, {plural(seen.lines, 'line')}{losses}."
    if options.reason is not None:
        yield ""
        yield prose(options.reason)
