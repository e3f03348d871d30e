"""Interprets the IR of one function as a column program: names and store before each operation, joined where paths
meet.

Loops run twice, then what still changes becomes unknown. What a call does stands in `_methods` and `_functions`; what a
place means in `_places`; what a function of the project does in `_summaries`.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Any, NamedTuple

from auditor.facts.model import (
    COLLECTION,
    END,
    NONE,
    OPERATORS,
    Await,
    Binary,
    Block,
    Bool,
    Branch,
    Call,
    Catch,
    Choose,
    Closure,
    Collect,
    Compare,
    Define,
    Delete,
    Edge,
    Enter,
    Format,
    Import,
    Iterate,
    Next,
    Op,
    Opaque,
    Place,
    Return,
    Root,
    Store,
    Table,
    Unary,
    Unpack,
    Yield,
)  # fmt: skip
from auditor.project.symbols import FunctionNode, Variable

from . import _places as places
from . import _transfer as transfer
from ._calls import call
from ._linear import Linear, unknown
from ._sinks import LABEL_NAMES, POSITIONS, PROFIT, Sink, column_sink
from ._state import CHANGE, CONSTANT, EARNED, POSITION, UNKNOWN, Event, Extent, Kind, Mark, Part, Start, State, blend
from ._values import (
    ANY,
    NEVER,
    NOTHING,
    Callee,
    Cell,
    Environment,
    Items,
    Literal,
    Member,
    Number,
    Outside,
    Ref,
    Slice,
    Text,
    Type,
    Value,
    join_values,
)  # fmt: skip
from ._values import Table as Dictionary

if TYPE_CHECKING:
    from ._summaries import Analysis

PASSES = 2  # of a loop, before what still changes is unknown
MAX_VISITS = 5
MAX_TEXTS = 64
MAX_EVENTS = 64  # at one operation
LITERALS = {"True": True, "False": False}


class Outcome(NamedTuple):
    """What a function did: its value, the names and store at its end, and the sinks that it wrote."""

    value: Value
    end: Environment
    sinks: tuple[Sink, ...]
    labels: frozenset[str]  # columns that are used as what a model has to predict
    events: tuple[Event, ...] = ()  # of the learning, in program order


class Run:
    """One interpretation of one function, from the environment that holds its parameters."""

    def __init__(self, analysis: Analysis, function: FunctionNode, env: Environment) -> None:
        self.analysis = analysis
        self.function = function
        self.body = function.body
        self.env = env
        self.op = 0
        self.sinks: dict[tuple[int, str, str, int], Sink] = {}
        self.returned: Value | None = None
        self.end: Environment | None = None
        self.counter = 0
        self.labels: set[str] = set()
        self.callees: set[tuple[str, int]] = set()
        self.events: dict[int, list[Event]] = {}

    # --- where we are ---
    def here(self, note: str, name: str = "") -> Mark:
        """A step of a proof at the current operation. Of an expression over several lines the last one is meant."""
        line, column, end_line, end_column = self.function.at(self.op)
        if end_line > line:
            line, column = end_line, 1
        return Mark(self.function.path, line, column, end_line, end_column, note, name or note)

    def unique(self, word: str) -> str:
        """A name for what this operation makes; the same one each time it runs."""
        self.counter += 1
        return f"{self.function.path}:{self.function.index}:{self.op}:{self.counter}:{word}"

    def put(self, word: str, cell: Cell) -> Ref:
        return self.env.put(self.unique(word), cell)

    # --- values ---
    def value(self, operand: int) -> Value:
        return NOTHING if operand == NONE else places.read(self, self.body.places[operand])

    def state(self, operand: int) -> State:
        return self.env.state(self.value(operand))

    def items(self, value: Value) -> list[Value] | None:
        """The items of a list or tuple whose items are all known."""
        cell = self.env.cell(value)
        return list(cell.items) if isinstance(cell, Items) and cell.exact else None

    def texts(self, value: Value) -> list[str] | None:
        """The names in a list of names."""
        items = self.items(value)
        if items is None:
            cell = self.env.cell(value)
            if not isinstance(cell, Items) or not cell.items:
                return None
            items = list(cell.items)
        names = [item.pattern for item in items if isinstance(item, Text)]
        return names if items and len(names) == len(items) <= MAX_TEXTS else None

    # --- sinks ---
    def sink(self, found: Sink) -> None:
        key = (self.op, found.kind, found.name, found.mark.line)
        self.sinks[key] = found

    def event(self, found: Event) -> None:
        """Something that happened at the current operation; what a later pass of a loop says replaces it."""
        known = self.events.setdefault(self.op, [])
        if found not in known and len(known) < MAX_EVENTS:
            known.append(found)

    def label(self, value: Value | None) -> None:
        """A value that a model has to predict: the columns that it was read from are labels."""
        frame = self.env.frame(value) if value is not None else None
        if isinstance(value, State):
            self.labels.update(value.names)
        elif frame is not None and frame.chosen:
            self.labels.update(name for name, _ in frame.columns)

    def takes_position(self, name: str, state: State) -> bool:
        """Whether a name says that rows are decisions, and they are made with the close of their own row."""
        return bool(POSITIONS.match(name)) and state.kind in (Kind.SERIES, Kind.ARRAY) and state.reach() == 0 and bool(
            state.parts
        ) and any(part.reach == Linear() for part in state.parts)

    def profit(self, state: State, name: str) -> None:
        """A profit that a signal of a row earns with the return that ends at it."""
        mark = self.here(name)
        trail = state.parts[0].trail or (mark,)
        part = Part(state.parts[0].source, transfer.PROFIT, Extent.SERIES, trail=trail)
        self.sink(Sink(PROFIT, name, state.with_(parts=(part,)), mark, self.function.key))

    def conditions(self) -> list[State]:
        """What the branches around the current operation tested, where it depends on the step of a loop."""
        flow = self.analysis.project.flow(self.function)
        found: list[State] = []
        for rank, _ in flow.guards(flow.block_of(self.op)):
            branch = self.body.ops[rank]
            if isinstance(branch, Branch):
                state = self.state(branch.test)
                if any(part.reach is not None and part.reach.terms for part in state.parts):
                    found.append(state)
        return found

    def sink_column(self, ref: Ref, name: str, state: State) -> None:
        kind = column_sink(name)
        if kind:
            self.sink(Sink(kind, name, state, self.here(f'stored in "{name}"', name), self.function.key))

    # --- control flow ---
    def run(self) -> Outcome:
        blocks = self.body.blocks
        rank = {block: i for i, block in enumerate(_order(blocks))}
        entry: dict[int, Environment] = {0: self.env}
        visits: dict[int, int] = {}
        queue = [(rank[0], 0)]
        queued = {0}
        while queue:
            _, index = heapq.heappop(queue)
            queued.discard(index)
            visits[index] = visits.get(index, 0) + 1
            if visits[index] > MAX_VISITS:
                continue
            block = blocks[index]
            self.env = entry[index].copy()
            leaves = self._block(block)
            for target, env in leaves:
                known = entry.get(target)
                if known is None:
                    entry[target] = env
                else:
                    back = target in rank and rank[target] <= rank[index]
                    widen = back and visits.get(target, 0) >= PASSES
                    merged = known.merge(env, f"{self.function.path}:{self.function.index}:{target}", widen=widen)
                    if merged.same(known):
                        continue
                    entry[target] = merged
                if target not in queued and target in rank:
                    queued.add(target)
                    heapq.heappush(queue, (rank[target], target))
        end = self.end if self.end is not None else self.env
        value = self.returned if self.returned is not None else NOTHING
        sinks = tuple(self.sinks[key] for key in sorted(self.sinks))
        events = tuple(event for key in sorted(self.events) for event in self.events[key])
        return Outcome(value, end, sinks, frozenset(self.labels), events)

    def _block(self, block: Block) -> list[tuple[int, Environment]]:
        """Run a block; the environments that it hands on, by target."""
        before = self.env.copy() if block.region != NONE else None
        for index in range(block.start, block.end):
            self.op = index
            self.counter = 0
            operation = self.body.ops[index]
            step = STEPS.get(type(operation))
            if step is not None:
                step(self, operation)
        leaves: list[tuple[int, Environment]] = []
        region = block.region
        while region != NONE and before is not None:
            guard = self.body.regions[region]
            for handler in (*guard.handlers, *((guard.cleanup,) if guard.cleanup != NONE else ())):
                leaves.append((handler, before.merge(self.env, f"handler{handler}", widen=False)))
            region = guard.parent
        last = self.body.ops[block.end - 1] if block.end > block.start else None
        taken = self._taken(last)
        for kind, target in block.edges:
            if target == END:
                if not isinstance(last, Return):
                    self.leave(NOTHING)
                continue
            if taken is not None and kind in (Edge.TRUE, Edge.FALSE) and (kind is Edge.TRUE) is not taken:
                continue
            leaves.append((target, self.env.copy()))
        return leaves

    def _taken(self, last: Op | None) -> bool | None:
        """Which way a branch goes, where a constant decides it."""
        if not isinstance(last, Branch):
            return None
        test = self.value(last.test)
        if isinstance(test, Literal):
            return False if test.kind == "none" else LITERALS.get(test.text) if test.kind == "bool" else None
        return None

    def leave(self, value: Value) -> None:
        """A way out of the function."""
        if self.end is None or self.returned is None:
            self.returned, self.end = value, self.env.copy()
            return
        if self.returned != value:
            self.returned = self._either(self.returned, value)
        self.end = self.end.merge(self.env, f"{self.function.path}:{self.function.index}:end", widen=False)

    def _either(self, one: Value, other: Value) -> Value:
        """A return value of two ways out; early returns of nothing do not hide the frame of the other."""
        if one == NOTHING:
            return other
        if other == NOTHING:
            return one
        assert self.end is not None  # a first value came with its environment  # noqa: S101
        mine, theirs = self.end.frame(one), self.env.frame(other)
        if mine is not None and theirs is not None and isinstance(one, Ref) and isinstance(other, Ref):
            merged = Environment({}, {"x": mine}).merge(Environment({}, {"x": theirs}), "return", widen=False)
            name = f"{self.function.path}:{self.function.index}:return"
            for env in (self.end, self.env):
                env.cells[name] = merged.cells["x"]
            return Ref(name)
        return join_values(one, other, f"{self.function.path}:{self.function.index}:return")


def _order(blocks: tuple[Block, ...]) -> list[int]:
    """Blocks in reverse postorder, those reached only by exceptions behind them."""
    seen: set[int] = set()
    found: list[int] = []
    for start in range(len(blocks)):
        if start in seen:
            continue
        post: list[int] = []
        stack = [(start, iter(blocks[start].edges))]
        seen.add(start)
        while stack:
            index, edges = stack[-1]
            for _, target in edges:
                if target != END and target not in seen:
                    seen.add(target)
                    stack.append((target, iter(blocks[target].edges)))
                    break
            else:
                post.append(index)
                stack.pop()
        found.extend(reversed(post))
    return found


# --- operations -------------------------------------------------------------------------------------------------------


def _put(run: Run, operand: int, value: Value) -> None:
    if operand != NONE:
        places.write(run, run.body.places[operand], value)


def _store(run: Run, op: Store) -> None:
    destination = run.body.places[op.dst]
    if not destination.path and LABEL_NAMES.match(str(destination.name)):
        run.label(run.value(op.src))
    if not destination.path and destination.root is not Root.TEMP:
        value = run.value(op.src)
        if isinstance(value, State) and run.takes_position(str(destination.name), value):
            _put(run, op.dst, value.with_(tag=POSITION))
            return
    if destination.path and destination.path[-1].value == NONE:  # an item of a comprehension
        _append(run, destination, run.value(op.src))
        return
    _put(run, op.dst, run.value(op.src))


def _append(run: Run, destination: Place, value: Value) -> None:
    base = places.read(run, Place(destination.root, destination.name, destination.path[:-1]))
    cell = run.env.cell(base)
    if isinstance(base, Ref) and isinstance(cell, Items) and value != NEVER:
        items = tuple(dict.fromkeys((*cell.items, places.listed(run, cell, value))))[:16]
        run.env.cells[base.cell] = Items(items, exact=False)


def _delete(run: Run, op: Delete) -> None:
    place = run.body.places[op.place]
    if not place.path:
        run.env.names.pop(str(place.name), None)
        return
    base = places.read(run, Place(place.root, place.name, place.path[:-1]))
    frame = run.env.frame(base)
    key = places.key_of(run, place.path[-1])
    if frame is not None and isinstance(base, Ref) and isinstance(key, Text):
        run.env.cells[base.cell] = frame.drop([key.pattern])


def _unary(run: Run, op: Unary) -> None:
    value = run.value(op.operand)
    word = OPERATORS[op.operator]
    if word == "-":
        form = places.linear(value) if not isinstance(value, Literal) else None
        if form is not None and not (isinstance(value, State) and value.kind is not Kind.OTHER):
            value = Number(-form, isinstance(value, Number) and value.given)
    elif word == "not":
        value = _negated(value)
    elif word != "+":
        value = run.env.state(value)
    _put(run, op.dst, value)


def _negated(value: Value) -> Value:
    if _is_length(value):
        return Literal("bool", "False")
    if isinstance(value, Literal) and value.kind == "bool":
        return Literal("bool", str(value.text != "True"))
    return Literal("bool", "True") if value == NOTHING else Literal("some")


def _binary(run: Run, op: Binary) -> None:
    _put(run, op.dst, arithmetic(run, OPERATORS[op.operator], run.value(op.left), run.value(op.right)))


def arithmetic(run: Run, word: str, left: Value, right: Value) -> Value:
    """`left word right` of numbers, names, lists and rows."""
    if isinstance(left, Text) or isinstance(right, Text):
        if word == "+":
            return Text(_pattern(left) + _pattern(right))
        return Text(ANY) if word == "%" else run.env.state(left)
    stamped = _stamped(run, word, left, right)
    if stamped is not None:
        return stamped
    ends = [run.items(left), run.items(right)]
    if word == "*" and ends[0] and isinstance(right, Number):
        times = 0 if right.form.terms else right.form.constant
        if 0 < times * len(ends[0]) <= MAX_TEXTS:
            return run.put("repeated", Items(tuple(ends[0]) * times))
        if len(ends[0]) == 1:
            return CONSTANT.with_(kind=Kind.ARRAY, rows=right.form)
        return run.put("many", Items(tuple(ends[0]), exact=False))
    if word == "+" and ends[0] is not None and ends[1] is not None:
        return run.put("sum", Items((*ends[0], *ends[1])))
    if not _rows(run, left) and not _rows(run, right):
        return _numbers(run, word, left, right)
    if isinstance(left, Ref) or isinstance(right, Ref):
        frame = run.env.frame(left)
        other = run.env.state(right)
        if frame is not None:
            return run.put("frame", frame.each(lambda s: blend((s, other), s.kind)))
    one, two = run.env.state(left), run.env.state(right)
    if word == "-" and _is_length(left) and two.kind is Kind.ARRAY and not two.parts and two.rows is not None:
        part = Part(("", ""), transfer.STATISTIC, Extent.SERIES).marked(run.here("rows until the end"))
        return State((part,), Kind.ARRAY)
    for rows, by in ((one, right), (two, left)):
        form = places.linear(by)
        if rows.kind is Kind.POSITION and form is not None and word in ("+", "-"):
            return transfer.moved(rows, -form if word == "+" else form, transfer.ROW, run.here("position"))
    one, two = _anchored(word, one, two)
    result = blend((one, two)).with_(tag=_tag(word, one, two))
    if result.tag == EARNED and {one.tag, two.tag} == {CHANGE, POSITION}:
        result = result.each(lambda p: p.marked(run.here("signal times return", "return")))
    if not result.parts:
        result = result.with_(rows=one.rows or two.rows)
    return result


def _tag(word: str, one: State, two: State) -> str:
    """What a profit is made of, after an operation."""
    if word == "*" and {one.tag, two.tag} == {CHANGE, POSITION}:
        return EARNED
    if word in ("+", "-", "*", "/") and (not one.parts or not two.parts):
        return one.tag or two.tag
    if word in ("/", "-") and one.names == two.names and any(n.lower() in places.PRICES for n in one.names):
        reaches = (_one_reach(one), _one_reach(two))
        if reaches[0] == Linear() and reaches[1] is not None and (reaches[1].upper() or 0) < 0:
            return CHANGE
    if word in ("-", "+") and EARNED in (one.tag, two.tag):  # costs are taken off
        return EARNED
    return ""


def _one_reach(state: State) -> Linear | None:
    return state.parts[0].reach if len(state.parts) == 1 and state.parts[0].extent is Extent.EXACT else None


def _stamped(run: Run, word: str, left: Value, right: Value) -> Value | None:
    """A time moved by a span of time, or two spans together."""
    spans = [int(v.text) if isinstance(v, Literal) and v.kind == "span" and v.text else None for v in (left, right)]
    sign = {"+": 1, "-": -1}.get(word)
    if spans[1] is None or sign is None:
        return None
    if spans[0] is not None:
        return Literal("span", str(spans[0] + sign * spans[1]))
    state = run.env.state(left)
    if isinstance(left, Literal) and left.kind == "time":
        before = int(left.text.partition("+")[2] or 0)
        return Literal("time", f"stamp+{before + sign * spans[1]}")
    if state.names and all(name.lower() in places.TIME_WORDS for name in state.names):
        return Literal("time", f"stamp+{sign * spans[1]}")
    return None


LEVELS = {"-": (Start.OFFSET,), "/": (Start.SCALE,)}
COMPARISONS = (Start.OFFSET, Start.SCALE)


def _anchored(word: str, one: State, two: State) -> tuple[State, State]:
    """Both sides without what cancels between them: the constant in a difference of two sums, the factor in a ratio of
    two products, either in a comparison."""
    if one.start is Start.NONE or two.start is Start.NONE:
        return one, two
    shared = {p.start for p in one.parts} & {p.start for p in two.parts} & {*LEVELS.get(word, COMPARISONS)}
    if not shared:
        return one, two
    return transfer.without_start(one, *shared), transfer.without_start(two, *shared)


def _is_length(value: Value) -> bool:
    """Whether a number is how many rows there are, or differs from it by a constant."""
    return isinstance(value, Number) and any(symbol.name.endswith(transfer.LENGTH) for symbol, _ in value.form.terms)


def _rows(run: Run, value: Value) -> bool:
    """Whether a value is market data and not a number of the code."""
    if isinstance(value, State):
        return value.kind is not Kind.OTHER and (bool(value.parts) or value.kind is not Kind.SCALAR)
    return isinstance(value, Ref)


def _numbers(run: Run, word: str, left: Value, right: Value) -> Value:
    one, two = places.linear(left), places.linear(right)
    if one is None or two is None:
        whole = one if one is not None else two
        if word == "*" and whole is not None and whole.terms and whole.lower() == 0 and _is_share(left, right):
            return Number(unknown(run.unique("share"), 0))
        return run.env.state(left) if isinstance(left, State) else Literal("some")
    given = any(isinstance(value, Number) and value.given for value in (left, right))
    if word == "+":
        return Number(one + two, given)
    if word == "-":
        return Number(one - two, given)
    if word == "*" and (not one.terms or not two.terms):
        return Number(two.times(one.constant) if not one.terms else one.times(two.constant), given)
    if not one.terms and not two.terms and two.constant:
        result = {"//": one.constant // two.constant, "%": one.constant % two.constant}.get(word)
        if result is not None:
            return Number(Linear(result), given)
    least, by = one.lower(), two.constant
    if word == "//" and not two.terms and by > 0:
        high = one.upper()
        return Number(
            unknown(run.unique("part"), None if least is None else least // by, None if high is None else high // by)
        )
    return Literal("some")


def _is_share(left: Value, right: Value) -> bool:
    """Whether one side is a fraction that the code states, or one that it is given."""
    return any(
        (isinstance(v, Literal) and v.kind in ("float", "some")) or (isinstance(v, State) and v.kind is Kind.OTHER)
        for v in (left, right)
    )


def _pattern(value: Value) -> str:
    """The text of a value inside of another text."""
    if isinstance(value, Text):
        return value.pattern
    if isinstance(value, Number) and not value.form.terms:
        return str(value.form.constant)
    return ANY


def _compare(run: Run, op: Compare) -> None:
    left, right = run.value(op.left), run.value(op.right)
    if left != places.RUNMODE and (_rows(run, left) or _rows(run, right)):
        _put(run, op.dst, blend(_anchored("<", run.env.state(left), run.env.state(right))))
        return
    word = OPERATORS[op.operator]
    result: Value = Literal("some")
    settled = (Number, Text, Literal)
    if left == places.RUNMODE:
        names = [_mode(value) for value in run.items(right) or [right]]
        holds = places.in_backtest(word, [name for name in names if name]) if all(names) else None
        _put(run, op.dst, Literal("some") if holds is None else Literal("bool", str(holds)))
        return
    lengthy = _short(word, left, right)
    if lengthy is not None:
        _put(run, op.dst, Literal("bool", str(lengthy)))
        return
    if isinstance(left, Literal) and left.kind == "time":
        _put(run, op.dst, Literal("clock", f"{word} {_pattern(right)}"))
        return
    if isinstance(left, settled) and isinstance(right, settled) and _decided(left) and _decided(right):
        if word in ("==", "is"):
            result = Literal("bool", str(left == right))
        elif word in ("!=", "is not"):
            result = Literal("bool", str(left != right))
    elif right == NOTHING and isinstance(left, Ref | Callee):
        result = Literal("bool", str(word in ("is not", "!=")))
    _put(run, op.dst, result)


FLIPPED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}


def _short(word: str, left: Value, right: Value) -> bool | None:
    """What a comparison of the number of rows with a constant gives: a frame has more rows than a check asks for."""
    if not _is_length(left):
        left, right, word = right, left, FLIPPED.get(word, "")
    if not _is_length(left) or not isinstance(left, Number) or left.form.terms[1:]:
        return None
    if not isinstance(right, Number) or any(not s.name.startswith("param:") for s, _ in right.form.terms):
        return None
    return {"<": False, "<=": False, "==": False, ">": True, ">=": True, "!=": True}.get(word)


def _mode(value: Value) -> str:
    return value.pattern if isinstance(value, Text) else value.path if isinstance(value, Outside) else ""


def _decided(value: Value) -> bool:
    if isinstance(value, Number):
        return not value.form.terms
    if isinstance(value, Text):
        return ANY not in value.pattern
    return isinstance(value, Literal) and value.kind in ("bool", "none")


def _choose(run: Run, op: Choose) -> None:
    test = run.value(op.test)
    if isinstance(test, Literal) and test.kind in ("bool", "none"):
        _put(run, op.dst, run.value(op.then if test.text == "True" else op.other))
        return
    _put(run, op.dst, join_values(run.value(op.then), run.value(op.other), run.unique("choice")))


def _bool(run: Run, op: Bool) -> None:
    left, right = run.value(op.left), run.value(op.right)
    if _rows(run, left) or _rows(run, right):
        _put(run, op.dst, blend((run.env.state(left), run.env.state(right))))
        return
    if OPERATORS[op.operator] == "or":
        _put(run, op.dst, right if left == NOTHING else join_values(left, right, run.unique("or")))
        return
    false = Literal("bool", "False")
    _put(run, op.dst, false if false in (left, right) else join_values(left, right, run.unique("and")))


def _collect(run: Run, op: Collect) -> None:
    if op.kind == COLLECTION["slice"]:
        lower, upper, step = (run.value(item) for item in op.items)
        _put(run, op.dst, Slice(lower, upper, step))
        return
    values: list[Value] = []
    exact = True
    for rank, item in enumerate(op.items):
        value = run.value(item)
        inner = run.items(value) if rank in op.starred else None
        if inner is not None:
            values.extend(inner)
        else:
            exact = exact and rank not in op.starred
            values.append(value)
    _put(run, op.dst, run.put("list", Items(tuple(values[:MAX_TEXTS]), exact and len(values) <= MAX_TEXTS)))


def _table(run: Run, op: Table) -> None:
    entries: dict[str, Value] = {}
    exact = True
    for key, value in zip(op.keys, op.values, strict=True):
        name = run.value(key) if key != NONE else NOTHING
        if isinstance(name, Text) and ANY not in name.pattern:
            entries[name.pattern] = run.value(value)
        elif key == NONE and isinstance(inner := run.env.cell(run.value(value)), Dictionary):
            entries.update(inner.entries)
        else:
            exact = False
    _put(run, op.dst, run.put("dict", Dictionary(tuple(sorted(entries.items())), exact)))


def _unpack(run: Run, op: Unpack) -> None:
    source = run.value(op.src)
    items = run.items(source)
    for rank, target in enumerate(op.targets):
        if items is not None and len(items) == len(op.targets) and op.star == NONE:
            _put(run, target, items[rank])
        elif isinstance(source, State):
            _put(run, target, source)
        elif items is None and isinstance(cell := run.env.cell(source), Items):
            _put(run, target, places.any_of(run, cell.items))
        else:
            _put(run, target, UNKNOWN)


def _format(run: Run, op: Format) -> None:
    text = "".join(_pattern(run.value(part)) for part in op.parts)
    while ANY * 2 in text:
        text = text.replace(ANY * 2, ANY)
    _put(run, op.dst, Text(text))


def _call(run: Run, op: Call) -> None:
    _put(run, op.dst, call(run, op))


def _pass_on(run: Run, op: Any) -> None:
    _put(run, op.dst, run.value(op.src))


def _yield(run: Run, op: Yield) -> None:
    _put(run, op.dst, UNKNOWN)


def _iterate(run: Run, op: Iterate) -> None:
    _put(run, op.dst, run.value(op.src))


def _next(run: Run, op: Next) -> None:
    _put(run, op.dst, item_of(run, run.value(op.iterator)))


def item_of(run: Run, source: Value, index: Linear | None = None) -> Value:
    """What a loop over a value hands out; `index` is the position in step with the other sides of a zip."""
    if isinstance(source, Member) and source.name == "range":
        bounds = run.items(source.base) or []
        low = places.linear(bounds[0]) if bounds else None
        high = places.linear(bounds[1]) if bounds else None
        top = None if high is None else high.upper()
        bottom = None if low is None else low.lower()
        return Number(unknown(run.unique(f"{rows_word(high)}i"), bottom, None if top is None else top - 1))
    if isinstance(source, Member) and source.name in ("zip", "enumerate"):
        place = unknown(run.unique("i"), 0)
        parts = [item_of(run, part, place) for part in run.items(source.base) or []]
        return run.put("item", Items((Number(place), *parts) if source.name == "enumerate" else tuple(parts)))
    if isinstance(source, Member) and source.name in ("iterrows", "itertuples"):
        return _row(run, source, unknown(run.unique("i"), 0))
    cell = run.env.cell(source)
    if isinstance(cell, Items):
        return places.any_of(run, cell.items)
    if isinstance(cell, Dictionary):
        return places.any_of(run, tuple(Text(key) for key, _ in cell.entries))
    if isinstance(source, State) and source.kind is Kind.POSITION:
        return source
    if isinstance(source, State) and source.kind in (Kind.SERIES, Kind.ARRAY):
        form = index if index is not None else unknown(run.unique("i"), 0)
        return places.subscript(run, source, Number(form))
    return UNKNOWN


def rows_word(high: Linear | None) -> str:
    """The set of rows that a loop to this bound counts, as the name of its symbol says."""
    for symbol, _ in high.terms if high is not None else ():
        if symbol.name.endswith(transfer.LENGTH):
            return f"[{symbol.name.removesuffix(transfer.LENGTH)}]:"
    return ""


def _row(run: Run, source: Member, place: Linear) -> Value:
    frame = run.env.frame(source.base)
    if frame is None:
        return UNKNOWN
    row = places.accessor_item(run, Member(source.base, "iloc"), Number(place))
    return row if source.name == "itertuples" else run.put("pair", Items((Number(place), row)))


def _closure(run: Run, op: Closure) -> None:
    function = run.function.children[op.function]
    _put(run, op.dst, Callee(function, captured=run.analysis.capture(run)))


def _define(run: Run, op: Define) -> None:
    body = run.function.children[op.body].body_of
    _put(run, op.dst, Type(body) if body is not None else UNKNOWN)


def _import(run: Run, op: Import) -> None:
    if op.dst == NONE:
        return
    word = str(run.body.places[op.dst].name)
    meaning = run.analysis.symbols.resolve(run.function.module, word, run.function)
    if meaning is None or isinstance(meaning, Variable):
        value: Value = Outside(f"{op.path}.{op.member}" if op.member else op.path)
    else:
        value = places.meaning_value(run, meaning, word)
    _put(run, op.dst, value)


def _return(run: Run, op: Return) -> None:
    run.leave(run.value(op.src))


def _opaque(run: Run, op: Opaque) -> None:
    for target in op.writes:
        _put(run, target, UNKNOWN)


def _catch(run: Run, op: Catch) -> None:
    _put(run, op.dst, UNKNOWN)


STEPS: dict[type, Any] = {
    Store: _store, Delete: _delete, Unary: _unary, Binary: _binary, Compare: _compare, Choose: _choose, Bool: _bool,
    Collect: _collect, Table: _table, Unpack: _unpack, Format: _format, Call: _call, Await: _pass_on, Yield: _yield,
    Enter: _pass_on, Iterate: _iterate, Next: _next, Closure: _closure, Define: _define, Import: _import,
    Return: _return, Opaque: _opaque, Catch: _catch,
}  # fmt: skip
