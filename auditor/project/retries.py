"""Decorators that call a function again when it has raised: those of libraries by the model, those of the project by what
their inner function does around the call: a loop that a success leaves, or a call of itself in the handler."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from auditor.facts.model import NONE, Call, Catch, Closure, Const, Decorator, Raise, Root
from auditor.project.exchange import MODEL, Way
from auditor.project.flow import writes
from auditor.project.symbols import ClassNode, External, FunctionNode, Meaning

if TYPE_CHECKING:
    from auditor.project.project import Project

RETRIES = "retries"
RAW = "raw"  # a failure as the library raises it
ONCE = frozenset({"0", "1"})  # attempts that are no retry


class Retry(NamedTuple):
    """A retry around a function: where it stands, the classes that it takes (None: all); `doubts` as in findings."""

    function: FunctionNode
    op: int
    classes: tuple[Meaning | str | None, ...] | None
    doubts: int

    @property
    def named(self) -> bool:
        return self.classes is not None


def retries_of(project: Project, function: FunctionNode, way: Way) -> Retry | None:
    """The retry that a decorator of a function is, if there is one that takes a failure of unknown outcome."""
    parent = function.parent
    if parent is None or not function.header.decorators:
        return None
    closure = _closure(parent, function)
    for rank, decorator in enumerate(function.header.decorators):
        found = _of_library(project, function, decorator, closure, rank)
        if found is not None and _takes(project, found.classes, leaving(project, function, way), way):
            return found
    if any(decorator.called and _once(decorator) for decorator in function.header.decorators):
        return None
    for wrapper in project.world.wrappers(function):
        found = _of_project(project, wrapper, function, way)
        if found is not None:
            return found
    return None


def leaving(project: Project, function: FunctionNode, way: Way) -> list[Meaning | str | None]:
    """What a function raises when the outcome of its order call is unknown: RAW, or the classes of the project that its
    handlers raise instead; nothing if they keep it."""
    handlers = [h for h in project.outcomes.handlers(function, way.hops[0][1], way) if h.unknown]
    found: list[Meaning | str | None] = [] if any(h.whole for h in handlers) else [RAW]
    body = function.body
    for handler in handlers:
        for number in sorted(_onward(function, handler.block)):
            block = body.blocks[number]
            step = body.ops[block.end - 1] if block.end > block.start else None
            if isinstance(step, Raise):
                found.extend(
                    [RAW]
                    if step.exception == NONE
                    else project.outcomes.raised(function, block.end - 1, step.exception)
                )
    return found


def _onward(function: FunctionNode, start: int) -> set[int]:
    seen, stack = {start}, [start]
    while stack:
        for _, target in function.body.blocks[stack.pop()].edges:
            if target >= 0 and target not in seen:
                seen.add(target)
                stack.append(target)
    return seen


def _takes(
    project: Project, classes: Sequence[Meaning | str | None] | None, raised: Sequence[Meaning | str | None], way: Way
) -> bool:
    """Whether a retry for these classes takes one of the failures."""
    if not raised:
        return False
    if classes is None:
        return True
    for meaning in classes:
        caught = project.outcomes.sorted(meaning)
        if caught.family == "any":
            return True
        for each in raised:
            if each == RAW:
                if caught.kind == "unknown" and project.outcomes.fits(caught.family, way):
                    return True
            elif isinstance(each, ClassNode):
                if isinstance(meaning, ClassNode) and meaning in each.mro:
                    return True
            elif each is not None and each == meaning:
                return True
    return False


# --- decorators of libraries ----------------------------------------------------------------------------------------


def _closure(parent: FunctionNode, function: FunctionNode) -> tuple[int, Closure] | None:
    rank = parent.children.index(function)
    return next(
        ((r, op) for r, op in enumerate(parent.body.ops) if isinstance(op, Closure) and op.function == rank), None
    )


def _of_library(
    project: Project, function: FunctionNode, decorator: Decorator, closure: tuple[int, Closure] | None, rank: int
) -> Retry | None:
    parent = function.parent
    meaning = project.symbols.resolve(function.module, decorator.name, parent)
    if not isinstance(meaning, External) or parent is None or closure is None:
        return None
    role = next((r for r in project.models.model(MODEL).roles(meaning.path) if r.name == RETRIES), None)
    if role is None:
        return None
    at, made = closure
    if not decorator.called:
        return Retry(parent, at, None, 0)
    operand = made.decorators[rank] if rank < len(made.decorators) else NONE
    op = next((r for r in range(at) if operand in writes(parent.body.ops[r])), NONE)
    call = parent.body.ops[op] if op != NONE else None
    if not isinstance(call, Call):
        return None
    passed = {str(n): value for n, value in enumerate(call.args)} | dict(call.keywords)
    given = next((passed[word] for word in role.attributes["classes"] if word in passed), NONE)
    if given == NONE:
        return Retry(parent, op, None, 0)
    classes = _classes(project, parent, given, op, role.attributes["by"])
    return Retry(parent, op, tuple(classes), 0) if classes else None


def _classes(
    project: Project, function: FunctionNode, operand: int, before: int, by: Sequence[str]
) -> list[Meaning | str | None]:
    """The classes that an argument names, directly or through a function like `retry_if_exception_type`."""
    body = function.body
    if by:
        maker = next((o for o in reversed(body.ops[:before]) if operand in writes(o)), None)
        if not isinstance(maker, Call) or _last(function, maker) not in by:
            return []
        return [m for a in maker.args for m in project.outcomes.meanings(function, a, before)]
    return list(project.outcomes.meanings(function, operand, before))


def _last(function: FunctionNode, call: Call) -> str:
    place = function.body.places[call.callee]
    return str(place.path[-1].value) if place.path else str(place.name)


def _once(decorator: Decorator) -> bool:
    """`@retrier(retries=0)`: it is none."""
    values = (*decorator.args, *(value for _, value in decorator.keywords))
    return any(isinstance(v, Const) and v.kind == "int" and v.text in ONCE for v in values)


# --- decorators of the project --------------------------------------------------------------------------------------


def _of_project(project: Project, wrapper: FunctionNode, function: FunctionNode, way: Way) -> Retry | None:
    """The inner function of a decorator, if it calls the decorated one again when that has raised."""
    raised = leaving(project, function, way)
    for op in _inner_calls(wrapper):
        inner = way._replace(hops=((wrapper, op), *way.hops))
        for handler in project.outcomes.handlers(wrapper, op, inner):
            step = wrapper.body.ops[handler.op]
            if not isinstance(step, Catch):
                continue
            classes = (
                None
                if not step.classes
                else [m for c in step.classes for m in project.outcomes.meanings(wrapper, c, handler.op)]
            )
            if not _takes(project, classes, raised, inner):
                continue
            again = _comes_back(project, wrapper, op, handler.block)
            if again != NONE:
                return Retry(wrapper, again, None, 1)
            break  # it is taken here, and not tried again
    return None


def _inner_calls(wrapper: FunctionNode) -> Iterator[int]:
    """Calls of a parameter of the function around."""
    names: set[str] = set()
    outer = wrapper.parent
    while outer is not None:
        names.update(p.name for p in outer.header.params)
        outer = outer.parent
    for op, step in enumerate(wrapper.body.ops):
        if isinstance(step, Call):
            place = wrapper.body.places[step.callee]
            if place.root is Root.CELL and not place.path and str(place.name).partition("'")[0] in names:
                yield op


def _comes_back(project: Project, wrapper: FunctionNode, op: int, handler: int) -> int:
    """The operation that runs the decorated function again after a handler; NONE if nothing does."""
    body, flow = wrapper.body, project.flow(wrapper)
    came = _onward(wrapper, handler)
    block = flow.block_of(op)
    if block in came:
        after = {n for _, target in body.blocks[block].edges if target >= 0 for n in _onward(wrapper, target)}
        return NONE if block in after else op
    for number in sorted(came):
        for rank in range(body.blocks[number].start, body.blocks[number].end):
            step = body.ops[rank]
            if isinstance(step, Call):
                place = body.places[step.callee]
                if (
                    not place.path
                    and str(place.name).partition("'")[0] == wrapper.name
                    and place.root in (Root.CELL, Root.GLOBAL)
                ):
                    return rank
    return NONE
