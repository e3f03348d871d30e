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

from ._linear import ZERO, Linear, Symbol, unknown
from ._state import BUCKETS, FIXED, SOMEHOW, UNKNOWN, Cut, Extent, Kind, Mark, Part, Start, State, blend, merged

SHIFT = "negative-shift-feature"
FILL = "backward-fill"
CENTERED = "centered-window"
STATISTIC = "whole-series-statistic"
ROW = "future-row-index"
MERGE = "forward-merge"
UNANCHORED = "unanchored-cumulative"
INDICATOR = "leaky-indicator"
TARGET = "target-in-features"
PROFIT = "unlagged-signal-return"
STEP = ":i"  # ends the name of a symbol that is the step of a loop
LENGTH = ":rows"  # ends the name of a symbol that is the number of rows


@dataclass(frozen=True, slots=True)
class Library:
    """The data of `_library.toml`: sets of methods and functions that behave alike."""

    methods: Mapping[str, frozenset[str]]
    functions: Mapping[str, frozenset[str]]


@cache
def library() -> Library:
    data = tomllib.loads(Path(__file__).with_name("_library.toml").read_text(encoding="utf-8"))
    return Library(
        {name: frozenset(words) for name, words in data["methods"].items()},
        {name: frozenset(words) for name, words in data["functions"].items()},
    )


# --- along the rows ---------------------------------------------------------------------------------------------------


def moved(state: State, by: Linear | None, family: str, mark: Mark) -> State:
    """Every exact reach moves by `by` bars; None: nobody knows how far. Other extents stay as they are."""
    if state.direction == 0 or by is None:
        return unordered(state)
    leads = not _at_most_zero(by)
    if leads and state.kind is Kind.WINDOW:
        return state  # inside of a window nothing reaches beyond its end
    mark = mark._replace(columns=state.names)

    def change(part: Part) -> Part:
        if part.extent is Extent.BUCKET:
            return _bucket_moved(part, by, mark, buckets=BUCKETS in state.align[-1:])
        if part.extent is not Extent.EXACT or part.reach is None:
            return part
        if not leads and not part.family:
            return replace(part, reach=part.reach + by)
        return part.marked(mark, reach=part.reach + by, family=part.family or family)

    return state.each(change).with_(smooth=False, tag=state.tag if by == ZERO else "")


def _bucket_moved(part: Part, by: Linear, mark: Mark, *, buckets: bool) -> Part:
    """A bucket shifted by rows of its own, where one is enough, or by base rows, where all but one of it are."""
    inside = part.reach
    if inside is None:
        return Part(part.source, reach=None) if buckets and _at_most_zero(by + Linear(1)) else part
    if buckets:
        if not _at_most_zero(by + Linear(1)):
            return part
        return part.marked(mark, reach=inside + Linear(-1), extent=Extent.EXACT, family=SHIFT, span=None)
    left = inside + by
    if part.span is not None and _at_most_zero(left + Linear(part.span - 1)):
        return Part(part.source, reach=left + Linear(part.span - 1), doubt=part.doubt)
    return replace(part, reach=left)


def _at_most_zero(form: Linear) -> bool:
    high = form.upper()
    return high is not None and high <= 0


def unordered(state: State) -> State:
    """Rows moved by an unknown amount, or along an axis that is not time: the exact reach is lost."""
    changed = [replace(p, reach=None, family="", site="", trail=()) if p.extent is Extent.EXACT else p for p in state.parts]
    return state.with_(parts=merged(p for p in changed if p.extent is not Extent.START))


def shift(state: State, by: Linear | None, mark: Mark) -> State:
    """`shift(k)`: the value of k rows before; in reversed rows, of k rows later."""
    if by is not None and state.direction < 0:
        by = -by
    return moved(state, None if by is None else -by, SHIFT, mark)


def diff(state: State, by: Linear | None, mark: Mark) -> State:
    """`diff(k)`, `pct_change(k)`: the row itself and the one k before."""
    return without_start(blend((state, shift(state, by, mark))).with_(kind=state.kind))


def roll(state: State, by: Linear | None, mark: Mark) -> State:
    """`np.roll(x, k)`: a shift whose rows wrap around: the last k values stand in the first k rows."""
    turned = shift(state, by, mark).with_(kind=Kind.ARRAY)
    if by is None or not _at_most_zero(-by) or by == ZERO or not state.parts:
        return turned
    return turned.with_(parts=merged((*turned.parts, wrapped(mark))))


def wrapped(mark: Mark) -> Part:
    note = f"{mark.note} puts the last rows into the first ones"
    return Part(("", ""), SHIFT, Extent.WARMUP).marked(mark._replace(note=note, until="wrap"))


def on_base(state: State) -> State:
    """Rows of a longer timeframe that were laid on those of the base one again."""
    if BUCKETS not in state.align:
        return state.with_(align=())
    spans = [part.span for part in state.parts if part.span]
    base = state.timeframe // spans[0] if state.timeframe is not None and spans else None
    return state.with_(align=(), timeframe=base)


def restamped(state: State, minutes: int) -> State:
    """Rows that got times so many minutes later (0: nobody knows): a bucket may now be labelled by its end."""
    return state.each(lambda p: _stamped_later(p, minutes, state.timeframe))


def _stamped_later(part: Part, minutes: int, period: int | None) -> Part:
    if part.extent is not Extent.BUCKET or part.family != MERGE:
        return part
    if period is None or minutes <= 0 or 2 * minutes < period:
        return Part(part.source, reach=None)
    return Part(part.source, reach=part.reach, doubt=part.doubt)  # stamped with the last base row of the bucket, or later


def rows_name(state: State) -> str:
    """The set of rows of a state, as a name."""
    return "|".join(f"{cut.how}@{cut.site}" for cut in state.align)


def length(state: State) -> Linear:
    """How many rows a state has: a symbol for its set of rows, less those that were cut off."""
    cut = tuple(c for c in state.align if c.how != "slice")
    missing = state.short if state.kind is Kind.ARRAY else state.head
    return unknown(f"{rows_name(state.with_(align=cut))}{LENGTH}", 0) - missing


DROPPING = frozenset({"dropna", "mask", "drop_duplicates", "sample"})


def misplaced(state: State, index: Linear) -> bool:
    """Whether a loop that counts one set of rows reads another, from which rows were dropped."""
    dropped = [cut for cut in state.align if cut.how in DROPPING]
    counted = [symbol.name for symbol, _ in index.terms if "]:" in symbol.name]
    return bool(dropped) and any(f"[{rows_name(state)}]" not in name for name in counted)


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
    if upper is not None and any(is_step(symbol) for symbol, _ in upper.terms):
        return moved(state, upper + Linear(-1), ROW, mark).with_(kind=Kind.WINDOW, head=ZERO, short=ZERO)
    if lower is None:
        return unordered(state).with_(short=ZERO).narrowed(SOMEHOW)
    if state.kind is Kind.TOP:
        return state
    low, high = lower.lower(), None if upper is None else upper.upper()
    rows = Cut("slice", "", lower, upper, f"{mark.path}:{mark.line}")
    if low is not None and low < 0:
        return unordered(state).narrowed(rows)
    ends = -upper if upper is not None and high is not None and high < 0 else ZERO
    if upper is not None and ends == ZERO and (lower == ZERO or state.kind is Kind.SERIES):
        part = state.narrowed(rows)
        return part.with_(short=Linear(1), head=ZERO) if state.kind is not Kind.SERIES else part
    if state.kind is Kind.SERIES:
        return state.with_(head=state.head + lower).narrowed(rows) if lower != ZERO or ends != ZERO else state
    result = moved(state, lower, SHIFT, mark) if lower != ZERO else state
    return result.with_(short=state.short + lower + ends).narrowed(rows)


INDEX_WORDS = frozenset({"i", "j", "k", "t", "idx", "index", "pos", "position", "bar", "row", "ix", "n_bar", "now", "current"})


def is_step(symbol: Symbol) -> bool:
    """Whether an unknown number is the step of a loop, or a parameter that is called as one."""
    name = symbol.name
    return name.endswith(STEP) or (name.startswith("param:") and name[6:].lower() in INDEX_WORDS)


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
        return state.with_(smooth=not state.unknown and not state.holes)
    return moved(state, ahead, family, mark).with_(smooth=False)


def cumulative(state: State, start: Start, mark: Mark) -> State:
    """`cumsum` and its like, and expanding windows: the past only, unless the rows are reversed."""
    if state.direction < 0:
        return every_row(state, STATISTIC, mark)
    spread = state.each(
        lambda p: replace(p, extent=Extent.SERIES) if p.extent is Extent.WARMUP and p.family == SHIFT else p
    )
    return started(spread, start, mark)


def started(state: State, start: Start, mark: Mark) -> State:
    """The value of a row depends on where the loaded rows begin."""
    if not state.parts or state.unknown or start is Start.NONE:
        return state.with_(smooth=False)
    first = state.parts[0]
    part = Part(first.source, UNANCHORED, Extent.START, start=start, doubt=first.doubt).marked(mark)
    return state.with_(parts=merged((*state.parts, part)), smooth=False)


def without_start(state: State, *kinds: Start) -> State:
    """The state after what cancels its dependence on the first row: all of it, or of some kinds."""
    if state.start is Start.NONE:
        return state
    kept = tuple(p for p in state.parts if p.extent is not Extent.START or (kinds and p.start not in kinds))
    return state.with_(parts=kept)


# --- statistics and fills ---------------------------------------------------------------------------------------------


def every_row(
    state: State, family: str, mark: Mark, extent: Extent = Extent.SERIES, span: int | None = None
) -> State:
    """The value of a row depends on rows to the end of the series (or of its bucket)."""
    if state.kind in (Kind.WINDOW, Kind.TOP) or state.tag == FIXED or not state.parts:
        return state

    def change(part: Part) -> Iterable[Part]:
        if part.extent > extent:
            return (part,)
        if part.extent is Extent.START:
            return ()
        inside = part.reach if extent is Extent.BUCKET and part.extent is Extent.EXACT else ZERO
        return (Part(part.source, family, extent, inside, part.doubt, span=span, trail=part.trail).marked(mark),)

    return state.each(change).with_(smooth=False)


def also(state: State, family: str, extent: Extent, mark: Mark) -> State:
    """The state itself, and beside it what `family` adds: a fill keeps the rows that it does not fill."""
    if state.kind is Kind.WINDOW:
        return state
    extra = [Part(p.source, family, extent, doubt=p.doubt, trail=p.trail).marked(mark) for p in state.parts[:1]]
    return state.with_(parts=merged((*state.parts, *extra)), smooth=False)


def statistic(state: State, mark: Mark) -> State:
    """A reduction of all rows to one number; of a trailing window it is just another window."""
    if state.kind is Kind.WINDOW:
        return state.with_(kind=Kind.SCALAR)
    if state.kind is Kind.SCALAR or state.tag == FIXED:
        return state.with_(kind=Kind.SCALAR)
    last = state.align[-1] if state.align else None
    if last is not None and last.how in ("slice", "head") and last.upper is not None and last.lower in (None, ZERO):
        return _of_head(state, last.upper, mark).with_(kind=Kind.SCALAR, head=ZERO, short=ZERO, align=())
    return every_row(state, STATISTIC, mark).with_(kind=Kind.SCALAR, head=ZERO, short=ZERO, align=())


def _of_head(state: State, upper: Linear, mark: Mark) -> State:
    """A statistic of the first rows, of all or a share of them: past for all rows behind, which alone are used with it."""
    if upper.terms:
        return state
    if upper.constant <= 0:
        return every_row(state, STATISTIC, mark)
    known = state.each(lambda p: replace(p, reach=ZERO) if p.extent is Extent.EXACT else p)
    return also(known, STATISTIC, Extent.WARMUP, mark._replace(note=f"{mark.note} of the first {upper} rows", until="head"))


def backward_fill(state: State, mark: Mark) -> State:
    """`bfill` and interpolation. After a forward fill or a rolling window only the warm-up is left to fill; in rows that
    run backward the next row is an older one."""
    if state.direction == 0 or state.kind is Kind.SCALAR or (state.direction < 0 and mark.name == "bfill"):
        return state
    return also(state, FILL, Extent.WARMUP if state.smooth else Extent.GAP, mark)


def forward_fill(state: State, mark: Mark) -> State:
    if state.direction < 0:
        return also(state, FILL, Extent.GAP, mark)
    return state.with_(smooth=not state.unknown, holes=False)


def element(state: State, index: Linear | None, mark: Mark) -> State:
    """One row of a series by position: `x[i + c]` has the reach of row i + c as seen from row 0; storing it at row i
    takes i away again. The last row is that of all rows."""
    if state.kind in (Kind.SCALAR, Kind.WINDOW, Kind.TOP, Kind.POSITION):
        return state.with_(kind=Kind.SCALAR) if state.kind is not Kind.TOP else UNKNOWN
    if index is None:
        return unordered(state).with_(kind=Kind.SCALAR)
    high = index.upper()
    if high is not None and high < 0 and not index.terms:
        if state.direction > 0:
            return statistic(state, mark._replace(note="last row of all", until="row"))
        return started(state, Start.SCALE, mark._replace(note="first row")).with_(kind=Kind.SCALAR)
    if misplaced(state, index):
        dropped = next(cut.how for cut in reversed(state.align) if cut.how in DROPPING)
        note = mark._replace(note=f"read by position after {dropped}", until="position")
        return every_row(state, ROW, note).each(lambda p: replace(p, doubt=True)).with_(kind=Kind.SCALAR)
    result = moved(state, index if state.direction > 0 else None, ROW, mark)
    if not index.terms and state.direction > 0:  # a row at a fixed place: the past of nearly all rows
        past = state.each(lambda p: Part(p.source, doubt=p.doubt) if p.extent is Extent.EXACT and p.reach is not None else p)
        result = started(past, Start.SCALE, mark._replace(note="first row"))
    elif not index.terms:
        result = statistic(state, mark._replace(note="last row of all", until="row"))
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
