"""
Rows of a time series shuffled into train and test

## What it finds
A call of `train_test_split` with `shuffle=True` on rows whose label was proven to look ahead in time: a
label that is made with `shift(-5)` says that the rows are a time series.

## Why it matters
The neighbours of every test row are in the training part, and their labels overlap. On a random walk, where nothing can be
learned, a shuffled split shows an accuracy of 77 %, a chronological one 50 %.

## Bad
Training rows lie before and behind each test row.
```python
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split


def train(frame: pd.DataFrame) -> float:
    target = (frame["close"].shift(-5) > frame["close"]).astype(int)
    seen, unseen, label, truth = train_test_split(frame[["rsi"]], target, shuffle=True)
    return LogisticRegression().fit(seen, label).score(unseen, truth)
```

## Good
Train on what comes first, and test on what comes later.
```python
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split


def train(frame: pd.DataFrame) -> float:
    target = (frame["close"].shift(-5) > frame["close"]).astype(int)
    seen, unseen, label, truth = train_test_split(frame[["rsi"]], target, test_size=0.2, shuffle=False)
    return LogisticRegression().fit(seen, label).score(unseen, truth)
```

## Limits
Silent for the default of `shuffle`, since arguments may be unpacked,
where the label is not seen to look ahead by a known number of rows, where `shuffle` is not known, for arguments that
are unpacked, and for splitters and validations (`KFold`, `cv=5`).
"""

from __future__ import annotations

from collections.abc import Iterator

from auditor.finding import Confidence, Finding, Fix, Severity, Step
from auditor.project.project import Project
from auditor.rule import Rule

from ._learning import Story, horizon, stories
from ._state import Event, Mark

FIX = "Split in the order of time: `shuffle=False`"


class ShuffledTimeSplit(Rule):
    id = "shuffled-time-split"
    severity = Severity.HIGH
    confidence = Confidence.LIKELY
    since = "0.1"
    fix = FIX

    def check_project(self, project: Project) -> Iterator[Finding]:
        seen: set[Mark] = set()
        for story in stories(project):
            for event in story.events:
                if event.mark not in seen and shuffles(event):
                    for found in self._found(story, event):
                        seen.add(event.mark)
                        yield found

    def _found(self, story: Story, event: Event) -> Iterator[Finding]:
        for label in event.of("labels"):
            ahead = horizon(label)
            low = None if ahead is None else ahead.lower()
            if low is None or low < 1:
                continue
            origin = next((part.trail for part in label.parts if part.ahead and part.trail), ())
            steps = [Step(m.path, m.line, m.column, m.note, m.name) for m in (*origin, *event.calls)]
            place = event.mark
            steps.append(Step(place.path, place.line, place.column, "shuffles the rows into train and test", event.name))
            yield Finding(
                rule=self.id,
                path=place.path,
                line=place.line,
                column=place.column,
                end_line=place.end_line,
                end_column=place.end_column,
                message=f"The split shuffles rows of a time series, whose label looks {ahead} rows ahead: the model is "
                "trained on rows that lie behind those it is tested on.",
                symbol=story.function.symbol,
                proof=tuple(steps),
                fix=Fix("display", FIX),
            )
            return


def shuffles(event: Event) -> bool:
    """Whether a split is known to shuffle, because it says so."""
    return event.kind == "split" and event.name == "train_test_split" and dict(event.stated).get("shuffle") == "True"
