"""
Row read or written at the wrong place

## What it finds
Rows that a loop takes by their number: a value of row i + 1 stored at row i, a mark written back to row i - 3 when row i confirms
it, a slice that ends behind i, and a position that counts other rows than those it is read from, as after `dropna`. It
is reported where the array that the loop fills reaches a signal, a feature or a returned frame.

## Why it matters
A pivot that is marked three bars before it is confirmed buys the low of each swing. No order can be placed three bars ago.

## Bad
The low is marked at its own row, although the next row confirms it.
```python
import numpy as np
from freqtrade.strategy import IStrategy
from pandas import DataFrame


class Pivots(IStrategy):
    def populate_indicators(self, dataframe: DataFrame, metadata: dict) -> DataFrame:
        low = dataframe["low"].to_numpy()
        pivot = np.zeros(len(low))
        for i in range(2, len(low)):
            if low[i - 1] < low[i - 2] and low[i - 1] < low[i]:
                pivot[i - 1] = 1
        dataframe["pivot"] = pivot
        return dataframe

    def populate_entry_trend(self, dataframe: DataFrame, metadata: dict) -> DataFrame:
        dataframe.loc[dataframe["pivot"] > 0, "enter_long"] = 1
        return dataframe
```

## Good
Write at the row that confirms, where the value becomes known.
```python
import numpy as np
from freqtrade.strategy import IStrategy
from pandas import DataFrame


class Pivots(IStrategy):
    def populate_indicators(self, dataframe: DataFrame, metadata: dict) -> DataFrame:
        low = dataframe["low"].to_numpy()
        pivot = np.zeros(len(low))
        for i in range(2, len(low)):
            if low[i - 1] < low[i - 2] and low[i - 1] < low[i]:
                pivot[i] = 1
        dataframe["pivot"] = pivot
        return dataframe

    def populate_entry_trend(self, dataframe: DataFrame, metadata: dict) -> DataFrame:
        dataframe.loc[dataframe["pivot"] > 0, "enter_long"] = 1
        return dataframe
```

## Limits
Positions that are no linear form of the step of a loop are unknown, and what is unknown is silent. A loop that fills labels,
simulates an exit or sums profits may read ahead. A row that is taken by position after rows were dropped is reported with
less confidence: whether any row was dropped is a matter of the data.
"""

from __future__ import annotations

from collections.abc import Iterator

from auditor.finding import Confidence, Finding, Severity
from auditor.project.project import Project
from auditor.rule import Rule

from ._findings import findings, grave


class FutureRowIndex(Rule):
    id = "future-row-index"
    severity = Severity.HIGH
    confidence = Confidence.LIKELY
    since = "0.1"
    fix = "Write at the row that confirms, and join by index"
    in_tests = True  # a strategy that stands among tests is still a strategy; test functions are left out here

    def check_project(self, project: Project) -> Iterator[Finding]:
        yield from findings(self, project, "Write at the row that confirms the value, and join by index instead of by position", grave)
