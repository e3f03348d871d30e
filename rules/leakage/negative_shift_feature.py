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

from auditor.finding import Confidence, Finding, Fix, Severity, Step
from auditor.project.project import Project
from auditor.rule import Rule

from ._linear import Linear
from ._reports import Leak, leaks, origin, primary
from ._sinks import FEATURE, INDICATOR, SIGNAL
from ._state import Extent


class NegativeShiftFeature(Rule):
    id = "negative-shift-feature"
    severity = Severity.HIGH
    confidence = Confidence.LIKELY
    since = "0.1"
    fix = "Drop the shift, or use the value as a label only"
    in_tests = True  # a strategy that stands among tests is still a strategy; test functions are left out here

    def check_project(self, project: Project) -> Iterator[Finding]:
        for leak in leaks(project, self.id):
            yield self._finding(leak)

    def _finding(self, leak: Leak) -> Finding:
        place = primary(leak.part)
        return Finding(
            rule=self.id,
            path=place.path,
            line=place.line,
            column=place.column,
            end_line=place.end_line,
            end_column=place.end_column,
            message=message(leak),
            symbol=leak.function.symbol,
            severity=severity(leak),
            confidence=leak.confidence,
            proof=proof(leak),
            fix=Fix("display", "Shift by at least the reach, or move the column to the labels of the model"),
        )


def severity(leak: Leak) -> Severity:
    if leak.part.extent is Extent.WARMUP:
        return Severity.LOW
    return Severity.CRITICAL if leak.sink.kind == SIGNAL else Severity.HIGH


def message(leak: Leak) -> str:
    """One sentence with the measured class, then where it ends."""
    sink = {SIGNAL: "the signal", FEATURE: "the feature", INDICATOR: "the indicator"}[leak.sink.kind]
    name = "the model" if leak.sink.name == "X" else f"{sink} `{leak.sink.name}`"
    step = origin(leak.part)
    source = ", ".join(f"`{word}`" for word in leak.columns) or "the series"
    if leak.part.extent is Extent.WARMUP:
        return f"{step.note}: there {name} knows the end of the series."
    reach = leak.part.reach or Linear()
    if reach.terms:
        bars, last = f"at least {reach.lower()} bars", str(reach)
    else:
        bars, last = "1 bar" if reach.constant == 1 else f"{reach.constant} bars", str(reach.constant)
    return f"{name[0].upper()}{name[1:]} reads {bars} ahead: row t needs {source} of row t+{last}."


def proof(leak: Leak) -> tuple[Step, ...]:
    """Origin to sink, each step with the reach after it."""
    steps: list[Step] = []
    for mark in leak.part.trail:
        reach = "" if mark.reach is None else f": reach {mark.reach}"
        step = Step(mark.path, mark.line, mark.column, f"{mark.note}{reach}", mark.name)
        if not steps or steps[-1] != step:
            steps.append(step)
    sink = leak.sink.mark
    steps.append(Step(sink.path, sink.line, sink.column, f"sink: {leak.sink.kind} {leak.sink.name}", leak.sink.name))
    return tuple(steps)
