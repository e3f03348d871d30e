"""Handlers that take everything."""

from __future__ import annotations

from collections.abc import Iterator

import libcst as cst

from seeding.site import Site
from seeding.source import Around, Injector, Source, contains, dotted

LEAVES = frozenset({"sys.exit", "os._exit", "os.abort", "exit", "quit"})


def _leaves(body: cst.CSTNode) -> bool:
    """Whether a handler raises or ends the process somewhere: then it may be right to take everything."""
    if contains(body, (cst.Raise,)):
        return True
    return any(isinstance(node, cst.Call) and dotted(node.func) in LEAVES for node in _all(body))


def _all(node: cst.CSTNode) -> Iterator[cst.CSTNode]:
    yield node
    for child in node.children:
        yield from _all(child)


def _last_handler(source: Source, node: cst.CSTNode, around: Around) -> tuple[cst.ExceptHandler, int, int] | None:
    """A handler with a class that ends its `try` and goes on; from `except` to the end of the class."""
    if not isinstance(node, cst.ExceptHandler) or node.type is None or not isinstance(around[-1], cst.Try):
        return None
    if node is not around[-1].handlers[-1] or dotted(node.type) == "BaseException" or _leaves(node.body):
        return None
    return node, source.span(node)[0], source.outer(node.type)[1]


def _bare(source: Source, node: cst.CSTNode, around: Around) -> Iterator[Site]:
    """A handler loses its class."""
    found = _last_handler(source, node, around)
    if found is not None and found[0].name is None:
        edit = source.edit(found[1], found[2], "except")
        yield Site("bare-except", "except X: -> except:", source.function(around), (edit,))


def _base(source: Source, node: cst.CSTNode, around: Around) -> Iterator[Site]:
    """A handler that names the exception takes every class of it."""
    found = _last_handler(source, node, around)
    if found is not None and found[0].name is not None:
        edit = source.edit(found[1], found[2], "except BaseException")
        yield Site("bare-except", "except X as e: -> except BaseException as e:", source.function(around), (edit,))


INJECTORS = (
    Injector("bare-except", "except X: -> except:", b"except", _bare),
    Injector("bare-except", "except X as e: -> except BaseException as e:", b"except", _base),
)
