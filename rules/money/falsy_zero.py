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

import re
from collections.abc import Iterator
from typing import NamedTuple

from auditor.facts.model import (
    NONE,
    OPERATORS,
    Binary,
    Bool,
    Branch,
    Call,
    Choose,
    Compare,
    Const,
    Edge,
    Op,
    Raise,
    Return,
    Root,
    Select,
    Store,
    Table,
)
from auditor.finding import Confidence, Edit, Finding, Fix, Severity
from auditor.project.flow import Flow, describe, reads, writes
from auditor.project.project import Project
from auditor.project.symbols import FunctionNode
from auditor.rule import Rule

from ._chains import Tracer
from ._numbers import Numbers, numbers_of
from ._run import Run
from ._values import NONE as NONE_VALUE
from ._values import NONE_ATOM, Exact, External, Number, Value, literal, word

LEGAL = re.compile(
    r"(^|_)(fee|fees|commission|slippage|threshold|spread|offset|profit|pnl|rebate|discount|premium|funding|tolerance|deviation|pct|pc|"
    r"percent|percentage|ratio|markup|tax|royalty|interest)(_|s?$)"
)
PRICE = re.compile(
    r"(^|_)(price|stop|stoploss|loss|limit|leverage|trigger|target|bid|ask|cost|margin|tp|sl|timestamp|since)(_|s?$)"
)
SWITCH = re.compile(r"take_profit|trail|threshold")  # zero switches these off
SIZE = re.compile(
    r"(^|_)(amount|qty|quantity|size|volume|position|balance|total|count|num|len|filled|remaining)(_|s?$)"
)
GRAVE = re.compile(r"(^|_)(price|stop|stoploss|loss|trigger)(_|s?$)")
OTHER = re.compile(
    r"(^|_)(rate_limit|id|ids|date|days|minutes|seconds|hours|timeout|retries|retry|interval|mode|type|side|currency|asset|symbol|name|key|"
    r"str|text|candles|candle|period|duration|lookback|window|max_loss_count|token|address)(_|s?$)"
)
SPOKEN = frozenset({
    "debug", "info", "warning", "warn", "error", "exception", "print", "critical", "log", "append_log", "notify", "isinstance", "type",
    "str", "repr",
})  # fmt: skip
ZERO = frozenset({"0", "0.0", "0.", ".0"})
NEUTRAL = frozenset({"1", "1.0"})


class Site(NamedTuple):
    """A truth test of a place: by `or`, by a conditional expression, or by a branch."""

    rank: int
    operand: int
    how: str


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
            for site in _sites(function):
                finding = judge.site(function, site)
                if finding is not None and finding.line not in seen:
                    seen.add(finding.line)
                    yield finding


def _sites(function: FunctionNode) -> Iterator[Site]:
    """Truth tests of places that bear a name of money."""
    body = function.body
    for rank, op in enumerate(body.ops):
        match op:
            case Bool(_, operator, left, _) if OPERATORS[operator] == "or" and _named(function, left, rank):
                yield Site(rank, left, "or")
            case Choose(_, test, _, _) if _named(function, test, rank):
                yield Site(rank, test, "choose")
            case Branch(test, asserts) if not asserts and _named(function, test, rank):
                yield Site(rank, test, "branch")
            case _:
                pass


def _named(function: FunctionNode, operand: int, rank: int) -> str:
    """The name of what is tested, if it is one of money: a variable, an attribute, a key that is read."""
    name = _name(function, operand, rank).lower()
    return (
        name if (LEGAL.search(name) or PRICE.search(name)) and not SIZE.search(name) and not OTHER.search(name) else ""
    )


def _name(function: FunctionNode, operand: int, rank: int) -> str:
    body = function.body
    place = body.places[operand]
    if place.root is Root.CONST:
        return ""
    if place.path:
        kind, selected = place.path[-1]
        if kind is Select.ATTR:
            return str(selected)
        return selected.text if isinstance(selected, Const) and selected.kind == "str" else ""
    if place.root is not Root.TEMP:
        return str(place.name).partition("'")[0]
    made = next((body.ops[r] for r in range(rank - 1, -1, -1) if operand in writes(body.ops[r])), None)
    if isinstance(made, Call) and describe(body, made.callee).rpartition(".")[2] in ("get", "getattr") and made.args:
        keys = [body.places[a].name for a in made.args]
        return next((k.text for k in keys if isinstance(k, Const) and k.kind == "str"), "")
    return ""


class _Judge:
    def __init__(self, numbers: Numbers) -> None:
        self.numbers = numbers
        self.project = numbers.project

    def site(self, function: FunctionNode, site: Site) -> Finding | None:
        flow = self.project.flow(function)
        block = flow.block_of(site.rank)
        if block not in flow.rank or _rejected(function, flow, block, site):
            return None
        instead = _instead(function, flow, block, site) if site.how == "branch" else None
        if site.how == "branch" and instead is None and not self._shape(function, flow, block, site):
            return None
        run = self.numbers.run(function)
        value = run.seen(site.rank, site.operand)
        if not _numeric(value, _name(function, site.operand, site.rank).lower()):
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
        if not none and (not absent or not _nonzero(other) or _written_zero(run, site.rank, op.right)):
            return None
        if not absent and not any(isinstance(a, Exact) for a in value):
            return None
        if self._tested(run, op.dst) or self._compared(run, op.dst):
            return None
        name = describe(run.body, site.operand) or _name(run.function, site.operand, site.rank)
        if literal(other) in NEUTRAL and "leverage" in name.lower():
            return None
        instead = "None" if none else describe(run.body, op.right) or "the default"
        return self._finding(
            run, site, value, f"{name} or {instead}: a {_last(name)} of 0 becomes {instead}",
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
        left, right = (_source(run, operand) for operand in (op.left, op.right))
        start, end = run.body.spans[rank]
        if not left or not right or end - start != len(f"{left} or {right}"):
            return ()
        first, last = run.function.module.position(start), run.function.module.position(end)
        return (Edit(run.function.path, *first, *last, f"{left} if {left} is not None else {right}"),)

    # --- a if x else b ---
    def _chosen(self, run: Run, site: Site, op: Choose, value: Value) -> Finding | None:
        other = run.seen(site.rank, op.other)
        none = other == NONE_VALUE
        if (not none and not _nonzero(other)) or NONE_ATOM not in value or literal(other) in NEUTRAL:
            return None
        if _written_zero(run, site.rank, op.other):
            return None
        if not self._made_of(run, op.then, site.operand) or self._tested(run, op.dst):
            return None
        name = describe(run.body, site.operand) or _name(run.function, site.operand, site.rank)
        instead = "None" if none else describe(run.body, op.other) or "the other value"
        return self._finding(
            run, site, value, f"... if {name} else {instead}: a {_last(name)} of 0 becomes {instead}",
            f"0 is false, so {instead} takes its place", (),
        )  # fmt: skip

    @staticmethod
    def _made_of(run: Run, then: int, operand: int) -> bool:
        """Whether what is chosen is the tested value itself."""
        return then == operand or run.places[then] == run.places[operand]

    # --- if x: ---
    def _shape(self, function: FunctionNode, flow: Flow, block: int, site: Site) -> bool:
        """Whether the branch for a true value hands the value on, and does not only compare or divide by it."""
        uses = list(_uses(function, flow, block, site))
        if not uses or any(isinstance(op, Compare) for op in uses):
            return False
        if any(
            isinstance(op, Binary) and OPERATORS[op.operator] in ("/", "//", "%") and op.right == site.operand
            for op in uses
        ):
            return False
        return any(_handed(function, op, site.operand) for op in uses)

    def _replaced(self, run: Run, site: Site, value: Value, rank: int, operand: int) -> Finding | None:
        """`if not x: x = default`, and `str(x) if x else None`."""
        other = run.seen(rank, operand)
        none = other == NONE_VALUE
        if (not none and not _nonzero(other)) or literal(other) in NEUTRAL or _written_zero(run, rank, operand):
            return None
        name = describe(run.body, site.operand) or _name(run.function, site.operand, site.rank)
        instead = "None" if none else describe(run.body, operand) or "another value"
        return self._finding(
            run,
            site,
            value,
            f"if {name}: a {_last(name)} of 0 becomes {instead}",
            f"0 is false, so {instead} takes its place",
            (),
        )

    def _branch(self, run: Run, site: Site, value: Value) -> Finding | None:
        function, flow = run.function, self.project.flow(run.function)
        block = flow.block_of(site.rank)
        stored = next((op for op in _uses(function, flow, block, site) if _handed(function, op, site.operand)), None)
        if stored is None:
            return None
        name = describe(run.body, site.operand) or _name(function, site.operand, site.rank)
        effect = _effect(function, flow, block, stored, site)
        if not effect:
            return None
        return self._finding(
            run,
            site,
            value,
            f"if {name}: a {_last(name)} of 0 is taken for None, and {effect}",
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
        name = _name(function, site.operand, site.rank)
        legal = LEGAL.search(name.lower()) is not None and SWITCH.search(name.lower()) is None
        grave = GRAVE.search(name.lower()) is not None
        chain = Tracer(self.numbers, _can_be_zero).chain(function, site.rank, site.operand)
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


def _can_be_zero(value: Value) -> bool:
    return any(
        isinstance(a, Exact) or (isinstance(a, Number) and a.kind in ("int", "float", "np.float", "np.int"))
        for a in value
    )


def _numeric(value: Value, name: str) -> bool:
    """Whether a value holds a number that can be zero, and nothing beside it but None and what is from outside."""
    atoms = [a for a in value if a != NONE_ATOM]
    if not atoms:
        return False
    plain = [a for a in atoms if isinstance(a, Number)]
    if any(a.kind in ("str", "bool") for a in plain) or any(a.text is not None and a.text not in ZERO for a in plain):
        return False
    if not all(isinstance(a, Exact | Number | External) for a in atoms):
        return False
    if all(isinstance(a, External) for a in atoms):
        return False
    if all(a.kind in ("int", "np.int") for a in plain) and len(plain) == len(atoms):
        return not {"limit", "timestamp", "since", "target"}.intersection(
            name.split("_")
        )  # a page of so many rows; a moment
    return True


def _nonzero(value: Value) -> bool:
    """Whether a default is visibly not zero: a literal, a number of another name."""
    text = literal(value)
    if text is not None:
        return text not in ZERO and not all(isinstance(a, Number) and a.kind == "str" for a in value)
    return any(
        isinstance(a, Exact | Number) and not (isinstance(a, Number) and a.kind in ("str", "bool")) for a in value
    )


def _written_zero(run: Run, rank: int, operand: int) -> bool:
    """Whether what takes the place is a zero that is written there or named so: `Decimal(0)`, `ZERO`, `s_decimal_0`."""
    name = describe(run.body, operand).lower().rpartition(".")[2]
    if "zero" in name or name.endswith("_0"):
        return True
    made = next((run.body.ops[r] for r in range(rank - 1, -1, -1) if operand in writes(run.body.ops[r])), None)
    if not isinstance(made, Call) or len(made.args) != 1:
        return False
    given = run.places[made.args[0]].name
    return isinstance(given, Const) and given.text in ZERO


def _rejected(function: FunctionNode, flow: Flow, block: int, site: Site) -> bool:
    """Whether the value was compared on every way to the test, or is compared in its condition."""
    body = function.body
    same = {i for i, place in enumerate(body.places) if place == body.places[site.operand]}
    for number, part in enumerate(body.blocks):
        for rank in range(part.start, part.end):
            op = body.ops[rank]
            if (
                isinstance(op, Compare)
                and OPERATORS[op.operator] not in ("is", "is not")
                and same & {op.left, op.right}
            ):
                other = body.places[op.right if op.left in same else op.left].name
                if isinstance(other, Const) and other.kind == "none":
                    continue
                if isinstance(other, Const) and other.text in ZERO and number in flow.before(block):
                    return True
                if number == block or (number in flow.rank and flow.dominates(number, block)):
                    return True
    return False


def _instead(function: FunctionNode, flow: Flow, block: int, site: Site) -> tuple[int, int] | None:
    """What takes the place of a false value: the store and its source, where the false edge leads to nothing else. Either the
    tested name itself is stored (`if not x: x = d`), or the result of an expression that is made of the value on the other edge
    (`f(x) if x else d`)."""
    body = function.body
    other = next((t for kind, t in body.blocks[block].edges if kind is Edge.FALSE and t >= 0), NONE)
    true = next((t for kind, t in body.blocks[block].edges if kind is Edge.TRUE and t >= 0), NONE)
    if NONE in (other, true) or len(flow.predecessors[other]) != 1:
        return None
    ops = [(r, body.ops[r]) for r in range(body.blocks[other].start, body.blocks[other].end)]
    rank, store = ops[-1] if ops else (NONE, None)
    if not isinstance(store, Store) or not all(isinstance(op, Call) for _, op in ops[:-1]):
        return None
    if store.dst == site.operand:
        return rank, store.src
    place = body.places[store.dst]
    if place.root is not Root.TEMP or place.path or len(flow.predecessors[true]) != 1:
        return None
    uses = list(_uses(function, flow, block, site))
    if not uses or any(isinstance(op, Compare) for op in uses):
        return None
    divides = any(
        isinstance(op, Binary) and OPERATORS[op.operator] in ("/", "//", "%") and op.right == site.operand
        for op in uses
    )
    made = any(store.dst in writes(op) for op in body.ops[body.blocks[true].start : body.blocks[true].end])
    return (rank, store.src) if made and not divides else None


def _uses(function: FunctionNode, flow: Flow, block: int, site: Site) -> Iterator[Op]:
    """Operations behind the true edge that read the tested value before it is bound anew."""
    body = function.body
    targets = [t for kind, t in body.blocks[block].edges if kind is Edge.TRUE and t >= 0]
    others = [t for kind, t in body.blocks[block].edges if kind is Edge.FALSE and t >= 0]
    if len(targets) != 1 or others == targets:
        return
    inside = [n for n in flow.order if flow.dominates(targets[0], n) and len(flow.predecessors[targets[0]]) == 1]
    for number in inside:
        for rank in range(body.blocks[number].start, body.blocks[number].end):
            if _reads(body.ops[rank], site.operand, body.places):
                yield body.ops[rank]
            if site.operand in writes(body.ops[rank]):
                return


def _reads(op: Op, operand: int, places: object) -> bool:
    return operand in reads(op)


def _handed(function: FunctionNode, op: Op, operand: int) -> bool:
    """Whether an operation hands a value on: into a dict or an object, or to a call that is no message."""
    if isinstance(op, Store):
        place = function.body.places[op.dst]
        return op.src == operand and bool(place.path) and place.path[-1] != (Select.KEY, NONE)  # that is a filter
    if isinstance(op, Table):
        return operand in op.values
    if isinstance(op, Return):
        return op.src == operand
    if isinstance(op, Call):
        name = describe(function.body, op.callee).rpartition(".")[2]
        return name not in SPOKEN and not name.startswith("format")
    return False


def _effect(function: FunctionNode, flow: Flow, block: int, stored: Op, site: Site) -> str:
    """What becomes of zero; "" where the way for a missing value is not seen."""
    body = function.body
    other = next((t for kind, t in body.blocks[block].edges if kind is Edge.FALSE and t >= 0), NONE)
    if other == NONE:
        return ""
    part = body.blocks[other]
    for rank in range(part.start, part.end):
        op = body.ops[rank]
        if isinstance(op, Raise):
            return ""  # zero is refused, aloud
        if isinstance(op, Return) and len(flow.predecessors[other]) == 1:
            given = body.places[op.src].name if op.src != NONE else None
            return "" if isinstance(given, Const) and given.text in ZERO else "the rest is skipped"
    if isinstance(stored, Store):
        place = body.places[stored.dst]
        last = place.path[-1][1] if place.path else place.name
        return (
            f"{last.text if isinstance(last, Const) else last} is left out"
            if not isinstance(last, int)
            else "it is left out"
        )
    if isinstance(stored, Call) and body.places[stored.callee].path:
        return f"{describe(body, stored.callee)}() is left out"
    return "it is left out"


def _source(run: Run, operand: int) -> str:
    """An operand as written, where that is sure: names, attributes, plain literals."""
    place = run.places[operand]
    if isinstance(place.name, Const):
        return "None" if place.name.kind == "none" else place.name.text if place.name.kind in ("int", "float") else ""
    if place.root is Root.TEMP or any(kind is not Select.ATTR for kind, _ in place.path):
        return ""
    return describe(run.body, operand)


def _last(name: str) -> str:
    return name.rpartition(".")[2]
