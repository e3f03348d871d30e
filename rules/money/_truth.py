"""Truth tests of numbers: where they stand, under which names, and what becomes of zero on their false edge."""

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
from auditor.project.flow import Flow, describe, reads, writes
from auditor.project.symbols import FunctionNode

from ._run import Run
from ._values import NONE_ATOM, Exact, External, Number, Value, literal

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


def truth_tests(function: FunctionNode) -> Iterator[Site]:
    """Truth tests of places that bear a name of money."""
    body = function.body
    for rank, op in enumerate(body.ops):
        match op:
            case Bool(_, operator, left, _) if OPERATORS[operator] == "or" and name_of_money(function, left, rank):
                yield Site(rank, left, "or")
            case Choose(_, test, _, _) if name_of_money(function, test, rank):
                yield Site(rank, test, "choose")
            case Branch(test, asserts) if not asserts and name_of_money(function, test, rank):
                yield Site(rank, test, "branch")
            case _:
                pass


def name_of_money(function: FunctionNode, operand: int, rank: int) -> str:
    """The name of what is tested, if it is one of money: a variable, an attribute, a key that is read."""
    name = name_of(function, operand, rank).lower()
    return (
        name if (LEGAL.search(name) or PRICE.search(name)) and not SIZE.search(name) and not OTHER.search(name) else ""
    )


def name_of(function: FunctionNode, operand: int, rank: int) -> str:
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


def can_be_zero(value: Value) -> bool:
    return any(
        isinstance(a, Exact) or (isinstance(a, Number) and a.kind in ("int", "float", "np.float", "np.int"))
        for a in value
    )


def holds_number(value: Value, name: str) -> bool:
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


def visibly_nonzero(value: Value) -> bool:
    """Whether a default is visibly not zero: a literal, a number of another name."""
    text = literal(value)
    if text is not None:
        return text not in ZERO and not all(isinstance(a, Number) and a.kind == "str" for a in value)
    return any(
        isinstance(a, Exact | Number) and not (isinstance(a, Number) and a.kind in ("str", "bool")) for a in value
    )


def written_zero(run: Run, rank: int, operand: int) -> bool:
    """Whether what takes the place is a zero that is written there or named so: `Decimal(0)`, `ZERO`, `s_decimal_0`."""
    name = describe(run.body, operand).lower().rpartition(".")[2]
    if "zero" in name or name.endswith("_0"):
        return True
    made = next((run.body.ops[r] for r in range(rank - 1, -1, -1) if operand in writes(run.body.ops[r])), None)
    if not isinstance(made, Call) or len(made.args) != 1:
        return False
    given = run.places[made.args[0]].name
    return isinstance(given, Const) and given.text in ZERO


def rejected_before(function: FunctionNode, flow: Flow, block: int, site: Site) -> bool:
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


def instead_of(function: FunctionNode, flow: Flow, block: int, site: Site) -> tuple[int, int] | None:
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
    uses = list(behind_true(function, flow, block, site))
    if not uses or any(isinstance(op, Compare) for op in uses):
        return None
    divides = any(
        isinstance(op, Binary) and OPERATORS[op.operator] in ("/", "//", "%") and op.right == site.operand
        for op in uses
    )
    made = any(store.dst in writes(op) for op in body.ops[body.blocks[true].start : body.blocks[true].end])
    return (rank, store.src) if made and not divides else None


def behind_true(function: FunctionNode, flow: Flow, block: int, site: Site) -> Iterator[Op]:
    """Operations behind the true edge that read the tested value before it is bound anew."""
    body = function.body
    targets = [t for kind, t in body.blocks[block].edges if kind is Edge.TRUE and t >= 0]
    others = [t for kind, t in body.blocks[block].edges if kind is Edge.FALSE and t >= 0]
    if len(targets) != 1 or others == targets:
        return
    inside = [n for n in flow.order if flow.dominates(targets[0], n) and len(flow.predecessors[targets[0]]) == 1]
    for number in inside:
        for rank in range(body.blocks[number].start, body.blocks[number].end):
            if site.operand in reads(body.ops[rank]):
                yield body.ops[rank]
            if site.operand in writes(body.ops[rank]):
                return


def handed_on(function: FunctionNode, op: Op, operand: int) -> bool:
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


def effect_of(function: FunctionNode, flow: Flow, block: int, stored: Op, site: Site) -> str:
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


def plain_source(run: Run, operand: int) -> str:
    """An operand as written, where that is sure: names, attributes, plain literals."""
    place = run.places[operand]
    if isinstance(place.name, Const):
        return "None" if place.name.kind == "none" else place.name.text if place.name.kind in ("int", "float") else ""
    if place.root is Root.TEMP or any(kind is not Select.ATTR for kind, _ in place.path):
        return ""
    return describe(run.body, operand)


def last_word(name: str) -> str:
    return name.rpartition(".")[2]
