"""Files that a function has written itself before it reads them: their bytes are what it put there."""

from __future__ import annotations

from auditor.facts.model import Call, Place
from auditor.project.models import Role
from auditor.project.symbols import FunctionNode

from ._flows import Flows
from ._origin import Origin, who
from ._origins import Origins
from ._sameness import MAX_KEY, Key, Sameness

PUTS = frozenset({"write", "write_bytes", "write_text", "writelines"})


class Written:
    """Questions about files written before."""

    def __init__(self, flows: Flows, origins: Origins, same: Sameness) -> None:
        self.flows = flows
        self.project = flows.project
        self.origins = origins
        self.same = same

    def before(self, function: FunctionNode, op: int, place: Place) -> list[Origin]:
        """What the function puts on every way into the file that `place` names, or is; empty where it writes none."""
        wanted = {key for key in self.same.lineage(function, op, place) if key[0] == "content"}
        flow = self.project.flow(function)
        block = self.flows.block_of(function, op)
        found: list[Origin] = []
        for rank, call in enumerate(function.body.ops):
            if not isinstance(call, Call):
                continue
            here = self.flows.block_of(function, rank)
            if rank < op if here == block else flow.dominates(here, block):
                found += self._puts(function, rank, call, wanted)
        return found

    def _puts(self, function: FunctionNode, rank: int, call: Call, wanted: set[Key]) -> list[Origin]:
        role = self.flows.role(function, rank)
        if role is not None and role.name in ("writes", "download"):
            target = self._output(function, rank, role)
            if target is None or not self._names(function, rank, target) & wanted:
                return []
            kind, what = ("network", "a downloaded file") if role.name == "download" else ("own", "bytes that it has written itself")
            step = self.project.step(function, rank, f"{who(function)} {role.note or 'writes the file itself'}", kind)
            return [Origin(kind, what, (step,))]
        callee = function.body.places[call.callee]
        if not callee.path or callee.path[-1].value not in PUTS or not call.args:
            return []
        base = callee._replace(path=callee.path[:-1])
        if not self._names(function, rank, base) & wanted:
            return []
        return self.origins.of(function, rank, function.body.places[call.args[0]])

    def _output(self, function: FunctionNode, rank: int, role: Role) -> Place | None:
        if role.attributes.get("output") == "result":
            return None
        keyword = str(role.attributes.get("output", "")) if role.name == "download" else "file"
        return self.flows.argument(function, rank, keyword, int(role.attributes["position"]))

    def _names(self, function: FunctionNode, rank: int, place: Place) -> set[Key]:
        """The file that a place is the path of, or is."""
        return {key for key in self.same.content(function, rank, place) if key[0] == "content"} | {
            ("content", self.same.key(function, rank, place, MAX_KEY))
        }
