"""What is known of a value that derives from market data: how far into the future each of its sources reaches.

A state is a bundle of *parts*. A part names its source (the data itself, or a parameter of the function under
interpretation), the family of the mistake that made it look ahead, how its reach is known (its extent), and the reach:
the largest k such that row t may depend on row t+k. The reach of the state is the maximum over its parts; they are kept
apart because a later lag moves an exact reach but never cures a statistic of all rows.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from ._linear import ZERO, Linear

MAX_FORMS = 4  # incomparable reaches of one source and family; more are unknown
MAX_MARKS = 24
MAX_SITES = 6  # mistakes of one family in one value


class Extent(enum.IntEnum):
    """How a reach is known. Higher wins in a join. START is no look-ahead: the value depends on where the loaded rows
    begin."""

    START = -1
    WARMUP = 0  # only rows before the first valid one
    EXACT = 1  # the reach is a number (or a form)
    GAP = 2  # until the next observation
    BUCKET = 3  # until the day, hour or group ends
    SERIES = 4  # all rows


class Kind(enum.Enum):
    SERIES = "series"  # rows with an index: assignments align by it
    ARRAY = "array"  # rows by position
    SCALAR = "scalar"
    WINDOW = "window"  # a trailing slice of the past
    POSITION = "position"  # numbers of rows; the reach is that of the knowledge that the row is one of them
    PREDICTION = "prediction"
    OTHER = "other"
    TOP = "unknown"


class Start(enum.IntEnum):
    """How a value changes when older history is cut off."""

    NONE = 0
    CONVERGES = 1  # expanding windows
    OFFSET = 2  # cumsum: an additive constant
    SCALE = 3  # cumprod, ratio to the first row
    STATE = 4  # running extremes, ratios of cumsums


class Mark(NamedTuple):
    """One step of a proof; `reach` is that after the step. `call` marks the entry into a function; `given` says that a
    parameter decides the amount, which is then the business of a caller; `columns` are those that were moved."""

    path: str
    line: int
    column: int
    end_line: int
    end_column: int
    note: str
    name: str
    reach: Linear | None = None
    call: bool = False
    given: bool = False
    columns: tuple[str, ...] = ()
    until: str = ""  # what has to end before the value is known: day, hour, run; or what else the sentence needs
    extent: str = ""  # the class of the reach in words, where it is no number


class Event(NamedTuple):
    """Something that happened to a model or to a set of rows; `_learning` says what the fields mean."""

    kind: str
    name: str
    mark: Mark
    model: str = ""
    path: str = ""
    values: tuple[tuple[str, State], ...] = ()
    stated: tuple[tuple[str, str], ...] = ()
    calls: tuple[Mark, ...] = ()
    owner: tuple[str, int] = ("", 0)

    def of(self, role: str) -> tuple[State, ...]:
        return tuple(state for name, state in self.values if name == role)


class Cut(NamedTuple):
    """One step from a set of rows to a smaller or another one. `how`: slice (rows lower to upper by position), mask,
    index, dropna, head, tail, sample, split (`key` is train or test), buckets, ?. `site` is where it is made: two sets of
    rows are the same if their steps are."""

    how: str
    key: str = ""
    lower: Linear | None = None
    upper: Linear | None = None
    site: str = ""


MAX_CUTS = 8
SOMEHOW = Cut("?")
BUCKETS = Cut("buckets")  # one row for each bucket of time


@dataclass(frozen=True, slots=True)
class Part:
    """`source` is (parameter, column), ("", "") for data that comes from no parameter. `family` is the rule that would
    report the part, "" for a part that is causal, and `site` the place where it began to look ahead: two of them are two
    mistakes. A reach of None is unknown. `doubt` says that a call which is not
    modelled stands on the way. A part of extent START says how the value depends on the first loaded row; that of an
    argument has a source that begins with `^`, so that it can be told from one that the callee makes. Of extent BUCKET,
    `reach` is that of the values inside of the bucket, less what they were shifted by later, and `span` the number of base
    rows that a bucket has, None where that is not known."""

    source: tuple[str, str] = ("", "")
    family: str = ""
    extent: Extent = Extent.EXACT
    reach: Linear | None = ZERO
    doubt: bool = False
    start: Start = Start.NONE
    span: int | None = None
    site: str = field(default="", compare=False)
    trail: tuple[Mark, ...] = field(default=(), compare=False)

    @property
    def ahead(self) -> bool:
        """Whether the part is proven to look ahead."""
        if self.extent is not Extent.EXACT:
            return self.extent is not Extent.START
        low = None if self.reach is None else self.reach.lower()
        return low is not None and low >= 1

    def marked(self, mark: Mark, **changes: object) -> Part:
        part = replace(self, **changes)  # type: ignore[arg-type]  # the fields of this record
        if part.family and not part.site:
            part = replace(part, site=f"{mark.path}:{mark.line}")
        trail = (*self.trail, described(mark, part))
        return replace(part, trail=trail[:MAX_MARKS])


WORDS = {
    Extent.WARMUP: "first rows only", Extent.GAP: "to the next observation", Extent.BUCKET: "to the end of the bucket",
    Extent.SERIES: "all rows",
}  # fmt: skip


def described(mark: Mark, part: Part) -> Mark:
    """A step with the reach of the part after it."""
    exact = part.extent is Extent.EXACT
    return mark._replace(reach=part.reach if exact else None, extent=WORDS.get(part.extent, ""))


@dataclass(frozen=True, slots=True)
class State:
    """`direction` is 1 for rows in the order of time, -1 for reversed rows, 0 where rows are no time. `head` counts
    rows that were cut off in front: of an index that still names them (kind SERIES), or by position, where the reach
    holds them already and `short` counts what is missing. `sure` is False where only use suggests that this is market
    data."""

    parts: tuple[Part, ...] = ()
    kind: Kind = Kind.SERIES
    direction: int = 1
    head: Linear = ZERO
    short: Linear = ZERO
    align: tuple[Cut, ...] = ()  # from the rows that its source has to those that it has
    timeframe: int | None = None
    sure: bool = True
    smooth: bool = False  # a plain rolling result: its holes are the warm-up
    holes: bool = False  # a condition took rows out of it
    names: tuple[str, ...] = ()  # columns that it was read from
    rows: Linear | None = None  # how many rows it has, where that is a number
    tag: str = ""  # FIXED or STACKED rows; of a profit: the CHANGE of a price up to the row, a POSITION taken at it, what it EARNED
    within: str = ""  # a condition on the time of day outside of which it holds nothing

    @property
    def extent(self) -> Extent:
        """The gravest extent; WARMUP only if nothing else looks ahead."""
        return max((part.extent for part in self.parts if part.ahead), default=Extent.EXACT)

    @property
    def start(self) -> Start:
        """How the value changes when older history is cut off."""
        return max((part.start for part in self.parts), default=Start.NONE)

    def narrowed(self, cut: Cut) -> State:
        """The same values in fewer rows."""
        align = (*self.align, cut)
        return replace(self, align=align if len(align) <= MAX_CUTS else (SOMEHOW,))

    @property
    def unknown(self) -> bool:
        return any(part.reach is None for part in self.parts)

    def reach(self) -> int | None:
        """The exact reach as a number, at least 0; None if a part of it is a form or unknown."""
        reach = 0
        for part in self.parts:
            if part.extent is Extent.EXACT:
                if part.reach is None or part.reach.terms:
                    return None
                reach = max(reach, part.reach.constant)
        return reach

    def each(self, change: Callable[[Part], Part | Iterable[Part]]) -> State:
        parts: list[Part] = []
        for part in self.parts:
            changed = change(part)
            parts.extend((changed,) if isinstance(changed, Part) else changed)
        return replace(self, parts=merged(parts))

    def with_(self, **changes: object) -> State:
        return replace(self, **changes)  # type: ignore[arg-type]  # the fields of this record


FIXED, STACKED = "fixed", "stacked"  # a number on every row; rows of several series beside each other
CHANGE, POSITION, EARNED = "change", "position", "earned"
CONSTANT = State((), Kind.SCALAR)
UNKNOWN = State((Part(reach=None),), Kind.TOP, direction=0, sure=False)
DATA = State((Part(),))


def merged(parts: Iterable[Part]) -> tuple[Part, ...]:
    """Parts without those that another one covers, in a fixed order. What is causal belongs to no family."""
    groups: dict[tuple[tuple[str, str], str, Extent, str], list[Part]] = {}
    for part in parts:
        if part.extent is Extent.EXACT and part.family and part.reach is not None:
            high = part.reach.upper()
            if high is not None and high <= 0:
                part = replace(part, family="", site="", trail=())  # noqa: PLW2901 - the same under its new name
        if part.extent is Extent.EXACT and part.reach is None and part.family:
            part = replace(part, family="", site="", trail=())  # noqa: PLW2901 - an unknown reach is nobody's mistake
        if part.extent not in (Extent.EXACT, Extent.BUCKET) and part.reach != ZERO:
            part = replace(part, reach=ZERO)  # noqa: PLW2901 - only an exact reach is a number
        groups.setdefault((part.source, part.family, part.extent, part.site), []).append(part)
    found: list[Part] = []
    counts: dict[tuple[object, ...], int] = {}
    for key in sorted(groups):
        counts[key[:3]] = counts.get(key[:3], 0) + 1
        if counts[key[:3]] <= MAX_SITES:
            found.extend(_maximal(groups[key]))
    return tuple(found)


def _maximal(parts: list[Part]) -> list[Part]:
    first = parts[0]
    if len(parts) == 1:
        return parts
    if first.extent is Extent.BUCKET:
        known = [p for p in parts if p.reach is not None]
        far = [p for p in known if all(q.reach is None or (p.reach or ZERO).covers(q.reach) for q in known)]
        return [min(far or parts, key=_story)]
    if first.extent is not Extent.EXACT:
        return [min(parts, key=_story)]
    if any(part.reach is None for part in parts):
        return [next(part for part in parts if part.reach is None)]
    kept: list[Part] = []
    for part in sorted(parts, key=_story):
        reach = part.reach or ZERO
        if any((other.reach or ZERO).covers(reach) for other in kept):
            continue
        kept = [other for other in kept if not reach.covers(other.reach or ZERO)]
        kept.append(part)
    if len(kept) > MAX_FORMS:
        return [replace(first, reach=None, family="", site="", trail=())]
    return sorted(kept, key=lambda part: (part.reach or ZERO).order())


def _story(part: Part) -> tuple[object, ...]:
    """Of equal parts the one that is surer, then has the shorter proof, tells the story."""
    return part.doubt, len(part.trail), [mark[:3] for mark in part.trail]


def join(one: State, other: State) -> State:
    """What holds on either of two paths."""
    if one == other:
        return one
    return State(
        merged((*one.parts, *other.parts)),
        one.kind if one.kind is other.kind else _wider(one.kind, other.kind),
        one.direction
        if one.direction == other.direction
        else (0 if one.parts and other.parts else one.direction or other.direction),
        one.head if one.head == other.head else ZERO,
        one.short if one.short == other.short else ZERO,
        one.align if one.align == other.align else (SOMEHOW,),
        one.timeframe if one.timeframe == other.timeframe else None,
        one.sure and other.sure,
        one.smooth and other.smooth,
        one.holes or other.holes,
        tuple(sorted({*one.names, *other.names}))[:MAX_FORMS],
        tag=one.tag if one.tag == other.tag or not other.parts else other.tag if not one.parts else "",
    )


def _wider(one: Kind, other: Kind) -> Kind:
    for kind in (Kind.SERIES, Kind.ARRAY, Kind.WINDOW):  # a number broadcast over rows is rows
        if kind in (one, other) and Kind.SCALAR in (one, other):
            return kind
    return Kind.TOP


def blend(states: Iterable[State], kind: Kind | None = None) -> State:
    """The state of a value computed row by row from all of these: the maximum of the operands."""
    listed = [state for state in states if state.parts or state.kind is not Kind.SCALAR]
    if not listed:
        return CONSTANT if kind is None else CONSTANT.with_(kind=kind)
    rows = [state for state in listed if state.kind not in (Kind.SCALAR, Kind.OTHER)] or listed
    lead = next((state for state in rows if state.parts), rows[0])  # constants in rows take the shape of what they meet
    directions = {state.direction for state in rows if state.parts}
    parts = merged(part for state in listed for part in state.parts)
    if len(directions) > 1 and lead.kind is Kind.ARRAY:
        parts = UNKNOWN.parts  # rows of two orders, paired by position
    return State(
        parts,
        kind or lead.kind,
        lead.direction,
        lead.head if all(state.head == lead.head for state in rows) else ZERO,
        lead.short
        if all(state.short == lead.short for state in rows)
        else max((s.short for s in rows), key=lambda f: f.lower() or 0),
        lead.align if all(state.align == lead.align for state in rows) else (SOMEHOW,),
        lead.timeframe,
        all(state.sure for state in listed),
        False,
        any(state.holes for state in listed),
        tuple(sorted({name for state in listed for name in state.names}))[:MAX_FORMS],
        tag=FIXED if parts and rows is not listed and not lead.parts else "",
    )


def substituted(
    state: State,
    sources: Callable[[tuple[str, str]], State | None],
    symbols: Mapping[str, Linear | None],
    call: Mark,
) -> State:
    """A state of a callee as its caller sees it: parameters replaced by arguments, the call added to the proof."""
    parts: list[Part] = []
    sure = state.sure
    align = state.align
    for part in state.parts:
        reach = None if part.reach is None else part.reach.replaced(symbols)
        marks = tuple(
            mark._replace(reach=None if mark.reach is None else mark.reach.replaced(symbols)) for mark in part.trail
        )
        inherited = part.source[0].startswith("^")
        argument = sources((part.source[0].lstrip("^"), part.source[1])) if part.source[0] else None
        if argument is None:
            entered = (described(call, replace(part, reach=reach)),) if part.family else ()
            parts.append(replace(part, reach=reach, trail=(*entered, *marks)[:MAX_MARKS]))
            continue
        sure = sure and argument.sure
        if argument.align and align == state.align:
            align = (*argument.align, *state.align)
        for given in argument.parts:
            if inherited or given.extent is Extent.START:
                if inherited and given.extent is Extent.START:
                    parts.append(replace(given, start=part.start, trail=(*given.trail, *marks)[:MAX_MARKS]))
            elif argument.tag == FIXED and part.extent is Extent.SERIES:
                parts.append(given)  # a statistic of one number
            else:
                parts.append(_through(given, part, reach, marks, call))
    cuts = align if len(align) <= MAX_CUTS else (SOMEHOW,)
    return replace(state, parts=merged(parts), sure=sure, align=cuts)


def _through(given: Part, part: Part, reach: Linear | None, marks: tuple[Mark, ...], call: Mark) -> Part:
    """The part of an argument after what the callee did to it."""
    if part.extent is not Extent.EXACT:
        trail = (*given.trail, described(call, part), *marks) if part.trail else given.trail
        inside = part.reach
        if part.extent is Extent.BUCKET and given.extent is Extent.EXACT:
            inside = None if part.reach is None or given.reach is None else part.reach + given.reach
        return replace(part, source=given.source, reach=inside, doubt=part.doubt or given.doubt, trail=trail[:MAX_MARKS])
    if given.extent is Extent.BUCKET and reach is not None and given.reach is not None and not reach.terms:
        return replace(given, reach=given.reach + reach, doubt=part.doubt or given.doubt)
    if given.extent is not Extent.EXACT:
        return replace(given, doubt=part.doubt or given.doubt)
    total = None if reach is None or given.reach is None else given.reach + reach
    moved = tuple(
        mark._replace(reach=None if mark.reach is None or given.reach is None else mark.reach + given.reach)
        for mark in marks
    )
    entered = (call._replace(reach=total),) if part.trail else ()
    return Part(
        given.source, given.family or part.family, Extent.EXACT, total, part.doubt or given.doubt,
        site=given.site or part.site, trail=(*given.trail, *entered, *moved)[:MAX_MARKS],
    )  # fmt: skip
