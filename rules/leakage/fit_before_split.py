"""
Transformer fitted before the split

## What it finds
Rows that are split into train and test after a transformer (a scaler, a selection of features) was fitted on all of them,
also where the fit stands in another function that was called before.

## Why it matters
The transformer has seen the rows that the model is tested on. For a scaler that changes little; a selection that has seen
the labels shows an accuracy of 68 % on noise, where nothing can be learned.

## Bad
The scaler learns from the test rows.
```python
import pandas as pd
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler


def parts(frame: pd.DataFrame) -> list:
    rows = StandardScaler().fit_transform(frame[["rsi", "macd"]])
    return train_test_split(rows, frame["label"], shuffle=False)
```

## Good
Split first, and fit on the training rows.
```python
import pandas as pd
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler


def parts(frame: pd.DataFrame) -> list:
    seen, unseen, label, truth = train_test_split(frame[["rsi", "macd"]], frame["label"], shuffle=False)
    scaler = StandardScaler().fit(seen)
    return [scaler.transform(seen), scaler.transform(unseen), label, truth]
```

## Limits
Silent for splits by slices and masks, for validations (`cross_val_score`), and where it is not proven that the split rows
come from the transformer. A selection is told from a scaler by the labels that its fit is given.
"""

from __future__ import annotations

from collections.abc import Iterator

from auditor.finding import Confidence, Finding, Fix, Severity, Step
from auditor.project.project import Project
from auditor.rule import Rule

from ._learning import Story, fitted, stories
from ._state import Event, Mark

FIX = "Split first, and fit on the training rows, as a Pipeline does"

UNSUPERVISED = ("sklearn.preprocessing.", "sklearn.decomposition.", "sklearn.impute.")


class FitBeforeSplit(Rule):
    id = "fit-before-split"
    severity = Severity.LOW
    confidence = Confidence.LIKELY
    since = "0.1"
    fix = FIX

    def check_project(self, project: Project) -> Iterator[Finding]:
        seen: set[Mark] = set()
        for story in stories(project):
            fits: list[Event] = []
            for event in story.events:
                if event.kind == "fit":
                    fits.append(event)
                elif event.kind == "split":
                    yield from self._found(story, event, fits, seen)

    def _found(self, story: Story, split: Event, fits: list[Event], seen: set[Mark]) -> Iterator[Finding]:
        for whole in split.of("whole"):
            mark = fitted(whole)
            if mark is None or mark in seen:
                continue
            seen.add(mark)
            here = [fit for fit in fits if (fit.mark.path, fit.mark.line) == (mark.path, mark.line)]
            labelled = any(supervised(fit) for fit in here)
            calls = here[-1].calls if here else ()
            place = split.mark
            steps = [Step(m.path, m.line, m.column, m.note, m.name) for m in calls]
            steps.append(Step(mark.path, mark.line, mark.column, "is fitted on all rows", mark.name))
            steps.append(Step(place.path, place.line, place.column, "splits those rows", split.name))
            learnt = "rows and the labels" if labelled else "rows"
            yield Finding(
                rule=self.id,
                path=mark.path,
                line=mark.line,
                column=mark.column,
                end_line=mark.end_line,
                end_column=mark.end_column,
                message=f"The transformer is fitted before the split: it has seen the {learnt} that the model is tested on.",
                symbol=story.function.symbol,
                severity=Severity.HIGH if labelled else Severity.LOW,
                proof=tuple(steps),
                fix=Fix("display", FIX),
            )


def supervised(fit: Event) -> bool:
    """Whether a fit learns from labels: scalers ignore those that they are given."""
    ignores = fit.path.startswith(UNSUPERVISED) and not fit.path.endswith("TargetEncoder")
    return not ignores and any(y.parts for y in fit.of("y"))
