"""Whether two expressions are one value: keys that are equal only for equal values, and what a value is made of."""

from __future__ import annotations

from auditor.facts.model import Binary, Call, Collect, Enter, Format, Place, Root, Select, Store
from auditor.project.models import canonical
from auditor.project.symbols import FunctionNode

from ._flows import ENTRY, Flows

Key = tuple[object, ...]
MAX_KEY = 12  # nesting of an expression that is still compared with another
SAME = frozenset({"pathlib.Path", "pathlib.PurePath", "builtins.str", "os.fspath", "builtins.bytes", "builtins.memoryview"})


class Sameness:
    """Questions about the values of one project."""

    def __init__(self, flows: Flows) -> None:
        self.flows = flows
        self.project = flows.project

    def definition(self, function: FunctionNode, rank: int, place: Place) -> int | None:
        """The one operation that defines a local or a temporary as it is read at `rank`."""
        if place.path:
            return None
        if place.root is Root.TEMP:
            ranks = self.flows.written(function, place)
        elif place.root is Root.LOCAL:
            ranks = self.flows.reaching(function, rank, place)
        else:
            return None
        return ranks[0] if len(ranks) == 1 else None

    def key(self, function: FunctionNode, rank: int, place: Place, depth: int) -> Key:
        """Equal keys are equal values: the expression down to what cannot be repeated."""
        if depth <= 0:
            return ("deep", function.key, rank, place)
        if place.root is Root.CONST:
            return ("literal", place.name)
        if place.path:
            base = self.key(function, rank, place._replace(path=()), depth - 1)
            parts: list[object] = []
            for kind, value in place.path:
                if kind is Select.KEY and isinstance(value, int) and value >= 0:
                    parts.append(self.key(function, rank, function.body.places[value], depth - 1))
                else:
                    parts.append((kind, value))
            changed = tuple(self.flows.written(function, place))
            return ("part", base, tuple(parts), function.key if changed else "", tuple(w for w in changed if w < rank))
        if place.root is Root.GLOBAL:
            return ("global", function.module.path, place.name)
        made = self.definition(function, rank, place)
        if made is None:
            ways = tuple(self.flows.reaching(function, rank, place)) if place.root is Root.LOCAL else ()
            return ("one of", function.key, place, ways)
        if made == ENTRY:
            return parameter_key(function, place.name)
        op = function.body.ops[made]
        places = function.body.places
        if isinstance(op, Store | Enter):
            return self.key(function, made, places[op.src], depth - 1)
        if isinstance(op, Call):
            result = self.project.calls(function).get(made)
            if result is not None and len(op.args) == 1 and {canonical(p) for p in result.externals} & SAME:
                return self.key(function, made, places[op.args[0]], depth - 1)
            return ("call", function.key, made)
        operands = [places[o] for o in _operands(op)]
        if not operands:
            return ("made", function.key, made)
        detail = getattr(op, "operator", getattr(op, "kind", 0))
        return (type(op).__name__, detail, *(self.key(function, made, o, depth - 1) for o in operands))

    def content(self, function: FunctionNode, rank: int, place: Place) -> frozenset[Key]:
        """What is covered when a digest is taken of a value: the value, and the file that it is the whole content of."""
        found = {self.key(function, rank, place, MAX_KEY)}
        made = self.definition(function, rank, place)
        if made is not None and made != ENTRY:
            op = function.body.ops[made]
            places = function.body.places
            if isinstance(op, Store | Enter):
                return frozenset(found) | self.content(function, made, places[op.src])
            if isinstance(op, Call):
                role = self.flows.role(function, made)
                callee = places[op.callee]
                base = callee._replace(path=callee.path[:-1]) if callee.path else None
                if role is not None and role.name == "reads" and base is not None and not op.args:
                    return frozenset(found) | self.content(function, made, base)
                if role is not None and role.name == "opens":
                    at = int(role.attributes["path"])
                    path = base if at < 0 else self.flows.argument(function, made, "file", at)
                    if path is not None:
                        found.add(("content", self.key(function, made, path, MAX_KEY)))
        return frozenset(found)

    def lineage(self, function: FunctionNode, rank: int, place: Place, depth: int = MAX_KEY) -> frozenset[Key]:
        """Values that a value is made of and of nothing else: if one of them was checked, it was."""
        key = self.key(function, rank, place, MAX_KEY)
        found = {key, ("content", key)}
        if depth <= 0:
            return frozenset(found)
        if place.path and place.path[-1].kind is not Select.ATTR:
            return frozenset(found) | self.lineage(function, rank, place._replace(path=place.path[:-1]), depth - 1)
        made = self.definition(function, rank, place)
        if made is None or made == ENTRY:
            return frozenset(found)
        op = function.body.ops[made]
        places = function.body.places
        if isinstance(op, Store | Enter):
            return frozenset(found) | self.lineage(function, made, places[op.src], depth - 1)
        if not isinstance(op, Call):
            return frozenset(found)
        role = self.flows.role(function, made)
        callee = places[op.callee]
        base = callee._replace(path=callee.path[:-1]) if callee.path else None
        if role is not None and role.name in ("opens", "reads"):
            at = int(role.attributes.get("path", -1))
            source = base if at < 0 else self.flows.argument(function, made, "file", at)
        elif role is not None and role.name == "passes" and role.attributes.get("whole"):
            source = places[op.args[0]] if op.args else base
        else:
            source = None
        return frozenset(found) | (self.lineage(function, made, source, depth - 1) if source is not None else frozenset())


def parameter_key(function: FunctionNode, name: object) -> Key:
    """The key of what a function is called with."""
    return ("parameter", function.key, name)


def _operands(op: object) -> tuple[int, ...]:
    """Operands of an operation whose result depends on nothing else."""
    match op:
        case Binary(_, _, left, right, 0):
            return left, right
        case Collect(_, _, items, ()):
            return items
        case Format(_, parts):
            return parts
        case _:
            return ()
