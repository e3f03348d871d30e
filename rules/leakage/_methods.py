"""Methods of rows, frames, windows, groups, lists, dicts and texts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from auditor.facts.model import Place

from . import _places as places
from . import _transfer as transfer
from ._linear import ZERO, Linear
from ._state import DATA, UNKNOWN, Extent, Kind, Start, State, blend
from ._values import (
    ANY,
    NOTHING,
    Callee,
    Frame,
    Group,
    Items,
    Literal,
    Member,
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
        return Literal("time", "bucket")
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
        return transfer_fill(run, forward=False)
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
        return lambda s: s.with_(align="dropna")
    return None


def transfer_fill(run: Run, *, forward: bool) -> Callable[[State], State]:
    mark = run.here("ffill" if forward else "bfill")
    return lambda s: transfer.forward_fill(s, mark) if forward else transfer.backward_fill(s, mark)


def fillna(run: Run, a: Arguments) -> Callable[[State], State]:
    way = a.text(-1, "method")
    if way in ("bfill", "backfill"):
        return transfer_fill(run, forward=False)
    if way in ("ffill", "pad"):
        return transfer_fill(run, forward=True)
    given = run.env.state(a.get(0, "value"))
    return lambda s: blend((s, given), s.kind).with_(smooth=False)


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
        result = change(state)
        if a.flag("inplace"):
            places.write(run, owner, result)
        return result
    if name in ("rolling", "ewm", "expanding"):
        return window_of(run, state, name, a)
    if name in ("groupby", "resample"):
        return group_of(run, state, name, a)
    if name in ("to_numpy", "to_list", "tolist"):
        return transfer.to_array(state, run.here(name))
    if name in ("copy", "astype", "flatten", "ravel", "reshape"):
        return state
    if name == "rename":
        word = a.get(0, "index")
        return state.with_(names=(word.pattern,)) if isinstance(word, Text) else state
    if name == "reset_index" and not a.flag("drop") and len(state.names) == 1:
        return run.put("frame", Frame(((state.names[0], state),), DATA))
    if name == "reset_index":
        moved = transfer.to_array(state, run.here(name))
        return moved.with_(kind=Kind.SERIES, head=ZERO)
    if name in ("sort_index", "sort_values"):
        return sorted_rows(state, name, a)
    if name in ("apply", "map", "pipe", "transform", "agg", "aggregate"):
        return applied(run, state, name, a)
    if name == "reindex":
        way = a.text(-1, "method")
        if way in ("bfill", "backfill", "nearest"):
            return transfer.also(state, transfer.FILL, Extent.GAP, run.here(name))
        return state.with_(align="")
    if name in methods["reduce"]:
        return transfer.statistic(state, run.here(name))
    if name in ("head", "tail", "truncate", "sample", "drop", "drop_duplicates", "set_axis"):
        return state.with_(align="?")
    if name in methods["rowwise"] or name in ("dropna", "get", "append"):
        return blend((state, *(run.env.state(v) for v in a.all())), state.kind)
    if state.kind in (Kind.OTHER, Kind.TOP) or state.unknown:
        return None
    return doubtful(blend((state, *(run.env.state(v) for v in a.all())), state.kind))


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
    return blend((state, run.env.state(function)), state.kind)


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
    return Window(base, name, width, flag, forward)


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
        return transfer.rolling(
            state, window.width, center=window.center.text == "True", forward=window.forward, mark=mark
        )
    start = Start.CONVERGES if window.kind == "expanding" else Start.NONE
    return transfer.cumulative(state, start, mark)


# --- groups -----------------------------------------------------------------------------------------------------------


def group_of(run: Run, base: Value, name: str, a: Arguments) -> Group:
    if name == "resample":
        rule = a.text(0, "rule")
        return Group(
            base, "time", minutes_of(rule), a.text(-1, "label", "left"), a.text(-1, "closed", "left"), resampled=True
        )
    key = a.get(0, "by")
    if key is None and "level" in a.keywords:
        level = a.keywords["level"]
        word = level.pattern.lower() if isinstance(level, Text) else ""
        return Group(base, "stamp" if level == Number(ZERO) or word in places.TIME_WORDS else _word_key(word))
    return Group(base, group_key(run, key))


def group_key(run: Run, key: Value | None) -> str:
    """What the rows of one group have in common."""
    if isinstance(key, Text):
        return _word_key(key.pattern.lower())
    if isinstance(key, Literal) and key.kind == "time":
        return "time" if key.text == "bucket" else "stamp"
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


UNITS = {"min": 1, "t": 1, "h": 60, "d": 1440, "w": 10080, "s": 0, "m": 43200}


def minutes_of(rule: str) -> int | None:
    """Minutes of a resample rule such as `4h`."""
    digits = rule.rstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
    unit = UNITS.get(rule[len(digits) :].lower())
    return None if unit is None or (digits and not digits.isdigit()) else int(digits or 1) * unit


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
        changed = transfer.every_row(state, transfer.STATISTIC, mark, extent)
        return changed if whole else changed.with_(align=transfer.BUCKETS)
    return transfer.unordered(state)


def resampled(run: Run, group: Group, state: State, name: str) -> State:
    """A bucket of time under its label: left-labelled, the row stands before what it holds."""
    if name in ("first", "asfreq") or group.label == "right":
        return state.with_(timeframe=group.minutes)
    changed = transfer.every_row(state, transfer.MERGE, run.here(f"resample {name}", name), Extent.BUCKET)
    return changed.with_(timeframe=group.minutes, align=transfer.BUCKETS)


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
        return Frame((), frame.default, frame.head, frame.direction, frame.closed)
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
    other = run.env.frame(a.get(0, "right") or a.get(0, "other") or NOTHING)
    if other is None:
        return frame
    columns = {**dict(other.columns), **dict(frame.columns)}
    return Frame(
        tuple(sorted(columns.items())),
        frame.default,
        frame.head,
        frame.direction,
        frame.closed and other.closed,
        frame.chosen,
    )


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
        run.env.cells[ref.cell] = Items((*cell.items, a.positional[0])[:64], exact)
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
