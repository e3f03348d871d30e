"""Ways: how tasks and threads come to a function, and on which object. Two ways that can be under way at once are what a
race needs.

A way is searched backwards along calls, with the object translated at each: `self.orders.submit()` in the engine runs on
the engine's `orders`. A start in a loop over objects runs each on another one; those do not race on what each of them owns.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, NamedTuple

from auditor.facts.model import NONE, Next, Root
from auditor.project.flow import writes
from auditor.project.graph import method_of
from auditor.project.guards import once
from auditor.project.references import Item, Ref, up
from auditor.project.starts import Start, Starts
from auditor.project.symbols import ClassNode, FunctionNode
from auditor.project.tasks import of_tests
from auditor.project.types import Instance

if TYPE_CHECKING:
    from auditor.project.accesses import Accesses
    from auditor.project.locks import Locks, Lockset
    from auditor.project.project import Project

MAX_STATES = 240  # (function, object) pairs that are looked at on the way to the starts
MAX_CLIMB = 4  # callers behind one another in which a repetition is looked for

Hop = tuple[FunctionNode, int]  # operation `op` of a function calls the next one


class Same(enum.IntEnum):
    """Whether two ways come with the same object. Ordered: the greater is the surer."""

    NO = 0
    MAYBE = 1
    YES = 2


class Way(NamedTuple):
    """From a start along `hops` (outermost first) to a function. `ref` is the object of the function in the frame of the
    start's site, None where it is lost; `part` are attributes of it that lead to the function's object and that it has
    made itself. `locks` are held on the way."""

    start: Start
    hops: tuple[Hop, ...]
    ref: Ref | None
    locks: Lockset
    part: tuple[str, ...] = ()


class Together(NamedTuple):
    """Two ways that can be under way at once; the same one twice where its start makes several."""

    first: Way
    second: Way
    same: Same
    many: bool  # one start makes several


class _State(NamedTuple):
    """A function on the way, its object, the class of its `self`, and the part of the object that is meant."""

    function: FunctionNode
    ref: Ref | None
    receiver: ClassNode | None
    part: tuple[str, ...] = ()


class Ways:
    """Ways of functions, each computed once."""

    def __init__(self, project: Project, locks: Locks, accesses: Accesses) -> None:
        self.project = project
        self.locks = locks
        self.accesses = accesses
        self.references = locks.references
        self.starts = Starts(project, locks)
        self._to: dict[tuple[FunctionNode, Ref | None], tuple[Way, ...]] = {}
        self._repeats: dict[Start, bool] = {}
        self._single: dict[ClassNode, bool] = {}
        self._given: dict[tuple[ClassNode, str], bool] = {}

    def own(self, function: FunctionNode) -> Ref | None:
        """The object of a method, or of the method that a function is nested in."""
        method = method_of(function)
        return None if method is None else Ref(method.key, method.self_name)

    def to(self, function: FunctionNode, ref: Ref | None) -> tuple[Way, ...]:
        """The ways to a function that runs on the object `ref` of its frame."""
        if ref is not None:
            ref = ref._replace(path=())
        key = (function, ref)
        if key not in self._to:
            self._to[key] = tuple(self._search(function, ref))
        return self._to[key]

    def _search(self, function: FunctionNode, ref: Ref | None) -> list[Way]:
        found: dict[Start, Way] = {}
        pending = [_State(function, ref, _owner(function))]
        trails: dict[_State, tuple[tuple[Hop, ...], Lockset]] = {pending[0]: ((), frozenset())}
        while pending:
            state = pending.pop(0)
            current, here, receiver, part = state
            hops, held = trails[state]
            for start in self.starts.of(current):
                if start not in found and _related(start.receiver, receiver):
                    outer, inner = self._owned(start.site, self._at_start(start, current, here), part)
                    found[start] = Way(start, hops, outer, held, inner)
            if len(trails) >= MAX_STATES:
                continue
            for caller, op in self.project.callers(current):
                if (caller, op) in self.starts.sources or of_tests(caller.path):
                    continue
                above = self._above(caller, op, current, receiver)
                if above is None:
                    continue
                outer = up(here, current, self.references.binding(caller, op, current)) if here is not None else None
                outer, inner = self._owned(caller, outer, part)
                following = _State(caller, outer, above[0], inner)
                if following not in trails:
                    trails[following] = (((caller, op), *hops), held | self.locks.at(caller, op))
                    pending.append(following)
        return sorted(found.values(), key=lambda w: (len(w.hops), w.start.order))

    def _owned(
        self, function: FunctionNode, ref: Ref | None, part: tuple[str, ...]
    ) -> tuple[Ref | None, tuple[str, ...]]:
        """An object that another one has made for itself is a part of that one."""
        while ref is not None and ref.path and not isinstance(ref.scope, str):
            scope = self.project.symbols.by_path[ref.scope[0]].functions[ref.scope[1]]
            last = ref.path[-1]
            if len(ref.path) != 1 or scope.self_name != ref.name or scope.cls is None or not isinstance(last, str):
                break
            if self.given(scope.cls, last):
                break
            ref, part = ref._replace(path=()), (last, *part)
        return ref, part

    def given(self, cls: ClassNode, name: str) -> bool:
        """Whether an attribute holds what somebody else has made, and may have as well."""
        key = (cls, name)
        if key not in self._given:
            self._given[key] = True
            stores = [a for a in self.accesses.to(self.accesses.state(cls, name)) if a.how.changes and not a.rest]
            self._given[key] = not stores or any(self._from_outside(a.function, a.value) for a in stores)
        return self._given[key]

    def _from_outside(self, function: FunctionNode, operand: int) -> bool:
        if operand == NONE:
            return True
        place = function.body.places[operand]
        if place.root is Root.CONST:
            return False
        makers = (
            self.references.writers(function, operand)
            if place.root in (Root.TEMP, Root.LOCAL) and not place.path
            else ()
        )
        for rank in makers:
            result = self.project.calls(function).get(rank)
            if result is None or not any(isinstance(a, Instance) and a.exact for a in result.type):
                return True
        return not makers

    def _at_start(self, start: Start, current: FunctionNode, here: Ref | None) -> Ref | None:
        if here is None or start.op == NONE or here.scope != current.key:
            return here
        if start.made != NONE:
            return up(here, current, self.references.binding(start.site, start.made, current))
        if here.name == current.self_name and start.ref is not None:
            return start.ref.then(*here.path)
        return None

    def _above(
        self, caller: FunctionNode, op: int, current: FunctionNode, receiver: ClassNode | None
    ) -> tuple[ClassNode | None] | None:
        """The class of the caller's `self`, None if this call enters the function with another class."""
        result = self.project.calls(caller)[op]
        targets = [t for t in result.targets if t.function is current]
        if not any(_related(t.receiver, receiver) for t in targets):
            return None
        method = method_of(caller)
        place = caller.body.places[caller.body.ops[op].callee]  # type: ignore[union-attr]  # a call
        own = method is not None and place.name == method.self_name and len(place.path) == 1
        if own and method is not None and method.cls is not None and receiver is not None:
            return (receiver,) if _related(method.cls, receiver) else None
        return (_owner(caller),) if result.how == "typed" else None  # one of several callees is no evidence

    # --- several at a time ---
    def many(self, way: Way) -> Same:
        """Whether the start of a way makes several tasks at a time that come with one object."""
        start = way.start
        if start.how == "main" or start.fresh and way.ref is None:
            return Same.NO
        if start.how == "route":
            return Same.YES if self._lasting(way) else Same.MAYBE
        if start.how == "registered":
            return Same.MAYBE
        if start.many:
            return self._varies(start.site, start.made if start.made != NONE else start.op, way.ref)
        if start.op != NONE and not start.slot and self._repeated(start):
            return Same.MAYBE if way.ref is None or self._local(start.site, way.ref) else Same.YES
        return Same.NO

    def _lasting(self, way: Way) -> bool:
        """Whether an object lives longer than one request."""
        return way.ref is not None and (isinstance(way.ref.scope, str) or not self._local(way.start.site, way.ref))

    def _varies(self, site: FunctionNode, op: int, ref: Ref | None) -> Same:
        """Whether the rounds of the loop around an operation come with one object."""
        if ref is None:
            return Same.MAYBE
        names = self._bound_in_loop(site, op)
        if ref.scope == site.key and ref.name in names:
            return Same.NO if not ref.path else Same.MAYBE
        if any(isinstance(s, Item) and isinstance(s.key, Ref) and s.key.name in names for s in ref.path):
            last = max(i for i, s in enumerate(ref.path) if isinstance(s, Item))
            return Same.NO if last == len(ref.path) - 1 else Same.MAYBE
        return Same.YES

    def varies(self, way: Way, function: FunctionNode, value: Ref) -> bool:
        """Whether a value of the function's frame is another one for each of the tasks that a start makes at a time: it is
        an item of what the start's loop goes through."""
        start, current = way.start, function
        here: Ref | None = value
        for caller, op in reversed(way.hops):
            here = up(here, current, self.references.binding(caller, op, current)) if here is not None else None
            current = caller
        if here is None or start.op == NONE:
            return False
        op = start.made if start.made != NONE else start.op
        if here.scope == current.key and start.made != NONE:
            here = up(here, current, self.references.binding(start.site, start.made, current))
        flow = self.project.flow(start.site)
        block = flow.block_of(op)
        endless = any(block in loop and _endless(start.site, loop) for loop in flow.natural_loops)
        return (
            here is not None
            and not endless
            and any(here.mentions(start.site.key, n) for n in self._bound_in_loop(start.site, op))
        )

    def _bound_in_loop(self, site: FunctionNode, op: int) -> frozenset[str]:
        """Local names that each round of the loops around an operation binds anew."""
        flow, body = self.project.flow(site), site.body
        block = flow.block_of(op)
        blocks = {b for loop in flow.natural_loops if block in loop for b in loop}
        names: set[str] = set()
        for rank in (r for b in blocks for r in range(body.blocks[b].start, body.blocks[b].end)):
            for written in writes(body.ops[rank]):
                place = body.places[written]
                if not place.path and place.root is Root.LOCAL:
                    names.add(str(place.name))
        return frozenset(names)

    def _local(self, site: FunctionNode, ref: Ref) -> bool:
        """Whether an object is that of one run of a function: no parameter, no attribute."""
        if ref.scope != site.key or ref.name == site.self_name:
            return False
        return not any(p.name == ref.name for p in site.header.params)

    def _repeated(self, start: Start) -> bool:
        """Whether the function that starts a task is run again and again, without waiting for the task."""
        if start not in self._repeats:
            self._repeats[start] = False
            guarded = once(self.project, start.site, start.op)
            self._repeats[start] = not guarded and self._again(start.site, MAX_CLIMB, set())
        return self._repeats[start]

    def _again(self, function: FunctionNode, climb: int, seen: set[FunctionNode]) -> bool:
        """Whether a call of the function stands in an endless loop, or in a function that is run again and again."""
        if function in seen or not climb:
            return False
        seen.add(function)
        for start in self.starts.of(function):
            if start.how == "route" or start.many:
                return True
        for caller, op in self.project.callers(function):
            if of_tests(caller.path):
                continue
            flow = self.project.flow(caller)
            block = flow.block_of(op)
            if any(block in loop and _endless(caller, loop) for loop in flow.natural_loops):
                return True
            if self._again(caller, climb - 1, seen):
                return True
        return False

    # --- two at once ---
    def together(
        self,
        one: FunctionNode,
        one_ref: Ref | None,
        other: FunctionNode,
        other_ref: Ref | None,
        at: Hop | None = None,
        other_at: Hop | None = None,
    ) -> Together | None:
        """The best evidence that both functions are under way at once with one object, the `ref` of each in its own
        frame; `at` and `other_at` say at which operations."""
        cls = _owner(one)
        single = cls is not None and self.single(cls)
        best: Together | None = None
        for first in self.to(one, one_ref):
            for second in self.to(other, other_ref):
                found = self._pair(first, second, cls, single, at or (one, NONE), other_at or (other, NONE))
                if found is not None and (best is None or found.same > best.same):
                    best = found
                    if best.same is Same.YES:
                        return best
        return best

    def apart(
        self, one: FunctionNode, one_ref: Ref | None, other: FunctionNode, other_ref: Ref | None
    ) -> Together | None:
        """As `together`, but in two threads: at least one of the ways comes in a thread of its own."""
        cls = _owner(one)
        single = cls is not None and self.single(cls)
        found = [
            pair
            for first in self.to(one, one_ref)
            for second in self.to(other, other_ref)
            if first.start.threaded or second.start.threaded
            if (pair := self._pair(first, second, cls, single, (one, NONE), (other, NONE))) is not None
        ]
        return max(found, key=lambda pair: pair.same, default=None)

    def _pair(
        self,
        first: Way,
        second: Way,
        cls: ClassNode | None,
        single: bool,
        at: Hop | None = None,
        other_at: Hop | None = None,
    ) -> Together | None:
        if any(lock.kind.excludes for lock in first.locks & second.locks):
            return None
        one, other = first.start, second.start
        if (one.target, one.site, one.op, one.made) == (other.target, other.site, other.op, other.made):
            same = self.many(first)
            same = Same.YES if same is Same.MAYBE and single and one.how != "registered" else same
            return None if same is Same.NO else Together(first, second, same, many=True)
        if one.slot and (one.slot, one.target) == (other.slot, other.target):
            return None  # the one task, started anew
        if one.how == other.how == "main" or self._ordered(_to(first, at), _to(second, other_at)):
            return None  # the main tasks of two programs, or one after the other
        same = self._same(first, second, cls, single)
        if Same.YES is same and "registered" in (one.how, other.how):
            same = Same.MAYBE
        return None if same is Same.NO else Together(first, second, same, many=False)

    def _ordered(self, first: Way, second: Way) -> bool:
        """Whether one way is over before the other begins: a function that comes to both waits for one of them before it
        goes on to the other."""
        theirs = self._chain(second)
        for site, mine in self._chain(first).items():
            if site in theirs:
                return all(
                    op != other
                    and op not in self._during(site, other, until)
                    and other not in self._during(site, op, end)
                    for op, end in mine
                    for other, until in theirs[site]
                )
        return False

    def _chain(self, way: Way) -> dict[FunctionNode, list[tuple[int, int]]]:
        """Functions that a way comes through, innermost first, also above its start as far as there is just one: the
        operations at which it may leave them, each with that by which it is over (NONE if nothing waits for it)."""
        chain: dict[FunctionNode, list[tuple[int, int]]] = {}
        for rank in range(len(way.hops) - 1, -1, -1):
            caller, op = way.hops[rank]
            following = way.hops[rank + 1][0] if rank + 1 < len(way.hops) else None
            same = [o for c, o in self.project.callers(following) if c is caller] if following is not None else []
            if op == NONE:
                continue
            chain.setdefault(caller, [(o, o) for o in same or [op]])
        site, op, end = way.start.site, way.start.op, way.start.end
        for _ in range(2 * MAX_CLIMB):
            if op == NONE or site in chain:
                break
            chain[site] = [(op, end)]
            callers = [
                (c, o)
                for c, o in self.project.callers(site)
                if (c, o) not in self.starts.sources and not of_tests(c.path)
            ]
            above = self.starts.of(site)
            if len(callers) == 1 and not above:
                site, op = callers[0]
                end = op if end != NONE else NONE
            elif len(above) == 1 and not callers:
                site, op, end = above[0].site, above[0].op, above[0].end if end != NONE else NONE
            else:
                break
        return chain

    def _during(self, site: FunctionNode, op: int, end: int) -> frozenset[int]:
        """Operations of a function that can run while what it has started at an operation is under way."""
        if end == op:
            return frozenset((op,))
        stops = frozenset((end,)) if end != NONE else frozenset[int]()
        ends = self.project.sharing.claims.after(site, op, stops)
        return ends - stops

    def _same(self, first: Way, second: Way, cls: ClassNode | None, single: bool) -> Same:
        one, other = first.ref, second.ref
        unknown = Same.YES if single else Same.MAYBE
        if self._itself(first, cls) or self._itself(second, cls):
            return Same.YES
        if first.part != second.part:
            return Same.NO if first.part and second.part else unknown
        if one is None or other is None:
            return unknown
        if one == other:
            return Same.YES
        if isinstance(one.scope, str) and isinstance(other.scope, str):
            return Same.NO
        mine, theirs = self._method(one), self._method(other)
        if mine is not None and theirs is not None and _related(mine.cls, theirs.cls):
            if one.path == other.path:
                return Same.YES
            return Same.NO if one.path and other.path else unknown
        return unknown

    def _itself(self, way: Way, cls: ClassNode | None) -> bool:
        """Whether a way is started by the object itself: such a task runs on every object of the class."""
        method = self._method(way.ref) if way.ref is not None and not way.ref.path and not way.part else None
        return method is not None and cls is not None and _related(method.cls, cls)

    def _method(self, ref: Ref) -> FunctionNode | None:
        """The method whose `self` a reference begins with."""
        if isinstance(ref.scope, str):
            return None
        function = self.project.symbols.by_path[ref.scope[0]].functions[ref.scope[1]]
        return function if function.self_name == ref.name and function.cls is not None else None

    def single(self, cls: ClassNode) -> bool:
        """Whether the project makes just one object of a class: one construction, by what runs once."""
        if cls not in self._single:
            self._single[cls] = False
            init = cls.methods.get("__init__")
            sites = [(c, o) for c, o in self.project.callers(init) if not of_tests(c.path)] if init is not None else []
            self._single[cls] = not cls.descendants() and len(sites) == 1 and self._once(*sites[0], MAX_CLIMB)
        return self._single[cls]

    def _once(self, function: FunctionNode, op: int, climb: int) -> bool:
        """Whether an operation runs once in a program: neither in a loop, nor in what is called again."""
        flow = self.project.flow(function)
        if not climb or flow.loops(flow.block_of(op)):
            return False
        if function.index == 0 or any(s.how == "main" for s in self.starts.of(function)):
            return True
        callers = [(c, o) for c, o in self.project.callers(function) if not of_tests(c.path)]
        return len(callers) == 1 and not self.starts.of(function) and self._once(*callers[0], climb - 1)


def _to(way: Way, at: Hop | None) -> Way:
    """A way that goes on to an operation of its function."""
    return way if at is None else way._replace(hops=(*way.hops, at))


def _owner(function: FunctionNode) -> ClassNode | None:
    method = method_of(function)
    return None if method is None else method.cls


def _related(one: ClassNode | None, other: ClassNode | None) -> bool:
    """Whether an object can be of both classes."""
    return one is None or other is None or one in other.mro or other in one.mro


def _endless(function: FunctionNode, loop: frozenset[int]) -> bool:
    """Whether a loop goes on as long as messages come: `while`, or an asynchronous `for`; not a `for` over what is there."""
    body = function.body
    heads = [body.ops[body.blocks[b].end - 1] for b in loop if body.blocks[b].end > body.blocks[b].start]
    walks = [op for op in heads if isinstance(op, Next)]
    return not walks or any(op.is_async for op in walks)


__all__ = ["Hop", "Same", "Together", "Way", "Ways"]
