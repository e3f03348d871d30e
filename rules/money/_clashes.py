"""Operations of which the operands cannot be combined: Decimal with float, by operator, `sum`, `divmod`, `pow`, `mean`."""

from __future__ import annotations

from typing import NamedTuple

from auditor.facts.model import Call, Collect, Root
from auditor.project.flow import describe

from ._arithmetic import clashes, pairs
from ._calls import builtin
from ._run import Run
from ._values import (
    PAIR,
    Exact,
    External,
    Number,
    Series,
    Value,
    all_decimal,
    all_float,
    has_float,
    is_float,
    known,
    union,
)


class Clash(NamedTuple):
    """Two operands of an operation of which pairs raise; `always`: all of them do."""

    rank: int
    floats: int
    exact: int
    always: bool
    written: str


def numeric(value: Value) -> bool:
    return known(value) and all(
        isinstance(a, Exact | Series | External) or (isinstance(a, Number) and a.kind != "str") for a in value
    )


def operator_clash(run: Run, rank: int, left: int, right: int, written: str) -> Clash | None:
    one, other = run.inputs[rank][left], run.inputs[rank][right]
    if not numeric(one) or not numeric(other):
        return None
    outcomes = [clashes(a, b) for a, b in pairs(one, other)]
    if not any(outcomes):
        return None
    first = any(
        clashes(a, b) and (is_float(a) or (isinstance(a, Series) and a.of == "float")) for a, b in pairs(one, other)
    )
    sides = tuple(written_as(run, p) for p in (left, right))
    floats, exact = (left, right) if first else (right, left)
    return Clash(rank, floats, exact, all(outcomes), f"{sides[0]} {written} {sides[1]}")


def written_as(run: Run, operand: int) -> str:
    """An operand as its author wrote it, in short: a name, a literal, `call()`, or `(...)` for an expression."""
    made = run.made.get(operand)
    if isinstance(made, Call) and run.places[operand].root is Root.TEMP:
        return f"{describe(run.body, made.callee) or '...'}()"
    return describe(run.body, operand) or "(...)"


def call_clash(run: Run, rank: int, op: Call) -> Clash | None:
    """`sum(decimals, 0.0)`, `divmod`, `pow`, `statistics.mean` of both."""
    result = run.project.calls(run.function).get(rank)
    name = builtin(result)
    if (
        result is not None
        and result.external in ("statistics.mean", "statistics.median", "statistics.stdev")
        and op.args
    ):
        return _summed(run, rank, op, None, result.external)
    if name in ("divmod", "pow") and len(op.args) == PAIR and not op.starred:
        found = operator_clash(run, rank, op.args[0], op.args[1], ",")
        return found._replace(written=f"{name}({found.written.replace(' ,', ',')})") if found is not None else None
    if name == "sum" and op.args:
        start = op.args[1] if len(op.args) > 1 else next((v for k, v in op.keywords if k == "start"), None)
        return _summed(run, rank, op, start, "sum")
    return None


def _summed(run: Run, rank: int, op: Call, start: int | None, name: str) -> Clash | None:
    made = next((o for o in reversed(run.body.ops[:rank]) if isinstance(o, Collect) and o.dst == op.args[0]), None)
    items = (
        union(_held(run, rank, i) for i in made.items)
        if made is not None and made.items
        else _held(run, rank, op.args[0], True)
    )
    if not numeric(items):
        return None
    if start is None:
        mixed = any(isinstance(a, Exact) for a in items) and any(is_float(a) for a in items)
        shown = made is not None and bool(made.items) and not made.starred
        if not mixed or not shown or made is None:
            return None
        sides = [(i, _held(run, rank, i)) for i in made.items]
        floats = next((i for i, v in sides if all_float(v)), None)
        exact = next((i for i, v in sides if all_decimal(v)), None)
        if floats is None or exact is None:
            return None
        run.inputs[rank].update({floats: _held(run, rank, floats), exact: _held(run, rank, exact)})
        return Clash(rank, floats, exact, True, f"{name}(...)")
    first = run.inputs[rank][start]
    if not numeric(first) or not any(clashes(a, b) for a, b in pairs(first, items)):
        return None
    run.inputs[rank][op.args[0]] = items
    shown = made is not None and bool(made.items) and not made.starred
    apart = (all_float(first) and all_decimal(items)) or (all_decimal(first) and all_float(items))
    floats, exact = (start, op.args[0]) if has_float(first) else (op.args[0], start)
    return Clash(rank, floats, exact, apart and shown, f"{name}(..., {describe(run.body, start) or '...'})")


def _held(run: Run, rank: int, operand: int, inside: bool = False) -> Value:
    value = run.seen(rank, operand)
    return run.items(operand) if inside else value
