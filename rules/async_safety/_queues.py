"""Queues: where they are made, by which names they go, who puts into them and who takes from them.

A queue is followed from where it is made through names, arguments, results of properties and attributes of `self`; through
attributes of other objects where their class is known. What is stored elsewhere is somebody else's.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from auditor.facts.model import NONE, Body, Call, Const, Place, Root, Select, Store
from auditor.project.graph import last_name, method_of
from auditor.project.project import Project
from auditor.project.symbols import ClassNode, FunctionNode
from auditor.project.tasks import of_tests
from auditor.project.types import ClassObject, Instance, without_none

PUTS = frozenset({"put", "put_nowait", "sync_put", "async_put"})
GETS = frozenset({"get", "get_nowait"})
LOOKS = frozenset({"qsize", "full", "join", "empty"})
FACTORIES = frozenset({"collections.defaultdict", "dataclasses.field", "attr.ib", "attrs.field"})
MAX_SLOTS = 40  # names that one queue goes by


class Queue(NamedTuple):
    """Operation `op` of `function` makes a queue. `capacity`: none, some (bounded, or not known) - `path` is its class."""

    function: FunctionNode
    op: int
    capacity: str
    path: str


class Slot(NamedTuple):
    """A name that holds a queue: an attribute of a class, or a name of a function. `item`: a container of queues."""

    owner: ClassNode | FunctionNode
    name: str
    item: bool = False


class Access(NamedTuple):
    """A method of the queue is called."""

    function: FunctionNode
    op: int
    method: str


class Queues:
    """The queues of a project."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self._methods: dict[ClassNode, list[FunctionNode]] = {}
        for function in project.functions():
            method = method_of(function)
            if method is not None and method.cls is not None and not of_tests(function.path):
                self._methods.setdefault(method.cls, []).append(function)

    def made(self) -> Iterator[Queue]:
        """All queues, by path and place."""
        for function in self.project.functions():
            if of_tests(function.path):
                continue
            for op, result in sorted(self.project.calls(function).items()):
                if result.externals and any(p.endswith("Queue") for p in result.externals):
                    role = self.project.role(function, op, "growth")
                    if role is not None and role[1].name == "queue":
                        yield Queue(function, op, self._capacity(function, op, role[1].attributes), role[0])
                elif any(p in FACTORIES for p in result.externals):
                    path = self._factory(function, op)
                    if path:
                        yield Queue(function, op, "none", path)

    def _capacity(self, function: FunctionNode, op: int, attributes: object) -> str:
        call = function.body.ops[op]
        known = attributes if isinstance(attributes, dict) else {}
        if not isinstance(call, Call) or call.starred or any(not name for name, _ in call.keywords):
            return "some"
        slot = int(known.get("slot", 0))
        given = next((o for name, o in call.keywords if name == known.get("keyword")), NONE)
        if given == NONE and 0 <= slot < len(call.args):
            given = call.args[slot]
        if given == NONE:
            return "none"
        number = self._number(function, given)
        return "some" if number is None or number > 0 else "none"

    def _number(self, function: FunctionNode, operand: int) -> int | None:
        """A literal number, also by the name of a constant of the module."""
        name = function.body.places[operand].name
        place = function.body.places[operand]
        if not isinstance(name, Const) and place.root is Root.GLOBAL and not place.path:
            module = function.module.functions[0]
            stores = [
                o
                for o in module.body.ops
                if isinstance(o, Store) and module.body.places[o.dst] == Place(Root.GLOBAL, name)
            ]
            name = module.body.places[stores[0].src].name if len(stores) == 1 else name
        if not isinstance(name, Const) or name.kind != "int":
            return None
        try:
            return int(name.text)
        except ValueError:
            return None

    def _factory(self, function: FunctionNode, op: int) -> str:
        """The class of queues that a default makes: `defaultdict(asyncio.Queue)`."""
        call = function.body.ops[op]
        if not isinstance(call, Call):
            return ""
        types = self.project.types(function)
        for operand in (*call.args[:1], *(o for name, o in call.keywords if name in ("default_factory", "factory"))):
            for atom in types.get((op, operand), frozenset()):
                roles = (
                    self.project.models.model("growth").roles(atom.cls)
                    if isinstance(atom, ClassObject) and isinstance(atom.cls, str)
                    else ()
                )
                if any(role.name == "queue" for role in roles):
                    return str(getattr(atom, "cls", ""))
        return ""

    # --- by which names a queue goes ---
    def accesses(self, queue: Queue) -> list[Access] | None:
        """The calls of methods of a queue, by path and place; None if it goes where it cannot be followed."""
        call = queue.function.body.ops[queue.op]
        slots: dict[Slot, None] = {}
        found: set[Access] = set()
        if not isinstance(call, Call):
            return None
        made = queue.function.body.places[call.dst]
        item = queue.path not in self.project.calls(queue.function)[queue.op].externals and not self._is_field(queue)
        pending = [*self._flows(queue.function, made, item)]
        if self._is_field(queue):
            pending += [s for s in [self._field(queue)] if s is not None]
        while pending:
            slot = pending.pop()
            if slot in slots or len(slots) >= MAX_SLOTS:
                continue
            slots[slot] = None
            for function, place in self._readers(slot):
                found.update(self._called(function, place, slot.item))
                pending.extend(self._flows(function, place, slot.item))
        return sorted(found, key=lambda a: (a.function.key, a.op)) if slots else None

    def _is_field(self, queue: Queue) -> bool:
        return queue.function.header.kind == "class" and queue.function.body_of is not None

    def _field(self, queue: Queue) -> Slot | None:
        """The field of a dataclass that a queue is the default of."""
        body = queue.function.body
        call = body.ops[queue.op]
        for step in body.ops:
            if (
                isinstance(step, Store)
                and isinstance(call, Call)
                and step.src == call.dst
                and queue.function.body_of is not None
            ):
                return Slot(queue.function.body_of, str(body.places[step.dst].name))
        return None

    def _readers(self, slot: Slot) -> Iterator[tuple[FunctionNode, Place]]:
        """Functions that see a slot, with the place by which they do."""
        if isinstance(slot.owner, FunctionNode):
            yield slot.owner, Place(Root.LOCAL, slot.name)
            stack = list(slot.owner.children)
            while stack:
                child = stack.pop()
                stack.extend(child.children)
                yield child, Place(Root.CELL, slot.name)
            return
        line = {*slot.owner.mro, *slot.owner.descendants()}
        for cls in sorted(line, key=lambda c: c.key):
            for function in self._methods.get(cls, ()):
                own = method_of(function)
                seen = (p for p in function.body.places if own is not None and p.name == own.self_name)
                place = next((p for p in seen if p.path[:1] == ((Select.ATTR, slot.name),)), None)
                if place is not None:
                    yield function, place._replace(path=place.path[:1])

    def _called(self, function: FunctionNode, place: Place, item: bool) -> Iterator[Access]:
        """Calls of methods of what a place holds."""
        body = function.body
        names = {place, *_copies(body, place, item)}
        for rank, step in enumerate(body.ops):
            if isinstance(step, Call) and last_name(function, step) in PUTS | GETS | LOOKS:
                owner = body.places[step.callee]
                if any(_is(owner._replace(path=owner.path[:-1]), name, item) for name in names):
                    yield Access(function, rank, last_name(function, step))

    def _flows(self, function: FunctionNode, place: Place, item: bool) -> Iterator[Slot]:
        """Where the value of a place goes from a function: into names, attributes of `self`, and parameters of callees."""
        body = function.body
        method = method_of(function)
        names = {place, *_copies(body, place, item)}
        for rank, step in enumerate(body.ops):
            if isinstance(step, Store) and body.places[step.src] in names:
                target = body.places[step.dst]
                if not target.path and target.root is Root.LOCAL:
                    yield Slot(function, str(target.name), item)
                elif (
                    method is not None
                    and method.cls is not None
                    and target.name == method.self_name
                    and _is_attribute(target)
                ):
                    yield Slot(method.cls, str(target.path[0].value), item or len(target.path) == 2)
            elif isinstance(step, Call):
                given: list[tuple[int, str]] = [(i, "") for i, a in enumerate(step.args) if body.places[a] in names]
                given += [(NONE, name) for name, a in step.keywords if body.places[a] in names and name]
                yield from self._handed(function, rank, given, item)

    def _handed(self, function: FunctionNode, rank: int, given: list[tuple[int, str]], item: bool) -> Iterator[Slot]:
        result = self.project.calls(function).get(rank) if given else None
        if result is None:
            return
        for target in result.targets:
            if target.wrapper:
                continue
            params = [p for p in target.function.header.params if p.kind in ("positional", "normal")]
            params = params[1:] if target.bound else params
            for position, name in given:
                if name:
                    yield Slot(target.function, name, item)
                elif position < len(params):
                    yield Slot(target.function, params[position].name, item)
        made = without_none(result.type)
        for atom in made:  # a dataclass keeps what it is given under the same name
            if isinstance(atom, Instance) and isinstance(atom.cls, ClassNode) and not result.targets:
                yield from (Slot(atom.cls, name, item) for _, name in given if name)


def _is(place: Place, name: Place, item: bool) -> bool:
    """Whether a place is a queue that goes by a name: the same, or of a container of queues an item."""
    rest = place.path[len(name.path) :]
    same = place.root is name.root and place.name == name.name and place.path[: len(name.path)] == name.path
    return same and (not rest or item and all(s.kind is not Select.ATTR for s in rest))


def _is_attribute(place: Place) -> bool:
    """Whether a place is an attribute of a name, or an item of one."""
    kinds = [s.kind for s in place.path]
    return kinds[:1] == [Select.ATTR] and Select.ATTR not in kinds[1:] and len(kinds) <= 2


def _copies(body: Body, place: Place, item: bool) -> Iterator[Place]:
    """Other names inside of the function: `q = self._queue`, `q = self._queues[k]`."""
    for step in body.ops:
        if isinstance(step, Store):
            target = body.places[step.dst]
            if not target.path and target.root in (Root.LOCAL, Root.TEMP) and _is(body.places[step.src], place, item):
                yield target
