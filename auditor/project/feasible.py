"""Which ways through a function are possible when it runs on an event loop, with the constants that its caller passes.

`if wait: time.sleep(1)` is no way for a caller that passes `wait=False`; the handler of `asyncio.get_running_loop()` and
the branch in which another loop runs are none for code that is on the loop. Impossible edges are cut from the control
flow graph: what nothing reaches then does not run, and guards are read off what is left.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from auditor.facts.model import (
    NONE,
    OPERATORS,
    Await,
    Body,
    Bool,
    Branch,
    Call,
    Compare,
    Const,
    Edge,
    Raise,
    Return,
    Root,
    Select,
    Store,
    Unary,
)  # fmt: skip
from auditor.project.callables import CallResult
from auditor.project.flow import Flow, writes
from auditor.project.symbols import FunctionNode

if TYPE_CHECKING:
    from auditor.project.project import Project

Given = tuple[tuple[str, Const], ...]  # parameters of a function that are known constants, by name
Cut = frozenset[tuple[int, Edge | None, int]]  # (block, kind, target) of edges that cannot be taken
DEPTH = 6  # operations that a test is followed through
SMALL = 24  # operations of a function that only asks for the loop
NO_CUT: Cut = frozenset()
TRUE, LOOP, THREAD = Const("bool", "True"), Const("loop", ""), Const("thread", "")
RUNNING = frozenset({"get_running_loop", "_get_running_loop", "get_event_loop"})
CURRENT = frozenset({"threading.current_thread", "threading.main_thread", "threading.currentThread"})
FALSY = frozenset({"False", "None", "0", "0.0", "", "0j"})


def feasible(project: Project, function: FunctionNode, given: Given) -> Flow:
    """The control flow of a function without the edges that cannot be taken on a running loop with these constants."""
    body = function.body
    asks = _loop_tests(project, function)
    if not asks and not given:
        return project.flow(function)
    cut = _handlers(body, asks)
    for _ in range(2):  # a name that only a dead handler sets is a constant afterwards
        flow = Flow(body, cut) if cut else project.flow(function)
        more = cut | _dead_branches(project, function, dict(given), flow)
        if more == cut:
            return flow
        cut = more
    return Flow(body, cut)


def decisive(function: FunctionNode) -> frozenset[str]:
    """Parameters whose value a branch tests, or that are handed on to a call; without those that the function rebinds."""
    body = function.body
    names = {p.name for p in function.header.params}
    found: set[str] = set()
    for rank, op in enumerate(body.ops):
        if isinstance(op, Branch):
            found.update(_names_in(body, op.test, rank, DEPTH))
        elif isinstance(op, Call):
            for operand in (*op.args, *(value for _, value in op.keywords)):
                place = body.places[operand]
                if place.root is Root.LOCAL and not place.path:
                    found.add(str(place.name))
    rebound = {str(p.name) for op in body.ops for w in writes(op) if (p := body.places[w]).root is Root.LOCAL and not p.path}
    return frozenset((found & names) - rebound)


def bound_constants(node: tuple[FunctionNode, Given], op: int, target: FunctionNode, wanted: frozenset[str], skip: int) -> Given:
    """The constants that a call passes to the wanted parameters of its target; `skip` parameters are filled already."""
    caller, given = node
    call = caller.body.ops[op]
    if not wanted or not isinstance(call, Call) or call.starred or any(not name for name, _ in call.keywords):
        return ()
    known = dict(given)
    params = [p for p in target.header.params if p.kind in ("positional", "normal")][skip:]
    passed = {p.name: operand for p, operand in zip(params, call.args, strict=False)}
    passed.update({name: operand for name, operand in call.keywords if name})
    found: list[tuple[str, Const]] = []
    for param in target.header.params:
        if param.name not in wanted:
            continue
        operand = passed.get(param.name)
        default = param.default if param.has_default else None
        value = default if operand is None else _literal(caller.body, operand, known)
        if value is not None:
            found.append((param.name, value))
    return tuple(found)


def _literal(body: Body, operand: int, given: dict[str, Const]) -> Const | None:
    place = body.places[operand]
    if isinstance(place.name, Const):
        return place.name
    return given.get(str(place.name)) if place.root is Root.LOCAL and not place.path else None


def _names_in(body: Body, operand: int, before: int, depth: int) -> Iterator[str]:
    """Local names that the value of a test is made from, without calls."""
    place = body.places[operand]
    if place.root is Root.LOCAL and not place.path:
        yield str(place.name)
    elif place.root is Root.TEMP and depth:
        match _maker(body, operand, before):
            case Unary(_, _, inner):
                yield from _names_in(body, inner, before, depth - 1)
            case Compare(_, _, left, right) | Bool(_, _, left, right):
                yield from _names_in(body, left, before, depth - 1)
                yield from _names_in(body, right, before, depth - 1)


def _maker(body: Body, operand: int, before: int) -> object:
    return next((o for r in range(before - 1, -1, -1) if operand in writes(o := body.ops[r])), None)


def _dead_branches(project: Project, function: FunctionNode, given: dict[str, Const], flow: Flow) -> Cut:
    body = function.body
    found: set[tuple[int, Edge | None, int]] = set()
    for number, block in enumerate(body.blocks):
        last = body.ops[block.end - 1] if block.end > block.start else None
        if isinstance(last, Branch):
            if body.places[last.test].path:
                continue  # an attribute or item is no constant
            truth = _Tests(project, function, given, flow, block.end - 1).truth(last.test, DEPTH)
            if truth is not None:
                dead = Edge.FALSE if truth else Edge.TRUE
                found.update((number, kind, target) for kind, target in block.edges if kind is dead)
    return frozenset(found)


class _Tests:
    """Values of tests at a branch."""

    def __init__(self, project: Project, function: FunctionNode, given: dict[str, Const], flow: Flow, branch: int) -> None:
        self.project = project
        self.function = function
        self.body = function.body
        self.given = given
        self.flow = flow
        self.branch = branch

    def truth(self, operand: int, depth: int) -> bool | None:
        value = self.value(operand, depth)
        if value is not None:
            return value.kind in ("loop", "thread") or not (value.text in FALSY and (value.kind != "str" or not value.text))
        place = self.body.places[operand]
        if place.root is not Root.TEMP or not depth:
            return None
        match _maker(self.body, operand, self.branch):
            case Unary(_, operator, inner) if OPERATORS[operator] == "not":
                known = self.truth(inner, depth - 1)
                return None if known is None else not known
            case Bool(_, operator, left, right):
                sides = (self.truth(left, depth - 1), self.truth(right, depth - 1))
                deciding = OPERATORS[operator] == "or"
                return deciding if deciding in sides else None if None in sides else not deciding
            case Compare(_, operator, left, right):
                return self._compared(OPERATORS[operator], self.value(left, depth - 1), self.value(right, depth - 1))
        return None

    def value(self, operand: int, depth: int) -> Const | None:
        """The constant that a place holds; LOOP is the running loop, THREAD the thread that it runs in."""
        place = self.body.places[operand]
        if isinstance(place.name, Const):
            return place.name
        if place.path or not depth:
            return None
        if place.root is Root.LOCAL:
            if str(place.name) in self.given:
                return self.given[str(place.name)]
            return self._stored(operand, depth)
        if place.root is Root.TEMP:
            made = next((r for r in range(self.branch - 1, -1, -1) if operand in writes(self.body.ops[r])), NONE)
            return self._made(made) if made != NONE else None
        return None

    def _stored(self, operand: int, depth: int) -> Const | None:
        """What a local name holds, if all stores that can run store the same."""
        name = self.body.places[operand].name
        if any(p.name == name for p in self.function.header.params):
            return None
        values: set[Const | None] = set()
        for number in self.flow.order:
            block = self.body.blocks[number]
            for rank in range(block.start, block.end):
                op = self.body.ops[rank]
                if operand in writes(op):
                    if isinstance(op, Store):
                        source = self.body.places[op.src]
                        same = source.root is Root.LOCAL and source.name == name
                        values.add(None if same else self.value(op.src, depth - 1))
                    else:
                        values.add(self._made(rank))
        return values.pop() if len(values) == 1 else None

    def _made(self, rank: int) -> Const | None:
        op = self.body.ops[rank]
        if not isinstance(op, Call):
            return None
        result = self.project.calls(self.function).get(rank)
        if result is not None and (found := _answer(self.project, result)) is not None:
            return found
        path = self.body.places[op.callee].path
        if path and path[-1].kind is Select.ATTR and path[-1].value == "is_running" and not op.args:
            return TRUE  # of an event loop; nothing else on a loop is asked that
        return None

    @staticmethod
    def _compared(operator: str, left: Const | None, right: Const | None) -> bool | None:
        if operator not in ("is", "is not", "==", "!="):
            return None
        equal = operator in ("is", "==")
        for one, other in ((left, right), (right, left)):
            if one is not None and one.kind in ("loop", "thread"):  # it is compared with None, or with the loop of the project
                return equal is not (other is not None and other.kind == "none")
        if left is None or right is None:
            return None
        if left.kind != right.kind and "none" not in (left.kind, right.kind):
            return None
        return equal is (left == right)


def _loop_tests(project: Project, function: FunctionNode) -> frozenset[int]:
    """Calls of a function that ask for the running loop or the current thread."""
    found: list[int] = []
    for rank, result in project.calls(function).items():
        if _answer(project, result) is not None:
            found.append(rank)
        else:
            op = function.body.ops[rank]
            path = function.body.places[op.callee].path if isinstance(op, Call) else ()
            if path and path[-1].value == "is_running":
                found.append(rank)
    return frozenset(found)


def _answer(project: Project, result: CallResult) -> Const | None:
    """What a call gives on a running loop, if that is the loop or its thread."""
    if any(_is_running_loop(p) for p in result.externals):
        return LOOP
    if any(p in CURRENT for p in result.externals):
        return THREAD
    if result.how != "typed" or not result.targets or result.externals:
        return None
    answers = {project.loop_answer(target.function) for target in result.targets}
    return answers.pop() if len(answers) == 1 else None


def loop_answer(project: Project, function: FunctionNode) -> Const | None:
    """LOOP or THREAD if every return of a small function that is reached on a loop gives it, otherwise None."""
    body = function.body
    asks = function.header.is_async is False and len(body.ops) <= SMALL
    if not asks or not any(_asks(result) for result in project.calls(function).values()):
        return None
    flow = feasible(project, function, ())
    answers: set[Const | None] = set()
    for number in flow.order:
        block = body.blocks[number]
        for rank in range(block.start, block.end):
            op = body.ops[rank]
            if isinstance(op, Return):
                answers.add(_Tests(project, function, {}, flow, rank).value(op.src, DEPTH))
    return answers.pop() if len(answers) == 1 and answers <= {LOOP, THREAD} else None


def _asks(result: CallResult) -> bool:
    return any(_is_running_loop(p) or p in CURRENT for p in result.externals)


def _is_running_loop(path: str) -> bool:
    package, _, name = path.rpartition(".")
    return name in RUNNING and package in ("asyncio", "_asyncio", "asyncio.events")


def _handlers(body: Body, asks: frozenset[int]) -> Cut:
    """Edges into the handlers of `try: asyncio.get_running_loop()`: on a loop it does not raise."""
    found: set[tuple[int, Edge | None, int]] = set()
    for index, region in enumerate(body.regions) if asks else ():
        if not region.handlers:
            continue
        inside = [n for n, block in enumerate(body.blocks) if _within(body, block.region, index)]
        ranks = [r for n in inside for r in range(body.blocks[n].start, body.blocks[n].end)]
        calls = [r for r in ranks if isinstance(body.ops[r], Call)]
        if calls and asks.issuperset(calls) and not any(isinstance(body.ops[r], Raise | Await) for r in ranks):
            found.update((n, None, handler) for n in inside for handler in region.handlers)
    return frozenset(found)


def _within(body: Body, region: int, wanted: int) -> bool:
    while region != NONE:
        if region == wanted:
            return True
        region = body.regions[region].parent
    return False
