"""Where a value comes from, all the way back: through locals, containers, attributes, returns and callers of any file.

`Origins.of` answers with every origin of a place, each with the steps from the source to where it was asked. What cannot be
followed is an origin of kind `unknown`; every bound ends in that, never in silence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from auditor.facts.model import (
    NONE,
    Await,
    Binary,
    Bool,
    Call,
    Choose,
    Closure,
    Collect,
    Compare,
    Const,
    Define,
    Enter,
    Format,
    Import,
    Iterate,
    Next,
    Place,
    Return,
    Root,
    Select,
    Store,
    Table,
    Unary,
    Unpack,
    Yield,
)
from auditor.finding import Step
from auditor.project.graph import method_of
from auditor.project.models import canonical
from auditor.project.project import Project
from auditor.project.symbols import ClassNode, External, FunctionNode, Module, Variable
from auditor.project.types import Unknown

from ._flows import ENTRY, FILLS, MODEL, Flows, Site, Stored, attributes
from ._origin import CONFIGURED, Frame, Origin, configured, hop, joined, plain, text_of, who
from ._results import Results

MAX_VISITS = 3000  # places looked at for one question
MAX_DEPTH = 60  # steps back
MAX_SITES = 40  # callers of one function
Checked = Callable[[FunctionNode, int, Place], Origin | None]


class Origins:
    """The walk. `checked` says of a place whether a check of its bytes stands before it."""

    def __init__(self, project: Project, flows: Flows) -> None:
        self.project = project
        self.flows = flows
        self.checked: Checked = lambda _function, _op, _place: None
        self.results = Results(flows, self)
        self._active: set[tuple[object, ...]] = set()
        self._visits = 0

    def of(self, function: FunctionNode, op: int, place: Place, frame: Frame | None = None, want: Const | None = None) -> list[Origin]:
        """All origins of a place as operation `op` reads it; with `want`, of its item under that key."""
        if not self._active:
            self._visits = 0
        key = (function, op, place, frame, want)
        if key in self._active:
            return []  # a loop adds nothing to what its other ways in give
        self._visits += 1
        if self._visits > MAX_VISITS or len(self._active) > MAX_DEPTH:
            return [Origin("unknown", "a value that is too far away to follow")]
        self._active.add(key)
        try:
            return joined(self._read(function, op, place, frame, want))
        finally:
            self._active.discard(key)

    # --- places ---
    def _read(self, function: FunctionNode, op: int, place: Place, frame: Frame | None, want: Const | None) -> list[Origin]:
        if place.root is Root.CONST:
            text = place.name.text if isinstance(place.name, Const) else ""
            return [Origin("literal", text, (self.project.step(function, op, "a literal", "literal"),))]
        meant = self._meant(function, op, place, want)
        if meant is not None:
            return meant
        if place.path:
            return self._selected(function, op, place, frame, want)
        if place.root is Root.CELL:
            return self._captured(function, place, want)
        if place.root is Root.TEMP:
            ranks = self.flows.written(function, place)
        elif place.root is Root.LOCAL:
            ranks = self.flows.reaching(function, op, place)
        else:
            return [Origin("literal", str(place.name))]  # a builtin
        found = [o for rank in ranks for o in self._defined(function, rank, place, frame, want)]
        return found + [o for rank in self.flows.filled(function, place) for o in self._put(function, rank, frame, want)]

    def _meant(self, function: FunctionNode, op: int, place: Place, want: Const | None) -> list[Origin] | None:
        """What a dotted name of the module means; None where the place is no such name."""
        if place.root not in (Root.GLOBAL, Root.LOCAL):
            return None
        symbols = self.project.symbols
        name = str(place.name)
        if place.root is Root.LOCAL and (function.index, name) not in function.module.bindings:
            return None
        meaning = symbols.resolve(function.module, name, function)
        if meaning is None and place.root is Root.GLOBAL and self.flows.binds(function.module, name):
            meaning = Variable(function.module, name)
        rest = list(attributes(place))
        while rest and isinstance(meaning, Module | External):
            inner = symbols.attribute(meaning, rest[0])
            if inner is None:
                break
            meaning = inner
            rest.pop(0)
        if isinstance(meaning, External):
            return self._outside(function, op, meaning.path)
        if isinstance(meaning, Variable) and meaning.module.is_stub:
            return self._outside(function, op, f"{meaning.module.name}.{meaning.name}")
        if isinstance(meaning, Variable):
            if rest or len(attributes(place)) < len(place.path):
                return None
            here = self.flows.reaching(function, op, place) if function.index == 0 and self.flows.written(function, place) else None
            return self._variable(meaning, here, want)
        if isinstance(meaning, ClassNode) and place.path:
            return None
        return None if meaning is None else [Origin("literal", name)]

    def _outside(self, function: FunctionNode, op: int, path: str) -> list[Origin]:
        role = self.flows.path_role(path)
        if role is not None and role.name == "source":
            return [self.results.source(function, op, role, canonical(path))]
        named = any(CONFIGURED.search(part) for part in path.split("."))
        if named:
            step = self.project.step(function, op, f"{path}, configuration by its name", path)
            return [Origin("configuration", f"the configuration ({path})", (step,), 1)]
        return [Origin("unknown", path, (self.project.step(function, op, f"{path} of another library", path),))]

    def _variable(self, variable: Variable, here: list[int] | None, want: Const | None) -> list[Origin]:
        """All that is stored to a name of a module; `here` are the stores that reach a use in the module's own body."""
        place = Place(Root.GLOBAL, variable.name)
        found: list[Origin] = []
        for function in variable.module.functions:
            for rank in here if here is not None and function.index == 0 else self.flows.written(function, place):
                found += self._defined(function, rank, place, None, want)
            for rank in self.flows.filled(function, place):
                found += self._put(function, rank, None, want)
        return found or [Origin("unknown", variable.name)]

    def _captured(self, function: FunctionNode, place: Place, want: Const | None) -> list[Origin]:
        owner = self.project.world.cell_owner(function, str(place.name))
        if owner is None:
            return [Origin("unknown", str(place.name))]
        own = Place(Root.LOCAL, place.name)
        found = [o for rank in self.flows.written(owner, own) for o in self._defined(owner, rank, own, None, want)]
        if any(p.name == place.name for p in owner.header.params):
            found += self._parameter(owner, str(place.name), None, want)
        return found + [o for rank in self.flows.filled(owner, own) for o in self._put(owner, rank, None, want)]

    def _selected(self, function: FunctionNode, op: int, place: Place, frame: Frame | None, want: Const | None) -> list[Origin]:
        """An attribute or an item of a value."""
        base = place._replace(path=place.path[:-1])
        kind, selected = place.path[-1]
        found: list[Origin] = []
        if kind is Select.ATTR:
            classes = self.flows.self_classes(function, base) or self.flows.classes_of(function, op, base)
            for cls in classes:
                found += self._member(cls, str(selected), want)
            if not classes:
                here = [rank for rank in self.flows.written(function, place) if rank < op]
                found = [o for rank in here for o in self._defined(function, rank, place, frame, want)]
                found = found or self.of(function, op, base, frame)
        else:
            found = self.of(function, op, base, frame, selected if isinstance(selected, Const) else None)
        text = text_of(place)
        step = self.project.step(function, op, f"{text}, which nothing in sight sets", text)
        return self.by_name(function, op, place, found) or [Origin("unknown", text, (step,))]

    def by_name(self, function: FunctionNode, op: int, place: Place, found: list[Origin]) -> list[Origin]:
        """What is not known of a part of a configuration is configuration, by the name of its holder or of its class."""
        if any(o.kind not in ("unknown", "parameter") for o in found):
            return found
        base = place._replace(path=place.path[:-1])
        if any(p.name == place.name and p.kind in ("vararg", "kwarg") for p in function.header.params):
            return found  # `*args` are arguments of the function, whatever they are called
        named = [c.name for c in self.flows.classes_of(function, op, base) if CONFIGURED.search(c.name)]
        word = configured(place) or next(iter(named), "")
        if not word:
            return found
        text = text_of(place)
        step = self.project.step(function, op, f"{text}, configuration by its name", word)
        return [Origin("configuration", f"the configuration ({text})", (step,), 1)]

    # --- attributes ---
    def _member(self, cls: ClassNode, name: str, want: Const | None = None) -> list[Origin]:
        """What an attribute of a class may hold: all stores in its line, declarations, arguments of a dataclass."""
        method = cls.method(name)
        if method is not None:
            return self.returned(method, None, want) if method.is_property else []
        found: list[Origin] = []
        for stored in self.flows.stores(name):
            owners = self.flows.self_classes(stored.function, stored.base) or self.flows.classes_of(stored.function, stored.op, stored.base)
            if any(owner in cls.mro or cls in owner.mro for owner in owners):
                found += self._kept(stored, name, want)
            elif not owners and self._is_open(stored):
                text = f"{text_of(stored.base)}.{name}"
                step = self.project.step(stored.function, stored.op, f"{who(stored.function)} may keep another value in {text}", name)
                found.append(Origin("unknown", text, (step,)))
        for ancestor in cls.mro:
            body = ancestor.module.functions[ancestor.header.body]
            place = Place(Root.LOCAL, name)
            for rank in self.flows.written(body, place):
                found += self._defined(body, rank, place, None, want)
        found += self._field(cls, name, want)
        if CONFIGURED.search(cls.name) and any(f.name == name for c in cls.mro for f in c.header.fields):
            line, column = cls.module.position(cls.header.span[0])
            step = Step(cls.module.path, line, column, f"{cls.name}.{name}, a field of the configuration", name)
            found.append(Origin("configuration", f"the configuration ({cls.name}.{name})", (step,)))
        return found

    def _is_open(self, stored: Stored) -> bool:
        """Whether a store goes to an object of which nothing is known: it may be any."""
        return any(isinstance(a, Unknown) for a in self.flows.type_of(stored.function, stored.op, stored.base))

    def _kept(self, stored: Stored, name: str, want: Const | None) -> list[Origin]:
        function, rank = stored.function, stored.op
        op = function.body.ops[rank]
        if stored.inside or isinstance(op, Call):
            origins = self._put(function, rank, None, want)
        else:
            origins = self._defined(function, rank, stored.place, None, want)
        place = f"{text_of(stored.base)}.{name}"
        return hop(self.project, origins, function, rank, f"{who(function)} keeps it in {place}", name)

    def _field(self, cls: ClassNode, name: str, want: Const | None) -> list[Origin]:
        fields = [f.name for c in reversed(cls.mro) for f in c.header.fields if f.annotation is not None]
        if name not in fields:
            return []
        found: list[Origin] = []
        for site in self.flows.constructions(cls)[:MAX_SITES]:
            place = self.flows.argument(site.function, site.op, name, fields.index(name))
            if place is not None:
                origins = self.of(site.function, site.op, place, None, want)
                note = f"{who(site.function)} gives it to {cls.name} as {name}"
                found += hop(self.project, origins, site.function, site.op, note, cls.name)
        return found

    # --- operations ---
    def _defined(
        self, function: FunctionNode, rank: int, place: Place, frame: Frame | None, want: Const | None
    ) -> list[Origin]:
        """The origins of what an operation writes to a place."""
        if rank == ENTRY:
            return self._parameter(function, str(place.name), frame, want)
        op = function.body.ops[rank]
        places = function.body.places

        def every(operands: Iterable[int], item: Const | None = None) -> list[Origin]:
            return [o for operand in operands if operand != NONE for o in self.of(function, rank, places[operand], frame, item)]

        match op:
            case Store(_, src) | Await(_, src):
                return every((src,), want)
            case Enter(_, src, is_async):
                name = "__aenter__" if is_async else "__enter__"
                entered = [m for c in self.flows.classes_of(function, rank, places[src]) if (m := c.method(name)) is not None]
                return [o for m in entered for o in self.returned(m, None, want)] or every((src,), want)
            case Iterate(_, src, _) | Next(_, src, _):
                return every((src,))
            case Binary(_, _, left, right, _) | Bool(_, _, left, right):
                return every((left, right), want)
            case Choose(_, _, then, other):
                return every((then, other), want)
            case Format(_, parts):
                return every(parts)
            case Collect(_, _, items, starred):
                if want is not None and want.text.isdigit() and int(want.text) < len(items) and not starred:
                    items = (items[int(want.text)],)
                return every(items) or [Origin("literal", "")]
            case Table(_, keys, values):
                if want is None:
                    return every(values) or [Origin("literal", "")]
                pairs = list(zip(keys, values, strict=True))
                chosen = every(v for k, v in pairs if k != NONE and (places[k].name == want or places[k].root is not Root.CONST))
                return chosen + every((v for k, v in pairs if k == NONE), want)
            case Unpack(src, _, targets):
                made = [function.body.ops[r] for r in self.flows.written(function, places[src])]
                if len(made) == 1 and isinstance(made[0], Collect) and len(made[0].items) == len(targets):
                    return every(made[0].items[i] for i, t in enumerate(targets) if places[t] == place)
                return every((src,))
            case Call():
                return self.results.of(function, rank, op, frame, want)
            case Import(_, path, member):
                return self._outside(function, rank, f"{path}.{member}" if member else path)
            case Unary() | Compare() | Closure() | Define():
                return [Origin("literal", "")]
            case _:
                return [Origin("unknown", str(place.name) if isinstance(place.name, str) else "")]

    def _put(self, function: FunctionNode, rank: int, frame: Frame | None, want: Const | None) -> list[Origin]:
        """What an operation puts into a container or a buffer; with `want`, only what may stand under that key."""
        op = function.body.ops[rank]
        places = function.body.places
        if isinstance(op, Store):
            last = places[op.dst].path[-1]
            other = want is not None and last.kind is Select.ITEM and last.value != want
            return [] if other else self.of(function, rank, places[op.src], frame)
        if not isinstance(op, Call):
            return [Origin("unknown", "an item that is not stored by itself")]
        callee = places[op.callee]
        if not callee.path or callee.path[-1].value not in FILLS:
            return [self.results.own(function, rank)]
        name = str(callee.path[-1].value)
        given = op.args[1:] if name in ("setdefault", "insert") else op.args
        under = places[op.args[0]].name if name == "setdefault" and op.args else None
        if want is not None and isinstance(under, Const) and under != want:
            return []
        item = want if name == "update" else None
        found = [o for a in given for o in self.of(function, rank, places[a], frame, item)]
        if name == "update":
            found += [o for k, v in op.keywords if want is None or k in ("", want.text) for o in self.of(function, rank, places[v], frame)]
        return found

    # --- calls ---
    def returned(self, function: FunctionNode, frame: Frame | None, want: Const | None) -> list[Origin]:
        """What a call of a function gives: its returns, or what it yields."""
        found: list[Origin] = []
        places = function.body.places
        for rank, op in enumerate(function.body.ops):
            gives = op.src if isinstance(op, Yield) or isinstance(op, Return) and not function.header.is_generator else NONE
            if gives == NONE or isinstance(places[gives].name, Const) and places[gives].name.kind == "none":  # type: ignore[union-attr]  # a constant
                continue
            checked = self.checked(function, rank, places[gives])
            is_right = checked is not None and checked.kind == "verified"
            found += [checked] if checked is not None and is_right else self.of(function, rank, places[gives], frame, want)
        return found

    def _parameter(self, function: FunctionNode, name: str, frame: Frame | None, want: Const | None) -> list[Origin]:
        """What is passed for a parameter: by the call through which it was entered, else by every caller."""
        owner = method_of(function)
        if owner is function and name == function.self_name:
            return []
        if frame is not None and frame.target is function:
            return self._passed(frame.site, function, name, frame.parent, want, False)
        model = self.project.models.model(MODEL)
        for decorator in function.header.decorators:
            entry = next((r for r in model.roles(f"app.{decorator.name}") + model.roles(decorator.name) if r.name == "entry"), None)
            if entry is not None:
                where = function.position()
                step = Step(function.path, *where, f"{entry.note} gives {who(function)} its {name}", name)
                return [Origin(str(entry.attributes["kind"]), entry.note, (step,))]
        if plain(self.project.world.parameter(function, name)):
            return [Origin("literal", "a number")]
        sites = self.flows.sites(function)
        found = [o for site in sites[:MAX_SITES] for o in self._passed(site, function, name, None, want, True)]
        if not found:
            step = Step(function.path, *function.position(), f"{who(function)} takes {name} from its caller", name)
            return [Origin("parameter", name, (step,), int(function.name.startswith("_") and not function.name.startswith("__")))]
        return found + ([Origin("unknown", f"more than {MAX_SITES} callers")] if len(sites) > MAX_SITES else [])

    def _passed(
        self, site: Site, target: FunctionNode, name: str, frame: Frame | None, want: Const | None, up: bool
    ) -> list[Origin]:
        kind = next((p.kind for p in target.header.params if p.name == name), "")
        if kind in ("vararg", "kwarg"):
            places = self.flows.collected(site, target, want)
            found = [o for p in places for o in self.of(site.function, site.op, p, frame)]
            note = f"{who(site.function)} passes it to {who(target)} as {name}"
            return hop(self.project, found, site.function, site.op, note, site.function.name or "module") if up else found
        place = self.flows.passed(site, target, name)
        if place == "default":
            default = next((p.default for p in target.header.params if p.name == name), None)
            return [Origin("literal", default.text)] if default is not None and default.kind != "none" else []
        if isinstance(place, str):
            step = self.project.step(site.function, site.op, f"{who(site.function)} passes {name} behind * or **", name)
            return [Origin("unknown", name, (step,))]
        checked = self.checked(site.function, site.op, place)
        if checked is not None and checked.kind == "verified":
            return [checked]
        origins = self.of(site.function, site.op, place, frame, want)
        if not up:
            return origins
        origins = origins if site.sure else [o._replace(doubts=o.doubts + 1) for o in origins]
        note = f"{who(site.function)} passes it to {who(target)} as {name}"
        return hop(self.project, origins, site.function, site.op, note, site.function.name or "module")
