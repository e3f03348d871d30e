"""
Value that starts at the first loaded row

## What it finds
A running sum, product or extreme from the first loaded row on, or a ratio to that row, whose level reaches a signal or a feature:
`cumsum` and a VWAP made of two of them, `cumprod`, `cummax`, `x / x.iloc[0]`, and indicators of packages that are such
sums (OBV, AD). It is no look-ahead, and the message says so.

## Why it matters
Live trading loads another number of bars than the backtest. The same bar then has another value, and a threshold that was
tuned on the level means nothing.

## Bad
The VWAP of all loaded rows is another one for each number of loaded rows.
```python
from freqtrade.strategy import IStrategy
from pandas import DataFrame


class Volume(IStrategy):
    def populate_indicators(self, dataframe: DataFrame, metadata: dict) -> DataFrame:
        value = (dataframe["close"] * dataframe["volume"]).cumsum()
        dataframe["vwap"] = value / dataframe["volume"].cumsum()
        return dataframe

    def populate_entry_trend(self, dataframe: DataFrame, metadata: dict) -> DataFrame:
        dataframe.loc[dataframe["close"] > dataframe["vwap"], "enter_long"] = 1
        return dataframe
```

## Good
Anchor it to the day, use a trailing window, or take the difference of two rows.
```python
from freqtrade.strategy import IStrategy
from pandas import DataFrame


class Volume(IStrategy):
    def populate_indicators(self, dataframe: DataFrame, metadata: dict) -> DataFrame:
        value = (dataframe["close"] * dataframe["volume"]).rolling(288).sum()
        dataframe["vwap"] = value / dataframe["volume"].rolling(288).sum()
        return dataframe

    def populate_entry_trend(self, dataframe: DataFrame, metadata: dict) -> DataFrame:
        dataframe.loc[dataframe["close"] > dataframe["vwap"], "enter_long"] = 1
        return dataframe
```

## Limits
Silent where the level cancels: differences and comparisons of two sums, `diff`, ratios of two products, per-day sums, counters
of runs. Silent for expanding windows, which converge, and for what no signal or feature reads, such as equity curves. A running
extreme may be meant (a drawdown): it is reported as information.
"""

from __future__ import annotations

from collections.abc import Iterator

from auditor.finding import Confidence, Finding, Severity
from auditor.project.project import Project
from auditor.rule import Rule

from ._findings import findings, level


class UnanchoredCumulative(Rule):
    id = "unanchored-cumulative"
    severity = Severity.LOW
    confidence = Confidence.LIKELY
    since = "0.1"
    fix = "Anchor it per day, use a trailing window, or take a difference"
    in_tests = True  # a strategy that stands among tests is still a strategy; test functions are left out here

    def check_project(self, project: Project) -> Iterator[Finding]:
        yield from findings(self, project, "Anchor the sum per trading day, use a trailing window, or take a difference", level)
