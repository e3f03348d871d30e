"""Two versions of a tree -> which lines changed, and which change stands behind a finding on an unchanged line."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from auditor.finding import Finding
from auditor.triage.suppress import Statement

_LINES = re.compile(r"[^\r\n]*+(?:\r\n|\r|\n)|[^\r\n]++")
_MOST_PAIRS = 250_000  # of lines that are aligned; beyond, a line is changed if the old text has fewer equal ones


class Place(NamedTuple):
    """A line of a file, 1-based."""

    path: str
    line: int


class Changes:
    """What changed between two trees. `renames` maps old paths to new ones; `statements(path)` are those of the new text,
    sorted."""

    def __init__(
        self,
        before: Mapping[str, str],
        now: Mapping[str, str],
        renames: Mapping[str, str],
        statements: Callable[[str], Sequence[Statement]],
    ) -> None:
        self._before = before
        self._now = now
        self._old_paths = {new: old for old, new in renames.items()}
        self._statements = statements
        self._changed: dict[str, tuple[frozenset[int], frozenset[int]]] = {}

    def lines(self, path: str) -> tuple[frozenset[int], frozenset[int]]:
        """Lines of the new text that the old one does not have; and these with the lines after a deletion."""
        found = self._changed.get(path)
        if found is None:
            old = self._before.get(self._old_paths.get(path, path), "")
            pairs = list(changed_lines(_LINES.findall(old), _LINES.findall(self._now.get(path, ""))))
            written = frozenset(line for line, is_written in pairs if is_written)
            found = self._changed[path] = (written, frozenset(line for line, _ in pairs))
        return found

    def behind(self, finding: Finding) -> tuple[Place, int, bool] | None:
        """The change that a finding comes from, where the statement that it stands on did not change: the place, the rank
        of the proof step that it belongs to, and whether it is that step.

        The first step on a changed statement; else a changed line around a step: in its function, then in the functions
        and classes around that, then at the top of its file. None if the finding's own statement changed, or if nothing
        near the proof did.
        """
        primary = Place(finding.path, finding.line)
        if self._in_statement(primary) is not None:
            return None
        steps = [Place(step.path, step.line) for step in finding.proof]
        for rank, step in enumerate(steps):
            if self._in_statement(step) is not None:
                return step, rank, True
        candidates = list(enumerate(steps)) or [(0, primary)]
        for depth in ("function", "around", "file"):
            for rank, candidate in candidates:
                line = self._near(candidate, depth)
                if line is not None:
                    return Place(candidate.path, line), rank, False
        return None

    def columns(self, place: Place) -> tuple[int, int]:
        """First column of the text on a line, and the column after its end."""
        lines = _LINES.findall(self._now.get(place.path, ""))
        text = lines[place.line - 1].rstrip("\r\n") if place.line <= len(lines) else ""
        return len(text) - len(text.lstrip()) + 1, len(text) + 1

    def _in_statement(self, place: Place) -> int | None:
        """A changed line in the statement at a place (of a compound one: in its header)."""
        around = [s for s in self._statements(place.path) if s.line <= place.line <= s.header_end]
        first, last = (around[-1].line, around[-1].header_end) if around else (place.line, place.line)
        return _first(self.lines(place.path)[0], first, last)

    def _near(self, place: Place, depth: str) -> int | None:
        changed = self.lines(place.path)[1]
        if not changed:
            return None
        scopes = [s for s in self._statements(place.path) if s.scope and s.line <= place.line <= s.end]
        if depth == "function":
            return _first(changed, scopes[-1].line, scopes[-1].end) if scopes else None
        if depth == "around":
            found = (_first(changed, s.line, s.end) for s in reversed(scopes[:-1]))
            return next((line for line in found if line is not None), None)
        inside = [s for s in self._statements(place.path) if s.scope]
        return min((line for line in changed if not any(s.line <= line <= s.end for s in inside)), default=None)


def changed_lines(old: Sequence[str], new: Sequence[str]) -> Iterator[tuple[int, bool]]:
    """1-based numbers of lines of `new`: (line, True) if it is no line of `old` in the same order, (line, False) if the
    line before it was deleted."""
    start = 0
    while start < min(len(old), len(new)) and old[start] == new[start]:
        start += 1
    end = 0
    while end < min(len(old), len(new)) - start and old[-1 - end] == new[-1 - end]:
        end += 1
    before, now = old[start : len(old) - end], new[start : len(new) - end]
    if len(before) * len(now) > _MOST_PAIRS:
        left = Counter(before)
        for rank, line in enumerate(now):
            left[line] -= 1
            if left[line] < 0:
                yield start + rank + 1, True
        return
    for kind, _, _, first, last in difflib.SequenceMatcher(None, before, now, autojunk=False).get_opcodes():
        if kind == "delete":
            yield min(start + first + 1, max(len(new), 1)), False
        elif kind != "equal":
            yield from ((line, True) for line in range(start + first + 1, start + last + 1))


def _first(changed: frozenset[int], first: int, last: int) -> int | None:
    return min((line for line in changed if first <= line <= last), default=None)
