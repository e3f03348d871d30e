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

from ._interpreter import Outcome
from ._places import PRICES
from ._seeds import Interest
from ._sinks import (
    DELAYED_LINES,
    ENTRY_HOOKS,
    EXIT_HOOKS,
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
from ._state import UNKNOWN, Extent, Mark, Part
from ._summaries import analysis_of
from ._values import ANY, Environment, Frame, Instance, Literal, Ref, Table, Value

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
        interest = Interest(project.symbols)
        self.analysis.relevant.update(interest.relevant)
        for cls in interest.strategies:
            self._strategy(cls)
        hooks = {cls.method(name) for cls in interest.strategies for name in _hooks(cls)}
        alone = [(f, self.analysis.standalone(f)) for f in interest.functions if f not in hooks]
        for function, outcome in alone:
            if outcome is None or is_silent(function):
                continue
            assumed = any(p.default is not None and p.default.kind == "int" for p in function.header.params)
            for sink in outcome.sinks:
                self.seen.append((function, sink, assumed))

    def _strategy(self, cls: ClassNode) -> None:
        """The hooks of a strategy in the order in which they run, on one frame and one instance."""
        env = Environment()
        me = env.put("self", self.analysis.instance(cls, "self", env))
        for name in FEATURE_HOOKS:
            self._hook(cls, name, me, env, Frame())
        current: Frame = Frame()
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

    def leaks(self, family: str) -> Iterator[Leak]:
        """One leak for each place that belongs to `family`, with the gravest and surest sink."""
        best: dict[tuple[str, int, int], Leak] = {}
        for function, sink, assumed in self.seen:
            for part in sink.state.parts:
                if part.family != family or not part.ahead or not part.trail or not self._counts(function, part, sink):
                    continue
                leak = Leak(part, sink, function, self._confidence(function, part, sink, assumed=assumed))
                place = primary(part)
                key = (place.path, place.line, place.column)
                if key not in best or _rank(leak) < _rank(best[key]):
                    best[key] = leak
        yield from (best[key] for key in sorted(best))

    def _counts(self, function: FunctionNode, part: Part, sink: Sink) -> bool:
        """Whether what one function alone shows is enough: its callers may take the shift back."""
        hook = function.cls is not None and is_strategy(function.cls)
        labels = self.analysis.labelled.get(sink.owner, set()) | self.analysis.labelled.get(function.key, set())
        if not hook and _TESTS.search(sink.mark.path):
            return False
        if in_label_function(function) or (not hook and sink.name in labels):
            return False
        if not part.source[0] or part.source[1].lower() in PRICES:
            return True
        return function.key not in self.analysis.called

    def _confidence(self, function: FunctionNode, part: Part, sink: Sink, *, assumed: bool) -> Confidence:
        if sink.kind == INDICATOR and DELAYED_LINES.search(sink.name):
            return Confidence.POSSIBLE
        named = sink.kind == SIGNAL and not (function.cls is not None and is_strategy(function.cls))
        exact = part.extent is not Extent.EXACT or (part.reach is not None and not part.reach.terms)
        if sink.kind == INDICATOR or named or not exact or part.doubt or assumed or not sink.state.sure:
            return Confidence.LIKELY
        return Confidence.CERTAIN


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
        low = None if mark.reach is None else mark.reach.lower()
        if not mark.call and (mark.reach is None or (low is not None and low > 0)):
            return rank
    return len(part.trail) - 1


def _rank(leak: Leak) -> tuple[object, ...]:
    kinds = {SIGNAL: 0, INDICATOR: 2}
    where = leak.sink.mark
    gravity = (leak.part.extent is Extent.WARMUP, kinds.get(leak.sink.kind, 1), -leak.confidence)
    return (*gravity, len(leak.part.trail), where.path, where.line, leak.sink.name)


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
    known = _REPORTS.get(id(project))
    if known is None or known[0] is not project:
        _REPORTS.clear()
        known = _REPORTS[id(project)] = (project, Reports(project))
    return known[1].leaks(family)
