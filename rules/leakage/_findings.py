"""A leak as a finding: one sentence with the measured class and never more, the proof from origin to sink, the fix.

The class is that of the extent: a number of bars, a hole, a bucket of time, the whole series, or the warm-up only. A
value that starts at the first loaded row is no look-ahead, and its sentence says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from auditor.finding import Confidence, Finding, Fix, Severity, Step
from auditor.project.project import Project
from auditor.rule import Rule

from ._linear import ZERO
from ._reports import Leak, leaks, origin, primary
from ._sinks import FEATURE, INDICATOR, PROFIT, SIGNAL
from ._state import Extent, Mark, Start

SINKS = {SIGNAL: "the signal", FEATURE: "the feature", INDICATOR: "the indicator", PROFIT: "the profit"}


def findings(
    rule: Rule, project: Project, fix: str, severity: Callable[[Leak], Severity], family: str = ""
) -> Iterator[Finding]:
    """One finding for each place that the family of the rule makes look ahead."""
    for leak in leaks(project, family or rule.id):
        yield finding(rule, leak, fix, severity(leak))


def finding(rule: Rule, leak: Leak, fix: str, severity: Severity, confidence: Confidence | None = None) -> Finding:
    place = primary(leak.part)
    return Finding(
        rule=rule.id,
        path=place.path,
        line=place.line,
        column=place.column,
        end_line=place.end_line,
        end_column=place.end_column,
        message=message(leak),
        symbol=leak.function.symbol,
        severity=severity,
        confidence=leak.confidence if confidence is None else confidence,
        proof=proof(leak),
        fix=Fix("display", fix),
    )


def grave(leak: Leak, otherwise: Severity = Severity.HIGH) -> Severity:
    """Critical where a signal reads it, low where only the warm-up does."""
    if leak.part.extent is Extent.WARMUP:
        return Severity.LOW
    return Severity.CRITICAL if leak.sink.kind == SIGNAL else otherwise


def plain(severity: Severity) -> Callable[[Leak], Severity]:
    """The same severity at every sink, but low in the warm-up."""
    return lambda leak: Severity.LOW if leak.part.extent is Extent.WARMUP else severity


EXTREMES = frozenset({"cummax", "cummin", "accumulate", "factorize", "asfreq", "resample asfreq"})


def level(leak: Leak) -> Severity:
    """Low for a level that depends on the first row; information where it may be meant, as in a drawdown."""
    return Severity.INFO if origin(leak.part).name in EXTREMES else Severity.LOW


# --- the sentence -----------------------------------------------------------------------------------------------------


def message(leak: Leak) -> str:
    """One sentence with the measured class, then where it ends."""
    name = sink_name(leak)
    step = origin(leak.part)
    extent = leak.part.extent
    if step.until == "target":
        return f"The model is given `{leak.sink.name}` among its features, and has to predict it: it reads the answer."
    if leak.sink.kind == PROFIT:
        return (
            "The profit takes the signal of row t times the return that ends at row t: the signal is known only when that "
            "return has been made."
        )
    if leak.part.start is not Start.NONE:
        return _of_start(name, step)
    if extent is Extent.WARMUP:
        if step.until == "wrap":
            return f"{step.note}: there {name} knows the end of the series."
        if step.until == "head":
            return f"{upper(name)} uses the {step.note}: those rows know what follows them; drop them."
        if step.name == "codes":
            return f"{upper(name)} uses {step.note}: the first rows change when another one appears; drop them."
        return f"{upper(name)} fills only rows before the first value, with what comes later ({step.note}); drop them."
    if extent is Extent.GAP:
        return f"{upper(name)} fills a hole with a later observation ({step.note}): row t changes when it arrives."
    if extent is Extent.BUCKET:
        return _of_bucket(name, step)
    if extent is Extent.SERIES:
        return _of_series(name, step)
    return _of_bars(leak, name)


def _of_bars(leak: Leak, name: str) -> str:
    source = ", ".join(f"`{word}`" for word in leak.columns) or "the series"
    reach = leak.part.reach or ZERO
    if reach.terms:
        bars, last = f"at least {reach.lower()} bars", str(reach)
    else:
        bars, last = "1 bar" if reach.constant == 1 else f"{reach.constant} bars", str(reach.constant)
    return f"{upper(name)} reads {bars} ahead: row t needs {source} of row t+{last}."


def _of_series(name: str, step: Mark) -> str:
    if step.until == "position":
        return f"{upper(name)} reads rows by a position that counts other rows ({step.note}): row t may get a later one."
    if step.until == "row":
        return f"{upper(name)} uses the {step.note}: every row before it changes when later rows arrive."
    return f"{upper(name)} uses a statistic of the whole series ({step.note}): row t changes when later rows arrive."


def _of_bucket(name: str, step: Mark) -> str:
    if step.until == "run":
        return f"{upper(name)} is known only when the run of equal rows ends ({step.note})."
    if step.until == "nearest":
        return f"{upper(name)} is joined with rows of a later time ({step.note})."
    until = step.until or "bucket of time"
    return f"{upper(name)} is known only when the {until} ends ({step.note}): its earlier rows already see that value."


def _of_start(name: str, step: Mark) -> str:
    return (
        f"{upper(name)} starts at the first loaded row ({step.note}): live and backtest differ for the same bar. "
        "It does not use future data."
    )


def sink_name(leak: Leak) -> str:
    return "the model" if leak.sink.name == "X" else f"{SINKS[leak.sink.kind]} `{leak.sink.name}`"


def upper(text: str) -> str:
    return text[0].upper() + text[1:]


# --- the proof --------------------------------------------------------------------------------------------------------


def proof(leak: Leak) -> tuple[Step, ...]:
    """Origin to sink, each step with the reach after it."""
    steps: list[Step] = []
    for mark in leak.part.trail:
        step = Step(mark.path, mark.line, mark.column, f"{mark.note}{_after(mark)}", mark.name)
        if not steps or steps[-1] != step:
            steps.append(step)
    sink = leak.sink.mark
    steps.append(Step(sink.path, sink.line, sink.column, f"sink: {leak.sink.kind} {leak.sink.name}", leak.sink.name))
    return tuple(steps)


def _after(mark: Mark) -> str:
    if mark.reach is not None:
        return f": reach {mark.reach}"
    return f": reach {mark.extent}" if mark.extent else ""
