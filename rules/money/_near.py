"""Which functions can hold a Decimal at all: the only ones that the numeric lattice has to be run over.

Read off the types stratum: what a function reads, calls, is given or declares, and the attributes that it names.
Where that stratum knows nothing of a value, neither does the lattice.
"""

from __future__ import annotations

from auditor.facts.model import OPERATORS, Binary, Call, Const, Declare, Root, Select, Store, TypeExpr
from auditor.project.project import Project
from auditor.project.symbols import ClassNode, FunctionNode, annotation_names
from auditor.project.types import Instance, Type

DECIMAL = "decimal.Decimal"
FLOAT = "builtins.float"
MEETING = frozenset({"+", "-", "*", "/", "//", "%", "**"})
SUMMING = frozenset({"sum", "pow", "divmod", "mean", "median", "stdev"})


class Near:
    """Membership by function."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self._readers: set[FunctionNode] = set()
        for key, value in project.world.state.items():
            if _holds(value):
                self._readers.update(project.world.readers.get(key, ()))
        self._fields: set[str] = set()
        self._classes: set[ClassNode] = set()
        stored: dict[object, set[str]] = {}
        for _, owner, name in _attributes(project):
            stored.setdefault(owner, set()).add(name)
        for cls in project.symbols.classes():
            own = {f.name for f in cls.header.fields if _named(f.annotation)} | stored.get(cls, set())
            self._fields |= own
            if own:
                self._classes.add(cls)
                self._classes.update(cls.descendants())
        self._taking = {
            f
            for f in project.functions()
            if any(_named(p.annotation) for p in f.header.params) or _named(f.header.returns)
        }

    def __contains__(self, function: object) -> bool:
        if not isinstance(function, FunctionNode):
            return False
        if function in self._readers or function in self._taking:
            return True
        for result in self.project.calls(function).values():
            if _holds(result.type) or any(
                t.function in self._taking or t.receiver in self._classes for t in result.targets
            ):
                return True
            if any(isinstance(a, Instance) and a.cls in self._classes for a in result.type):
                return True
        if any(isinstance(op, Declare) and "Decimal" in op.annotation for op in function.body.ops):
            return True
        names = self._fields
        return any(kind is Select.ATTR and name in names for place in function.body.places for kind, name in place.path)


class Floats:
    """Functions in which a float can meet something or be handed on: those with arithmetic, and those that speak of one."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self._fields = {
            key[2] for key, value in project.world.state.items() if key[0] == "attr" and _holds(value, FLOAT)
        }
        self._constants: set[str] = set()
        for cls in project.symbols.classes():
            self._fields |= {f.name for f in cls.header.fields if "float" in annotation_names(f.annotation)}
        for function in project.functions():
            if function.index == 0:
                places = function.body.places
                self._constants |= {
                    str(places[op.dst].name) for op in function.body.ops
                    if isinstance(op, Store) and isinstance(name := places[op.src].name, Const) and name.kind == "float"
                }  # fmt: skip

    def __contains__(self, function: object) -> bool:
        if not isinstance(function, FunctionNode):
            return False
        body = function.body
        for op in body.ops:
            if isinstance(op, Binary) and OPERATORS[op.operator] in MEETING:
                return True
            if isinstance(op, Call) and str(body.places[op.callee].name) in SUMMING:
                return True
        if any("float" in annotation_names(p.annotation) for p in function.header.params):
            return True
        for place in body.places:
            if isinstance(place.name, Const):
                if place.name.kind == "float":
                    return True
            elif (
                place.root is Root.GLOBAL
                and place.name in self._constants
                or any(kind is Select.ATTR and name in self._fields for kind, name in place.path)
            ):
                return True
        return any(_holds(result.type, FLOAT) for result in self.project.calls(function).values())


def _attributes(project: Project) -> list[tuple[str, object, str]]:
    return [key for key, value in project.world.state.items() if key[0] == "attr" and _holds(value)]


def _holds(value: Type, wanted: str = DECIMAL) -> bool:
    return any(
        isinstance(a, Instance) and (a.cls == wanted or a.args and any(_holds(arg, wanted) for arg in a.args))
        for a in value
    )


def _named(expr: TypeExpr | None) -> bool:
    """Whether an annotation speaks of a Decimal, by whatever alias ends in that word."""
    return any(name.endswith(("Decimal", "DECIMAL")) for name in annotation_names(expr))
