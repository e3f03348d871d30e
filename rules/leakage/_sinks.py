"""Where a look-ahead becomes harm: signal columns, features of a model, and the frame that an indicator hook returns.

Labels, metrics, profit sums, plots and logs are no sinks: what holds the future and reaches only them is as it should
be.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from auditor.project.symbols import ClassNode, FunctionNode

from ._linear import ZERO, Linear
from ._state import Mark, State

SIGNAL = "signal"
FEATURE = "feature"
INDICATOR = "indicator"
PROFIT = "profit"

_SIGNALS = re.compile(
    r"(buy|sell|entry|exit|enter|enter_(long|short)|exit_(long|short)|buy_tag|sell_tag|enter_tag|exit_tag|signals?|positions?|"
    r"reference_price|spread_multiplier|"  # columns that the backtest of hummingbot's controllers reads row by row
    r"(long|short|buy|sell|entry|exit|trade|trading)_?(signals?|position|entry|exit)|signals?_[a-z0-9_*]+|[a-z0-9_*]+_signals?)\Z",
    re.IGNORECASE,
)
_OUTCOMES = re.compile(
    r"(ret|rets|returns?|pnl|profits?|perf|equity|gain|loss|future|fut|label|labels|target|targets|next|fwd|forward|outcome|true|actual|barrier)\Z",
    re.IGNORECASE,
)
POSITIONS = re.compile(
    r"(signals?|positions?|pos|side|direction|holding|exposure|weights?|(long|short|trade|trading)_?(signals?|positions?))\Z", re.IGNORECASE
)
_TOLD = re.compile(r"(date|time|timestamp|id|name|reason|index|count|candles?)\Z", re.IGNORECASE)  # what is told about a signal
LABELS = re.compile(r"(&|y\Z|label|target|future|fut_|fwd|forward|next_|barrier|outcome)", re.IGNORECASE)
DELAYED_LINES = re.compile(r"chikou|lagging", re.IGNORECASE)  # drawn shifted into the past by definition

LABEL_NAMES = re.compile(r"(y|ys|labels?|targets?)(_|\Z)")

INDICATOR_HOOKS = ("populate_indicators",)
ENTRY_HOOKS = ("populate_entry_trend", "populate_buy_trend")
EXIT_HOOKS = ("populate_exit_trend", "populate_sell_trend")
FEATURE_HOOKS = (
    "feature_engineering_expand_all", "feature_engineering_expand_basic", "feature_engineering_standard",
    "populate_any_indicators",
)  # fmt: skip
LABEL_HOOKS = ("set_freqai_targets",)
HOOKS = (*FEATURE_HOOKS, *INDICATOR_HOOKS, *ENTRY_HOOKS, *EXIT_HOOKS, *LABEL_HOOKS)
STRATEGIES = ("freqtrade.strategy.IStrategy", "freqtrade.strategy.interface.IStrategy")

SPLITTING = {  # function -> position of the features; the labels follow
    "train_test_split": 0,
    "cross_val_score": 1,
    "cross_validate": 1,
    "cross_val_predict": 1,
    "permutation_importance": 1,
}
FITTING = frozenset(
    {"fit", "partial_fit", "fit_transform", "fit_predict", "fit_resample", "predict", "predict_proba", "transform"}
)


class Sink(NamedTuple):
    """A state that reached a sink. `mark` is the place of the sink; `owner` the key of the function that holds it."""

    kind: str
    name: str
    state: State
    mark: Mark
    owner: tuple[str, int]


def column_sink(name: str) -> str:
    """The kind of sink that a column is by its name, "" for none."""
    if name.startswith("%"):
        return FEATURE
    words = [word for word in re.split(r"[^A-Za-z]+", name) if word]
    told = any(_OUTCOMES.match(word) or _TOLD.match(word) for word in words)
    if _SIGNALS.match(name) and not told:
        return SIGNAL
    return ""


def is_label(name: str) -> bool:
    """Whether a name says that the column is meant to hold the future."""
    return LABELS.match(name) is not None or bool(
        re.search(r"(_|-)(label|target|fwd|forward|future)\Z", name, re.IGNORECASE)
    )


def is_strategy(cls: ClassNode) -> bool:
    """Whether a class is a strategy whose hooks are run on frames in a fixed order."""
    if any(cls.derives_from(path) for path in STRATEGIES):
        return True
    return cls.method("populate_indicators") is not None and any(
        cls.method(name) for name in (*ENTRY_HOOKS, *EXIT_HOOKS)
    )


def in_label_function(function: FunctionNode | None) -> bool:
    """Whether a function builds labels: its returns are meant to look ahead."""
    while function is not None:
        name = function.name.lower()
        if name in LABEL_HOOKS or re.search(r"(^|_)(labels?|targets?)(_|\Z)", name):
            return True
        function = function.parent
    return False


def is_silent(function: FunctionNode | None) -> bool:
    """Whether nothing that a function stores decides a trade: tests, plots and reports."""
    while function is not None:
        if re.match(r"_?(test_|plot|draw|report|print|show|debug|export)", function.name.lower()):
            return True
        function = function.parent
    return False


def proven(reach: Linear | None) -> int:
    """The number of bars that a reach is proven to look ahead at least."""
    low = None if reach is None else (reach - ZERO).lower()
    return 0 if low is None else max(low, 0)
