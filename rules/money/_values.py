"""The numeric lattice: a value is a set of atoms, join is union; more than four atoms, or one that is unknown, are `TOP`.

Atoms are numbers (with the literal where it is known), Decimals (with their origin), series, dicts with constant keys,
payloads from outside, and, for everything else, the atoms of the types stratum. The empty set is the value of what
cannot be computed: an operation that raises. Values carry no provenance; proofs are rebuilt from the finished runs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import cast

from auditor.facts.model import Const
from auditor.project.symbols import ClassNode
from auditor.project.types import UNKNOWN, Instance, Outside, Type

MAX_ATOMS = 4
PAIR = 2  # arguments of `divmod`, `pow` and `get` with a default; type arguments of a dict


@dataclass(frozen=True, slots=True)
class Exact:
    """A Decimal. `origin`: text, int, literal (a float literal that is exact), float (the digits of a float), "" unknown."""

    origin: str = ""


@dataclass(frozen=True, slots=True)
class Number:
    """A value of a plain type. `kind`: float, int, bool, str, np.float, np.int; `text` is the literal where it is known."""

    kind: str
    text: str | None = None


@dataclass(frozen=True, slots=True)
class Series:
    """A pandas Series or numpy array; `of` is float or Decimal."""

    of: str


@dataclass(frozen=True, slots=True)
class Fields:
    """A dict of which the constant keys are known; `rest` is what other keys hold."""

    items: tuple[tuple[str, frozenset[object]], ...]
    rest: frozenset[object]


@dataclass(frozen=True, slots=True)
class External:
    """A value from outside (JSON, a payload, configuration): its type is open; None and text are possible."""


Value = frozenset[object]

BOTTOM: Value = frozenset()
TOP: Value = frozenset((UNKNOWN,))
NONE_ATOM = Instance("builtins.None")
NONE: Value = frozenset((NONE_ATOM,))
DECIMAL: Value = frozenset((Exact(),))
FLOAT: Value = frozenset((Number("float"),))
INT: Value = frozenset((Number("int"),))
BOOL: Value = frozenset((Number("bool"),))
STR: Value = frozenset((Number("str"),))
EXTERNAL: Value = frozenset((External(),))
DECIMALS = frozenset({"decimal.Decimal", "_decimal.Decimal"})
PLAIN = {"builtins.float": "float", "builtins.int": "int", "builtins.bool": "bool", "builtins.str": "str"}
NUMPY_FLOATS = frozenset(
    {"numpy.float64", "numpy.float32", "numpy.float16", "numpy.floating", "numpy.double", "numpy.single"}
)
NUMPY_INTS = frozenset({
    "numpy.int64", "numpy.int32", "numpy.int16", "numpy.int8", "numpy.uint64", "numpy.uint32", "numpy.uint8", "numpy.integer",
    "numpy.int_", "numpy.intp",
})  # fmt: skip
FLOAT_KINDS = frozenset({"float", "np.float"})


def constant(literal: Const) -> Value:
    """The value of a literal."""
    if literal.kind == "none":
        return NONE
    if literal.kind in ("float", "int", "bool", "str"):
        return frozenset((Number(literal.kind, literal.text),))
    return frozenset((Instance(f"builtins.{literal.kind}"),))


def converted(types: Type) -> Value:
    """A type of the types stratum as a numeric value."""
    if not types or UNKNOWN in types:
        return TOP
    if len(types) == 1:
        (only,) = types
        return frozenset((_atom(only),))
    atoms: list[object] = [_atom(atom) for atom in types]
    return union(frozenset((atom,)) for atom in atoms)


def _atom(atom: object) -> object:
    if isinstance(atom, Instance) and isinstance(atom.cls, str):
        if atom.cls in DECIMALS:
            return Exact()
        if atom.cls in PLAIN:
            return Number(PLAIN[atom.cls])
        if atom.cls in NUMPY_FLOATS:
            return Number("np.float")
        if atom.cls in NUMPY_INTS:
            return Number("np.int")
        if atom.args:
            return holding(atom.cls, *(converted(arg) for arg in atom.args), exact=atom.exact)
    if isinstance(atom, Outside) and atom.path in ("math.inf", "math.nan", "numpy.inf", "numpy.nan", "numpy.NaN"):
        return Number("float", atom.path.rpartition(".")[2].lower())
    if isinstance(atom, Outside) and atom.path in ("math.pi", "math.e", "math.tau"):
        return Number("float")
    return atom


def holding(cls: ClassNode | str, *items: Value, exact: bool = False) -> Instance:
    """A container of values: the atom of the types stratum, with values for its type arguments."""
    return Instance(cls, cast("tuple[Type, ...]", items), exact)


def held(container: Instance) -> tuple[Value, ...]:
    """What a container holds, by type argument."""
    return cast("tuple[Value, ...]", container.args)


def typed(atom: object) -> Type:
    """An atom of the types stratum, as a type of it."""
    return cast("Type", frozenset((atom,)))


def join(one: Value, other: Value) -> Value:
    """The least value that holds both."""
    if one is other or not other:
        return one
    if not one:
        return other
    if UNKNOWN in one or UNKNOWN in other:
        return TOP
    both = one | other
    if len(both) == len(one):
        return one
    merged: dict[object, object] = {}
    for atom in both:
        key = _class(atom)
        merged[key] = _merged(merged[key], atom) if key in merged else atom
    return frozenset(merged.values()) if len(merged) <= MAX_ATOMS else TOP


def _class(atom: object) -> object:
    """Atoms of one class are merged into one."""
    match atom:
        case Exact():
            return "Decimal"
        case Number(kind, _):
            return kind
        case Fields():
            return "fields"
        case Instance(cls, _, _):
            return cls
        case _:
            return atom


def _merged(one: object, other: object) -> object:
    if isinstance(one, Number) and isinstance(other, Number):
        return Number(one.kind, one.text if one.text == other.text else None)
    if isinstance(one, Exact) and isinstance(other, Exact):
        return Exact(one.origin if one.origin == other.origin else "")
    if isinstance(one, Fields) and isinstance(other, Fields):
        rest = union(v for f in (one, other) for v in (f.rest, *(value for _, value in f.items)))
        return Fields((), rest)
    if isinstance(one, Instance) and isinstance(other, Instance):
        if len(one.args) != len(other.args):
            return Instance(one.cls, (), one.exact and other.exact)
        items = [join(a, b) for a, b in zip(held(one), held(other), strict=True)]
        return holding(one.cls, *items, exact=one.exact and other.exact)
    return one


def union(values: Iterable[Value]) -> Value:
    result = BOTTOM
    for value in values:
        result = join(result, value)
    return result


def is_float(atom: object) -> bool:
    return isinstance(atom, Number) and atom.kind in FLOAT_KINDS


def is_series(atom: object) -> bool:
    return isinstance(atom, Series)


def known(value: Value) -> bool:
    """Whether every possible value is decided."""
    return bool(value) and UNKNOWN not in value


def all_float(value: Value) -> bool:
    """Whether only a float can stand here."""
    return bool(value) and all(is_float(a) or (isinstance(a, Series) and a.of == "float") for a in value)


def all_decimal(value: Value) -> bool:
    return bool(value) and all(isinstance(a, Exact) for a in value)


def has_float(value: Value) -> bool:
    return any(is_float(a) or (isinstance(a, Series) and a.of == "float") for a in value)


def has_decimal(value: Value) -> bool:
    return any(isinstance(a, Exact) or (isinstance(a, Series) and a.of == "Decimal") for a in value)


def literal(value: Value) -> str | None:
    """The literal, where a value is exactly one of a plain type."""
    if len(value) == 1:
        (atom,) = value
        if isinstance(atom, Number):
            return atom.text
    return None


def representable(text: str) -> bool:
    """Whether the float that a literal stands for is exactly the number that was written."""
    try:
        # auditor: ignore[decimal-from-float] -- the binary digits of the float are what is asked about
        return Decimal(float(text.replace("_", ""))) == Decimal(text.replace("_", ""))
    except (ValueError, OverflowError, InvalidOperation):
        return False


def sentinel(text: str) -> bool:
    """Whether a literal stands for infinity or not-a-number."""
    return text.strip().lower().lstrip("+-") in ("inf", "infinity", "nan")


def without_none(value: Value) -> Value:
    return value - NONE if len(value) > 1 else value


def word(value: Value) -> str:
    """The value as a reader would say it: `Decimal`, `float`, `float or Decimal`."""
    names = {
        "Decimal" if isinstance(a, Exact)
        else {"np.float": "numpy float", "np.int": "numpy int"}.get(a.kind, a.kind) if isinstance(a, Number)
        else f"series of {a.of}" if isinstance(a, Series)
        else "a value from outside" if isinstance(a, External)
        else "None" if a == NONE_ATOM
        else "another type"
        for a in value
    }  # fmt: skip
    return " or ".join(sorted(names)) or "nothing"


def kind_value(kind: str) -> Value:
    """The value that a library model names."""
    if kind in ("float", "int", "str", "np.float", "np.int", "bool"):
        return frozenset((Number(kind),))
    return {"external": EXTERNAL, "decimal": DECIMAL, "series": frozenset((Series("float"),))}.get(kind, TOP)
