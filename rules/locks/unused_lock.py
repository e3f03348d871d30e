"""
Lock that guards nothing

## What it finds
A lock that is made and never taken: no `with`, no `acquire()`, never handed on. Also a lock that cannot exclude anybody,
because the function that takes it has just made it.

## Why it matters
Somebody saw that this state is shared and meant to guard it. The lock is in the listing, so every reader believes in it;
balances and positions are changed by two tasks or threads all the same.

## Bad
```python
import threading


class Ledger:
    def __init__(self):
        self._ledger_lock = threading.Lock()
        self._balances = {}

    def book(self, currency, amount):
        with threading.Lock():
            self._balances[currency] = self._balances.get(currency, 0) + amount
```

## Good
Take the lock around every change of what it was meant to guard, always the same one; or remove it.

```python
import threading


class Ledger:
    def __init__(self):
        self._ledger_lock = threading.Lock()
        self._balances = {}

    def book(self, currency, amount):
        with self._ledger_lock:
            self._balances[currency] = self._balances.get(currency, 0) + amount
```

## Limits
Any reading of the attribute counts as use, by name where the object's class is not known; so does `getattr` with its name.
A lock in a class whose base is not in the sources is silent: the base may take it. Locks that are made as items of a
container or passed on at once are not followed.
"""

from __future__ import annotations

from collections.abc import Iterator

from auditor.facts.model import Call, Const, Delete, Enter, Exit, Select, Store
from auditor.facts.model import Root as Scope
from auditor.finding import Confidence, Finding, Fix, Severity, Step
from auditor.project.flow import reads, writes
from auditor.project.graph import last_name, method_of
from auditor.project.locks import Made
from auditor.project.project import Project
from auditor.project.symbols import ClassNode, FunctionNode
from auditor.project.tasks import Root
from auditor.project.types import Instance
from auditor.rule import Rule

from ._words import root_step

PLAIN = frozenset({
    "builtins.object", "abc.ABC", "typing.Generic", "typing.Protocol", "builtins.Exception", "typing.NamedTuple", "enum.Enum",
})  # fmt: skip
BY_NAME = frozenset({"getattr", "hasattr", "attrgetter", "setattr"})
TAKING = frozenset({"acquire", "release", "locked"})


class UnusedLock(Rule):
    id = "unused-lock"
    severity = Severity.LOW
    confidence = Confidence.CERTAIN
    since = "0.1"
    effort = "S"
    cwe = (820,)
    counterparts = {"ruff": {"PLW2101": "super"}}

    def check_project(self, project: Project) -> Iterator[Finding]:
        uses: _Uses | None = None
        for made in project.locks.made:
            if made.place < 0:
                yield from _fresh(project, made)
                continue
            uses = uses or _Uses(project)
            owner = _owner(made)
            if owner is not None:
                yield from _attribute(project, made, owner, uses)
            elif made.function.index == 0:
                yield from _variable(made, uses, project)
            else:
                yield from _local(project, made)


def _owner(made: Made) -> tuple[ClassNode, str] | None:
    """The class and the name of the attribute that a lock is stored as."""
    function = made.function
    place = function.body.places[made.place]
    if function.body_of is not None and not place.path:
        return function.body_of, str(place.name)
    method = method_of(function)
    if method is None or method.cls is None or place.name != method.self_name or len(place.path) != 1:
        return None
    return (method.cls, str(place.path[0].value)) if place.path[0].kind is Select.ATTR else None


class _Uses:
    """Attributes and names that something reads."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.own: dict[str, set[ClassNode]] = {}  # attributes that are read of `self`, with the class of the method
        self.attributes: dict[str, list[tuple[FunctionNode, int, int]]] = {}  # those of other objects
        self.names: set[tuple[str, str]] = set()
        self.texts: set[str] = set()
        wanted = {o[1] for m in project.locks.made if m.place >= 0 and (o := _owner(m)) is not None}
        imported: set[tuple[str, str]] = set()
        for function in project.functions():
            self._read(function, wanted)
        for module in project.symbols.modules.values():
            for fact in module.facts.imports:
                if fact.member:
                    imported.add((project.symbols.absolute(module, fact.path), fact.member))
        self.imported = imported

    def _read(self, function: FunctionNode, wanted: set[str]) -> None:
        places = function.body.places
        for op in function.body.ops:
            written = set(writes(op)) if isinstance(op, Store | Delete) else set()
            for operand in (*reads(op), *written):
                place = places[operand]
                if place.root is Scope.GLOBAL and operand not in written:
                    self.names.add((function.module.name, str(place.name)))
                for at, selected in enumerate(place.path):
                    last = operand in written and at == len(place.path) - 1
                    if selected.kind is Select.ATTR and not last:
                        if selected.value in wanted and at == 0 and (cls := _class_of_self(function, place.name)) is not None:
                            self.own.setdefault(str(selected.value), set()).add(cls)
                        elif selected.value in wanted:
                            self.attributes.setdefault(str(selected.value), []).append((function, operand, at))
                        self.names.add(("", str(selected.value)))
            if isinstance(op, Call) and last_name(function, op) in BY_NAME:
                texts = (places[a].name for a in op.args)
                self.texts.update(t.text for t in texts if isinstance(t, Const))

    def of_attribute(self, cls: ClassNode, name: str) -> bool:
        """Whether something may read the attribute of an instance of the class."""
        if name in self.texts:
            return True
        line = {*cls.mro, *cls.descendants()}
        own = self.own.get(name, set())
        if own and any(not own.isdisjoint((*c.mro, *c.descendants())) for c in line):
            return True
        return any(self._may_be(line, *found) for found in self.attributes.get(name, ()))

    def _may_be(self, line: set[ClassNode], function: FunctionNode, operand: int, at: int) -> bool:
        ref = self.project.locks.references.of(function, operand)
        if ref is None or len(ref.path) <= at:
            return True
        value = self.project.locks.references.type_of(function, ref._replace(path=ref.path[:at]))
        if not value or not all(isinstance(a, Instance) for a in value):
            return True
        owners = [a.cls for a in value if isinstance(a, Instance)]
        return any(isinstance(o, ClassNode) and (o in line or line & {*o.mro, *o.descendants()}) for o in owners)


def _class_of_self(function: FunctionNode, name: object) -> ClassNode | None:
    """The class of the method whose `self` a name is, None if it is none."""
    method = method_of(function)
    return method.cls if method is not None and name == method.self_name else None


def _attribute(project: Project, made: Made, owner: tuple[ClassNode, str], uses: _Uses) -> Iterator[Finding]:
    cls, name = owner
    if uses.of_attribute(cls, name) or _inherits(cls):
        return
    looked = [cls, *cls.mro[1:], *cls.descendants()]
    where = _names([c.name for c in looked])
    writes_ = _unguarded(project, cls)
    message = f"{cls.name}.{name} is never acquired: this {made.kind} guards nothing"
    steps = [
        project.step(made.function, made.op, f"the {made.kind} is made here", name),
        project.step(
            made.function, made.op, f"nothing takes it or reads it in {where}, nor through another object", cls.name
        ),
    ]
    severity = Severity.LOW
    if writes_ is not None:
        method, op, attribute, roots = writes_
        severity = Severity.MEDIUM
        message += f"; {method.name}() changes self.{attribute} in two tasks or threads at once"
        steps.append(project.step(method, op, f"{method.name}() changes self.{attribute} without a lock", attribute))
        steps.extend(root_step(project, root, f"{method.name}()") for root in roots)
    yield _finding(made, message, severity, _sure(name), steps, _mend(name))


def _inherits(cls: ClassNode) -> bool:
    """Whether a base outside of the sources may take the lock."""
    return any(c.open or any(path not in PLAIN for path in c.externals) for c in (*cls.mro, *cls.descendants()))


def _unguarded(project: Project, cls: ClassNode) -> tuple[FunctionNode, int, str, tuple[Root, ...]] | None:
    """A change of an attribute, without any lock, in a method that two tasks or threads run."""
    for name in sorted(cls.methods):
        method = cls.methods[name]
        if name in ("__init__", "__post_init__", "__new__", "__del__"):
            continue
        for rank, op in enumerate(method.body.ops):
            for operand in writes(op):
                place = method.body.places[operand]
                own = bool(place.path) and place.name == method.self_name and place.path[0].kind is Select.ATTR
                if own and not project.locks.at(method, rank):
                    roots = project.locks.tasks.twice(method)
                    if roots:
                        return method, rank, str(place.path[0].value), roots
                    break
    return None


def _variable(made: Made, uses: _Uses, project: Project) -> Iterator[Finding]:
    """A lock of a module."""
    function = made.function
    place = function.body.places[made.place]
    name, module = str(place.name), function.module
    if place.path or (module.name, name) in uses.names or ("", name) in uses.names or name in uses.texts:
        return
    exports = module.facts.exports or ()
    by_star = (m for m in project.symbols.modules.values() if module.name in m.stars)
    if name in exports or (module.name, name) in uses.imported or any((m.name, name) in uses.names for m in by_star):
        return
    steps = [
        project.step(function, made.op, f"the {made.kind} is made here", name),
        project.step(
            function, made.op, f"nothing takes it, reads it or imports it in {len(project.programs)} files", module.name
        ),
    ]
    message = f"{name} is never acquired: this {made.kind} guards nothing"
    yield _finding(made, message, Severity.LOW, _sure(name), steps, _mend(name))


def _sure(name: str) -> Confidence:
    """A public name may be used by code that is not in the sources."""
    return Confidence.CERTAIN if name.startswith("_") else Confidence.LIKELY


def _mend(name: str) -> str:
    return f"Remove {name}, or take it where it was meant"


def _local(project: Project, made: Made) -> Iterator[Finding]:
    """A lock of one call: nobody else can have it, unless it leaves the function."""
    function = made.function
    place = function.body.places[made.place]
    if place.root is not Scope.LOCAL or place.path or function.header.kind == "class" or _leaves(function, made):
        return
    taken = [
        a.op
        for a in project.locks.acquisitions(function)
        if a.ref is not None and a.ref.name == place.name and not a.ref.path
    ]
    yield _each_call(project, made, taken[0] if taken else None, str(place.name))


def _fresh(project: Project, made: Made) -> Iterator[Finding]:
    """`with Lock():` - a lock that has no name at all."""
    function = made.function
    call = function.body.ops[made.op]
    if made.many or not isinstance(call, Call):
        return
    used = [rank for rank, op in enumerate(function.body.ops) if call.dst in reads(op)]
    entered = [rank for rank in used if isinstance(function.body.ops[rank], Enter | Exit)]
    if used and len(entered) == len(used):
        yield _each_call(project, made, entered[0], "")


def _leaves(function: FunctionNode, made: Made) -> bool:
    """Whether a local lock is captured, passed, stored, returned or yielded."""
    body = function.body
    own = body.places[made.place]
    for op in body.ops:
        for operand in (*reads(op), *writes(op)):
            place = body.places[operand]
            if place.root is not own.root or place.name != own.name:
                continue
            method = len(place.path) == 1 and place.path[0].value in TAKING
            if (
                isinstance(op, Enter | Exit)
                and not place.path
                or isinstance(op, Call)
                and method
                and op.callee == operand
            ):
                continue
            if operand == made.place and operand in writes(op) and isinstance(op, Store):
                if any(isinstance(o, Store) and o.src == op.src and o.dst != operand for o in body.ops):
                    return True
                continue
            return True
    return any(
        place.name == own.name and place.root is Scope.CELL for child in _inner(function) for place in child.body.places
    )


def _inner(function: FunctionNode) -> Iterator[FunctionNode]:
    for child in function.children:
        yield child
        yield from _inner(child)


def _each_call(project: Project, made: Made, taken: int | None, name: str) -> Finding:
    function = made.function
    steps = [
        project.step(
            function, made.op, f"each call of {function.name}() makes a {made.kind} of its own", name or function.name
        )
    ]
    if taken is None:
        message = f"{name} is never acquired: this {made.kind} guards nothing"
        steps.append(
            project.step(function, made.op, f"{function.name}() neither takes it nor hands it on", function.name)
        )
    else:
        what = name or f"the {made.kind}"
        message = f"{what} excludes nobody: {function.name}() makes it anew in each call"
        steps.append(project.step(function, taken, "nobody else can hold it here, so nobody ever waits", function.name))
    return _finding(
        made,
        message,
        Severity.LOW,
        Confidence.CERTAIN,
        steps,
        "Make the lock once, where the state that it guards is made",
    )


def _names(names: list[str]) -> str:
    shown = names[:4] + ([f"{len(names) - 4} more"] if len(names) > 4 else [])
    return " and ".join([", ".join(shown[:-1]), shown[-1]]) if len(shown) > 1 else shown[0]


def _finding(
    made: Made, message: str, severity: Severity, confidence: Confidence, steps: list[Step], mend: str
) -> Finding:
    function = made.function
    line, column, end_line, end_column = function.at(made.op)
    return Finding(
        rule=UnusedLock.id, path=function.path, line=line, column=column, end_line=end_line, end_column=end_column,
        message=message, symbol=function.symbol, severity=severity, confidence=confidence, proof=tuple(steps),
        fix=Fix("display", mend),
    )  # fmt: skip
