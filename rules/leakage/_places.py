"""Reading and writing places: names, attributes and subscripts of frames, series, arrays, lists, dicts and
instances."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from auditor.facts.model import Const, Place, Root, Select, Selector
from auditor.project.symbols import ClassNode, External, FunctionNode, Meaning, Module, Variable

from . import _transfer as transfer
from ._estimators import chosen_rows
from ._linear import ZERO, Linear, unknown
from ._state import CONSTANT, DATA, FIXED, POSITION, UNKNOWN, Cut, Extent, Kind, Part, State, blend
from ._values import (
    ANY,
    NEVER,
    NOTHING,
    Callee,
    File,
    Frame,
    Group,
    Instance,
    Items,
    Literal,
    Member,
    Model,
    Number,
    Outside,
    Ref,
    Slice,
    Table,
    Text,
    Type,
    Value,
    Window,
    join_values,
)  # fmt: skip

if TYPE_CHECKING:
    from ._interpreter import Run

ACCESSORS = frozenset({"loc", "iloc", "at", "iat", "str", "dt", "cat", "plot"})
TIME_WORDS = frozenset({"date", "datetime", "time", "timestamp", "open_time", "close_time", "index", "dt", "day"})
PRICES = frozenset(
    {"open", "high", "low", "close", "volume", "price", "adj close", "adj_close", "vwap", "mid", "last", "bid", "ask"}
)
RUNMODE = Literal("runmode")  # how the engine runs: the analysis takes it for a backtest
LIVE = frozenset({"live", "dry_run"})
BATCH = frozenset({"backtest", "backtesting"})
CONSTANTS = frozenset({"nan", "NaN", "NAN", "inf", "NA", "NaT", "pi", "e"})
EVERYTHING = Slice(NOTHING, NOTHING, NOTHING)


def literal(const: Const) -> Value:
    """The value of a constant."""
    if const.kind == "int":
        return Number(Linear(int(const.text.replace("_", ""), 0)))
    if const.kind == "str":
        return Text(const.text)
    return Literal(const.kind, const.text)


def linear(value: Value | None) -> Linear | None:
    """The integer form of a value; a parameter that nothing is known of is a symbol of its own."""
    if isinstance(value, Number):
        return value.form
    if isinstance(value, Literal) and value.kind == "float" and value.text.endswith(".0"):
        return Linear(int(float(value.text)))
    if (
        isinstance(value, State)
        and value.kind is Kind.OTHER
        and len(value.parts) == 1
        and value.parts[0].source[0]
        and value.parts[0].reach == ZERO
    ):
        return unknown(symbol_of(value.parts[0].source))
    return None


def symbol_of(source: tuple[str, str]) -> str:
    """The name of the unknown integer that a parameter (or its member) stands for."""
    return f"param:{source[0]}" + (f".{source[1]}" if source[1] else "")


def meaning_value(run: Run, meaning: Meaning | None, name: str) -> Value:
    """What a resolved name is as a value; the standard library is outside of the project, stubs or not."""
    module = meaning if isinstance(meaning, Module) else getattr(meaning, "module", None)
    if isinstance(module, Module) and module.is_stub:
        inner = "" if meaning is module else f".{getattr(meaning, 'symbol', '') or getattr(meaning, 'name', name)}"
        return Outside(f"{module.name.lstrip('_')}{inner}")
    if isinstance(meaning, FunctionNode):
        return Callee(meaning)
    if isinstance(meaning, ClassNode):
        return Type(meaning)
    if isinstance(meaning, External):
        return Outside(meaning.path)
    if isinstance(meaning, Module):
        return File(meaning)
    if isinstance(meaning, Variable):
        return run.analysis.module_value(run, meaning.module, meaning.name)
    return Outside(f"builtins.{name}")


# --- reading ----------------------------------------------------------------------------------------------------------


def read(run: Run, place: Place) -> Value:
    value = root(run, place)
    for selector in place.path:
        value = select(run, value, selector)
    return value


def root(run: Run, place: Place) -> Value:
    name = place.name
    if isinstance(name, Const):
        return literal(name)
    if place.root is Root.TEMP:
        return run.env.names.get(f"%{name}", UNKNOWN)
    word = str(name)
    if place.root is Root.LOCAL:
        known = run.env.names.get(word)
        return known if known is not None else _imported(run, word)
    if place.root is Root.CELL:
        return run.analysis.captured(run, word)
    if run.function.index == 0 and word in run.env.names:
        return run.env.names[word]
    return meaning_value(run, run.analysis.resolve(run.function.module, word), word)


def _imported(run: Run, word: str) -> Value:
    meaning = run.analysis.symbols.resolve(run.function.module, word, run.function)
    return meaning_value(run, meaning, word) if meaning is not None and not isinstance(meaning, Variable) else UNKNOWN


def select(run: Run, value: Value, selector: Selector) -> Value:
    if selector.kind is Select.ATTR:
        return attribute(run, value, str(selector.value))
    return subscript(run, value, key_of(run, selector))


def key_of(run: Run, selector: Selector) -> Value:
    if isinstance(selector.value, Const):
        return literal(selector.value)
    return run.value(int(selector.value)) if isinstance(selector.value, int) and selector.value >= 0 else UNKNOWN


def attribute(run: Run, value: Value, name: str) -> Value:
    """`value.name` where it is not called."""
    if value == NEVER:
        return NEVER
    if name == "runmode" or (value == RUNMODE and name in ("value", "name")):
        return RUNMODE
    if isinstance(value, Outside):
        return Outside(f"{value.path}.{name}") if name not in CONSTANTS else Literal("float", name)
    if isinstance(value, File):
        return meaning_value(run, run.analysis.symbols.attribute(value.module, name), name)
    if isinstance(value, Type):
        return run.analysis.class_value(run, value.cls, name) or UNKNOWN
    if isinstance(value, Ref):
        return _cell_attribute(run, value, name)
    if isinstance(value, State):
        return _state_attribute(run, value, name)
    if isinstance(value, Literal) and value.kind == "time":
        return clock(name, "")
    if isinstance(value, Member) and value.name == "dt":
        return clock(name, "")
    if isinstance(value, Member) and value.name == "cat" and name == "codes":
        mark = run.here("codes of the categories that occur", name)
        return transfer.also(run.env.state(value.base), transfer.STATISTIC, Extent.WARMUP, mark)
    if isinstance(value, Group | Window):
        return subscript(run, value, Text(name))
    if isinstance(value, Number | Text | Literal) and name in ("value", "range", "days", "n"):
        return value
    return UNKNOWN


DAY = 1440
CALENDAR = {"date": DAY, "day_name": 0, "normalize": DAY, "year": 365 * DAY}
UNITS = {"min": 1, "t": 1, "h": 60, "d": DAY, "w": 7 * DAY, "s": 0, "m": 30 * DAY, "me": 30 * DAY, "ms": 30 * DAY, "b": DAY}


def clock(name: str, rule: str) -> Literal:
    """What an attribute or method makes of a time: the bucket that it falls into, with its minutes, or a place in a cycle
    that comes again, such as the hour of the day."""
    if name in ("floor", "ceil", "round", "to_period"):
        minutes = minutes_of(rule)
        return Literal("time", f"bucket:{minutes}" if minutes else "bucket")
    if name in ("strftime", "isocalendar"):
        return Literal("time", "bucket")
    if name in CALENDAR:
        return Literal("time", f"bucket:{CALENDAR[name]}" if CALENDAR[name] else "cycle")
    if name in ("hour", "minute", "second", "dayofweek", "weekday", "day_of_week", "month", "day", "quarter", "dayofyear", "time"):
        return Literal("time", "cycle")
    return Literal("time", "stamp")


def minutes_of(rule: str) -> int | None:
    """Minutes of a rule such as `4h`, None for what is none."""
    digits = rule.rstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-")
    unit = UNITS.get(rule[len(digits) :].partition("-")[0].lower())
    return None if unit is None or (digits and not digits.isdigit()) else int(digits or 1) * unit or None


def timeframe_of(word: str) -> int | None:
    """Minutes of a timeframe such as `5m` or `1h`, as exchanges write it."""
    return minutes_of(f"{word[:-1]}min" if word[-1:] == "m" else word)


def _cell_attribute(run: Run, ref: Ref, name: str) -> Value:
    cell = run.env.cells.get(ref.cell)
    if isinstance(cell, Instance):
        return instance_attribute(run, ref, cell, name)
    if isinstance(cell, Model) and name in ("best_estimator_", "named_steps", "steps"):
        return ref
    if not isinstance(cell, Frame):
        return Member(ref, name)
    if name in ACCESSORS:
        return Member(ref, name)
    if name == "values":
        return blend([transfer.to_array(cell.whole(), run.here("values"))], Kind.ARRAY)
    if name == "index":
        return Literal("time", "stamp")
    if name == "columns":
        return Member(ref, "columns")
    if name == "T":
        return run.put("T", cell.each(transfer.unordered))
    if name == "shape":
        rows = Number(transfer.length(cell.whole()))
        return run.put("shape", Items((rows, Literal("some"))))
    if name == "empty":
        return Literal("bool", "False")
    if name in ("size", "ndim", "dtypes"):
        return Literal("some")
    return cell.read(name)


def instance_attribute(run: Run, ref: Ref, cell: Instance, name: str) -> Value:
    """`self.name`: what was stored, else what the class says, else a symbol of its own."""
    known = cell.get(name)
    if known is not None:
        return known
    if cell.cls is not None:
        found = run.analysis.class_value(run, cell.cls, name)
        if isinstance(found, Callee):
            if found.function.is_property:
                return run.analysis.call(run, Callee(found.function, ref), (), {})
            return Callee(found.function, None if found.function.is_static else ref)
        if found is not None:
            return found
    if cell.source:
        return State((Part((f"{cell.source}.{name}", "")),), Kind.OTHER)
    return UNKNOWN


def _state_attribute(run: Run, state: State, name: str) -> Value:
    if name in ("values", "array"):
        return transfer.to_array(state, run.here("values"))
    if name in ACCESSORS:
        return Member(state, name)
    if name == "index":
        return Literal("time", "stamp")
    if name == "T":
        return transfer.unordered(state)
    if name == "shape" and state.parts:
        rows = Number(transfer.length(state))
        return run.put("shape", Items((rows, Literal("some"))))
    if name == "empty":
        return Literal("bool", "False") if state.kind is not Kind.TOP else Literal("some")
    if name in ("size", "name", "dtype", "columns", "ndim", "is_unique"):
        return Literal("some")
    if state.kind is Kind.OTHER and name not in ("value", "real"):
        return column_of(state, name)
    return state


def column_of(state: State, name: str) -> State:
    """A member of a parameter of which it is not known that it is a frame."""
    parts = tuple(
        replace(p, source=(p.source[0], name))
        if p.source[0] and not p.source[1]
        else p
        for p in state.parts
    )
    return state.with_(parts=parts, names=(name,))


def subscript(run: Run, value: Value, key: Value) -> Value:
    """`value[key]`."""
    if key == Text("runmode"):
        return RUNMODE
    if isinstance(value, Ref):
        cell = run.env.cells.get(value.cell)
        if isinstance(cell, Frame):
            return frame_item(run, value, cell, key)
        if isinstance(cell, Items):
            return list_item(run, cell, key)
        if isinstance(cell, Table):
            return table_item(run, cell, key)
        return UNKNOWN
    if isinstance(value, State):
        return state_item(run, value, key)
    if isinstance(value, Member):
        return accessor_item(run, value, key)
    if isinstance(value, Group):
        return Group(
            subscript(run, value.base, key), value.key, value.minutes, value.label, value.closed, value.resampled
        )
    if isinstance(value, Window):
        return Window(subscript(run, value.base, key), value.kind, value.width, value.center, value.forward, value.before)
    if isinstance(value, Outside) and value.path in ("numpy.r_", "numpy.c_"):
        return joined_rows(run, run.items(key) or [key])
    return UNKNOWN


def joined_rows(run: Run, values: list[Value]) -> State:
    """Rows of several pieces behind each other; a constant is one row, a list as many as it has."""
    return transfer.padded([(run.env.state(v), length_of(run, v)) for v in values], run.here("pad"))


def length_of(run: Run, value: Value) -> Linear | None:
    """How many rows a piece has, None if nobody knows."""
    cell = run.env.cell(value)
    if isinstance(cell, Items):
        return Linear(len(cell.items)) if cell.exact else None
    if isinstance(value, Number | Literal | Text | Outside):
        return Linear(1)
    if isinstance(value, State) and value.kind is Kind.SCALAR:
        return Linear(1)
    return value.rows if isinstance(value, State) and not value.parts else None


def frame_item(run: Run, ref: Ref, frame: Frame, key: Value) -> Value:
    if isinstance(key, Text | Literal):
        return frame.read(key.pattern if isinstance(key, Text) else ANY)
    names = run.texts(key)
    if names is not None:
        columns = tuple((name, frame.read(name)) for name in sorted(set(names)))
        return run.put("columns", Frame(columns, frame.default, frame.head, frame.direction, closed=True, chosen=True))
    if isinstance(key, Slice):
        return run.put("rows", frame_rows(run, frame, key))
    if isinstance(key, State) and key.kind is Kind.POSITION and key.align:
        return run.put("fold", frame.each(lambda s: chosen_rows(s, key)))
    if isinstance(key, State) and key.parts:
        site = f"{run.function.path}:{run.here('mask').line}"
        return run.put("mask", frame.each(lambda s: s.narrowed(Cut("mask", site=site))))
    return run.put("part", replace(frame.each(lambda s: s.with_(sure=False)), picked=True))


def frame_rows(run: Run, frame: Frame, key: Slice) -> Frame:
    """Rows of a frame by position."""
    if is_reversal(key):
        flipped = frame.each(transfer.reverse)
        return Frame(flipped.columns, flipped.default, ZERO, -frame.direction, frame.closed, frame.chosen)
    lower, upper = bounds(run, key)
    cut = frame.each(lambda s: transfer.cut(s, lower, upper, run.here("slice")))
    return Frame(cut.columns, cut.default, frame.head + (lower or ZERO), frame.direction, frame.closed, frame.chosen)


def is_reversal(key: Slice) -> bool:
    return key.step == Number(Linear(-1)) and key.lower == NOTHING and key.upper == NOTHING


def bounds(run: Run, key: Slice) -> tuple[Linear | None, Linear | None]:
    """(lower, upper) of a slice; an upper bound of None is the end, a lower one of None is unknown."""
    lower = ZERO if key.lower == NOTHING else linear(key.lower)
    upper = None if key.upper == NOTHING else linear(key.upper)
    if upper is None and key.upper != NOTHING:
        upper = unknown(run.unique("bound"))
    return lower, upper


def state_item(run: Run, state: State, key: Value) -> Value:
    if state.kind is Kind.POSITION:
        return state if not isinstance(key, Text) else Literal("some")
    if isinstance(key, Text) and state.kind is Kind.TOP and key.pattern.lower() in PRICES:
        return DATA.with_(sure=False, names=(key.pattern,))  # by its name a price, whatever holds it
    if isinstance(key, Text):
        return column_of(state, key.pattern) if any(p.source[0] and not p.source[1] for p in state.parts) else state
    if isinstance(key, Slice):
        if is_reversal(key):
            return transfer.reverse(state)
        if key.step not in (NOTHING, Number(Linear(1))):
            return transfer.unordered(state)
        return transfer.cut(state, *bounds(run, key), run.here("slice"))
    if isinstance(key, Number):
        return transfer.element(state, key.form, run.here("index"))
    if isinstance(key, State) and key.kind is Kind.POSITION and key.align:
        return chosen_rows(state, key)
    items = run.items(key)
    if items:
        return state_item(run, state, items[0])
    if isinstance(key, State) and state.kind is Kind.OTHER:
        form = linear(key)
        return transfer.element(state, form, run.here("index")) if form is not None else state
    return blend((state, run.env.state(key)), state.kind).narrowed(Cut("mask", site=f"{run.function.path}:{run.here('mask').line}"))


def listed(run: Run, cell: Items, value: Value) -> Value:
    """A value appended to a list, in step with the loop around it: as rows, with the reach as seen from its own row."""
    if not isinstance(value, State | Literal | Number):
        return value
    state = blend([transfer.without_start(run.env.state(value)), *run.conditions()], Kind.SCALAR)
    symbols = {s for part in state.parts for s, _ in (part.reach.terms if part.reach is not None else ()) if s.name.endswith(transfer.STEP)}
    if len(symbols) != 1:
        return transfer.without_start(value) if isinstance(value, State) else value
    step = symbols.pop()
    if step.low is None:
        return transfer.unordered(state).with_(kind=Kind.ARRAY)
    before = 0
    while before < len(cell.items) and not (isinstance(item := cell.items[before], State) and item.kind is Kind.ARRAY):
        before += 1
    position = Linear(before - step.low, ((step, 1),))
    return transfer.stored(state, position, run.here("append")).with_(kind=Kind.ARRAY)


def list_item(run: Run, cell: Items, key: Value) -> Value:
    if (
        isinstance(key, Number)
        and cell.exact
        and not key.form.terms
        and -len(cell.items) <= key.form.constant < len(cell.items)
    ):
        return cell.items[key.form.constant]
    if isinstance(key, Slice) and cell.exact:
        low, high = linear(key.lower), linear(key.upper)
        if key.step == NOTHING and (low is None or not low.terms) and (high is None or not high.terms):
            return run.put(
                "items", Items(cell.items[(low.constant if low else None) : (high.constant if high else None)])
            )
    return any_of(run, cell.items)


def any_of(run: Run, values: tuple[Value, ...]) -> Value:
    found: Value | None = None
    for value in values:
        found = value if found is None else join_values(found, value, run.unique("item"))
    return found if found is not None else NEVER  # of an empty list: a loop over it has no step


def table_item(run: Run, cell: Table, key: Value) -> Value:
    if isinstance(key, Text) and ANY not in key.pattern:
        found = cell.get(key.pattern)
        return found if found is not None else UNKNOWN
    by_unknown = cell.get(ANY)  # written under a name that is not known, and read under one: the same
    if by_unknown is not None:
        return by_unknown
    return any_of(run, tuple(v for _, v in cell.entries)) if cell.exact else UNKNOWN


def in_backtest(word: str, right: list[str]) -> bool | None:
    """What a comparison of the run mode with these names gives in a backtest; None if that depends on more."""
    names = {name.rpartition(".")[2].lower() for name in right}
    if names & BATCH:
        holds = True
    elif names and names <= LIVE:
        holds = False
    else:
        return None
    return holds if word in ("==", "is", "in") else not holds if word in ("!=", "is not", "not in") else None


def accessor_item(run: Run, member: Member, key: Value) -> Value:
    """`frame.loc[...]`, `frame.iloc[...]`, `series.iloc[...]` and their scalar twins."""
    if member.name not in ("loc", "iloc", "at", "iat"):
        return run.env.state(member.base)
    items = run.items(key)
    frame = run.env.frame(member.base)
    if frame is None:
        state = run.env.state(member.base)
        if items:
            column = items[1] if len(items) > 1 else NOTHING
            state = column_of(state, column.pattern) if isinstance(column, Text) else state
            return row_of(run, state, items[0], member.name)
        return row_of(run, state, key, member.name)
    if items and len(items) > 1:
        column = items[1]
        if isinstance(column, Text):
            return row_of(run, frame.read(column.pattern), items[0], member.name)
        names = run.texts(column)
        if names is None:
            return run.put("part", frame if column == EVERYTHING else replace(frame, picked=True))
        chosen = Frame(
            tuple((n, frame.read(n)) for n in sorted(set(names))),
            frame.default,
            frame.head,
            frame.direction,
            closed=True,
            chosen=True,
        )
        return run.put("columns", chosen)
    if isinstance(key, State) and key.kind is Kind.POSITION and key.align:
        return run.put("fold", frame.each(lambda s: chosen_rows(s, key)))
    if isinstance(key, State) and key.parts and key.kind in (Kind.SERIES, Kind.ARRAY):
        site = f"{run.function.path}:{run.here('mask').line}"
        return run.put("mask", frame.each(lambda s: s.narrowed(Cut("mask", site=site))))
    if isinstance(key, Slice) and member.name == "iloc":
        return run.put("rows", frame_rows(run, frame, key))
    if isinstance(key, Number) or (isinstance(key, State) and key.kind is Kind.OTHER):
        form = linear(key) if member.name in ("iloc", "iat") else None
        return run.put("row", frame.each(lambda s: transfer.element(s, form, run.here("index"))))
    return run.put("part", frame)


def row_of(run: Run, state: State, key: Value, accessor: str) -> State:
    if key == EVERYTHING:
        return state
    if isinstance(key, Slice):
        if accessor == "loc":
            return state
        found = state_item(run, state, key)
        return found if isinstance(found, State) else UNKNOWN
    if isinstance(key, State) and key.kind is Kind.POSITION and key.align:
        return chosen_rows(state, key)
    if isinstance(key, State) and key.parts and key.kind is not Kind.SCALAR:
        return state.narrowed(Cut("mask", site=f"{run.function.path}:{run.here('mask').line}"))
    numbers = [linear(item) for item in run.items(key) or []]
    if numbers and all(form is not None and not form.terms for form in numbers):
        return transfer.element(state, numbers[-1], run.here("index"))  # some rows, at fixed places
    form = linear(key) if accessor in ("iloc", "iat") or isinstance(key, Number) else None
    return transfer.element(state, form, run.here("index"))


# --- writing ----------------------------------------------------------------------------------------------------------


def write(run: Run, place: Place, value: Value) -> None:
    if not place.path:
        key = f"%{place.name}" if place.root is Root.TEMP else str(place.name)
        run.env.names[key] = value
        return
    owner = Place(place.root, place.name, place.path[:-1])
    base = read(run, owner)
    selector = place.path[-1]
    if selector.kind is Select.ATTR:
        write_attribute(run, base, str(selector.value), value)
    else:
        write_item(run, owner, base, key_of(run, selector), value)


def write_attribute(run: Run, base: Value, name: str, value: Value) -> None:
    cell = run.env.cell(base)
    if isinstance(base, Ref) and isinstance(cell, Instance):
        if isinstance(value, State) and run.takes_position(name, value):
            value = value.with_(tag=POSITION)
        run.env.cells[base.cell] = cell.write(name, value)
    elif isinstance(base, Ref) and isinstance(cell, Frame) and name == "index":
        if isinstance(value, State | Literal):
            run.env.cells[base.cell] = restamped(cell, value)
    elif isinstance(base, Ref) and isinstance(cell, Frame):
        if name == "columns":
            run.env.cells[base.cell] = Frame(default=cell.whole().with_(sure=False), direction=cell.direction)
        elif name in dict(cell.columns):
            store_column(run, base, name, value, None)


def write_item(run: Run, owner: Place, base: Value, key: Value, value: Value) -> None:
    if isinstance(base, Ref):
        cell = run.env.cells.get(base.cell)
        if isinstance(cell, Frame):
            write_columns(run, base, key, value, None)
        elif isinstance(cell, Items):
            run.env.cells[base.cell] = Items((*cell.items, value)[:16], exact=False)
        elif isinstance(cell, Table):
            run.env.cells[base.cell] = cell.write(key.pattern if isinstance(key, Text) else ANY, value)
    elif isinstance(base, Member) and base.name in ("loc", "iloc", "at", "iat"):
        items = run.items(key)
        if isinstance(base.base, Ref) and run.env.frame(base.base) is not None:
            rows, column = (items[0], items[1]) if items and len(items) > 1 else (key, None)
            if column is not None:
                write_columns(run, base.base, column, value, rows)
        elif owner.path:
            rows = items[0] if items else key
            _write_rows(run, Place(owner.root, owner.name, owner.path[:-1]), run.env.state(base.base), rows, value)
    elif isinstance(base, State) and base.kind is Kind.TOP and isinstance(key, Text) and not owner.path:
        write(run, owner, run.put("guessed", guessed_frame()))
        write_columns(run, read(run, owner), key, value, None)
    elif isinstance(base, State):
        _write_rows(run, owner, base, key, value)


def _write_rows(run: Run, owner: Place, state: State, key: Value, value: Value) -> None:
    """`x[key] = value` for rows without columns: the name (or column) gets a new state."""
    given = run.env.state(value)
    mark = run.here("store")
    first_rows = key == Number(ZERO) or (
        isinstance(key, Slice) and key.lower == NOTHING and (linear(key.upper) or ZERO) != ZERO
    )
    if first_rows and not given.parts:
        result = transfer.head_overwritten(state)
    elif isinstance(key, Slice):
        lower, _ = bounds(run, key)
        rows = given
        if given.kind is Kind.ARRAY and given.parts and lower != ZERO:
            rows = transfer.shift(given, lower, mark)
        result = blend((state, rows.with_(short=ZERO)), Kind.ARRAY if state.kind is not Kind.SERIES else Kind.SERIES)
    elif isinstance(key, State) and key.kind is not Kind.SCALAR and key.kind is not Kind.OTHER:
        result = blend((state, key, given), state.kind)
    else:
        tested = blend([given, *run.conditions()], given.kind)
        if isinstance(key, Number) and not key.form.terms:
            tested = transfer.without_start(tested)  # the first value of a recursion
        result = blend(
            (state, transfer.stored(tested, linear(key), mark)), Kind.ARRAY if state.kind is Kind.SCALAR else state.kind
        )
    if state.kind is Kind.SCALAR and not state.parts and result.kind is Kind.SCALAR:
        result = result.with_(kind=Kind.ARRAY)
    write(run, owner, result.with_(rows=state.rows))


def guessed_frame() -> Frame:
    """Something that is used as a frame: of its columns only the prices are what they are called."""
    return Frame(tuple((name, DATA.with_(sure=False, names=(name,))) for name in sorted(PRICES)), UNKNOWN)


def write_columns(run: Run, ref: Value, column: Value, value: Value, rows: Value | None) -> None:
    """`frame[column] = value`, `frame.loc[rows, column] = value`, also for several columns at once."""
    if isinstance(column, Text):
        store_column(run, ref, column.pattern, value, rows)
        return
    names = run.texts(column)
    if names is None:
        if isinstance(column, State) and rows is None and not column.parts:
            return
        store_column(run, ref, ANY, value, rows)
        return
    values = run.items(value)
    for rank, name in enumerate(names):
        one = values[rank] if values is not None and len(values) == len(names) else value
        frame = run.env.frame(one)
        store_column(run, ref, name, frame.whole() if frame is not None else one, rows)


def store_column(run: Run, ref: Value, name: str, value: Value, rows: Value | None) -> None:
    frame = run.env.frame(ref)
    if frame is None or not isinstance(ref, Ref):
        return
    given = aligned(run, frame, value)
    known = dict(frame.columns).get(name)
    pieces = [given]
    if isinstance(rows, Number) and rows.form.terms:
        pieces = [transfer.stored(blend([given, *run.conditions()], given.kind), rows.form, run.here("store"))]
    elif rows is not None and rows != EVERYTHING:
        condition = run.env.state(rows) if not isinstance(rows, Slice | Number) else CONSTANT
        pieces.append(
            condition.with_(head=ZERO, short=ZERO, direction=frame.direction) if condition.parts else condition
        )
    new = blend(pieces, Kind.SERIES).with_(direction=frame.direction, head=frame.head, short=ZERO, names=(name,))
    if len(pieces) == 1:
        tag = POSITION if run.takes_position(name, given) else FIXED if given.kind is Kind.SCALAR else given.tag
        new = new.with_(smooth=given.smooth, tag=tag)
    if name.lower() in TIME_WORDS and rows is None and (given.parts or isinstance(value, Literal)):
        frame = restamped(frame, value)
    run.sink_column(ref, name, new)
    if rows is not None and rows != EVERYTHING and known is not None:
        new = blend((known, new), Kind.SERIES).with_(names=(name,))
    run.env.cells[ref.cell] = frame.write(name, new)


def restamped(frame: Frame, value: Value) -> Frame:
    """A frame whose rows got other times: when a bucket is known is no longer what its label says."""
    later = value.text.partition("+")[2] if isinstance(value, Literal) and value.kind == "time" else ""
    if isinstance(value, Literal) and value.kind == "time" and not later:
        return frame
    return frame.each(lambda s: transfer.restamped(s, int(later or 0)))


def aligned(run: Run, frame: Frame, value: Value) -> State:
    """Rows as a frame takes them: an index finds its rows again, an array is laid beside them by position."""
    other = run.env.frame(value)
    state = other.whole() if other is not None else run.env.state(value)
    if state.kind is not Kind.ARRAY or not state.parts:
        return state
    if state.direction != frame.direction:
        return transfer.unordered(state)
    return transfer.shift(state, frame.head, run.here("align")) if frame.head != ZERO else state
