"""Statements -> blocks and edges: branches, loops, handlers, managers, and the ways out through them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import libcst as cst

from auditor.facts.annotations import type_expr, written
from auditor.facts.builder import CODE
from auditor.facts.expressions import BINARY, BRANCH, DELETE, ITERATE, NEXT, OPERATOR_OF, STORE
from auditor.facts.model import END, NONE, Catch, Declare, Define, Edge, Enter, Exit, Import, Raise, Return, Root
from auditor.facts.patterns import Patterns, captured
from auditor.source.module import Scope, imported_name, target_names
from auditor.source.nodes import descend

if TYPE_CHECKING:
    from auditor.facts.lower import Lowering

ENTER, EXIT, DEFINE, DECLARE = CODE[Enter], CODE[Exit], CODE[Define], CODE[Declare]
IMPORT, CATCH, RAISE, RETURN = CODE[Import], CODE[Catch], CODE[Raise], CODE[Return]
CLONES = 2000  # nodes that copies of `finally` parts may add to a function; beyond, a part is shared by its ways in
HEAVY = (cst.Await, cst.Return, cst.With, cst.Break, cst.Continue, cst.Yield)


class _Frame:
    """What a jump must pass on its way out: a loop, a `with` or a `finally`.

    `exits` maps a kind of exit and the operand of its result to a block: of a loop, its targets for break and continue;
    of a `finally`, the entry of each exit that passes through it. `outer` is the region outside.
    """

    __slots__ = ("exits", "is_async", "kind", "manager", "outer", "position")

    def __init__(self, kind: str, outer: int) -> None:
        self.kind = kind
        self.outer = outer
        self.exits: dict[tuple[str, int], int] = {}
        self.manager = NONE
        self.is_async = 0
        self.position = (0, 0)


class Statements(Patterns):
    """Lowering of the statements of one function."""

    def __init__(self, lowering: Lowering, scope: Scope, origin: int) -> None:
        super().__init__(lowering, scope, origin)
        self.frames: list[_Frame] = []
        self.result = NONE  # where a return leaves its value while `finally` parts and managers run
        self.cloned = 0
        self.unbound: dict[int, int] = {}  # name of an exception -> how many handlers have unbound it

    def body(self, block: Any) -> None:
        """The statements of a suite."""
        for statement in block.body:
            self.statement(statement)

    def statement(self, node: Any) -> None:
        if type(node) is cst.SimpleStatementLine:
            for small in node.body:
                self.small(small)
            return
        method = _STATEMENTS.get(type(node))
        if method is not None:
            method(self, node)
        else:
            self.small(node)

    def small(self, node: Any) -> None:
        self.revive()
        method = _STATEMENTS.get(type(node))
        if method is None:
            self.value(node)
        else:
            method(self, node)

    # --- simple statements ---
    def _expr(self, node: cst.Expr) -> None:
        value = node.value
        if type(value) in (cst.SimpleString, cst.Ellipsis):
            return  # documentation
        operand = self.value(value)
        place = self.places[operand]
        if place.path or place.root not in (Root.TEMP, Root.CONST):
            self.at(node)
            self.hold(operand)  # reading it is what the statement does

    def _assign(self, node: cst.Assign) -> None:
        value = node.value
        first = node.targets[0].target
        if type(first) is cst.Tuple and type(value) is cst.Tuple and len(node.targets) == 1 and _is_pairwise(first, value):
            sources = [self._fixed(source) for source in self.values([e.value for e in value.elements])]
            for element, source in zip(first.elements, sources, strict=True):
                self.at(node)
                self.assign(element.value, source)
            return
        source = self.value(value)
        if len(node.targets) > 1:
            self.at(node)
            source = self._fixed(source)
        for target in node.targets:
            place = target.target
            if type(place) is cst.Name:
                self.at(node)
                self.emit(STORE, self.name(place.value), source)
                continue
            source = self.kept(source, value, place)
            self.at(node)
            position = self.position
            if type(place) in (cst.Tuple, cst.List, cst.StarredElement):
                self.assign(place, source)
                continue
            written = self.value(place)
            self.position = position
            self.emit(STORE, written, source)

    def _fixed(self, operand: int) -> int:
        """A value that no later store changes."""
        place = self.places[operand]
        return operand if place.root in (Root.TEMP, Root.CONST) and not place.path else self.hold(operand)

    def _annotated(self, node: cst.AnnAssign) -> None:
        source = NONE if node.value is None else self.value(node.value)
        target = self.value(node.target)
        self.at(node)
        self.emit(DECLARE, target, self.string(written(type_expr(node.annotation.annotation))))
        if source != NONE:
            self.emit(STORE, target, source)

    def _augmented(self, node: cst.AugAssign) -> None:
        target = self.value(node.target)
        left = self.kept(target, node.target, node.value)
        right = self.value(node.value)
        self.at(node)
        self.emit(BINARY, target, OPERATOR_OF[type(node.operator)], left, right, 1)

    def _delete(self, node: cst.Del) -> None:
        targets: list[Any] = [node.target]
        while targets:
            target = targets.pop()
            if isinstance(target, cst.Tuple | cst.List):
                targets.extend(e.value for e in reversed(target.elements))
                continue
            place = self.value(target)
            self.at(node)
            self.emit(DELETE, place)

    def _return(self, node: cst.Return) -> None:
        source = self.const("none") if node.value is None else self.value(node.value)
        self.at(node)
        if any(frame.kind != "loop" for frame in self.frames):
            if self.result == NONE:
                self.result = self.temp()
            self.emit(STORE, self.result, source)
            self.leave("return", self.result)
            return
        self.emit(RETURN, source)
        self.close(Edge.RETURN, END)

    def _raise(self, node: cst.Raise) -> None:
        exception = NONE if node.exc is None else self.value(node.exc)
        cause = NONE if node.cause is None else self.value(node.cause.item)
        self.at(node)
        self.emit(RAISE, exception, cause)
        self.close()

    def _assert(self, node: cst.Assert) -> None:
        passed, failed = self.block(), self.block()
        test = self.value(node.test)
        self.at(node)
        self.emit(BRANCH, test, 1)
        self.fork(passed, failed)
        self.open(failed)
        if node.msg is not None:
            self.value(node.msg)
        self.at(node)
        self.emit(RAISE, self.place(Root.GLOBAL, "AssertionError"), NONE)
        self.close()
        self.open(passed)

    def _break(self, node: Any) -> None:
        self.at(node)
        self.leave("break")

    def _continue(self, node: Any) -> None:
        self.at(node)
        self.leave("continue")

    def _nothing(self, node: Any) -> None:
        """pass, global, nonlocal, type alias: no operation."""

    def _import(self, node: Any) -> None:
        self.at(node)
        for alias in node.names:
            path = dotted(alias.name)
            bound = imported_name(alias)
            whole = alias.asname is not None
            self.emit(IMPORT, self.name(bound), self.string(path if whole else path.partition(".")[0]), self.string(""))

    def _import_from(self, node: Any) -> None:
        self.at(node)
        path = "." * len(node.relative) + (dotted(node.module) if node.module is not None else "")
        if isinstance(node.names, cst.ImportStar):
            self.emit(IMPORT, NONE, self.string(path), self.string("*"))
            return
        for alias in node.names:
            self.emit(IMPORT, self.name(imported_name(alias)), self.string(path), self.string(dotted(alias.name)))

    # --- definitions ---
    def _function(self, node: cst.FunctionDef) -> None:
        self.revive()
        decorators = [self.value(d.decorator) for d in node.decorators]
        created = self.closure(node, decorators)
        self.at(node)
        self.emit(STORE, self.name(node.name.value), created)

    def _class(self, node: cst.ClassDef) -> None:
        self.revive()
        decorators = [self.value(d.decorator) for d in node.decorators]
        bases = self.values([base.value for base in node.bases])
        for keyword in node.keywords:
            self.value(keyword.value)
        self.at(node)
        self.emit(DEFINE, self.name(node.name.value), self.child(node), len(bases), *bases, *decorators)

    # --- branches and loops ---
    def _if(self, node: cst.If) -> None:
        self.revive()
        done = self.block()
        current: Any = node
        while True:  # elif chains nest to the right
            yes, no = self.block(), self.block()
            self.condition(current.test, yes, no)
            self.open(yes)
            self.body(current.body)
            self.jump(done)
            self.open(no)
            tail = current.orelse
            if not isinstance(tail, cst.If):
                break
            current = tail
        if tail is not None:
            self.body(tail.body)
        self.jump(done)
        self.open(done)

    def _while(self, node: cst.While) -> None:
        self.revive()
        head, body, exhausted, done = self.block(), self.block(), self.block(), self.block()
        self.open(head)
        if isinstance(node.test, cst.Name | cst.Integer) and node.test.value in ("True", "1"):
            self.jump(body)
        else:
            self.condition(node.test, body, exhausted)
        self._loop_body(node, body, head, done)
        self.open(exhausted)
        if node.orelse is not None:
            self.body(node.orelse.body)
        self.jump(done)
        self.open(done)

    def _loop_body(self, node: Any, body: int, head: int, done: int) -> None:
        frame = _Frame("loop", self.region)
        frame.exits = {("break", 0): done, ("continue", 0): head}
        self.frames.append(frame)
        self.open(body)
        self.body(node.body)
        self.jump(head, Edge.LOOP)
        self.frames.pop()

    def _for(self, node: cst.For) -> None:
        self.revive()
        is_async = int(node.asynchronous is not None)
        source = self.value(node.iter)
        iterator, head, body, exhausted, done = self.temp(), self.block(), self.block(), self.block(), self.block()
        self.at(node.iter)
        self.emit(ITERATE, iterator, source, is_async)
        self.open(head)
        self.at(node.target)
        item = self.target_temp(node.target)
        self.emit(NEXT, item, iterator, is_async)
        self.fork(body, exhausted)
        if not isinstance(node.target, cst.Name):
            unpack = self.block()
            self.open(body)
            self.assign(node.target, item)
            self.jump(unpack)
            body = unpack
        self._loop_body(node, body, head, done)
        self.open(exhausted)
        if node.orelse is not None:
            self.body(node.orelse.body)
        self.jump(done)
        self.open(done)

    # --- ways out ---
    def leave(self, kind: str, result: int = 0) -> None:
        """Leave the current block by return, break or continue, through all that stands in between. `result` is where
        a return has left its value."""
        region = self.region
        key = (kind, result)
        for frame in reversed(self.frames):
            if frame.kind == "loop":
                if kind in ("break", "continue"):
                    self.region = region
                    self.close(Edge.LOOP if kind == "continue" else Edge.FALL, frame.exits[key])
                    return
                continue
            if frame.kind == "finally":
                entry = frame.exits.get(key)
                if entry is None:
                    entry = frame.exits[key] = self.block()
                self.close(Edge.FINALLY, entry)
                self.region = region
                return
            self.region = frame.outer
            outside = self.block()
            self.close(Edge.FALL, outside)
            self.open(outside)
            self.position = frame.position
            self.emit(EXIT, frame.manager, frame.is_async, 0)
            if frame.is_async:
                self.split()
        if kind == "return":
            self.emit(RETURN, result)
            self.close(Edge.RETURN, END)
        else:
            self.close()  # break outside of a loop: Python refuses it
        self.region = region

    def _with(self, node: cst.With) -> None:
        self.revive()
        self._items(node, 0)

    def _items(self, node: cst.With, rank: int) -> None:
        if rank == len(node.items):
            self.body(node.body)
            return
        item = node.items[rank]
        is_async = int(node.asynchronous is not None)
        manager = self.value(item.item)
        self.at(item.item)
        held = self.temp()
        self.emit(ENTER, held, manager, is_async)
        if is_async:
            self.split()
        frame = _Frame("with", self.region)
        frame.manager, frame.is_async, frame.position = manager, is_async, self.position
        cleanup, done = self.block(), self.block()
        self.region = self.guard(self.region, "with", (), cleanup)
        self.frames.append(frame)
        inside = self.block()
        self.open(inside)
        if item.asname is not None:
            self.at(item)
            self.assign(item.asname.name, held)
        self._items(node, rank + 1)
        self.frames.pop()
        self.region = frame.outer
        if self.current != NONE:
            leaving = self.block()
            self.open(leaving)
            self.position = frame.position
            self.emit(EXIT, manager, is_async, 0)
            self.close(Edge.FALL, done)
        self.region = self.guard(frame.outer, "except")
        self.open(cleanup)
        self.position = frame.position
        self.emit(EXIT, manager, is_async, 1)
        again = self.block()
        self.blocks[self.current][3].append((Edge.SWALLOW, done))
        self.close(Edge.FALL, again)
        self.open(again)
        self.emit(RAISE, NONE, NONE)
        self.close()
        self.region = frame.outer
        self.open(done)

    def _try(self, node: Any) -> None:
        self.revive()
        outer = self.region
        final: Any = node.finalbody
        frame = _Frame("finally", outer)
        if final is not None:
            frame.exits["raise", 0] = self.block()
            self.region = self.guard(outer, "try", (), frame.exits["raise", 0])
            self.frames.append(frame)
        around = self.region
        done, normal, handlers = self.block(), self.block(), [self.block() for _ in node.handlers]
        if handlers:
            self.region = self.guard(around, "try", handlers)
        self.open(self.block())
        self.body(node.body)
        self.region = around
        if node.orelse is not None:
            self.open(self.block())
            self.body(node.orelse.body)
        self.jump(normal)
        for handler, block in zip(node.handlers, handlers, strict=True):
            self.region = self.guard(around, "except")
            self.open(block)
            self._handler(handler)
            self.jump(normal)
        self.region = outer
        if final is None:
            self.open(normal)
            self.jump(done)
        else:
            self.frames.pop()
            self._final(final, frame, normal, done)
        self.open(done)

    def _handler(self, node: Any) -> None:
        kinds = [] if node.type is None else node.type.elements if isinstance(node.type, cst.Tuple) else [cst.Element(node.type)]
        if any(isinstance(kind, cst.StarredElement) for kind in kinds):
            kinds = [cst.Element(node.type)]
        classes = self.values([kind.value for kind in kinds])
        self.at(node)
        bound = NONE if node.name is None else self.name(node.name.name.value)
        self.emit(CATCH, bound, *classes)
        before = self.unbound.get(bound, 0)
        self.body(node.body)
        if NONE in (bound, self.current):
            return
        self.at(node)
        inner = self.unbound.get(bound, 0) != before
        if inner or any(node.name.name.value in target_names(d.target) for d in self.scope.nodes(cst.Del)):
            self.emit(STORE, bound, self.const("none"))  # Python binds it first, so that it may be deleted already
        self.unbound[bound] = before + 1
        self.emit(DELETE, bound)

    def _final(self, final: cst.Finally, frame: _Frame, normal: int, done: int) -> None:
        """The `finally` part: a copy for each kind of exit where it holds a way out or a suspension, else one."""
        entries = sorted(((entry, exit) for exit, entry in (*frame.exits.items(), (("fall", 0), normal))))
        outer, result = self.region, self.result
        self.result = NONE  # a return in here has its own value: it may yet be dropped by a jump
        nodes = descend(final)
        heavy = any(isinstance(n, HEAVY) or (isinstance(n, cst.Raise) and n.exc is None) for n in nodes)
        if heavy and self.cloned + len(nodes) * (len(entries) - 1) <= CLONES:
            self.cloned += len(nodes) * (len(entries) - 1)
            for entry, way in entries:
                if way[0] == "raise":
                    self.region = self.guard(outer, "except")
                self.open(entry)
                self.body(final.body)
                self._onward(final, way, done)
                self.region = outer
        else:
            shared, part, raised = self.block(), self.guard(outer, "finally"), self.guard(outer, "except")
            for entry, way in entries:
                self.region = raised if way[0] == "raise" else outer
                self.open(entry)
                self.close(Edge.FINALLY, shared)
            self.region = part
            self.open(shared)
            self.body(final.body)
            if self.current != NONE:
                onward = [self.block() for _ in entries]
                self.blocks[self.current][3].extend((Edge.FINALLY, block) for block in onward)
                self.close()
                for (_, way), block in zip(entries, onward, strict=True):
                    self.region = raised if way[0] == "raise" else outer
                    self.open(block)
                    self._onward(final, way, done)
        self.region, self.result = outer, result

    def _onward(self, final: cst.Finally, way: tuple[str, int], done: int) -> None:
        """Go on where an exit of this kind goes after the `finally`."""
        kind, result = way
        if self.current == NONE:
            return
        if kind == "fall":
            self.close(Edge.FALL, done)
        elif kind == "raise":
            self.at(final)
            self.emit(RAISE, NONE, NONE)
            self.close()
        else:
            self.leave(kind, result)

    # --- match ---
    def _match(self, node: cst.Match) -> None:
        self.revive()
        subject = self.value(node.subject)
        place = self.places[subject]
        if place.path or any(place.name in captured(case.pattern) for case in node.cases):
            self.at(node.subject)
            subject = self.hold(subject)
        done = self.block()
        for case in node.cases:
            following = self.block()
            self.case(case, subject, following)
            self.body(case.body)
            self.jump(done)
            self.open(following)
        self.jump(done)
        self.open(done)


def _is_pairwise(targets: cst.Tuple, values: cst.Tuple) -> bool:
    """Whether `a, b = x, y` pairs them one by one."""
    both = (*targets.elements, *values.elements)
    return len(targets.elements) == len(values.elements) and not any(isinstance(e, cst.StarredElement) for e in both)


def dotted(node: Any) -> str:
    """`a.b.c` of a chain of names; "" for anything else."""
    words: list[str] = []
    while type(node) is cst.Attribute:
        words.append(node.attr.value)
        node = node.value
    if type(node) is not cst.Name:
        return ""
    return node.value if not words else ".".join((node.value, *reversed(words)))


_STATEMENTS: dict[type, Callable[[Any, Any], None]] = {
    cst.Expr: Statements._expr, cst.Assign: Statements._assign, cst.AnnAssign: Statements._annotated,
    cst.AugAssign: Statements._augmented, cst.Del: Statements._delete, cst.Return: Statements._return,
    cst.Raise: Statements._raise, cst.Assert: Statements._assert, cst.Break: Statements._break,
    cst.Continue: Statements._continue, cst.Pass: Statements._nothing, cst.Global: Statements._nothing,
    cst.Nonlocal: Statements._nothing, cst.TypeAlias: Statements._nothing, cst.Import: Statements._import,
    cst.ImportFrom: Statements._import_from, cst.FunctionDef: Statements._function, cst.ClassDef: Statements._class,
    cst.If: Statements._if, cst.While: Statements._while, cst.For: Statements._for, cst.With: Statements._with,
    cst.Try: Statements._try, cst.TryStar: Statements._try, cst.Match: Statements._match,
}  # fmt: skip
if hasattr(cst, "LazyImport"):
    _STATEMENTS[cst.LazyImport] = Statements._import
    _STATEMENTS[cst.LazyImportFrom] = Statements._import_from
