"""
Hole filled with a later observation

## What it finds
A hole in a column that is filled from the rows behind it, where the column reaches a signal, a feature of a model, or the
frame that an indicator hook returns: `bfill`, `interpolate` (its default too: a line needs both ends), `reindex` to
the next or the nearest row, `np.interp`, and the interpolation of a longer timeframe between its bars. A fill that can
only touch the rows before the first value, as in `ffill().bfill()` or `rolling(20).mean().bfill()`, is reported as
such, with low severity.

## Why it matters
The filled row holds a price that was not known yet. In a backtest the signal moves towards it; live the row is empty.

## Bad
The gaps of the open interest are filled with what comes later.
```python
from freqtrade.strategy import IStrategy
from pandas import DataFrame


class Interest(IStrategy):
    def populate_indicators(self, dataframe: DataFrame, metadata: dict) -> DataFrame:
        dataframe["interest"] = dataframe["open_interest"].bfill()
        dataframe["rising"] = dataframe["interest"].diff(3)
        return dataframe

    def populate_entry_trend(self, dataframe: DataFrame, metadata: dict) -> DataFrame:
        dataframe.loc[dataframe["rising"] > 0, "enter_long"] = 1
        return dataframe
```

## Good
Carry the last known value forward, and leave the rows before the first one out.
```python
from freqtrade.strategy import IStrategy
from pandas import DataFrame


class Interest(IStrategy):
    def populate_indicators(self, dataframe: DataFrame, metadata: dict) -> DataFrame:
        dataframe["interest"] = dataframe["open_interest"].ffill()
        dataframe["rising"] = dataframe["interest"].diff(3)
        return dataframe

    def populate_entry_trend(self, dataframe: DataFrame, metadata: dict) -> DataFrame:
        dataframe.loc[dataframe["rising"] > 0, "enter_long"] = 1
        return dataframe
```

## Limits
Whether a column has holes at all is a matter of the data: a fill of a column without any does nothing. Silent for
fills whose method is computed, across columns (`axis=1`), in labels and reports, and where the rows run backward in time
and the fill runs with them. A lag behind the fill does not silence it, since nobody knows how long a hole is.
"""

from __future__ import annotations

from collections.abc import Iterator

from auditor.finding import Confidence, Finding, Severity
from auditor.project.project import Project
from auditor.rule import Rule

from ._findings import findings, plain


class BackwardFill(Rule):
    id = "backward-fill"
    severity = Severity.MEDIUM
    confidence = Confidence.LIKELY
    since = "0.1"
    fix = "Fill forward, and drop the rows before the first value"
    in_tests = True  # a strategy that stands among tests is still a strategy; test functions are left out here

    def check_project(self, project: Project) -> Iterator[Finding]:
        yield from findings(self, project, "Use ffill, and drop the rows before the first value", plain(Severity.MEDIUM))
