"""
Signal times the return that made it

## What it finds
A position or signal that is computed from the close of a row, multiplied by the return that ends at that same row, and summed
or compounded to a profit.

## Why it matters
The position earns the very move that opened it. On a random walk such a backtest makes a fortune; shifted by one row, it makes
nothing.

## Bad
The signal of a bar earns the return of that bar.
```python
import numpy as np
import pandas as pd


def profit(frame: pd.DataFrame) -> float:
    frame["return"] = frame["close"].pct_change()
    frame["signal"] = np.where(frame["close"] > frame["close"].rolling(20).mean(), 1, -1)
    earned = frame["signal"] * frame["return"]
    return float(earned.sum())
```

## Good
Let the signal of a bar earn the return of the next one.
```python
import numpy as np
import pandas as pd


def profit(frame: pd.DataFrame) -> float:
    frame["return"] = frame["close"].pct_change()
    frame["signal"] = np.where(frame["close"] > frame["close"].rolling(20).mean(), 1, -1)
    earned = frame["signal"].shift(1) * frame["return"]
    return float(earned.sum())
```

## Limits
Knows a position by the name of its column or variable, and a return by how it is computed from a price: `pct_change`, `diff`, the ratio
or difference to an earlier row, and logarithms of them. Silent where either is shifted, where the signal does not read the close of its
own row, for rows that are loaded with both, and where the product is not aggregated.
"""

from __future__ import annotations

from collections.abc import Iterator

from auditor.finding import Confidence, Finding, Severity
from auditor.project.project import Project
from auditor.rule import Rule

from ._findings import findings


class UnlaggedSignalReturn(Rule):
    id = "unlagged-signal-return"
    severity = Severity.HIGH
    confidence = Confidence.LIKELY
    since = "0.1"
    fix = "Shift the signal by one row"

    def check_project(self, project: Project) -> Iterator[Finding]:
        yield from findings(self, project, "Shift the signal by one row before it is multiplied by the return", lambda leak: self.severity)
