"""Where a number comes from: the proof of an operand, rebuilt over the finished runs, source first."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from auditor.facts.model import (
    Await,
    Binary,
    Bool,
    Call,
    Choose,
    Collect,
    Const,
    Declare,
    Iterate,
    Next,
    Place,
    Return,
    Root,
    Select,
    Store,
    Unary,
    Unpack,
)  # fmt: skip
from auditor.finding import Step
from auditor.project.flow import describe, reads, writes
from auditor.project.symbols import ClassNode, FunctionNode, Variable
from auditor.project.types import UNKNOWN, Instance

from ._numbers import LAYERS, Numbers, argument
from ._run import Run
from ._values import External, Fields, Value, constant, has_decimal, has_float, held, known, without_none, word

DEPTH = 8  # assignments and calls that a proof shows on one side
DECIMAL_ONLY = frozenset(
    {"is_nan", "is_zero", "is_signed", "is_finite", "is_infinite", "quantize", "to_integral_value", "copy_abs"}
)
Wanted = Callable[[Value], bool]


class Chain(NamedTuple):
    """`steps` lead to an operand. `declared`: it rests on an annotation alone; `doubtful`: a caller or store of the
    project gives the annotated name something else; `refuted`: all of them do; `confirmed`: some give what it says and none
    something else; `open`: other types can arrive beside it."""

    steps: tuple[Step, ...] = ()
    declared: bool = False
    doubtful: bool = False
    refuted: bool = False
    confirmed: bool = False
    open: bool = False


def floating(value: Value) -> bool:
    return has_float(value)


def exactly(value: Value) -> bool:
    return has_decimal(value)


class Tracer:
    """Rebuilds chains for values of one sort (`wanted`)."""

    def __init__(self, numbers: Numbers, wanted: Wanted, tests: bool = False) -> None:
        self.numbers = numbers
        self.tests = tests  # whether what tests pass can contradict an annotation
        self.wanted = wanted
        self.sort = "float" if wanted is floating else "Decimal" if wanted is exactly else "a number"

    def chain(self, function: FunctionNode, rank: int, operand: int, depth: int = DEPTH) -> Chain:
        """The chain of an operand as operation `rank` of a function sees it."""
        run = self.numbers.run(function)
        place = run.places[operand]
        if place.root is Root.CONST or depth <= 0:
            return Chain()
        defined = self._definition(run, rank, operand)
        if defined is not None:
            return self._through(run, defined, operand, depth)
        if place.path:
            return self._member(run, rank, place, depth)
        if place.root is Root.LOCAL:
            return self._parameter(function, str(place.name), depth)
        if place.root is Root.GLOBAL:
            return self._variable(function, str(place.name))
        return Chain()

    def _holds(self, value: Value) -> bool:
        """Whether a value is wanted, or a container of such."""
        return self.wanted(value) or any(self._holds(inner) for inner in _inside(value))

    def _definition(self, run: Run, rank: int, operand: int) -> int | None:
        """The nearest operation before `rank` that gave the place a wanted value."""
        flow = run.project.flow(run.function)
        block = flow.block_of(rank)
        before = flow.before(block)
        best: tuple[bool, int] | None = None
        found: int | None = None
        for number, part in enumerate(run.body.blocks):
            if number != block and number not in before:
                continue
            for op in range(part.start, part.end):
                step = run.body.ops[op]
                if operand not in writes(step) or op == rank:
                    continue
                empty = isinstance(step, Collect) and not step.items  # filled after it was made
                if not empty and not self._holds(run.written.get(op, frozenset())):
                    continue
                if number == block and op > rank and block not in before:
                    continue
                key = (op < rank, op)
                if best is None or key > best:
                    best, found = key, op
        return found

    def _through(self, run: Run, rank: int, operand: int, depth: int) -> Chain:
        """The chain of what an operation wrote."""
        function = run.function
        place = run.places[operand]
        inner = self._made(run, rank, depth)
        if place.root is Root.TEMP:
            op = run.body.ops[rank]
            if inner.steps or not isinstance(op, Call):
                return inner
            called = describe(run.body, op.callee)
            name = called.rpartition(".")[2] or "call"
            note = f"{called or 'a call'}() gives {word_of(run, rank)}"
            return Chain((self.numbers.project.step(function, rank, note, name),))
        name = str(place.path[-1].value if place.path and place.path[-1].kind is Select.ATTR else place.name).partition(
            "'"
        )[0]
        op = run.body.ops[rank]
        why = self._why(run, rank, op)
        if isinstance(op, Declare) or (isinstance(op, Store) and not self.wanted(run.seen(rank, op.src))):
            inner = inner._replace(declared=True)
        return inner._replace(
            steps=(
                *inner.steps,
                self.numbers.project.step(function, rank, f"{name} is {word_of(run, rank)}: {why}", name),
            )
        )

    def _made(self, run: Run, rank: int, depth: int) -> Chain:
        """The chain of the operands of an operation, or of what it called."""
        op = run.body.ops[rank]
        if isinstance(op, Call):
            return self._called(run, rank, op, depth)
        if not isinstance(op, Store | Binary | Unary | Bool | Choose | Await | Unpack | Iterate | Next | Collect):
            return Chain()
        if isinstance(op, Collect) and not op.items:
            return self._filled(run, op.dst, depth)
        for operand in reads(op):
            if self._holds(run.seen(rank, operand)):
                found = self.chain(run.function, rank, operand, depth - 1)
                beside = isinstance(op, Binary) and any(UNKNOWN in run.seen(rank, other) for other in reads(op))
                return (
                    found._replace(open=True) if beside else found
                )  # what stands beside it may bring its own operators
        return Chain()

    def _filled(self, run: Run, container: int, depth: int) -> Chain:
        """What a comprehension puts into its result."""
        for rank, op in enumerate(run.body.ops):
            place = run.places[op.dst] if isinstance(op, Store) else None
            if place is None or not isinstance(op, Store) or not place.path or place.root is not Root.TEMP:
                continue
            if place.name == run.places[container].name and self.wanted(run.seen(rank, op.src)):
                return self.chain(run.function, rank, op.src, depth - 1)
        return Chain()

    def _called(self, run: Run, rank: int, op: Call, depth: int) -> Chain:
        result = run.project.calls(run.function).get(rank)
        if result is not None:
            for target in result.targets:
                if target.wrapper or target.function.header.kind not in ("def", "lambda"):
                    continue
                return self._returned(run.function, rank, target.function, depth)
        for operand in op.args:
            if run.places[operand].root is not Root.CONST and self._holds(run.seen(rank, operand)):
                found = self.chain(run.function, rank, operand, depth - 1)
                if found.steps:
                    return found
        return Chain()

    def _returned(self, caller: FunctionNode, rank: int, function: FunctionNode, depth: int) -> Chain:
        inner = self.numbers.run(function)
        project = self.numbers.project
        for at, op in enumerate(inner.body.ops):
            if isinstance(op, Return) and self._holds(inner.written.get(at, frozenset())):
                below = self.chain(function, at, op.src, depth - 2)
                here = project.step(function, at, f"{function.name}() returns {word_of(inner, at)}", function.name)
                return below._replace(steps=(*below.steps, here))
        line, column = function.position()
        declared = Step(
            function.path, line, column, f"{function.name}() is declared to return {self.sort}", function.name
        )
        other = inner.returned
        refuted = (decided(other) and not self._holds(other)) or (self.sort == "float" and _used_as_decimal(function))
        return Chain((declared,), True, refuted or not function.header.abstract, refuted)

    def _whole(self, atom: object) -> bool:
        return self.wanted(frozenset((atom,)))

    def _annotated(self, step: Step, told: list[Value]) -> Chain:
        """The chain of an annotation, weighed against what the project gives to the annotated name."""
        against = [v for v in told if not self.wanted(v)]
        mixed = [v for v in told if v not in against and not all(map(self._whole, without_none(v)))]
        doubtful = bool(against or mixed)
        return Chain((step,), True, doubtful, bool(against) and len(against) == len(told), bool(told) and not doubtful)

    # --- places of other functions ---
    def _parameter(self, function: FunctionNode, name: str, depth: int) -> Chain:
        param = next((p for p in function.header.params if p.name == name), None)
        if param is None:
            return Chain()
        line, column = function.position()
        if param.annotation is not None:
            sites = self.numbers.callers(function, self.tests)
            told = [self._passed(function, name, caller, op)[2] for caller, op in sites]
            note = f"{name} is {self.sort}: a parameter declared so by {function.name}()"
            found = self._annotated(
                Step(function.path, line, column, note, name), [v for v in told if v is not None and known(v)]
            )
            return (
                found._replace(doubtful=True) if param.has_default and param.default is None else found
            )  # a computed default
        passed = [self._passed(function, name, caller, op) for caller, op in self.numbers.callers(function)]
        if param.default is not None and self.wanted(constant(param.default)):
            note = f"{name} is {self.sort}: the default {param.default.text} of {function.name}()"
            return Chain((Step(function.path, line, column, note, name),))
        for caller, op, value in sorted((p for p in passed if p[2] is not None), key=lambda p: (p[0].key, p[1])):
            if value is not None and self.wanted(value):
                operand = argument(self.numbers.project, caller, op, function, name)
                below = self.chain(caller, op, operand, depth - 2) if operand is not None and operand >= 0 else Chain()
                here = self.numbers.project.step(
                    caller, op, f"{self.sort} is passed to {function.name}() as {name}", function.name
                )
                return below._replace(steps=(*below.steps, here))
        return Chain()

    def _passed(
        self, function: FunctionNode, name: str, caller: FunctionNode, op: int
    ) -> tuple[FunctionNode, int, Value | None]:
        operand = argument(self.numbers.project, caller, op, function, name)
        if operand is None or operand < 0:
            return caller, op, None
        return caller, op, self.numbers.run(caller).inputs.get(op, {}).get(operand)

    def _member(self, run: Run, rank: int, place: Place, depth: int) -> Chain:
        """An attribute, or an item of what a name holds."""
        if place.path[-1].kind is not Select.ATTR:
            for length in range(len(place.path) - 1, -1, -1):
                index = run.index.get(Place(place.root, place.name, place.path[:length]))
                if index is not None:
                    found = self._items(run, rank, index, depth)
                    if found.steps and place.root is Root.LOCAL and not length:
                        return found
                    found = found if found.steps or not length else self.chain(run.function, rank, index, depth - 1)
                    return found._replace(open=True)  # others may fill it
            return Chain(open=True)
        name = str(place.path[-1].value)
        base = Place(place.root, place.name, place.path[:-1])
        index = run.index.get(base)
        if index is None:
            index = len(run.places)
            run.places.append(base)
            run.index[base] = index
        for atom in sorted(run.seen(rank, index), key=repr):
            if isinstance(atom, Instance) and not isinstance(atom.cls, str):
                return self._field(atom.cls, name, depth)
        return Chain()

    def _items(self, run: Run, rank: int, index: int, depth: int) -> Chain:
        """A container filled in this function: where it was made."""
        flow = run.project.flow(run.function)
        before = flow.before(flow.block_of(rank)) | {flow.block_of(rank)}
        makers = [
            op for number in before for op in range(run.body.blocks[number].start, run.body.blocks[number].end)
            if op < rank and isinstance(run.body.ops[op], Store) and index in writes(run.body.ops[op])
        ]  # fmt: skip
        if not makers:
            return Chain()
        name = str(run.places[index].name)
        return Chain((run.project.step(run.function, max(makers), f"{name} holds {self.sort}", name),))

    def _field(self, cls: ClassNode, name: str, depth: int) -> Chain:
        """A declared field, the stores of an attribute, or a property."""
        method = cls.method(name)
        if method is not None:
            return self._returned(method, 0, method, depth)
        given = list(self._given(cls, name))
        for ancestor in cls.mro:
            for field in ancestor.header.fields:
                if field.name == name and field.annotation is not None:
                    line, column = ancestor.module.position(field.offset)
                    told = [value for _, _, value in given if known(value)]
                    note = f"{name} is {self.sort}: a field of {ancestor.name} declared so"
                    return self._annotated(Step(ancestor.module.path, line, column, note, name), told)
        for function, rank, value in given:
            if self.wanted(value):
                op = function.body.ops[rank]
                inside = self.numbers.run(function)
                below = self._made(inside, rank, depth - 2) if isinstance(op, Store | Binary) else Chain()
                if isinstance(op, Store) and not all(map(self._whole, inside.seen(rank, op.src))):
                    below = below._replace(
                        declared=self.wanted(value) and not self.wanted(inside.seen(rank, op.src)), open=True
                    )
                here = self.numbers.project.step(
                    function,
                    rank,
                    f"{name} is {word_of(self.numbers.run(function), rank)}: {self._why(self.numbers.run(function), rank, op)}",
                    name,
                )
                return below._replace(steps=(*below.steps, here))
        for ancestor in cls.mro:
            for field in ancestor.header.fields:
                if field.name == name:
                    line, column = ancestor.module.position(field.offset)
                    return Chain(
                        (
                            Step(
                                ancestor.module.path,
                                line,
                                column,
                                f"{name} is {self.sort}: set in the body of {ancestor.name}",
                                name,
                            ),
                        )
                    )
        return Chain()

    def _given(self, cls: ClassNode, name: str) -> Iterator[tuple[FunctionNode, int, Value]]:
        """What the project stores into an attribute, and passes for the field of a class without a constructor."""
        line = {*cls.mro, *cls.descendants()}
        for function, rank in self.numbers.stores(name):
            if function.cls in line:
                yield function, rank, self.numbers.run(function, LAYERS).written.get(rank, frozenset())
        for caller, op in self.numbers.built(cls):
            operand = field_argument(caller, op, cls, name)
            if operand is not None:
                yield caller, op, self.numbers.run(caller).inputs.get(op, {}).get(operand, frozenset())

    def _variable(self, function: FunctionNode, name: str) -> Chain:
        symbols = self.numbers.project.symbols
        meaning = symbols.resolve(function.module, name, function)
        if not isinstance(meaning, Variable) or meaning.module.is_stub:
            return Chain()
        body = meaning.module.functions[0]
        run = self.numbers.run(body)
        for rank in symbols.assigned(meaning.module).get(meaning.name, ()):
            if self.wanted(run.written.get(rank, frozenset())):
                note = f"{meaning.name} is {word_of(run, rank)}: {self._why(run, rank, body.body.ops[rank])}"
                return Chain((self.numbers.project.step(body, rank, note, meaning.name),))
        return Chain()

    def _why(self, run: Run, rank: int, op: object) -> str:
        """What an assignment took its value from, in words."""
        if isinstance(op, Binary):
            return "arithmetic in floats" if self.sort == "float" else "arithmetic with a Decimal"
        if not isinstance(op, Store):
            return "bound here"
        source = run.places[op.src]
        if isinstance(source.name, Const):
            return f"the literal {source.name.text}"
        made = run.made.get(op.src)
        if isinstance(made, Call):
            value = run.seen(rank, op.src)
            called = describe(run.body, made.callee)
            if any(isinstance(a, External) for a in value):
                return f"the default of {called}()"
            return f"the result of {called}()" if called else "the result of a call"
        if source.root is Root.TEMP:
            return "arithmetic in floats" if self.sort == "float" else "arithmetic with a Decimal"
        return f"the value of {describe(run.body, op.src)}"


def _inside(value: Value) -> Iterator[Value]:
    """What the containers of a value hold."""
    for atom in sorted(value, key=repr):
        if isinstance(atom, Instance):
            yield from held(atom)
        elif isinstance(atom, Fields):
            yield from (atom.rest, *(inner for _, inner in atom.items))


def decided(value: Value) -> bool:
    """Whether a value and all that its containers hold is known."""
    return (
        known(value)
        and not any(isinstance(a, External) for a in value)
        and all(decided(inner) for inner in _inside(value))
    )


def _used_as_decimal(function: FunctionNode) -> bool:
    """Whether what a function returns has methods called on it that only a Decimal has, whatever is declared."""
    places = function.body.places
    returned = {
        (places[op.src].root, places[op.src].name)
        for op in function.body.ops
        if isinstance(op, Return) and not places[op.src].path
    }
    return any(
        isinstance(op, Call) and len(places[op.callee].path) == 1 and places[op.callee].path[0].value in DECIMAL_ONLY
        and (places[op.callee].root, places[op.callee].name) in returned for op in function.body.ops
    )  # fmt: skip


def word_of(run: Run, rank: int) -> str:
    """The value that an operation gave, in words."""
    return word(run.written.get(rank, frozenset()))


def field_argument(caller: FunctionNode, op: int, cls: ClassNode, name: str) -> int | None:
    """The operand that a construction passes for a field of a dataclass or named tuple."""
    call = caller.body.ops[op]
    if not isinstance(call, Call) or call.starred:
        return None
    for key, operand in call.keywords:
        if key == name:
            return operand
    fields = [f.name for ancestor in reversed(cls.mro) for f in ancestor.header.fields if f.annotation is not None]
    order = list(dict.fromkeys(fields))
    rank = order.index(name) if name in order else len(call.args)
    return call.args[rank] if rank < len(call.args) else None


__all__ = ["Chain", "Tracer", "exactly", "field_argument", "floating"]
