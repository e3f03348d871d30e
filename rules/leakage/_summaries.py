"""What functions do, seen from their callers: each is interpreted once per shape of its arguments, with symbols for
them.

A shape keeps what the code states (numbers, texts, functions) and names the rest: a series is the source `(parameter,
"")`, the column of a frame `(parameter, column)`, an unknown integer a symbol. At a call the summary is instantiated:
sources become the states of the arguments, the call becomes a step of the proof, and what the callee changed in place
is changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from auditor.facts.model import Const, Root, Select, TypeExpr
from auditor.project.project import CallResult, Project
from auditor.project.symbols import ClassNode, FunctionNode, Meaning, Module

from ._interpreter import Outcome, Run
from ._linear import Linear, unknown
from ._places import PRICES, column_of, literal, symbol_of
from ._roles import Roles
from ._sinks import HOOKS, Sink
from ._state import UNKNOWN, Event, Extent, Kind, Mark, Part, Start, State, substituted
from ._transfer import UNANCHORED
from ._values import (
    ANY,
    NOTHING,
    Callee,
    Cell,
    Environment,
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
    each_ref,
)  # fmt: skip

MAX_DEPTH = 12
MAX_SHAPES = 24  # of one function; further ones are unknown
FRAME_WORDS = frozenset(
    {"columns", "assign", "iterrows", "itertuples", "set_index", "sort_values", "reset_index", "groupby", "loc"}
)
ROW_WORDS = frozenset({
    "shift", "rolling", "ewm", "expanding", "diff", "pct_change", "fillna", "ffill", "bfill", "cumsum", "cumprod",
    "cummax", "cummin", "values", "to_numpy", "iloc", "dropna", "rank", "clip", "where", "mask", "astype", "abs",
    "mean", "std", "max", "min", "isna", "notna", "dt", "apply", "map",
})  # fmt: skip
FRAME_NAMES = frozenset({
    "df", "dataframe", "frame", "data", "ohlcv", "candles", "bars", "prices", "features", "table", "history",
    "klines", "d", "panel", "df_", "X",
})  # fmt: skip


class Summary(NamedTuple):
    outcome: Outcome
    start: Mapping[str, Cell]  # the cells of the parameters before


class Analysis:
    """All interpretations of one project; shared by the rules of the chapter."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.symbols = project.symbols
        self.roles = Roles(project)
        self.called: set[tuple[str, int]] = set()
        self.labelled: dict[tuple[str, int], set[str]] = {}  # function -> columns that it or a caller uses as labels
        self.relevant: set[tuple[str, int]] = set()  # functions that are interpreted whatever they are given
        self._names: dict[tuple[Module, str], Meaning | None] = {}
        self._modules: dict[Module, Environment] = {}
        self._classes: dict[tuple[str, int], Environment] = {}
        self._instances: dict[tuple[str, int], Outcome | None] = {}
        self._summaries: dict[object, Summary | None] = {}
        self._shapes: dict[tuple[str, int], int] = {}
        self._resolutions: dict[tuple[str, int], Mapping[int, CallResult]] = {}
        self._stack: list[FunctionNode] = []
        self._runs: list[Run] = []
        self._tokens: dict[int, int] = {}
        self._outer: dict[int, int] = {}

    # --- names ---
    def resolve(self, module: Module, name: str) -> Meaning | None:
        key = (module, name)
        if key not in self._names:
            self._names[key] = self.symbols.resolve(module, name)
        return self._names[key]

    def resolution(self, function: FunctionNode, op: int) -> CallResult | None:
        """What the types of the project say of a call."""
        known = self._resolutions.get(function.key)
        if known is None:
            known = self._resolutions[function.key] = self.project.calls(function)
        return known.get(op)

    def module_value(self, run: Run, module: Module, name: str) -> Value:
        """What a module-level name holds after the module has run, if it is bound once."""
        if len(self.symbols.assigned(module).get(name, ())) != 1:
            return UNKNOWN
        constant = self.symbols.constant(module, name)
        if constant is not None:
            return literal(constant)
        env = self._modules.get(module)
        if env is None:
            self._modules[module] = Environment()  # a ring: nothing is known yet
            outcome = self.interpret(module.functions[0], Environment())
            env = self._modules[module] = outcome.end if outcome is not None else Environment()
        value = env.names.get(name, UNKNOWN)
        return adopt(value, env, run.env)

    def class_value(self, run: Run, cls: ClassNode, name: str) -> Value | None:
        """A method or a constant of a class body, through its bases."""
        for ancestor in cls.mro:
            method = ancestor.methods.get(name)
            if method is not None:
                return Callee(method)
            if not any(field.name == name for field in ancestor.header.fields):
                continue
            env = self._class_body(ancestor)
            value = env.names.get(name, UNKNOWN)
            return adopt(value, env, run.env)
        return None

    def _class_body(self, cls: ClassNode) -> Environment:
        env = self._classes.get(cls.key)
        if env is None:
            self._classes[cls.key] = Environment()
            outcome = self.interpret(cls.module.functions[cls.header.body], Environment())
            env = self._classes[cls.key] = outcome.end if outcome is not None else Environment()
        return env

    def inherited(self, function: FunctionNode, name: str) -> FunctionNode | None:
        """The method that `super().name` means inside a method."""
        cls = function.cls
        for ancestor in cls.mro[1:] if cls is not None else ():
            if name in ancestor.methods:
                return ancestor.methods[name]
        return None

    # --- closures ---
    def capture(self, run: Run) -> int:
        token = self._tokens.get(id(run))
        if token is None:
            token = self._tokens[id(run)] = len(self._runs)
            self._runs.append(run)
        return token

    def captured(self, run: Run, word: str) -> Value:
        """A name of an enclosing function, as the closure that is running sees it."""
        token = self._outer.get(id(run), -1)
        while token >= 0:
            outer = self._runs[token]
            value = outer.env.names.get(word)
            if value is not None:
                return adopt(value, outer.env, run.env)
            token = self._outer.get(id(outer), -1)
        return UNKNOWN

    # --- running ---
    def interpret(self, function: FunctionNode, env: Environment, outer: int = -1) -> Outcome | None:
        """Run a function; None if it is running already, or calls go too deep."""
        if function in self._stack or len(self._stack) >= MAX_DEPTH or function.header.is_generator:
            return None
        run = Run(self, function, env)
        self._runs.append(run)
        self._tokens[id(run)] = len(self._runs) - 1
        self._outer[id(run)] = outer
        self._stack.append(function)
        try:
            outcome = run.run()
        finally:
            self._stack.pop()
        for key in (function.key, *sorted(run.callees)):
            self.labelled.setdefault(key, set()).update(outcome.labels)
        return outcome

    def create(self, run: Run, cls: ClassNode, positional: tuple[Value, ...], keywords: Mapping[str, Value]) -> Value:
        """A new instance: what `__init__` stores in it."""
        ref = run.put("instance", Instance(cls))
        method = cls.method("__init__")
        if method is not None:
            worth = any(f.key in self.relevant for c in cls.mro for f in c.methods.values())
            if worth:
                self.relevant.add(method.key)
            self.call(run, Callee(method, ref), positional, keywords)
        else:  # a record: its fields in order
            fields = [field.name for ancestor in reversed(cls.mro) for field in ancestor.header.fields if field.annotation]
            held = {**dict(zip(fields, positional, strict=False)), **{k: v for k, v in keywords.items() if k in fields}}
            run.env.cells[ref.cell] = Instance(cls, tuple(sorted(held.items(), key=lambda item: item[0])))
        return ref

    def call(self, run: Run, callee: Callee, positional: tuple[Value, ...], keywords: Mapping[str, Value]) -> Value:
        """The value of a call of a project function, with its effects on the caller's store."""
        function = callee.function
        given = (callee.receiver, *positional) if callee.receiver is not None else positional
        bound = bind(function, given, keywords)
        for param in function.header.params:
            if param.kind == "kwarg":
                rest = {word: value for word, value in keywords.items() if word not in bound}
                bound[param.name] = run.put("keywords", Table(tuple(sorted(rest.items()))))
        self.called.add(function.key)
        run.callees.add(function.key)
        if callee.captured >= 0 or any(isinstance(v, Callee) and v.captured >= 0 for v in bound.values()):
            return self._inline(run, callee, bound)
        if function.key not in self.relevant and not any(self._bears(run.env, value, 0) for value in bound.values()):
            return UNKNOWN
        shape = Shape(run.env, stated_by(function, len(given), keywords))
        for name, value in bound.items():
            shape.add(name, value)
        key = (function.key, tuple(shape.key))
        if key not in self._summaries:
            self._shapes[function.key] = self._shapes.get(function.key, 0) + 1
            if self._shapes[function.key] > MAX_SHAPES:
                return UNKNOWN
            self._summaries[key] = None
            start = dict(shape.env.cells)
            outcome = self.interpret(function, shape.env)
            self._summaries[key] = Summary(outcome, start) if outcome is not None else None
        summary = self._summaries[key]
        if summary is None:
            return UNKNOWN
        return Instantiation(run, function, bound, shape).apply(summary)

    def _bears(self, env: Environment, value: Value, depth: int) -> bool:
        """Whether a value holds market data: only then it matters what a function does with it."""
        if isinstance(value, State):
            return bool(value.parts) and not value.unknown and value.kind is not Kind.OTHER
        cell = env.cell(value)
        if isinstance(cell, Frame | Model):
            return True
        inner: tuple[Value, ...] = ()
        if isinstance(cell, Items):
            inner = cell.items
        elif isinstance(cell, Table):
            inner = tuple(v for _, v in cell.entries)
        elif isinstance(cell, Instance) and depth == 0:
            inner = tuple(v for _, v in cell.attributes if not isinstance(env.cell(v), Instance))
        return depth < 3 and any(self._bears(env, v, depth + 1) for v in inner)

    def _inline(self, run: Run, callee: Callee, bound: Mapping[str, Value]) -> Value:
        """A closure sees the names around it: it runs in the store of its caller."""
        cells = dict(run.env.cells)
        if callee.captured >= 0:
            for name, cell in self._runs[callee.captured].env.cells.items():
                cells.setdefault(name, cell)
        outcome = self.interpret(callee.function, Environment(dict(bound), cells), callee.captured)
        if outcome is None:
            return UNKNOWN
        run.env.cells.update(outcome.end.cells)
        for sink in outcome.sinks:
            run.sink(sink)
        for event in outcome.events:
            run.event(event)
        return outcome.value

    # --- roots ---
    def standalone(self, function: FunctionNode) -> Outcome | None:
        """A function that nobody calls with known arguments: each parameter is a symbol, or its default."""
        env = Environment()
        for param in function.header.params:
            env.names[param.name] = self._parameter(function, env, param.name, param.annotation, param.default)
        return self.interpret(function, env)

    def _parameter(
        self, function: FunctionNode, env: Environment, name: str, annotation: TypeExpr | None, default: Const | None
    ) -> Value:
        if name == function.self_name:
            return env.put(name, self.instance(function.cls, name, env) if function.cls is not None else Instance(None))
        word = _annotated(annotation)
        if word in ("DataFrame", "LazyFrame") or (not word and used_as_frame(function, name)):
            source = State((Part((name, ANY)),), sure=word != "" or function.name in HOOKS)
            return env.put(name, Frame(default=source))
        if word in ("Series", "ndarray", "array", "NDArray", "ArrayLike") or (
            not word and used_as_rows(function, name)
        ):
            return State((Part((name, "")),), Kind.SERIES if word in ("Series", "") else Kind.ARRAY, sure=word != "")
        if default is not None and default.kind in ("int", "str"):
            return literal(default)
        if word == "int":
            return Number(unknown(f"param:{name}"))
        if word in ("str", "bool", "float"):
            return Text(ANY) if word == "str" else Literal("some")
        return State((Part((name, "")),), Kind.OTHER, sure=False)

    def instance(self, cls: ClassNode, name: str, env: Environment) -> Instance:
        """An instance as its `__init__` leaves it; what that does not say is a symbol."""
        if cls.key not in self._instances:
            self._instances[cls.key] = None
            method = cls.method("__init__")
            if method is not None:
                start = Environment()
                for param in method.header.params[1:]:
                    start.names[param.name] = self._parameter(
                        method, start, param.name, param.annotation, param.default
                    )
                start.names[method.self_name] = start.put("self", Instance(cls))
                self._instances[cls.key] = self.interpret(method, start)
        outcome = self._instances[cls.key]
        made = outcome.end.cells.get("self") if outcome is not None else None
        if not isinstance(made, Instance) or outcome is None:
            return Instance(cls, source=name)
        kept = [
            (word, adopt(value, outcome.end, env)) for word, value in made.attributes if _stated(value, outcome.end)
        ]
        held = [(word, _symbolic(f"{name}.{word}", value, outcome.end, env)) for word, value in made.attributes]
        kept.extend((word, value) for word, value in held if value is not None)
        return Instance(cls, tuple(sorted(kept, key=lambda item: item[0])), name)


def _symbolic(name: str, value: Value, source: Environment, target: Environment) -> Value | None:
    """Rows and frames that an instance was given, as symbols of their own."""
    cell = source.cell(value)
    if isinstance(cell, Frame):
        default = State((Part((name, ANY)),), sure=cell.default.sure)
        return target.put(name, Frame(default=default, direction=cell.direction))
    if isinstance(value, State) and value.kind in (Kind.SERIES, Kind.ARRAY) and value.parts and not value.unknown:
        return State((Part((name, "")),), value.kind, sure=value.sure)
    return None


def _stated(value: Value, env: Environment) -> bool:
    """Whether the code states a value: constants, and dicts and lists of them."""
    cell = env.cell(value)
    if isinstance(cell, Table):
        return all(_stated(v, env) for _, v in cell.entries)
    if isinstance(cell, Items):
        return all(_stated(v, env) for v in cell.items)
    if isinstance(cell, Model):
        return not cell.fitted
    return isinstance(value, Number | Text | Literal | Callee | Type | Outside)


def _annotated(annotation: TypeExpr | None) -> str:
    """The last word of an annotation, unions and options looked through."""
    if annotation is None:
        return ""
    if annotation.kind == "name":
        return annotation.text.rpartition(".")[2]
    if annotation.kind == "subscript":
        base = _annotated(annotation.args[0])
        return _annotated(annotation.args[1]) if base == "Optional" and len(annotation.args) > 1 else base
    if annotation.kind == "union":
        return next((word for word in map(_annotated, annotation.args) if word), "")
    return ""


def used_as_frame(function: FunctionNode, name: str) -> bool:
    """Whether a parameter is used as only a frame is: row methods of its columns, `assign`, rows by `iterrows`. A
    column by name alone may be a dict; it counts where the parameter is called as frames are."""
    named = name in FRAME_NAMES or name.startswith("df") or name.endswith(("_df", "_frame", "_data"))
    for place in function.body.places:
        if place.root is not Root.LOCAL or place.name != name or not place.path:
            continue
        first = place.path[0]
        if first.kind is Select.ATTR and first.value in FRAME_WORDS and (named or first.value != "loc"):
            return True
        if first.kind is Select.ITEM and isinstance(first.value, Const) and first.value.kind == "str":
            after = place.path[1] if len(place.path) > 1 else None
            if named or (after is not None and after.kind is Select.ATTR and after.value in ROW_WORDS):
                return True
    return False


def used_as_rows(function: FunctionNode, name: str) -> bool:
    """Whether a parameter is used as a series or an array is."""
    words = ROW_WORDS - {"apply", "map", "values", "max", "min"}
    return any(
        place.root is Root.LOCAL
        and place.name == name
        and place.path
        and place.path[0].kind is Select.ATTR
        and place.path[0].value in words
        for place in function.body.places
    )


def bind(function: FunctionNode, given: tuple[Value | None, ...], keywords: Mapping[str, Value]) -> dict[str, Value]:
    """Parameter -> argument; a parameter without one has its default."""
    bound: dict[str, Value] = {}
    rest = [value for value in given if value is not None]
    for param in function.header.params:
        if param.kind == "vararg":
            rest = []
        elif param.kind == "kwarg":
            continue
        elif param.kind != "keyword" and rest:
            bound[param.name] = rest.pop(0)
        elif param.name in keywords:
            bound[param.name] = keywords[param.name]
        elif param.default is not None:
            bound[param.name] = literal(param.default)
        else:
            bound[param.name] = UNKNOWN
    return bound


def stated_by(function: FunctionNode, given: int, keywords: Mapping[str, Value]) -> frozenset[str]:
    """The parameters that a call gives a value."""
    names = [param.name for param in function.header.params if param.kind in ("positional", "normal")]
    return frozenset((*names[:given], *keywords))


def adopt(value: Value, source: Environment, target: Environment) -> Value:
    """A value of another environment, with the cells that it reaches."""
    for cell in each_ref(value, source.cells):
        target.cells.setdefault(cell, source.cells[cell])
    return value


class Shape:
    """Symbols for the arguments of a call: the environment of the callee, and the key under which its summary is
    kept."""

    def __init__(self, caller: Environment, stated: frozenset[str]) -> None:
        self.caller = caller
        self.stated = stated  # parameters that the call names; the others have their defaults
        self.env = Environment()
        self.key: list[object] = []
        self.arguments: dict[str, Value] = {}
        self.forms: dict[str, Linear | None] = {}

    def add(self, name: str, value: Value) -> None:
        self.env.names[name] = self._symbol(name, value, 0)

    def _symbol(self, name: str, value: Value, depth: int) -> Value:
        if isinstance(value, Number) and value.form.terms:
            low, high = value.form.lower(), value.form.upper()
            self.forms[f"param:{name}"] = value.form
            self.key.append((name, "number", low, high))
            return Number(unknown(f"param:{name}", low, high), given=True)
        if isinstance(value, Number):
            self.key.append((name, value, name in self.stated))
            return Number(value.form, given=name in self.stated)
        if isinstance(value, Text | Literal | Outside | Type | File | Callee):
            self.key.append((name, value))
            return value
        self.arguments[name] = value
        if isinstance(value, State):
            return self._rows(name, value)
        if isinstance(value, Ref):
            return self._cell(name, value, depth)
        self.key.append((name, "?"))
        return UNKNOWN

    def _rows(self, name: str, value: State) -> State:
        if value.kind is Kind.OTHER and len(value.parts) == 1:
            self.forms[f"param:{name}"] = unknown(symbol_of(value.parts[0].source))
        parts = (Part((name, "")), *begun(name, "", value)) if value.parts else ()
        kind = Kind.OTHER if value.kind is Kind.TOP and value.unknown else value.kind
        direction = 1 if value.unknown else value.direction
        state = State(
            parts, kind, direction, value.head, value.short, timeframe=value.timeframe, sure=value.sure, rows=value.rows,
            names=value.names if len(value.names) == 1 and value.names[0].lower() in PRICES else (), tag=value.tag,
        )
        self.key.append((name, state))
        return state

    def _cell(self, name: str, value: Ref, depth: int) -> Value:
        cell = self.caller.cell(value)
        if isinstance(cell, Frame):
            default = State(
                (Part((name, ANY)),), direction=cell.direction, head=cell.head, timeframe=cell.default.timeframe,
                sure=cell.default.sure,
            )  # fmt: skip
            known = tuple(
                (word, default.with_(parts=(Part((name, word)), *begun(name, word, state)), names=(word,), tag=state.tag))
                for word, state in cell.columns
                if state.start is not Start.NONE
            )
            self.key.append((name, "frame", cell.direction, cell.head, cell.chosen, default.timeframe, default.sure, known))
            return self.env.put(
                name, Frame(known, default, head=cell.head, direction=cell.direction, chosen=cell.chosen)
            )
        if depth > 3:
            self.key.append((name, "deep"))
            return UNKNOWN
        if isinstance(cell, Items):
            self.key.append((name, "items", len(cell.items), cell.exact))
            items = tuple(self._symbol(f"{name}.{rank}", item, depth + 1) for rank, item in enumerate(cell.items))
            return self.env.put(name, Items(items, cell.exact))
        if isinstance(cell, Table):
            self.key.append((name, "table", tuple(k for k, _ in cell.entries), cell.exact))
            entries = tuple((key, self._symbol(f"{name}.{key}", item, depth + 1)) for key, item in cell.entries)
            return self.env.put(name, Table(entries, cell.exact))
        if isinstance(cell, Instance):
            kept = [(word, item) for word, item in cell.attributes if not isinstance(self.caller.cell(item), Instance)]
            self.key.append(
                (name, "instance", cell.cls.key if cell.cls is not None else None, tuple(k for k, _ in kept))
            )
            held = tuple((word, self._symbol(f"{name}.{word}", item, depth + 1)) for word, item in kept)
            return self.env.put(name, Instance(cell.cls, held, name))
        if isinstance(cell, Model):
            self.key.append((name, "model", cell.path, cell.stated))
            return self.env.put(name, Model(cell.path, (), cell.stated))
        self.key.append((name, "cell"))
        return UNKNOWN


def begun(name: str, column: str, value: State) -> tuple[Part, ...]:
    """Symbols for how an argument depends on the first loaded row."""
    kinds = sorted({part.start for part in value.parts if part.extent is Extent.START})
    return tuple(Part((f"^{name}", column), UNANCHORED, Extent.START, start=kind) for kind in kinds[-1:])


class Instantiation:
    """A summary at one call: its value in the terms of the caller, and its effects on the caller's store."""

    def __init__(self, run: Run, function: FunctionNode, bound: Mapping[str, Value], shape: Shape) -> None:
        self.run = run
        self.shape = shape
        name = function.name if function.header.kind == "def" else "lambda"
        passed_on = any(isinstance(value, Number) and value.given for value in bound.values())
        self.mark: Mark = run.here(f"calls {name}", name)._replace(call=True, given=passed_on)
        self.prefix = run.unique("call")
        self.cells: Mapping[str, Cell] = {}

    def apply(self, summary: Summary) -> Value:
        end = summary.outcome.end
        self.cells = end.cells
        self.run.labels.update(summary.outcome.labels)
        for name in summary.start:
            before, after = summary.start[name], end.cells.get(name)
            if after is not None and after != before:
                self._effect(name, before, after)
        for sink in summary.outcome.sinks:
            if any(part.source[0] for part in sink.state.parts):
                self.run.sink(Sink(sink.kind, sink.name, self.state(sink.state), sink.mark, sink.owner))
        for event in summary.outcome.events:
            self.run.event(self.event(event))
        return self.value(summary.outcome.value)

    def event(self, event: Event) -> Event:
        """What happened in the callee, in the terms of the caller."""
        model = event.model
        if model in self.shape.arguments:
            given = self.shape.arguments[model]
            model = given.cell if isinstance(given, Ref) else model
        elif model in self.cells:
            model = f"{self.prefix}/{model}"
        values = tuple((role, self.state(state)) for role, state in event.values)
        return event._replace(model=model, values=values, calls=(self.mark, *event.calls)[:MAX_DEPTH])

    def state(self, state: State) -> State:
        return substituted(state, self._argument, self.shape.forms, self.mark)

    def _argument(self, source: tuple[str, str]) -> State | None:
        value = self.shape.arguments.get(source[0])
        if value is None:
            return None
        frame = self.run.env.frame(value)
        if frame is not None:
            return frame.whole() if source[1] in ("", ANY) else frame.read(source[1])
        state = self.run.env.state(value)
        return column_of(state, source[1]) if source[1] else state

    def value(self, value: Value) -> Value:
        if isinstance(value, State):
            return self.state(value)
        if isinstance(value, Number):
            form = value.form.replaced(self.shape.forms)
            return Number(form) if form is not None else UNKNOWN
        if isinstance(value, Ref):
            if value.cell in self.shape.arguments:
                return self.shape.arguments[value.cell]
            cell = self.cells.get(value.cell)
            if cell is None:
                return UNKNOWN
            name = f"{self.prefix}/{value.cell}"
            if name not in self.run.env.cells:
                self.run.env.cells[name] = Frame(default=UNKNOWN)  # a ring of references ends here
                self.run.env.cells[name] = self.cell(cell)
            elif isinstance(cell, Frame):
                self.run.env.cells[name] = self.cell(cell)
            return Ref(name)
        if isinstance(value, Member):
            return Member(self.value(value.base), value.name)
        if isinstance(value, Slice | Window | Group):
            return UNKNOWN
        return value

    def cell(self, cell: Cell) -> Cell:
        if isinstance(cell, Frame):
            return self.frame(cell)
        if isinstance(cell, Items):
            return Items(tuple(self.value(item) for item in cell.items), cell.exact)
        if isinstance(cell, Table):
            return Table(tuple((key, self.value(item)) for key, item in cell.entries), cell.exact)
        if isinstance(cell, Model):
            return replace(cell, fitted=tuple(self.state(state) for state in cell.fitted))
        return Instance(cell.cls, tuple((word, self.value(item)) for word, item in cell.attributes), "")

    def frame(self, frame: Frame) -> Frame:
        """A frame of the callee; one that came from an argument still has the columns of that."""
        columns: dict[str, State] = {}
        if not frame.closed:
            for source in sorted({part.source[0] for part in frame.default.parts if part.source[1] == ANY}):
                given = self.run.env.frame(self.shape.arguments.get(source, NOTHING))
                for name, state in given.columns if given is not None else ():
                    if name not in frame.gone:
                        passed = frame.read(name)
                        untouched = passed.parts == (Part((source, name)),) and passed.direction == state.direction
                        columns[name] = state if untouched else self.state(passed).with_(kind=Kind.SERIES)
        columns.update((name, self.state(state)) for name, state in frame.columns)
        return replace(frame, columns=tuple(sorted(columns.items())), default=self.state(frame.default))

    def _effect(self, name: str, before: Cell, after: Cell) -> None:
        """What the callee changed in place."""
        target = self.shape.arguments.get(name)
        if not isinstance(target, Ref):
            return
        given = self.run.env.cells.get(target.cell)
        if isinstance(after, Frame) and isinstance(given, Frame) and isinstance(before, Frame):
            self.run.env.cells[target.cell] = self.frame(after)
        elif isinstance(after, Model) and isinstance(given, Model):
            seen = (*given.fitted, *(self.state(state) for state in after.fitted))
            self.run.env.cells[target.cell] = replace(given, fitted=tuple(dict.fromkeys(seen))[:4])
        elif isinstance(after, Items | Table):
            self.run.env.cells[target.cell] = self.cell(after)
        elif isinstance(after, Instance) and isinstance(given, Instance) and isinstance(before, Instance):
            old = dict(before.attributes)
            for word, value in after.attributes:
                if old.get(word) != value:
                    given = given.write(word, self.value(value))
            self.run.env.cells[target.cell] = given


_ANALYSES: dict[int, tuple[Project, Analysis]] = {}


def analysis_of(project: Project) -> Analysis:
    """The one analysis of a project."""
    known = _ANALYSES.get(id(project))
    if known is None or known[0] is not project:
        _ANALYSES.clear()
        known = _ANALYSES[id(project)] = (project, Analysis(project))
    return known[1]
