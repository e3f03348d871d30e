"""
Decimal that goes through a float

## What it finds
`float(d)`, `%.8f`, `math.fsum` of a Decimal whose float flows back into money: into a new Decimal, into a balance that is kept
in floats, into the amount or price of an order, or into `int()` and `floor` of a product that decides a quantity. The way may
lead over names, attributes, calls and files; it is the proof.

## Why it matters
The exact value was there and is gone: 1000.00 less a fee of 0.01 a hundred thousand times does not end at 0 after one step
through float, `int(0.29 * 100)` is 28, and a reconciliation that compares with `==` fails for ever.

## Bad
```python
from decimal import Decimal


def after_fee(balance: Decimal, fee: Decimal) -> Decimal:
    return Decimal(str(float(balance) - float(fee)))
```

## Good
Compute with the Decimals that are there; leave them for a float only where nothing comes back.

```python
from decimal import Decimal


def after_fee(balance: Decimal, fee: Decimal) -> Decimal:
    return balance - fee
```

## Limits
Silent for floats that only leave: logs, metrics, plots, reports, statistics, percentages, columns of a database; for what is
rounded or quantized on the way; and for transcendental functions and chance, which have no exact form. A float that returns as
text without any arithmetic between loses digits beyond the seventeenth only, and is low; in an order it is only possible. A
value whose type is not known to be a Decimal is no source (a missed alarm).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from auditor.facts.model import NONE, OPERATORS, Binary, Call, Const, Root, Select, Store
from auditor.finding import Confidence, Finding, Fix, Severity
from auditor.project.flow import describe, uses, writes
from auditor.project.project import Project
from auditor.project.symbols import FunctionNode
from auditor.rule import Rule

from ._calls import builtin
from ._numbers import Construction, Numbers, numbers_of
from ._parsing import maker
from ._round_trips import Way, Ways
from ._rounding import rounded
from ._run import Run
from ._values import Number, Value, has_float, is_float

BALANCE = re.compile(
    r"(^|_)(balance|balances|cash|equity|ledger|inventory|holdings|position|exposure|margin|funds|reserved|available)(_|$)"
)
QUANTITY = re.compile(
    r"(^|_)(amount|qty|quantity|size|volume|lots|contracts|units|shares|price|cost|notional|value|balance)(_|s?$)"
)
CLOCK = re.compile(
    r"(^|_)(time|timestamp|ts|date|seconds|minutes|ms|duration|delay|interval|age|"
    r"expiry|expiration|percent|pct|ratio|leverage|index|count|idx)(_|s?$)"
)
FLOORS = frozenset({"math.floor", "math.ceil", "math.trunc"})
ORDERS = frozenset({
    "create_order", "create_limit_order", "create_market_order", "create_limit_buy_order", "create_limit_sell_order", "place_order",
    "submit_order", "edit_order", "amend_order", "create_market_buy_order", "create_market_sell_order", "new_order", "send_order",
})  # fmt: skip
ORDER_WORDS = frozenset({"amount", "price", "quantity", "qty", "size", "volume", "cost", "stop_price", "limit_price"})
LIKELY = (Severity.MEDIUM, Confidence.LIKELY)


class DecimalToFloat(Rule):
    id = "decimal-to-float"
    severity = Severity.HIGH
    confidence = Confidence.LIKELY
    since = "0.1"
    effort = "S"
    cwe = (681, 1339)
    models = ("numbers", "exchange")
    implies = ("decimal-from-float",)

    def check_project(self, project: Project) -> Iterator[Finding]:
        numbers = numbers_of(project)
        if not numbers.exact:
            return
        judge = _Judge(numbers)
        found: dict[tuple[str, int], Finding] = {}
        for made in numbers.constructions:
            finding = judge.construction(made)
            if finding is not None:
                found.setdefault((finding.path, finding.line), finding)
        for function in numbers.near:
            for finding in judge.function(function):
                found.setdefault((finding.path, finding.line), finding)
        yield from (found[key] for key in sorted(found))


class _Judge:
    def __init__(self, numbers: Numbers) -> None:
        self.numbers = numbers
        self.project = numbers.project
        self.ways = Ways(numbers)

    # --- back into a Decimal ---
    def construction(self, made: Construction) -> Finding | None:
        function, rank, _, operand = made
        if isinstance(function.body.places[operand].name, Const):
            return None
        if not _may_be_float(function, rank, operand):
            return None
        run = self.numbers.run(function)
        value = run.inputs.get(rank, {}).get(operand, frozenset())
        direct = has_float(value) and all(isinstance(a, Number) for a in value)
        if not direct and not self._text_of_float(run, rank, operand, value):
            return None
        way = self.ways.back(function, rank, operand)
        if way is None or rounded(run, rank) or CLOCK.search(_last(way.source)):
            return None
        here = self.project.step(function, rank, "and is made a Decimal again", "Decimal")
        if direct:
            message = f"{way.source} goes through a float into a new Decimal: its binary digits become exact"
        elif way.computed:
            message = (
                f"{way.source} is computed as a float and made a Decimal again: the noise of the float stays in it"
            )
        else:
            message = f"{way.source} goes through a float into a new Decimal: digits beyond the seventeenth are lost"
        grade = Severity.HIGH if direct or way.computed else Severity.LOW
        confidence = Confidence.CERTAIN if direct and not way.far else Confidence.LIKELY
        if way.returned and not direct:
            confidence = Confidence.POSSIBLE  # a function of floats that is exact inside only
        title = f"Compute with {way.source} as it is, without float()"
        return self._finding(run, rank, message, (grade, confidence), way, (here.note, "Decimal", title))

    def _text_of_float(self, run: Run, rank: int, operand: int, value: Value) -> bool:
        """Whether the argument is the text of a float: `str(x)`, `f"{x}"`, `"%.8f" % d`."""
        if value != frozenset((Number("str"),)):
            return False
        made = maker(run, operand, rank)
        step = run.body.ops[made] if made is not None else None
        if isinstance(step, Call) and made is not None and len(step.args) == 1:
            spoken = builtin(self.project.calls(run.function).get(made)) in ("str", "repr")
            return spoken and has_float(run.seen(made, step.args[0]))
        return isinstance(step, Binary) and OPERATORS[step.operator] == "%"

    # --- into a balance, an order, a quantity ---
    def function(self, function: FunctionNode) -> Iterator[Finding]:
        body = function.body
        for rank, op in enumerate(body.ops):
            if isinstance(op, Binary) and op.inplace and OPERATORS[op.operator] in ("+", "-"):
                finding = self._balance(function, rank, op)
            elif isinstance(op, Call) and (op.args or op.keywords):
                finding = self._quantity(function, rank, op) or self._order(function, rank, op)
            else:
                continue
            if finding is not None:
                yield finding

    def _balance(self, function: FunctionNode, rank: int, op: Binary) -> Finding | None:
        place = function.body.places[op.dst]
        if (
            not place.path
            or place.path[-1].kind is not Select.ATTR
            or not BALANCE.search(str(place.path[-1].value).lower())
        ):
            return None
        run = self.numbers.run(function)
        if not _floats(run.inputs.get(rank, {}).get(op.right, frozenset())):
            return None
        way = self.ways.back(function, rank, op.right)
        if way is None:
            return None
        name = describe(function.body, op.dst)
        message = f"{name} is a running sum in floats, fed by the Decimal {way.source}: it drifts from its entries"
        return self._finding(
            run, rank, message, LIKELY, way, (f"added to {name}", _last(name), f"Keep {name} as a Decimal")
        )

    def _quantity(self, function: FunctionNode, rank: int, op: Call) -> Finding | None:
        """`int(float(d) * 100)`: the product falls below the whole number that it stands for."""
        result = self.project.calls(function).get(rank)
        if len(op.args) != 1 or result is None or result.targets:
            return None
        if builtin(result) != "int" and result.external not in FLOORS:
            return None
        product = next((o for o in reversed(function.body.ops[:rank]) if op.args[0] in writes(o)), None)
        if isinstance(product, Store):
            product = next((o for o in reversed(function.body.ops[:rank]) if product.src in writes(o)), None)
        if not isinstance(product, Binary) or OPERATORS[product.operator] not in ("*", "/"):
            return None
        run = self.numbers.run(function)
        if not _floats(run.inputs.get(rank, {}).get(op.args[0], frozenset())):
            return None
        way = self.ways.back(function, rank, op.args[0])
        if way is None or not way.scaled:
            return None
        names = [_last(way.source), *_targets(function, op.dst)]
        if not any(QUANTITY.search(n) for n in names) or any(CLOCK.search(n) for n in names):
            return None
        called = describe(function.body, op.callee)
        up = called.rpartition(".")[2] == "ceil"
        drifts = "rise above the whole number, as ceil(1.1 * 10) is 12" if up else "fall below the whole number, as int(0.29 * 100) is 28"
        message = f"{called}() of {way.source} times a factor in floats: it can {drifts}"
        words = (f"{called}() cuts the product", called, f"Multiply the Decimal {way.source}, then {called}()")
        return self._finding(run, rank, message, LIKELY, way, words)

    def _order(self, function: FunctionNode, rank: int, op: Call) -> Finding | None:
        """A float for the amount or price of an order call of a client."""
        result = self.project.calls(function).get(rank)
        if result is not None and result.targets:
            return None
        operands = self._of_order(function, rank, op)
        if not operands:
            return None
        run = self.numbers.run(function)
        for word, operand in operands:
            if not _floats(run.inputs.get(rank, {}).get(operand, frozenset())):
                continue
            way = self.ways.back(function, rank, operand)
            if way is not None:
                called = describe(function.body, op.callee) or "the order call"
                message = f"the {word} of the order is a float of the Decimal {way.source}: the venue gets digits that nobody chose"
                words = (
                    f"{word} of {called}()",
                    word,
                    "Give the venue the text of the Decimal, rounded to its precision",
                )
                grade = (
                    LIKELY if way.computed else (Severity.LOW, Confidence.POSSIBLE)
                )  # the client prints the same digits
                return self._finding(run, rank, message, grade, way, words)
        return None

    def _of_order(self, function: FunctionNode, rank: int, op: Call) -> list[tuple[str, int]]:
        """The arguments of an order call that are money, by the model or by the name of the method and keyword."""
        found: list[tuple[str, int]] = []
        role = self.project.role(function, rank, "exchange") if "exchange" in self._models else None
        if role is not None and role[1].name in ("place", "edit"):
            keywords = dict(op.keywords)
            for word in ("amount", "price"):
                for where in role[1].attributes.get(word, ()):
                    if str(where).isdigit() and int(where) < len(op.args) and not op.starred:
                        found.append((word, op.args[int(where)]))
                    elif str(where) in keywords:
                        found.append((word, keywords[str(where)]))
        elif describe(function.body, op.callee).rpartition(".")[2] in ORDERS:
            found = [(word, operand) for word, operand in op.keywords if word in ORDER_WORDS]
        return found

    @property
    def _models(self) -> frozenset[str]:
        return frozenset({"exchange"}) if self.project.models.model("exchange").packages else frozenset()

    def _finding(
        self,
        run: Run,
        rank: int,
        message: str,
        grade: tuple[Severity, Confidence],
        way: Way,
        words: tuple[str, str, str],
    ) -> Finding:
        """`words`: the note of the last step, its name, and the mend."""
        function = run.function
        last, name, title = words
        line, column, end_line, end_column = function.at(rank)
        steps = (*way.steps, self.project.step(function, rank, last, name))
        return Finding(
            rule=DecimalToFloat.id, path=function.path, line=line, column=column, end_line=end_line, end_column=end_column,
            message=message, symbol=function.symbol, severity=grade[0], confidence=grade[1], proof=steps, fix=Fix("display", title),
        )  # fmt: skip


def _floats(value: Value) -> bool:
    return bool(value) and all(is_float(a) for a in value)


def _may_be_float(function: FunctionNode, rank: int, operand: int) -> bool:
    """Whether what is written leaves room: a text that is cut, joined or read from a container holds no float."""
    body = function.body
    place = body.places[operand]
    made = next((body.ops[r] for r in range(rank - 1, -1, -1) if operand in writes(body.ops[r])), None)
    if (
        isinstance(made, Call)
        and not body.places[made.callee].path
        and body.places[made.callee].name in ("str", "repr")
    ):
        inner = body.places[made.args[0]] if made.args else None
        return inner is not None and (inner.root is not Root.CONST)
    return made is not None or place.root is not Root.TEMP


def _targets(function: FunctionNode, operand: int) -> list[str]:
    """Names that a result is stored under."""
    body = function.body
    if operand == NONE:
        return []
    return [
        _last(describe(body, step.dst)) for step in (body.ops[r] for r in uses(body, operand))
        if isinstance(step, Store) and describe(body, step.dst)
    ]  # fmt: skip


def _last(name: str) -> str:
    return name.rpartition(".")[2].lower().removesuffix("()")
