"""
Label among the features

## What it finds
A model that is fitted on rows which hold the column that it has to predict, and columns that are called labels, targets or
future values and look ahead, among the features of a fit, a split or a validation.

## Why it matters
The model learns to read the answer. Its score is close to perfect, and it knows nothing on a row whose answer is not there
yet.

## Bad
The label is in the frame, and the whole frame is given as features.
```python
import pandas as pd
from sklearn.linear_model import LogisticRegression


def train(frame: pd.DataFrame) -> LogisticRegression:
    frame["momentum"] = frame["close"].pct_change(3)
    frame["target"] = (frame["close"].shift(-5) > frame["close"]).astype(int)
    rows = frame.dropna()
    model = LogisticRegression()
    model.fit(rows, rows["target"])
    return model
```

## Good
Name the features, or take the label out of the frame.
```python
import pandas as pd
from sklearn.linear_model import LogisticRegression


def train(frame: pd.DataFrame) -> LogisticRegression:
    frame["momentum"] = frame["close"].pct_change(3)
    frame["target"] = (frame["close"].shift(-5) > frame["close"]).astype(int)
    rows = frame.dropna()
    model = LogisticRegression()
    model.fit(rows.drop(columns=["target"]), rows["target"])
    return model
```

## Limits
Silent where the names of the features are known only at run time, for rows by position, for arrays without names, and for a column
of predictions that has the name of a label, as freqtrade's `&` columns have after the model ran. A label of earlier rows is a
feature like any other.
"""

from __future__ import annotations

from collections.abc import Iterator

from auditor.finding import Confidence, Finding, Severity
from auditor.project.project import Project
from auditor.rule import Rule

from ._findings import findings


class TargetInFeatures(Rule):
    id = "target-in-features"
    severity = Severity.CRITICAL
    confidence = Confidence.LIKELY
    since = "0.1"
    fix = "Take the label out of the features"

    def check_project(self, project: Project) -> Iterator[Finding]:
        yield from findings(self, project, "Take the label, and what is computed from it, out of the features", lambda leak: self.severity)
