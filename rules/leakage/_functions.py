"""Library functions, by dotted path: numpy, pandas, indicator packages, and what they do to the rows they are given."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from auditor.project.models import Role

from . import _transfer as transfer
from ._estimators import EVENTS, learned
from ._linear import ZERO, Linear, unknown
from ._methods import beside, doubtful
from ._roles import reach_of
from ._state import CONSTANT, DATA, SOMEHOW, STACKED, UNKNOWN, Extent, Kind, Start, State, blend, join
from ._values import ANY, NEVER, NOTHING, Callee, Frame, Items, Literal, Member, Number, Outside, Table, Text, Value

if TYPE_CHECKING:
    from ._calls import Arguments
    from ._interpreter import Run

OHLCV = ("open", "high", "low", "close", "volume")
KEEPS_TAG = frozenset({"numpy.log", "numpy.log1p", "numpy.exp", "numpy.expm1", "numpy.nan_to_num", "numpy.asarray", "numpy.array"})
NUMERIC_CASTS = frozenset({"builtins.int", "builtins.float", "builtins.round", "builtins.abs", "numpy.int64"})


def function_call(run: Run, path: str, a: Arguments) -> Value:
    """The value of calling the library function `path`."""
    special = SPECIAL.get(path)
    if special is not None:
        found: Value = special(run, a)
        return found
    short = path.rpartition(".")[2]
    if short in PARAMETERS:
        return parameter(run, a, short)
    role = run.analysis.roles.of(path, a)
    if role is not None:
        made = learned(run, role, path, a) if role.name in EVENTS else by_role(run, role, short, a)
        if made is not None:
            return made
    functions = transfer.library().functions
    if path in functions["constant"]:
        return constant_rows(run, a, short)
    if path in functions["reduce"]:
        return reduced(run, a, short)
    for word, start in (("offset", Start.OFFSET), ("scale", Start.SCALE), ("state", Start.STATE)):
        if path in functions[word]:
            return transfer.cumulative(rows_of_values(run, a.positional[:1]), start, run.here(short))
    if path in functions["rowwise"]:
        return rowwise(run, path, a)
    if path.partition(".")[0] in ("numpy", "scipy", "math") and not any(run.env.state(v).parts for v in a.all()):
        return CONSTANT
    if path.startswith("builtins.") or not any(run.env.state(v).parts for v in a.all()):
        return UNKNOWN if path.startswith("builtins.") else outside_value(a)
    return doubtful(rows_of(run, a))


AVERAGE = re.compile(r"[a-z]{0,4}ma\Z|mama\Z|t3\Z|bbands|bollinger|min\Z|max\Z|crossed", re.IGNORECASE)  # keeps the level


def by_role(run: Run, role: Role, name: str, a: Arguments) -> Value:
    """The value of a function that the model knows."""
    family = str(role.attributes.get("rule", transfer.INDICATOR))
    mark = run.here(role.note or name, name)
    if role.name == "market":
        return run.put("read", Frame())
    if role.name == "lagged":
        return _informative(run, a)
    if role.name == "trails":
        past = indicator(run, a)
        return past if AVERAGE.match(name) else transfer.without_start(past)
    if role.name == "begins":
        start = {"offset": Start.OFFSET, "scale": Start.SCALE}.get(str(role.attributes["start"]), Start.STATE)
        return transfer.started(indicator(run, a), start, mark)
    if role.name == "warms":
        return transfer.also(indicator(run, a), family, Extent.WARMUP, mark._replace(until="library"))
    state = indicator(run, a) if family == transfer.INDICATOR else rows_of_values(run, a.all()).with_(smooth=False)
    if state.kind is Kind.WINDOW:
        result = state
    elif role.name == "whole":
        result = transfer.every_row(state, family, mark)
    else:
        result = transfer.moved(state, reach_of(role, a), family, mark)
    if role.attributes.get("gives") == "numbers":
        return result.with_(kind=Kind.SCALAR if result.kind is not Kind.WINDOW else Kind.WINDOW, head=ZERO, short=ZERO)
    if role.attributes.get("gives") == "positions":
        rows = result if state.kind is Kind.WINDOW else result.with_(kind=Kind.POSITION, head=ZERO, short=ZERO)
        return run.put(name, Items((rows, Literal("some"))))
    if "column" not in role.attributes:
        return result
    return run.put(name, Frame(((str(role.attributes["column"]), result),), state))


def outside_value(a: Arguments) -> Value:
    """A call of an unknown library without market data in its arguments: nobody knows what it gives."""
    return UNKNOWN


def rows_of(run: Run, a: Arguments) -> State:
    return blend([run.env.state(v) for v in a.all()])


def rowwise(run: Run, path: str, a: Arguments) -> Value:
    if path in NUMERIC_CASTS and len(a.positional) == 1 and isinstance(a.positional[0], Number):
        return a.positional[0]
    if path in ("copy.copy", "copy.deepcopy") and (
        frame := run.env.frame(a.positional[0] if a.positional else NOTHING)
    ):
        return run.put("copy", frame)
    if path in ("builtins.list", "builtins.tuple") and not a.positional:
        return run.put("list", Items(()))
    if path in ("builtins.list", "builtins.tuple"):
        cell = run.env.cell(a.positional[0])
        return run.put("list", cell) if isinstance(cell, Items) else a.positional[0]
    values = a.all()
    if path == "functools.reduce" and len(a.positional) > 1:
        values = a.positional[1:]
    result = rows_of_values(run, values)
    if short_name(path) in STACKING and sum(bool(s.parts) for s in listed_rows(run, a)) > 0:
        result = result.with_(tag=STACKED)
    elif path in KEEPS_TAG and isinstance(a.positional[0] if a.positional else None, State):
        result = result.with_(tag=run.env.state(a.positional[0]).tag)
    if (
        path.rpartition(".")[0] == "numpy"
        and result.kind in (Kind.SERIES, Kind.TOP)
        and path.rpartition(".")[2] in ("where", "select", "array", "asarray")
    ):
        return transfer.to_array(result, run.here(path.rpartition(".")[2]))
    return result


STACKING = frozenset({"array", "asarray", "vstack", "stack"})


def short_name(path: str) -> str:
    return path.rpartition(".")[2] if path.startswith("numpy.") else ""


def listed_rows(run: Run, a: Arguments) -> list[State]:
    """The rows in a list that is given as the first argument: each stands beside the others."""
    cell = run.env.cell(a.positional[0]) if a.positional else None
    states = [run.env.state(item) for item in cell.items] if isinstance(cell, Items) else []
    whole = isinstance(cell, Items) and not cell.exact
    return [state for state in states if whole or state.kind in (Kind.SERIES, Kind.ARRAY)]


def rows_of_values(run: Run, values: tuple[Value, ...]) -> State:
    """Rows of arguments, those inside of lists included."""
    states: list[State] = []
    for value in values:
        items = run.items(value)
        if items is not None:
            states.extend(run.env.state(item) for item in items)
        else:
            states.append(run.env.state(value))
    return blend(states)


def constant_rows(run: Run, a: Arguments, name: str) -> State:
    """An array of constants, with its length where that is a number."""
    size = a.positional[0] if a.positional else None
    rows = size.form if isinstance(size, Number) else None
    if name in ("full", "repeat") and len(a.positional) > 1:
        filled = run.env.state(a.positional[1] if name == "full" else a.positional[0])
        if filled.parts:
            return filled.with_(kind=Kind.ARRAY)
    return CONSTANT.with_(kind=Kind.ARRAY, rows=rows)


def reduced(run: Run, a: Arguments, name: str) -> Value:
    """A statistic; of several values row by row (`max(a, b)`), or across columns, it is none."""
    across = a.get(1, "axis") == Number(Linear(1))
    state = rows_of_values(run, a.positional[:1])
    if state.tag == STACKED and a.get(1, "axis") == Number(ZERO):
        return state.with_(tag="")
    clamped = _clamped(a) if name in ("max", "min", "minimum", "maximum") else None
    if clamped is not None:
        return clamped
    if across or (name in ("max", "min") and len(a.positional) > 1):
        return rows_of_values(run, a.positional)
    return transfer.statistic(state, run.here(name)) if state.parts else _least(a)


def _clamped(a: Arguments) -> Value | None:
    """`min(i + 1, n - 1)`: the form that moves with a loop; the other one only holds it inside."""
    forms = [v.form for v in a.positional if isinstance(v, Number)]
    moving = [f for f in forms if any(transfer.is_step(symbol) for symbol, _ in f.terms)]
    return Number(moving[0]) if len(forms) == len(a.positional) and len(moving) == 1 else None


def _least(a: Arguments) -> Value:
    return a.positional[0] if len(a.positional) == 1 and isinstance(a.positional[0], Number) else Literal("some")


def indicator(run: Run, a: Arguments) -> State:
    """An indicator of the past; of a frame it reads the prices, not the columns that were added."""
    states: list[State] = []
    for value in a.all():
        frame = run.env.frame(value)
        if frame is None:
            states.append(run.env.state(value))
        else:
            columns = dict(frame.columns)
            states.extend([frame.read("close"), *(columns[name] for name in OHLCV if name in columns)])
    result = blend(states)
    if result.direction < 0:
        return transfer.unordered(result)
    return result.with_(kind=Kind.SERIES, smooth=False)


# --- functions with an order of rows ----------------------------------------------------------------------------------


def _roll(run: Run, a: Arguments) -> Value:
    by = a.number(1, "shift")
    mark = run.here(f"np.roll({by if by is not None else '?'})", "roll")._replace(given=a.given(1, "shift"))
    return transfer.roll(rows_of_values(run, a.positional[:1]), by, mark)


def _diff(run: Run, a: Arguments) -> Value:
    state = rows_of_values(run, a.positional[:1])
    if a.number(1, "n", 1) != Linear(1):
        return transfer.unordered(state)
    mark = run.here("np.diff", "diff")
    if "prepend" in a.keywords:
        return state.with_(kind=Kind.ARRAY)
    ahead_rows = transfer.cut(state.with_(kind=Kind.ARRAY), Linear(1), None, mark)
    short = ZERO if "append" in a.keywords else ahead_rows.short
    return blend((state.with_(kind=Kind.ARRAY), ahead_rows), Kind.ARRAY).with_(short=short)


def _concatenate(run: Run, a: Arguments) -> Value:
    from ._places import joined_rows  # noqa: PLC0415 - places ask functions as well

    pieces = run.items(a.positional[0]) if a.positional else None
    return joined_rows(run, pieces) if pieces else UNKNOWN


def _append(run: Run, a: Arguments) -> Value:
    from ._places import joined_rows  # noqa: PLC0415 - places ask functions as well

    return joined_rows(run, list(a.positional[:2])) if len(a.positional) > 1 else UNKNOWN


def _insert(run: Run, a: Arguments) -> Value:
    from ._places import joined_rows  # noqa: PLC0415 - places ask functions as well

    if a.number(1, "obj") == ZERO and len(a.positional) > 2:
        return joined_rows(run, [a.positional[2], a.positional[0]])
    return transfer.unordered(rows_of_values(run, a.positional[:1]))


def _flip(run: Run, a: Arguments) -> Value:
    return transfer.reverse(rows_of_values(run, a.positional[:1]))


def _reversed(run: Run, a: Arguments) -> Value:
    state = rows_of_values(run, a.positional[:1])
    return transfer.reverse(state) if state.parts else UNKNOWN


def _series(run: Run, a: Arguments) -> Value:
    """`pd.Series(rows, index)`: rows by position get an index again."""
    given = a.get(0, "data")
    if given is None:
        return CONSTANT.with_(kind=Kind.SERIES)
    state = rows_of_values(run, (given,))
    if state.kind is Kind.WINDOW:
        return state
    if state.direction == 0 or (state.kind is Kind.ARRAY and state.direction < 0):
        return transfer.unordered(state)
    return state.with_(kind=Kind.SERIES)


def _frame(run: Run, a: Arguments) -> Value:
    given = a.get(0, "data")
    cell = run.env.cell(given) if given is not None else None
    if isinstance(cell, Frame):
        return run.put("frame", cell)
    if isinstance(cell, Table):
        columns = tuple(sorted((name, _column(run, name, value)) for name, value in cell.entries))
        return run.put("frame", Frame(columns, CONSTANT if cell.exact else DATA, closed=cell.exact))
    if given is None:
        return run.put("frame", Frame((), CONSTANT.with_(kind=Kind.SERIES)))
    state = rows_of_values(run, (given,))
    return run.put("frame", Frame((), (state if state.parts else DATA).with_(kind=Kind.SERIES)))


def _factorize(run: Run, a: Arguments) -> Value:
    codes = transfer.started(rows_of_values(run, a.positional[:1]), Start.STATE, run.here("factorize"))
    return run.put("codes", Items((codes, Literal("some"))))


def _timedelta(run: Run, a: Arguments) -> Value:
    minutes: int | None = places_minutes(a.text(0, "value"))
    for word, factor in (("minutes", 1), ("hours", 60), ("days", 1440), ("weeks", 10080)):
        given = a.number(-1, word)
        if given is not None and not given.terms:
            minutes = (minutes or 0) + given.constant * factor
    return Literal("span", str(minutes)) if minutes is not None else Literal("span")


def places_minutes(rule: str) -> int | None:
    from ._places import minutes_of  # noqa: PLC0415 - places ask functions as well

    return minutes_of(rule) if rule else None


def _column(run: Run, name: str, value: Value) -> State:
    """A column of a new frame; a list of what nobody knows, one for each row, is data."""
    state = run.env.state(value)
    if state.kind in (Kind.TOP, Kind.OTHER) and isinstance(run.env.cell(value), Items):
        return DATA.with_(names=(name,), sure=False)
    return state.with_(kind=Kind.SERIES)


def _concat(run: Run, a: Arguments) -> Value:
    """`pd.concat`: side by side the columns of all; one below the other the rows of each, which look no further than in
    their piece."""
    given = run.env.cell(a.get(0, "objs") or NOTHING)
    if isinstance(given, Items) and given.exact and not given.items:
        return NEVER
    if not isinstance(given, Items) or not given.items:
        return UNKNOWN
    pieces = given.items
    across = a.get(1, "axis") == Number(Linear(1)) or a.text(1, "axis") == "columns"
    columns: dict[str, State] = {}
    default: State = DATA
    closed = True
    for rank, piece in enumerate(pieces):
        frame = run.env.frame(piece)
        if frame is not None and not across:
            for name, state in frame.columns:
                columns[name] = join(columns[name], state) if name in columns else state
            closed = closed and frame.closed
            default = frame.default
            continue
        if frame is None:
            state = run.env.state(piece)
            state = beside(state) if across else state
            for name in state.names:
                columns[name if name not in columns else f"{name} #{rank}"] = state
        else:
            columns.update((name, beside(state) if across else state) for name, state in frame.columns)
            closed = closed and frame.closed
            default = frame.default
    result = Frame(tuple(sorted(columns.items())), default, closed=closed and bool(columns))
    if across:
        return run.put("concat", result)
    if all(run.env.frame(piece) is None for piece in pieces):
        return blend([run.env.state(piece) for piece in pieces], Kind.SERIES).narrowed(SOMEHOW)
    return run.put("concat", result.each(lambda s: s.narrowed(SOMEHOW)))


def _merge(run: Run, a: Arguments) -> Value:
    left, right = run.env.frame(a.get(0, "left") or NOTHING), run.env.frame(a.get(1, "right") or NOTHING)
    if left is None:
        return UNKNOWN
    columns = {**{n: beside(s) for n, s in (right.columns if right is not None else ())}, **dict(left.columns)}
    return run.put("merge", Frame(tuple(sorted(columns.items())), left.default, left.head, left.direction, left.closed))


def _merge_asof(run: Run, a: Arguments) -> Value:
    left, right = run.env.frame(a.get(0, "left") or NOTHING), run.env.frame(a.get(1, "right") or NOTHING)
    if left is None:
        return UNKNOWN
    if right is None:
        return run.put("merge", left)
    mark = run.here("merge_asof")
    if a.text(-1, "direction", "backward") != "backward":
        mark = mark._replace(until="nearest")
        right = right.each(lambda s: transfer.every_row(s, transfer.MERGE, mark, Extent.BUCKET))
    columns = {**{name: beside(state) for name, state in right.columns}, **dict(left.columns)}
    return run.put("merge", Frame(tuple(sorted(columns.items())), left.default, left.head, left.direction))


def _informative(run: Run, a: Arguments) -> Value:
    """`merge_informative_pair`: the columns of the longer timeframe, lagged by it, under a suffix."""
    left, right = run.env.frame(a.get(0, "dataframe") or NOTHING), run.env.frame(a.get(1, "informative") or NOTHING)
    if left is None:
        return UNKNOWN
    suffix = a.get(3, "timeframe_inf")
    word = suffix.pattern if isinstance(suffix, Text) else ANY
    for name, state in right.columns if right is not None else ():
        left = left.write(f"{name}_{word}", state.with_(kind=Kind.SERIES, direction=1))
    return run.put("informative", left)


def _convolve(run: Run, a: Arguments) -> Value:
    state = rows_of_values(run, a.positional[:1]).with_(kind=Kind.ARRAY)
    if a.text(2, "mode", "full") == "full":
        return state.with_(short=ZERO)
    kernel = a.positional[1] if len(a.positional) > 1 else NOTHING
    cell = run.env.cell(kernel)
    width = Linear(len(cell.items)) if isinstance(cell, Items) and cell.exact else None
    if isinstance(kernel, State):
        width = kernel.rows
    if a.text(2, "mode") == "valid":
        return transfer.unordered(state)
    form = None if width is None else (width + Linear(-1)).half(run.unique("kernel"))
    return transfer.moved(state, form, transfer.CENTERED, run.here("convolve"))


def _cut(run: Run, a: Arguments) -> Value:
    """`pd.cut`: edges that are listed know no row."""
    state = rows_of_values(run, a.positional[:1])
    edges = a.get(1, "bins")
    if edges is not None and run.env.cell(edges) is not None:
        return blend((state, run.env.state(edges)), state.kind)
    return transfer.every_row(state, transfer.STATISTIC, run.here("cut"))


def _interp(run: Run, a: Arguments) -> Value:
    state = rows_of_values(run, a.positional[2:3])
    return transfer.also(state, transfer.FILL, Extent.GAP, run.here("interp"))


def _indexer(run: Run, a: Arguments) -> Value:
    width = a.get(0, "window_size")
    return Member(width if width is not None else NOTHING, "forward")


def _loop(name: str) -> Any:
    def build(run: Run, a: Arguments) -> Value:
        return Member(run.put(name, Items(a.positional)), name)

    return build


def _range(run: Run, a: Arguments) -> Value:
    ends = a.positional
    bounds: tuple[Value, ...] = (Number(ZERO), *ends) if len(ends) == 1 else ends[:2]
    if len(ends) > 2 and (not isinstance(ends[2], Number) or (ends[2].form.lower() or 0) <= 0):
        bounds = ()
    return Member(run.put("range", Items(bounds)), "range")


def _length(run: Run, a: Arguments) -> Value:
    items = run.items(a.positional[0]) if a.positional else None
    if items is not None:
        return Number(Linear(len(items)))
    state = run.env.state(a.positional[0]) if a.positional else UNKNOWN
    if not state.parts or state.kind in (Kind.TOP, Kind.OTHER):
        return Number(unknown(run.unique("count"), 0))
    return Number(transfer.length(state))


def _integer(run: Run, a: Arguments) -> Value:
    value = a.positional[0] if a.positional else NOTHING
    if isinstance(value, Number):
        return value
    state = run.env.state(value)
    return state if state.parts else Number(unknown(run.unique("int")))


def _apply_along(run: Run, a: Arguments) -> Value:
    function = a.positional[0] if a.positional else NOTHING
    return function if isinstance(function, Callee | Outside) else UNKNOWN


def _dict(run: Run, a: Arguments) -> Value:
    return run.put("dict", Table(tuple(sorted(a.keywords.items())), not a.positional))


def _getattr(run: Run, a: Arguments) -> Value:
    from ._places import attribute  # noqa: PLC0415 - places ask functions as well

    name = a.positional[1] if len(a.positional) > 1 else NOTHING
    if isinstance(name, Text) and ANY not in name.pattern:
        return attribute(run, a.positional[0], name.pattern)
    owner = a.positional[0] if a.positional else NOTHING
    return Outside(f"{owner.path}.{ANY}") if isinstance(owner, Outside) else UNKNOWN


def _super(run: Run, a: Arguments) -> Value:
    return Member(run.env.names.get(run.function.self_name, UNKNOWN), "super")


SPECIAL: dict[str, Any] = {
    "numpy.roll": _roll, "numpy.diff": _diff, "numpy.ediff1d": _diff, "numpy.concatenate": _concatenate,
    "numpy.hstack": _concatenate, "numpy.append": _append, "numpy.insert": _insert, "numpy.flip": _flip,
    "numpy.flipud": _flip, "builtins.reversed": _reversed, "pandas.Series": _series, "pandas.DataFrame": _frame,
    "pandas.concat": _concat, "pandas.merge": _merge, "pandas.merge_asof": _merge_asof,
    "numpy.convolve": _convolve,
    "numpy.interp": _interp, "pandas.cut": _cut, "pandas.api.indexers.FixedForwardWindowIndexer": _indexer,
    "builtins.zip": _loop("zip"), "builtins.enumerate": _loop("enumerate"), "builtins.range": _range,
    "numba.prange": _range, "builtins.len": _length, "builtins.int": _integer, "numpy.vectorize": _apply_along,
    "pandas.factorize": _factorize, "pandas.Timedelta": _timedelta, "pandas.to_timedelta": _timedelta,
    "datetime.timedelta": _timedelta, "builtins.super": _super, "builtins.dict": _dict, "builtins.getattr": _getattr,
    "pandas.Grouper": lambda run, a: Literal("time", "bucket"),
}  # fmt: skip

PARAMETERS = frozenset(
    {"IntParameter", "DecimalParameter", "CategoricalParameter", "BooleanParameter", "RealParameter"}
)


def parameter(run: Run, a: Arguments, name: str) -> Value:
    """A tunable constant of a strategy: an integer between its bounds."""
    if name != "IntParameter":
        return Literal("some")
    low, high = a.number(0, "low"), a.number(1, "high")
    items = run.items(a.positional[0]) if a.positional else None
    if items and len(items) == 2 and all(isinstance(i, Number) for i in items):
        low, high = (i.form if isinstance(i, Number) else None for i in items)
    return Number(
        unknown(
            f"{run.function.path}:{run.op}:n",
            None if low is None else low.lower(),
            None if high is None else high.upper(),
        )
    )
