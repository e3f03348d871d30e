"""Runs programs of the IR, to compare them with CPython: what the lowering says must be what Python does.

For tests only: the programs that it runs were written for them. It takes the pure subset (numbers, strings, containers,
control flow, exceptions, managers, closures, generators, coroutines) of one file and gives the namespace of the module.
"""

from __future__ import annotations

import builtins
import collections.abc
import operator
import types
from collections.abc import Generator, Iterator
from typing import Any

from auditor.facts import model as ir
from auditor.facts.codec import Program, encode
from auditor.facts.lower import lower
from auditor.source.module import SourceModule

BINARY = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv, "//": operator.floordiv,
    "%": operator.mod, "**": operator.pow, "@": operator.matmul, "<<": operator.lshift, ">>": operator.rshift,
    "&": operator.and_, "|": operator.or_, "^": operator.xor,
}  # fmt: skip
INPLACE = {
    "+": operator.iadd, "-": operator.isub, "*": operator.imul, "/": operator.itruediv, "//": operator.ifloordiv,
    "%": operator.imod, "**": operator.ipow, "@": operator.imatmul, "<<": operator.ilshift, ">>": operator.irshift,
    "&": operator.iand, "|": operator.ior, "^": operator.ixor,
}  # fmt: skip
UNARY = {"not": operator.not_, "~": operator.invert, "-": operator.neg, "+": operator.pos}
CONVERT = {"r": repr, "s": str, "a": ascii, "": lambda value: value}


def is_sequence(value: object) -> bool:
    return isinstance(value, collections.abc.Sequence) and not isinstance(value, str | bytes | bytearray)


COMPARE = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "==": operator.eq, "!=": operator.ne,
    "is": operator.is_, "is not": operator.is_not,
    "in": lambda left, right: left in right, "not in": lambda left, right: left not in right,
    "isinstance": isinstance, "hasattr": hasattr,
    "len>=": lambda left, right: is_sequence(left) and len(left) >= right,
    "len==": lambda left, right: is_sequence(left) and len(left) == right,
}  # fmt: skip


class Frame:
    """One activation of a function. `handled` maps a region of kind except to its exception."""

    def __init__(self, function: int, parent: Frame | None, names: dict[str, Any]) -> None:
        self.function = function
        self.parent = parent
        self.names = names
        self.temps: dict[int, Any] = {}
        self.handled: dict[int, BaseException] = {}
        self.entered: dict[int, list[Any]] = {}
        self.came: dict[int, tuple[int, int]] = {}  # region of a shared `finally` -> rank and number of the way in
        self.pending: tuple[BaseException, int, int] = (BaseException(), ir.NONE, 0)


class Coroutine:
    """What a call of an async function gives."""

    def __init__(self, steps: Generator[Any, Any, Any]) -> None:
        self.steps = steps

    def __await__(self) -> Generator[Any, Any, Any]:
        return self.steps


class Interpreter:
    """One file. `run` executes the module body and gives its namespace."""

    def __init__(self, text: str) -> None:
        facts, programs = lower(SourceModule.parse("program.py", text))
        program = Program(encode(facts, programs))
        self.facts = program.facts
        self.bodies = [program.body(i) for i in range(len(program.facts.functions))]
        self.own = [
            {p.name for p in body.places if p.root is ir.Root.LOCAL} | {p.name for p in header.params}
            for body, header in zip(self.bodies, program.facts.functions, strict=True)
        ]
        self.ways = [ways_in(body) for body in self.bodies]
        self.globals: dict[str, Any] = {"__name__": "program", "__builtins__": builtins}

    def run(self) -> dict[str, Any]:
        self.finish(self.steps(Frame(0, None, self.globals)))
        return self.globals

    @staticmethod
    def finish(steps: Generator[Any, Any, Any]) -> Any:
        """Run to the end what does not suspend."""
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value
        raise AssertionError("a plain function was suspended")

    # --- places ---
    def owner(self, frame: Frame, name: Any) -> dict[str, Any]:
        """The names of the enclosing function that a cell belongs to."""
        outer = frame.parent
        while outer is not None:
            is_function = self.facts.functions[outer.function].kind in ("def", "lambda")
            if name in self.own[outer.function] and (is_function or "'" in name):
                return outer.names
            outer = outer.parent
        raise AssertionError(f"no function around owns {name}")

    def root(self, frame: Frame, place: ir.Place, operand: int) -> Any:
        name: Any = place.name
        if place.root is ir.Root.CONST:
            return literal(name)
        if place.root is ir.Root.TEMP:
            return frame.temps[name]
        names = self.owner(frame, name) if place.root is ir.Root.CELL else frame.names
        if place.root is not ir.Root.GLOBAL:
            if name in names:
                return names[name]
            if self.facts.functions[frame.function].kind != "class" or place.root is ir.Root.CELL:
                raise UnboundLocalError(name) if place.root is ir.Root.LOCAL else NameError(name)
        if name in self.globals:
            return self.globals[name]
        if hasattr(builtins, name):
            return getattr(builtins, name)
        raise NameError(name)

    def read(self, frame: Frame, operand: int) -> Any:
        place = self.bodies[frame.function].places[operand]
        value = self.root(frame, place, operand)
        for selector in place.path:
            value = self.select(frame, value, selector)
        return value

    def select(self, frame: Frame, value: Any, selector: ir.Selector) -> Any:
        if selector.kind is ir.Select.ATTR:
            return getattr(value, str(selector.value))
        return value[self.key(frame, selector)]

    def key(self, frame: Frame, selector: ir.Selector) -> Any:
        if isinstance(selector.value, ir.Const):
            return literal(selector.value)
        assert isinstance(selector.value, int)
        return self.read(frame, selector.value)

    def container(self, frame: Frame, place: ir.Place, operand: int) -> Any:
        value = self.root(frame, place, operand)
        for selector in place.path[:-1]:
            value = self.select(frame, value, selector)
        return value

    def write(self, frame: Frame, operand: int, value: Any) -> None:
        place = self.bodies[frame.function].places[operand]
        name: Any = place.name
        if place.path:
            base, last = self.container(frame, place, operand), place.path[-1]
            if last.kind is ir.Select.ATTR:
                setattr(base, str(last.value), value)
            elif last.value == ir.NONE:
                base.add(value) if isinstance(base, set) else base.append(value)
            else:
                base[self.key(frame, last)] = value
        elif place.root is ir.Root.TEMP:
            frame.temps[name] = value
        elif place.root is ir.Root.LOCAL:
            frame.names[name] = value
        elif place.root is ir.Root.CELL:
            self.owner(frame, name)[name] = value
        else:
            self.globals[name] = value

    def delete(self, frame: Frame, operand: int) -> None:
        place = self.bodies[frame.function].places[operand]
        if place.path:
            base, last = self.container(frame, place, operand), place.path[-1]
            if last.kind is ir.Select.ATTR:
                delattr(base, str(last.value))
            else:
                del base[self.key(frame, last)]
            return
        self.root(frame, place, operand)
        name: Any = place.name
        names = self.globals if place.root is ir.Root.GLOBAL else frame.names
        del (self.owner(frame, name) if place.root is ir.Root.CELL else names)[name]

    # --- control ---
    def steps(self, frame: Frame) -> Generator[Any, Any, Any]:
        """Run a function; yields where it suspends."""
        body = self.bodies[frame.function]
        number = 0
        while True:
            block = body.blocks[number]
            taken: ir.Edge | None = None
            try:
                for op in body.ops[block.start : block.end]:
                    if isinstance(op, ir.Return):
                        return self.read(frame, op.src)
                    if isinstance(op, ir.Await):
                        source = self.read(frame, op.src)
                        self.write(frame, op.dst, (yield from source.__await__()))
                    elif isinstance(op, ir.Yield):
                        value = None if op.src == ir.NONE else self.read(frame, op.src)
                        self.write(frame, op.dst, (yield from value) if op.delegate else (yield value))
                    elif isinstance(op, ir.Enter | ir.Exit | ir.Next) and op.is_async:
                        taken = yield from self.asynchronous(frame, op, block)
                    elif isinstance(op, ir.Catch):
                        target = self.catch(frame, op)
                        if target is not None:
                            taken, number = ir.Edge.FALL, target
                            break
                    else:
                        taken = getattr(self, f"do_{type(op).__name__.lower()}")(frame, op, block)
                else:
                    target = None
            except BaseException as error:  # noqa: BLE001 - the program's own exceptions go to its own handlers
                number = self.dispatch(frame, block.region, error)
                continue
            if target is not None:
                continue
            following = self.follow(frame, number, taken)
            if following == ir.END:
                return None
            number = following

    def follow(self, frame: Frame, number: int, taken: ir.Edge | None) -> int:
        body = self.bodies[frame.function]
        block = body.blocks[number]
        if sum(kind is ir.Edge.FINALLY for kind, _ in block.edges) > 1:
            return block.edges[frame.came[block.region][0]][1]
        _, target = block.edges[0] if taken is None else next(e for e in block.edges if e[0] is taken)
        ways = self.ways[frame.function].get(target, ())
        if number in ways:
            frame.came[body.blocks[target].region] = (ways.index(number), number)
        return target

    def dispatch(self, frame: Frame, region: int, error: BaseException, rank: int = 0) -> int:
        """The block where an exception goes from a region; raises it if there is none."""
        body = self.bodies[frame.function]
        while region != ir.NONE:
            guard = body.regions[region]
            if rank < len(guard.handlers):
                frame.pending = (error, region, rank)
                target = guard.handlers[rank]
            elif guard.cleanup != ir.NONE:
                target = guard.cleanup
            else:
                region, rank = guard.parent, 0
                continue
            frame.handled[body.blocks[target].region] = error
            return target
        raise error

    def catch(self, frame: Frame, op: ir.Catch) -> int | None:
        """None if the handler takes the exception, else where it goes on."""
        error, region, rank = frame.pending
        for operand in op.classes:
            if isinstance(error, self.read(frame, operand)):
                break
        else:
            if op.classes:
                return self.dispatch(frame, region, error, rank + 1)
        if op.dst != ir.NONE:
            self.write(frame, op.dst, error)
        return None

    def asynchronous(self, frame: Frame, op: ir.Op, block: ir.Block) -> Generator[Any, Any, ir.Edge | None]:
        if isinstance(op, ir.Enter):
            manager = self.read(frame, op.src)
            frame.entered.setdefault(op.src, []).append(manager)
            self.write(frame, op.dst, (yield from manager.__aenter__().__await__()))
            return None
        if isinstance(op, ir.Exit):
            manager, details = self.leaving(frame, op, block)
            swallowed = yield from manager.__aexit__(*details).__await__()
            return self.swallow(op, swallowed)
        assert isinstance(op, ir.Next)
        try:
            item = yield from self.read(frame, op.iterator).__anext__().__await__()
        except StopAsyncIteration:
            return ir.Edge.FALSE
        self.write(frame, op.dst, item)
        return ir.Edge.TRUE

    # --- operations: each gives the edge to take, if it decides that ---
    def do_store(self, frame: Frame, op: ir.Store, block: ir.Block) -> None:
        self.write(frame, op.dst, self.read(frame, op.src))

    def do_declare(self, frame: Frame, op: ir.Declare, block: ir.Block) -> None:
        """An annotation does nothing."""

    def do_delete(self, frame: Frame, op: ir.Delete, block: ir.Block) -> None:
        self.delete(frame, op.place)

    def do_unary(self, frame: Frame, op: ir.Unary, block: ir.Block) -> None:
        self.write(frame, op.dst, UNARY[ir.OPERATORS[op.operator]](self.read(frame, op.operand)))

    def do_binary(self, frame: Frame, op: ir.Binary, block: ir.Block) -> None:
        table = INPLACE if op.inplace else BINARY
        left = self.read(frame, op.left)
        self.write(frame, op.dst, table[ir.OPERATORS[op.operator]](left, self.read(frame, op.right)))

    def do_compare(self, frame: Frame, op: ir.Compare, block: ir.Block) -> None:
        word, left = ir.OPERATORS[op.operator], self.read(frame, op.left)
        if word == "keys":
            is_mapping = isinstance(left, collections.abc.Mapping)
            result = is_mapping and (op.right == ir.NONE or self.read(frame, op.right) in left)
        else:
            result = COMPARE[word](left, self.read(frame, op.right))
        self.write(frame, op.dst, result)

    def do_choose(self, frame: Frame, op: ir.Choose, block: ir.Block) -> None:
        self.write(frame, op.dst, self.read(frame, op.then if self.read(frame, op.test) else op.other))

    def do_bool(self, frame: Frame, op: ir.Bool, block: ir.Block) -> None:
        left = self.read(frame, op.left)
        decided = bool(left) is (ir.OPERATORS[op.operator] == "or")
        self.write(frame, op.dst, left if decided else self.read(frame, op.right))

    def items(self, frame: Frame, operands: tuple[int, ...], starred: tuple[int, ...]) -> list[Any]:
        found: list[Any] = []
        for rank, operand in enumerate(operands):
            value = self.read(frame, operand)
            if rank in starred:
                found.extend(value)
            else:
                found.append(value)
        return found

    def do_collect(self, frame: Frame, op: ir.Collect, block: ir.Block) -> None:
        items = self.items(frame, op.items, op.starred)
        kind = ir.COLLECTIONS[op.kind]
        made = {"list": list, "tuple": tuple, "set": set, "generator": list}.get(kind)
        self.write(frame, op.dst, slice(*items) if made is None else made(items))

    def do_table(self, frame: Frame, op: ir.Table, block: ir.Block) -> None:
        made: dict[Any, Any] = {}
        for key, value in zip(op.keys, op.values, strict=True):
            if key == ir.NONE:
                made.update(self.read(frame, value))
            else:
                spelled = self.read(frame, key)
                made[spelled] = self.read(frame, value)
        self.write(frame, op.dst, made)

    def do_unpack(self, frame: Frame, op: ir.Unpack, block: ir.Block) -> None:
        items: Any = self.read(frame, op.src)
        count = len(op.targets)
        if op.star == ir.NONE:
            items = unpacked(items, count)
        else:
            items = list(items)
            after = count - op.star - 1
            if len(items) < count - 1:
                raise ValueError("not enough values to unpack")
            end = len(items) - after
            items = [*items[: op.star], items[op.star : end], *items[end:]]
        for target, item in zip(op.targets, items, strict=True):
            self.write(frame, target, item)

    def do_format(self, frame: Frame, op: ir.Format, block: ir.Block) -> None:
        places = self.bodies[frame.function].places
        pending = list(op.parts)
        pieces: list[str] = []
        while pending:
            pieces.append(self.piece(frame, places, pending))
        self.write(frame, op.dst, "".join(pieces))

    def piece(self, frame: Frame, places: tuple[ir.Place, ...], pending: list[int]) -> str:
        operand = pending.pop(0)
        value, name = self.read(frame, operand), places[pending[0]].name if pending else None
        if not isinstance(name, ir.Const) or name.kind != "spec":
            return format(value)
        pending.pop(0)
        conversion, _, spec = name.text.partition(":")
        while "{}" in spec:
            spec = spec.replace("{}", self.piece(frame, places, pending), 1)
        return format(CONVERT[conversion[1:]](value), spec)

    def do_call(self, frame: Frame, op: ir.Call, block: ir.Block) -> None:
        callee = self.read(frame, op.callee)
        args = self.items(frame, op.args, op.starred)
        keywords: dict[str, Any] = {}
        for name, operand in op.keywords:
            value = self.read(frame, operand)
            keywords.update(value if name == "" else {name: value})
        self.write(frame, op.dst, callee(*args, **keywords))

    def do_enter(self, frame: Frame, op: ir.Enter, block: ir.Block) -> None:
        manager = self.read(frame, op.src)
        frame.entered.setdefault(op.src, []).append(manager)
        try:
            value = type(manager).__enter__(manager)
        except BaseException:
            frame.entered[op.src].pop()
            raise
        self.write(frame, op.dst, value)

    def leaving(self, frame: Frame, op: ir.Exit, block: ir.Block) -> tuple[Any, tuple[Any, Any, Any]]:
        manager = frame.entered[op.src].pop()
        if not op.raising:
            return manager, (None, None, None)
        error = frame.handled[block.region]
        return manager, (type(error), error, error.__traceback__)

    @staticmethod
    def swallow(op: ir.Exit, swallowed: Any) -> ir.Edge | None:
        if not op.raising:
            return None
        return ir.Edge.SWALLOW if swallowed else ir.Edge.FALL

    def do_exit(self, frame: Frame, op: ir.Exit, block: ir.Block) -> ir.Edge | None:
        manager, details = self.leaving(frame, op, block)
        return self.swallow(op, type(manager).__exit__(manager, *details))

    def do_iterate(self, frame: Frame, op: ir.Iterate, block: ir.Block) -> None:
        source = self.read(frame, op.src)
        self.write(frame, op.dst, source.__aiter__() if op.is_async else iter(source))

    def do_next(self, frame: Frame, op: ir.Next, block: ir.Block) -> ir.Edge:
        try:
            item = next(self.read(frame, op.iterator))
        except StopIteration:
            return ir.Edge.FALSE
        self.write(frame, op.dst, item)
        return ir.Edge.TRUE

    def do_closure(self, frame: Frame, op: ir.Closure, block: ir.Block) -> None:
        index = self.facts.functions[frame.function].children[op.function]
        decorators = [self.read(frame, d) for d in op.decorators]
        made: Any = self.function(index, frame, [self.read(frame, d) for d in op.defaults])
        for decorator in reversed(decorators):
            made = decorator(made)
        self.write(frame, op.dst, made)

    def function(self, index: int, frame: Frame, defaults: list[Any]) -> types.FunctionType:
        header = self.facts.functions[index]
        values = iter(defaults)
        given = {p.name: next(values) for p in header.params if p.has_default}

        def made(*args: Any, **keywords: Any) -> Any:
            steps = self.steps(Frame(index, frame, bound(header, given, args, keywords)))
            if header.is_async:
                return Coroutine(steps)
            return steps if header.is_generator else self.finish(steps)

        made.__name__ = header.name
        assert isinstance(made, types.FunctionType)
        return made

    def do_define(self, frame: Frame, op: ir.Define, block: ir.Block) -> None:
        index = self.facts.functions[frame.function].children[op.body]
        bases = tuple(self.read(frame, b) for b in op.bases)
        decorators = [self.read(frame, d) for d in op.decorators]
        names: dict[str, Any] = {"__module__": "program"}
        self.finish(self.steps(Frame(index, frame, names)))
        made: Any = types.new_class(self.facts.functions[index].name, bases, {}, lambda space: space.update(names))
        for decorator in reversed(decorators):
            made = decorator(made)
        self.write(frame, op.dst, made)

    def do_raise(self, frame: Frame, op: ir.Raise, block: ir.Block) -> None:
        if op.exception != ir.NONE:
            error = self.read(frame, op.exception)
            if op.cause != ir.NONE:
                raise error from self.read(frame, op.cause)
            raise error
        regions = self.bodies[frame.function].regions
        region = block.region
        while region != ir.NONE and regions[region].kind != "except":
            if regions[region].kind == "finally":  # the exception is that of the way in, if that is one of an exception
                came = self.bodies[frame.function].blocks[frame.came[region][1]].region
                if came != ir.NONE and regions[came].kind == "except" and regions[came].parent == regions[region].parent:
                    region = came
                    break
            region = regions[region].parent
        if region == ir.NONE:
            raise RuntimeError("No active exception to reraise")
        raise frame.handled[region]

    def do_branch(self, frame: Frame, op: ir.Branch, block: ir.Block) -> ir.Edge:
        return ir.Edge.TRUE if self.read(frame, op.test) else ir.Edge.FALSE

    def do_opaque(self, frame: Frame, op: ir.Opaque, block: ir.Block) -> None:
        """The positional part of a class pattern."""
        subject, cls = (self.read(frame, operand) for operand in op.reads)
        for name, operand in zip(cls.__match_args__, op.writes, strict=False):
            self.write(frame, operand, getattr(subject, name))


def unpacked(source: Any, count: int) -> list[Any]:
    """As many items as there are targets; an iterator is not asked for more than one further."""
    iterator: Iterator[Any] = iter(source)
    items = []
    for item in iterator:
        items.append(item)
        if len(items) > count:
            raise ValueError("too many values to unpack")
    if len(items) < count:
        raise ValueError("not enough values to unpack")
    return items


def literal(const: ir.Const) -> Any:
    kind, text = const
    if kind in ("str", "spec"):
        return text
    if kind == "bytes":
        return text.encode("latin-1")
    if kind in ("int", "float", "complex"):
        return {"int": int, "float": float, "complex": complex}[kind](text)
    return {"bool": text == "True", "none": None, "ellipsis": ...}[kind]


def bound(header: ir.Function, given: dict[str, Any], args: tuple[Any, ...], keywords: dict[str, Any]) -> dict[str, Any]:
    """Arguments bound to parameters, as Python does it."""
    names: dict[str, Any] = {}
    rest, left = list(args), dict(keywords)
    for param in header.params:
        if param.kind == "vararg":
            names[param.name], rest = tuple(rest), []
        elif param.kind == "kwarg":
            names[param.name], left = left, {}
        elif param.kind != "keyword" and rest:
            if param.name in left and param.kind == "normal":
                raise TypeError(f"multiple values for {param.name}")
            names[param.name] = rest.pop(0)
        elif param.name in left and param.kind != "positional":
            names[param.name] = left.pop(param.name)
        elif param.has_default:
            names[param.name] = given[param.name]
        else:
            raise TypeError(f"missing argument {param.name}")
    if rest or left:
        raise TypeError("too many arguments")
    return names


def ways_in(body: ir.Body) -> dict[int, list[int]]:
    """The parts of `finally` that several ways share: first block -> the blocks that lead there."""
    found: dict[int, list[int]] = {}
    for number, block in enumerate(body.blocks):
        for kind, target in block.edges:
            if kind is ir.Edge.FINALLY and is_shared(body, target) and not is_inside(body, block.region, body.blocks[target].region):
                found.setdefault(target, []).append(number)
    return found


def is_shared(body: ir.Body, number: int) -> bool:
    region = body.blocks[number].region
    return region != ir.NONE and body.regions[region].kind == "finally"


def is_inside(body: ir.Body, region: int, outer: int) -> bool:
    while region != ir.NONE:
        if region == outer:
            return True
        region = body.regions[region].parent
    return False
