"""
Feature shifted in from the future

## What it finds
A value of later rows that reaches a signal, a feature of a model, or the frame that an indicator hook returns: by
`shift(-n)`, `diff(-n)`, `pct_change(-n)`, `np.roll(x, -n)`, by slices such as `values[1:]` laid beside the rows
again, or by windows over reversed rows. The reach is counted along the whole way, through helpers, attributes, other
files and unknown constants: what a later `shift` takes back is no finding, what it leaves is.

## Why it matters
A backtest that reads the next bar earns money that nobody can earn: live, that bar does not exist yet.

## Bad
The close of the next bar decides the entry of this one.
```python
from freqtrade.strategy import IStrategy
from pandas import DataFrame


class Momentum(IStrategy):
    def populate_indicators(self, dataframe: DataFrame, metadata: dict) -> DataFrame:
        dataframe["drift"] = dataframe["close"].pct_change(3).shift(-1)
        return dataframe

    def populate_entry_trend(self, dataframe: DataFrame, metadata: dict) -> DataFrame:
        dataframe.loc[dataframe["drift"] > 0.01, "enter_long"] = 1
        return dataframe
```

## Good
Use the value of a closed bar; what must look ahead is a label, and only the model may learn from it.
```python
from freqtrade.strategy import IStrategy
from pandas import DataFrame


class Momentum(IStrategy):
    def populate_indicators(self, dataframe: DataFrame, metadata: dict) -> DataFrame:
        dataframe["drift"] = dataframe["close"].pct_change(3).shift(1)
        return dataframe

    def set_freqai_targets(self, dataframe: DataFrame, metadata: dict, **kwargs) -> DataFrame:
        dataframe["&-return"] = dataframe["close"].pct_change(3).shift(-3)
        return dataframe

    def populate_entry_trend(self, dataframe: DataFrame, metadata: dict) -> DataFrame:
        dataframe.loc[dataframe["drift"] > 0.01, "enter_long"] = 1
        return dataframe
```

## Limits
Silent where the amount of a shift is known only at run time and its sign cannot be proven, where a column name is
computed, in `eval` and `query` strings, behind calls that do not resolve, and along axes that are not time. A frame
is taken to run forward in time unless the code turns it. Labels, metrics, profit sums, plots and tests are no sinks.
Without a known signal the return of an indicator hook counts as one, with less confidence. It errs towards silence.
"""

from __future__ import annotations

from collections.abc import Iterator

from auditor.finding import Confidence, Finding, Severity
from auditor.project.project import Project
from auditor.rule import Rule

from ._findings import findings, grave


class NegativeShiftFeature(Rule):
    id = "negative-shift-feature"
    severity = Severity.HIGH
    confidence = Confidence.LIKELY
    since = "0.1"
    fix = "Drop the shift, or use the value as a label only"
    in_tests = True  # a strategy that stands among tests is still a strategy; test functions are left out here

    def check_project(self, project: Project) -> Iterator[Finding]:
        mend = "Shift by at least the reach, or move the column to the labels of the model"
        yield from findings(self, project, mend, grave)
