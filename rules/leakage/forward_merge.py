"""
Bar of a longer timeframe before it has closed

## What it finds
A value of a longer timeframe that stands on rows of the base timeframe which come before the end of its bar, where it
reaches a signal, a feature or a returned frame: `resample(...)` with its default left label joined back by `reindex`, `merge`,
`merge_asof`, `map` or `concat`, and as-of merges that look forward or to the nearest row.

## Why it matters
The hourly bar stamped 10:00 closes at 11:00. A row of 10:05 that already holds its close knows the next 55 minutes.

## Bad
The close of the running hour is spread over the rows of that hour.
```python
from freqtrade.strategy import IStrategy
from pandas import DataFrame


class Hourly(IStrategy):
    def populate_indicators(self, dataframe: DataFrame, metadata: dict) -> DataFrame:
        rows = dataframe.set_index("date")
        hourly = rows["close"].resample("1h").last()
        dataframe["hour_close"] = hourly.reindex(rows.index, method="ffill").to_numpy()
        return dataframe

    def populate_entry_trend(self, dataframe: DataFrame, metadata: dict) -> DataFrame:
        dataframe.loc[dataframe["close"] > dataframe["hour_close"], "enter_long"] = 1
        return dataframe
```

## Good
Lag by one bar of the longer timeframe, or label each bar by its end.
```python
from freqtrade.strategy import IStrategy
from pandas import DataFrame


class Hourly(IStrategy):
    def populate_indicators(self, dataframe: DataFrame, metadata: dict) -> DataFrame:
        rows = dataframe.set_index("date")
        hourly = rows["close"].resample("1h", label="right").last()
        dataframe["hour_close"] = hourly.reindex(rows.index, method="ffill").to_numpy()
        return dataframe

    def populate_entry_trend(self, dataframe: DataFrame, metadata: dict) -> DataFrame:
        dataframe.loc[dataframe["close"] > dataframe["hour_close"], "enter_long"] = 1
        return dataframe
```

## Limits
Whether a time stamp is that of the open or of the close of a bar is not written in the code: bars that were loaded and not
resampled are silent in a backward merge. Silent after a shift by one bar of the longer timeframe, after the stamps were moved, for
the first value of a bucket, and for `merge_informative_pair` and `@informative` of freqtrade, which lag by themselves.
"""

from __future__ import annotations

from collections.abc import Iterator

from auditor.finding import Confidence, Finding, Severity
from auditor.project.project import Project
from auditor.rule import Rule

from ._findings import findings, plain


class ForwardMerge(Rule):
    id = "forward-merge"
    severity = Severity.HIGH
    confidence = Confidence.LIKELY
    since = "0.1"
    fix = "Lag by one bar of the longer timeframe, or use label=right"
    in_tests = True  # a strategy that stands among tests is still a strategy; test functions are left out here

    def check_project(self, project: Project) -> Iterator[Finding]:
        yield from findings(self, project, "Lag by one bar of the longer timeframe, or label the bars by their end", plain(Severity.HIGH))
