"""What calls do to numbers: constructors and converters, methods of Decimals, containers, functions of the project."""

from __future__ import annotations

from typing import TYPE_CHECKING

from auditor.facts.model import Call, Select
from auditor.project.callables import CallResult
from auditor.project.models import canonical
from auditor.project.types import UNKNOWN, Instance, Outside

from ._arithmetic import arithmetic, combine, summed
from ._values import (
    BOOL,
    BOTTOM,
    DECIMAL,
    EXTERNAL,
    FLOAT,
    INT,
    NONE,
    PAIR,
    STR,
    TOP,
    Exact,
    External,
    Fields,
    Number,
    Series,
    Value,
    all_float,
    converted,
    has_decimal,
    holding,
    is_float,
    join,
    kind_value,
    literal,
    representable,
    union,
)  # fmt: skip

if TYPE_CHECKING:
    from ._run import Run

CONSTRUCTORS = frozenset({
    "decimal.Decimal", "decimal.Decimal.from_float", "decimal.Context.create_decimal",
    "decimal.Context.create_decimal_from_float",
})  # fmt: skip
ROUNDERS = frozenset(
    {"round", "abs", "min", "max", "sum", "pow", "divmod", "float", "int", "str", "repr", "bool", "len"}
)
TO_INT = frozenset({"math.floor", "math.ceil", "math.trunc"})
ELEMENTWISE = frozenset({
    "mean", "std", "var", "median", "sum", "min", "max", "quantile", "item", "iloc", "prod", "skew", "kurt", "ptp",
})  # fmt: skip
SAME_SERIES = frozenset({
    "shift", "diff", "rolling", "ewm", "pct_change", "fillna", "dropna", "abs", "cumsum", "cumprod", "astype", "copy", "tail",
    "head", "to_numpy", "clip", "round", "ffill", "bfill", "reset_index", "sort_values", "expanding", "apply", "rename",
})  # fmt: skip
DECIMAL_INTS = frozenset({"adjusted", "__int__", "__floor__", "__ceil__", "__trunc__", "__hash__"})
DECIMAL_BOOLS = frozenset(
    {"is_nan", "is_zero", "is_signed", "is_finite", "is_infinite", "is_qnan", "is_snan", "is_normal", "is_subnormal"}
)


def constructs(result: CallResult | None) -> str:
    """The constructor of Decimals that a call runs, "" for other calls."""
    if result is None or len(result.externals) != 1 or result.targets or "ecimal" not in result.externals[0]:
        return ""
    path = canonical(result.externals[0])
    return path if path in CONSTRUCTORS else ""


def builtin(result: CallResult | None) -> str:
    """The name of the builtin that a call runs, "" for other calls."""
    if (
        result is None
        or len(result.externals) != 1
        or result.targets
        or not result.externals[0].startswith("builtins.")
    ):
        return ""
    return result.externals[0][len("builtins.") :]


def call(run: Run, op: Call, rank: int) -> Value:
    """The value of a call."""
    place = run.places[op.callee]
    result = run.project.calls(run.function).get(rank)
    if result is not None and not result.targets:
        if constructs(result):
            return frozenset((Exact(_origin(run, op)),))
        name = builtin(result)
        if name in ROUNDERS:
            return _builtin(run, op, name)
    if place.path and place.path[-1].kind is Select.ATTR:
        found = _method(run, op, str(place.path[-1].value))
        if found is not None:
            return found
    if result is None:
        return TOP
    modelled = _modelled(run, op, rank, result)
    if modelled is not None:
        return modelled
    if result.external in TO_INT:
        return INT
    if result.external in ("statistics.mean", "statistics.median") and op.args:
        items = run.items(op.args[0])
        return (
            TOP
            if UNKNOWN in items or not items
            else FLOAT
            if all_float(items)
            else DECIMAL
            if not any(map(is_float, items)) and has_decimal(items)
            else TOP
        )
    found = run.numbers.convert(result.type)
    if UNKNOWN in found and result.targets and not result.externals and run.layer and result.how != "partial":
        return union(run.numbers.returned(t.function, run.layer - 1) for t in result.targets if not t.wrapper) if all(
            t.function.header.kind in ("def", "lambda") and not t.function.header.is_async and not t.function.header.is_generator
            and t.function.header.returns is None and t.function.name != "__init__" for t in result.targets
        ) else found  # fmt: skip
    return found


def _modelled(run: Run, op: Call, rank: int, result: CallResult) -> Value | None:
    """The value by the library model; a reduction is a float only if what it reduces is known to be floats."""
    if result.targets:
        return None
    role = run.project.role(run.function, rank, "numbers")
    if role is None or role[1].name != "returns":
        return None
    if role[1].attributes.get("of") == "floats":
        items = run.items(op.args[0]) if op.args else TOP
        if not items or not all(is_float(a) or (isinstance(a, Number) and a.kind == "int") for a in items):
            return TOP
    return kind_value(str(role[1].attributes.get("kind", "")))


def _origin(run: Run, op: Call) -> str:
    """Where the digits of a new Decimal come from."""
    if not op.args:
        return "int"
    origins = {_atom_origin(atom) for atom in run.value(op.args[0])}
    return origins.pop() if len(origins) == 1 else ""


def _atom_origin(atom: object) -> str:
    match atom:
        case Exact(origin):
            return origin
        case Number("str", _):
            return "text"
        case Number("int" | "bool", _):
            return "int"
        case Number("float" | "np.float", text):
            return "literal" if text is not None and representable(text) else "float"
        case _:
            return ""


def _builtin(run: Run, op: Call, name: str) -> Value:
    args = [run.value(a) for a in op.args]
    if op.starred:
        return {"float": FLOAT, "int": INT, "str": STR, "repr": STR, "bool": BOOL, "len": INT}.get(name, TOP)
    if name in ("str", "repr"):
        return STR
    if name == "float":
        text = literal(args[0]) if args else "0.0"
        return frozenset((Number("float", text),)) if text is not None else FLOAT
    if name in ("int", "len"):
        return INT
    if name == "bool":
        return BOOL
    if not args:
        return TOP
    if name in ("abs", "round"):
        return union(_rounded(atom, name, len(args) > 1) for atom in args[0])
    if name == "pow":
        return arithmetic("**", args[0], args[1]) if len(args) == PAIR else TOP
    if name == "divmod":
        pair = arithmetic("//", args[0], args[1]) if len(args) == PAIR else TOP
        return frozenset((holding("builtins.tuple", pair, pair),)) if pair else BOTTOM
    default = next((run.value(v) for k, v in op.keywords if k == "default"), BOTTOM)
    if name == "sum":
        start = (
            args[1]
            if len(args) > 1
            else next((run.value(v) for k, v in op.keywords if k == "start"), frozenset((Number("int", "0"),)))
        )
        return summed(run.items(op.args[0]), start)
    return join(run.items(op.args[0]), default) if len(args) == 1 else union(args)


def _rounded(atom: object, name: str, digits: bool) -> Value:
    match atom:
        case Exact():
            return frozenset((atom,)) if name == "abs" else DECIMAL if digits else INT
        case Number("float" | "int" | "bool", text):
            if name == "abs":
                return frozenset(
                    (Number("int" if atom.kind == "bool" else atom.kind, text.lstrip("-") if text else None),)
                )
            return INT if not digits or atom.kind != "float" else FLOAT
        case Number("np.float" | "np.int", _):
            return frozenset((Number(atom.kind),)) if name == "abs" or digits else INT
        case Series():
            return frozenset((atom,))
        case _:
            return TOP


def _method(run: Run, op: Call, name: str) -> Value | None:
    """The value of a method call whose receiver is a number, a series or a container; None for other receivers."""
    base = run.base(op.callee)
    if not base or UNKNOWN in base:
        return _open_get(run, op, name) if base else BOTTOM
    found: Value = BOTTOM
    for atom in base:
        one = _atom_method(run, op, atom, name)
        if one is None:
            return _open_get(run, op, name) if any(isinstance(a, Outside) for a in base) else None
        found = join(found, one)
    return found


def _open_get(run: Run, op: Call, name: str) -> Value | None:
    """`config.get("risk", 0.02)` on a receiver that is not known: the default proves that a float can arrive."""
    if name == "get" and len(op.args) == PAIR and literal(run.value(op.args[0])) is not None:
        default = run.value(op.args[1])
        if literal(default) is not None and all(is_float(a) for a in default):
            return join(default, EXTERNAL)
    return None


def _atom_method(run: Run, op: Call, atom: object, name: str) -> Value | None:
    match atom:
        case Exact():
            return _decimal_method(name)
        case Number("str", _):
            return {"split": None, "format": STR, "strip": STR, "replace": STR}.get(name)
        case Number("float" | "int" | "np.float" | "np.int", _):
            return {
                "item": FLOAT if "float" in atom.kind else INT,
                "is_integer": BOOL,
                "hex": STR,
                "bit_length": INT,
                "conjugate": frozenset((atom,)),
            }.get(name, TOP)
        case Series(of):
            if name in SAME_SERIES:
                return frozenset((atom,)) if name not in ("astype", "apply") else TOP
            if name in ELEMENTWISE:
                return frozenset((Number("np.float"),)) if of == "float" else TOP
            if name == "tolist":
                return frozenset((holding("builtins.list", FLOAT),)) if of == "float" else TOP
            return TOP
        case Fields(items, rest):
            return _fields_method(run, op, dict(items), rest, name)
        case External():
            if name == "get" and len(op.args) == PAIR:
                return join(EXTERNAL, run.value(op.args[1]))
            return EXTERNAL
        case Instance("builtins.dict", (_, inner), _) if name in ("get", "pop", "setdefault"):
            missing = run.value(op.args[1]) if len(op.args) > 1 else NONE if name == "get" else BOTTOM
            return join(converted(inner), missing) if UNKNOWN not in inner else _open_get(run, op, name) or TOP
        case Instance("builtins.list" | "builtins.set", (inner,), _) if (
            name in ("append", "add", "insert", "appendleft") and op.args
        ):
            _grow(run, op, holding(atom.cls, join(inner, run.value(op.args[-1])), exact=atom.exact))
            return NONE
        case Instance("builtins.list" | "builtins.set", (inner,), _) if name in ("pop", "popleft"):
            return converted(inner)
        case Instance("builtins.dict", (_, inner), _) if name == "values":
            return frozenset((Instance("builtins.list", (inner,)),))
        case Instance("builtins.dict", (key, inner), _) if name == "items":
            return frozenset((Instance("builtins.list", (frozenset((Instance("builtins.tuple", (key, inner)),)),)),))
    return None


def _decimal_method(name: str) -> Value:
    if name in DECIMAL_INTS:
        return INT
    if name in DECIMAL_BOOLS:
        return BOOL
    if name in ("to_eng_string", "__str__", "__format__"):
        return STR
    if name in ("__float__",):
        return FLOAT
    if name in ("as_tuple", "as_integer_ratio", "number_class", "compare_total_mag"):
        return TOP
    return DECIMAL


def _fields_method(run: Run, op: Call, items: dict[str, Value], rest: Value, name: str) -> Value | None:
    every = union((rest, *items.values()))
    if name in ("get", "pop", "setdefault") and op.args:
        key = literal(run.value(op.args[0]))
        missing = run.value(op.args[1]) if len(op.args) > 1 else NONE
        if key is not None and key in items:
            return items[key]
        return join(every, missing) if key is None or rest else missing
    if name == "values":
        return frozenset((holding("builtins.list", every or TOP),))
    if name == "items":
        return frozenset((holding("builtins.list", frozenset((holding("builtins.tuple", STR, every or TOP),))),))
    if name == "keys":
        return frozenset((holding("builtins.list", STR),))
    if name == "copy":
        return frozenset((Fields(tuple(sorted(items.items())), rest),))
    if name == "update":
        run.forget_base(op.callee)
        return NONE
    return TOP


def _grow(run: Run, op: Call, grown: Instance) -> None:
    """`xs.append(x)`: what holds the list now holds x too."""
    index = run.base_index(op.callee)
    if index is not None and index in run.env:
        run.env[index] = frozenset((grown,))


__all__ = ["builtin", "call", "combine", "constructs"]
