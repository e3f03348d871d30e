"""One rendering of proofs for all formats: call chain, interleaving of two tasks, code frame.

Everything given back is visible text (`escape.visible`), aligned by its terminal width; each writer still passes it
through the function of its sink.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass

from auditor.finding import Finding, Location, Step
from auditor.report import cells
from auditor.report.escape import TAB, line, lines, pad, visible, width

TASKS = ("[A]", "[B]")
# A frame shows at most this many columns of a line, around the marked span.
WINDOW = 140
_COLUMN = 56


@dataclass(frozen=True, slots=True)
class FrameLine:
    """One line of a code frame; the marked span is `[start, end)` in columns of `text`, empty if not marked."""

    number: int
    text: str
    start: int = 0
    end: int = 0

    @property
    def marked(self) -> bool:
        return self.end > self.start


@dataclass(frozen=True, slots=True)
class Frame:
    """The lines around a location."""

    path: str
    lines: tuple[FrameLine, ...]

    @property
    def gutter(self) -> int:
        return len(str(self.lines[-1].number))


def place(texts: Mapping[str, str], path: str, number: int) -> str:
    """A place as people read it: `bot/x.py:41`, in notebooks `nb.ipynb:cell 3:12`."""
    if path.endswith(".ipynb") and path in texts:
        found = cells.place(texts[path], number)
        if found is not None:
            return f"{line(path)}:cell {found[0]}:{found[1]}"
    return f"{line(path)}:{number}"


def is_race(finding: Finding) -> bool:
    """Whether the proof is an interleaving of two tasks."""
    return any(step.note.startswith(TASKS) for step in finding.proof)


def text(finding: Finding, texts: Mapping[str, str]) -> tuple[str, ...]:
    """The proof as aligned lines, in the form that its steps ask for; empty without proof."""
    return interleaving(finding.proof, texts) if is_race(finding) else chain(finding.proof, texts)


def chain(proof: tuple[Step, ...], texts: Mapping[str, str]) -> tuple[str, ...]:
    """One line per step, source to sink: place, then note."""
    places = [place(texts, step.path, step.line) for step in proof]
    columns = max((width(shown) for shown in places), default=0)
    return tuple(f"{pad(shown, columns)}   {line(step.note)}" for shown, step in zip(places, proof, strict=True))


def interleaving(proof: tuple[Step, ...], texts: Mapping[str, str]) -> tuple[str, ...]:
    """Two columns, one per task, time running down. A step without a task stands in the column of the step before."""
    sides: list[tuple[int, list[str]]] = []
    side = 0
    for step in proof:
        note = step.note
        for index, mark in enumerate(TASKS):
            if note.startswith(mark):
                side, note = index, note.removeprefix(mark).strip()
        entry = f"{place(texts, step.path, step.line)}  {line(note)}"
        wrapped = textwrap.wrap(entry, _COLUMN, subsequent_indent="    ", break_on_hyphens=False)
        sides.append((side, wrapped or [""]))
    left = max([width("task A"), *(width(row) for where, rows in sides if where == 0 for row in rows)])
    shown = [f"{pad('task A', left)} | task B"]
    for where, rows in sides:
        shown += [f"{pad(row, left)} |" if where == 0 else f"{pad('', left)} | {row}" for row in rows]
    return tuple(shown)


def frame(texts: Mapping[str, str], location: Location, context: int = 1) -> Frame | None:
    """The lines of a location with `context` lines around; None if the text is not there or has no such line."""
    if location.path not in texts:
        return None
    source = lines(texts[location.path])
    if not 1 <= location.line <= len(source):
        return None
    first = max(1, location.line - context)
    # A span of many lines is shown by its beginning.
    last_marked = min(max(location.end_line, location.line), location.line + 3, len(source))
    last = min(len(source), last_marked + context)
    if last == len(source) and source[last - 1] == "" and last > location.line:
        last -= 1
    return Frame(location.path, tuple(_frame_line(source[n - 1], n, location) for n in range(first, last + 1)))


def _frame_line(raw: str, number: int, location: Location) -> FrameLine:
    shown = _expanded(raw)
    end_line = max(location.end_line, location.line)
    if not location.line <= number <= end_line:
        return FrameLine(number, _cut(shown, 0)[0])
    begin = location.column - 1 if number == location.line else len(raw) - len(raw.lstrip())
    finish = location.end_column - 1 if number == end_line else len(raw)
    begin = min(max(begin, 0), len(raw))
    finish = min(max(finish, begin + 1), max(len(raw), begin + 1))
    start = width(_expanded(raw[:begin]))
    stop = max(width(_expanded(raw[:finish])), start + 1)
    cut, shift = _cut(shown, start)
    return FrameLine(number, cut, start - shift, max(min(stop - shift, width(cut)), start - shift + 1))


def _expanded(raw: str) -> str:
    return visible(raw, keep="\t").expandtabs(TAB)


def _cut(shown: str, start: int) -> tuple[str, int]:
    """At most WINDOW columns of a line, with `start` among them, and by how many columns it moved to the left."""
    if len(shown) <= WINDOW:
        return shown, 0
    # Wide characters make this window too wide at worst, never too narrow.
    begin = 0 if start < WINDOW - 20 else start - 40
    head, tail = "..." if begin else "", "..." if begin + WINDOW < len(shown) else ""
    skipped = width(shown[:begin])
    return head + shown[begin : begin + WINDOW] + tail, skipped - len(head)


def frame_text(shown: Frame, carets: bool = True) -> tuple[str, ...]:
    """A frame as lines: `>` before the marked lines, carets below the first of them."""
    gutter = shown.gutter
    rows: list[str] = []
    drawn = False
    for row in shown.lines:
        rows.append(f"{'>' if row.marked else ' '} {row.number:>{gutter}} | {row.text}".rstrip())
        if carets and row.marked and not drawn:
            rows.append(f"  {'':>{gutter}} | {' ' * row.start}{'^' * (row.end - row.start)}")
            drawn = True
    return tuple(rows)
