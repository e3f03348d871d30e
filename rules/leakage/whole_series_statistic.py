"""
Statistic of the whole series in a feature

## What it finds
A number that is computed over all rows and compared with, or spread over, each of them, where the result reaches a signal, a
feature or a returned frame: mean, deviation, minimum, maximum, quantile, rank, `qcut`, `zscore`, `fit_transform`, a fit of
all rows, the last row (`iloc[-1]`, `tail`), and the aggregate of a day or of a run of equal rows on its own earlier rows. It is
followed through helpers, attributes and scalars.

## Why it matters
The highest price of the whole backtest is known to none of its bars. A feature that is scaled by it tells the model how
far the price will go.

## Bad
The range of the whole backtest scales each row of it.
```python
from freqtrade.strategy import IStrategy
from pandas import DataFrame


class Scaled(IStrategy):
    def populate_indicators(self, dataframe: DataFrame, metadata: dict) -> DataFrame:
        close = dataframe["close"]
        dataframe["place"] = (close - close.min()) / (close.max() - close.min())
        return dataframe

    def populate_entry_trend(self, dataframe: DataFrame, metadata: dict) -> DataFrame:
        dataframe.loc[dataframe["place"] < 0.2, "enter_long"] = 1
        return dataframe
```

## Good
Use a trailing or an expanding window, or fit on the rows before those that are traded.
```python
from freqtrade.strategy import IStrategy
from pandas import DataFrame


class Scaled(IStrategy):
    def populate_indicators(self, dataframe: DataFrame, metadata: dict) -> DataFrame:
        close = dataframe["close"]
        low = close.rolling(200).min()
        dataframe["place"] = (close - low) / (close.rolling(200).max() - low)
        return dataframe

    def populate_entry_trend(self, dataframe: DataFrame, metadata: dict) -> DataFrame:
        dataframe.loc[dataframe["place"] < 0.2, "enter_long"] = 1
        return dataframe
```

## Limits
Only columns and hooks that see the whole history are judged: the last row of a frame is the present in callbacks, in code that is
guarded by a live run mode, and in event-driven engines. Silent for statistics across columns, of one moment over many
instruments, of a trailing slice or window, of rows of unknown origin, for those that are only logged, and for a transformer that
is fitted for a model: whether that has seen its test rows is decided by the split. A frame of a helper is taken to be as long as
that of its caller.
"""

from __future__ import annotations

from collections.abc import Iterator

from auditor.finding import Confidence, Finding, Severity
from auditor.project.project import Project
from auditor.rule import Rule

from ._findings import findings, plain


class WholeSeriesStatistic(Rule):
    id = "whole-series-statistic"
    severity = Severity.HIGH
    confidence = Confidence.LIKELY
    since = "0.1"
    fix = "Use a rolling or expanding window"
    in_tests = True  # a strategy that stands among tests is still a strategy; test functions are left out here

    def check_project(self, project: Project) -> Iterator[Finding]:
        yield from findings(self, project, "Use a rolling or expanding window, or fit on the training rows only", plain(Severity.HIGH))
