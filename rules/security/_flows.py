"""Where a value comes from, one step back: definitions that reach a use, callers, stores to an attribute, types of places.

All answers are about places of the function IR at an operation: the place as it is read there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from auditor.facts.model import Await, Call, Const, Enter, Op, Place, Root, Select, Selector, Store
from auditor.project.containers import element
from auditor.project.flow import writes
from auditor.project.graph import method_of
from auditor.project.models import Role
from auditor.project.project import Project, Target
from auditor.project.symbols import ClassNode, FunctionNode, Module
from auditor.project.types import TOP, ClassObject, Instance, Outside, Type, union, without_none

MODEL = "deserialization"
ENTRY = -1  # a definition: the parameter itself
FILLS = frozenset({"append", "appendleft", "add", "insert", "put", "put_nowait", "extend", "setdefault", "update", "write", "writelines"})
MAX_TYPE_STEPS = 12  # definitions that are followed for one type
TEST_FOLDERS = frozenset({"test", "tests"})


class Site(NamedTuple):
    """A call of a project function. `bound`: the first parameter is filled by the receiver. `skip`: leading arguments
    that belong to what makes the call (`to_thread(f, x)`), not to the function."""

    function: FunctionNode
    op: int
    bound: bool
    skip: int = 0
    sure: bool = True


class Stored(NamedTuple):
    """A value that is put into an attribute, or into a container that the attribute holds (`inside`)."""

    function: FunctionNode
    op: int
    place: Place
    base: Place
    inside: bool


class Flows:
    """Questions about values that several modules put; each is answered once."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self._sites: dict[FunctionNode, list[Site]] | None = None
        self._stores: dict[str, list[Stored]] | None = None
        self._constructions: dict[ClassNode, list[Site]] = {}
        self._writers: dict[FunctionNode, dict[Place, list[int]]] = {}
        self._fills: dict[FunctionNode, dict[Place, list[int]]] = {}
        self._blocks: dict[FunctionNode, list[int]] = {}

    # --- inside one function ---
    def block_of(self, function: FunctionNode, op: int) -> int:
        """The block of an operation."""
        blocks = self._blocks.get(function)
        if blocks is None:
            blocks = [0] * len(function.body.ops)
            for number, block in enumerate(function.body.blocks):
                for rank in range(block.start, min(block.end, len(blocks))):
                    blocks[rank] = number
            self._blocks[function] = blocks
        return blocks[op] if op < len(blocks) else 0

    def written(self, function: FunctionNode, place: Place) -> list[int]:
        """Operations that write exactly this place."""
        table = self._writers.get(function)
        if table is None:
            table = {}
            for rank, op in enumerate(function.body.ops):
                for operand in writes(op):
                    table.setdefault(function.body.places[operand], []).append(rank)
            self._writers[function] = table
        return table.get(place, [])

    def binds(self, module: Module, name: str) -> bool:
        """Whether a module's body binds a name, by a loop too."""
        return bool(self.written(module.functions[0], Place(Root.GLOBAL, name)))

    def filled(self, function: FunctionNode, place: Place) -> list[int]:
        """Operations that put something into what a place holds: item stores, and calls of `append`, `write`, ..."""
        table = self._fills.get(function)
        if table is None:
            table = {}
            for rank, op in enumerate(function.body.ops):
                for operand in writes(op):
                    target = function.body.places[operand]
                    if target.path and target.path[-1].kind is not Select.ATTR:
                        table.setdefault(target._replace(path=target.path[:-1]), []).append(rank)
                if isinstance(op, Call):
                    callee = function.body.places[op.callee]
                    if callee.path and callee.path[-1].value in FILLS:
                        table.setdefault(callee._replace(path=callee.path[:-1]), []).append(rank)
                    elif op.args and (role := self.role(function, rank)) is not None and role.name == "writes":
                        output = self.argument(function, rank, "file", int(role.attributes.get("position", -1)))
                        if output is not None:
                            table.setdefault(output, []).append(rank)
            self._fills[function] = table
        return table.get(place, [])

    def reaching(self, function: FunctionNode, op: int, place: Place) -> list[int]:
        """Operations whose value of a local name can be read at `op`, in order; ENTRY for the parameter."""
        candidates = self.written(function, place)
        if not candidates:
            return [ENTRY]
        found: set[int] = set()
        blocks = function.body.blocks
        start = self.block_of(function, op)
        inside = [rank for rank in candidates if blocks[start].start <= rank < op]
        if inside:
            return [inside[-1]]
        flow = self.project.flow(function)
        last = {self.block_of(function, rank): rank for rank in candidates}  # the last one of each block wins
        pending = list(flow.predecessors[start])
        if start == 0:
            found.add(ENTRY)
        seen: set[int] = set()
        while pending:
            number = pending.pop()
            if number in seen:
                continue
            seen.add(number)
            if number in last:
                found.add(last[number])
                continue
            if number == 0:
                found.add(ENTRY)
            pending.extend(flow.predecessors[number])
        parameters = {p.name for p in function.header.params}
        return sorted(rank for rank in found if rank != ENTRY or place.name in parameters) or candidates

    # --- calls ---
    def role(self, function: FunctionNode, op: int) -> Role | None:
        """The role of a call; of a method whose receiver has no known type (`()`: taken from a result), that of its name."""
        found = self.project.role(function, op, MODEL)
        if found is not None:
            return found[1]
        call = function.body.ops[op]
        result = self.project.calls(function).get(op)
        if not isinstance(call, Call) or result is None or result.targets:
            return None
        callee = function.body.places[call.callee]
        unbound = f"builtins.{callee.name}." if callee.root is Root.GLOBAL and self.binds(function.module, str(callee.name)) else "()"
        if any("()" not in p and not p.startswith(unbound) for p in result.externals):
            return None
        if not callee.path or callee.path[-1].kind is not Select.ATTR:
            return None
        roles = self.project.models.model(MODEL).roles(f"any.{callee.path[-1].value}")
        return roles[0] if roles else None

    def path_role(self, path: str) -> Role | None:
        """The role of something outside of the project by its dotted path; a path below a source is one too."""
        roles = self.project.models.model(MODEL).roles(path)
        return roles[0] if roles else None

    def argument(self, function: FunctionNode, op: int, keyword: str, position: int) -> Place | None:
        """An argument of a call by keyword, or by position; None if it is not given in sight."""
        call = function.body.ops[op]
        if not isinstance(call, Call):
            return None
        places = function.body.places
        for name, operand in call.keywords:
            if name == keyword:
                return places[operand]
        if 0 <= position < len(call.args) and not any(rank <= position for rank in call.starred):
            return places[call.args[position]]
        return None

    def passed(self, site: Site, target: FunctionNode, name: str) -> Place | str:
        """What a site passes for a parameter: a place, "default" where it passes none, "unknown" behind `*` and `**`."""
        call = site.function.body.ops[site.op]
        if not isinstance(call, Call):
            return "unknown"
        places = site.function.body.places
        for keyword, operand in call.keywords:
            if keyword == name:
                return places[operand]
        names = [p.name for p in target.header.params if p.kind in ("positional", "normal")]
        if name in names:
            rank = names.index(name) - int(site.bound) + site.skip
            if any(star <= rank for star in call.starred):
                return "unknown"
            if site.skip <= rank < len(call.args):
                return places[call.args[rank]]
        return "unknown" if any(keyword == "" for keyword, _ in call.keywords) else "default"

    def collected(self, site: Site, target: FunctionNode, want: Const | None) -> list[Place]:
        """What a site passes into `*args` and `**options`: all of it, or what stands under a key."""
        call = site.function.body.ops[site.op]
        if not isinstance(call, Call):
            return []
        places = site.function.body.places
        named = {p.name for p in target.header.params if p.kind in ("normal", "keyword")}
        count = sum(p.kind in ("positional", "normal") for p in target.header.params) - int(site.bound)
        rest = [places[a] for a in call.args[site.skip + count :]]
        options = {name: places[value] for name, value in call.keywords if name not in named}
        if want is None or call.starred or "" in options:
            return [*rest, *options.values()]
        if want.kind == "int":
            return rest[int(want.text) : int(want.text) + 1] if want.text.isdigit() else rest
        return [options[want.text]] if want.text in options else []

    def sites(self, function: FunctionNode) -> list[Site]:
        """Calls of a function in the project, tests left out, in order."""
        return self._indexed().get(function, [])

    def constructions(self, cls: ClassNode) -> list[Site]:
        """Calls that make an instance of a class without `__init__` of its own."""
        self._indexed()
        return self._constructions.get(cls, [])

    def _indexed(self) -> dict[FunctionNode, list[Site]]:
        if self._sites is None:
            self._sites = {}
            for function in self.project.functions():
                if is_test(function.path):
                    continue
                for op, result in sorted(self.project.calls(function).items()):
                    for target in result.targets:
                        if not target.wrapper:
                            site = Site(function, op, target.bound, 0, result.how in ("typed", "hierarchy"))
                            self._sites.setdefault(target.function, []).append(site)
                    if result.handed and (role := self.role(function, op)) is not None and role.name == "hands":
                        for target in result.handed:
                            self._hand(function, op, target, int(role.attributes["function"]) + 1)
                    for atom in result.type:
                        if isinstance(atom, Instance) and isinstance(atom.cls, ClassNode) and f"{atom.cls.dotted}()" in result.externals:
                            self._constructions.setdefault(atom.cls, []).append(Site(function, op, False))
        return self._sites

    def _hand(self, function: FunctionNode, op: int, target: Target, skip: int) -> None:
        assert self._sites is not None  # noqa: S101 - called while it is filled
        self._sites.setdefault(target.function, []).append(Site(function, op, target.bound, skip))

    # --- attributes ---
    def stores(self, name: str) -> list[Stored]:
        """All stores to attributes of a name, and into containers that they hold."""
        if self._stores is None:
            self._stores = {}
            for function in self.project.functions():
                for rank, op in enumerate(function.body.ops):
                    for stored in self._stored(function, rank, op):
                        self._stores.setdefault(stored[0], []).append(stored[1])
        return self._stores.get(name, [])

    def _stored(self, function: FunctionNode, rank: int, op: Op) -> Iterator[tuple[str, Stored]]:
        places = function.body.places
        targets = [(places[o], False) for o in writes(op)]
        if isinstance(op, Call) and places[op.callee].path and places[op.callee].path[-1].value in FILLS:
            targets.append((places[op.callee]._replace(path=places[op.callee].path[:-1]), True))
        for place, inside in targets:
            at = max((i for i, s in enumerate(place.path) if s.kind is Select.ATTR), default=-1)
            if at >= 0:
                base = place._replace(path=place.path[:at])
                yield str(place.path[at].value), Stored(function, rank, place, base, inside or at < len(place.path) - 1)

    # --- types ---
    def type_of(self, function: FunctionNode, op: int, place: Place, budget: int = MAX_TYPE_STEPS) -> Type:
        """The type of a place where it is read."""
        world = self.project.world
        value = self._root_type(function, op, place._replace(path=()), budget)
        for kind, selected in place.path:
            value = world.attribute(without_none(value), str(selected)) if kind is Select.ATTR else element(value, None)
        return value

    def _root_type(self, function: FunctionNode, op: int, root: Place, budget: int) -> Type:
        world = self.project.world
        if root.root is Root.GLOBAL:
            meaning = world.symbols.resolve(function.module, str(root.name), function)
            if meaning is None and self.binds(function.module, str(root.name)):
                return TOP
            return world.meaning(meaning) if meaning is not None else self.project.linked.calls.builtin(str(root.name))
        if root.root is Root.CELL:
            owner = world.cell_owner(function, str(root.name))
            return world.read("cell", owner, str(root.name)) if owner is not None else TOP
        if root.root is Root.CONST or budget <= 0:
            return TOP
        ranks = self.written(function, root) if root.root is Root.TEMP else self.reaching(function, op, root)
        return union(self._defined_type(function, rank, root, budget - 1) for rank in ranks) or TOP

    def _defined_type(self, function: FunctionNode, rank: int, root: Place, budget: int) -> Type:
        if rank == ENTRY:
            return self.project.world.parameter(function, str(root.name))
        op = function.body.ops[rank]
        places = function.body.places
        match op:
            case Call():
                result = self.project.calls(function).get(rank)
                return result.type if result is not None else TOP
            case Store(_, src):
                return self.type_of(function, rank, places[src], budget)
            case Await(_, src):
                return self.project.linked.calls.awaited(self.type_of(function, rank, places[src], budget))
            case Enter(_, src, is_async):
                return self.project.linked.calls.entered(self.type_of(function, rank, places[src], budget), bool(is_async))
            case _:
                return TOP

    def classes_of(self, function: FunctionNode, op: int, place: Place) -> list[ClassNode]:
        """Project classes that a place is an instance of, or is itself."""
        atoms = self.type_of(function, op, place)
        found = {a.cls for a in atoms if isinstance(a, Instance | ClassObject) and isinstance(a.cls, ClassNode)}
        return sorted(found, key=lambda c: c.key)

    def outside(self, function: FunctionNode, op: int, place: Place) -> list[str]:
        """Dotted paths of the things outside of the project that a place can be (functions, classes)."""
        atoms = self.type_of(function, op, place)
        paths = [a.path for a in atoms if isinstance(a, Outside)]
        paths += [a.cls for a in atoms if isinstance(a, ClassObject) and isinstance(a.cls, str)]
        return sorted(paths)

    def self_classes(self, function: FunctionNode, place: Place) -> list[ClassNode]:
        """The class of `self`, if a place is that."""
        owner = method_of(function)
        if owner is None or owner.cls is None or place.path or place.name != owner.self_name:
            return []
        return [owner.cls] if place.root in (Root.LOCAL, Root.CELL) else []


def is_test(path: str) -> bool:
    """Whether a file is a test by its path: what tests pass says nothing about the program."""
    *folders, name = path.split("/")
    return bool(TEST_FOLDERS & set(folders)) or name.startswith("test_") or name.endswith("_test.py") or name == "conftest.py"


def attributes(place: Place) -> tuple[str, ...]:
    """The leading attribute names of a path."""
    names: list[str] = []
    for kind, value in place.path:
        if kind is not Select.ATTR:
            break
        names.append(str(value))
    return tuple(names)


__all__ = ["ENTRY", "FILLS", "MODEL", "Flows", "Selector", "Site", "Stored", "attributes", "is_test"]
