"""Methods of rows, frames, windows, groups, lists, dicts and texts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from auditor.facts.model import Place

from . import _places as places
from . import _transfer as transfer
from ._estimators import model_method
from ._linear import ZERO, Linear, unknown
from ._state import BUCKETS, CHANGE, DATA, EARNED, UNKNOWN, Cut, Extent, Kind, Part, Start, State, blend
from ._values import (
    ANY,
    NOTHING,
    Callee,
    Frame,
    Group,
    Items,
    Literal,
    Member,
    Model,
    Number,
    Outside,
    Ref,
    Table,
    Text,
    Value,
    Window,
)  # fmt: skip

if TYPE_CHECKING:
    from ._calls import Arguments
    from ._interpreter import Run

ASSETS = frozenset({
    "symbol", "ticker", "instrument", "pair", "asset", "code", "stock", "coin", "market", "security", "secid", "sid",
    "permno", "tic", "symbols", "tickers",
})  # fmt: skip
ROW_METHODS = frozenset({
    "shift", "rolling", "ewm", "expanding", "diff", "pct_change", "fillna", "ffill", "bfill", "cumsum", "cumprod",
    "cummax", "cummin", "interpolate", "to_numpy", "dropna", "rank", "astype", "isna", "notna", "reindex",
    "resample",
})  # fmt: skip
STARTS = {"cumsum": Start.OFFSET, "cumprod": Start.SCALE, "cummax": Start.STATE, "cummin": Start.STATE}


def method_call(run: Run, owner: Place, base: Value, name: str, a: Arguments) -> Value | None:
    """The value of `base.name(...)`; None where the method is none of those that are modelled."""
    if isinstance(base, Window):
        return window_method(run, base, name, a)
    if isinstance(base, Group):
        return group_method(run, base, name, a)
    if isinstance(base, Literal) and base.kind == "time":
        return places.clock(name, a.text(0, "freq"))
    if isinstance(base, Literal) and base.kind == "span":
        return base
    if isinstance(base, Text):
        return Text(ANY) if name in ("format", "lower", "upper", "replace", "strip", "join") else None
    if isinstance(base, Ref):
        cell = run.env.cells.get(base.cell)
        if isinstance(cell, Frame):
            return frame_method(run, owner, base, name, a)
        if isinstance(cell, Items):
            return list_method(run, base, cell, name, a)
        if isinstance(cell, Table):
            return dict_method(run, base, cell, name, a)
        if isinstance(cell, Model):
            return model_method(run, base, cell, name, a)
        return None
    if isinstance(base, Member):
        return member_method(run, base, name, a)
    if isinstance(base, State):
        return state_method(run, owner, base, name, a)
    return None


# --- rows -------------------------------------------------------------------------------------------------------------


def rows_change(run: Run, name: str, a: Arguments) -> Callable[[State], State] | None:
    """What a method does to each column, where it is the same for rows and frames."""
    mark = run.here(name)
    if name in ("shift", "tshift"):
        by = a.number(0, "periods", 1)
        mark = mark._replace(note=f"shift({by if by is not None else '?'})", name="shift")
        mark = mark._replace(given=a.given(0, "periods"))
        amount = run.env.state(a.get(0, "periods"))
        return lambda s: (
            blend((transfer.shift(s, by, mark), amount), s.kind) if by is None else transfer.shift(s, by, mark)
        )
    if name in ("diff", "pct_change"):
        by = a.number(0, "periods", 1)
        mark = mark._replace(note=f"{name}({by if by is not None else '?'})", given=a.given(0, "periods"))
        return lambda s: transfer.diff(s, by, mark)
    if name in ("ffill", "pad"):
        return transfer_fill(run, forward=True)
    if name in ("bfill", "backfill", "interpolate"):
        return transfer_fill(run, forward=False, name="bfill" if name != "interpolate" else name)
    if name == "fillna":
        return fillna(run, a)
    if name in STARTS:
        return lambda s: transfer.cumulative(s, STARTS[name], mark)
    if name == "rank":
        if a.get(0, "axis") == Number(Linear(1)):
            return lambda s: s
        return lambda s: transfer.every_row(s, transfer.STATISTIC, mark)
    if name == "duplicated" and a.text(-1, "keep", "first") != "first":
        return lambda s: transfer.every_row(s, transfer.STATISTIC, mark)
    if name == "dropna":
        return lambda s: s.narrowed(Cut("dropna", site=f"{mark.path}:{mark.line}"))
    return None


def transfer_fill(run: Run, *, forward: bool, name: str = "bfill") -> Callable[[State], State]:
    mark = run.here("ffill" if forward else name)
    return lambda s: transfer.forward_fill(s, mark) if forward else transfer.backward_fill(s, mark)


def fillna(run: Run, a: Arguments) -> Callable[[State], State]:
    way = a.text(-1, "method")
    if way in ("bfill", "backfill"):
        return transfer_fill(run, forward=False)
    if way in ("ffill", "pad"):
        return transfer_fill(run, forward=True)
    given = run.env.state(a.get(0, "value"))
    return lambda s: blend((s, given), s.kind).with_(smooth=False, holes=False)


def state_method(run: Run, owner: Place, state: State, name: str, a: Arguments) -> Value | None:  # noqa: PLR0911 - a table of methods
    methods = transfer.library().methods
    if state.kind is Kind.OTHER:
        if name not in ROW_METHODS:
            return None
        state = state.with_(kind=Kind.SERIES)  # what has such methods is a series
    across = a.get(-1, "axis") == Number(Linear(1)) or a.text(-1, "axis") == "columns"
    if across and name in ("shift", "diff", "pct_change", *methods["reduce"]):
        return state.with_(kind=Kind.SERIES)
    change = rows_change(run, name, a)
    if change is not None:
        if name in STARTS and state.tag == EARNED:
            run.profit(state, name)
        result = change(state).with_(tag=tag_after(state, name, a))
        if a.flag("inplace"):
            places.write(run, owner, result)
        return result
    if name in ("rolling", "ewm", "expanding"):
        return window_of(run, state, name, a)
    if name in ("groupby", "resample"):
        return group_of(run, state, name, a)
    shaped = reshaped(run, state, name, a)
    if shaped is not None:
        return shaped
    if name in ("sort_index", "sort_values"):
        return sorted_rows(state, name, a)
    if name in ("apply", "map", "pipe", "transform", "agg", "aggregate"):
        return applied(run, state, name, a)
    if name == "reindex":
        way = a.text(-1, "method")
        if way in ("bfill", "backfill", "nearest"):
            return transfer.also(state, transfer.FILL, Extent.GAP, run.here(name))
        return transfer.on_base(state)
    if name in ("sum", "mean", "cumsum", "cumprod", "prod", "std") and state.tag == EARNED:
        run.profit(state, name)
    if name in methods["reduce"]:
        return transfer.statistic(state, run.here(name))
    if name in ("head", "tail", "truncate", "sample", "drop", "drop_duplicates", "set_axis"):
        return state.narrowed(Cut(name, site=f"{run.function.path}:{run.here(name).line}"))
    if name == "where" and isinstance(a.get(0, "cond"), Literal):
        return within_clock(state, a.get(0, "cond"))
    if name in ("where", "mask"):
        found = blend((state, *(run.env.state(v) for v in a.all())), state.kind)
        return found.with_(holes=len(a.positional) < 2 and "other" not in a.keywords)
    if name in ("asfreq", "factorize"):
        started = transfer.started(state, Start.STATE, run.here(name))
        return started if name == "asfreq" else run.put(name, Items((started, Literal("some"))))
    if name in methods["rowwise"] or name in ("dropna", "get", "append"):
        return blend((state, *(run.env.state(v) for v in a.all())), state.kind)
    if state.kind in (Kind.OTHER, Kind.TOP) or state.unknown:
        return None
    return doubtful(blend((state, *(run.env.state(v) for v in a.all())), state.kind))


def reshaped(run: Run, state: State, name: str, a: Arguments) -> Value | None:
    """The same values in another form: an array, a frame, under another name, by another index."""
    if name in ("to_numpy", "to_list", "tolist"):
        return transfer.to_array(state, run.here(name))
    if name in ("copy", "astype", "flatten", "ravel", "reshape"):
        return state
    if name in ("add", "mul", "sub") and len(a.positional) == 1:
        return arithmetic_method(run, name, state, a.positional[0])
    if name == "to_frame":
        word = a.get(0, "name")
        column = word.pattern if isinstance(word, Text) else state.names[0] if len(state.names) == 1 else ANY
        return run.put("frame", Frame(((column, state.with_(names=(column,))),), DATA, direction=state.direction, closed=True))
    if name == "rename":
        word = a.get(0, "index")
        return state.with_(names=(word.pattern,)) if isinstance(word, Text) else state
    if name == "reset_index" and not a.flag("drop") and len(state.names) == 1:
        return run.put("frame", Frame(((state.names[0], state),), DATA))
    if name == "reset_index":
        moved = transfer.to_array(state, run.here(name))
        return moved.with_(kind=Kind.SERIES, head=ZERO)
    return None


OPPOSITES = {"<": ">=", "<=": ">", ">": "<=", ">=": "<"}


def within_clock(state: State, condition: Value | None) -> State:
    """`where` by the time of day: rows of the head of each day, and later the rows behind it, which know that head."""
    if not isinstance(condition, Literal) or condition.kind != "clock":
        return state
    word, _, hour = condition.text.partition(" ")
    if state.within and state.within == f"{OPPOSITES.get(word)} {hour}" and word in (">", ">="):
        return state.each(lambda p: Part(p.source, doubt=p.doubt) if p.extent is Extent.BUCKET else p)
    return state.with_(within=condition.text if word in ("<", "<=") else "")


def tag_after(state: State, name: str, a: Arguments) -> str:
    """Whether a change of the rows leaves what a profit is made of: the change of a price over the bar that ends at its
    row, a position, or their product."""
    if name in ("fillna", "dropna"):
        return state.tag
    by = a.number(0, "periods", 1)
    if name in ("diff", "pct_change") and by is not None and (by.lower() or 0) >= 1:
        exact = [part for part in state.parts if part.extent is Extent.EXACT]
        if exact and all(part.reach == ZERO for part in exact) and any(n.lower() in places.PRICES for n in state.names):
            return CHANGE
    return ""


def arithmetic_method(run: Run, name: str, state: State, other: Value) -> Value:
    from ._interpreter import arithmetic  # noqa: PLC0415 - the interpreter asks methods as well

    return arithmetic(run, {"add": "+", "mul": "*", "sub": "-"}[name], state, other)


def doubtful(state: State) -> State:
    """A computation that is not modelled: it keeps the reach, and whoever reads the proof should know."""
    return state.each(lambda p: replace(p, doubt=True) if p.family else p)


def sorted_rows(state: State, name: str, a: Arguments) -> State:
    ascending = a.flag("ascending", default=True)
    if name == "sort_values" or ascending is None:
        return state.with_(direction=0)
    if state.direction == 0:
        return state
    return state.with_(direction=1 if ascending else -1)


def applied(run: Run, state: State, name: str, a: Arguments) -> Value:
    """`series.apply(f)`: f sees one number; `pipe(f)` and `transform(f)` hand over the rows."""
    function = a.get(0, "func")
    if isinstance(function, Callee):
        given = state if name in ("pipe", "transform") else state.with_(kind=Kind.SCALAR)
        result = run.analysis.call(run, function, (given, *a.positional[1:]), dict(a.keywords))
        found = run.env.state(result)
        return found.with_(kind=state.kind) if found.kind is Kind.SCALAR else found
    if isinstance(function, Text) and name in ("transform", "agg", "aggregate"):
        return transfer.statistic(state, run.here(function.pattern))
    return blend((state, run.env.state(function)), state.kind).with_(align=state.align)


# --- windows ----------------------------------------------------------------------------------------------------------


def window_of(run: Run, base: Value, name: str, a: Arguments) -> Window:
    if name != "rolling":
        return Window(base, name, None)
    given = a.get(0, "window")
    if given is None and run.env.state(base).kind is Kind.TOP:
        given = NOTHING
    center = a.flag("center", position=2)
    forward = isinstance(given, Member) and given.name == "forward"
    width = places.linear(given.base) if isinstance(given, Member) else places.linear(given)
    flag = Literal("bool", str(center)) if center is not None else None
    if center and isinstance(given, Text):  # an offset: half of it in bars
        minutes, base_minutes = places.minutes_of(given.pattern), run.env.state(base).timeframe
        half = minutes // (2 * base_minutes) if minutes and base_minutes else None
        width = Linear(2 * half + 1) if half is not None else unknown(run.unique("width"), 3)
    before = a.text(-1, "closed") in ("left", "neither") and not center
    return Window(base, name, width, flag, forward, before)


def window_method(run: Run, window: Window, name: str, a: Arguments) -> Value:
    frame = run.env.frame(window.base)
    if name in ("apply", "agg", "aggregate", "pipe"):
        function = a.get(0, "func")
        if isinstance(function, Callee):
            inside = run.env.state(window.base).with_(kind=Kind.WINDOW)
            result = run.env.state(run.analysis.call(run, function, (inside, *a.positional[1:]), {}))
            base = result if result.parts else run.env.state(window.base)
            return rolled(run, base.with_(kind=Kind.SERIES, direction=run.env.state(window.base).direction), window)
    if frame is not None:
        return run.put("windows", frame.each(lambda s: rolled(run, s, window)))
    others = [run.env.state(v) for v in a.all()]
    return rolled(run, blend((run.env.state(window.base), *others)), window)


def rolled(run: Run, state: State, window: Window) -> State:
    mark = run.here(f"{window.kind} window", window.kind)
    if window.kind == "rolling":
        if window.center is None:
            return transfer.unordered(state)
        found = transfer.rolling(
            state, window.width, center=window.center.text == "True", forward=window.forward, mark=mark
        )
        if not window.before:
            return found
        return transfer.shift(found, Linear(1), mark).with_(smooth=found.smooth)
    start = Start.CONVERGES if window.kind == "expanding" else Start.NONE
    return transfer.cumulative(state, start, mark)


# --- groups -----------------------------------------------------------------------------------------------------------


def group_of(run: Run, base: Value, name: str, a: Arguments) -> Group:
    if name == "resample":
        rule = a.text(0, "rule")
        return Group(
            base, "time", places.minutes_of(rule), a.text(-1, "label", "left"), a.text(-1, "closed", "left"), resampled=True
        )
    key = a.get(0, "by")
    if key is None and "level" in a.keywords:
        level = a.keywords["level"]
        word = level.pattern.lower() if isinstance(level, Text) else ""
        return Group(base, "stamp" if level == Number(ZERO) or word in places.TIME_WORDS else _word_key(word))
    return Group(base, group_key(run, key), bucket_minutes(run, key))


def bucket_minutes(run: Run, key: Value | None) -> int | None:
    """How long the buckets of time of a key are, None where that is not known."""
    if isinstance(key, Literal) and key.kind == "time":
        digits = key.text.partition(":")[2]
        return int(digits) if digits else None
    lengths = [bucket_minutes(run, item) for item in run.items(key) or []] if key is not None else []
    known = [length for length in lengths if length is not None]
    return min(known) if known else None


LENGTHS = {1: "minute", 60: "hour", 1440: "day", 10080: "week", 43200: "month"}


def until(minutes: int | None, key: str) -> str:
    """What has to end before the value of a bucket is known."""
    if key == "run":
        return "run"
    return LENGTHS.get(minutes, f"bar of {minutes} minutes") if minutes else ""


def span_of(state: State, minutes: int | None) -> int | None:
    """How many base rows a bucket has."""
    base = state.timeframe
    return minutes // base if minutes and base and minutes % base == 0 else None


def group_key(run: Run, key: Value | None) -> str:
    """What the rows of one group have in common."""
    if isinstance(key, Text):
        return _word_key(key.pattern.lower())
    if isinstance(key, Literal) and key.kind == "time":
        return "time" if key.text.startswith("bucket") else "category" if key.text == "cycle" else "stamp"
    if isinstance(key, Outside | Member):
        return "time"
    items = run.items(key) if key is not None else None
    if items:
        kinds = {group_key(run, item) for item in items}
        return "time" if "time" in kinds else kinds.pop() if len(kinds) == 1 else "other"
    if isinstance(key, State):
        if any(name.lower() in ASSETS for name in key.names):
            return "asset"
        if any(name.lower() in places.TIME_WORDS for name in key.names):
            return "stamp"
        return "run" if key.start is Start.OFFSET else "category"
    return "other"


def _word_key(word: str) -> str:
    if word in ASSETS:
        return "asset"
    return "stamp" if word in places.TIME_WORDS else "category"


def group_method(run: Run, group: Group, name: str, a: Arguments) -> Value:
    if name in ("rolling", "expanding", "ewm"):
        return window_of(run, grouped_rows(run, group), name, a)
    frame = run.env.frame(group.base)
    if frame is not None:
        return run.put("groups", frame.each(lambda s: group_rows(run, group, s, name, a)))
    return group_rows(run, group, run.env.state(group.base), name, a)


def grouped_rows(run: Run, group: Group) -> Value:
    """The rows under a window inside of groups: past rows of the same group, whatever the groups are."""
    return group.base


def group_rows(run: Run, group: Group, state: State, name: str, a: Arguments) -> State:
    """One column under `groupby(...).name(...)`."""
    methods = transfer.library().methods
    mark = run.here(f"groupby {name}", name)
    function = a.get(0, "func")
    whole = name == "transform"
    if name in ("transform", "apply", "agg", "aggregate") and isinstance(function, Text):
        name = function.pattern
    elif name in ("transform", "apply", "agg", "aggregate") and isinstance(function, Callee):
        inner = state if group.key in ("asset", "time") else state.with_(direction=0)
        result = run.env.state(run.analysis.call(run, function, (inner.with_(kind=Kind.SERIES),), {}))
        return result.with_(kind=Kind.SERIES, direction=state.direction)
    if name in ("shift", "diff", "pct_change"):
        change = rows_change(run, name, a)
        ordered = state if group.key in ("asset", "time") else transfer.unordered(state)
        return change(ordered) if change is not None else ordered
    if group.resampled:
        return resampled(run, group, state, name)
    if name in methods["prompt"] or group.key == "stamp":
        return state.with_(kind=Kind.SERIES)
    if name in methods["bucket"]:
        extent = Extent.BUCKET if group.key in ("time", "run") else Extent.SERIES
        mark = mark._replace(until=until(group.minutes, group.key))
        span = span_of(state, group.minutes)
        changed = transfer.every_row(state, transfer.STATISTIC, mark, extent, span)
        return changed if whole else changed.narrowed(BUCKETS)
    return transfer.unordered(state)


def ended_with(part: Part, span: int | None) -> Part:
    """A bucket inside of one that is at least as long and stamped with its end."""
    if part.extent is Extent.BUCKET and part.span is not None and span is not None and span % part.span == 0:
        return Part(part.source, reach=part.reach, doubt=part.doubt)
    return part


UPWARD = frozenset({"ffill", "pad", "asfreq", "first"})


def resampled(run: Run, group: Group, state: State, name: str) -> State:
    """A bucket of time under its label: left-labelled, the row stands before what it holds. Filling methods go to a
    shorter timeframe."""
    if name in ("interpolate", "bfill", "backfill", "nearest"):
        return transfer.backward_fill(state.with_(smooth=False), run.here(f"resample {name}", name))
    mark = run.here(f"resample {name}", name)._replace(until=until(group.minutes, group.key))
    if name == "asfreq":
        return transfer.started(state, Start.STATE, mark).with_(timeframe=group.minutes)
    if name in UPWARD:
        return state.with_(timeframe=group.minutes)
    if group.label == "right":
        span = span_of(state, group.minutes)
        inner = state.each(lambda p: ended_with(p, span))
        ended = inner if group.closed == "right" else transfer.shift(inner, Linear(1), mark)
        return ended.with_(timeframe=group.minutes, holes=False)
    changed = transfer.every_row(state, transfer.MERGE, mark, Extent.BUCKET, span_of(state, group.minutes))
    return changed.with_(timeframe=group.minutes).narrowed(BUCKETS)


# --- frames -----------------------------------------------------------------------------------------------------------


def frame_method(run: Run, owner: Place, ref: Ref, name: str, a: Arguments) -> Value | None:
    frame = run.env.frame(ref)
    assert frame is not None  # asked before  # noqa: S101
    across = a.get(-1, "axis") == Number(Linear(1)) or a.text(-1, "axis") == "columns"
    special = FRAME_METHODS.get(name)
    if special is not None:
        changed = special(run, frame, a)
        return _kept(run, ref, changed, a, name)
    if name in ("rolling", "ewm", "expanding"):
        return window_of(run, ref, name, a)
    if name in ("groupby", "resample"):
        return group_of(run, ref, name, a)
    if name in ("iterrows", "itertuples"):
        return Member(ref, name)
    if name == "pipe":
        function = a.get(0, "func")
        if isinstance(function, Callee):
            return run.analysis.call(run, function, (ref, *a.positional[1:]), dict(a.keywords))
        return UNKNOWN
    if name == "apply":
        return frame_apply(run, frame, a, across=across)
    if name in ("get", "pop"):
        key = a.get(0, "key")
        if name == "pop" and isinstance(key, Text):
            run.env.cells[ref.cell] = frame.drop([key.pattern])
        return frame.read(key.pattern) if isinstance(key, Text) else UNKNOWN
    if name == "to_numpy":
        return transfer.to_array(frame.whole(), run.here(name))
    if name in transfer.library().methods["reduce"]:
        if across:
            return blend([frame.whole(), *(s for _, s in frame.columns if frame.closed)], Kind.SERIES)
        return transfer.statistic(frame.whole(), run.here(name))
    change = rows_change(run, name, a)
    if change is not None and not across:
        return _kept(run, ref, frame.each(change), a, name)
    if name in ("filter", "select_dtypes", "xs"):
        return run.put("frame", replace(frame, picked=True))
    return (
        run.put("frame", frame)
        if name in KEEPING
        else (run.put("frame", frame.each(transfer.unordered)) if name in LOSING else UNKNOWN)
    )


def _kept(run: Run, ref: Ref, frame: Frame, a: Arguments, word: str) -> Value:
    if a.flag("inplace"):
        run.env.cells[ref.cell] = frame
        return NOTHING
    return run.put(word, frame)


def frame_apply(run: Run, frame: Frame, a: Arguments, *, across: bool) -> Value:
    """`frame.apply(f, axis=1)`: f sees one row; else it sees each column."""
    function = a.get(0, "func")
    if not isinstance(function, Callee):
        return UNKNOWN
    if across:
        row = run.put("row", frame.each(lambda s: s.with_(kind=Kind.SCALAR)))
        result = run.env.state(run.analysis.call(run, function, (row,), {}))
        return result.with_(kind=Kind.SERIES, direction=frame.direction)
    whole = frame.whole()
    return run.env.state(run.analysis.call(run, function, (whole,), {}))


def _assign(run: Run, frame: Frame, a: Arguments) -> Frame:
    for name, given in a.keywords.items():
        value = given
        if isinstance(value, Callee):
            value = run.analysis.call(run, value, (run.put("assigned", frame),), {})
        state = places.aligned(run, frame, value).with_(kind=Kind.SERIES, direction=frame.direction, names=(name,))
        holder = run.put("assigned", frame)
        run.sink_column(holder, name, state)
        frame = frame.write(name, state)
    return frame


def _copy(run: Run, frame: Frame, a: Arguments) -> Frame:
    return frame


def _drop(run: Run, frame: Frame, a: Arguments) -> Frame:
    value = a.get(-1, "columns")
    if value is None and (a.get(1, "axis") == Number(Linear(1)) or a.text(1, "axis") == "columns"):
        value = a.get(0, "labels")
    if value is None:
        return frame
    names = [value.pattern] if isinstance(value, Text) else run.texts(value)
    if names is None:  # nobody knows which columns are left
        return Frame((), frame.default, frame.head, frame.direction, frame.closed, picked=True)
    run.labels.update(names)  # what is taken out of the features is what they are to predict
    dropped = frame.drop(names)
    return Frame(
        dropped.columns, dropped.default, frame.head, frame.direction, frame.closed, chosen=True, gone=dropped.gone
    )


def _rename(run: Run, frame: Frame, a: Arguments) -> Frame:
    table = run.env.cell(a.get(-1, "columns") or NOTHING)
    if not isinstance(table, Table):
        return frame if "columns" not in a.keywords else Frame((), frame.whole(), frame.head, frame.direction)
    new = {old: value.pattern for old, value in table.entries if isinstance(value, Text)}
    columns = dict(frame.columns)
    for old in new:
        columns.setdefault(old, frame.read(old))
    renamed = {new.get(name, name): state for name, state in columns.items()}
    return Frame(tuple(sorted(renamed.items())), frame.default, frame.head, frame.direction, frame.closed, frame.chosen)


def _sorted(run: Run, frame: Frame, a: Arguments) -> Frame:
    ascending = a.flag("ascending", default=True)
    by = a.get(0, "by")
    names = [by.pattern] if isinstance(by, Text) else run.texts(by) if by is not None else ["index"]
    in_time = names is not None and all(n.lower() in places.TIME_WORDS for n in names)
    direction = 0 if not in_time or ascending is None or frame.direction == 0 else (1 if ascending else -1)
    if names and not in_time and names[-1].lower() in places.TIME_WORDS and names[0].lower() in ASSETS and ascending:
        direction = frame.direction
    turned = frame.each(lambda s: s.with_(direction=direction))
    return Frame(turned.columns, turned.default, frame.head, direction, frame.closed, frame.chosen)


def _sorted_index(run: Run, frame: Frame, a: Arguments) -> Frame:
    ascending = a.flag("ascending", default=True)
    direction = 0 if ascending is None or frame.direction == 0 else (1 if ascending else -1)
    turned = frame.each(lambda s: s.with_(direction=direction))
    return Frame(turned.columns, turned.default, frame.head, direction, frame.closed, frame.chosen)


def _reset_index(run: Run, frame: Frame, a: Arguments) -> Frame:
    if frame.head == ZERO:
        return frame
    return Frame(frame.columns, frame.default, ZERO, frame.direction, frame.closed, frame.chosen).each(
        lambda s: s.with_(head=ZERO)
    )


def _joined(run: Run, frame: Frame, a: Arguments) -> Frame:
    given = a.get(0, "right") or a.get(0, "other") or NOTHING
    other = run.env.frame(given)
    if other is None:
        if isinstance(given, State) and len(given.names) == 1:
            return frame.write(given.names[0], beside(given))
        return frame
    columns = {**{name: beside(state) for name, state in other.columns}, **dict(frame.columns)}
    return Frame(
        tuple(sorted(columns.items())),
        frame.default,
        frame.head,
        frame.direction,
        frame.closed and other.closed,
        frame.chosen,
    )


def beside(state: State) -> State:
    """A column of another frame on the rows of this one."""
    return transfer.on_base(state).with_(holes=True, smooth=False, kind=Kind.SERIES)


FRAME_METHODS: dict[str, Any] = {
    "assign": _assign, "copy": _copy, "drop": _drop, "rename": _rename, "sort_values": _sorted,
    "sort_index": _sorted_index, "reset_index": _reset_index, "merge": _joined, "join": _joined,
}  # fmt: skip
KEEPING = frozenset({
    "set_index", "astype", "fillna", "round", "replace", "dropna", "reindex", "query", "filter", "infer_objects",
    "head", "tail", "drop_duplicates", "between_time", "tz_localize", "tz_convert", "clip", "to_frame", "abs",
    "where", "mask", "select_dtypes", "isna", "notna", "isnull", "eq", "gt", "lt", "add_prefix", "add_suffix",
    "droplevel", "xs", "squeeze", "convert_dtypes", "truncate", "loc",
})  # fmt: skip
LOSING = frozenset(
    {"T", "transpose", "pivot", "pivot_table", "stack", "unstack", "melt", "explode", "sample", "nlargest"}
)


# --- lists, dicts, accessors ------------------------------------------------------------------------------------------


def list_method(run: Run, ref: Ref, cell: Items, name: str, a: Arguments) -> Value:
    if name == "append" and a.positional:
        exact = cell.exact and len(cell.items) < 16
        items = tuple(  # the first values of a list that grows
            transfer.without_start(item) if isinstance(item, State) and item.kind is Kind.SCALAR else item
            for item in cell.items
        )
        run.env.cells[ref.cell] = Items((*items, places.listed(run, cell, a.positional[0]))[:64], exact)
    elif name == "extend" and a.positional:
        more = run.items(a.positional[0])
        run.env.cells[ref.cell] = Items(
            (*cell.items, *(more if more is not None else (a.positional[0],)))[:64], cell.exact and more is not None
        )
    elif name == "copy":
        return run.put("list", cell)
    elif name == "pop" and cell.items:
        return places.any_of(run, cell.items)
    elif name in ("insert", "remove", "clear", "reverse", "sort"):
        run.env.cells[ref.cell] = Items(cell.items, exact=False)
    return NOTHING


def dict_method(run: Run, ref: Ref, cell: Table, name: str, a: Arguments) -> Value:
    if name in ("get", "pop", "setdefault"):
        key = a.get(0, "key")
        default = a.get(1, "default") or NOTHING
        found = cell.get(key.pattern) if isinstance(key, Text) else None
        return found if found is not None else default if cell.exact else UNKNOWN
    if name == "items":
        pairs = [run.put(f"pair{i}", Items((Text(k), v))) for i, (k, v) in enumerate(cell.entries)]
        return run.put("items", Items(tuple(pairs), cell.exact))
    if name in ("values", "keys"):
        values = tuple(v for _, v in cell.entries) if name == "values" else tuple(Text(k) for k, _ in cell.entries)
        return run.put("items", Items(values, cell.exact))
    if name == "update" and a.positional:
        more = run.env.cell(a.positional[0])
        if isinstance(more, Table):
            run.env.cells[ref.cell] = Table(
                tuple(sorted({**dict(cell.entries), **dict(more.entries)}.items())), cell.exact and more.exact
            )
    return NOTHING


def member_method(run: Run, member: Member, name: str, a: Arguments) -> Value | None:
    if member.name == "columns":
        return Number(Linear(0)) if name == "get_loc" else member if name in ("tolist", "to_list") else UNKNOWN
    if member.name == "dt":
        return Literal("time", "bucket")
    if member.name in ("str", "cat"):
        return run.env.state(member.base)
    return None
