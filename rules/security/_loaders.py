"""Calls that run code while they read: which loader, of what input, and how sure that is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from auditor.facts.model import Call, Place, Raise, Select
from auditor.project.models import Role
from auditor.project.symbols import ClassNode, FunctionNode
from auditor.project.types import Instance

from ._flows import MODEL, Flows
from ._origin import public
from ._origins import Origins

LOADS = ("loads", "may_load")


class Load(NamedTuple):
    """A call of a loader. `name` as a reader knows it; `source` the place of its input (None: not in sight); `certain`
    says that it runs code in every version; `sure` that the callee is decided; `handed` that the call hands the loader to
    something that runs it."""

    function: FunctionNode
    op: int
    name: str
    role: Role
    source: Place | None
    certain: bool
    sure: bool
    handed: bool = False

    @property
    def note(self) -> str:
        """What the loader does with its input, for proofs."""
        weaker = self.role.attributes.get("note_otherwise")
        return self.role.note if self.certain or weaker is None else str(weaker)


class Harmless(NamedTuple):
    """A call of a loader that cannot run code, and why."""

    function: FunctionNode
    op: int
    name: str
    why: str


class Loaders:
    """Finds the calls of one function."""

    def __init__(self, flows: Flows, origins: Origins) -> None:
        self.flows = flows
        self.project = flows.project
        self.origins = origins

    def of(self, function: FunctionNode) -> Iterator[Load | Harmless]:
        """Calls of loaders in a function, in order."""
        for op, result in sorted(self.project.calls(function).items()):
            found = self.project.role(function, op, MODEL)
            sure = result.how in ("typed", "hierarchy") and len(result.externals) == 1 and not result.targets
            if found is not None and found[1].name in LOADS:
                yield self._direct(function, op, public(found[0]), found[1], sure)
            elif found is not None and found[1].name == "hands":
                yield from self._handed(function, op, int(found[1].attributes["function"]))
            elif found is None:
                yield from self._made(function, op)

    def _direct(self, function: FunctionNode, op: int, name: str, role: Role, sure: bool) -> Load | Harmless:
        more = role.attributes
        certain = role.name == "loads"
        if "loader" in more:
            kind = self._loader(function, op, str(more["loader"]), int(more["loader_position"]))
            if kind == "restricts":
                return Harmless(function, op, name, "its Loader builds plain data only")
            certain = kind == "runs_code"
        elif not certain and "switch" in more:
            setting = self._switch(function, op, role)
            if setting == "safe":
                return Harmless(function, op, name, f"{more['switch']} is {more['safe']}")
            certain = setting == "unsafe"
        source = self.flows.argument(function, op, str(more.get("input", "")), int(more.get("position", -1)))
        return Load(function, op, name, role, source, certain, sure)

    def _switch(self, function: FunctionNode, op: int, role: Role) -> str:
        """What the argument that decides is: `safe`, `unsafe` or unknown."""
        more = role.attributes
        place = self.flows.argument(function, op, str(more["switch"]), int(more.get("switch_position", -1)))
        if place is None:
            return "unknown"
        origins = self.origins.of(function, op, place)
        values = {o.what for o in origins if o.kind == "literal"}
        if not origins or any(o.kind != "literal" for o in origins):
            return "unknown"
        return "safe" if values == {more["safe"]} else "unsafe" if values == {more["unsafe"]} else "unknown"

    def _loader(self, function: FunctionNode, op: int, keyword: str, position: int) -> str:
        """What a Loader class lets a tag do: `restricts`, `runs_code`, or `full_loader` where a version decides."""
        place = self.flows.argument(function, op, keyword, position)
        if place is None:
            call = function.body.ops[op]
            hidden = isinstance(call, Call) and (bool(call.starred) or any(name == "" for name, _ in call.keywords))
            return "full_loader" if hidden else "runs_code"
        kinds = {self._class_kind(path) for path in self.flows.outside(function, op, place)}
        for cls in self.flows.classes_of(function, op, place):
            kinds |= {self._class_kind(path) for ancestor in cls.mro for path in ancestor.externals}
        kinds.discard("")
        if kinds == {"restricts"}:
            return "restricts"
        return "runs_code" if "runs_code" in kinds else "full_loader"

    def _class_kind(self, path: str) -> str:
        role = self.flows.path_role(path)
        return role.name if role is not None and role.name in ("restricts", "full_loader", "runs_code") else ""

    def _handed(self, function: FunctionNode, op: int, at: int) -> Iterator[Load]:
        """A loader that is given to something that calls it: `to_thread(pickle.loads, blob)`, `map(pickle.loads, blobs)`."""
        call = function.body.ops[op]
        if not isinstance(call, Call) or at >= len(call.args):
            return
        places = function.body.places
        paths = self.flows.outside(function, op, places[call.args[at]])
        for path in paths:
            role = self.flows.path_role(path)
            if role is not None and role.name in LOADS:
                source = places[call.args[at + 1]] if at + 1 < len(call.args) and at + 1 not in call.starred else None
                yield Load(function, op, public(path), role, source, role.name == "loads" and not role.when, len(paths) == 1, True)

    def _made(self, function: FunctionNode, op: int) -> Iterator[Load | Harmless]:
        """An unpickler of the project: as dangerous as its base, unless its `find_class` refuses something."""
        result = self.project.calls(function)[op]
        for atom in result.type:
            if not isinstance(atom, Instance) or not isinstance(atom.cls, ClassNode) or not atom.exact:
                continue
            made = f"{atom.cls.dotted}()" in result.externals or any(t.function.name == "__init__" for t in result.targets)
            bases = [self.flows.path_role(path) for ancestor in atom.cls.mro for path in ancestor.externals]
            role = next((r for r in bases if r is not None and r.name == "loads" and r.attributes["takes"] == "file"), None)
            if not made or role is None:
                continue
            if self._refuses(atom.cls):
                yield Harmless(function, op, atom.cls.name, "its find_class refuses what it does not know")
            else:
                source = self.flows.argument(function, op, "file", 0)
                yield Load(function, op, atom.cls.name, role, source, True, True)

    def _refuses(self, cls: ClassNode) -> bool:
        """Whether `find_class` can raise, and looks a name up only behind a test."""
        method = cls.method("find_class")
        if method is None:
            return False
        ops = method.body.ops
        flow = self.project.flow(method)
        looked = [
            rank
            for rank, op in enumerate(ops)
            if isinstance(op, Call) and method.body.places[op.callee].path
            and method.body.places[op.callee].path[-1].kind is Select.ATTR
            and method.body.places[op.callee].path[-1].value in ("find_class", "import_module")
        ]  # fmt: skip
        raises = any(isinstance(op, Raise) and op.exception >= 0 for op in ops)
        guarded = all(any(True for _ in flow.guards(self.flows.block_of(method, rank))) for rank in looked)
        return guarded and (raises or not looked)
