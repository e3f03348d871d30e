"""
Zero taken for a missing number

## What it finds
A number that may also be None is tested by truth (`x or default`, `x if x else None`, `if x:`), and zero then gets what is
meant for None: another default, an argument that is left out, a limit order without its price, a fee that was never charged.

## Why it matters
Zero is a legal price offset, fee, stop and limit. `fee or 0.001` charges a fee to the account that has none, and
`{"type": "limit", "price": price or None}` sends an order without the price that the strategy has chosen.

## Bad
```python
from decimal import Decimal


def charged(fee: Decimal | None, default: Decimal) -> Decimal:
    return fee or default
```

## Good
Ask for None by name; then zero stays a number.

```python
from decimal import Decimal


def charged(fee: Decimal | None, default: Decimal) -> Decimal:
    return fee if fee is not None else default
```

## Limits
Only where the type of the value is seen to hold a number and None (or a value from outside, under a name of money). A plain
number that is never None is tested for zero on purpose. Silent for a default of zero, for a guard of a division, for sizes
(nothing to do for zero), for conditions that compare the same value, and where zero was rejected before. Certain where a zero
is seen to arrive; likely for what is legally zero (fees, slippage, profits, offsets) and for `price or None`; possible for
prices, stops, thresholds and moments, for which zero is rare or a switch. Where `if x:` only compares x afterwards, nothing is
said.
"""

from __future__ import annotations

from collections.abc import Iterator

from auditor.facts.model import (
    OPERATORS,
    Binary,
    Bool,
    Branch,
    Choose,
    Compare,
)
from auditor.finding import Confidence, Edit, Finding, Fix, Severity
from auditor.project.flow import Flow, describe, reads
from auditor.project.project import Project
from auditor.project.symbols import FunctionNode
from auditor.rule import Rule

from ._chains import Tracer
from ._numbers import Numbers, numbers_of
from ._run import Run
from ._truth import (
    GRAVE,
    LEGAL,
    NEUTRAL,
    SWITCH,
    ZERO,
    Site,
    behind_true,
    can_be_zero,
    effect_of,
    handed_on,
    holds_number,
    instead_of,
    last_word,
    name_of,
    plain_source,
    rejected_before,
    truth_tests,
    visibly_nonzero,
    written_zero,
)
from ._values import NONE as NONE_VALUE
from ._values import NONE_ATOM, Exact, External, Number, Value, literal, word


class FalsyZero(Rule):
    id = "falsy-zero"
    severity = Severity.MEDIUM
    confidence = Confidence.LIKELY
    since = "0.1"
    effort = "S"
    cwe = (697,)
    models = ("numbers",)

    def check_project(self, project: Project) -> Iterator[Finding]:
        numbers = numbers_of(project)
        judge = _Judge(numbers)
        for function in numbers.functions:
            seen: set[int] = set()
            for site in truth_tests(function):
                finding = judge.site(function, site)
                if finding is not None and finding.line not in seen:
                    seen.add(finding.line)
                    yield finding


class _Judge:
    def __init__(self, numbers: Numbers) -> None:
        self.numbers = numbers
        self.project = numbers.project

    def site(self, function: FunctionNode, site: Site) -> Finding | None:
        flow = self.project.flow(function)
        block = flow.block_of(site.rank)
        if block not in flow.rank or rejected_before(function, flow, block, site):
            return None
        instead = instead_of(function, flow, block, site) if site.how == "branch" else None
        if site.how == "branch" and instead is None and not self._shape(function, flow, block, site):
            return None
        run = self.numbers.run(function)
        value = run.seen(site.rank, site.operand)
        if not holds_number(value, name_of(function, site.operand, site.rank).lower()):
            return None
        absent = NONE_ATOM in value or any(isinstance(a, External) for a in value)
        op = function.body.ops[site.rank]
        if isinstance(op, Bool):
            return self._default(run, site, op, value, absent)
        if isinstance(op, Choose):
            return self._chosen(run, site, op, value) if absent else None
        if not absent or NONE_ATOM not in value:
            return None
        return self._replaced(run, site, value, *instead) if instead is not None else self._branch(run, site, value)

    # --- x or default ---
    def _default(self, run: Run, site: Site, op: Bool, value: Value, absent: bool) -> Finding | None:
        other = run.seen(site.rank, op.right)
        none = other == NONE_VALUE
        if not none and (not absent or not visibly_nonzero(other) or written_zero(run, site.rank, op.right)):
            return None
        if not absent and not any(isinstance(a, Exact) for a in value):
            return None
        if self._tested(run, op.dst) or self._compared(run, op.dst):
            return None
        name = describe(run.body, site.operand) or name_of(run.function, site.operand, site.rank)
        if literal(other) in NEUTRAL and "leverage" in name.lower():
            return None
        instead = "None" if none else describe(run.body, op.right) or "the default"
        return self._finding(
            run, site, value, f"{name} or {instead}: a {last_word(name)} of 0 becomes {instead}",
            f"0 is false, so {instead} takes its place", self._rewritten(run, site.rank, op), none,
        )  # fmt: skip

    def _tested(self, run: Run, operand: int) -> bool:
        """Whether the result of `or` is itself only tested, as in `if a or b`."""
        users = [op for op in run.body.ops if operand in reads(op)]
        return bool(users) and all(
            isinstance(op, Branch | Bool) or (isinstance(op, Choose) and op.test == operand) for op in users
        )

    def _compared(self, run: Run, operand: int) -> bool:
        """Whether the result is only compared, as in `(self.stop or 0) < new`."""
        users = [op for op in run.body.ops if operand in reads(op)]
        return bool(users) and all(isinstance(op, Compare) for op in users)

    def _rewritten(self, run: Run, rank: int, op: Bool) -> tuple[Edit, ...]:
        left, right = (plain_source(run, operand) for operand in (op.left, op.right))
        start, end = run.body.spans[rank]
        if not left or not right or end - start != len(f"{left} or {right}"):
            return ()
        first, last = run.function.module.position(start), run.function.module.position(end)
        return (Edit(run.function.path, *first, *last, f"{left} if {left} is not None else {right}"),)

    # --- a if x else b ---
    def _chosen(self, run: Run, site: Site, op: Choose, value: Value) -> Finding | None:
        other = run.seen(site.rank, op.other)
        none = other == NONE_VALUE
        if (not none and not visibly_nonzero(other)) or NONE_ATOM not in value or literal(other) in NEUTRAL:
            return None
        if written_zero(run, site.rank, op.other):
            return None
        if not self._made_of(run, op.then, site.operand) or self._tested(run, op.dst):
            return None
        name = describe(run.body, site.operand) or name_of(run.function, site.operand, site.rank)
        instead = "None" if none else describe(run.body, op.other) or "the other value"
        return self._finding(
            run, site, value, f"... if {name} else {instead}: a {last_word(name)} of 0 becomes {instead}",
            f"0 is false, so {instead} takes its place", (),
        )  # fmt: skip

    @staticmethod
    def _made_of(run: Run, then: int, operand: int) -> bool:
        """Whether what is chosen is the tested value itself."""
        return then == operand or run.places[then] == run.places[operand]

    # --- if x: ---
    def _shape(self, function: FunctionNode, flow: Flow, block: int, site: Site) -> bool:
        """Whether the branch for a true value hands the value on, and does not only compare or divide by it."""
        uses = list(behind_true(function, flow, block, site))
        if not uses or any(isinstance(op, Compare) for op in uses):
            return False
        if any(
            isinstance(op, Binary) and OPERATORS[op.operator] in ("/", "//", "%") and op.right == site.operand
            for op in uses
        ):
            return False
        return any(handed_on(function, op, site.operand) for op in uses)

    def _replaced(self, run: Run, site: Site, value: Value, rank: int, operand: int) -> Finding | None:
        """`if not x: x = default`, and `str(x) if x else None`."""
        other = run.seen(rank, operand)
        none = other == NONE_VALUE
        if (not none and not visibly_nonzero(other)) or literal(other) in NEUTRAL or written_zero(run, rank, operand):
            return None
        name = describe(run.body, site.operand) or name_of(run.function, site.operand, site.rank)
        instead = "None" if none else describe(run.body, operand) or "another value"
        return self._finding(
            run,
            site,
            value,
            f"if {name}: a {last_word(name)} of 0 becomes {instead}",
            f"0 is false, so {instead} takes its place",
            (),
        )

    def _branch(self, run: Run, site: Site, value: Value) -> Finding | None:
        function, flow = run.function, self.project.flow(run.function)
        block = flow.block_of(site.rank)
        stored = next(
            (op for op in behind_true(function, flow, block, site) if handed_on(function, op, site.operand)), None
        )
        if stored is None:
            return None
        name = describe(run.body, site.operand) or name_of(function, site.operand, site.rank)
        effect = effect_of(function, flow, block, stored, site)
        if not effect:
            return None
        return self._finding(
            run,
            site,
            value,
            f"if {name}: a {last_word(name)} of 0 is taken for None, and {effect}",
            f"0 is false, so {effect}",
            (),
        )

    def _finding(
        self,
        run: Run,
        site: Site,
        value: Value,
        message: str,
        note: str,
        edits: tuple[Edit, ...],
        dropped: bool = False,
    ) -> Finding:
        function = run.function
        name = name_of(function, site.operand, site.rank)
        legal = LEGAL.search(name.lower()) is not None and SWITCH.search(name.lower()) is None
        grave = GRAVE.search(name.lower()) is not None
        chain = Tracer(self.numbers, can_be_zero).chain(function, site.rank, site.operand)
        line, column, end_line, end_column = function.at(site.rank)
        zero = any(isinstance(a, Number) and a.text in ZERO for a in value) and NONE_ATOM in value
        text = describe(run.body, site.operand) or name
        here = self.project.step(function, site.rank, f"{text} is {word(value)}, and is tested by truth: {note}", name)
        return Finding(
            rule=FalsyZero.id, path=function.path, line=line, column=column, end_line=end_line, end_column=end_column,
            message=message, symbol=function.symbol, severity=Severity.HIGH if grave else Severity.MEDIUM,
            confidence=Confidence.CERTAIN if zero else Confidence.LIKELY if legal or dropped else Confidence.POSSIBLE,
            proof=(*chain.steps, here), fix=Fix("display", f"Write {text} is not None", edits),
        )  # fmt: skip
