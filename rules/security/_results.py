"""Where the result of a call comes from: by what the callee is known to do, or by what a function of the project returns."""

from __future__ import annotations

from typing import Protocol

from auditor.facts.model import Call, Const, Place, Root, Select, Selector
from auditor.project.models import Role, canonical
from auditor.project.symbols import ClassNode, External, FunctionNode, Module, Variable

from ._flows import MODEL, Flows, Site, attributes
from ._origin import OUTSIDE_KINDS, Frame, Origin, hop, joined, plain, public, text_of, who

MAX_FRAMES = 6  # calls that are entered for their result
MAX_TARGETS = 40  # functions that one call may run
CONSTRUCTORS = frozenset({"__init__", "__new__", "__post_init__"})


class Walk(Protocol):
    """What the results of calls ask back."""

    def of(self, function: FunctionNode, op: int, place: Place, frame: Frame | None = None, want: Const | None = None) -> list[Origin]:
        """The origins of a place."""
        ...

    def returned(self, function: FunctionNode, frame: Frame | None, want: Const | None) -> list[Origin]:
        """What a function returns or yields."""
        ...

    def by_name(self, function: FunctionNode, op: int, place: Place, found: list[Origin]) -> list[Origin]:
        """Configuration by its name, where nothing more is known."""
        ...


class Results:
    """The origins of results."""

    def __init__(self, flows: Flows, walk: Walk) -> None:
        self.flows = flows
        self.project = flows.project
        self.walk = walk

    def of(self, function: FunctionNode, rank: int, call: Call, frame: Frame | None, want: Const | None) -> list[Origin]:
        role = self.flows.role(function, rank)
        result = self.project.calls(function).get(rank)
        if result is not None and plain(result.type):
            return [Origin("literal", "a number")]
        if role is not None and role.name != "loads":
            found = self._by_role(function, rank, call, role, frame, want)
            if found is not None:
                return found
        targets = [t for t in result.targets if not t.wrapper] if result is not None else []
        entered = [t for t in targets if t.function.name not in CONSTRUCTORS]
        if entered:
            found = []
            for target in entered[:MAX_TARGETS]:
                site = Site(function, rank, target.bound)
                depth = frame.depth + 1 if frame is not None else 1
                inside = Frame(site, target.function, frame, depth) if depth <= MAX_FRAMES else None
                far = [Origin("unknown", target.function.name)]
                gives = self.walk.returned(target.function, inside, want) if inside is not None else far
                note = f"{who(target.function)} gives it to {who(function)}"
                found += hop(self.project, gives, function, rank, note, target.function.name)
            return found
        written = self.name(function, rank, call)
        step = self.project.step(function, rank, f"{who(function)} gets it from {written}", written)
        if targets or result is not None and any(p.endswith("()") for p in result.externals):
            return [Origin("unknown", f"an object of {written}", (step,))]
        receiver = self.receiver(function, call)
        gives = self.walk.of(function, rank, receiver, frame) if receiver is not None else []
        for operand in call.args:
            gives += self.walk.of(function, rank, function.body.places[operand], frame)
        tainted = [o for o in gives if o.kind in OUTSIDE_KINDS]
        if tainted:
            return [o._replace(doubts=o.doubts + 1, steps=(*o.steps, step)) for o in tainted]
        return [Origin("unknown", written, (step,))]

    def _by_role(
        self, function: FunctionNode, rank: int, call: Call, role: Role, frame: Frame | None, want: Const | None
    ) -> list[Origin] | None:
        places = function.body.places
        name = self.name(function, rank, call)
        receiver = self.receiver(function, call)
        match role.name:
            case "writes":
                return [self.own(function, rank)] if role.attributes["output"] == "result" else None
            case "verifies":
                step = self.project.step(function, rank, f"{name} {role.note}", name)
                return [Origin("verified", name, (step,))]
            case "source":
                told: list[Origin] = []
                if "text" in role.attributes and call.args:
                    read = self.walk.of(function, rank, places[call.args[0]], frame)
                    told = [o for o in read if o.kind in ("network", "store", "literal")]
                own = self.source(function, rank, role, name)._replace(doubts=self._guessed(function, rank))
                return told or self._before(function, rank, receiver, frame) or [own]
            case "opens":
                at = int(role.attributes["path"])
                path = receiver if at < 0 else self.flows.argument(function, rank, "file", at)
                return [self.file(function, rank, path, frame, name)] if path is not None else None
            case "reads":
                return self.walk.of(function, rank, receiver, frame) if receiver is not None else None
            case "passes":
                if role.attributes.get("only") == "receiver":
                    first = places[call.args[0]].name if call.args else None
                    if receiver is None:
                        return None
                    item = first if isinstance(first, Const) else None
                    place = receiver._replace(path=(*receiver.path, Selector(Select.ITEM, item or Const("str", ""))))
                    found = self.walk.by_name(function, rank, place, self.walk.of(function, rank, receiver, frame, item))
                    return found + [o for a in call.args[1:] for o in self.walk.of(function, rank, places[a], frame)]
                operands = [places[a] for a in call.args]
                if not call.args and receiver is None:
                    operands = [places[v] for _, v in call.keywords]
                item = want if len(operands) == 1 and receiver is None else None
                inputs = operands if receiver is None else [receiver, *operands]
                found = [o for p in inputs for o in self.walk.of(function, rank, p, frame, item)]
                return found or [Origin("literal", "", (self.project.step(function, rank, f"an empty {name}", name),))]
            case "hands":
                return self._handed(function, rank, call, int(role.attributes["function"]), frame, want)
            case _:
                return None

    def _guessed(self, function: FunctionNode, rank: int) -> int:
        """1 where a call has its role by the name of its method only."""
        return int(self.project.role(function, rank, MODEL) is None)

    def _before(self, function: FunctionNode, rank: int, receiver: Place | None, frame: Frame | None) -> list[Origin]:
        """Where the receiver of a method on an outside value comes from, if another function made it."""
        result = self.project.calls(function).get(rank)
        if receiver is None or result is None or not all("()" in p for p in result.externals):
            return []
        found = [o for o in self.walk.of(function, rank, receiver, frame) if o.kind in OUTSIDE_KINDS]
        return found if any(len(o.steps) > 1 for o in found) else []

    def _handed(
        self, function: FunctionNode, rank: int, call: Call, at: int, frame: Frame | None, want: Const | None
    ) -> list[Origin] | None:
        """What `to_thread(f, x)` and its kin give: what f gives for x."""
        result = self.project.calls(function).get(rank)
        found: list[Origin] = []
        for target in result.handed if result is not None else ():
            site = Site(function, rank, target.bound, at + 1)
            depth = frame.depth + 1 if frame is not None else 1
            if depth <= MAX_FRAMES:
                inside = Frame(site, target.function, frame, depth)
                gives = self.walk.returned(target.function, inside, want)
                note = f"{who(target.function)} gives it to {who(function)}"
                found += hop(self.project, gives, function, rank, note, target.function.name)
        if found or at >= len(call.args):
            return found or None
        given = function.body.places[call.args[at]]
        rest = [function.body.places[a] for a in call.args[at + 1 :]]
        for path in self.flows.outside(function, rank, given) or [f"any.{given.path[-1].value}" if given.path else ""]:
            role = self.flows.path_role(path)
            if role is None:
                continue
            if role.name == "source":
                found.append(self.source(function, rank, role, canonical(path)))
            elif role.name == "opens":
                base = given._replace(path=given.path[:-1]) if int(role.attributes["path"]) < 0 else next(iter(rest), None)
                found += [self.file(function, rank, base, frame, canonical(path))] if base is not None else []
            elif role.name in ("passes", "reads"):
                inputs = rest or [given._replace(path=given.path[:-1])]
                found += [o for p in inputs for o in self.walk.of(function, rank, p, frame)]
        return found or None

    def file(self, function: FunctionNode, op: int, path: Place, frame: Frame | None, opener: str = "") -> Origin:
        """The file at a path: its bytes, and where the path comes from."""
        named = tuple(joined(self.walk.of(function, op, path, frame)))
        text = text_of(path) or (named[0].what if len(named) == 1 else "")
        step = self.project.step(function, op, f"{who(function)} reads the file {text}".rstrip(), opener or "open")
        return Origin("file", text, (step,), 0, named)

    # --- records ---
    def source(self, function: FunctionNode, op: int, role: Role, path: str) -> Origin:
        step = self.project.step(function, op, f"{who(function)} takes {role.note} from {path}", path)
        return Origin(str(role.attributes["kind"]), f"{role.note} ({path})", (step,))

    def own(self, function: FunctionNode, op: int) -> Origin:
        call = function.body.ops[op]
        name = self.name(function, op, call) if isinstance(call, Call) else ""
        return Origin("own", name, (self.project.step(function, op, f"{who(function)} writes the bytes itself with {name}", name),))

    def name(self, function: FunctionNode, op: int, call: Call) -> str:
        result = self.project.calls(function).get(op)
        if result is not None and result.externals:
            return public(result.externals[0])
        callee = function.body.places[call.callee]
        return text_of(callee) or (str(callee.path[-1].value) if callee.path else "a call")

    def receiver(self, function: FunctionNode, call: Call) -> Place | None:
        """The value that a method is called on; None for functions of modules and for classes."""
        callee = function.body.places[call.callee]
        if not callee.path or callee.path[-1].kind is not Select.ATTR:
            return None
        base = callee._replace(path=callee.path[:-1])
        if base.root is Root.GLOBAL or base.root is Root.LOCAL:
            name = ".".join((str(base.name), *attributes(base)))
            if len(attributes(base)) == len(base.path):
                meaning = self.project.symbols.resolve(function.module, name, function)
                is_stub = isinstance(meaning, Variable) and meaning.module.is_stub
                is_outside = isinstance(meaning, External) and self.flows.path_role(meaning.path) is None
                if isinstance(meaning, Module | ClassNode) or is_stub or is_outside:
                    return None
        return base
