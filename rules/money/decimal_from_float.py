"""
Decimal built from a float

## What it finds
`Decimal(x)`, `Decimal.from_float(x)` or `create_decimal(x)` with a float: a literal, a variable, a quotient of ints, the
result of a function of another file; and `Decimal(str(x))` where x was computed in floats from prices or balances.

## Why it matters
`Decimal(0.1)` is 0.1000000000000000055511151231257827, not 0.1: three such orders exceed a limit of 0.3, ten never equal 1,
and a price that should sit on a tick does not. The noise is exact from then on, and no rounding rule of the exchange
knows it.

## Bad
```python
from decimal import Decimal

MAX_RISK = Decimal(0.02)
```

## Good
Build the Decimal from the text of the number: a literal in quotes, `Decimal(str(value))` for a float from outside.

```python
from decimal import Decimal

MAX_RISK = Decimal("0.02")
```

## Limits
A float that is exactly the number written (0.5, 3.0) is only a note. A result that is quantized or rounded in the same
expression is silent, and so are infinities, results of transcendental functions, and arguments whose type is not decided
(a missed alarm). `Decimal(str(x))` is accepted; only when x is visibly money computed in floats is it reported, as possible.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from auditor.facts.model import OPERATORS, Binary, Call, Const, Format, Root, Select, Store
from auditor.finding import Confidence, Finding, Fix, Severity
from auditor.project.flow import describe, writes
from auditor.project.project import Project
from auditor.rule import Rule

from ._arithmetic import ARITHMETIC
from ._calls import builtin
from ._chains import Chain, Tracer, floating
from ._edits import argument_edit, as_decimal, decimal_name, whole_call_edit
from ._numbers import Construction, Numbers, numbers_of
from ._rounding import rounded
from ._run import Run
from ._values import Exact, Number, Value, all_float, has_float, known, literal, representable, sentinel, word

MONEY = re.compile(
    r"(^|_)(price|amount|balance|cost|fee|fees|qty|quantity|size|notional|pnl|profit|equity|cash|margin|capital|funds|total|bid|ask|commission|exposure)(_|s?$)"
)
TRANSCENDENTAL = frozenset(
    {"log", "log2", "log10", "log1p", "exp", "expm1", "sqrt", "sin", "cos", "tan", "tanh", "atan", "erf", "gamma"}
)
RATIO = re.compile(
    r"(^|_)(pct|percent|percentage|ratio|bps|factor|rate|adjustment|spread|count|index|decimals|precision|step|steps|multiplier)(_|s?$)"
)
FOLLOWED = 3  # assignments between a float computation and the str() around it


class DecimalFromFloat(Rule):
    id = "decimal-from-float"
    severity = Severity.HIGH
    confidence = Confidence.CERTAIN
    since = "0.1"
    effort = "S"
    cwe = (1339, 681)
    models = ("numbers",)
    counterparts = {"ruff": {"RUF032": "super"}}

    def check_project(self, project: Project) -> Iterator[Finding]:
        numbers = numbers_of(project)
        if not numbers.exact:
            return
        tracer = Tracer(numbers, floating)
        for made in numbers.constructions:
            if _open(made):
                finding = _judged(numbers, tracer, made)
                if finding is not None:
                    yield finding


def _open(made: Construction) -> bool:
    """Whether what is written leaves room for a float: no text, no int, no `str()` of what is not computed here."""
    body = made.function.body
    name = body.places[made.operand].name
    if isinstance(name, Const):
        return name.kind == "float"
    maker = next((body.ops[r] for r in range(made.rank - 1, -1, -1) if made.operand in writes(body.ops[r])), None)
    if isinstance(maker, Format):
        return False
    if isinstance(maker, Call) and not body.places[maker.callee].path and body.places[maker.callee].name in ("str", "repr"):
        return any(isinstance(op, Binary) for op in body.ops)
    return True


def _judged(numbers: Numbers, tracer: Tracer, made: Construction) -> Finding | None:
    function, rank, path, operand = made
    op = function.body.ops[rank]
    if not isinstance(op, Call):
        return None
    run = numbers.run(function)
    value = run.inputs.get(rank, {}).get(operand, frozenset())
    text = literal(value)
    if not known(value) or not has_float(value):
        return _computed(numbers, tracer, run, rank, op) if value == frozenset((Number("str"),)) else None
    if text is not None:
        return None if sentinel(text) else _literal(run, rank, op, operand, text, path)
    if not all(isinstance(a, Number) and a.kind in ("float", "np.float", "int", "bool") for a in value) or rounded(
        run, rank
    ):
        return None
    if any(isinstance(a, Number) and a.text is not None and a.kind == "float" and sentinel(a.text) for a in value):
        return None
    return _variable(run, tracer, rank, operand, value)


def _literal(run: Run, rank: int, op: Call, operand: int, text: str, path: str) -> Finding | None:
    """A float whose digits are known: here, or by the name of a constant."""
    exact = representable(text)
    if not exact and rounded(run, rank):
        return None
    here = run.places[operand].root is Root.CONST
    called = describe(run.body, op.callee) or "Decimal"
    message = (
        f"{called}({describe(run.body, operand) or text}) is exact here, but only because {text} is a float without noise"
        if exact
        else f"{called}({describe(run.body, operand) or text}) takes the binary digits of {text}, not the number that is written"
    )
    chain = Chain() if here else Tracer(numbers_of(run.project), floating).chain(run.function, rank, operand)
    name, extra = decimal_name(run.function)
    title = f"Write {as_decimal(text, name)}"
    fix = Fix("display", title)
    if here:
        if path == "decimal.Decimal":
            written = as_decimal(text, name)
            edit = argument_edit(run.function, rank, written[len(name) + 1 : -1])
            fix = Fix("display", title, (edit,)) if edit is not None else fix
        elif path == "decimal.Decimal.from_float":
            fix = Fix("display", title, (*extra, whole_call_edit(run.function, rank, as_decimal(text, name))))
    return _finding(run, rank, message, Severity.INFO if exact else Severity.HIGH, Confidence.CERTAIN, chain, fix, text)


def _variable(run: Run, tracer: Tracer, rank: int, operand: int, value: Value) -> Finding | None:
    chain = tracer.chain(run.function, rank, operand)
    if chain.refuted or chain.doubtful:
        return None
    if not all_float(value) and (chain.declared or not chain.steps):
        return None
    named = describe(run.body, operand)
    fix = Fix("display", f"Write Decimal(str({named or 'value'}))")
    severity = Severity.LOW if _irrational(run, rank, operand) else Severity.HIGH
    what = f"{named} is {word(value)}" if named else f"the argument is {word(value)}"
    return _finding(
        run,
        rank,
        f"Decimal of a float: {what}, and its binary digits become exact",
        severity,
        Confidence.LIKELY,
        chain,
        fix,
        named,
    )


def _irrational(run: Run, rank: int, operand: int) -> bool:
    """Whether the float is the result of a transcendental function: no way of writing it is exact."""
    made = _source(run, operand, rank)
    result = run.project.calls(run.function).get(made) if made is not None else None
    return result is not None and result.external.rpartition(".")[2] in TRANSCENDENTAL


def _computed(numbers: Numbers, tracer: Tracer, run: Run, rank: int, op: Call) -> Finding | None:
    """`Decimal(str(balance * 0.1))`: the text is right, the number was already rounded."""
    made = _source(run, op.args[0], rank) if op.args else None
    if made is None:
        return None
    inner = run.body.ops[made]
    if not isinstance(inner, Call) or len(inner.args) != 1:
        return None
    if builtin(run.project.calls(run.function).get(made)) not in ("str", "repr") or not all_float(
        run.seen(made, inner.args[0])
    ):
        return None
    source = inner.args[0]
    arithmetic: int | None = None
    at = made
    for _ in range(FOLLOWED):
        found = _source(run, source, at)
        if found is None:
            return None
        step = run.body.ops[found]
        if isinstance(step, Binary) and OPERATORS[step.operator] in ARITHMETIC:
            arithmetic = found
            break
        if not isinstance(step, Store):
            return None
        source, at = step.src, found
    if arithmetic is None:
        return None
    money = [n for n in _names(run, arithmetic) if MONEY.search(n) and not RATIO.search(n)]
    if not money or rounded(run, rank):
        return None
    chain = tracer.chain(run.function, made, inner.args[0])
    message = f"the Decimal is made of a float that was computed from {money[0]}: the noise is already in its text"
    fix = Fix("display", f"Make {money[0]} a Decimal first and compute exactly")
    return _finding(run, rank, message, Severity.MEDIUM, Confidence.POSSIBLE, chain, fix, money[0])


def _source(run: Run, operand: int, before: int) -> int | None:
    """The nearest operation above that wrote an operand."""
    return next((r for r in range(before - 1, -1, -1) if operand in writes(run.body.ops[r])), None)


def _names(run: Run, rank: int) -> list[str]:
    """Names in an arithmetic expression, left to right."""
    op = run.body.ops[rank]
    if not isinstance(op, Binary):
        return []
    found: list[str] = []
    for operand in (op.left, op.right):
        place = run.places[operand]
        if place.root is Root.TEMP and not place.path:
            inner = _source(run, operand, rank)
            found += _names(run, inner) if inner is not None else []
        elif not isinstance(place.name, Const):
            found.append(
                str(place.path[-1].value if place.path and place.path[-1].kind is Select.ATTR else place.name)
                .lower()
                .partition("'")[0]
            )
    return found


def _finding(
    run: Run, rank: int, message: str, severity: Severity, confidence: Confidence, chain: Chain, fix: Fix, name: str
) -> Finding:
    function = run.function
    line, column, end_line, end_column = function.at(rank)
    here = run.project.step(
        function,
        rank,
        "Decimal is built from it" if chain.steps else "Decimal is built from a float",
        name or "Decimal",
    )
    return Finding(
        rule=DecimalFromFloat.id, path=function.path, line=line, column=column, end_line=end_line, end_column=end_column,
        message=message, symbol=function.symbol, severity=severity, confidence=confidence, proof=(*chain.steps, here), fix=fix,
    )  # fmt: skip


__all__ = ["DecimalFromFloat", "Exact"]
