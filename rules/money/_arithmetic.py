"""What operators do to numbers, as CPython and numpy do it: the table that the tests execute against the interpreter.

`BOTTOM` is the result of an operation that raises TypeError. What is not decided is `TOP`.
"""

from __future__ import annotations

from collections.abc import Iterator

from auditor.project.types import UNKNOWN, Instance

from ._values import (
    BOOL,
    BOTTOM,
    DECIMAL,
    FLOAT,
    INT,
    NONE_ATOM,
    STR,
    TOP,
    Exact,
    Fields,
    Number,
    Series,
    Value,
    is_float,
    join,
    union,
)  # fmt: skip

ARITHMETIC = frozenset({"+", "-", "*", "/", "//", "%", "**"})
ORDER = frozenset({"<", "<=", ">", ">="})
WHOLE = frozenset({"int", "bool"})
MAX_POWER = 400  # digits of a folded power
NP_FLOAT: Value = frozenset((Number("np.float"),))
NP_INT: Value = frozenset((Number("np.int"),))
CONTAINERS = frozenset({"builtins.list", "builtins.dict", "builtins.tuple", "builtins.set"})


def arithmetic(operator: str, left: Value, right: Value) -> Value:
    """The value of `left operator right` over all pairs; BOTTOM if every pair raises."""
    return union(combine(operator, a, b) for a in left for b in right)


def combine(operator: str, left: object, right: object) -> Value:
    """The value of one pair of atoms."""
    if UNKNOWN in (left, right):
        return TOP
    if isinstance(left, Number) and isinstance(right, Number):
        return _plain(operator, left, right)
    if isinstance(left, Series) or isinstance(right, Series):
        return _series(operator, left, right)
    if isinstance(left, Exact) or isinstance(right, Exact):
        return _exact(operator, left, right)
    return TOP


def _exact(operator: str, left: object, right: object) -> Value:
    """One side is a Decimal: with Decimal, int and bool it stays exact, with floats it raises."""
    other = right if isinstance(left, Exact) else left
    if isinstance(other, Exact):
        born = "float" if "float" in (left.origin if isinstance(left, Exact) else "", other.origin) else ""
        return frozenset((Exact(born),))
    if isinstance(other, Number):
        if other.kind in WHOLE:
            return DECIMAL
        if other.kind == "np.int":
            return DECIMAL if operator in ARITHMETIC else TOP
        if is_float(other):
            return BOTTOM
        if other.kind == "str":
            return STR if operator == "%" and isinstance(right, Exact) else BOTTOM
    if other == NONE_ATOM or isinstance(other, Fields) or (isinstance(other, Instance) and other.cls in CONTAINERS):
        return BOTTOM
    return TOP


def _plain(operator: str, left: Number, right: Number) -> Value:
    kinds = {left.kind, right.kind}
    if "str" in kinds:
        if (kinds == {"str"} and operator == "+") or (left.kind == "str" and operator == "%"):
            return STR
        if operator == "*" and kinds & WHOLE:
            return STR
        return BOTTOM if operator in ARITHMETIC else TOP
    if operator not in ARITHMETIC:
        return INT if kinds <= WHOLE else TOP
    if "np.float" in kinds:
        return NP_FLOAT
    if "np.int" in kinds:
        return NP_FLOAT if "float" in kinds or operator == "/" else NP_INT
    if operator == "**":
        return _power(left, right)
    if "float" in kinds or operator == "/":
        return FLOAT
    return INT


def _power(left: Number, right: Number) -> Value:
    """An int to a negative int is a float; to an int of unknown sign it may be one; a negative float base may be complex."""
    if left.kind in WHOLE and right.kind in WHOLE:
        if right.text is None:
            return INT
        if not right.text.startswith("-"):
            return INT
        return _folded(left, right)
    return FLOAT


def _folded(left: Number, right: Number) -> Value:
    """`10 ** -8` is the float 1e-8, and is known."""
    if (
        left.text == "10"
        and right.text is not None
        and right.text[1:].isdigit()
        and len(right.text) < len(str(MAX_POWER))
    ):
        return frozenset((Number("float", f"1e{right.text}"),))
    return FLOAT


def _series(operator: str, left: object, right: object) -> Value:
    """A float series with a Decimal raises, an object series of Decimals with a float too."""
    one = left if isinstance(left, Series) else right
    other = right if one is left else left
    if not isinstance(one, Series):
        return TOP
    if isinstance(other, Series):
        return frozenset((one,)) if one.of == other.of else BOTTOM
    if isinstance(other, Exact):
        return frozenset((one,)) if one.of == "Decimal" else BOTTOM
    if isinstance(other, Number) and other.kind != "str":
        if is_float(other):
            return frozenset((one,)) if one.of == "float" else BOTTOM
        return frozenset((one,)) if operator in ARITHMETIC else TOP
    return TOP


def negated(value: Value) -> Value:
    """`-x` and `+x`."""
    return union(frozenset((_negative(atom),)) for atom in value)


def _negative(atom: object) -> object:
    match atom:
        case Number("bool", _):
            return Number("int")
        case Number("str", _):
            return UNKNOWN
        case Number(kind, text) if text is not None:
            return Number(kind, text[1:] if text.startswith("-") else f"-{text}")
        case Number() | Exact() | Series():
            return atom
        case _:
            return UNKNOWN


def compared(operator: str, left: object, right: object) -> Value:
    """The value of a comparison of two atoms; BOTTOM if it raises."""
    if operator not in ORDER or UNKNOWN in (left, right):
        return (
            BOOL if operator in ("is", "is not", "in", "not in", "==", "!=") and not _elementwise(left, right) else TOP
        )
    if _elementwise(left, right):
        return TOP
    if isinstance(left, Exact) or isinstance(right, Exact):
        other = right if isinstance(left, Exact) else left
        if isinstance(other, Exact) or (
            isinstance(other, Number) and other.kind in ("int", "bool", "float", "np.float")
        ):
            return BOOL
        if isinstance(other, Number) and other.kind == "np.int":
            return BOTTOM if other is right else BOOL
        if (
            other == NONE_ATOM
            or isinstance(other, Number | Fields)
            or (isinstance(other, Instance) and other.cls in CONTAINERS)
        ):
            return BOTTOM
        return TOP
    if isinstance(left, Number) and isinstance(right, Number):
        return BOOL if (left.kind == "str") is (right.kind == "str") else BOTTOM
    return TOP


def _elementwise(left: object, right: object) -> bool:
    return isinstance(left, Series) or isinstance(right, Series)


def pairs(left: Value, right: Value) -> Iterator[tuple[object, object]]:
    """All pairs of atoms."""
    for a in left:
        for b in right:
            yield a, b


def clashes(left: object, right: object) -> bool:
    """Whether one is exact and the other a float, so that arithmetic between them raises."""
    return (_exactly(left) and _floating(right)) or (_floating(left) and _exactly(right))


def _exactly(atom: object) -> bool:
    return isinstance(atom, Exact) or (isinstance(atom, Series) and atom.of == "Decimal")


def _floating(atom: object) -> bool:
    return is_float(atom) or (isinstance(atom, Series) and atom.of == "float")


def summed(items: Value, start: Value) -> Value:
    """`sum(items, start)`: the start alone if there are no items."""
    first = arithmetic("+", start, items)
    return join(first, start) if first else BOTTOM
