"""Transfer functions: what an operation does to the reach of a state. Each takes the state before and gives the one
after.

`mark` is the step that the operation adds to a proof. The data beside them, which operation does what, is
`_library.toml`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from ._linear import ZERO, Linear
from ._state import UNKNOWN, Extent, Kind, Mark, Part, Start, State, blend, merged

SHIFT = "negative-shift-feature"
FILL = "backward-fill"
CENTERED = "centered-window"
STATISTIC = "whole-series-statistic"
ROW = "future-row-index"
MERGE = "forward-merge"
LENGTH = ":rows"  # ends the name of a symbol that is the number of rows
BUCKETS = "buckets"  # alignment of one row for each bucket of time


@dataclass(frozen=True, slots=True)
class Library:
    """The data of `_library.toml`, indexed by path or method name."""

    methods: Mapping[str, frozenset[str]]
    functions: Mapping[str, frozenset[str]]
    ahead: Mapping[str, Mapping[str, Any]]
    all_rows: Mapping[str, str]

    def indicator(self, path: str) -> bool:
        """Whether a path belongs to a package of indicators."""
        while path:
            if path in self.functions["indicators"]:
                return True
            path = path.rpartition(".")[0]
        return False


@cache
def library() -> Library:
    data = tomllib.loads(Path(__file__).with_name("_library.toml").read_text(encoding="utf-8"))
    return Library(
        {name: frozenset(words) for name, words in data["methods"].items()},
        {name: frozenset(words) for name, words in data["functions"].items()},
        {entry["path"]: entry for entry in data["ahead"]},
        {path: family for family, paths in data["all_rows"].items() for path in paths},
    )


# --- along the rows ---------------------------------------------------------------------------------------------------


def moved(state: State, by: Linear | None, family: str, mark: Mark) -> State:
    """Every exact reach moves by `by` bars; None: nobody knows how far. Other extents stay as they are."""
    if state.direction == 0 or by is None:
        return unordered(state)
    leads = not _at_most_zero(by)
    mark = mark._replace(columns=state.names)

    def change(part: Part) -> Part:
        if part.extent is Extent.BUCKET and state.align == BUCKETS and _at_most_zero(by + Linear(1)):
            return Part(part.source, reach=ZERO)  # the bucket before has ended
        if part.extent is not Extent.EXACT or part.reach is None:
            return part
        if not leads and not part.family:
            return replace(part, reach=part.reach + by)
        return part.marked(mark, reach=part.reach + by, family=part.family or family)

    return state.each(change).with_(smooth=False)


def _at_most_zero(form: Linear) -> bool:
    high = form.upper()
    return high is not None and high <= 0


def unordered(state: State) -> State:
    """Rows moved by an unknown amount, or along an axis that is not time: the exact reach is lost."""
    return state.each(lambda p: replace(p, reach=None, family="", trail=()) if p.extent is Extent.EXACT else p)


def shift(state: State, by: Linear | None, mark: Mark) -> State:
    """`shift(k)`: the value of k rows before; in reversed rows, of k rows later."""
    if by is not None and state.direction < 0:
        by = -by
    return moved(state, None if by is None else -by, SHIFT, mark)


def diff(state: State, by: Linear | None, mark: Mark) -> State:
    """`diff(k)`, `pct_change(k)`: the row itself and the one k before."""
    return blend((state, shift(state, by, mark))).with_(kind=state.kind)


def roll(state: State, by: Linear | None, mark: Mark) -> State:
    """`np.roll(x, k)`: a shift whose rows wrap around: the last k values stand in the first k rows."""
    turned = shift(state, by, mark).with_(kind=Kind.ARRAY)
    if by is None or not _at_most_zero(-by) or by == ZERO or not state.parts:
        return turned
    return turned.with_(parts=merged((*turned.parts, wrapped(mark))))


def wrapped(mark: Mark) -> Part:
    return Part(("", ""), SHIFT, Extent.WARMUP).marked(
        mark._replace(note=f"{mark.note} puts the last rows into the first ones")
    )


def head_overwritten(state: State) -> State:
    """A constant was stored into the first rows: what wrapped into them is gone."""
    return state.with_(parts=tuple(p for p in state.parts if not (p.extent is Extent.WARMUP and p.family == SHIFT)))


def reverse(state: State) -> State:
    return state.with_(direction=-state.direction)


def cut(state: State, lower: Linear | None, upper: Linear | None, mark: Mark) -> State:
    """`x[lower:upper]`. Rows with an index keep their names; by position, row j is now row j + lower."""
    if state.kind is Kind.WINDOW:
        return state
    upper = from_end(upper)
    if upper is not None and upper.terms:
        return moved(state, upper + Linear(-1), ROW, mark).with_(kind=Kind.WINDOW, head=ZERO, short=ZERO)
    if lower is None:
        return unordered(state).with_(short=ZERO, align="?")
    low, high = lower.lower(), None if upper is None else upper.upper()
    if low is not None and low < 0:
        return unordered(state).with_(align="?")
    ends = -upper if upper is not None and high is not None and high < 0 else ZERO
    if upper is not None and ends == ZERO:
        return state.with_(align="?", short=Linear(1), head=ZERO) if state.kind is not Kind.SERIES else state
    if state.kind is Kind.SERIES:
        return state.with_(head=state.head + lower)
    result = moved(state, lower, SHIFT, mark) if lower != ZERO else state
    return result.with_(short=state.short + lower + ends)


def from_end(upper: Linear | None) -> Linear | None:
    """`x[: len(x) - k]` ends where `x[:-k]` does, and `x[: len(x)]` at the end."""
    if upper is None or len(upper.terms) != 1:
        return upper
    symbol, factor = upper.terms[0]
    if factor != 1 or not symbol.name.endswith(LENGTH):
        return upper
    return Linear(upper.constant) if upper.constant < 0 else None


def to_array(state: State, mark: Mark) -> State:
    """`.values`: rows that were cut off in front move all others forward."""
    if state.kind in (Kind.SCALAR, Kind.WINDOW):
        return state
    result = moved(state, state.head, SHIFT, mark) if state.head != ZERO else state
    return result.with_(kind=Kind.ARRAY, head=ZERO, short=state.head)


def padded(pieces: list[tuple[State, Linear | None]], mark: Mark) -> State:
    """`np.r_[a, b]`, `np.concatenate`, `np.append`: rows move back by the constants in front of them. The length of a
    piece is None where it is not known; two pieces with rows in them have no order that is known."""
    rows = [(rank, state) for rank, (state, _) in enumerate(pieces) if state.parts]
    if len(rows) != 1:
        return unordered(blend([state for _, state in rows], Kind.ARRAY))
    rank, state = rows[0]
    front = total(length for _, length in pieces[:rank])
    behind = total(length for _, length in pieces[rank + 1 :])
    result = shift(state, front, mark) if front != ZERO else state
    short = ZERO if front is None or behind is None else state.short - front - behind
    return result.with_(kind=Kind.ARRAY, head=ZERO, short=short)


def total(lengths: Iterable[Linear | None]) -> Linear | None:
    found = ZERO
    for length in lengths:
        if length is None:
            return None
        found += length
    return found


# --- windows ----------------------------------------------------------------------------------------------------------


def rolling(state: State, width: Linear | None, *, center: bool, forward: bool, mark: Mark) -> State:
    """A window of `width` rows: trailing, centred or forward."""
    if state.direction == 0:
        return unordered(state)
    ahead: Linear | None = ZERO
    family = CENTERED
    if width is None:
        ahead = None
    elif center:
        ahead = (width + Linear(-1)).half(f"{mark.path}:{mark.line}:half")
    elif forward or state.direction < 0:
        ahead = width + Linear(-1)
        family = CENTERED if forward else SHIFT
    if not center and not forward and state.direction > 0:
        ahead = ZERO
    if ahead == ZERO:
        return state.with_(smooth=not state.unknown, start=Start.NONE)
    return moved(state, ahead, family, mark).with_(smooth=False)


def cumulative(state: State, start: Start, mark: Mark) -> State:
    """`cumsum` and its like, and expanding windows: the past only, unless the rows are reversed."""
    if state.direction < 0:
        return every_row(state, STATISTIC, mark)
    return state.with_(start=max(state.start, start), smooth=False)


# --- statistics and fills ---------------------------------------------------------------------------------------------


def every_row(state: State, family: str, mark: Mark, extent: Extent = Extent.SERIES) -> State:
    """The value of a row depends on rows to the end of the series (or of its bucket)."""
    if state.kind is Kind.WINDOW or not state.parts:
        return state

    def change(part: Part) -> Iterable[Part]:
        if part.extent > extent:
            return (part,)
        return (Part(part.source, family, extent, doubt=part.doubt, trail=part.trail).marked(mark),)

    return state.each(change).with_(smooth=False, start=Start.NONE)


def also(state: State, family: str, extent: Extent, mark: Mark) -> State:
    """The state itself, and beside it what `family` adds: a fill keeps the rows that it does not fill."""
    extra = [Part(p.source, family, extent, doubt=p.doubt, trail=p.trail).marked(mark) for p in state.parts[:1]]
    return state.with_(parts=merged((*state.parts, *extra)), smooth=False)


def statistic(state: State, mark: Mark) -> State:
    """A reduction of all rows to one number; of a trailing window it is just another window."""
    if state.kind is Kind.WINDOW:
        return state.with_(kind=Kind.SCALAR)
    if state.kind is Kind.SCALAR:
        return state
    return every_row(state, STATISTIC, mark).with_(kind=Kind.SCALAR, head=ZERO, short=ZERO)


def backward_fill(state: State, mark: Mark) -> State:
    """`bfill` and interpolation. After a forward fill or a rolling window only the warm-up is left to fill."""
    if state.direction == 0 or state.kind is Kind.SCALAR:
        return state
    return also(state, FILL, Extent.WARMUP if state.smooth else Extent.GAP, mark)


def forward_fill(state: State, mark: Mark) -> State:
    if state.direction < 0:
        return also(state, FILL, Extent.GAP, mark)
    return state.with_(smooth=not state.unknown)


def element(state: State, index: Linear | None, mark: Mark) -> State:
    """One row of a series by position: `x[i + c]` has the reach of row i + c as seen from row 0; storing it at row i
    takes i away again. The last row is that of all rows."""
    if state.kind in (Kind.SCALAR, Kind.WINDOW, Kind.TOP):
        return state.with_(kind=Kind.SCALAR) if state.kind is not Kind.TOP else UNKNOWN
    if index is None:
        return unordered(state).with_(kind=Kind.SCALAR)
    high = index.upper()
    if high is not None and high < 0 and not index.terms:
        last = "last" if state.direction > 0 else "first"
        if state.direction > 0:
            return statistic(state, mark._replace(note=f"{last} row of all"))
        return state.with_(kind=Kind.SCALAR, start=max(state.start, Start.STATE))
    result = moved(state, index if state.direction > 0 else None, ROW, mark)
    if not index.terms:
        result = state.with_(start=max(state.start, Start.STATE))  # a row at a fixed place: the past of nearly all rows
    return result.with_(kind=Kind.SCALAR, head=ZERO, short=ZERO)


def stored(value: State, index: Linear | None, mark: Mark) -> State:
    """A number stored into row `index`: its reach as seen from that row."""
    if not value.parts:
        return value
    if index is None:
        return unordered(value)
    if not index.terms:
        return unordered(value) if index.constant else value
    return moved(value, -index, ROW, mark).with_(kind=Kind.ARRAY)
