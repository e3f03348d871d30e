"""For the terminal: `full` with code frames, `concise` one line per finding, `grouped` by file, and the last block.

Findings that are new are printed; suppressed and baselined ones are counted in the last block. The formats give text;
colour is added by `paint` and only where it is asked for.
"""

from __future__ import annotations

from collections.abc import Iterable

from auditor.finding import Audit, Finding, Location, ToolRun
from auditor.report import proof
from auditor.report.card import also_seen, counts, gates, plural, risk_words, words
from auditor.report.escape import pad, terminal, width
from auditor.report.options import Options

# A row is a list of (style, text); style is a word of `paint`, "" for plain text.
Row = list[tuple[str, str]]
_TOOL_LINES = 4
_STEPS_SHOWN = 12


def full(audit: Audit, options: Options) -> str:
    """Each new finding with its frame, its proof and its fix; `possible` ones in one list after them."""
    rows: list[Row] = []
    fresh = [finding for finding in audit.findings if finding.state == "new"]
    for finding in fresh:
        if gates(finding):
            rows += [*_finding(audit, finding, options), []]
    folded = [finding for finding in fresh if not gates(finding)]
    if folded:
        rows.append([("bold", f"possible ({len(folded)}), not part of the gate:")])
        rows += [*([("", f"  {_concise(audit, finding)}")] for finding in folded), []]
    return _finish(audit, options, rows)


def concise(audit: Audit, options: Options) -> str:
    """`path:line:column: severity [rule] message`, one line per new finding."""
    fresh = [finding for finding in audit.findings if finding.state == "new"]
    rows: list[Row] = [[("", _concise(None, finding))] for finding in fresh]
    return _finish(audit, options, rows, separator=bool(rows))


def grouped(audit: Audit, options: Options) -> str:
    """New findings below the name of their file; files in the order of their gravest finding."""
    by_path: dict[str, list[Finding]] = {}
    for finding in audit.findings:
        if finding.state == "new":
            by_path.setdefault(finding.path, []).append(finding)
    rows: list[Row] = []
    for path, group in by_path.items():
        rows.append([("bold", terminal(path))])
        places = [f"{finding.line}:{finding.column}" for finding in group]
        columns = max(len(place) for place in places)
        for place, finding in zip(places, group, strict=True):
            word = finding.grade[0].word
            rows.append(
                [
                    ("dim", f"  {place:>{columns}}  "),
                    (word, f"{word:<8}"),
                    ("", f"  {terminal(finding.message)}  "),
                    ("dim", f"[{terminal(finding.rule)}] {finding.grade[1].word}"),
                ]
            )
        rows.append([])
    return _finish(audit, options, rows)


def summary_block(audit: Audit, reason: str) -> str:
    """What the owner of a build reads: counts, coverage, tools with losses, risk, then `reason`. At most ten lines."""
    by_severity = counts(audit.findings)
    shown = ", ".join(f"{number} {severity.word}" for severity, number in by_severity.items() if number)
    states = {state: sum(f.state == state for f in audit.findings) for state in ("new", "baselined", "suppressed")}
    coverage = audit.coverage
    block = [
        f"{plural(len(audit.findings), 'finding')}{': ' + shown if shown else ''}",
        ", ".join(f"{number} {state}" for state, number in states.items()),
        f"analysed {coverage.analysed:,} of {plural(coverage.found, 'file')}, {plural(coverage.lines, 'line')}"
        + ("" if coverage.complete else "; analysis incomplete"),
    ]
    # A tool that is off is a choice, not a loss.
    lossy = [run for run in audit.tools if run.status not in ("complete", "off")]
    block += [f"{run.name} {run.status}: {_loss_reason(run)}" for run in lossy[:_TOOL_LINES]]
    if len(lossy) > _TOOL_LINES:
        block.append(f"and {len(lossy) - _TOOL_LINES} more tools with losses")
    block += [f"risk {risk_words(audit)}", reason]
    return "".join(terminal(row) + "\n" for row in block)


def _loss_reason(run: ToolRun) -> str:
    lost = f"saw {run.seen:,} of {plural(run.expected, 'file')}"
    return f"{lost}; {run.notes[0]}" if run.notes else lost


def _concise(audit: Audit | None, finding: Finding) -> str:
    """With an audit, places in notebooks are told by cell; without, as a problem matcher needs them."""
    place = f"{finding.path}:{finding.line}" if audit is None else proof.place(audit.texts, finding.path, finding.line)
    word = finding.grade[0].word
    return terminal(f"{place}:{finding.column}: {word} [{finding.rule}] {finding.message}")


def _finding(audit: Audit, finding: Finding, options: Options) -> Iterable[Row]:
    severity, confidence = finding.grade
    card = words(audit, finding)
    dot = "-" if options.ascii else "·"
    head = f"{severity.word}[{terminal(finding.rule)}]"
    message = terminal(finding.message)
    gap = max(2, options.width - width(head) - 2 - width(message) - len(confidence.word))
    yield [(severity.word, head), ("bold", f": {message}"), ("dim", " " * gap + confidence.word)]
    where = proof.place(audit.texts, finding.path, finding.line)
    inside = f"  in {terminal(finding.symbol)}" if finding.symbol else ""
    yield [("frame", "  --> "), ("", f"{terminal(where)}:{finding.column}{inside}")]
    shown = proof.frame(audit.texts, finding.location, context=0) if options.source else None
    gutter = shown.gutter if shown is not None else 2
    bar: Row = [("frame", f"{'':{gutter}} |")]
    yield bar
    if shown is not None:
        drawn = False
        for row in shown.lines:
            yield [("frame", f"{row.number:>{gutter}} | "), ("", terminal(row.text))]
            if row.marked and not drawn:
                carets = " " * row.start + "^" * (row.end - row.start)
                yield [("frame", f"{'':{gutter}} | "), (severity.word, carets), ("", f" {terminal(card.why)}".rstrip())]
                drawn = True
        yield bar
    elif card.why:
        yield [("frame", f"{'':{gutter}} = "), ("", f"why: {terminal(card.why)}")]
    yield from _steps(audit, finding, options, gutter)
    if card.fix:
        yield [("frame", f"{'':{gutter}} = "), ("fix", "fix: "), ("", terminal(card.fix))]
    also = also_seen(finding)
    tail = [finding.id, f"auditor explain {finding.rule}", *([f"also {also}"] if also else [])]
    yield [("frame", f"{'':{gutter}} = "), ("dim", terminal(f" {dot} ".join(tail)))]


def _steps(audit: Audit, finding: Finding, options: Options, gutter: int) -> Iterable[Row]:
    """The proof: a race as two columns; else each step that is not the primary line, with its source line."""
    if proof.is_race(finding):
        for text in proof.interleaving(finding.proof, audit.texts):
            yield [("frame", f"{'':{gutter}} | "), ("", terminal(text))]
        yield [("frame", f"{'':{gutter}} |")]
        return
    steps = [step for step in finding.proof if (step.path, step.line) != (finding.path, finding.line)]
    for step in steps[:_STEPS_SHOWN]:
        yield [("frame", f"{'':{gutter}}::: "), ("", terminal(proof.place(audit.texts, step.path, step.line)))]
        location = Location(step.path, step.line, step.column, step.line, step.column)
        shown = proof.frame(audit.texts, location, context=0) if options.source else None
        source = terminal(shown.lines[0].text).strip() if shown is not None else ""
        yield [
            ("frame", f"{'':{gutter}} |     "),
            ("", f"{pad(source, 28)}   " if source else ""),
            ("note", terminal(step.note)),
        ]
    if len(steps) > _STEPS_SHOWN:
        yield [("frame", f"{'':{gutter}}::: "), ("", f"{len(steps) - _STEPS_SHOWN} more steps in the JSON report")]


def _finish(audit: Audit, options: Options, rows: list[Row], separator: bool = False) -> str:
    if options.reason is not None:
        if separator:
            rows.append([])
        rows += [[("summary", row)] for row in summary_block(audit, options.reason).splitlines()]
    if options.color:
        from auditor.report.paint import paint  # noqa: PLC0415 - rich is loaded only where colour is asked for

        return paint(rows)
    text = "".join("".join(part for _, part in row).rstrip() + "\n" for row in rows)
    return text.encode("ascii", "backslashreplace").decode("ascii") if options.ascii else text
