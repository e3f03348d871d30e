"""What protects, taken away: locks, awaits, bounds, time limits, closes, looks at the answer of a cancel.

Most of these belong to rules that come later; their sites are counted until then.
"""

from __future__ import annotations

from collections.abc import Iterator

import libcst as cst

from seeding.site import Site
from seeding.source import Around, Injector, Source, dotted


def _lock(source: Source, node: cst.CSTNode, around: Around) -> Iterator[Site]:
    """`with self._lock:` becomes `if True:`."""
    match node:
        case cst.With(items=[cst.WithItem(item=item, asname=None)]) if dotted(item).startswith("self."):
            pass
        case _:
            return
    if "lock" not in dotted(item).lower():
        return
    start, end = source.span(node)[0], source.span(item)[1]
    yield Site(
        "inconsistent-lock",
        "with self._lock: -> if True:",
        source.function(around),
        (source.edit(start, end, "if True"),),
    )


def _await(source: Source, node: cst.CSTNode, around: Around) -> Iterator[Site]:
    """`await self.f(x)` as a statement becomes `self.f(x)`, where `f` is a coroutine of the same class."""
    match node:
        case cst.Expr(
            value=cst.Await(expression=cst.Call(func=cst.Attribute(value=cst.Name(value="self"), attr=name)) as call)
        ):
            pass
        case _:
            return
    owner = next((outer for outer in reversed(around) if isinstance(outer, cst.ClassDef)), None)
    if owner is None or not any(_coroutine(statement, name.value) for statement in owner.body.body):
        return
    edit = source.edit(source.span(node.value)[0], source.span(call)[0], "")
    yield Site("unawaited-coroutine", "await self.f() -> self.f()", source.function(around), (edit,))


def _coroutine(statement: cst.CSTNode, name: str) -> bool:
    if not isinstance(statement, cst.FunctionDef) or statement.name.value != name or statement.decorators:
        return False
    return statement.asynchronous is not None


def _without_keyword(rule: str, keyword: str, names: tuple[str, ...]) -> Injector:
    """A call loses one of its keyword arguments."""
    label = f"{keyword}= is left out"

    def find(source: Source, node: cst.CSTNode, around: Around) -> Iterator[Site]:
        if not isinstance(node, cst.Call) or dotted(node.func).rpartition(".")[2] not in names:
            return
        for rank, arg in enumerate(node.args):
            if arg.keyword is None or arg.keyword.value != keyword:
                continue
            start, end = source.span(arg)
            if rank + 1 < len(node.args):
                end = source.span(node.args[rank + 1])[0]
            elif rank > 0:
                start = source.span(node.args[rank - 1].value)[1]
                start = source.outer(node.args[rank - 1].value)[1]
            yield Site(rule, label, source.function(around), (source.edit(start, end, ""),))

    return Injector(rule, label, f"{keyword}=".encode(), find)


def _close(source: Source, node: cst.CSTNode, around: Around) -> Iterator[Site]:
    """`x.close()` as a statement becomes `pass`."""
    match node:
        case cst.Expr(value=cst.Call(func=cst.Attribute(attr=cst.Name(value="close")), args=[])):
            pass
        case cst.Expr(value=cst.Await(expression=cst.Call(func=cst.Attribute(attr=cst.Name(value="close")), args=[]))):
            pass
        case _:
            return
    yield Site(
        "unclosed-resource", "x.close() -> pass", source.function(around), (source.edit(*source.span(node), "pass"),)
    )


def _cancel(source: Source, node: cst.CSTNode, around: Around) -> Iterator[Site]:
    """`if not await x.cancel(y): ...` loses its test: the cancel is made and its answer dropped."""
    match node:
        case cst.If(
            test=cst.UnaryOperation(operator=cst.Not(), expression=cst.Await(expression=cst.Call(func=func)) as call),
            orelse=None,
        ):
            pass
        case _:
            return
    if "cancel" not in dotted(func).rpartition(".")[2]:
        return
    start, end = source.span(node)
    yield Site(
        "unchecked-cancel-result",
        "the answer of a cancel is dropped",
        source.function(around),
        (source.edit(start, end, source.text(call)),),
    )


INJECTORS = (
    Injector("inconsistent-lock", "with self._lock: -> if True:", b"with self.", _lock),
    Injector("unawaited-coroutine", "await self.f() -> self.f()", b"await self.", _await),
    _without_keyword("unbounded-collection", "maxlen", ("deque",)),
    _without_keyword("unbounded-queue", "maxsize", ("Queue",)),
    _without_keyword(
        "no-network-timeout", "timeout", ("get", "post", "put", "delete", "request", "urlopen", "ClientSession")
    ),
    Injector("unclosed-resource", "x.close() -> pass", b".close()", _close),
    Injector("unchecked-cancel-result", "the answer of a cancel is dropped", b"cancel", _cancel),
)
