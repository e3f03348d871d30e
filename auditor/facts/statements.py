"""Statements -> blocks and edges: branches, loops, handlers, managers, and the ways out through them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import libcst as cst

from auditor.facts.annotations import type_expr, written
from auditor.facts.builder import CODE
from auditor.facts.expressions import (
    BINARY, BRANCH, COLLECT, COMPARE, ITERATE, NEXT, OPERATOR_OF, STORE, UNPACK, Expressions,
)  # fmt: skip
from auditor.facts.model import (
    COLLECTION, END, NONE, OPERATOR, Catch, Declare, Define, Delete, Edge, Enter, Exit, Import, Raise, Return, Root, Select,
)  # fmt: skip
from auditor.source.module import imported_name
from auditor.source.nodes import descend

DELETE, ENTER, EXIT, DEFINE, DECLARE = CODE[Delete], CODE[Enter], CODE[Exit], CODE[Define], CODE[Declare]
IMPORT, CATCH, RAISE, RETURN = CODE[Import], CODE[Catch], CODE[Raise], CODE[Return]
CLONE_DEPTH = 3  # a `finally` inside more of them is shared by its ways in, so that copies stay few


class _Frame:
    """What a jump must pass on its way out: a loop, a `with` or a `finally`.

    Of a loop, `exits` holds its targets for break and continue; of a `finally`, the entry block of each kind of exit
    that passes through it. `outer` is the region outside.
    """

    __slots__ = ("depth", "exits", "is_async", "kind", "manager", "outer", "position")

    def __init__(self, kind: str, outer: int, depth: int) -> None:
        self.kind = kind
        self.outer = outer
        self.depth = depth
        self.exits: dict[tuple[str, int], int] = {}
        self.manager = NONE
        self.is_async = 0
        self.position = (0, 0)


class Statements(Expressions):
    """Lowering of the statements of one function."""

    frames: list[_Frame]
    result: int

    def body(self, block: Any) -> None:
        """The statements of a suite."""
        for statement in block.body:
            self.statement(statement)

    def statement(self, node: Any) -> None:
        if isinstance(node, cst.SimpleStatementLine):
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
        if isinstance(value, cst.SimpleString | cst.Ellipsis):
            return  # documentation
        self.value(value)

    def _assign(self, node: cst.Assign) -> None:
        value = node.value
        first = node.targets[0].target
        if len(node.targets) == 1 and isinstance(first, cst.Tuple) and isinstance(value, cst.Tuple):
            if len(first.elements) == len(value.elements) and not any(
                isinstance(e, cst.StarredElement) for e in (*first.elements, *value.elements)
            ):
                sources = [self.hold(s) if self.places[s].root is not Root.TEMP else s for s in self.values([e.value for e in value.elements])]
                for element, source in zip(first.elements, sources, strict=True):
                    self.at(node)
                    self.assign(element.value, source)
                return
        source = self.value(value)
        for target in node.targets:
            if self.suspends(target) and self._readable(source):
                source = self.hold(source)
            self.at(node)
            position = self.position
            place = target.target
            if isinstance(place, cst.Tuple | cst.List | cst.StarredElement):
                self.assign(place, source)
                continue
            written = self.value(place)
            self.position = position
            self.emit(STORE, written, source)

    def _annotated(self, node: cst.AnnAssign) -> None:
        source = NONE if node.value is None else self.value(node.value)
        target = self.value(node.target)
        self.at(node)
        self.emit(DECLARE, target, self.string(written(type_expr(node.annotation.annotation))))
        if source != NONE:
            self.emit(STORE, target, source)

    def _augmented(self, node: cst.AugAssign) -> None:
        target = self.value(node.target)
        left = target
        if self.suspends(node.value):
            self.at(node.target)
            left = self.hold(target)
        right = self.value(node.value)
        self.at(node)
        self.emit(BINARY, target, OPERATOR_OF[type(node.operator)], left, right, 1)

    def _delete(self, node: cst.Del) -> None:
        targets = [e.value for e in node.target.elements] if isinstance(node.target, cst.Tuple | cst.List) else [node.target]
        for target in targets:
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
            self.leave("return")
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
        self.emit(DEFINE, self.name(node.name.value), len(self.children), len(bases), *bases, *decorators)
        self.children.append(id(node))

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

    def jump(self, target: int, kind: Edge = Edge.FALL) -> None:
        if self.current != NONE:
            self.close(kind, target)

    def _while(self, node: cst.While) -> None:
        self.revive()
        head, body, exhausted, done = self.block(), self.block(), self.block(), self.block()
        self.open(head)
        if isinstance(node.test, cst.Name) and node.test.value == "True" or isinstance(node.test, cst.Integer) and node.test.value == "1":
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
        frame = _Frame("loop", self.region, 0)
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
    def leave(self, kind: str) -> None:
        """Leave the current block by return, break or continue, through all that stands in between."""
        region = self.region
        for frame in reversed(self.frames):
            key = (kind, 0)
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
            self.emit(RETURN, self.result)
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
        if self.places[manager].root is not Root.TEMP and self.places[manager].path == ():
            pass  # a name: the region is of that name
        held = self.temp()
        self.emit(ENTER, held, manager, is_async)
        if is_async:
            self.split()
        frame = _Frame("with", self.region, 0)
        frame.manager, frame.is_async, frame.position = manager, is_async, self.position
        cleanup, done = self.block(), self.block()
        self.regions.append([self.region, "with", [], cleanup])
        self.region = len(self.regions) - 1
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
        self.open(cleanup)
        self.position = frame.position
        self.emit(EXIT, manager, is_async, 1)
        again = self.block()
        self.blocks[self.current][3].append((Edge.SWALLOW, done))
        self.close(Edge.FALL, again)
        self.open(again)
        self.emit(RAISE, NONE, NONE)
        self.close()
        self.open(done)

    def _try(self, node: Any) -> None:
        self.revive()
        outer = self.region
        final: Any = node.finalbody
        depth = sum(frame.kind == "finally" for frame in self.frames)
        frame = _Frame("finally", outer, depth)
        if final is not None:
            cleanup = self.block()
            self.regions.append([outer, "try", [], cleanup])
            self.region = len(self.regions) - 1
            frame.exits["raise", 0] = cleanup
            self.frames.append(frame)
        around = self.region
        done, handlers = self.block(), [self.block() for _ in node.handlers]
        if handlers:
            self.regions.append([around, "try", handlers, NONE])
            self.region = len(self.regions) - 1
        guarded = self.block()
        self.open(guarded)
        self.body(node.body)
        self.region = around
        if node.orelse is not None and self.current != NONE:
            unguarded = self.block()
            self.open(unguarded)
            self.body(node.orelse.body)
        normal = self.block()
        self.jump(normal)
        for handler, block in zip(node.handlers, handlers, strict=True):
            self.open(block)
            self._handler(handler)
            self.jump(normal)
        self.region = outer
        if final is None:
            self.open(normal)
            self.jump(done)
            self.open(done)
            return
        self.frames.pop()
        self._final(final, frame, normal, done)
        self.open(done)

    def _handler(self, node: Any) -> None:
        classes: list[int] = []
        if node.type is not None:
            kinds = [e.value for e in node.type.elements] if isinstance(node.type, cst.Tuple) else [node.type]
            classes = [self.value(kind) for kind in kinds]
        self.at(node)
        bound = NONE if node.name is None else self.name(node.name.name.value)
        self.emit(CATCH, bound, *classes)
        self.body(node.body)

    def _final(self, final: cst.Finally, frame: _Frame, normal: int, done: int) -> None:
        """The `finally` part: a copy for each kind of exit where it holds an await, a return or a `with`, else one."""
        entries = [(("fall", 0), normal), *sorted(frame.exits.items())]
        heavy = frame.depth < CLONE_DEPTH and any(
            isinstance(n, cst.Await | cst.Return | cst.With | cst.Break | cst.Continue | cst.Yield) for n in descend(final)
        )
        if heavy:
            for (kind, _), entry in entries:
                self.open(entry)
                self.body(final.body)
                self._onward(kind, done)
            return
        shared = self.block()
        for _, entry in entries:
            self.open(entry)
            self.close(Edge.FINALLY, shared)
        self.open(shared)
        self.body(final.body)
        if self.current == NONE:
            return
        onward = [(kind, self.block()) for (kind, _), _ in entries]
        last = self.blocks[self.current]
        for _, block in onward:
            last[3].append((Edge.FINALLY, block))
        self.close()
        for kind, block in onward:
            self.open(block)
            self._onward(kind, done)

    def _onward(self, kind: str, done: int) -> None:
        """Go on where an exit of this kind goes after the `finally`."""
        if self.current == NONE:
            return
        if kind == "fall":
            self.close(Edge.FALL, done)
        elif kind == "raise":
            self.emit(RAISE, NONE, NONE)
            self.close()
        else:
            self.leave(kind)

    # --- match ---
    def _match(self, node: cst.Match) -> None:
        self.revive()
        subject = self.value(node.subject)
        done = self.block()
        for case in node.cases:
            following = self.block()
            self.pattern(case.pattern, subject, following)
            if case.guard is not None:
                passed = self.block()
                self.condition(case.guard, passed, following)
                self.open(passed)
            self.body(case.body)
            self.jump(done)
            self.open(following)
        self.jump(done)
        self.open(done)

    def _test(self, node: cst.CSTNode, operator: str, left: int, right: int, failed: int) -> None:
        held, passed = self.temp(), self.block()
        self.at(node)
        self.emit(COMPARE, held, OPERATOR[operator], left, right)
        self.emit(BRANCH, held, 0)
        self.fork(passed, failed)
        self.open(passed)

    def _capture(self, node: cst.Name | None, source: int) -> None:
        if node is not None:
            self.at(node)
            self.emit(STORE, self.name(node.value), source)

    def pattern(self, node: Any, subject: int, failed: int) -> None:
        """Test `subject`, bind what the pattern captures, or go to `failed`."""
        if isinstance(node, cst.MatchAs):
            if node.pattern is not None:
                self.pattern(node.pattern, subject, failed)
            self._capture(node.name, subject)
        elif isinstance(node, cst.MatchValue):
            self._test(node, "==", subject, self.value(node.value), failed)
        elif isinstance(node, cst.MatchSingleton):
            self._test(node, "is", subject, self.value(node.value), failed)
        elif isinstance(node, cst.MatchOr):
            passed = self.block()
            for rank, option in enumerate(node.patterns):
                following = self.block() if rank + 1 < len(node.patterns) else failed
                self.pattern(option.pattern, subject, following)
                self.jump(passed)
                if following != failed:
                    self.open(following)
            self.open(passed)
        elif isinstance(node, cst.MatchClass):
            self._test(node, "isinstance", subject, self.value(node.cls), failed)
            for element in node.patterns:
                self.pattern(element.value, self.extend(subject, Select.KEY, NONE), failed)
            for keyword in node.kwds:
                self.pattern(keyword.pattern, self.extend(subject, Select.ATTR, keyword.key.value), failed)
        elif isinstance(node, cst.MatchMapping):
            for element in node.elements:
                key = self.value(element.key)
                self._test(element, "in", key, subject, failed)
                constant = self.places[key].root is Root.CONST
                item = self.extend(subject, Select.ITEM, self.places[key].name) if constant else self.extend(subject, Select.KEY, key)
                self.pattern(element.pattern, item, failed)
            self._capture(node.rest, subject)
        else:
            self._sequence(node, node.patterns, subject, failed)

    def _sequence(self, node: Any, patterns: Sequence[Any], subject: int, failed: int) -> None:
        stars = [rank for rank, part in enumerate(patterns) if isinstance(part, cst.MatchStar)]
        length = self.const("int", str(len(patterns) - len(stars)))
        self._test(node, "len>=" if stars else "len==", subject, length, failed)
        parts = [self.temp() for _ in patterns]
        self.at(node)
        self.emit(UNPACK, subject, stars[0] if stars else NONE, *parts)
        for part, operand in zip(patterns, parts, strict=True):
            if isinstance(part, cst.MatchStar):
                self._capture(part.name, operand)
            else:
                self.pattern(part.value, operand, failed)


def dotted(node: Any) -> str:
    """`a.b.c` of a chain of names; "" for anything else."""
    words: list[str] = []
    while isinstance(node, cst.Attribute):
        words.append(node.attr.value)
        node = node.value
    if not isinstance(node, cst.Name):
        return ""
    return ".".join((node.value, *reversed(words)))


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
