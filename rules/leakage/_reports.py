"""What the interpretations of a project found: for each place that makes a value look ahead, the gravest sink it
reaches."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from auditor.facts.model import Const
from auditor.finding import Confidence
from auditor.project.project import Project
from auditor.project.symbols import ClassNode, FunctionNode

from ._interpreter import Outcome, Run
from ._linear import Linear
from ._places import PRICES, timeframe_of
from ._seeds import Interest
from ._sinks import (
    DELAYED_LINES,
    ENTRY_HOOKS,
    EXIT_HOOKS,
    FEATURE,
    FEATURE_HOOKS,
    INDICATOR,
    INDICATOR_HOOKS,
    LABEL_HOOKS,
    SIGNAL,
    Sink,
    in_label_function,
    is_label,
    is_silent,
    is_strategy,
)  # fmt: skip
from ._state import DATA, UNKNOWN, Event, Extent, Mark, Part, Start
from ._summaries import Analysis, analysis_of
from ._transfer import SHIFT, TARGET, is_step
from ._values import ANY, Environment, Frame, Instance, Literal, Ref, Table, Text, Value

_TESTS = re.compile(r"(^|/)(tests?/|test_[^/]*$|conftest\.py$)")


class Leak(NamedTuple):
    """A part of a state that looks ahead and reached a sink. `function` is the one in which the sink was seen."""

    part: Part
    sink: Sink
    function: FunctionNode
    confidence: Confidence

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the price columns that are read, where they are known."""
        column = self.part.source[1]
        return (column,) if column and column != ANY else origin(self.part).columns


class Reports:
    """All sinks of a project that something looking ahead reached."""

    def __init__(self, project: Project) -> None:
        self.analysis = analysis_of(project)
        self.seen: list[tuple[FunctionNode, Sink, bool]] = []
        self.stories: dict[tuple[str, int], tuple[FunctionNode, tuple[Event, ...]]] = {}
        self.interest = interest = Interest(project.symbols, self.analysis.roles.words)
        self.analysis.relevant.update(interest.relevant)
        for cls in interest.strategies:
            self._strategy(cls)
        hooks = {cls.method(name) for cls in interest.strategies for name in _hooks(cls)}
        alone = [(f, self.analysis.standalone(f)) for f in interest.functions if f not in hooks]
        for function, outcome in alone:
            if outcome is not None and outcome.events:
                self.stories[function.key] = (function, outcome.events)
            if outcome is None or is_silent(function):
                continue
            assumed = any(p.default is not None and p.default.kind == "int" for p in function.header.params)
            for sink in outcome.sinks:
                self.seen.append((function, sink, assumed))

    def _strategy(self, cls: ClassNode) -> None:
        """The hooks of a strategy in the order in which they run, on one frame and one instance."""
        env = Environment()
        me = env.put("self", self.analysis.instance(cls, "self", env))
        base = DATA.with_(timeframe=_timeframe(self.analysis, cls))
        for name in FEATURE_HOOKS:
            self._hook(cls, name, me, env, Frame(default=base))
        current: Frame = Frame(default=base)
        for name in _informative(cls):
            columns = self._hook(cls, name, me, env, Frame())
            for column, state in columns.columns if columns is not None else ():
                current = current.write(f"{ANY}{column}_{ANY}" if ANY not in column else column, state)
        for name in INDICATOR_HOOKS:
            found = self._hook(cls, name, me, env, current)
            if found is not None:
                current = found
        for name in (*ENTRY_HOOKS, *EXIT_HOOKS):
            found = self._hook(cls, name, me, env, current)
            if found is not None:
                current = found

    def _hook(self, cls: ClassNode, name: str, me: Value, env: Environment, frame: Frame) -> Frame | None:
        """Run one hook; the frame that it returns."""
        function = cls.method(name)
        if function is None:
            return None
        start = Environment({}, dict(env.cells))
        shown = start.put("frame", frame)
        start.put("metadata", Table((), exact=False))
        for rank, param in enumerate(function.header.params):
            given: Value = UNKNOWN if param.kind in ("vararg", "kwarg") else Literal("some")
            if param.name == function.self_name:
                given = me
            elif param.name in ("dataframe", "df") or rank == (1 if function.self_name else 0):
                given = shown
            elif param.name == "metadata":
                given = Ref("metadata")
            start.names[param.name] = given
        outcome = self.analysis.interpret(function, start)
        if outcome is None:
            return None
        if outcome.events:
            self.stories[function.key] = (function, outcome.events)
        kept = outcome.end.cells.get("self")
        if isinstance(kept, Instance):
            env.cells.update(outcome.end.cells)
        for sink in outcome.sinks:
            self.seen.append((function, sink, False))
        result = outcome.end.frame(outcome.value)
        if result is not None and name in INDICATOR_HOOKS:
            self._returned(function, outcome, result)
        return result

    def _returned(self, function: FunctionNode, outcome: Outcome, frame: Frame) -> None:
        """The columns that an indicator hook hands on."""
        read = _mentioned(function.cls) if function.cls is not None else frozenset()
        for name, state in frame.columns:
            if is_label(name) or name in read:  # what a hook reads is judged by the signal that it makes of it
                continue
            for part in state.parts:
                if part.family and part.trail:
                    last = part.trail[-1]
                    mark = Mark(
                        last.path,
                        last.line,
                        last.column,
                        last.end_line,
                        last.end_column,
                        f'column "{name}" of the returned frame',
                        name,
                        None,
                    )
                    self.seen.append(
                        (function, Sink(INDICATOR, name, state.with_(parts=(part,)), mark, function.key), False)
                    )

    def learning(self) -> Iterator[tuple[FunctionNode, tuple[Event, ...]]]:
        """What happens to models, by function; those that another one of them calls are told there."""
        known = {function.key for function in self.interest.functions}
        self.analysis.relevant.update(function.key for function in self.interest.learners)
        for function in self.interest.learners:
            if function.key not in self.stories and function.key not in known:
                outcome = self.analysis.standalone(function)
                if outcome is not None and outcome.events:
                    self.stories[function.key] = (function, outcome.events)
        self.interest.learners = []
        called = {event.owner for _, events in self.stories.values() for event in events if event.calls}
        for key in sorted(self.stories):
            if key not in called:
                yield self.stories[key]

    def leaks(self, family: str) -> Iterator[Leak]:
        """One leak for each place that belongs to `family`, with the gravest and surest sink."""
        best: dict[tuple[str, int, int | str], Leak] = {}  # one for a line, of exact reaches one for an operation
        for function, sink, assumed in self.seen:
            for part in sink.state.parts:
                reported = part.ahead or (part.start > Start.CONVERGES and sink.kind != INDICATOR)
                if family_of(part, sink) != family or not reported or not part.trail or not self._counts(function, part, sink):
                    continue
                leak = Leak(part, sink, function, self._confidence(function, part, sink, assumed=assumed))
                place = primary(part)
                column = place.column if part.extent is Extent.EXACT else 0
                key: tuple[str, int, int | str] = (place.path, place.line, column)
                if family == TARGET:  # once for each column that a function gives
                    key = (sink.mark.path, sink.owner[1], sink.name)
                if key not in best or _rank(leak) < _rank(best[key]):
                    best[key] = leak
        yield from (best[key] for key in sorted(best, key=lambda k: (k[0], k[1], str(k[2]))))

    def _counts(self, function: FunctionNode, part: Part, sink: Sink) -> bool:
        """Whether what one function alone shows is enough: its callers may take the shift back."""
        hook = function.cls is not None and is_strategy(function.cls)
        labels = self.analysis.labelled.get(sink.owner, set()) | self.analysis.labelled.get(function.key, set())
        if not hook and _TESTS.search(sink.mark.path):
            return False
        if sink.kind == FEATURE and not sink.name.startswith("%") and any(mark.until == "fit" for mark in part.trail):
            return False  # whether a model may have seen these rows is decided by the split
        if part.family == TARGET:
            return True
        if in_label_function(function) or (not hook and sink.name in labels):
            return False
        if part.source[0].startswith("^"):
            return False
        if not part.source[0] or part.source[1].lower() in PRICES:
            return True
        return function.key not in self.analysis.called

    def _confidence(self, function: FunctionNode, part: Part, sink: Sink, *, assumed: bool) -> Confidence:
        if sink.kind == INDICATOR and DELAYED_LINES.search(sink.name):
            return Confidence.POSSIBLE
        if part.start is not Start.NONE and not sink.state.sure:
            return Confidence.POSSIBLE  # which column is read is not proven
        named = sink.kind == SIGNAL and not (function.cls is not None and is_strategy(function.cls))
        exact = part.extent is not Extent.EXACT or (part.reach is not None and not part.reach.terms)
        if sink.kind == INDICATOR or named or not exact or part.doubt or assumed or not sink.state.sure:
            return Confidence.LIKELY
        return Confidence.CERTAIN


def family_of(part: Part, sink: Sink) -> str:
    """The rule that a leak belongs to: a value that is called a label and looks ahead is one wherever a model reads it."""
    if part.family == SHIFT and sink.kind == FEATURE and not sink.name.startswith("%") and is_label(sink.name):
        return TARGET
    return part.family


def origin(part: Part) -> Mark:
    """The step that moved the value into the future."""
    return part.trail[_origin(part)]


def primary(part: Part) -> Mark:
    """The place to edit: where the value moved, or the call that says by how much."""
    rank = _origin(part)
    if not part.trail[rank].given:
        return part.trail[rank]
    calls = [mark for mark in part.trail[:rank] if mark.call and not mark.given]
    return calls[-1] if calls else part.trail[rank]


def _origin(part: Part) -> int:
    for rank, mark in enumerate(part.trail):
        if mark.until == "target" or mark.name == "return":
            return rank
    for rank, mark in enumerate(part.trail):
        if not mark.call and (mark.reach is None or leads(mark.reach)):
            return rank
    return len(part.trail) - 1


def leads(reach: Linear) -> bool:
    """Whether a step alone leads into the future; a row that a loop takes does by what stands beside the step of the loop."""
    if any(is_step(symbol) for symbol, _ in reach.terms):
        return reach.constant > 0
    low = reach.lower()
    return low is not None and low > 0


def _rank(leak: Leak) -> tuple[object, ...]:
    kinds = {SIGNAL: 0, INDICATOR: 2}
    where = leak.sink.mark
    gravity = (leak.part.extent is Extent.WARMUP, kinds.get(leak.sink.kind, 1), -leak.confidence)
    return (*gravity, len(leak.part.trail), where.path, where.line, leak.sink.name)


def _timeframe(analysis: Analysis, cls: ClassNode) -> int | None:
    """Minutes of a bar of a strategy, where its class says so."""
    run = Run(analysis, cls.module.functions[cls.header.body], Environment())
    value = analysis.class_value(run, cls, "timeframe")
    return timeframe_of(value.pattern) if isinstance(value, Text) else None


def _hooks(cls: ClassNode) -> tuple[str, ...]:
    return (*FEATURE_HOOKS, *INDICATOR_HOOKS, *ENTRY_HOOKS, *EXIT_HOOKS, *LABEL_HOOKS, *_informative(cls))


def _informative(cls: ClassNode) -> tuple[str, ...]:
    """Methods that a decorator runs on a longer timeframe."""
    found: list[str] = []
    for ancestor in reversed(cls.mro):
        for name, method in ancestor.methods.items():
            if any(d.name.rpartition(".")[2] == "informative" for d in method.header.decorators) and name not in found:
                found.append(name)
    return tuple(found)


def _mentioned(cls: ClassNode) -> frozenset[str]:
    """Texts in the methods of a strategy that come after its indicators; callbacks left out, which see one row."""
    skipped = (*INDICATOR_HOOKS, *FEATURE_HOOKS, *LABEL_HOOKS, "__init__")
    found: set[str] = set()
    for ancestor in cls.mro:
        for name, method in ancestor.methods.items():
            if name in skipped or name.startswith(("custom_", "confirm_", "adjust_")):
                continue
            stack = [method]
            while stack:
                function = stack.pop()
                stack.extend(function.children)
                for place in function.body.places:
                    found.update(str(s.value.text) if isinstance(s.value, Const) else str(s.value) for s in place.path)
                    if isinstance(place.name, Const):
                        found.add(place.name.text)
    return frozenset(found)


_REPORTS: dict[int, tuple[Project, Reports]] = {}


def leaks(project: Project, family: str) -> Iterator[Leak]:
    """The leaks of one family; the project is interpreted once for all."""
    return reports_of(project).leaks(family)


def reports_of(project: Project) -> Reports:
    """The one report of a project."""
    known = _REPORTS.get(id(project))
    if known is None or known[0] is not project:
        _REPORTS.clear()
        known = _REPORTS[id(project)] = (project, Reports(project))
    return known[1]
