"""
Decimal parsed without a guard that holds

## What it finds
`Decimal(x)`, or a helper of the project that does the same, with a text or a value from outside, where nothing takes what it
raises: the handler around it names ValueError or TypeError, the default of `.get(key, 0)` does not help against a null, one
bad value ends the loop over all of them, or a task ends with it.

## Why it matters
`Decimal("abc")` raises InvalidOperation, which is an ArithmeticError and no ValueError: the guard looks right and never runs.
Venues send empty texts and nulls for what they do not know, so the parse fails in the hour in which the market is odd.

## Bad
```python
from decimal import Decimal


def price_of(text: str) -> Decimal | None:
    try:
        return Decimal(text)
    except (ValueError, TypeError):
        return None
```

## Good
Catch InvalidOperation beside the classes that are named already.

```python
from decimal import Decimal, InvalidOperation


def price_of(text: str) -> Decimal | None:
    try:
        return Decimal(text)
    except (ValueError, TypeError, InvalidOperation):
        return None
```

## Limits
A parse whose argument has no known type is reported only under a guard that was visibly written for it. Without any guard it
is reported only for values that are seen to come from outside (JSON, a venue, a database), in code that a task, a thread or a
request handler reaches with nothing on the way that takes the exception. Silent for numbers, for literals, and for constructors
and configuration, which should fail fast. A `nan` that is parsed well and compared later is not followed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from auditor.facts.model import Call, Const
from auditor.finding import Confidence, Finding, Fix, Severity, Step
from auditor.project.exceptions import Handler
from auditor.project.flow import describe
from auditor.project.project import Project
from auditor.project.symbols import FunctionNode
from auditor.rule import Rule

from ._calls import builtin
from ._numbers import Numbers, argument, numbers_of
from ._parsing import (
    INVALID,
    NEVER,
    NOTHING,
    OPEN,
    OUTSIDE,
    SAFE,
    TEXT,
    TYPE,
    Guards,
    Parsed,
    default_of,
    maker,
    others,
    parsed,
)
from ._run import Run

MEANT = frozenset({"builtins.ValueError", "builtins.TypeError"})  # what guards around a parse name by habit
FAST = re.compile(r"(^__init__$|^__post_init__$|config|settings|environ|^from_env|^main$|validat)")
HARMLESS = frozenset({"str", "len", "repr", "isinstance", "bool", "abs", "round", "min", "max", "print", "sum"})
SHOWN = 5  # further parses of one kind that a finding shows


class UnguardedDecimalParse(Rule):
    id = "unguarded-decimal-parse"
    severity = Severity.MEDIUM
    confidence = Confidence.LIKELY
    since = "0.1"
    effort = "S"
    cwe = (20, 248)
    models = ("numbers", "exceptions")
    implies = ("wrong-guard",)

    def check_project(self, project: Project) -> Iterator[Finding]:
        numbers = numbers_of(project)
        judge = _Judge(numbers)
        groups: dict[tuple[object, ...], list[Finding]] = {}
        for function, rank, _, operand in numbers.constructions:
            for key, finding in judge.construction(function, rank, operand):
                groups.setdefault((function.key, *key), []).append(finding)
        for key in sorted(groups, key=repr):
            yield _grouped(groups[key])


class _Judge:
    def __init__(self, numbers: Numbers) -> None:
        self.numbers = numbers
        self.project = numbers.project
        self.guards = Guards(self.project)

    def construction(
        self, function: FunctionNode, rank: int, operand: int
    ) -> Iterator[tuple[tuple[object, ...], Finding]]:
        """Findings about one parse and about the calls of a helper that consists of it, with what they are grouped by."""
        literal = function.body.places[operand].name
        if isinstance(literal, Const) and literal.kind != "str":
            return
        handlers = self.project.exceptions.around(function, rank)
        if isinstance(literal, Const) and not handlers:
            return
        run = self.numbers.run(function)
        source = parsed(run, rank, operand)
        if source.kind == SAFE:
            return
        if source.kind == NEVER:
            yield ("never", rank), self._never(run, rank, source)
            return
        taker = self.guards.taker(function, rank, INVALID)
        if handlers and taker is None:
            wrong = self._wrong(run, rank, source)
            if wrong is not None:
                yield ("wrong", wrong.op), self._wrong_guard(run, rank, source, wrong)
                return
        if taker is not None:
            found = self._taken(run, rank, source, taker)
            if found is not None:
                yield (found.message.partition(" ")[0], rank), found
            return
        if not handlers and source.kind in (OPEN, TEXT, OUTSIDE):
            yield from self._helper(run, source)
        found = self._unguarded(run, rank, source)
        if found is not None:
            yield ("none",), found

    # --- a guard that names something else ---
    def _wrong(self, run: Run, rank: int, source: Parsed) -> Handler | None:
        """The handler that was written for the parse and does not take its exception."""
        handlers = self.project.exceptions.around(run.function, rank)
        for handler in handlers:
            if handler.region != handlers[0].region:
                return None
            if None in handler.classes or not MEANT.intersection(c for c in handler.classes if isinstance(c, str)):
                continue
            if source.kind == NOTHING and not source.through:
                return handler if "builtins.TypeError" not in handler.classes else None
            if source.kind == OPEN and not source.through and "builtins.ValueError" not in handler.classes:
                return None  # a TypeError is what None raises: the guard may be for that
            if source.kind == OPEN and not all(self._harmless(run, r) for r in others(run, handler, rank)):
                return None  # the handler may be for another call, and that this is a text is not known
            return handler
        return None

    def _harmless(self, run: Run, rank: int) -> bool:
        """Whether a call raises neither ValueError nor TypeError: it is no reason for the handler."""
        result = self.project.calls(run.function).get(rank)
        if builtin(result) in HARMLESS:
            return True
        step = run.body.ops[rank]
        name = describe(run.body, step.callee).rpartition(".")[2] if isinstance(step, Call) else ""
        constructs = result is not None and result.external.endswith("decimal.Decimal")
        return constructs or name in (
            "get",
            "strip",
            "replace",
            "quantize",
            "append",
            "warning",
            "debug",
            "info",
            "error",
            "Decimal",
        )

    def _wrong_guard(self, run: Run, rank: int, source: Parsed, handler: Handler) -> Finding:
        raised = source.raises
        names = " and ".join(dict.fromkeys(handler.names))
        bad = {NOTHING: "None", OUTSIDE: "a null or a text that is no number"}.get(
            source.kind, "a text that is no number"
        )
        word = raised.rpartition(".")[2]
        is_a = "an ArithmeticError" if raised == INVALID else "no InvalidOperation"
        steps = (
            self.project.step(
                run.function, rank, f"Decimal({source.written}) raises {word} for {bad}, {is_a}", "Decimal"
            ),
            self.project.step(run.function, handler.op, f"the handler takes {names} only: {word} passes it", "except"),
        )
        return self._finding(
            run, rank, f"the guard takes {names}, but Decimal({source.written}) raises {word} for {bad}: it never runs",
            Severity.HIGH, Confidence.CERTAIN if source.kind in (TEXT, OUTSIDE) else Confidence.LIKELY, steps,
            Fix("display", f"Add {word} to the classes of the handler"),
        )  # fmt: skip

    def _helper(self, run: Run, source: Parsed) -> Iterator[tuple[tuple[object, ...], Finding]]:
        """Calls of a helper that hands its parameter to the parse, under a guard that does not hold."""
        name = describe(run.body, source.source)
        if not any(p.name == name for p in run.function.header.params):
            return
        for caller, op in self.numbers.callers(run.function):
            handlers = self.project.exceptions.around(caller, op)
            if not handlers or self.guards.taker(caller, op, INVALID) is not None:
                continue
            above = self.numbers.run(caller)
            operand = argument(self.project, caller, op, run.function, name)
            if operand is None or operand < 0:
                continue
            given = parsed(above, op, operand)
            if given.kind in (SAFE, NEVER, NOTHING):
                continue
            wrong = self._wrong(above, op, given)
            if wrong is not None:
                finding = self._wrong_guard(above, op, given._replace(through=True), wrong)
                line, column = run.function.position()
                parse = Step(
                    run.function.path,
                    line,
                    column,
                    f"{run.function.name}() is Decimal({source.written})",
                    run.function.name,
                )
                yield ("wrong", caller.key, wrong.op), finding.with_(proof=(parse, *finding.proof))

    # --- guards that hold, and stand in the wrong place ---
    def _taken(self, run: Run, rank: int, source: Parsed, taker: Handler) -> Finding | None:
        if source.kind in (NOTHING, OUTSIDE) and not source.through:
            other, doubtful = self.project.exceptions.taker(run.function, rank, TYPE)
            if other is None and not doubtful and (source.kind == NOTHING or self._may_lack(run, source)):
                note = f"Decimal({source.written}) raises TypeError for None"
                steps = (
                    self.project.step(run.function, rank, note, "Decimal"),
                    self.project.step(
                        run.function, taker.op, f"the handler takes {' and '.join(taker.names)} only", "except"
                    ),
                )
                return self._finding(
                    run, rank, f"None passes the guard: {note}, which is no InvalidOperation", Severity.MEDIUM,
                    Confidence.LIKELY, steps, Fix("display", "Add TypeError to the classes of the handler"),
                )  # fmt: skip
        if source.kind == OUTSIDE and not self.project.exceptions.leaves(run.function, taker):
            loop = self._loop_inside(run, rank, taker)
            if loop:
                steps = (
                    self.project.step(
                        run.function, rank, f"Decimal({source.written}) raises for a null or an odd text", "Decimal"
                    ),
                    self.project.step(
                        run.function, taker.op, "the handler stands outside of the loop: its rest is skipped", "except"
                    ),
                )
                return self._finding(
                    run, rank, f"One bad value ends the loop: Decimal({source.written}) raises, and the handler stands outside of it",
                    Severity.MEDIUM, Confidence.LIKELY, steps, Fix("display", "Put the guard around the parse, inside of the loop"),
                )  # fmt: skip
        return None

    def _may_lack(self, run: Run, source: Parsed) -> bool:
        """Whether the value is read by `.get(key)`, which gives None for what is not there."""
        made = maker(run, source.source, source.at)
        step = run.body.ops[made] if made is not None else None
        return isinstance(step, Call) and len(step.args) == 1 and describe(run.body, step.callee).endswith(".get")

    def _loop_inside(self, run: Run, rank: int, taker: Handler) -> bool:
        """Whether the innermost loop around a parse lies inside of the guarded body."""
        flow, body = self.project.flow(run.function), run.body
        block = flow.block_of(rank)
        loops = [loop for loop in flow.natural_loops if block in loop]
        if not loops:
            return False
        loop = min(loops, key=len)
        for number in loop:
            region = body.blocks[number].region
            while region not in (taker.region, -1):
                region = body.regions[region].parent
            if region != taker.region:
                return False
        return True

    # --- no guard ---
    def _unguarded(self, run: Run, rank: int, source: Parsed) -> Finding | None:
        function = run.function
        if function.index == 0 or function.header.kind == "class" or FAST.search(function.name.lower()):
            return None
        if source.kind != OUTSIDE:
            return None
        way = self.guards.open_way(function, INVALID)
        if way is None:
            return None
        raised = source.raises.rpartition(".")[2]
        default = default_of(run, source)
        if default is not None:
            lead = f"the default {default[1]} of {source.written} stands for a missing key, not for a null"
            raised = "InvalidOperation" if source.through else "TypeError"
            steps: tuple[Step, ...] = (
                *way, self.project.step(function, default[0], lead, "get"),
                self.project.step(function, rank, f"Decimal of None: {raised}, and nothing takes it", "Decimal"),
            )  # fmt: skip
            message = f"{lead}: Decimal() raises {raised}, and nothing on the way takes it"
        else:
            note = f"Decimal({source.written}) of a value from outside: {raised}, and nothing takes it"
            steps = (*way, self.project.step(function, rank, note, "Decimal"))
            message = f"Decimal({source.written}) parses a value from outside, and nothing on the way takes {raised}"
        return self._finding(
            run, rank, message, Severity.MEDIUM, Confidence.LIKELY, steps,
            Fix("display", "Check the value, or catch InvalidOperation where it can be answered"),
        )  # fmt: skip

    def _never(self, run: Run, rank: int, source: Parsed) -> Finding:
        steps = (
            self.project.step(run.function, rank, f"Decimal({source.written}) of what is never a number", "Decimal"),
        )
        return self._finding(
            run, rank, f"Decimal({source.written}) raises whenever it runs: that is never a number", Severity.HIGH,
            Confidence.CERTAIN, steps, Fix("display", "Take the number out of the value first"),
        )  # fmt: skip

    def _finding(
        self,
        run: Run,
        rank: int,
        message: str,
        severity: Severity,
        confidence: Confidence,
        steps: tuple[Step, ...],
        fix: Fix,
    ) -> Finding:
        function = run.function
        line, column, end_line, end_column = function.at(rank)
        return Finding(
            rule=UnguardedDecimalParse.id, path=function.path, line=line, column=column, end_line=end_line, end_column=end_column,
            message=message, symbol=function.symbol, severity=severity, confidence=confidence, proof=steps, fix=fix,
        )  # fmt: skip


def _grouped(findings: list[Finding]) -> Finding:
    """Parses under one guard, or of one function without any: one finding at the first, the others in its proof."""
    ordered = sorted(findings, key=lambda f: (f.line, f.column))
    first, rest = ordered[0], [f for f in ordered[1:] if f.line != ordered[0].line]
    if not rest:
        return first
    steps = tuple(Step(f.path, f.line, f.column, "likewise", "Decimal") for f in rest[:SHOWN])
    return first.with_(message=f"{first.message}; {len(rest)} more here", proof=(*first.proof, *steps))
