"""
Comparison of a Decimal with another kind of value

## What it finds
`<`, `<=`, `>`, `>=` between a Decimal and None, a text, a dict or a numpy int, which raise TypeError; `==`, `!=` and `in` between
a Decimal and a float, which are almost never equal; and bounds written as a float that is not the number that stands there.

## Why it matters
A stop that starts as None and is compared before it is ever set raises on each tick; behind a broad handler it never moves.
`Decimal("0.1") == 0.1` is False, and stays False, whatever the venue sends.

## Bad
```python
from decimal import Decimal


def is_fee_of_tier(fee: Decimal) -> bool:
    return fee == 0.1
```

## Good
Compare with a Decimal of the digits that are meant, and ask for None by name before an ordering.

```python
from decimal import Decimal


def is_fee_of_tier(fee: Decimal) -> bool:
    return fee == Decimal("0.1")
```

## Limits
Decides by the types that reach the comparison. None is reported where it is seen to arrive: by a default that a caller leaves, a
result, a `.get()`, or an attribute that only the guarded branch would set; for other attributes that begin as None the finding
is possible. Floats that are exactly what is written (0.5, 3.0), ints, and floats among floats are silent; an ordering against a
float that is not exact is a note.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from auditor.facts.model import (
    OPERATORS,
    Branch,
    Collect,
    Compare,
    Const,
    Edge,
    Root,
    Select,
)
from auditor.finding import Confidence, Edit, Finding, Fix, Severity, Step
from auditor.project.flow import describe, writes
from auditor.project.project import Project
from auditor.project.symbols import ClassNode, FunctionNode
from auditor.project.types import Instance
from auditor.rule import Rule

from ._arithmetic import ORDER, compared, pairs
from ._arrivals import Arrivals
from ._chains import Chain, Tracer, exactly, floating
from ._clashes import written_as
from ._edits import as_decimal, decimal_name
from ._handlers import swallowed
from ._numbers import Numbers, numbers_of
from ._run import Run
from ._values import (
    BOTTOM,
    NONE_ATOM,
    Exact,
    External,
    Fields,
    Series,
    Value,
    all_decimal,
    all_float,
    known,
    literal,
    representable,
    sentinel,
    word,
)

EQUAL = frozenset({"==", "!="})


class Sides(NamedTuple):
    """A comparison with a Decimal: the operand that is exact, the other one, and their values."""

    rank: int
    operator: str
    exact: int
    other: int
    first: Value
    second: Value
    written: str


class MixedNumericComparison(Rule):
    id = "mixed-numeric-comparison"
    severity = Severity.MEDIUM
    confidence = Confidence.CERTAIN
    since = "0.1"
    effort = "S"
    cwe = (1077, 697)
    models = ("numbers",)
    counterparts = {"ruff": {"RUF069": "super"}}

    def check_project(self, project: Project) -> Iterator[Finding]:
        numbers = numbers_of(project)
        judge = _Judge(numbers)
        for function in numbers.near:
            yield from judge.function(function)


class _Judge:
    def __init__(self, numbers: Numbers) -> None:
        self.numbers = numbers
        self.project = numbers.project
        self.floats = Tracer(numbers, floating)
        self.exact = Tracer(numbers, exactly)
        self.arrivals = Arrivals(numbers)

    def function(self, function: FunctionNode) -> Iterator[Finding]:
        ranks = [
            r
            for r, op in enumerate(function.body.ops)
            if isinstance(op, Compare) and OPERATORS[op.operator] in COMPARED
        ]
        seen: set[int] = set()
        for rank in ranks:
            run = self.numbers.run(function)
            for sides in self._sides(run, rank):
                finding = self._judged(run, sides)
                if finding is not None and finding.line not in seen:
                    seen.add(finding.line)
                    yield finding

    def _sides(self, run: Run, rank: int) -> Iterator[Sides]:
        op = run.body.ops[rank]
        if not isinstance(op, Compare) or run.project.flow(run.function).block_of(rank) not in run.envs:
            return
        word_of = OPERATORS[op.operator]
        left, right = run.inputs[rank][op.left], run.inputs[rank][op.right]
        written = f"{_text(run, op.left)} {word_of} {_text(run, op.right)}"
        if word_of in ("in", "not in"):
            if all_decimal(left):
                yield Sides(rank, word_of, op.left, op.right, left, run.items(op.right), written)
            return
        if _decimal(left):
            yield Sides(rank, word_of, op.left, op.right, left, right, written)
        if _decimal(right) and not all_decimal(left):
            yield Sides(rank, word_of, op.right, op.left, right, left, written)

    def _judged(self, run: Run, sides: Sides) -> Finding | None:
        if not known(sides.first) or not known(sides.second):
            return None
        if sides.operator in ORDER:
            return self._ordering(run, sides)
        if all_decimal(sides.first):
            return self._equality(run, sides)
        return None

    # --- == and in ---
    def _equality(self, run: Run, sides: Sides) -> Finding | None:
        if not all_float(sides.second) or any(isinstance(a, Series) for a in sides.second):
            return None
        if sides.operator in ("in", "not in"):
            return self._membership(run, sides)
        text = literal(sides.second)
        exact = self.exact.chain(run.function, sides.rank, sides.exact)
        if exact.refuted or exact.doubtful:
            return None
        answer = "never equal" if sides.operator == "==" else "always unequal"
        if text is not None:
            if sentinel(text) or representable(text):
                return None
            return self._finding(
                run, sides, f"{sides.written}: a Decimal and the float {text} are {answer}", Severity.MEDIUM,
                Confidence.CERTAIN if not exact.open else Confidence.LIKELY, exact.steps, self._literal_fix(run, sides, text),
            )  # fmt: skip
        chain = self.floats.chain(run.function, sides.rank, sides.other)
        if chain.refuted or chain.doubtful or not chain.steps or (chain.declared and not chain.confirmed):
            return None
        return self._finding(
            run, sides, f"{sides.written}: a Decimal and a float are equal only where the float has no noise", Severity.MEDIUM,
            Confidence.LIKELY, (*chain.steps, *exact.steps), Fix("display", "Make the float a Decimal where it enters"),
        )  # fmt: skip

    def _membership(self, run: Run, sides: Sides) -> Finding | None:
        made = run.made.get(sides.other)
        names = [run.places[item].name for item in made.items] if isinstance(made, Collect) else []
        texts = [name.text if isinstance(name, Const) and name.kind == "float" else None for name in names]
        if not texts or any(text is None or sentinel(text) or representable(text) for text in texts):
            return None
        return self._finding(
            run, sides, f"{sides.written}: a Decimal is equal to none of these floats", Severity.MEDIUM, Confidence.CERTAIN, (),
            Fix("display", "Write the members as Decimals"),
        )  # fmt: skip

    def _literal_fix(self, run: Run, sides: Sides, text: str) -> Fix:
        """The literal as a Decimal, where what stands around it leaves one place for it."""
        name, extra = decimal_name(run.function)
        written = as_decimal(text, name)
        title = f"Write {written}"
        op = run.body.ops[sides.rank]
        place = run.places[sides.other]
        if not isinstance(op, Compare) or place.root is not Root.CONST or op.right != sides.other:
            return Fix("display", title)
        left = describe(run.body, op.left)
        start, end = run.body.spans[sides.rank]
        if end - start != len(f"{left} {sides.operator} {text}") or run.places[op.left].root is Root.TEMP:
            return Fix("display", title)
        first, last = run.function.module.position(end - len(text)), run.function.module.position(end)
        return Fix("display", title, (*extra, Edit(run.function.path, *first, *last, written)))

    # --- < <= > >= ---
    def _ordering(self, run: Run, sides: Sides) -> Finding | None:
        left, right = run.inputs[sides.rank][sides.exact], sides.second
        op = run.body.ops[sides.rank]
        if not isinstance(op, Compare):
            return None
        one, other = run.inputs[sides.rank][op.left], run.inputs[sides.rank][op.right]
        outcomes = [(a, b, compared(sides.operator, a, b) == BOTTOM) for a, b in pairs(one, other)]
        bad = [(a, b) for a, b, raises in outcomes if raises]
        if not bad:
            return self._bound(run, sides, left, right)
        if any(isinstance(a, External) for a in (*one, *other)):
            return None
        if all(NONE_ATOM in pair for pair in bad) and len(bad) < len(outcomes):
            return self._none(run, sides)
        if all(NONE_ATOM in pair for pair in bad):
            if not any(v == frozenset((NONE_ATOM,)) for v in (one, other)):
                return None
            return self._always(run, sides, "None")
        if len(bad) < len(outcomes):
            return None
        return self._always(run, sides, word(right) if not _dictionary(right) else "a dict")

    def _always(self, run: Run, sides: Sides, what: str) -> Finding | None:
        exact = self.exact.chain(run.function, sides.rank, sides.exact)
        if exact.refuted or exact.doubtful or exact.open or self._typed_only(run, sides):
            return None
        steps = exact.steps
        return self._finding(
            run, sides, f"{sides.written} orders a Decimal and {what}: TypeError whenever it runs", Severity.HIGH,
            Confidence.CERTAIN if not exact.declared else Confidence.LIKELY, steps, Fix("display", "Compare the number that is meant"),
        )  # fmt: skip

    def _typed_only(self, run: Run, sides: Sides) -> bool:
        """Whether the other side is a parameter that is only declared so: then the annotation may be what is wrong."""
        place = run.places[sides.other]
        if place.root is not Root.LOCAL or place.path:
            return False
        param = next((p for p in run.function.header.params if p.name == place.name), None)
        return param is not None and not any(sides.other in writes(op) for op in run.body.ops)

    def _none(self, run: Run, sides: Sides) -> Finding | None:
        """A side that may be None: where it is seen to arrive, the finding is likely."""
        place_rank = sides.other if NONE_ATOM in sides.second else sides.exact
        place = run.places[place_rank]
        name = _text(run, place_rank)
        if place.path and place.path[-1].kind is Select.ATTR:
            return self._attribute(run, sides, place_rank, name)
        steps = self.arrivals.of(run, sides.rank, place_rank)
        if steps is None:
            return None
        return self._with_handler(
            run, sides, f"{sides.written}: TypeError when {name} is None", Severity.HIGH, Confidence.LIKELY, steps, name
        )

    def _attribute(self, run: Run, sides: Sides, operand: int, name: str) -> Finding | None:
        """An attribute that begins as None: it is never set if the only assignment stands behind the comparison."""
        place = run.places[operand]
        cls = self._owner(run, sides.rank, operand)
        if cls is None:
            return None
        attribute = str(place.path[-1].value)
        line = {*cls.mro, *cls.descendants()}
        stores = [(f, r) for f, r in self.numbers.stores(attribute) if f.cls in line]
        begins = [(f, r) for f, r in stores if self.numbers.run(f).written.get(r) == frozenset((NONE_ATOM,))]
        sets = [(f, r) for f, r in stores if (f, r) not in begins]
        if not begins:
            return None
        begin = self.project.step(*begins[0], f"{attribute} begins as None", attribute)
        behind = [(f, r) for f, r in sets if f is run.function and self._behind(run, sides.rank, r)]
        if sets and len(behind) == len(sets):
            set_ = self.project.step(
                *behind[0], f"the only assignment stands behind the comparison: {attribute} is never set", attribute
            )
            return self._with_handler(
                run, sides, f"{sides.written}: TypeError while {name} is None, and only what stands behind it would set it",
                Severity.HIGH, Confidence.CERTAIN, (begin, set_), name,
            )  # fmt: skip
        return self._with_handler(
            run,
            sides,
            f"{sides.written}: TypeError as long as {name} is None",
            Severity.MEDIUM,
            Confidence.POSSIBLE,
            (begin,),
            name,
        )

    def _owner(self, run: Run, rank: int, operand: int) -> ClassNode | None:
        place = run.places[operand]
        if run.function.self_name and place.name == run.function.self_name and len(place.path) == 1:
            return run.function.cls
        return None

    def _behind(self, run: Run, rank: int, store: int) -> bool:
        """Whether a store is reached only over the true edge of a comparison."""
        flow = run.project.flow(run.function)
        block = flow.block_of(rank)
        end = run.body.blocks[block].end - 1
        op, compare = run.body.ops[end], run.body.ops[rank]
        if not isinstance(op, Branch) or not isinstance(compare, Compare) or op.test != compare.dst:
            return False
        targets = [t for kind, t in run.body.blocks[block].edges if kind is Edge.TRUE]
        return len(targets) == 1 and targets[0] >= 0 and flow.dominates(targets[0], flow.block_of(store))

    def _with_handler(
        self,
        run: Run,
        sides: Sides,
        message: str,
        severity: Severity,
        confidence: Confidence,
        steps: tuple[Step, ...],
        name: str,
    ) -> Finding:
        swallow = swallowed(self.project, run.function, sides.rank)
        here = self.project.step(run.function, sides.rank, f"{sides.written}: a Decimal and None have no order", name)
        steps = (*steps, here)
        if swallow is not None and confidence is not Confidence.POSSIBLE:
            severity = severity.step(1)
            message += f"; the handler swallows it, so {swallow.effect}"
            steps = (
                *steps,
                self.project.step(
                    run.function, swallow.handler, f"the handler swallows it: {swallow.effect}", "except"
                ),
            )
        line, column, end_line, end_column = run.function.at(sides.rank)
        return Finding(
            rule=MixedNumericComparison.id, path=run.function.path, line=line, column=column, end_line=end_line, end_column=end_column,
            message=message, symbol=run.function.symbol, severity=severity, confidence=confidence, proof=steps,
            fix=Fix("display", f"Ask for {name} is not None first"),
        )  # fmt: skip

    def _bound(self, run: Run, sides: Sides, left: Value, right: Value) -> Finding | None:
        """An ordering against a float literal that is not the number that is written."""
        text = literal(right)
        if not all_decimal(left) or text is None or not all_float(right) or sentinel(text) or representable(text):
            return None
        exact = self.exact.chain(run.function, sides.rank, sides.exact)
        if exact.refuted or exact.doubtful:
            return None
        return self._finding(
            run, sides, f"{sides.written}: the bound is the float nearest to {text}, not {text} itself", Severity.LOW,
            Confidence.CERTAIN if not exact.open else Confidence.LIKELY, exact.steps, self._literal_fix(run, sides, text),
        )  # fmt: skip

    def _finding(
        self,
        run: Run,
        sides: Sides,
        message: str,
        severity: Severity,
        confidence: Confidence,
        steps: tuple[Step, ...],
        fix: Fix,
    ) -> Finding:
        function = run.function
        line, column, end_line, end_column = function.at(sides.rank)
        here = self.project.step(
            function, sides.rank, f"{sides.written}: {word(sides.first)} with {word(sides.second)}", sides.written
        )
        return Finding(
            rule=MixedNumericComparison.id, path=function.path, line=line, column=column, end_line=end_line, end_column=end_column,
            message=message, symbol=function.symbol, severity=severity, confidence=confidence, proof=(*steps, here), fix=fix,
        )  # fmt: skip


COMPARED = ORDER | EQUAL | {"in", "not in"}


def _decimal(value: Value) -> bool:
    """A Decimal, or a Decimal that may be None."""
    return any(isinstance(a, Exact) for a in value) and all(isinstance(a, Exact) or a == NONE_ATOM for a in value)


def _dictionary(value: Value) -> bool:
    return all(isinstance(a, Fields) or (isinstance(a, Instance) and a.cls == "builtins.dict") for a in value)


def _text(run: Run, operand: int) -> str:
    name = describe(run.body, operand)
    literal_name = run.places[operand].name
    if isinstance(literal_name, Const) and literal_name.kind == "none":
        return "None"
    return name or written_as(run, operand)


__all__ = ["Chain", "MixedNumericComparison"]
