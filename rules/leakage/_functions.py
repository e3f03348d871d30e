"""Library functions, by dotted path: numpy, pandas, indicator packages, and what they do to the rows they are given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import _transfer as transfer
from ._linear import ZERO, Linear, unknown
from ._methods import doubtful
from ._state import CONSTANT, DATA, UNKNOWN, Extent, Kind, State, blend
from ._values import ANY, NOTHING, Callee, Frame, Items, Literal, Member, Number, Outside, Table, Text, Value

if TYPE_CHECKING:
    from ._calls import Arguments
    from ._interpreter import Run

OHLCV = ("open", "high", "low", "close", "volume")
NUMERIC_CASTS = frozenset({"builtins.int", "builtins.float", "builtins.round", "builtins.abs", "numpy.int64"})


def function_call(run: Run, path: str, a: Arguments) -> Value:
    """The value of calling the library function `path`."""
    special = SPECIAL.get(path)
    if special is not None:
        found: Value = special(run, a)
        return found
    books = transfer.library()
    short = path.rpartition(".")[2]
    if short in PARAMETERS:
        return parameter(run, a, short)
    entry = books.ahead.get(path)
    if entry is not None:
        return ahead(run, entry, a)
    if path in books.all_rows:
        return transfer.every_row(rows_of(run, a), books.all_rows[path], run.here(short))
    functions = books.functions
    if path in functions["read"] or short in ("get_pair_dataframe", "get_analyzed_dataframe", "historic_ohlcv"):
        return run.put("read", Frame())
    if path in functions["constant"]:
        return constant_rows(run, a, short)
    if path in functions["reduce"]:
        return reduced(run, a, short)
    if path in functions["rowwise"]:
        return rowwise(run, path, a)
    if books.indicator(path):
        return indicator(run, a)
    if path.partition(".")[0] in ("numpy", "scipy", "math") and not any(run.env.state(v).parts for v in a.all()):
        return CONSTANT
    if path.startswith("builtins.") or not any(run.env.state(v).parts for v in a.all()):
        return UNKNOWN if path.startswith("builtins.") else outside_value(a)
    return doubtful(rows_of(run, a))


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
    if path in ("builtins.list", "builtins.tuple") and a.positional:
        cell = run.env.cell(a.positional[0])
        return run.put("list", cell) if isinstance(cell, Items) else a.positional[0]
    values = a.all()
    if path == "functools.reduce" and len(a.positional) > 1:
        values = a.positional[1:]
    result = rows_of_values(run, values)
    if (
        path.rpartition(".")[0] == "numpy"
        and result.kind in (Kind.SERIES, Kind.TOP)
        and path.rpartition(".")[2] in ("where", "select", "array", "asarray")
    ):
        return transfer.to_array(result, run.here(path.rpartition(".")[2]))
    return result


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
    if across or (name in ("max", "min") and len(a.positional) > 1):
        return rows_of_values(run, a.positional)
    return transfer.statistic(state, run.here(name)) if state.parts else _least(a)


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


def ahead(run: Run, entry: Any, a: Arguments) -> Value:
    """A library function that looks ahead by a number of rows."""
    state = (
        indicator(run, a)
        if "column" in entry or entry["family"] == "leaky-indicator"
        else rows_of_values(run, a.positional[:1])
    )
    form = _ahead_form(entry, a)
    if any(a.flag(word) is False and word in a.keywords for word in entry.get("unless", ())):
        form = ZERO
    name = str(entry["path"]).rpartition(".")[2]
    result = transfer.moved(state, form, entry["family"], run.here(name))
    if "column" not in entry:
        return result
    return run.put(name, Frame(((entry["column"], result),), state))


def _ahead_form(entry: Any, a: Arguments) -> Linear | None:
    times, plus, by = float(entry.get("times", 1)), float(entry.get("plus", 0)), int(entry.get("by", 1))
    given: Linear | None = ZERO
    if "position" in entry or "keyword" in entry:
        given = a.number(int(entry.get("position", -1)), str(entry.get("keyword", "")), entry.get("default"))
    if given is None:
        return None
    if not given.terms:
        return Linear(int(given.constant * times + plus) // by + int(entry.get("extra", 0)))
    return given + Linear(int(plus)) if times == 1 and by == 1 else None


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
    if state.direction == 0 or (state.kind is Kind.ARRAY and state.direction < 0):
        return transfer.unordered(state)
    return state.with_(kind=Kind.SERIES)


def _frame(run: Run, a: Arguments) -> Value:
    given = a.get(0, "data")
    cell = run.env.cell(given) if given is not None else None
    if isinstance(cell, Frame):
        return run.put("frame", cell)
    if isinstance(cell, Table):
        columns = tuple(sorted((name, run.env.state(value).with_(kind=Kind.SERIES)) for name, value in cell.entries))
        return run.put("frame", Frame(columns, CONSTANT if cell.exact else DATA, closed=cell.exact))
    if given is None:
        return run.put("frame", Frame((), CONSTANT.with_(kind=Kind.SERIES)))
    state = rows_of_values(run, (given,))
    return run.put("frame", Frame((), (state if state.parts else DATA).with_(kind=Kind.SERIES)))


def _concat(run: Run, a: Arguments) -> Value:
    """`pd.concat`: side by side the columns of all; one below the other nothing is known of the order."""
    pieces = run.items(a.get(0, "objs") or NOTHING)
    if not pieces:
        return UNKNOWN
    across = a.get(1, "axis") == Number(Linear(1)) or a.text(1, "axis") == "columns"
    columns: dict[str, State] = {}
    default: State = DATA
    closed = True
    for piece in pieces:
        frame = run.env.frame(piece)
        if frame is None:
            state = run.env.state(piece)
            columns.update(dict.fromkeys(state.names, state))
        else:
            columns.update(frame.columns)
            closed = closed and frame.closed
            default = frame.default
    result = Frame(tuple(sorted(columns.items())), default, closed=closed and bool(columns))
    return run.put("concat", result if across else result.each(transfer.unordered))


def _merge(run: Run, a: Arguments) -> Value:
    left, right = run.env.frame(a.get(0, "left") or NOTHING), run.env.frame(a.get(1, "right") or NOTHING)
    if left is None:
        return UNKNOWN
    columns = {**dict(right.columns if right is not None else ()), **dict(left.columns)}
    return run.put("merge", Frame(tuple(sorted(columns.items())), left.default, left.head, left.direction, left.closed))


def _merge_asof(run: Run, a: Arguments) -> Value:
    left, right = run.env.frame(a.get(0, "left") or NOTHING), run.env.frame(a.get(1, "right") or NOTHING)
    if left is None:
        return UNKNOWN
    if right is None:
        return run.put("merge", left)
    mark = run.here("merge_asof")
    if a.text(-1, "direction", "backward") != "backward":
        right = right.each(lambda s: transfer.every_row(s, transfer.MERGE, mark, Extent.BUCKET))
    columns = {**dict(right.columns), **dict(left.columns)}
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
    return Number(Linear(len(items))) if items is not None else Number(unknown(run.unique("rows"), 0))


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
    return (
        attribute(run, a.positional[0], name.pattern) if isinstance(name, Text) and ANY not in name.pattern else UNKNOWN
    )


def _super(run: Run, a: Arguments) -> Value:
    return Member(run.env.names.get(run.function.self_name, UNKNOWN), "super")


SPECIAL: dict[str, Any] = {
    "numpy.roll": _roll, "numpy.diff": _diff, "numpy.ediff1d": _diff, "numpy.concatenate": _concatenate,
    "numpy.hstack": _concatenate, "numpy.append": _append, "numpy.insert": _insert, "numpy.flip": _flip,
    "numpy.flipud": _flip, "builtins.reversed": _reversed, "pandas.Series": _series, "pandas.DataFrame": _frame,
    "pandas.concat": _concat, "pandas.merge": _merge, "pandas.merge_asof": _merge_asof,
    "freqtrade.strategy.merge_informative_pair": _informative,
    "freqtrade.strategy.strategy_helper.merge_informative_pair": _informative, "numpy.convolve": _convolve,
    "numpy.interp": _interp, "pandas.cut": _cut, "pandas.api.indexers.FixedForwardWindowIndexer": _indexer,
    "builtins.zip": _loop("zip"), "builtins.enumerate": _loop("enumerate"), "builtins.range": _range,
    "numba.prange": _range, "builtins.len": _length, "builtins.int": _integer, "numpy.vectorize": _apply_along,
    "builtins.super": _super, "builtins.dict": _dict, "builtins.getattr": _getattr, "pandas.Grouper": lambda run,
    a: Literal("time", "bucket"),
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
