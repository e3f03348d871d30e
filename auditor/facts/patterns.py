"""The patterns of `match` -> tests, branches and bindings. Names are bound when the whole pattern has matched."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import libcst as cst

from auditor.facts.expressions import BRANCH, COMPARE, DELETE, OPAQUE, STORE, TABLE, UNPACK, Expressions
from auditor.facts.model import NONE, OPERATOR, Root, Select
from auditor.source.nodes import descend

Captures = list[tuple[cst.Name, int]]  # a name and the operand that it is bound to
# Classes whose only positional pattern is matched against the subject itself.
WHOLE = frozenset(
    {"bool", "bytearray", "bytes", "dict", "float", "frozenset", "int", "list", "set", "str", "tuple"}
)  # fmt: skip


class Patterns(Expressions):
    """Lowering of the cases of a `match`."""

    def case(self, case: cst.MatchCase, subject: int, failed: int) -> None:
        """Test the pattern, bind its names and test the guard; where one fails, go to `failed`."""
        captures: Captures = []
        self.pattern(case.pattern, subject, failed, captures)
        self._bind(captures)
        if case.guard is not None:
            passed = self.block()
            self.condition(case.guard, passed, failed)
            self.open(passed)

    def pattern(self, node: Any, subject: int, failed: int, captures: Captures) -> None:
        """Go on if `subject` matches, with the names that it binds appended to `captures`; else go to `failed`."""
        _PATTERNS[type(node)](self, node, subject, failed, captures)

    def _bind(self, captures: Captures) -> None:
        for name, source in captures:
            self.at(name)
            self.emit(STORE, self.name(name.value), source)

    def _test(self, node: cst.CSTNode, test: tuple[str, int, int], failed: int) -> None:
        word, left, right = test
        held, passed = self.temp(), self.block()
        self.at(node)
        self.emit(COMPARE, held, OPERATOR[word], left, right)
        self.emit(BRANCH, held, 0)
        self.fork(passed, failed)
        self.open(passed)

    def _match_as(self, node: cst.MatchAs, subject: int, failed: int, captures: Captures) -> None:
        if node.pattern is not None:
            self.pattern(node.pattern, subject, failed, captures)
        if node.name is not None:
            captures.append((node.name, subject))

    def _match_value(self, node: cst.MatchValue, subject: int, failed: int, captures: Captures) -> None:
        self._test(node, ("==", subject, self.value(node.value)), failed)

    def _match_singleton(self, node: cst.MatchSingleton, subject: int, failed: int, captures: Captures) -> None:
        self._test(node, ("is", subject, self.value(node.value)), failed)

    def _match_or(self, node: cst.MatchOr, subject: int, failed: int, captures: Captures) -> None:
        passed = self.block()
        held: dict[str, tuple[cst.Name, int]] = {}  # each alternative binds the same names
        for rank, option in enumerate(node.patterns):
            following = self.block() if rank + 1 < len(node.patterns) else failed
            mine: Captures = []
            self.pattern(option.pattern, subject, following, mine)
            for name, source in mine:
                if name.value not in held:
                    held[name.value] = (name, self.temp())
                self.at(name)
                self.emit(STORE, held[name.value][1], source)
            self.jump(passed)
            if following != failed:
                self.open(following)
        self.open(passed)
        captures.extend(held.values())

    def _match_class(self, node: cst.MatchClass, subject: int, failed: int, captures: Captures) -> None:
        cls = self.value(node.cls)
        self._test(node, ("isinstance", subject, cls), failed)
        place = self.places[cls]
        parts: list[int] = []
        if len(node.patterns) == 1 and place.root is Root.GLOBAL and not place.path and place.name in WHOLE:
            parts = [subject]
        elif node.patterns:  # which attributes they are, `__match_args__` of the class says
            parts = [self.temp() for _ in node.patterns]
            self.emit(OPAQUE, 2, subject, cls, *parts)
        for element, part in zip(node.patterns, parts, strict=True):
            self.pattern(element.value, part, failed, captures)
        for keyword in node.kwds:
            name = keyword.key.value
            self._test(keyword, ("hasattr", subject, self.const("str", name)), failed)
            self.pattern(keyword.pattern, self.extend(subject, Select.ATTR, name), failed, captures)

    def _match_mapping(self, node: cst.MatchMapping, subject: int, failed: int, captures: Captures) -> None:
        keys = [self.value(element.key) for element in node.elements]
        for element, key in zip(node.elements, keys, strict=True):
            self._test(element, ("keys", subject, key), failed)
        if not keys:
            self._test(node, ("keys", subject, NONE), failed)
        items = [self._item(subject, key) for key in keys]
        for element, item in zip(node.elements, items, strict=True):
            self.pattern(element.pattern, item, failed, captures)
        if node.rest is not None:
            rest = self.temp()
            self.at(node)
            self.emit(TABLE, rest, NONE, subject)
            for key in keys:
                self.emit(DELETE, self._item(rest, key))
            captures.append((node.rest, rest))

    def _item(self, base: int, key: int) -> int:
        place = self.places[key]
        return self.extend(base, Select.ITEM, place.name) if place.root is Root.CONST else self.extend(base, Select.KEY, key)

    def _match_sequence(self, node: Any, subject: int, failed: int, captures: Captures) -> None:
        patterns: Sequence[Any] = node.patterns
        stars = [rank for rank, part in enumerate(patterns) if isinstance(part, cst.MatchStar)]
        length = self.const("int", str(len(patterns) - len(stars)))
        self._test(node, ("len>=" if stars else "len==", subject, length), failed)
        parts = [self.temp() for _ in patterns]
        self.at(node)
        self.emit(UNPACK, subject, stars[0] if stars else NONE, *parts)
        for part, operand in zip(patterns, parts, strict=True):
            if not isinstance(part, cst.MatchStar):
                self.pattern(part.value, operand, failed, captures)
            elif part.name is not None:
                captures.append((part.name, operand))


def captured(node: cst.CSTNode) -> set[str]:
    """Names that a pattern binds."""
    return {
        name.value
        for part in descend(node)
        for name in (getattr(part, "name", None), getattr(part, "rest", None))
        if isinstance(name, cst.Name)
    }


_PATTERNS: dict[type, Callable[[Any, Any, int, int, Captures], None]] = {
    cst.MatchAs: Patterns._match_as, cst.MatchValue: Patterns._match_value, cst.MatchSingleton: Patterns._match_singleton,
    cst.MatchOr: Patterns._match_or, cst.MatchClass: Patterns._match_class, cst.MatchMapping: Patterns._match_mapping,
    cst.MatchList: Patterns._match_sequence, cst.MatchTuple: Patterns._match_sequence,
}  # fmt: skip
