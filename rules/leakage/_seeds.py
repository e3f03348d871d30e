"""Which functions are worth an interpretation: those that hold an operation of interest, and those that lead to them.

Interpreting is dear and most code holds no market data: a scan over names and constants picks the functions in which
something can go wrong, and the call graph by names adds their callers, in which it can become a signal.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache

from auditor.facts.model import COLLECTION, Body, Call, Collect, Const, Place, Root, Select
from auditor.project.symbols import ClassNode, FunctionNode, Symbols

from ._sinks import FITTING, HOOKS, column_sink, is_silent, is_strategy

SHIFTS = frozenset({"shift", "tshift", "diff", "pct_change", "roll"})
ARRAYS = frozenset({
    "values", "to_numpy", "iloc", "rolling", "ewm", "expanding", "cumsum", "concatenate", "r_", "shift", "diff",
    "pct_change", "fillna", "dropna", "cummax", "cummin", "cumprod",
})  # fmt: skip
READERS = frozenset(
    {"read_csv", "read_parquet", "read_feather", "read_hdf", "read_json", "read_sql", "read_pickle", "DataFrame"}
)
COMMON = 8  # a name that more functions bear than this leads nowhere
ROUNDS = 4


def negative(operand: int, places: tuple[Place, ...]) -> bool:
    """Whether an argument may be a negative number: anything but a constant that is not."""
    name = places[operand].name
    if not isinstance(name, Const):
        return True
    return name.kind == "int" and name.text.startswith("-")


def shifts_back(body: Body) -> bool:
    """Whether a function may move rows against time: negative shifts, reversed rows, slices that drop the first
    rows."""
    called = {op.callee for op in body.ops if isinstance(op, Call)}
    cut = {
        s.value for rank, place in enumerate(body.places) for s in place.path
        if s.kind is Select.ATTR and s.value in ARRAYS and not (s.value == "values" and rank in called)
    }  # fmt: skip
    for op in body.ops:
        if isinstance(op, Call):
            place = body.places[op.callee]
            last = place.path[-1] if place.path else None
            word = last.value if last is not None and last.kind is Select.ATTR else place.name
            if word in SHIFTS and any(
                negative(x, body.places) for x in (*op.args[word == "roll" :], *(v for _, v in op.keywords))
            ):
                return True
            if word == "roll":
                return True
            if word in ("flip", "flipud", "sort_values", "sort_index") and cut:
                return True
        elif isinstance(op, Collect) and op.kind == COLLECTION["slice"] and cut:
            lower, upper, step = (body.places[item].name for item in op.items)
            if step == Const("int", "-1"):
                return True
            far = not isinstance(upper, Const) or upper.kind == "none"
            if far and (not isinstance(lower, Const) or (lower.kind == "int" and lower.text[:1] not in "-0")):
                return True
    return False


def decides(body: Body) -> bool:
    """Whether a function names a signal or feature column, or hands rows to a model."""
    for place in body.places:
        name = place.name
        if isinstance(name, Const):
            if name.kind == "str" and _sink_word(name.text):
                return True
            continue
        for selector in place.path:
            if selector.kind is Select.ATTR and selector.value in FITTING:
                return True
            if isinstance(selector.value, Const) and selector.value.kind == "str" and _sink_word(selector.value.text):
                return True
    return any(_sink_word(word) for op in body.ops if isinstance(op, Call) for word, _ in op.keywords)


@cache
def _sink_word(text: str) -> bool:
    return bool(column_sink(text) or column_sink(f"{text}*") or column_sink(f"*{text}"))


class Interest:
    """Functions to interpret on their own, strategies to run hook by hook, and all that is `relevant` to either. A
    function is worth a run of its own if it leads to an operation of interest and to a sink."""

    def __init__(self, symbols: Symbols) -> None:
        mentions: dict[str, list[FunctionNode]] = {}
        defined: dict[str, int] = {}
        seeds: list[FunctionNode] = []
        sinks: list[FunctionNode] = []
        readers: dict[str, list[FunctionNode]] = {}
        functions = list(symbols.functions())
        for function in functions:
            if function.header.kind == "def":
                defined[function.name] = defined.get(function.name, 0) + 1
        for function in functions:
            body = function.body
            words = _words(body)
            for word in READERS & words:
                readers.setdefault(word, []).append(function)
            for word in words:
                if word in defined:
                    mentions.setdefault(word, []).append(function)
            if shifts_back(body):
                seeds.append(function)
            if decides(body):
                sinks.append(function)
        found = self._leading(seeds, mentions, defined)
        both = found & self._leading(sinks, mentions, defined)
        self.strategies: list[ClassNode] = [
            cls
            for cls in symbols.classes()
            if is_strategy(cls) and any(f.key in found for c in cls.mro for f in c.methods.values())
        ]
        self.relevant = found | {f.key for word in READERS for f in readers.get(word, ())}
        self.functions = [
            f for f in functions if f.key in both and f.header.kind in ("def", "module") and not is_silent(f)
        ]

    def _leading(
        self, seeds: Iterable[FunctionNode], mentions: Mapping[str, list[FunctionNode]], defined: Mapping[str, int]
    ) -> set[tuple[str, int]]:
        found: set[tuple[str, int]] = set()
        edge = [_outermost(function) for function in seeds]
        for _ in range(ROUNDS):
            new: list[FunctionNode] = []
            for function in edge:
                if function.key in found:
                    continue
                found.add(function.key)
                if function.header.kind != "def" or function.name in HOOKS:
                    continue
                names = [function.name] if defined.get(function.name, 0) <= COMMON else []
                if function.name == "__init__" and function.cls is not None:
                    names = [function.cls.name]
                for name in names:
                    new.extend(_outermost(user) for user in mentions.get(name, ()))
            edge = new
        return found


def _words(body: Body) -> set[str]:
    words: set[str] = set()
    for place in body.places:
        if place.root in (Root.GLOBAL, Root.CELL, Root.LOCAL):
            words.add(str(place.name))
        words.update(str(s.value) for s in place.path if s.kind is Select.ATTR)
    return words


def _outermost(function: FunctionNode) -> FunctionNode:
    """The def (or module body) that holds a lambda, a nested def or a class body."""
    while function.parent is not None and (
        function.header.kind in ("lambda", "class") or function.parent.header.kind in ("def", "lambda")
    ):
        function = function.parent
    return function
