"""Which functions are worth an interpretation: those that hold an operation of interest, and those that lead to them.

Interpreting is dear and most code holds no market data: a scan over names and constants picks the functions in which
something can go wrong, and the call graph by names adds their callers, in which it can become a signal.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from auditor.facts.model import COLLECTION, Body, Call, Collect, Const, Format, Place, Root, Select, Table
from auditor.project.symbols import ClassNode, FunctionNode, Module, Symbols

from ._sinks import FITTING, HOOKS, POSITIONS, column_sink, is_silent, is_strategy

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
NEAR = 2  # calls between a function that is given no rows, and what it does to some


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


FILLS = frozenset({"bfill", "backfill", "interpolate", "interp"})
STATISTICS = frozenset({
    "mean", "max", "min", "std", "median", "quantile", "var", "sum", "idxmax", "idxmin", "argmax", "argmin", "skew", "kurt",
    "nanmean", "nanstd", "nanmin", "nanmax", "nanmedian", "percentile", "nanpercentile", "ptp", "average", "amax", "amin",
    "nlargest", "nsmallest",
})  # fmt: skip
ORDERS = frozenset({
    "rank", "qcut", "cut", "duplicated", "value_counts", "fit_transform", "zscore", "minmax_scale", "scale", "polyfit", "rankdata",
    "groupby", "resample", "merge_asof", "iterrows", "itertuples", "factorize", "robust_scale", "nunique", "group_by_dynamic",
    "join_asof", "over", "convolve", "correlate", "argsort", "nonzero", "flatnonzero", "enumerate",
    "arange",
})  # fmt: skip
SUMS = frozenset({"cumsum", "cumprod", "cummax", "cummin", "accumulate"})
PLACES = frozenset({"iloc", "iat", "values", "to_numpy", "tail", "tolist", "codes"})


def looks_further(body: Body, library: frozenset[str]) -> bool:
    """Whether a function may use more of the rows than a row may know: fills, statistics, orders, buckets of time, rows by
    position, windows around a row, running sums, and what the library table says of others."""
    words = FILLS | ORDERS | SUMS | library
    for op in body.ops:
        if not isinstance(op, Call):
            continue
        place = body.places[op.callee]
        last = place.path[-1] if place.path else None
        word = last.value if last is not None and last.kind is Select.ATTR else place.name
        if word in words:
            return True
        if word in STATISTICS and last is not None and (len(op.args) < 2 or place.root is Root.GLOBAL):
            return True
        if any(name in ("center", "method", "direction") for name, _ in op.keywords):
            return True
    rows = [s.value for place in body.places for s in place.path if s.kind is Select.ATTR and s.value in PLACES]
    if "codes" in rows:
        return True
    return bool(rows) and any(s.kind is not Select.ATTR for place in body.places for s in place.path)


PROFITS = frozenset({"cumsum", "cumprod", "sum", "prod", "mean"})


def decides(body: Body, *, sums: bool) -> bool:
    """Whether a function writes a signal or feature column, hands rows to a model, or (where it `sums`) takes positions."""
    names: set[int] = set()
    for op in body.ops:
        if isinstance(op, Collect):
            names.update(op.items)
        elif isinstance(op, Table):
            names.update(op.keys)
        elif isinstance(op, Format):
            names.update(op.parts)
        elif isinstance(op, Call) and any(_sink_word(word) for word, _ in op.keywords):
            return True
    for rank, place in enumerate(body.places):
        if isinstance(place.name, Const):
            if rank in names and place.name.kind == "str" and _sink_word(place.name.text):
                return True
            continue
        if sums and place.root is Root.LOCAL and not place.path and POSITIONS.match(str(place.name)):
            return True
        for selector in place.path:
            if selector.kind is Select.ATTR:
                if selector.value in FITTING or (sums and POSITIONS.match(str(selector.value))):
                    return True
            elif isinstance(selector.value, Const) and selector.value.kind == "str" and _sink_word(selector.value.text):
                return True
            elif isinstance(selector.value, int) and selector.value >= 0:
                key = body.places[selector.value].name
                if isinstance(key, Const) and key.kind == "str" and _sink_word(key.text):
                    return True
    return False


@cache
def _sink_word(text: str) -> bool:
    return bool(POSITIONS.match(text) or column_sink(text) or column_sink(f"{text}*") or column_sink(f"*{text}"))


LEARNING = frozenset({
    "fit", "fit_transform", "partial_fit", "fit_resample", "train_test_split", "cross_val_score", "cross_validate", "split",
    "cross_val_predict",
})  # fmt: skip


def learns(body: Body) -> bool:
    """Whether a function fits, splits or validates."""
    for op in body.ops:
        if isinstance(op, Call) and (op.args or op.keywords):
            place = body.places[op.callee]
            word = place.path[-1].value if place.path else place.name
            if word in LEARNING and word != "split":
                return True
    return False


PACKAGES = frozenset({
    "pandas", "numpy", "polars", "talib", "pandas_ta", "ta", "technical", "scipy", "sklearn", "freqtrade", "qlib", "vectorbt",
    "backtrader", "statsmodels", "backtesting", "xgboost", "lightgbm", "catboost", "yfinance", "numba", "finta", "zipline",
})  # fmt: skip
EVIDENCE = frozenset({
    "shift", "rolling", "ewm", "expanding", "pct_change", "fillna", "ffill", "bfill", "cumsum", "cumprod", "cummax", "cummin",
    "to_numpy", "iloc", "dropna", "rank", "groupby", "resample", "loc", "iterrows", "itertuples", "set_index", "sort_values",
    "reset_index", "notna", "isna", "interpolate", "reindex", "DataFrame", "Series", "qcut", "merge_asof", "fit_transform",
    "predict", "quantile", "fit",
})  # fmt: skip


class Interest:
    """Functions to interpret on their own, strategies to run hook by hook, and all that is `relevant` to either. A
    function is worth a run of its own if it leads to an operation of interest and to a sink. A file that names no word of
    frames or of their packages is not looked at, a function without such a word holds neither."""

    def __init__(self, symbols: Symbols, special: frozenset[str]) -> None:
        seeds: list[FunctionNode] = []
        sinks: list[FunctionNode] = []
        learners: list[FunctionNode] = []
        reading: set[tuple[str, int]] = set()
        evident: set[tuple[str, int]] = set()
        every = [(module, module.program.words) for _, module in sorted(symbols.by_path.items())]
        self._files = [(module, words) for module, words in every if words & EVIDENCE or words & PACKAGES]
        self._defined: dict[str, int] = {}
        self._index: dict[str, list[FunctionNode]] = {}
        for module, _ in self._files:
            aliases = _aliases(module)
            signs = EVIDENCE | aliases
            for function in module.functions:
                if function.header.kind == "def":
                    self._defined[function.name] = self._defined.get(function.name, 0) + 1
                body = function.body
                own = _words(body)
                for word in own:
                    self._index.setdefault(word, []).append(function)
                if own & READERS:
                    reading.add(function.key)
                named = bool(own & signs)
                if not named and not aliases:
                    continue
                if shifts_back(body) or looks_further(body, special):
                    seeds.append(function)
                    named = True
                if decides(body, sums=bool(own & PROFITS)):
                    sinks.append(function)
                    named = True
                if named and function.header.kind == "def":
                    evident.add(_outermost(function).key)
                if learns(body):
                    learners.append(function)
        evident.update(function.key for function in (*seeds, *sinks))
        found = self._leading(seeds)
        both = found & self._leading(sinks)
        self.strategies: list[ClassNode] = [
            cls
            for cls in symbols.classes()
            if is_strategy(cls) and any(f.key in found for c in cls.mro for f in c.methods.values())
        ]
        led = self._leading(learners)
        self.learners = self._of(led)
        own_methods = {f.key for cls in self.strategies for c in cls.mro for f in c.methods.values()}
        self.relevant = self._leading(seeds, NEAR) | reading | own_methods
        self.functions = [f for f in self._of(both & evident) if not is_silent(f)]

    def _of(self, keys: set[tuple[str, int]]) -> list[FunctionNode]:
        """The functions of these keys that can run on their own, in order."""
        paths = {path for path, _ in keys}
        return [
            f for module, _ in self._files if module.path in paths for f in module.functions
            if f.key in keys and f.header.kind in ("def", "module")
        ]  # fmt: skip

    def _common(self, name: str) -> bool:
        """Whether so many functions bear a name that it leads nowhere."""
        return self._defined.get(name, 0) > COMMON

    def _leading(self, seeds: Iterable[FunctionNode], rounds: int = ROUNDS) -> set[tuple[str, int]]:
        found: set[tuple[str, int]] = set()
        edge = [_outermost(function) for function in seeds]
        for _ in range(rounds):
            new: list[FunctionNode] = []
            for function in edge:
                if function.key in found:
                    continue
                found.add(function.key)
                if function.header.kind != "def" or function.name in HOOKS:
                    continue
                names = [] if self._common(function.name) else [function.name]
                if function.name == "__init__" and function.cls is not None:
                    names = [function.cls.name]
                for name in names:
                    new.extend(_outermost(user) for user in self._index.get(name, ()))
            edge = new
        return found


def _aliases(module: Module) -> frozenset[str]:
    """Local names of the packages of market data, and of what is imported from them."""
    return frozenset(
        fact.local or fact.path.partition(".")[0]
        for fact in module.facts.imports
        if fact.path.partition(".")[0] in PACKAGES
    )


def _words(body: Body) -> set[str]:
    """The names that a function mentions."""
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
