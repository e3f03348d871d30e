"""
Window that reaches into the future

## What it finds
A window or filter that takes rows behind its own one, where what is left of its reach after all later shifts gets to a
signal, a feature or a returned frame: `rolling(w, center=True)`, forward window indexers, `np.gradient`, `np.convolve(...,
"same")`, `savgol_filter`, Gaussian and other symmetric filters, zero-phase filters (`filtfilt`), the Hilbert and Fourier
transforms, seasonal decompositions, and extrema that are marked at the row of the extremum (`argrelextrema`,
`find_peaks`).

## Why it matters
A centred average turns before the price does, because half of it has not happened yet. Live, that half is missing, and the
turn comes late.

## Bad
The trend of this row averages the two rows that follow.
```python
from freqtrade.strategy import IStrategy
from pandas import DataFrame


class Turns(IStrategy):
    def populate_indicators(self, dataframe: DataFrame, metadata: dict) -> DataFrame:
        dataframe["trend"] = dataframe["close"].rolling(5, center=True).mean()
        return dataframe

    def populate_entry_trend(self, dataframe: DataFrame, metadata: dict) -> DataFrame:
        dataframe.loc[dataframe["trend"] > dataframe["trend"].shift(1), "enter_long"] = 1
        return dataframe
```

## Good
Use a trailing window, or shift by the reach, so that the value stands where it became known.
```python
from freqtrade.strategy import IStrategy
from pandas import DataFrame


class Turns(IStrategy):
    def populate_indicators(self, dataframe: DataFrame, metadata: dict) -> DataFrame:
        dataframe["trend"] = dataframe["close"].rolling(5, center=True).mean().shift(2)
        return dataframe

    def populate_entry_trend(self, dataframe: DataFrame, metadata: dict) -> DataFrame:
        dataframe.loc[dataframe["trend"] > dataframe["trend"].shift(1), "enter_long"] = 1
        return dataframe
```

## Limits
Silent where the width is known only at run time and its lead cannot be proven, for windows over an axis that is not time, and
in labels, plots and reports. A peak that is chosen by distance, prominence or width has no fixed delay: no later shift
silences it. The reach of a filter is that of its definition; a fast decay may make it smaller in practice.
"""

from __future__ import annotations

from collections.abc import Iterator

from auditor.finding import Confidence, Finding, Severity
from auditor.project.project import Project
from auditor.rule import Rule

from ._findings import findings, plain


class CenteredWindow(Rule):
    id = "centered-window"
    severity = Severity.HIGH
    confidence = Confidence.LIKELY
    since = "0.1"
    fix = "Use a trailing window, or shift by the reach"
    in_tests = True  # a strategy that stands among tests is still a strategy; test functions are left out here

    def check_project(self, project: Project) -> Iterator[Finding]:
        yield from findings(self, project, "Use a trailing window, or shift the column by its reach", plain(Severity.HIGH))
