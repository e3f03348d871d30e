"""
Indicator of a package that looks ahead

## What it finds
An indicator of a package whose value of a row needs later rows by its definition or by a default, where it reaches a signal,
a feature or a returned frame: the lagging span of Ichimoku helpers, the centred DPO of pandas-ta, zigzags and swing points,
and, with low severity, indicators of the `ta` package that fill their warm-up with a mean of the whole series. The
message names the package and the parameter that decides.

## Why it matters
The name of the indicator says nothing about it. The lagging span is the close of 26 bars later, drawn into the past for the
eye; a strategy that reads it reads the future.

## Bad
The lagging span is compared with the price at its own row.
```python
from technical.indicators import ichimoku
from freqtrade.strategy import IStrategy
from pandas import DataFrame


class Cloud(IStrategy):
    def populate_indicators(self, dataframe: DataFrame, metadata: dict) -> DataFrame:
        cloud = ichimoku(dataframe)
        dataframe["lagging"] = cloud["chikou_span"]
        return dataframe

    def populate_entry_trend(self, dataframe: DataFrame, metadata: dict) -> DataFrame:
        dataframe.loc[dataframe["lagging"] > dataframe["close"], "enter_long"] = 1
        return dataframe
```

## Good
Shift the line to the row where it is known, or switch the look-ahead off.
```python
from technical.indicators import ichimoku
from freqtrade.strategy import IStrategy
from pandas import DataFrame


class Cloud(IStrategy):
    def populate_indicators(self, dataframe: DataFrame, metadata: dict) -> DataFrame:
        cloud = ichimoku(dataframe)
        dataframe["lagging"] = cloud["chikou_span"].shift(26)
        return dataframe

    def populate_entry_trend(self, dataframe: DataFrame, metadata: dict) -> DataFrame:
        dataframe.loc[dataframe["lagging"] > dataframe["close"].shift(26), "enter_long"] = 1
        return dataframe
```

## Limits
Knows the packages of the model `leakage` and what a team adds to it; every other indicator is taken for one of the past. Versions
of a package may differ from the one that was measured. Indicators that are called by a computed name are taken for those of the
past too.
"""

from __future__ import annotations

from collections.abc import Iterator

from auditor.finding import Confidence, Finding, Severity
from auditor.project.project import Project
from auditor.rule import Rule

from ._findings import findings, plain


class LeakyIndicator(Rule):
    id = "leaky-indicator"
    severity = Severity.HIGH
    confidence = Confidence.LIKELY
    since = "0.1"
    fix = "Switch the look-ahead off, or shift by the reach"
    in_tests = True  # a strategy that stands among tests is still a strategy; test functions are left out here

    def check_project(self, project: Project) -> Iterator[Finding]:
        yield from findings(self, project, "Switch the look-ahead of the indicator off, or shift it by its reach", plain(Severity.HIGH))
