"""Methods that are only declared: in a protocol, or by an abstract method. Their bodies say nothing of what runs.

A class implements a protocol without naming it: by having all of its methods.
"""

from __future__ import annotations

from auditor.project.symbols import ClassNode, FunctionNode, Symbols


def is_protocol(cls: ClassNode) -> bool:
    """Whether a class is a protocol itself."""
    return any(path.endswith("Protocol") for path in cls.externals)


def is_declared(function: FunctionNode) -> bool:
    """Whether a method only says what others implement."""
    header, cls = function.header, function.cls
    if not header.abstract or cls is None:
        return False
    return is_protocol(cls) or any(d.name.rpartition(".")[2].startswith("abstract") for d in header.decorators)


class Implementations:
    """The classes of the project that implement a protocol by their methods, and the methods behind a declared one."""

    def __init__(self, symbols: Symbols) -> None:
        self.symbols = symbols
        self._known: dict[ClassNode, tuple[ClassNode, ...]] = {}

    def of(self, protocol: ClassNode) -> tuple[ClassNode, ...]:
        """Classes with all methods that a protocol declares, in the order of their keys."""
        known = self._known.get(protocol)
        if known is None:
            names = {name for c in protocol.mro if is_protocol(c) for name in c.methods}
            known = self._known[protocol] = tuple(
                c
                for c in self.symbols.classes()
                if names and not is_protocol(c) and all(c.method(n) is not None for n in names)
            )
        return known

    def methods(self, function: FunctionNode) -> list[tuple[FunctionNode, ClassNode]]:
        """What may run for a declared method, each with the class of its `self`."""
        if function.cls is None or not is_declared(function):
            return []
        classes = self.of(function.cls) if is_protocol(function.cls) else tuple(function.cls.descendants())
        found = {c: c.method(function.name) for c in classes}
        return [(method, c) for c, method in found.items() if method is not None and not is_declared(method)]
